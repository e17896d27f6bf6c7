"""A work queue of keys: each key once, highest priority first, never two workers on one key.

A key that is added while it is being worked on comes back when that is done. Added twice, it keeps the higher priority
and the earlier time. Failures back off per key, doubling up to a bound. Keys of one priority leave in the order in
which they were added, so a key that comes again and again does not overtake the others.

An added key wakes one waiting worker, not all of them, and all waiting workers share one timer: dozens of idle workers
cost nothing.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from tensorfusion.clock import Clock
from tensorfusion.runtime.meters import QUEUES, WORK_SECONDS
from tensorfusion.telemetry.tallies import Timings

K = TypeVar("K", bound=Hashable)

_SLACK = 64
"""Entries that a heap may hold beyond twice the live ones before it is rebuilt without the outdated ones."""


class WorkQueue(Generic[K]):
    """For one event loop. ``get`` waits for the next key that is due; ``done`` must follow."""

    def __init__(
        self, clock: Clock, *, name: str = "unnamed", base_delay: float = 0.005, max_delay: float = 60.0
    ) -> None:
        self.name = name
        self.adds = 0
        self.retries = 0
        self.work = Timings(WORK_SECONDS)
        self._since: dict[K, float] = {}
        self._clock = clock
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._waiting: dict[K, tuple[int, float | None]] = {}
        """Key -> (priority, due; None when ready). The heaps may hold outdated entries; this is the truth."""
        self._ready: list[tuple[int, int, K]] = []
        self._later: list[tuple[float, int, K]] = []
        self._working: dict[K, int] = {}
        self._again: dict[K, tuple[int, float]] = {}
        self._failures: dict[K, int] = {}
        self._order = itertools.count()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.Task[None] | None = None
        self._timer_due = 0.0
        QUEUES.add(self)

    def __len__(self) -> int:
        """Keys that wait, due or not."""
        return len(self._waiting) + len(self._again)

    @property
    def working(self) -> int:
        """Keys that are being worked on."""
        return len(self._working)

    def add(self, key: K, *, priority: int = 0, after: float = 0.0) -> None:
        """Ask for the key to be worked on, not before ``after`` seconds from now."""
        self.adds += 1
        self._add(key, priority, after)

    def _add(self, key: K, priority: int, after: float) -> None:
        if key in self._working:
            due = self._clock.monotonic() + max(0.0, after)
            known = self._again.get(key)
            self._again[key] = (priority, due) if known is None else (max(priority, known[0]), min(due, known[1]))
            return
        due_at = None if after <= 0 else self._clock.monotonic() + after
        waits = self._waiting.get(key)
        if waits is not None:
            priority = max(priority, waits[0])
            due_at = None if waits[1] is None or due_at is None else min(due_at, waits[1])
            if (priority, due_at) == waits:
                return
        self._file(key, priority, due_at)

    async def get(self) -> K:
        """The next key that is due. It is being worked on until ``done``."""
        while True:
            key = self._take()
            if key is not None:
                return key
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            self._set_timer()
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake_one()  # it was our turn: somebody else takes the key
                raise
            finally:
                self._leave(getter)

    def done(self, key: K) -> None:
        """The key's work is over; if it was added meanwhile, it comes back."""
        self._working.pop(key, None)
        since = self._since.pop(key, None)
        if since is not None:
            self.work.observe(self._clock.monotonic() - since)
        again = self._again.pop(key, None)
        if again is not None:
            self._add(key, again[0], again[1] - self._clock.monotonic())

    def retry(self, key: K) -> float:
        """Add the key again after its backoff, which doubles each time; before or after ``done``. Returns the delay."""
        self.retries += 1
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._max_delay, self._base_delay * 2.0 ** min(failures, 40))
        self.add(key, priority=self._working.get(key, 0), after=delay)
        return delay

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure starts with the shortest delay again."""
        self._failures.pop(key, None)

    def _file(self, key: K, priority: int, due: float | None) -> None:
        self._waiting[key] = (priority, due)
        if due is None:
            heapq.heappush(self._ready, (-priority, next(self._order), key))
            self._wake_one()
        else:
            heapq.heappush(self._later, (due, next(self._order), key))
            if self._getters:
                self._set_timer()
        if len(self._ready) + len(self._later) > 2 * len(self._waiting) + _SLACK:
            self._rebuild()

    def _take(self) -> K | None:
        self._promote()
        while self._ready:
            negative, _, key = heapq.heappop(self._ready)
            if self._waiting.get(key) == (-negative, None):
                del self._waiting[key]
                self._working[key] = -negative
                self._since[key] = self._clock.monotonic()
                return key
        return None

    def _promote(self) -> None:
        """Move what has become due to the ready keys."""
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            due, order, key = heapq.heappop(self._later)
            waits = self._waiting.get(key)
            if waits is not None and waits[1] == due:
                self._waiting[key] = (waits[0], None)
                heapq.heappush(self._ready, (-waits[0], order, key))

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _leave(self, getter: asyncio.Future[None]) -> None:
        with suppress(ValueError):  # an add may have taken it out between the cancellation and now
            self._getters.remove(getter)
        if not self._getters and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        """One task sleeps until the next key is due, for all waiting workers; it lives while somebody waits."""
        due = self._next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().create_task(self._ring(due))

    async def _ring(self, due: float) -> None:
        await self._clock.sleep(due - self._clock.monotonic())
        self._timer = None
        before = len(self._ready)
        self._promote()
        for _ in range(len(self._ready) - before):
            self._wake_one()
        if self._getters:
            self._set_timer()

    def _next_due(self) -> float | None:
        while self._later:
            due, _, key = self._later[0]
            waits = self._waiting.get(key)
            if waits is not None and waits[1] == due:
                return due
            heapq.heappop(self._later)
        return None

    def _rebuild(self) -> None:
        """Drop outdated entries, and keep the order of the rest."""
        ready = [entry for entry in self._ready if self._waiting.get(entry[2]) == (-entry[0], None)]
        later = [entry for entry in self._later if (self._waiting.get(entry[2]) or (0, None))[1] == entry[0]]
        heapq.heapify(ready)
        heapq.heapify(later)
        self._ready, self._later = ready, later
