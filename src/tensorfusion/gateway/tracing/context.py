"""Which trace a request belongs to, and whether it is recorded.

A request that comes with a trace goes on in it, and what its sender decided about recording holds; one that comes with
none, or with a malformed one, begins a trace, of which the configured part is recorded. Targets are told of either.

Source: W3C Trace Context (level 2), ``traceparent``.
"""

import random
import re
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
_FIELD: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ZEROS: Final = re.compile(rb"0+")
_SAMPLED: Final = 1
_RANDOM: Final = 2
"""Of a trace id that is random in its last 56 bits, as ours are."""
_RANDOM_BITS: Final = 56


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's place in its trace: ids in hexadecimal digits; ``parent`` empty where it begins the trace."""

    trace_id: str
    span_id: str
    parent: str
    flags: int

    @property
    def sampled(self) -> bool:
        return bool(self.flags & _SAMPLED)

    def field(self, span_id: str) -> tuple[bytes, bytes]:
        """What a target is told that is asked by this span."""
        return TRACEPARENT, f"00-{self.trace_id}-{span_id}-{self.flags:02x}".encode()


def trace_of(given: bytes | None, *, ratio: float) -> Trace:
    """The trace of a request with this ``traceparent``; ``ratio`` of those that begin here are recorded."""
    found = _FIELD.fullmatch(given) if given is not None else None
    if found is not None:
        version, trace_id, parent, flags, further = found.groups()
        proper = version != b"ff" and (version != b"00" or further is None)
        if proper and not _ZEROS.fullmatch(trace_id) and not _ZEROS.fullmatch(parent):
            kept = int(flags, 16) & (_SAMPLED | _RANDOM)
            return Trace(trace_id.decode(), new_span_id(), parent.decode(), kept)
    number = random.getrandbits(128) or 1
    part = number & ((1 << _RANDOM_BITS) - 1)
    sampled = _SAMPLED if part < ratio * (1 << _RANDOM_BITS) else 0
    return Trace(f"{number:032x}", new_span_id(), "", sampled | _RANDOM)


def new_span_id() -> str:
    """Not all zeros."""
    return f"{random.getrandbits(64) or 1:016x}"
