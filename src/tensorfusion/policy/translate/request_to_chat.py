"""A request for a message, as a request for a chat completion.

| of the request | becomes |
|---|---|
| ``model``, ``temperature``, ``top_p``, ``stream`` | the same; with ``stream``, ``stream_options.include_usage`` |
| ``system`` | the first message, role ``system``; messages of that role stay where they are |
| ``messages`` | see ``_said``: text as it is; results of tools are messages of role ``tool``, before the rest |
| ``max_tokens`` | ``max_tokens`` (vLLM), ``max_completion_tokens`` (OpenAI) |
| ``stop_sequences`` | ``stop`` |
| ``top_k`` | the same (vLLM); a warning (OpenAI) |
| ``metadata.user_id`` | ``user``; other metadata: a warning |
| ``tools`` | functions; those of the server's own (``type`` beside ``custom``): a warning |
| ``tool_choice`` | ``auto``, ``none``, ``required`` for ``any``, the named function; ``parallel_tool_calls: false`` |
| ``output_config.format`` | ``response_format``, named ``answer``, strict |
| ``output_config.effort`` | ``reasoning_effort`` |
| ``service_tier`` | ``auto``, or ``default`` for ``standard_only`` |
| ``thinking``, ``cache_control``, ``container``, ``mcp_servers``, ``context_management``, ``inference_geo``, ``speed``, ``diagnostics``, ``user_profile_id``, ``workspace_id`` | a warning |
| anything else | the same |

| of a message's content | becomes |
|---|---|
| ``text`` | text; one alone is a string |
| ``image`` | ``image_url``, as a data URL where it came as base64; a file of the API's own: refused |
| ``document`` | ``file`` with its data (PDF as base64), or text; others: refused |
| ``tool_use`` | ``tool_calls``, its input spelled into a string |
| ``tool_result`` | a message of role ``tool``; its pictures go into the user's message behind: a warning; ``is_error``: a warning |
| ``thinking``, ``redacted_thinking`` | a warning: no other model can read the signature |
| ``cache_control``, ``citations`` | a warning |
| any other type | refused |

A last message of the assistant is how the answer begins. vLLM is told so (``continue_final_message``); OpenAI cannot be:
a warning.

Source: Anthropic API reference, messages; OpenAI API reference, chat completions; vLLM ``ChatCompletionRequest``.
"""  # noqa: E501 - a row of a table is one line

from collections.abc import Callable
from enum import StrEnum
from typing import Final

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
    in_a_string,
    inside,
    is_text,
    members_of,
    move,
    objects_of,
    quoted,
    raw,
    says_nothing,
    text_of,
)


class Flavour(StrEnum):
    """Who answers a chat completion: some take more than others."""

    OPENAI = "openai"
    VLLM = "vllm"


_ONLY_MESSAGES: Final = (
    "thinking",
    "cache_control",
    "container",
    "mcp_servers",
    "context_management",
    "inference_geo",
    "speed",
    "diagnostics",
    "user_profile_id",
    "workspace_id",
)
_ONLY_TOOLS: Final = ("cache_control", "allowed_callers", "defer_loading", "eager_input_streaming", "input_examples")
_ONLY_BLOCKS: Final = ("cache_control", "citations", "caller", "toolset_name", "transformations", "context")
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def request_to_chat(body: bytes, flavour: Flavour) -> Translated:
    """The body of the request to send.

    Raises:
        CannotTranslate: it is no such request, or asks for what a chat completion cannot be asked for.
    """
    request = members_of(body, "")
    warnings = Warnings()
    chat: Built = {}
    for name in ("model", "temperature", "top_p"):
        move(request, chat, name)
    chat["messages"] = _messages(request, chat, warnings, flavour)
    move(request, chat, "max_tokens", "max_completion_tokens" if flavour is Flavour.OPENAI else "max_tokens")
    move(request, chat, "stop_sequences", "stop")
    stream = given(request, "stream")
    if stream is not None:
        chat["stream"] = stream
        if stream == TRUE:
            chat["stream_options"] = Raw(b'{"include_usage":true}')
    if flavour is Flavour.OPENAI and (top_k := given(request, "top_k")) is not None:
        warnings.all_lost("", [("top_k", top_k)])
    _user(request, chat, warnings)
    _tools(request, chat, warnings)
    _output(request, chat, warnings)
    tier = given(request, "service_tier")
    if tier is not None:
        chat["service_tier"] = "default" if text_of(tier, "service_tier") == "standard_only" else tier
    warnings.taken_out("", request, _ONLY_MESSAGES)
    return warnings.translated(request, chat)


# --- messages ---


def _messages(request: Members, chat: Built, warnings: Warnings, flavour: Flavour) -> list[Built]:
    messages: list[Built] = []
    system = given(request, "system")
    if system is not None:
        messages.append({"role": "system", "content": _system(system, warnings)})
    came = given(request, "messages")
    if came is None:
        raise CannotTranslate("messages", "wanted a list of messages")
    role = ""
    for number, message in enumerate(objects_of(came, "messages")):
        where = f"messages[{number}]"
        role = text_of(message.pop("role", raw("")), f"{where}.role")
        if role == "system":
            said = _system(message.pop("content", raw("")), warnings, f"{where}.content")
            messages.append({"role": "system", "content": said, **message})
        elif role == "user":
            messages += _said(message, where, warnings)
        elif role == "assistant":
            messages += _assistant(message, where, warnings)
        else:
            raise CannotTranslate(f"{where}.role", f"wanted user, assistant or system, found {role!r}")
    if role == "assistant" and flavour is Flavour.VLLM:
        chat["continue_final_message"] = TRUE
        chat["add_generation_prompt"] = FALSE
    elif role == "assistant":
        warnings.lost("messages", "the last one is the assistant's: the answer begins anew instead of going on from it")
    return messages


def _system(system: Raw, warnings: Warnings, where: str = "system") -> object:
    if is_text(system):
        return system
    return _joined([_part(block, where, warnings) for block in objects_of(system, where)])


def _said(message: Members, where: str, warnings: Warnings) -> list[Built]:
    """What the user says: results of tools each as a message of its own, then the rest."""
    content = message.pop("content", raw(""))
    if is_text(content):
        return [{"role": "user", "content": content, **message}]
    results: list[Built] = []
    parts: list[Built] = []
    for block in objects_of(content, f"{where}.content"):
        if _type(block, f"{where}.content") == "tool_result":
            if parts:
                warnings.lost(f"{where}.content", "a tool's result comes before what was said before it")
            result, pictures = _result(block, f"{where}.content", warnings)
            results.append(result)
            parts += pictures
        else:
            parts.append(_part(block, f"{where}.content", warnings))
    if parts or not results:
        results.append({"role": "user", "content": _joined(parts)})
    return [*results[:-1], results[-1] | message]


def _result(block: Members, where: str, warnings: Warnings) -> tuple[Built, list[Built]]:
    """The message of a tool, and pictures, which it cannot hold."""
    del block["type"]
    content = given(block, "content")
    if not says_nothing(block.pop("is_error", None)):
        warnings.lost(f"{_general(where)}[].is_error")
    call = block.pop("tool_use_id", None)
    if call is None:
        raise CannotTranslate(f"{where}.tool_use_id", "a tool's result says of which call it is")
    warnings.taken_out(f"{_general(where)}[].", block, _ONLY_BLOCKS)
    pictures: list[Built] = []
    said: object = content if content is not None else ""
    if content is not None and not is_text(content):
        parts = [_part(inner, f"{where}.content", warnings) for inner in objects_of(content, f"{where}.content")]
        texts = [part for part in parts if part["type"] == _TEXT]
        pictures = [part for part in parts if part["type"] != _TEXT]
        if pictures:
            warnings.lost(f"{_general(where)}[].content", "what is no text of a tool's result goes on as the user's")
        said = _joined(texts)
    return {"role": "tool", "tool_call_id": call, "content": said, **block}, pictures


def _assistant(message: Members, where: str, warnings: Warnings) -> list[Built]:
    content = message.pop("content", raw(""))
    if is_text(content):
        return [{"role": "assistant", "content": content, **message}]
    parts: list[Built] = []
    calls: list[Built] = []
    for block in objects_of(content, f"{where}.content"):
        kind = _type(block, f"{where}.content")
        if kind in ("thinking", "redacted_thinking"):
            warnings.lost(f"{_general(where)}.content[].{kind}", "is not carried over")
        elif kind == "tool_use":
            calls.append(_call(block, f"{where}.content", warnings))
        elif kind == "text":
            if calls:
                warnings.lost(f"{_general(where)}.content", "what was said behind a call of a tool comes before it")
            parts.append(_part(block, f"{where}.content", warnings))
        else:
            raise CannotTranslate(f"{where}.content", f"a block of type {kind} cannot be said in a chat completion")
    said: Built = {"role": "assistant", **message}
    if parts or not calls:
        said["content"] = _joined(parts)
    if calls:
        said["tool_calls"] = calls
    return [said]


def _call(block: Members, where: str, warnings: Warnings) -> Built:
    del block["type"]
    name, call = block.pop("name", raw("")), block.pop("id", raw(""))
    arguments = in_a_string(block.pop("input", Raw(b"{}")), f"{where}.input")
    warnings.all_lost(f"{_general(where)}[].", block.items())
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


_TEXT: Final = "text"


def _part(block: Members, where: str, warnings: Warnings) -> Built:
    """A block that says something, as a part. Members that nobody knows stay with it."""
    kind = _type(block, where)
    make = _PARTS.get(kind)
    if make is None:
        raise CannotTranslate(where, f"a block of type {kind} cannot be said in a chat completion")
    del block["type"]
    warnings.taken_out(f"{_general(where)}[].", block, _ONLY_BLOCKS)
    part = make(block, where, warnings)
    return part | block


def _text(block: Members, where: str, warnings: Warnings) -> Built:
    return {"type": _TEXT, "text": block.pop("text", raw(""))}


def _image(block: Members, where: str, warnings: Warnings) -> Built:
    source = members_of(block.pop("source", raw(None)), f"{where}.source")
    kind = text_of(source.get("type", raw("")), f"{where}.source.type")
    if kind == "base64":
        url = _data_url(source, f"{where}.source")
    elif kind == "url":
        url = source.get("url", raw(""))
    else:
        raise CannotTranslate(f"{where}.source", f"an image of type {kind} is only known to the API that has it")
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Members, where: str, warnings: Warnings) -> Built:
    source = members_of(block.pop("source", raw(None)), f"{where}.source")
    kind = text_of(source.get("type", raw("")), f"{where}.source.type")
    title = given(block, "title")
    if kind == "text":
        if title is not None:
            warnings.lost(f"{_general(where)}[].title")
        warnings.lost(f"{_general(where)}[].document", "goes on as text")
        return {"type": _TEXT, "text": source.get("data", raw(""))}
    if kind != "base64":
        raise CannotTranslate(f"{where}.source", f"a document of type {kind} cannot be said in a chat completion")
    file = {"filename": title or raw("document.pdf"), "file_data": _data_url(source, f"{where}.source")}
    return {"type": "file", "file": file}


_PARTS: Final[dict[str, Callable[[Members, str, Warnings], Built]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
}


def _data_url(source: Members, where: str) -> Raw:
    media, data = source.get("media_type"), source.get("data")
    if media is None or data is None:
        raise CannotTranslate(where, "wanted media_type and data")
    return quoted(b"data:", inside(media, f"{where}.media_type"), b";base64,", inside(data, f"{where}.data"))


def _joined(parts: list[Built]) -> object:
    """Content: one plain text as a string, anything else as parts."""
    if not parts:
        return raw("")
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _type(block: Members, where: str) -> str:
    return text_of(block.get("type", raw(None)), f"{where}.type")


def _general(where: str) -> str:
    """A place without its number: a warning is given once, not once a message."""
    head, bracket, tail = where.partition("[")
    return f"{head}[]{tail.partition(']')[2]}" if bracket else head


# --- the rest ---


def _user(request: Members, chat: Built, warnings: Warnings) -> None:
    metadata = given(request, "metadata")
    if metadata is None:
        return
    members = members_of(metadata, "metadata")
    move(members, chat, "user_id", "user")
    warnings.all_lost("metadata.", members.items())


def _tools(request: Members, chat: Built, warnings: Warnings) -> None:
    tools = given(request, "tools")
    if tools is not None:
        functions = [_tool(tool, warnings) for tool in objects_of(tools, "tools")]
        known = [function for function in functions if function is not None]
        if known:
            chat["tools"] = known
    choice = given(request, "tool_choice")
    if choice is None:
        return
    members = members_of(choice, "tool_choice")
    kind = text_of(members.pop("type", raw("")), "tool_choice.type")
    if kind == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": members.pop("name", raw(""))}}
    elif kind in _CHOICES:
        chat["tool_choice"] = raw(_CHOICES[kind])
    else:
        raise CannotTranslate("tool_choice.type", f"wanted auto, any, none or tool, found {kind!r}")
    if members.pop("disable_parallel_tool_use", FALSE) == TRUE:
        chat["parallel_tool_calls"] = FALSE
    warnings.all_lost("tool_choice.", members.items())


def _tool(tool: Members, warnings: Warnings) -> Built | None:
    kind = given(tool, "type")
    if kind is not None and text_of(kind, "tools[].type") != "custom":
        warnings.lost(f"tools[].{text_of(kind, 'tools[].type')}", "is a tool of Anthropic's own servers")
        return None
    warnings.taken_out("tools[].", tool, _ONLY_TOOLS)
    function: Built = {}
    for name, to in (("name", "name"), ("description", "description"), ("input_schema", "parameters")):
        move(tool, function, name, to)
    move(tool, function, "strict")
    return {"type": "function", "function": function, **tool}


def _output(request: Members, chat: Built, warnings: Warnings) -> None:
    config = given(request, "output_config")
    if config is None:
        return
    members = members_of(config, "output_config")
    effort = given(members, "effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    wanted = given(members, "format")
    if wanted is not None:
        form = members_of(wanted, "output_config.format")
        if text_of(form.get("type", raw("")), "output_config.format.type") != "json_schema":
            raise CannotTranslate("output_config.format.type", "wanted json_schema")
        schema = {"name": "answer", "schema": form.get("schema", raw(None)), "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    warnings.all_lost("output_config.", members.items())
