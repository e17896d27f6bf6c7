"""A whole chat completion, as a message.

| of the completion | becomes |
|---|---|
| ``id``, ``model`` | the same |
| ``message.reasoning_content``, ``reasoning`` | a block of ``thinking``, with an empty signature |
| ``message.content``, ``refusal`` | a block of ``text``; none where it is empty |
| ``message.tool_calls`` | ``tool_use``; arguments that are no JSON object: refused |
| ``finish_reason``, vLLM's ``stop_reason`` | ``stop_reason``, ``stop_sequence``: see ``words`` |
| ``usage`` | ``usage``: see ``words`` |
| choices beside the first, ``logprobs``, ``annotations``, ``audio``, ``function_call`` | a warning |
| ``object``, ``created``, ``system_fingerprint``, ``service_tier`` | nothing: a message has no place for them |
| anything else | the same |

Source: as ``request_to_chat``.
"""

from typing import Final

from msgspec import Raw

from tensorfusion.policy.translate.pieces import (
    NULL,
    Built,
    CannotTranslate,
    Members,
    Translated,
    Warnings,
    given,
    inside,
    members_of,
    objects_of,
    raw,
    text_of,
)
from tensorfusion.policy.translate.words import ChatUsage, message_usage, read_usage, stop_reason

_DETAILS: Final = ("object", "created", "system_fingerprint", "service_tier")
_REASONING: Final = ("reasoning_content", "reasoning")


def answer_to_messages(body: bytes) -> Translated:
    """The body of the answer.

    Raises:
        CannotTranslate: it is no chat completion, or calls a tool with what is no JSON.
    """
    chat = members_of(body, "")
    warnings = Warnings()
    choices = objects_of(chat.pop("choices", NULL), "choices")
    if not choices:
        raise CannotTranslate("choices", "wanted an answer, found none")
    if len(choices) > 1:
        warnings.lost("choices", "only the first is told")
    choice = choices[0]
    reason = given(choice, "finish_reason")
    word, sequence = stop_reason(
        None if reason is None else text_of(reason, "choices[0].finish_reason"), choice.pop("stop_reason", NULL)
    )
    blocks = _blocks(members_of(choice.pop("message", NULL), "choices[0].message"), warnings)
    choice.pop("index", None)
    warnings.all_lost("choices[].", choice.items())
    usage = read_usage(given(chat, "usage"), ChatUsage, "usage")
    message: Built = {
        "id": chat.pop("id", raw("")),
        "type": "message",
        "role": "assistant",
        "model": chat.pop("model", raw("")),
        "content": blocks,
        "stop_reason": word,
        "stop_sequence": sequence,
        "usage": message_usage(usage),
    }
    for name in _DETAILS:
        chat.pop(name, None)
    return warnings.translated(chat, message)


def _blocks(said: Members, warnings: Warnings) -> list[Built]:
    said.pop("role", None)
    blocks: list[Built] = []
    thoughts = [value for name in _REASONING if (value := given(said, name)) is not None]
    if thoughts and inside(thoughts[0], "choices[0].message.reasoning_content"):
        blocks.append({"type": "thinking", "thinking": thoughts[0], "signature": raw("")})
    for name in ("content", "refusal"):
        text = given(said, name)
        if text is not None and inside(text, f"choices[0].message.{name}"):
            blocks.append({"type": "text", "text": text})
    calls = given(said, "tool_calls")
    if calls is not None:
        blocks += [_use(call, warnings) for call in objects_of(calls, "tool_calls")]
    warnings.all_lost("choices[].message.", said.items())
    return blocks


def _use(call: Members, warnings: Warnings) -> Built:
    function = members_of(call.pop("function", NULL), "tool_calls[].function")
    block: Built = {
        "type": "tool_use",
        "id": call.pop("id", raw("")),
        "name": function.pop("name", raw("")),
        "input": _arguments(function.pop("arguments", raw(""))),
    }
    call.pop("type", None)
    call.pop("index", None)
    warnings.all_lost("choices[].message.tool_calls[].", (function | call).items())
    return block


def _arguments(spelled: Raw) -> Raw:
    """The JSON in a string. Raises CannotTranslate: there is no object in it."""
    text = text_of(spelled, "tool_calls[].function.arguments").encode()
    if not text.strip():
        return Raw(b"{}")
    members_of(text, "tool_calls[].function.arguments")
    return Raw(text)
