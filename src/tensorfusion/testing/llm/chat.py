"""``/v1/chat/completions`` as OpenAI and vLLM speak it.

An answer may go on from how it begins: the last message is the assistant's, with vLLM's ``continue_final_message`` and
without a generation prompt, or with ``prefix`` as some providers have it.

Source: OpenAI API reference, chat completions and its streaming events; vLLM ``ChatCompletionRequest``.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from tensorfusion.testing.llm.ask import IMAGE_TOKENS, MOST_CHOICES, Answer, Ask, Choice, Tool, count
from tensorfusion.testing.llm.refusals import Refusal, wrong
from tensorfusion.testing.llm.wire import DONE, FINGERPRINT, Event, Ticket, data, encode, escaped, read

_ANYTHING: Final = {"type": "object"}


class Part(msgspec.Struct):
    """Of a message that is not one text."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class CalledFunction(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class ToolCall(msgspec.Struct):
    function: CalledFunction = msgspec.field(default_factory=CalledFunction)


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    prefix: bool = False


class Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: object = None


class ToolOf(msgspec.Struct):
    function: Function | None = None
    type: str = "function"


class NamedFunction(msgspec.Struct):
    name: str = ""


class NamedTool(msgspec.Struct):
    function: NamedFunction = msgspec.field(default_factory=NamedFunction)


class JsonSchema(msgspec.Struct):
    schema: object = None


class Format(msgspec.Struct):
    type: str = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: str | list[str] | None = None
    n: int | None = None
    seed: int | None = None
    tools: list[ToolOf] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class PromptDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int = 0


class SaidDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Of tokens, in an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: SaidDetails = SaidDetails()


class Said(msgspec.Struct, frozen=True, gc=False):
    """A message of the answer."""

    content: str
    role: str = "assistant"
    refusal: None = None


class SaidCalls(msgspec.Struct, frozen=True):
    """One that calls tools."""

    tool_calls: list[object]
    content: None = None
    role: str = "assistant"
    refusal: None = None


class Chosen(msgspec.Struct, frozen=True):
    """A choice of the answer."""

    index: int
    message: Said | SaidCalls
    finish_reason: str
    stop_reason: str | None
    logprobs: None = None


class Completed(msgspec.Struct, frozen=True):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[Chosen]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: str = FINGERPRINT


_decoder: Final = msgspec.json.Decoder(ChatRequest)


class Chat:
    """A request for a chat completion, and its answer's spelling."""

    last: Final = (b"data: [DONE]",)

    def __init__(self, body: bytes) -> None:
        request = read(_decoder, body)
        self.stream = bool(request.stream)
        self._usage = request.stream_options is not None and request.stream_options.include_usage
        if self._usage and not self.stream:
            raise wrong("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        self.ask = _ask(request)

    def whole(self, answer: Answer, ticket: Ticket) -> bytes:
        choices = [_choice(choice, ticket, index) for index, choice in enumerate(answer.choices)]
        return encode(Completed(f"chatcmpl-{ticket.name}", ticket.created, answer.model, choices, usage_of(answer)))

    def events(self, answer: Answer, ticket: Ticket) -> Iterator[Event]:
        head = (
            f'data: {{"id":"chatcmpl-{ticket.name}","object":"chat.completion.chunk","created":{ticket.created},'
            f'"model":{escaped(answer.model)},"system_fingerprint":"{FINGERPRINT}","choices":['
        ).encode()
        tail = b'],"usage":null}\n\n' if self._usage else b"]}\n\n"
        for index, choice in enumerate(answer.choices):
            role = b'{"role":"assistant","content":%b}' % (b"null" if choice.calls else b'""')
            yield head + _delta(index, role) + tail, -1
        yield from _texts(answer.choices, head, tail)
        for index, choice in enumerate(answer.choices):
            yield from _called(choice, index, ticket, head, tail)
            end = b"{}"
            met = b',"stop_reason":%b' % encode(choice.stop.text) if choice.stop.text is not None else b""
            yield head + _delta(index, end, encode(choice.stop.reason) + met) + tail, -1
        if self._usage:
            yield head + b'],"usage":%b}\n\n' % encode(usage_of(answer)), -1
        yield DONE, -1

    def error_event(self, refusal: Refusal) -> bytes:
        return data(refusal.openai())


def usage_of(answer: Answer) -> Usage:
    """Tokens as OpenAI tells them."""
    return Usage(answer.prompt_tokens, answer.tokens, answer.prompt_tokens + answer.tokens)


def stops_of(stop: str | list[str] | None) -> Sequence[str]:
    return () if stop is None else (stop,) if isinstance(stop, str) else stop


def choices_of(n: int | None) -> int:
    """Raises Refusal: not a number of answers."""
    if n is not None and not 1 <= n <= MOST_CHOICES:
        raise wrong(f"Invalid 'n': expected 1 to {MOST_CHOICES}, got {n}.", "n")
    return n or 1


def most_of(most: int | None, param: str) -> int | None:
    """Raises Refusal: not a number of tokens."""
    if most is not None and most < 1:
        raise wrong(f"Invalid '{param}': expected a value >= 1, got {most}.", param)
    return most


def _ask(request: ChatRequest) -> Ask:
    if not request.messages:
        raise wrong("[] is too short - 'messages'", "messages")
    other = 0
    turns = []
    for message in request.messages:
        text, parts = _text(message)
        other += parts
        turns.append(("system" if message.role == "developer" else message.role, text))
    begun = ""
    last = request.messages[-1]
    if request.continue_final_message or last.prefix:
        if request.continue_final_message and request.add_generation_prompt:
            raise wrong("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        if last.role != "assistant":
            raise wrong(f"Cannot continue the final message: its role is {last.role}, not assistant.", "messages")
        begun = turns.pop()[1]
    tools = _tools(request.tools) if request.tools else ()
    most = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    return Ask(
        request.model,
        turns,
        other_tokens=other + count(tools),
        begun=begun,
        most=most_of(most, "max_tokens"),
        least=request.min_tokens,
        endless=request.ignore_eos,
        stops=stops_of(request.stop),
        seed=request.seed or 0,
        choices=choices_of(request.n),
        tools=tools,
        tool=_tool(request.tool_choice),
        several_tools=request.parallel_tool_calls is not False,
        schema=_schema(request.response_format),
    )


def _tools(tools: list[ToolOf]) -> list[Tool]:
    functions = [tool.function for tool in tools if tool.function is not None]
    return [Tool(function.name, function.description or "", function.parameters) for function in functions]


def _text(message: Message) -> tuple[str, int]:
    """What it says, and the tokens of what is no text."""
    content = message.content
    other = 0
    if content is None:
        text = ""
    elif isinstance(content, str):
        text = content
    else:
        said = [part.text if part.text is not None else part.refusal for part in content]
        text = "".join([each for each in said if each is not None])
        other = IMAGE_TOKENS * said.count(None)
    if message.tool_calls:
        text += "".join(f" {call.function.name}" for call in message.tool_calls)
    return text, other


def _tool(choice: str | NamedTool | None) -> str:
    if choice is None:
        return "auto"
    if isinstance(choice, NamedTool):
        return f"={choice.function.name}"
    if choice not in ("auto", "none", "required"):
        raise wrong(f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice")
    return choice


def _schema(wanted: Format | None) -> object:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return _ANYTHING
    if wanted.type != "json_schema":
        raise wrong(f"Invalid value: '{wanted.type}'.", "response_format.type")
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise wrong("Missing required parameter: 'response_format.json_schema.schema'.", "response_format")
    return wanted.json_schema.schema


def _choice(choice: Choice, ticket: Ticket, index: int) -> Chosen:
    if not choice.calls:
        message: Said | SaidCalls = Said("".join(choice.pieces))
    else:
        message = SaidCalls(_calls(choice, ticket, index))
    return Chosen(index, message, choice.stop.reason, choice.stop.text)


def _calls(choice: Choice, ticket: Ticket, index: int) -> list[object]:
    return [
        {
            "id": ticket.call(index, number),
            "type": "function",
            "function": {"name": call.name, "arguments": "".join(call.pieces)},
        }
        for number, call in enumerate(choice.calls)
    ]


def _delta(index: int, delta: bytes, reason: bytes = b"null") -> bytes:
    return b'{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}' % (index, delta, reason)


def _texts(choices: Sequence[Choice], head: bytes, tail: bytes) -> Iterator[Event]:
    """The words of all choices, beside each other."""
    tail = b'},"logprobs":null,"finish_reason":null}' + tail
    if len(choices) == 1:
        head += b'{"index":0,"delta":{"content":'
        for step, piece in enumerate(choices[0].pieces):
            yield head + encode(piece) + tail, step
        return
    for step in range(max(len(choice.pieces) for choice in choices)):
        for index, choice in enumerate(choices):
            if step < len(choice.pieces):
                start = b'{"index":%d,"delta":{"content":' % index
                yield head + start + encode(choice.pieces[step]) + tail, step


def _called(choice: Choice, index: int, ticket: Ticket, head: bytes, tail: bytes) -> Iterator[Event]:
    step = 0
    for number, call in enumerate(choice.calls):
        start = {
            "index": number,
            "id": ticket.call(index, number),
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield head + _delta(index, b'{"tool_calls":[%b]}' % encode(start)) + tail, -1
        for piece in call.pieces:
            more = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (number, encode(piece))
            yield head + _delta(index, more) + tail, step
            step += 1
