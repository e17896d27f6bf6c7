"""``/v1/messages`` as Anthropic speaks it, and the counting of its tokens.

A last message of the assistant is how the answer begins.

Source: Anthropic API reference, messages and their streaming events.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from tensorfusion.testing.llm.ask import FILTERED, IMAGE_TOKENS, LENGTH, TOOLS, Answer, Ask, Choice, Tool, count
from tensorfusion.testing.llm.refusals import Refusal, wrong
from tensorfusion.testing.llm.wire import Event, Ticket, encode, named, read


class Source(msgspec.Struct):
    type: str = ""


class Block(msgspec.Struct):
    """Of a message, a tool's result or the system's words."""

    type: str = "text"
    text: str | None = None
    name: str | None = None
    thinking: str | None = None
    content: "str | list[Block] | None" = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Block]


class ToolOf(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: object = None


class Choosing(msgspec.Struct):
    type: str = "auto"
    name: str = ""
    disable_parallel_tool_use: bool = False


class OutputFormat(msgspec.Struct):
    type: str = ""
    schema: object = None


class OutputConfig(msgspec.Struct):
    format: OutputFormat | None = None


class MessagesRequest(msgspec.Struct):
    model: str
    messages: list[Message]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[ToolOf] | None = None
    tool_choice: Choosing | None = None
    output_config: OutputConfig | None = None


_decoder: Final = msgspec.json.Decoder(MessagesRequest)
_STOP: Final = named("message_stop", {"type": "message_stop"})
_PING: Final = named("ping", {"type": "ping"})
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class Messages:
    """A request for a message, and its answer's spelling."""

    last: Final = (b"event: message_stop",)

    def __init__(self, body: bytes, *, counting: bool = False) -> None:
        request = read(_decoder, body)
        self.stream = bool(request.stream)
        if request.max_tokens is None and not counting:
            raise wrong("max_tokens: Field required")
        if request.max_tokens is not None and request.max_tokens < 0:
            raise wrong("max_tokens: Input should be greater than or equal to 0")
        self.ask = _ask(request)

    def whole(self, answer: Answer, ticket: Ticket) -> bytes:
        choice = answer.choices[0]
        if choice.calls:
            blocks: list[object] = [
                {
                    "type": "tool_use",
                    "id": f"toolu_{ticket.name}{number:02x}",
                    "name": call.name,
                    "input": msgspec.json.decode("".join(call.pieces)),
                }
                for number, call in enumerate(choice.calls)
            ]
        else:
            blocks = [{"type": "text", "text": "".join(choice.pieces)}]
        return encode(_message(answer, ticket, blocks, choice.tokens, choice))

    def events(self, answer: Answer, ticket: Ticket) -> Iterator[Event]:
        choice = answer.choices[0]
        start = {"type": "message_start", "message": _message(answer, ticket, [], 0, None)}
        yield named("message_start", start), -1
        step = 0
        if not choice.calls:
            yield _started(0, {"type": "text", "text": ""}), -1
            yield _PING, -1
            for piece in choice.pieces:
                yield _delta(0, b'{"type":"text_delta","text":%b}', piece), step
                step += 1
            yield _stopped(0), -1
        for index, call in enumerate(choice.calls):
            block = {"type": "tool_use", "id": f"toolu_{ticket.name}{index:02x}", "name": call.name, "input": {}}
            yield _started(index, block), -1
            if not index:
                yield _PING, -1
            for piece in call.pieces:
                yield _delta(index, b'{"type":"input_json_delta","partial_json":%b}', piece), step
                step += 1
            yield _stopped(index), -1
        reason, sequence = _reason(choice)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": {"output_tokens": choice.tokens},
        }
        yield named("message_delta", delta), -1
        yield _STOP, -1

    def error_event(self, refusal: Refusal) -> bytes:
        return b"event: error\ndata: %b\n\n" % refusal.anthropic()


def _ask(request: MessagesRequest) -> Ask:
    if not request.messages:
        raise wrong("messages: at least one message is required")
    turns: list[tuple[str, str]] = []
    other = 0
    if request.system is not None:
        turns.append(("system", _text(request.system)))
    for number, message in enumerate(request.messages):
        if message.role not in ("user", "assistant", "system"):
            raise wrong(f"messages.{number}.role: Input should be 'user', 'assistant' or 'system'")
        more, tokens = _turns(message)
        turns += more
        other += tokens
    begun = ""
    if request.messages[-1].role == "assistant":
        begun = turns.pop()[1]
        if begun[-1:].isspace():
            raise wrong("messages: final assistant content cannot end with trailing whitespace")
    tools = [Tool(tool.name, tool.description or "", tool.input_schema) for tool in request.tools or ()]
    choosing = request.tool_choice or Choosing()
    tool = f"={choosing.name}" if choosing.type == "tool" else _CHOICES.get(choosing.type)
    if tool is None:
        raise wrong(f"tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none', not '{choosing.type}'")
    wanted = request.output_config.format if request.output_config is not None else None
    return Ask(
        request.model,
        turns,
        other_tokens=other + count(tools),
        begun=begun,
        most=request.max_tokens,
        stops=request.stop_sequences or (),
        tools=tools,
        tool=tool,
        several_tools=not choosing.disable_parallel_tool_use,
        schema=wanted.schema if wanted is not None and wanted.type == "json_schema" else None,
    )


def _turns(message: Message) -> tuple[list[tuple[str, str]], int]:
    """A message as turns: results of tools are turns of their own, before the words of the user."""
    if isinstance(message.content, str):
        return [(message.role, message.content)], 0
    turns: list[tuple[str, str]] = []
    said, called, other = "", "", 0
    for block in message.content:
        if block.type == "text":
            said += block.text or ""
        elif block.type == "tool_use":
            called += f" {block.name}"
        elif block.type == "tool_result":
            turns.append(("tool", _text(block.content)))
        elif block.type == "thinking":
            other += len((block.thinking or "").split())
        else:
            other += IMAGE_TOKENS
    if said or called or not turns:
        turns.append((message.role, said + called))
    return turns, other


def _text(content: str | list[Block] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(block.text or "" for block in content)


def _message(
    answer: Answer, ticket: Ticket, blocks: list[object], said: int, choice: Choice | None
) -> dict[str, object]:
    reason, sequence = _reason(choice) if choice is not None else (None, None)
    return {
        "id": f"msg_{ticket.name}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said,
        },
    }


def _reason(choice: Choice) -> tuple[str, str | None]:
    if choice.stop == TOOLS:
        return "tool_use", None
    if choice.stop == LENGTH:
        return "max_tokens", None
    if choice.stop == FILTERED:
        return "refusal", None
    return ("end_turn" if choice.stop.text is None else "stop_sequence"), choice.stop.text


def _started(index: int, block: object) -> bytes:
    return named("content_block_start", {"type": "content_block_start", "index": index, "content_block": block})


def _delta(index: int, form: bytes, piece: str) -> bytes:
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index
    return head + form % encode(piece) + b"}\n\n"


def _stopped(index: int) -> bytes:
    return named("content_block_stop", {"type": "content_block_stop", "index": index})
