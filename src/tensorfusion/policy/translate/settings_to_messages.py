"""What a request for a chat completion sets beside its messages - tools, the form and the effort of the answer, the
tier - as a request for a message sets it. The table is in ``request_to_messages``.
"""

from typing import Final

from msgspec import Raw

from tensorfusion.policy.translate.pieces import (
    FALSE,
    Built,
    CannotTranslate,
    Members,
    Warnings,
    given,
    is_text,
    members_of,
    move,
    objects_of,
    raw,
    text_of,
)

_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")


def put_tools(chat: Members, request: Built, warnings: Warnings) -> None:
    """Tools, which of them to call, and whether several at once."""
    tools = given(chat, "tools")
    if tools is not None:
        functions = [_tool(tool, warnings) for tool in objects_of(tools, "tools")]
        known = [function for function in functions if function is not None]
        if known:
            request["tools"] = known
    choice, parallel = given(chat, "tool_choice"), given(chat, "parallel_tool_calls")
    chosen = _choice(choice, warnings) if choice is not None else None
    if parallel == FALSE and "tools" in request:
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    if chosen is not None:
        request["tool_choice"] = chosen


def _choice(choice: Raw, warnings: Warnings) -> dict[str, object]:
    if is_text(choice):
        word = text_of(choice, "tool_choice")
        if word not in _CHOICES:
            raise CannotTranslate("tool_choice", f"wanted auto, none, required or a function, found {word!r}")
        return {"type": _CHOICES[word]}
    members = members_of(choice, "tool_choice")
    kind = text_of(members.get("type", raw("")), "tool_choice.type")
    if kind != "function":
        raise CannotTranslate("tool_choice.type", f"wanted function, found {kind!r}")
    function = members_of(members.get("function", raw(None)), "tool_choice.function")
    return {"type": "tool", "name": function.get("name", raw(""))}


def _tool(tool: Members, warnings: Warnings) -> Built | None:
    kind = text_of(tool.pop("type", raw("function")), "tools[].type")
    if kind != "function":
        warnings.lost(f"tools[].{kind}", "is no function")
        return None
    function = members_of(tool.pop("function", raw(None)), "tools[].function")
    made: Built = {"name": function.pop("name", raw(""))}
    for name in ("description", "strict"):
        move(function, made, name)
    parameters = given(function, "parameters")
    made["input_schema"] = parameters if parameters is not None else Raw(b'{"type":"object","properties":{}}')
    return made | function | tool


def put_output(chat: Members, request: Built, warnings: Warnings) -> None:
    """What the answer has to look like, and how much thought goes into it."""
    config: Built = {}
    effort = given(chat, "reasoning_effort")
    if effort is not None:
        if text_of(effort, "reasoning_effort") in _EFFORTS:
            config["effort"] = effort
        else:
            warnings.lost(f"reasoning_effort {bytes(effort).decode()}")
    wanted = given(chat, "response_format")
    if wanted is not None:
        form = members_of(wanted, "response_format")
        kind = text_of(form.get("type", raw("")), "response_format.type")
        if kind == "json_schema":
            schema = members_of(form.get("json_schema", raw(None)), "response_format.json_schema")
            config["format"] = {"type": "json_schema", "schema": schema.pop("schema", raw(None))}
            rest = [(name, value) for name, value in schema.items() if name not in ("name", "strict")]
            warnings.all_lost("response_format.json_schema.", rest)
        elif kind != "text":
            warnings.lost(f"response_format {kind}")
    if config:
        request["output_config"] = config


def put_tier(chat: Members, request: Built, warnings: Warnings) -> None:
    """Which of the provider's services answers."""
    tier = given(chat, "service_tier")
    if tier is None:
        return
    word = text_of(tier, "service_tier")
    if word in ("auto", "default"):
        request["service_tier"] = raw("standard_only" if word == "default" else "auto")
    else:
        warnings.lost(f"service_tier {word}")
