"""A whole message, as a chat completion.

| of the message | becomes |
|---|---|
| ``id``, ``model`` | the same |
| blocks of ``text`` | ``content``, joined; null where a tool is called and nothing is said |
| ``thinking`` | ``reasoning_content``, as vLLM and others have it; its signature: a warning |
| ``redacted_thinking`` | a warning |
| ``tool_use`` | ``tool_calls`` |
| any other block; ``citations`` | a warning |
| ``stop_reason``, ``stop_sequence`` | ``finish_reason``, vLLM's ``stop_reason``: see ``words`` |
| ``usage`` | ``usage``: see ``words`` |
| ``container``, ``stop_details``, ``diagnostics``, ``context_management`` | a warning |
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
    in_a_string,
    inside,
    members_of,
    objects_of,
    quoted,
    raw,
    text_of,
)
from tensorfusion.policy.translate.words import MessageUsage, chat_usage, finish_reason, read_usage

_ONLY_MESSAGES: Final = ("container", "stop_details", "diagnostics", "context_management")


def answer_to_chat(body: bytes, *, created: int) -> Translated:
    """The body of the answer. ``created`` is when, in seconds since 1970: a message does not tell.

    Raises:
        CannotTranslate: it is no message.
    """
    message = members_of(body, "")
    warnings = Warnings()
    kind = message.pop("type", NULL)
    if kind != raw("message"):
        raise CannotTranslate("type", f"wanted a message, found {bytes(kind).decode('utf-8', 'replace')}")
    message.pop("role", None)
    said = _said(objects_of(message.pop("content", Raw(b"[]")), "content"), warnings)
    reason = given(message, "stop_reason")
    sequence = given(message, "stop_sequence")
    choice: Built = {
        "index": raw(0),
        "message": said,
        "logprobs": NULL,
        "finish_reason": finish_reason(None if reason is None else text_of(reason, "stop_reason"), warnings),
    }
    if sequence is not None:
        choice["stop_reason"] = sequence
    usage = read_usage(given(message, "usage"), MessageUsage, "usage")
    chat: Built = {
        "id": message.pop("id", raw("")),
        "object": "chat.completion",
        "created": raw(created),
        "model": message.pop("model", raw("")),
        "choices": [choice],
        "usage": chat_usage(usage),
    }
    warnings.taken_out("", message, _ONLY_MESSAGES)
    return warnings.translated(message, chat)


def _said(blocks: list[Members], warnings: Warnings) -> Built:
    texts: list[memoryview] = []
    thoughts: list[memoryview] = []
    calls: list[Built] = []
    for block in blocks:
        kind = text_of(block.pop("type", NULL), "content[].type")
        if kind == "text":
            texts.append(inside(block.pop("text", raw("")), "content[].text"))
        elif kind == "thinking":
            thoughts.append(inside(block.pop("thinking", raw("")), "content[].thinking"))
        elif kind == "tool_use":
            calls.append(_call(block))
        else:
            warnings.lost(f"content[].{kind}")
            continue
        warnings.all_lost("content[].", block.items())
    said: Built = {"role": "assistant", "content": NULL if calls and not any(texts) else quoted(*texts)}
    said["refusal"] = NULL
    if any(thoughts):
        said["reasoning_content"] = quoted(*thoughts)
    if calls:
        said["tool_calls"] = calls
    return said


def _call(block: Members) -> Built:
    arguments = in_a_string(block.pop("input", Raw(b"{}")), "content[].input")
    function = {"name": block.pop("name", raw("")), "arguments": arguments}
    return {"id": block.pop("id", raw("")), "type": "function", "function": function}
