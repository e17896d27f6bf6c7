"""A work queue of keys: each key once, highest priority first, never two workers on one key.

A key that is added while it is being worked on comes back when that is done. Added twice, it keeps the higher priority
and the earlier time. Failures back off per key, doubling up to a bound.
"""

import asyncio
import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

from tensorfusion.clock import Clock

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """For one event loop. ``get`` waits for the next key that is due; ``done`` must follow."""

    def __init__(self, clock: Clock, *, base_delay: float = 0.005, max_delay: float = 60.0) -> None:
        self._clock = clock
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._ready: list[tuple[int, int, K]] = []
        self._later: list[tuple[float, int, K]] = []
        self._waiting: dict[K, tuple[int, float | None]] = {}
        """Key -> (priority, due; None when ready)."""
        self._working: set[K] = set()
        self._again: dict[K, tuple[int, float]] = {}
        self._failures: dict[K, int] = {}
        self._order = itertools.count()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait, due or not."""
        return len(self._waiting) + len(self._again)

    def add(self, key: K, *, priority: int = 0, after: float = 0.0) -> None:
        """Ask for the key to be worked on, not before ``after`` seconds from now."""
        if key in self._working:
            known = self._again.get(key)
            due = self._clock.monotonic() + after
            if known is None:
                self._again[key] = (priority, due)
            else:
                self._again[key] = (max(priority, known[0]), min(due, known[1]))
            return
        due_at = None if after <= 0 else self._clock.monotonic() + after
        known_wait = self._waiting.get(key)
        if known_wait is not None:
            priority = max(priority, known_wait[0])
            due_at = None if known_wait[1] is None or due_at is None else min(due_at, known_wait[1])
            if (priority, due_at) == known_wait:
                return
        self._waiting[key] = (priority, due_at)
        if due_at is None:
            heapq.heappush(self._ready, (-priority, next(self._order), key))
        else:
            heapq.heappush(self._later, (due_at, next(self._order), key))
        self._wake.set()

    async def get(self) -> K:
        """The next key that is due. It is being worked on until ``done``."""
        while True:
            key = self._pop()
            if key is not None:
                self._working.add(key)
                return key
            self._wake.clear()
            due = self._next_due()
            if due is None:
                await self._wake.wait()
            else:
                await self._wait_until(due)

    def done(self, key: K) -> None:
        """The key's work is over; if it was added meanwhile, it comes back."""
        self._working.discard(key)
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, priority=again[0], after=max(0.0, again[1] - self._clock.monotonic()))

    def retry(self, key: K) -> float:
        """Add the key again after its backoff, which doubles each time. Returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._max_delay, self._base_delay * 2.0 ** min(failures, 40))
        self.add(key, after=delay)
        return delay

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure starts with the shortest delay again."""
        self._failures.pop(key, None)

    def _pop(self) -> K | None:
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            due, order, key = heapq.heappop(self._later)
            known = self._waiting.get(key)
            if known is not None and known[1] == due:
                self._waiting[key] = (known[0], None)
                heapq.heappush(self._ready, (-known[0], order, key))
        while self._ready:
            negative, _, key = heapq.heappop(self._ready)
            known = self._waiting.get(key)
            if known is not None and known[1] is None and known[0] == -negative:
                del self._waiting[key]
                return key
        return None

    def _next_due(self) -> float | None:
        while self._later:
            due, _, key = self._later[0]
            known = self._waiting.get(key)
            if known is not None and known[1] == due:
                return due
            heapq.heappop(self._later)
        return None

    async def _wait_until(self, due: float) -> None:
        """Wait for a new key or for the time, whichever comes first."""
        sleeper = asyncio.ensure_future(self._clock.sleep(max(0.0, due - self._clock.monotonic())))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()
