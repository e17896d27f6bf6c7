"""Who follows the store: one chain of batches for each scope, and every subscriber at its own place on it.

A subscriber that lags costs nothing but the batches that it still has to see, and those are shared: a commit appends
one batch to each scope that somebody follows, whatever the number of followers, and a batch that the slowest of them
has passed is forgotten with the reference to it. How far behind anybody may be is counted in events and in the bytes
that only those events keep alive, over the whole store, so that the bound holds for all slow subscribers together.

Nobody is waited for. One that is too far behind is closed with Gone, so that it lists again; the alternative, holding
back writers, would let one stopped client stop the cluster. A queue for each subscriber was rejected: five hundred of
them would hold the same events five hundred times.
"""

import asyncio
from collections.abc import Callable, Sequence

from tensorfusion.embedded.store_records import StoreEvent
from tensorfusion.errors import Gone

_MOST_AT_ONCE = 1_000
"""Events that one call of ``next`` hands out, but for a batch that is larger by itself."""

_LOOKS = 16
"""How often the slow are looked for on the way to the bound, which so is kept to a sixteenth of itself."""


class Batch:
    """What one commit told one scope. ``events`` is shared by all and never changed.

    ``events_before`` and ``bytes_before`` count what the store had told by then.
    """

    __slots__ = ("bytes_before", "events", "events_before", "following")

    def __init__(self, events: Sequence[StoreEvent], *, events_before: int, bytes_before: int) -> None:
        self.events = events
        self.events_before = events_before
        self.bytes_before = bytes_before
        self.following: Batch | None = None


class Subscription:
    """The events of one scope, in revision order, in batches.

    ``async for batch in subscription`` ends when either side closes it and raises Gone when it fell too far behind.
    """

    def __init__(
        self,
        replay: Sequence[StoreEvent],
        last: Batch,
        *,
        revision: Callable[[], int],
        leave: Callable[["Subscription"], None],
    ) -> None:
        self._replay = replay  # what was asked for of the past; only what comes after it can be too much
        self._last = last  # the last batch that was handed out
        self._revision = revision
        self._leave = leave
        self._delivered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._overflow = ""
        self._poked = False
        self.closed = False
        self.lost: Callable[[], None] | None = None
        """Called when it fell too far behind, which ``next`` can only say once it is asked."""

    @property
    def revision(self) -> int:
        """Every event up to this revision has been handed out: what a bookmark may say."""
        return self._delivered if self._replay or self._last.following is not None else self._revision()

    @property
    def behind(self) -> Batch | None:
        """The oldest batch that was not handed out yet, None for one that is up to date."""
        return self._last.following

    async def next(self) -> Sequence[StoreEvent]:
        """The next events, at least one; empty once closed, and once after ``poke``. Cancelling loses nothing.

        Raises:
            Gone: the subscriber was too slow; events were dropped and it must list again.
        """
        while True:
            if self._overflow:
                raise Gone(self._overflow)
            if self.closed:
                return []
            if self._replay or self._last.following is not None:
                batch = self._take()
                self._delivered = batch[-1].revision
                return batch
            if self._poked:
                self._poked = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _take(self) -> Sequence[StoreEvent]:
        """What is there, up to some size; a single batch is handed out as it is."""
        parts = [self._replay] if self._replay else []
        count = len(self._replay)
        self._replay = ()
        while (after := self._last.following) is not None and (not parts or count + len(after.events) <= _MOST_AT_ONCE):
            parts.append(after.events)
            count += len(after.events)
            self._last = after
        return parts[0] if len(parts) == 1 else [event for part in parts for event in part]

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Sequence[StoreEvent]:
        batch = await self.next()
        if not batch:
            raise StopAsyncIteration
        return batch

    def poke(self) -> None:
        """Let a waiting ``next``, or the next one that would wait, return empty once."""
        self._poked = True
        self.wake()

    def close(self) -> None:
        """Stop following. What was not handed out is dropped; a waiting ``next`` returns empty."""
        if not self.closed:
            self.closed = True
            self._replay = ()
            self._last = Batch((), events_before=0, bytes_before=0)
            self._leave(self)
            self.wake()

    def overflow(self, why: str) -> None:
        """Close it as too slow. For the hub only."""
        self._overflow = why
        self.close()
        if self.lost is not None:
            self.lost()

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


Scope = tuple[str, str]
"""Resource and namespace; ``""`` stands for all."""


class _Chain:
    """The newest batch of a scope, and who follows."""

    __slots__ = ("followers", "last")

    def __init__(self, last: Batch) -> None:
        self.last = last
        self.followers: dict[Subscription, None] = {}


class Subscribers:
    """All subscriptions of a store. ``events`` and ``bytes`` bound how far behind one may be."""

    def __init__(self, *, events: int, bytes: int, revision: Callable[[], int]) -> None:  # as in limits
        self._most_events = events
        self._most_bytes = bytes
        self._revision = revision
        self._chains: dict[Scope, _Chain] = {}
        self._events = 0
        self._bytes = 0
        self._looked_at = (0, 0)

    def follow(self, scope: Scope, replay: Sequence[StoreEvent]) -> Subscription:
        """Follow a scope from now on, after a piece of its past."""
        chain = self._chains.get(scope)
        if chain is None:
            chain = self._chains[scope] = _Chain(self._batch(()))

        def leave(subscription: Subscription) -> None:
            chain.followers.pop(subscription, None)
            if not chain.followers and self._chains.get(scope) is chain:
                del self._chains[scope]

        subscription = Subscription(replay, chain.last, revision=self._revision, leave=leave)
        chain.followers[subscription] = None
        return subscription

    def tell(self, events: Sequence[StoreEvent], weight: int) -> None:
        """Hand what was committed to those who follow it; ``weight`` is the bytes that only these events keep alive."""
        for scope, batch in self._sorted(events).items():
            chain = self._chains[scope]
            chain.last.following = chain.last = self._batch(batch)
            for follower in chain.followers:
                follower.wake()
        events_seen, bytes_seen = self._looked_at
        if (
            self._events - events_seen > self._most_events // _LOOKS
            or self._bytes - bytes_seen > self._most_bytes // _LOOKS
        ):
            self._looked_at = (self._events, self._bytes)
            self._drop_slow()
        self._events += len(events)
        self._bytes += weight

    def _batch(self, events: Sequence[StoreEvent]) -> Batch:
        return Batch(events, events_before=self._events, bytes_before=self._bytes)

    def _sorted(self, events: Sequence[StoreEvent]) -> dict[Scope, list[StoreEvent]]:
        """The events by the scopes that somebody follows."""
        chains = self._chains
        batches: dict[Scope, list[StoreEvent]] = {}
        for event in events:
            resource, namespace, _ = event.record.key
            scopes: tuple[Scope, ...] = ((resource, ""), (resource, namespace)) if namespace else ((resource, ""),)
            for scope in (*scopes, ("", "")):
                if scope in chains:
                    batches.setdefault(scope, []).append(event)
        return batches

    def lag(self) -> int:
        """Events that the store has told since what its slowest subscriber has still to see."""
        behind = [follower.behind for chain in self._chains.values() for follower in chain.followers]
        return max((self._events - batch.events_before for batch in behind if batch is not None), default=0)

    def _drop_slow(self) -> None:
        """Close those who are too far behind; the commit of the moment does not count, however large it is."""
        slow: list[tuple[Subscription, str]] = []
        for chain in self._chains.values():
            for follower in chain.followers:
                behind = follower.behind
                if behind is None:
                    continue
                if self._events - behind.events_before > self._most_events:
                    slow.append((follower, f"{self._most_events} events"))
                elif self._bytes - behind.bytes_before > self._most_bytes:
                    slow.append((follower, f"{self._most_bytes >> 20} MiB"))
        for follower, amount in slow:
            follower.overflow(f"watch fell more than {amount} behind and was closed; list again and watch on")

    def close(self) -> None:
        for chain in tuple(self._chains.values()):
            for follower in tuple(chain.followers):
                follower.close()
