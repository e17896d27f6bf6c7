"""``/v1/responses``: OpenAI's later wire. Nothing is stored here, so a request cannot go on from an earlier response.

Source: OpenAI API reference, responses and their streaming events.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from tensorfusion.testing.llm.ask import FILTERED, IMAGE_TOKENS, LENGTH, Answer, Ask, Call, Choice, Tool, count
from tensorfusion.testing.llm.chat import most_of
from tensorfusion.testing.llm.refusals import Refusal, wrong
from tensorfusion.testing.llm.wire import Event, Ticket, encode, named, read


class Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    """Of the input: a message, a call of a tool, or what came of it."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None
    name: str = ""
    output: str | list[Part] | None = None


class ToolOf(msgspec.Struct):
    type: str = "function"
    name: str = ""
    description: str | None = None
    parameters: object = None


class NamedTool(msgspec.Struct):
    type: str = ""
    name: str = ""


class Format(msgspec.Struct):
    type: str = "text"
    schema: object = None


class Text(msgspec.Struct):
    format: Format | None = None


class ResponsesRequest(msgspec.Struct):
    model: str
    input: str | list[Item]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[ToolOf] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    previous_response_id: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None


_decoder: Final = msgspec.json.Decoder(ResponsesRequest)
_TOLD: Final = ("tools", "tool_choice", "text")
_loose: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Responses:
    """A request for a response, and its answer's spelling."""

    last: Final = (b"event: response.completed", b"event: response.incomplete")

    def __init__(self, body: bytes) -> None:
        self._request = request = read(_decoder, body)
        given = _loose.decode(body)
        self._told: dict[str, object] = {
            name: given[name] for name in ("tools", "tool_choice", "text") if name in given
        }
        self.stream = bool(request.stream)
        self.ask = _ask(request)

    def whole(self, answer: Answer, ticket: Ticket) -> bytes:
        return encode(self._response(answer, ticket, _status(answer.choices[0]), _output(answer.choices[0], ticket)))

    def events(self, answer: Answer, ticket: Ticket) -> Iterator[Event]:
        for number, (kind, body, step) in enumerate(self._bodies(answer, ticket)):
            yield named(kind, {"type": kind, "sequence_number": number, **body}), step

    def error_event(self, refusal: Refusal) -> bytes:
        body = {"type": "error", "code": refusal.code, "message": refusal.message, "param": refusal.param}
        return named("error", body)

    def _bodies(self, answer: Answer, ticket: Ticket) -> Iterator[tuple[str, dict[str, object], int]]:
        choice = answer.choices[0]
        begun = self._response(answer, ticket, "in_progress", [])
        yield "response.created", {"response": begun}, -1
        yield "response.in_progress", {"response": begun}, -1
        step = 0
        if not choice.calls:
            for kind, body in _message_events(choice, ticket):
                yield kind, body, step if kind == "response.output_text.delta" else -1
                step += kind == "response.output_text.delta"
        for index, call in enumerate(choice.calls):
            for kind, body in _call_events(call, index, ticket):
                yield kind, body, step if kind == "response.function_call_arguments.delta" else -1
                step += kind == "response.function_call_arguments.delta"
        status = _status(choice)
        yield f"response.{status}", {"response": self._response(answer, ticket, status, _output(choice, ticket))}, -1

    def _response(self, answer: Answer, ticket: Ticket, status: str, output: list[object]) -> dict[str, object]:
        request, prompt, said = self._request, answer.prompt_tokens, answer.tokens
        stop = answer.choices[0].stop
        reason = {LENGTH: "max_output_tokens", FILTERED: "content_filter"}.get(stop)
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + said,
        }
        return {
            "id": f"resp_{ticket.name}",
            "object": "response",
            "created_at": ticket.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": answer.model,
            "output": output,
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else usage,
            "user": request.user,
            **self._told,
        }


def _ask(request: ResponsesRequest) -> Ask:
    if request.previous_response_id is not None:
        raise wrong(
            f"Previous response with id '{request.previous_response_id}' not found: nothing is stored here.",
            "previous_response_id",
        )
    turns: list[tuple[str, str]] = []
    other = 0
    if request.instructions:
        turns.append(("system", request.instructions))
    items = [Item(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    for item in items:
        if item.type == "function_call":
            turns.append(("assistant", f" {item.name}"))
            continue
        role = "tool" if item.type == "function_call_output" else item.role
        text, tokens = _text(item.output if role == "tool" else item.content)
        turns.append(("system" if role == "developer" else role, text))
        other += tokens
    tools = [
        Tool(tool.name, tool.description or "", tool.parameters)
        for tool in request.tools or ()
        if tool.type == "function"
    ]
    choice = request.tool_choice
    wanted = request.text.format if request.text is not None else None
    return Ask(
        request.model,
        turns,
        other_tokens=other + count(tools),
        most=most_of(request.max_output_tokens, "max_output_tokens"),
        tools=tools,
        tool=f"={choice.name}" if isinstance(choice, NamedTool) else choice or "auto",
        several_tools=request.parallel_tool_calls is not False,
        schema=wanted.schema if wanted is not None and wanted.type == "json_schema" else None,
    )


def _text(content: str | list[Part] | None) -> tuple[str, int]:
    if content is None or isinstance(content, str):
        return content or "", 0
    said = [part.text if part.text is not None else part.refusal for part in content]
    return "".join([each for each in said if each is not None]), IMAGE_TOKENS * said.count(None)


def _status(choice: Choice) -> str:
    return "incomplete" if choice.stop in (LENGTH, FILTERED) else "completed"


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(ticket: Ticket, status: str, content: list[object]) -> dict[str, object]:
    return {"id": f"msg_{ticket.name}", "type": "message", "status": status, "content": content, "role": "assistant"}


def _called(call: Call, number: int, ticket: Ticket, status: str, arguments: str) -> dict[str, object]:
    return {
        "id": f"fc_{ticket.name}{number:02x}",
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": ticket.call(0, number),
        "name": call.name,
    }


def _output(choice: Choice, ticket: Ticket) -> list[object]:
    if choice.calls:
        return [
            _called(call, number, ticket, "completed", "".join(call.pieces)) for number, call in enumerate(choice.calls)
        ]
    return [_message(ticket, _status(choice), [_part("".join(choice.pieces))])]


def _message_events(choice: Choice, ticket: Ticket) -> Iterator[tuple[str, dict[str, object]]]:
    place = {"item_id": f"msg_{ticket.name}", "output_index": 0, "content_index": 0}
    text = "".join(choice.pieces)
    yield "response.output_item.added", {"output_index": 0, "item": _message(ticket, "in_progress", [])}
    yield "response.content_part.added", {**place, "part": _part("")}
    for piece in choice.pieces:
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**place, "text": text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": _part(text)}
    yield "response.output_item.done", {"output_index": 0, "item": _message(ticket, _status(choice), [_part(text)])}


def _call_events(call: Call, number: int, ticket: Ticket) -> Iterator[tuple[str, dict[str, object]]]:
    place = {"item_id": f"fc_{ticket.name}{number:02x}", "output_index": number}
    arguments = "".join(call.pieces)
    added = _called(call, number, ticket, "in_progress", "")
    yield "response.output_item.added", {"output_index": number, "item": added}
    for piece in call.pieces:
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    yield "response.function_call_arguments.done", {**place, "arguments": arguments, "name": call.name}
    done = _called(call, number, ticket, "completed", arguments)
    yield "response.output_item.done", {"output_index": number, "item": done}
