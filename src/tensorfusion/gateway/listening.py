"""Listening to a stream on its way through: what it says decides, what it is goes on unchanged.

One listener for each attempt. It gets each arrival and gives back the bytes that go on: whole events, as they came, but
for those that are no JSON (dropped and counted) and the usage that only the gateway asked for. It never gives back an
end that the answer has not: ``[DONE]`` goes on only behind a reason to finish, in every choice that has begun; where it
does not come, it is added if every choice that was asked for has finished.

Here is what all listeners share, and who listens to chunks; ``typed_listening`` is for events that name their type.

Source: the platform's contract, 3.6; OpenAI's streaming events.
"""

from abc import ABC, abstractmethod
from typing import Final, Protocol, TypeAlias

from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.following import Place
from tensorfusion.gateway.outcomes import Broken, of_error_event
from tensorfusion.gateway.reading import (
    DONE,
    FAILED_REASONS,
    NOTHING,
    Choice,
    Chunk,
    Usage,
    is_text,
    mend,
    read_chunk,
    read_chunks,
)
from tensorfusion.gateway.sse import (
    OTHER_HALF,
    Events,
    EventTooLong,
    are_few,
    data_of,
    event_of,
    name_of,
    objects_of,
    split_plain,
)
from tensorfusion.policy.routing.asks import Failure

DONE_EVENT: Final = event_of(DONE)
UNNUMBERED: Final = -1
"""Of events that have no number."""
Mark: TypeAlias = tuple[int, int, bool, Place, int]
_NOWHERE: Final = Place()


class Said:
    """What the client has of an answer, over all attempts."""

    __slots__ = ("comparable", "number", "pieces", "place", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.pieces = 0
        self.comparable = True
        """It is text of one choice and nothing else, so that another target's can be fitted behind it."""
        self.place = _NOWHERE
        """Of a response: where its text stands, as the client knows that."""
        self.number = UNNUMBERED
        """Of a response: its latest event's."""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def add(self, text: str) -> None:
        self.texts.append(text)
        self.pieces += 1

    def add_all(self, texts: list[str]) -> None:
        self.texts += texts
        self.pieces += len(texts)

    def mark(self) -> Mark:
        """How much it is, for ``back_to``."""
        return len(self.texts), self.pieces, self.comparable, self.place, self.number

    def back_to(self, mark: Mark) -> None:
        """What was heard since then never reached the client."""
        count, self.pieces, self.comparable, self.place, self.number = mark
        del self.texts[count:]


class Join(Protocol):
    """Fits the events of another attempt behind what was said."""

    joined: bool
    """What comes from now on is new."""
    text: str
    """The new text of the event that joined the two."""

    def fit(self, data: bytes, chunk: Chunk) -> bytes:
        """What goes on of an event; nothing of what was said already.

        Raises:
            Broken: it is another answer.
        """
        ...


class Listener(Protocol):
    """To one attempt at a stream."""

    @property
    def spoken(self) -> bool:
        """A word has come, or the end of an answer without any."""
        ...

    @property
    def finished(self) -> bool:
        """The answer is whole."""
        ...

    @property
    def done(self) -> bool:
        """The stream has told its end."""
        ...

    @property
    def finish_reason(self) -> str: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def dropped(self) -> int:
        """Events that were none."""
        ...

    @property
    def failure(self) -> Broken | None:
        """The target told of a failure, or sent what is no stream of events: nothing goes on from there."""
        ...

    def take(self, data: bytes) -> bytes:
        """What goes on of an arrival: with a ``failure``, what came before it."""
        ...

    def end(self) -> bytes:
        """The stream has ended without a failure of the connection: what is still to be sent.

        Raises:
            Broken: the answer is not whole.
        """
        ...


class EventListener(ABC):
    """What both kinds have in common: where the answer stands, and arrivals cut into events."""

    __slots__ = (
        "_events",
        "done",
        "dropped",
        "failure",
        "finish_reason",
        "finished",
        "said",
        "spoken",
        "usage",
    )

    def __init__(self, said: Said) -> None:
        self._events = Events()
        self.said = said
        self.spoken = False
        self.finished = False
        self.done = False
        self.finish_reason = ""
        self.usage: Usage | None = None
        self.dropped = 0
        self.failure: Broken | None = None

    def take(self, data: bytes) -> bytes:
        try:
            plain = self._events.plain(data)
            if plain is None:
                return self._hear_all(self._events.feed(data))
        except EventTooLong as error:
            self.failure = Broken(Failure.MALFORMED, str(error))
            return b""
        if are_few(plain):
            return self._hear_one(plain) if plain else b""
        words = self._hear_words(plain)
        return plain[:words] + self._hear_all(split_plain(plain[words:]))

    def _hear_one(self, event: bytes) -> bytes:
        """As ``_hear_all``, of the one event that nearly every arrival is."""
        try:
            return self._hear(event) if is_text(event) else self._drop()
        except Broken as broken:
            self.failure = broken
            return b""

    def _hear_all(self, events: list[bytes]) -> bytes:
        """What goes on of events; with a failure, what comes before it."""
        parts: list[bytes] = []
        add, hear = parts.append, self._hear
        try:
            for event in events:
                if event == OTHER_HALF:
                    add(event)
                else:
                    add(hear(event) if is_text(event) else self._drop())
        except Broken as broken:
            self.failure = broken
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _drop(self) -> bytes:
        """Of an event that is none."""
        self.dropped += 1
        return b""

    def _mended(self, event: bytes, data: bytes) -> tuple[bytes, bytes] | None:
        """An event that is nearly JSON, as it goes on, and what it carries, as it is read; None where it is no event.
        No other target's answer is fitted behind it."""
        found = mend(data)
        if found is None:
            return None
        self.said.comparable = False
        return event if found.sent == data else event_of(found.sent, name=name_of(event)), found.read

    def _hear_odd(self, event: bytes, data: bytes) -> bytes:
        """Of an event that is no JSON as it came. Raises Broken."""
        mended = self._mended(event, data)
        return self._drop() if mended is None else self._hear_mended(*mended)

    def _hear_words(self, events: bytes) -> int:
        """Hear what plain events begin with at once, as far as it is words and nothing else: its bytes."""
        return 0

    @abstractmethod
    def _hear(self, event: bytes) -> bytes:
        """What goes on of an event.

        Raises:
            Broken: the target failed.
        """

    @abstractmethod
    def _hear_mended(self, event: bytes, data: bytes) -> bytes:
        """As ``_hear``, of an event as it goes on, and what it carries as it is read."""


class ChunkListener(EventListener):
    """To chunks of chat or text completions."""

    __slots__ = ("_asked", "_ended", "_further", "_join")

    def __init__(self, asked: Asked, said: Said, join: Join | None = None) -> None:
        super().__init__(said)
        self._asked = asked
        self._ended: set[int] = set()
        self._further: set[int] = set()
        """Choices that have begun, of which the first is not looked for."""
        self._join = join

    def end(self) -> bytes:
        if not self.finished:
            raise Broken(Failure.MALFORMED, "the stream ended without a reason to finish")
        if self.done:
            return b""
        self.done = True
        return DONE_EVENT

    def _hear_words(self, events: bytes) -> int:
        join = self._join
        if self.done or (join is not None and not join.joined):
            return 0
        objects = objects_of(events) if is_text(events) else None
        chunks = read_chunks(objects) if objects is not None else None
        if objects is None or chunks is None:
            return 0
        count, texts = 0, []
        for chunk in chunks:
            text = _only_text(chunk)
            if text is None:
                break
            count += 1
            if text:
                texts.append(text)
        if texts:
            self.spoken = True
            self.said.add_all(texts)
        return objects.size(count) if count else 0

    def _hear(self, event: bytes) -> bytes:
        if self.done:
            return b""
        data = data_of(event)
        if data is None:
            return event
        if data == DONE:
            return self._hear_done(event)
        chunk = read_chunk(data)
        if chunk is None:
            return self._hear_odd(event, data)
        text = _only_text(chunk) if self._join is None else None
        if text is None:
            return self._hear_chunk(event, data, chunk)
        if text:
            self.spoken = True
            self.said.add(text)
        return event

    def _hear_mended(self, event: bytes, data: bytes) -> bytes:
        return self._hear_chunk(event, data, read_chunk(data) or Chunk(opaque=True))

    def _hear_chunk(self, event: bytes, data: bytes, chunk: Chunk) -> bytes:
        """Of an event that may say anything."""
        if chunk.failed:
            raise of_error_event(chunk.error, begun=self.spoken)
        if chunk.usage is not None:
            self.usage = chunk.usage
            if not chunk.choices and not self._asked.usage_wanted:
                return b""
        join = self._join
        if join is not None and not join.joined:
            event = join.fit(data, chunk)
            if not join.joined:
                return b""
            _put_text(chunk, join.text)
        if chunk.choices:
            for choice in chunk.choices:
                self._note(choice)
        elif chunk.opaque:
            self.said.comparable = False
            self.spoken = True
        return event

    def _hear_done(self, event: bytes) -> bytes:
        self.done = True
        if not self.finished:  # a target may make fewer choices than it was asked for
            self.finished = self._ended >= {0, *self._further}
        return event if self.finished else b""

    def _note(self, choice: Choice) -> None:
        """Remember what a choice says that the client gets."""
        delta = choice.delta
        text = delta.content if delta is not None else choice.text
        if text:
            self.spoken = True
            self.said.add(text)
        if choice.index or (delta is not None and delta.more_than_text):
            self._further.add(choice.index)
            self.said.comparable = False
            self.spoken = True
        if choice.finish_reason:
            if choice.finish_reason in FAILED_REASONS:
                raise Broken(Failure.MALFORMED, f"it finished with {choice.finish_reason!r}")
            self.spoken = True
            self.finish_reason = choice.finish_reason
            self._ended.add(choice.index)
            self.finished = len(self._ended) >= self._asked.choices and self._ended >= {0, *self._further}


def _only_text(chunk: Chunk) -> str | None:
    """What is said by an event that says a word of the first choice, or nothing, and nothing else; else None."""
    choices = chunk.choices
    if not choices or len(choices) > 1 or chunk.usage is not None or chunk.error is not NOTHING:
        return None
    choice = choices[0]
    delta = choice.delta
    if choice.finish_reason or choice.index or (delta is not None and delta.more_than_text):
        return None
    return (delta.content if delta is not None else choice.text) or ""


def _put_text(chunk: Chunk, text: str) -> None:
    """Of the event's text, only this is new."""
    for choice in chunk.choices or ():
        if choice.delta is not None:
            choice.delta.content = text
        else:
            choice.text = text
