"""What the wires share: how a request is read, an event spelled, an answer named."""

import time
from collections.abc import Iterator
from typing import Final, Protocol, TypeAlias, TypeVar

import msgspec

from tensorfusion.testing.llm.ask import Answer, Ask
from tensorfusion.testing.llm.refusals import Refusal, wrong

Event: TypeAlias = tuple[bytes, int]
"""An event of a stream as it goes over the wire, and which token it brings: -1 for none."""

FINGERPRINT: Final = "fp_tensorfusion_testserver"
DONE: Final = b"data: [DONE]\n\n"
T = TypeVar("T")

encode: Final = msgspec.json.Encoder().encode


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """Of one answer: ``name`` is different for each, ``created`` in seconds since 1970."""

    name: str
    created: int

    def call(self, choice: int, number: int) -> str:
        """The id of a tool call."""
        return f"call_{self.name}{choice:x}{number:02x}"


class Talk(Protocol):
    """A request as one wire spells it. ``last`` is how the event begins that ends a stream."""

    stream: bool
    ask: Ask

    @property
    def last(self) -> tuple[bytes, ...]: ...

    def whole(self, answer: Answer, ticket: Ticket) -> bytes: ...

    def events(self, answer: Answer, ticket: Ticket) -> Iterator[Event]: ...

    def error_event(self, refusal: Refusal) -> bytes: ...


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises Refusal: no JSON, or not of this shape."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        why, _, where = str(error).partition(" - at `$.")
        raise wrong(f"{why}{f': {where[:-1]}' if where else ''}", where[:-1] or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"We could not parse the JSON body of your request: {error}") from error


def escaped(text: str) -> str:
    """As a JSON string."""
    return encode(text).decode()


def data(body: bytes) -> bytes:
    """An event without a name."""
    return b"data: %b\n\n" % body


def stamped(event: bytes) -> bytes:
    """The event with the moment at which this is asked, in nanoseconds of the clock that all processes of a machine
    share; one that carries no object stays as it is."""
    return event.replace(b"data: {", b'data: {"sent_ns":%d,' % time.perf_counter_ns(), 1)


def named(name: str, body: object) -> bytes:
    """An event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(body))
