"""Requests that are not let in: what is known of one when it is refused, and how many records they may leave.

Who is let in leaves a record for each request, and pays for it with room in limits. Who is refused pays nothing, and
may come as often as a network carries: a client that tries again without a pause, or somebody who guesses keys. So each
caller, and all without a key together as one, may leave a burst of records and then so many a second; those beyond are
counted, and told in one record for each route and outcome a few times a minute. Sums over records are exact all the
same: each says how many requests it stands for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.seams import Key
from tensorfusion.wire.request import Request

if TYPE_CHECKING:
    from tensorfusion.gateway.evidence import Record

BURST: Final = 1000
"""Records of one caller's refusals at once, in one process."""
PER_SECOND: Final = 10
"""Those behind a burst."""
_SECONDS: Final = 1 / PER_SECOND
_MOST_CALLERS: Final = 4096
"""That are remembered before those are forgotten who have their whole burst again."""


@dataclass(slots=True, eq=False)
class Arrival:
    """A request that has no place yet. Times of ``time.monotonic``; 0: it did not get that far."""

    id: bytes
    request: Request
    api: str
    started: float
    key: Key | None = None
    arrived: float = 0.0
    """Its body was there."""
    asked: Asked | None = None
    route: str = ""
    asking: float = 0.0
    """Room was asked for."""

    def own_seconds(self, now: float) -> float:
        """The gateway's own time, without waiting for the body or for room."""
        if self.key is None:
            return now - self.started
        return (self.asking or now) - self.arrived if self.arrived else 0.0


class Refusals:
    """Of one process. ``leave`` takes the records that are left."""

    def __init__(self, leave: Callable[["Record"], None]) -> None:
        self._leave = leave
        self._next: dict[str, float] = {}
        """By caller: when the burst is whole again."""
        self._beyond: dict[tuple[str, str, int, str], tuple[Record, int]] = {}

    def put(self, record: "Record", now: float) -> None:
        """One more; ``now`` in seconds of any clock that never goes back."""
        whole = max(self._next.get(record.key_id, now), now) + _SECONDS
        if whole - now <= BURST * _SECONDS:
            if len(self._next) >= _MOST_CALLERS and record.key_id not in self._next:
                self._next = {caller: at for caller, at in self._next.items() if at > now}
            self._next[record.key_id] = whole
            self._leave(record)
            return
        which = record.key_id, record.route, record.status, record.error_type
        first, count = self._beyond.get(which, (record, 0))
        self._beyond[which] = first, count + 1

    def flush(self) -> None:
        """Tell of those that left no record of their own."""
        beyond, self._beyond = self._beyond, {}
        for first, count in beyond.values():
            self._leave(
                msgspec.structs.replace(
                    first,
                    id="",
                    request_id="",
                    requests=count,
                    api="",
                    model="",
                    asked_route="",
                    latency_ms=0.0,
                    overhead_ms=0.0,
                    bytes_in=0,
                    error_message=f"{count} requests like others of this caller, faster than {PER_SECOND} a second: "
                    "they left no records of their own",
                )
            )
