"""Who runs and who waits: so many requests at once, and so many tokens of all of them, first come, first served.

What a request will need is known before it runs, so nothing is ever evicted in the middle as a real engine may do.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import msgspec


class Place(msgspec.Struct, eq=False):
    """A request's: ``need`` are its tokens, prompt and answer."""

    need: int
    runs: bool = False
    admitted: asyncio.Future[None] | None = None


@dataclass(slots=True)
class Engine:
    """``concurrency`` 0 is without a bound."""

    concurrency: int
    kv_tokens: int
    running: int = 0
    kv_used: int = 0
    _queue: deque[Place] = field(default_factory=deque)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def kv_usage(self) -> float:
        """Share of the tokens that are in use."""
        return self.kv_used / self.kv_tokens

    def enter(self, need: int) -> Place:
        """Run at once, or wait: then ``admitted`` is to be awaited. Either way ``leave`` is owed.

        Who needs more than there is runs when it is alone.
        """
        place = Place(min(need, self.kv_tokens))
        if not self._queue and self._fits(place):
            self._admit(place)
        else:
            place.admitted = asyncio.get_running_loop().create_future()
            self._queue.append(place)
        return place

    def leave(self, place: Place) -> None:
        """It ran, or does not want to wait any longer."""
        if place.runs:
            self.running -= 1
            self.kv_used -= place.need
        else:
            self._queue.remove(place)
        while self._queue and self._fits(self._queue[0]):
            first = self._queue.popleft()
            self._admit(first)
            if first.admitted is not None and not first.admitted.done():
                first.admitted.set_result(None)

    def _fits(self, place: Place) -> bool:
        free = self.kv_tokens - self.kv_used
        return (not self.concurrency or self.running < self.concurrency) and place.need <= free

    def _admit(self, place: Place) -> None:
        place.runs = True
        self.running += 1
        self.kv_used += place.need
