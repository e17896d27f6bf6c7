"""A stream of a message's events, as the chunks of a chat completion.

| event | becomes |
|---|---|
| ``message_start`` | the chunk with the role |
| a start of ``tool_use`` | a chunk with the call's id and name |
| ``text_delta`` | ``content`` |
| ``thinking_delta`` | ``reasoning_content`` |
| ``input_json_delta`` | the call's ``arguments``; the end of a call that had none: ``{}`` |
| ``signature_delta``, ``citations_delta``, blocks of other types | a warning |
| ``message_delta`` | ``finish_reason`` |
| ``message_stop`` | usage, where it was asked for; ``[DONE]`` |
| ``ping`` | nothing |
| ``error`` | the error |
| any other event | a warning |

Texts go on as they are spelled. The chunks together say what ``answer_to_chat`` makes of the whole message.

Source: Anthropic API reference, streaming messages; OpenAI API reference, chat completion chunks.
"""

from typing import Final

import msgspec
from msgspec import Raw

from tensorfusion.policy.translate.errors import error_to_chat
from tensorfusion.policy.translate.pieces import NULL, CannotTranslate, Warnings, event_of, in_a_string, inside, spell
from tensorfusion.policy.translate.words import MessageUsage, chat_usage, finish_reason

DONE: Final = b"[DONE]"


class _Block(msgspec.Struct):
    type: str = ""
    id: Raw = NULL
    name: Raw = NULL
    text: Raw = NULL
    thinking: Raw = NULL
    input: Raw = NULL


class _Delta(msgspec.Struct):
    type: str = ""
    text: Raw = NULL
    thinking: Raw = NULL
    partial_json: Raw = NULL
    stop_reason: str | None = None
    stop_sequence: Raw = NULL


class _Message(msgspec.Struct):
    id: Raw = NULL
    model: Raw = NULL
    usage: MessageUsage | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: MessageUsage | None = None


_decoder: Final = msgspec.json.Decoder(_Event)


class StreamToChat:
    """Of one answer. ``finished``: all of it was said."""

    def __init__(self, *, created: int, include_usage: bool) -> None:
        self.finished = False
        self._ended = False
        self._warnings = Warnings()
        self._created = created
        self._include_usage = include_usage
        self._head = b""
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._usage = MessageUsage()
        self._calls: dict[int, int] = {}
        """The number of a call, by its block."""
        self._mute: set[int] = set()
        """Calls of which no argument was told yet, by their blocks."""

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings.told()

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events to send for an event with this data.

        Raises:
            CannotTranslate: it is no event of a message, or comes before the message has begun.
        """
        if self.finished:
            return []
        event = event_of(_decoder, data, "an event of a message")
        match event.type:
            case "content_block_delta":
                return self._delta(event.index, event.delta or _Delta())
            case "content_block_start":
                return self._start_block(event.index, event.content_block or _Block())
            case "content_block_stop":
                return self._stop_block(event.index)
            case "message_start":
                return self._start(event.message or _Message())
            case "message_delta":
                return self._finish(event)
            case "message_stop":
                return self._stop()
            case "error":
                return [error_to_chat(500, data)]
            case "ping":
                pass
            case other:
                self._warnings.lost(f"event {other}")
        return []

    def _start(self, message: _Message) -> list[bytes]:
        self._usage = message.usage or MessageUsage()
        self._head = b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            bytes(message.id),
            self._created,
            bytes(message.model),
        )
        return [self._chunk(b'{"role":"assistant","content":""}')]

    def _start_block(self, index: int, block: _Block) -> list[bytes]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            found = spell(
                {"index": number, "id": block.id, "type": "function", "function": {"name": block.name, "arguments": ""}}
            )
            started = [self._chunk(b'{"tool_calls":[%b]}' % found)]
            if bytes(block.input) in (b"{}", b"null"):
                self._mute.add(index)
            else:
                started.append(self._arguments(number, in_a_string(block.input, "content_block.input")))
            return started
        if block.type == "text":
            return self._said(b"content", block.text)
        if block.type == "thinking":
            return self._said(b"reasoning_content", block.thinking)
        self._warnings.lost(f"content[].{block.type}")
        return []

    def _delta(self, index: int, delta: _Delta) -> list[bytes]:
        if delta.type == "text_delta":
            return self._said(b"content", delta.text)
        if delta.type == "input_json_delta":
            number = self._calls.get(index)
            if number is None or bytes(delta.partial_json) in (b'""', b"null"):
                return []
            self._mute.discard(index)
            return [self._arguments(number, delta.partial_json)]
        if delta.type == "thinking_delta":
            return self._said(b"reasoning_content", delta.thinking)
        self._warnings.lost(f"content[].{delta.type.removesuffix('_delta')}")
        return []

    def _stop_block(self, index: int) -> list[bytes]:
        if index not in self._mute:
            return []
        self._mute.discard(index)
        return [self._arguments(self._calls[index], Raw(b'"{}"'))]

    def _finish(self, event: _Event) -> list[bytes]:
        if event.usage is not None:
            self._usage = self._usage.joined(event.usage)
        delta = event.delta
        if delta is None or delta.stop_reason is None:
            return []
        self._ended = True
        reason = spell(finish_reason(delta.stop_reason, self._warnings))
        met = b',"stop_reason":%b' % bytes(delta.stop_sequence) if delta.stop_sequence != NULL else b""
        return [self._chunk(b"{}", reason + met)]

    def _stop(self) -> list[bytes]:
        if not self._ended:
            raise CannotTranslate("", "the stream ended without a stop_reason")
        self.finished = True
        if not self._include_usage:
            return [DONE]
        return [self._head + b'],"usage":%b}' % spell(chat_usage(self._usage)), DONE]

    def _said(self, name: bytes, text: Raw) -> list[bytes]:
        if text == NULL or not inside(text, f"content[].{name.decode()}"):
            return []
        return [self._chunk(b'{"%b":%b}' % (name, bytes(text)))]

    def _arguments(self, number: int, text: Raw) -> bytes:
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (number, bytes(text)))

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        if not self._head:
            raise CannotTranslate("", "an event before message_start")
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (delta, reason)
        return self._head + choice + self._tail
