"""One target for each session, by weighted rendezvous hashing.

Every target draws a number from the session and its own name, as a race of exponential clocks whose rates are the
weights: the first to ring wins. So each gets its share of sessions; a target that leaves gives its own sessions to the
others and moves no other one; one whose weight grows only takes.

Nothing is remembered, so all workers and gateways agree.

Source: Thaler and Ravishankar (1998); weights by Schindelhauer and Schomaker (2005).
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log

_BITS = (1 << 64) - 1
_UNIT = 2.0**-53


def name_hash(name: str) -> int:
    """64 bits of a name, well mixed."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def winner(session: str, places: Iterable[int], hashes: Sequence[int], weights: Sequence[int]) -> int:
    """Which of the places the session belongs to. ``hashes`` are those of the names, by place.

    A weight of 0 wins only where no other place is.
    """
    key = name_hash(session)
    best, earliest = -1, 0.0
    for place in places:
        mixed = _mix(key ^ hashes[place])
        drawn = ((mixed >> 11) + 0.5) * _UNIT  # in (0, 1), never either end
        rings = -log(drawn) / (weights[place] or 1e-300)
        if best < 0 or rings < earliest:
            best, earliest = place, rings
    return best


def _mix(value: int) -> int:
    """The finalizer of SplitMix64: every bit of the result depends on every bit of the value."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _BITS
    return value ^ value >> 31
