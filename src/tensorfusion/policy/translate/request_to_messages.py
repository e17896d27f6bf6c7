"""A request for a chat completion, as a request for a message.

| of the request | becomes |
|---|---|
| ``model``, ``top_p``, ``stream`` | the same; the newest models do not take ``top_p`` and ``temperature``, and say so |
| ``temperature`` | the same, at most 1: a warning |
| ``messages`` | see below; those of ``system`` and ``developer`` that come first are ``system``, later ones stay where they are |
| ``max_completion_tokens``, ``max_tokens`` | ``max_tokens``; without either, what the caller says: a warning |
| ``stop`` | ``stop_sequences`` |
| ``user`` | ``metadata.user_id`` |
| ``tools`` | with ``input_schema``; those that are no functions: a warning |
| ``tool_choice``, ``parallel_tool_calls: false`` | ``auto``, ``none``, ``any`` for ``required``, ``tool``; ``disable_parallel_tool_use``; others: refused |
| ``response_format`` | ``output_config.format``; its name and ``strict`` say nothing there; ``json_object``: a warning |
| ``reasoning_effort`` | ``output_config.effort``; ``none`` and ``minimal``: a warning |
| ``service_tier`` | ``auto``, ``standard_only`` for ``default``; others: a warning |
| ``stream_options`` | nothing: a stream of messages always tells usage, ``StreamToChat`` is told whether to |
| ``n`` above 1, ``functions``, ``function_call``, ``audio`` | refused |
| ``frequency_penalty``, ``presence_penalty``, ``logit_bias``, ``logprobs``, ``top_logprobs``, ``seed``, ``metadata``, ``store``, ``prediction``, ``modalities``, ``verbosity``, ``web_search_options``, ``moderation``, ``safety_identifier``, ``prompt_cache_*`` | a warning |
| anything else, such as ``top_k`` or ``thinking`` | the same |

| of a message | becomes |
|---|---|
| text | the same |
| ``image_url`` | ``image``: base64 where it is a data URL; ``detail``: a warning |
| ``file`` with ``file_data`` | ``document``; a file by its id: refused |
| ``input_audio`` and any other type | refused |
| ``refusal`` | text: a warning |
| ``tool_calls`` | ``tool_use``; arguments that are no JSON object: refused |
| ``role: tool`` | ``tool_result``; consecutive ones, and what the user says next, are one message |
| ``name``, ``reasoning_content``, ``reasoning`` | a warning |

The answer goes on from a last message of the assistant. With ``continue_final_message`` or the message's ``prefix`` that
is what was asked for; without, a warning.

Source: as ``request_to_chat``.
"""  # noqa: E501 - a row of a table is one line

from typing import Final

import msgspec
from msgspec import Raw

from tensorfusion.policy.translate.pieces import (
    FALSE,
    TRUE,
    Built,
    CannotTranslate,
    Members,
    Translated,
    Warnings,
    given,
    inside,
    is_null,
    is_text,
    members_of,
    move,
    objects_of,
    quoted,
    raw,
    says_nothing,
    text_of,
)
from tensorfusion.policy.translate.settings_to_messages import put_output, put_tier, put_tools

_ONLY_CHAT: Final = (
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "metadata",
    "store",
    "prediction",
    "modalities",
    "verbosity",
    "web_search_options",
    "moderation",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)
_REFUSED: Final = ("functions", "function_call", "audio")
_TEXT: Final = "text"


def request_to_messages(body: bytes, *, max_tokens: int) -> Translated:
    """The body of the request to send. ``max_tokens`` is for a request that does not bound its answer.

    Raises:
        CannotTranslate: it is no such request, or asks for what a message cannot be asked for.
    """
    chat = members_of(body, "")
    warnings = Warnings()
    request: Built = {}
    for name in _REFUSED:
        if not says_nothing(chat.pop(name, None)):
            raise CannotTranslate(name, "cannot be said in a request for a message")
    n = given(chat, "n")
    if n is not None and bytes(n) != b"1":
        raise CannotTranslate("n", f"one answer a message: found {bytes(n)!r}")
    for name in ("model", "top_p", "stream"):
        move(chat, request, name)
    _temperature(chat, request, warnings)
    _bound(chat, request, warnings, max_tokens)
    _messages(chat, request, warnings)
    stop = given(chat, "stop")
    if stop is not None:
        request["stop_sequences"] = [stop] if is_text(stop) else stop
    user = given(chat, "user")
    if user is not None:
        request["metadata"] = {"user_id": user}
    put_tools(chat, request, warnings)
    put_output(chat, request, warnings)
    put_tier(chat, request, warnings)
    chat.pop("stream_options", None)
    warnings.taken_out("", chat, _ONLY_CHAT)
    return warnings.translated(chat, request)


def _temperature(chat: Members, request: Built, warnings: Warnings) -> None:
    value = given(chat, "temperature")
    if value is None:
        return
    try:
        above = msgspec.json.decode(value, type=float) > 1
    except msgspec.MsgspecError as error:
        raise CannotTranslate("temperature", f"wanted a number: {error}") from error
    if above:
        warnings.lost("temperature", "is at most 1")
    request["temperature"] = Raw(b"1") if above else value


def _bound(chat: Members, request: Built, warnings: Warnings, max_tokens: int) -> None:
    newer, older = given(chat, "max_completion_tokens"), given(chat, "max_tokens")
    found = newer if newer is not None else older
    if found is None:
        warnings.lost("max_tokens", f"has to be said: {max_tokens} was taken")
        found = raw(max_tokens)
    request["max_tokens"] = found


# --- messages ---


def _messages(chat: Members, request: Built, warnings: Warnings) -> None:
    came = given(chat, "messages")
    if came is None:
        raise CannotTranslate("messages", "wanted a list of messages")
    goes_on = chat.pop("continue_final_message", FALSE) == TRUE
    chat.pop("add_generation_prompt", None)
    system: list[Built] = []
    turns: list[_Turn] = []
    for number, message in enumerate(objects_of(came, "messages")):
        where = f"messages[{number}]"
        role = text_of(message.pop("role", raw("")), f"{where}.role")
        if not says_nothing(message.pop("name", None)):
            warnings.lost("messages[].name")
        content = given(message, "content")
        if role in ("system", "developer"):
            if not turns:
                system += _blocks(content, where, warnings)
                continue
            turn = _Turn("system", _blocks(content, where, warnings), message)
        elif role == "user":
            turn = _Turn(role, _blocks(content, where, warnings), message)
        elif role == "assistant":
            goes_on = message.pop("prefix", FALSE) == TRUE or goes_on
            turn = _Turn(role, _assistant(content, message, where, warnings), message)
        elif role == "tool":
            turn = _Turn("tool", [_result(content, message, where, warnings)], message)
        else:
            raise CannotTranslate(f"{where}.role", f"wanted system, developer, user, assistant or tool, found {role!r}")
        if turns and turns[-1].role == "tool" and role in ("tool", "user"):
            turns[-1].add(turn)
        else:
            turns.append(turn)
    if system:
        request["system"] = _content(system)
    if turns and turns[-1].role == "assistant" and not goes_on:
        warnings.lost(
            "messages", "the last one is the assistant's: the answer goes on from it instead of beginning anew"
        )
    request["messages"] = [turn.members() for turn in turns]


class _Turn:
    """Consecutive messages that are one: of ``tool`` as long as nothing of the user came."""

    def __init__(self, role: str, blocks: list[Built], rest: Members) -> None:
        self.role = role
        self._blocks = blocks
        self._rest = rest

    def add(self, other: "_Turn") -> None:
        self.role = other.role
        self._blocks += other._blocks
        self._rest |= other._rest

    def members(self) -> Built:
        role = "user" if self.role == "tool" else self.role
        return {"role": role, "content": _content(self._blocks), **self._rest}


def _content(blocks: list[Built]) -> object:
    """One plain text as a string, anything else as blocks."""
    if not blocks:
        return raw("")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _blocks(content: Raw | None, where: str, warnings: Warnings) -> list[Built]:
    if content is None:
        return []
    if is_text(content):
        return [{"type": _TEXT, "text": content}]
    return [_block(part, f"{where}.content", warnings) for part in objects_of(content, f"{where}.content")]


def _block(part: Members, where: str, warnings: Warnings) -> Built:
    """A part as a block. Members that nobody knows stay with it."""
    kind = text_of(part.pop("type", raw(None)), f"{where}.type")
    if kind == "text":
        block: Built = {"type": _TEXT, "text": part.pop("text", raw(""))}
    elif kind == "refusal":
        warnings.lost("messages[].content[].refusal", "goes on as text")
        block = {"type": _TEXT, "text": part.pop("refusal", raw(""))}
    elif kind == "image_url":
        block = _image(members_of(part.pop("image_url", raw(None)), f"{where}.image_url"), where, warnings)
    elif kind == "file":
        block = _document(members_of(part.pop("file", raw(None)), f"{where}.file"), where)
    else:
        raise CannotTranslate(where, f"a part of type {kind} cannot be said in a message")
    if not says_nothing(part.pop("prompt_cache_breakpoint", None)):
        warnings.lost("messages[].content[].prompt_cache_breakpoint")
    return block | part


def _image(image: Members, where: str, warnings: Warnings) -> Built:
    url = image.pop("url", None)
    if url is None or not is_text(url):
        raise CannotTranslate(f"{where}.image_url.url", "wanted a string")
    detail = given(image, "detail")
    if detail is not None and detail != raw("auto"):
        warnings.lost("messages[].content[].image_url.detail")
    source = _base64(url)
    if source is None:
        source = {"type": "url", "url": url}
    return {"type": "image", "source": source}


def _document(file: Members, where: str) -> Built:
    data = given(file, "file_data")
    source = _base64(data) if data is not None and is_text(data) else None
    if source is None:
        raise CannotTranslate(
            f"{where}.file", "wanted file_data as a data URL: a file by its id is not known elsewhere"
        )
    block: Built = {"type": "document", "source": source}
    title = given(file, "filename")
    if title is not None and title != raw("document.pdf"):
        block["title"] = title
    return block


def _base64(url: Raw) -> Built | None:
    """What a data URL holds, unread; None where it is none in base64."""
    spelled = inside(url, "image_url.url")
    head, comma, _ = bytes(spelled[:128]).partition(b",")
    if not comma or not head.startswith(b"data:") or not head.endswith(b";base64"):
        return None
    media = head[len(b"data:") : -len(b";base64")]
    return {"type": raw("base64"), "media_type": quoted(media), "data": quoted(spelled[len(head) + 1 :])}


def _assistant(content: Raw | None, message: Members, where: str, warnings: Warnings) -> list[Built]:
    for name in ("function_call", "audio"):
        if not is_null(message.pop(name, None)):
            raise CannotTranslate(f"{where}.{name}", "cannot be said in a message")
    for name in ("reasoning_content", "reasoning"):
        if not says_nothing(message.pop(name, None)):
            warnings.lost(f"messages[].{name}", "is not carried over")
    blocks = _blocks(content, where, warnings)
    refusal = given(message, "refusal")
    if refusal is not None:
        warnings.lost("messages[].refusal", "goes on as text")
        blocks.append({"type": _TEXT, "text": refusal})
    calls = given(message, "tool_calls")
    if calls is not None:
        asked = [_call(call, f"{where}.tool_calls", warnings) for call in objects_of(calls, f"{where}.tool_calls")]
        if asked:  # an empty text beside them is no text
            blocks = [block for block in blocks if block.get("text") != raw("")]
        blocks += asked
    return blocks


def _call(call: Members, where: str, warnings: Warnings) -> Built:
    kind = text_of(call.pop("type", raw("function")), f"{where}.type")
    if kind != "function":
        raise CannotTranslate(where, f"a call of type {kind} cannot be said in a message")
    function = members_of(call.pop("function", raw(None)), f"{where}.function")
    spelled = text_of(function.pop("arguments", raw("")), f"{where}.function.arguments")
    arguments = spelled.encode() if spelled.strip() else b"{}"
    members_of(arguments, f"{where}.function.arguments")
    name, number = function.pop("name", raw("")), call.pop("id", raw(""))
    warnings.all_lost("messages[].tool_calls[].", (function | call).items())
    return {"type": "tool_use", "id": number, "name": name, "input": Raw(arguments)}


def _result(content: Raw | None, message: Members, where: str, warnings: Warnings) -> Built:
    call = message.pop("tool_call_id", None)
    if call is None:
        raise CannotTranslate(f"{where}.tool_call_id", "a tool's message says of which call it is")
    block: Built = {"type": "tool_result", "tool_use_id": call}
    if content is not None:
        block["content"] = _content(_blocks(content, where, warnings))
    return block
