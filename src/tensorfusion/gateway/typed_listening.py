"""Listening to events that name their type: Anthropic's messages, and responses.

Both have one last event, without which an answer is not whole. A message that is joined to another one is heard as
chunks (``speech``), so who listens here hears it only up to there. A response is joined here: where the client has some
of its text already, that is swallowed, and what comes behind it is told as a part of the response that the client
knows.

Source: Anthropic's "Streaming messages" ("message_stop"); OpenAI's API reference, "Responses", "Streaming events"
("response.completed").
"""

from abc import abstractmethod
from typing import ClassVar, Final

from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.following import ENDS, Step, follow
from tensorfusion.gateway.listening import EventListener, Said
from tensorfusion.gateway.outcomes import Broken, of_error_event
from tensorfusion.gateway.reading import DONE
from tensorfusion.gateway.splicing import RepeatedResponse, stands_alone
from tensorfusion.gateway.sse import data_of, event_of
from tensorfusion.gateway.typed import Typed, first_text, read_of_response, read_typed
from tensorfusion.policy.routing.asks import Failure

_BLOCK: Final = "content_block_"
_BLOCK_START: Final = "content_block_start"
_BLOCK_DELTA: Final = "content_block_delta"
_DELTA: Final = "message_delta"
_STOP: Final = "message_stop"
STOP: Final = b'{"type":"message_stop"}'
_STOP_EVENT: Final = event_of(STOP, name=_STOP.encode())
_WORDS: Final = ("response.output_text.", "response.function_call", "response.reasoning", "response.refusal")
_SAID_BEFORE: Final = ".done"
"""How types of events end that say once more what came in pieces."""


class _TypedListener(EventListener):
    """What both have in common."""

    __slots__ = ()
    _last: ClassVar[tuple[str, ...]]
    """Types of the events that end an answer ..."""
    _failed: ClassVar[tuple[str, ...]]
    """... and of those that tell of a failure."""

    def _hear(self, event: bytes) -> bytes:
        data = data_of(event)
        if data == DONE:  # some end every stream so: it is an end to clients
            return event if self.done else b""
        if self.done:
            return b""
        if data is None:
            return event
        found = read_typed(data)
        return self._hear_odd(event, data) if found is None else self._hear_typed(event, data, found)

    def _hear_mended(self, event: bytes, data: bytes) -> bytes:
        return self._hear_typed(event, data, read_typed(data) or Typed())

    def _hear_typed(self, event: bytes, data: bytes, found: Typed) -> bytes:
        if found.type in self._failed:
            raise of_error_event(found.failure, begun=self.spoken)
        passed = self._hear_word(event, data, found.type)
        if found.usage is not None:
            self.usage = found.usage if self.usage is None else self.usage.joined(found.usage)
        self.finish_reason = found.finish_reason or self.finish_reason
        return self._hear_end(passed, found.type)

    @abstractmethod
    def _hear_word(self, event: bytes, data: bytes, kind: str) -> bytes:
        """Remember what an event of this type says of the answer, if it does: what goes on of it. Raises Broken."""

    def _hear_end(self, event: bytes, kind: str) -> bytes:
        if kind in self._last:
            self.spoken = self.finished = self.done = True
        return event


class MessageListener(_TypedListener):
    """To a message."""

    __slots__ = ()
    _last = (_STOP,)
    _failed = ("error",)

    def end(self) -> bytes:
        if not self.finished:
            lacking = "stop_reason" if self.done else _STOP
            raise Broken(Failure.MALFORMED, f"the stream ended without {lacking}")
        if self.done:
            return b""
        self.done = True
        return _STOP_EVENT

    def _hear_word(self, event: bytes, data: bytes, kind: str) -> bytes:
        if kind == _BLOCK_DELTA:
            self.spoken = True
            self._say(first_text(data))
        elif kind.startswith(_BLOCK):
            text = first_text(data) if kind == _BLOCK_START else None
            if text is None:
                self.said.comparable = False
            elif text:
                self._say(text)
        return event

    def _say(self, text: str | None) -> None:
        """A word has come: of the text that a message begins with, or (None) of what nobody could go on from."""
        if text is None:
            self.said.comparable = False
            self.said.pieces += 1
        else:
            self.said.add(text)

    def _hear_end(self, event: bytes, kind: str) -> bytes:
        if kind == _STOP and not self.finish_reason:
            self.done = True
            return b""
        if kind == _DELTA and self.finish_reason:
            self.spoken = self.finished = True
        return super()._hear_end(event, kind)


class ResponseListener(_TypedListener):
    """To a response: behind what the client has of it, if it has some."""

    __slots__ = ("_join",)
    _last = ENDS
    _failed = ("error", "response.failed")

    def __init__(self, asked: Asked, said: Said) -> None:
        super().__init__(said)
        if not stands_alone(asked):
            said.comparable = False
        self._join = RepeatedResponse(said) if said.place.item is not None else None

    def end(self) -> bytes:
        if not self.finished:
            raise Broken(Failure.MALFORMED, f"the stream ended without {ENDS[0]}")
        return b""

    def _hear_mended(self, event: bytes, data: bytes) -> bytes:
        join = self._join
        if join is not None and not join.joined:
            return join.fit(event, "", None)  # what is read of it is not to the letter what is told
        return super()._hear_mended(event, data)

    def _hear_word(self, event: bytes, data: bytes, kind: str) -> bytes:
        said, join = self.said, self._join
        heard = read_of_response(data)
        if join is not None:
            event = join.fit(event, kind, heard)
            if not join.joined:
                return b""
            self.spoken = True
        elif heard is not None and heard.sequence_number is not None:
            said.number = max(said.number, heard.sequence_number)
        word = kind.startswith(_WORDS)
        if word:
            self.spoken = True
        step, said.place = follow(said.place, kind, heard)
        if step is Step.TEXT and heard is not None:
            if heard.delta:
                said.add(heard.delta)
        elif step is Step.OTHER or (heard is not None and heard.text is not None and heard.text != said.text):
            said.comparable = False
            if word and not kind.endswith(_SAID_BEFORE):
                said.pieces += 1
        return event
