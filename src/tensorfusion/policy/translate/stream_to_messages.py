"""The chunks of a chat completion, as a message's events.

| of a chunk | becomes |
|---|---|
| the first | ``message_start``, its usage 0: a chat completion tells it at the end |
| ``reasoning_content``, ``reasoning`` | a block of ``thinking``, ``thinking_delta`` |
| ``content``, ``refusal`` | a block of ``text``, ``text_delta`` |
| ``tool_calls`` | a block of ``tool_use`` each, ``input_json_delta`` |
| ``finish_reason``, ``usage`` | ``message_delta``, at the end |
| ``[DONE]`` | the end of the last block, ``message_delta``, ``message_stop`` |
| an error | ``error`` |
| choices beside the first, ``logprobs``, ``function_call`` | a warning |

A call begins with a new number, or with a new id: some give all of them the number 0. A block ends where the next one
begins, and cannot go on after that: an upstream that goes back to an earlier call of a tool is refused. Texts go on as
they are spelled. The events together say what ``answer_to_messages`` makes of the whole.

Source: as ``stream_to_chat``.
"""

from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from tensorfusion.policy.translate.errors import error_to_messages
from tensorfusion.policy.translate.pieces import NULL, CannotTranslate, Warnings, event_of, inside, says_nothing, spell
from tensorfusion.policy.translate.words import ChatUsage, message_usage, stop_reason

Named: TypeAlias = tuple[bytes, bytes]
"""An event's name and its data."""
_DONE: Final = b"[DONE]"
_EMPTY: Final = Raw(b'""')
_TEXT, _THINKING, _REFUSAL = -1, -2, -3
_BEGINNINGS: Final = {
    _TEXT: b'{"type":"text","text":""}',
    _REFUSAL: b'{"type":"text","text":""}',
    _THINKING: b'{"type":"thinking","thinking":"","signature":""}',
}


class _Function(msgspec.Struct):
    name: Raw = NULL
    arguments: Raw = NULL


class _Call(msgspec.Struct):
    index: int = 0
    id: Raw = NULL
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: Raw = NULL
    reasoning_content: Raw = NULL
    reasoning: Raw = NULL
    refusal: Raw = NULL
    tool_calls: list[_Call] | None = None
    function_call: Raw = NULL


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: Raw = NULL
    logprobs: Raw = NULL


class _Chunk(msgspec.Struct):
    id: Raw = NULL
    model: Raw = NULL
    choices: list[_Choice] = []
    usage: ChatUsage | None = None
    error: Raw = NULL


_decoder: Final = msgspec.json.Decoder(_Chunk)


class StreamToMessages:
    """Of one answer. ``finished``: all of it was said. ``begun``: the beginning of the message, and of the text that it
    begins with, were said by somebody else."""

    def __init__(self, *, begun: bool = False) -> None:
        self.finished = False
        self._warnings = Warnings()
        self._started = begun
        self._open: int | None = _TEXT if begun else None
        """What is being said: ``_TEXT``, ``_THINKING``, ``_REFUSAL``, or the number of a call."""
        self._index = 0 if begun else -1
        self._last_call = -1
        self._call_ids: list[bytes | None] = []
        self._reason: str | None = None
        self._sequence = NULL
        self._usage = ChatUsage()

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings.told()

    def feed(self, data: bytes) -> list[Named]:
        """Names and data of the events to send for an event with this data.

        Raises:
            CannotTranslate: it is no chunk, or one that goes back to what has ended.
        """
        if self.finished:
            return []
        if data == _DONE:
            return self._end()
        chunk = event_of(_decoder, data, "a chunk of a chat completion")
        if not says_nothing(chunk.error):
            return [(b"error", error_to_messages(500, data))]
        events: list[Named] = []
        if not self._started:
            self._started = True
            events.append(self._start(chunk))
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices:
            if choice.index:
                self._warnings.lost("choices", "only the first is told")
            else:
                self._say(choice, events)
        return events

    def _start(self, chunk: _Chunk) -> Named:
        message = (
            b'{"type":"message_start","message":{"id":%b,"type":"message","role":"assistant","model":%b,"content":[],'
            b'"stop_reason":null,"stop_sequence":null,"usage":%b}}'
        )
        usage = spell(message_usage(ChatUsage()))
        return b"message_start", message % (bytes(chunk.id), bytes(chunk.model), usage)

    def _say(self, choice: _Choice, events: list[Named]) -> None:
        if choice.logprobs != NULL:
            self._warnings.lost("choices[].logprobs")
        delta = choice.delta
        if delta is not None:
            thought = delta.reasoning_content if delta.reasoning_content != NULL else delta.reasoning
            self._add(_THINKING, thought, events)
            self._add(_TEXT, delta.content, events)
            self._add(_REFUSAL, delta.refusal, events)
            for call in delta.tool_calls or ():
                self._call(call, events)
            if delta.function_call != NULL:
                self._warnings.lost("choices[].delta.function_call")
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason
            self._sequence = choice.stop_reason

    def _add(self, kind: int, text: Raw, events: list[Named]) -> None:
        if text == NULL or not inside(text, "choices[].delta"):
            return
        if self._open != kind:
            self._begin(kind, _BEGINNINGS[kind], events)
        name = b"thinking" if kind == _THINKING else b"text"
        self._delta(b'{"type":"%b_delta","%b":%b}' % (name, name, bytes(text)), events)

    def _call(self, call: _Call, events: list[Named]) -> None:
        function = call.function or _Function()
        named = bytes(call.id) if call.id not in (NULL, _EMPTY) else None
        if call.index > self._last_call or (named is not None and named not in self._call_ids):
            self._last_call = max(call.index, self._last_call)
            self._call_ids.append(named)
            block = {"type": "tool_use", "id": call.id, "name": function.name, "input": {}}
            self._begin(call.index, spell(block), events)
        elif call.index != self._open or (named is not None and named != self._call_ids[-1]):
            raise CannotTranslate("tool_calls", f"more of call {call.index} came when another had begun")
        if function.arguments != NULL and inside(function.arguments, "tool_calls[].function.arguments"):
            self._delta(b'{"type":"input_json_delta","partial_json":%b}' % bytes(function.arguments), events)

    def _begin(self, kind: int, block: bytes, events: list[Named]) -> None:
        self._close(events)
        self._open = kind
        self._index += 1
        start = b'{"type":"content_block_start","index":%d,"content_block":%b}' % (self._index, block)
        events.append((b"content_block_start", start))

    def _delta(self, delta: bytes, events: list[Named]) -> None:
        data = b'{"type":"content_block_delta","index":%d,"delta":%b}' % (self._index, delta)
        events.append((b"content_block_delta", data))

    def _close(self, events: list[Named]) -> None:
        if self._open is not None:
            self._open = None
            events.append((b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % self._index))

    def _end(self) -> list[Named]:
        """Raises CannotTranslate: not all was said."""
        if self._reason is None:
            raise CannotTranslate("", "the stream ended without a finish_reason")
        events: list[Named] = []
        self._close(events)
        word, sequence = stop_reason(self._reason, self._sequence)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": word, "stop_sequence": sequence},
            "usage": message_usage(self._usage),
        }
        events += [(b"message_delta", spell(delta)), (b"message_stop", b'{"type":"message_stop"}')]
        self.finished = True
        return events
