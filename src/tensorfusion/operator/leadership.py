"""Only the leader writes; everybody keeps its books, so that a successor can go on at once.

While this process does not lead, keys are dropped: what they stand for is asked for again, as a whole, when leadership
is gained. Losing it needs no action, because every reconciler asks before it writes.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.model.meta import Key
from tensorfusion.runtime.controller import DONE, Reconciler, Result
from tensorfusion.runtime.queue import WorkQueue

_LOOK_EVERY = 0.5

IsLeader = Callable[[], bool]


class Leadership:
    """Watches a leader election and starts over whenever it is won."""

    def __init__(self, is_leader: IsLeader, *, clock: Clock) -> None:
        self._is_leader = is_leader
        self._clock = clock
        self._leading = False
        self._on_gain: list[Callable[[], None]] = []

    @property
    def listening(self) -> bool:
        """Keys are worth noting. True from the moment that everything was asked for until leadership is missed."""
        return self._leading

    def may_write(self) -> bool:
        """Whether this process leads now. A no is remembered: what is dropped meanwhile is asked for again later."""
        if not self._is_leader():
            self._leading = False
        return self._leading

    def on_gain(self, start_over: Callable[[], None]) -> None:
        """Call ``start_over`` each time leadership is won: it asks for every key there is."""
        self._on_gain.append(start_over)

    async def run(self) -> None:
        """Look out for changes until cancelled."""
        while True:
            leading = self._is_leader()
            if leading and not self._leading:
                self._leading = True
                for start_over in self._on_gain:
                    start_over()
            self._leading = leading
            await self._clock.sleep(_LOOK_EVERY)


class Asked:
    """A queue of keys that listens only while this process leads."""

    def __init__(self, leadership: Leadership, queue: WorkQueue[Key], *, after: float = 0.0) -> None:
        self._leadership = leadership
        self._queue = queue
        self._after = after

    def add(self, key: Key) -> None:
        """Ask for a key, after this queue's own delay."""
        if self._leadership.listening:
            self._queue.add(key, after=self._after)

    def add_now(self, key: Key) -> None:
        """Ask for a key at once."""
        if self._leadership.listening:
            self._queue.add(key)


class LeaderOnly:
    """A reconciler that does nothing while this process does not lead."""

    def __init__(self, leadership: Leadership, inner: Reconciler) -> None:
        self._leadership = leadership
        self._inner = inner

    async def reconcile(self, key: Key) -> Result:
        if not self._leadership.may_write():
            return DONE
        return await self._inner.reconcile(key)
