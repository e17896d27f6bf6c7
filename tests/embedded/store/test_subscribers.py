"""Whatever the order of commits and reads: a follower sees everything of its scope once and in order, or is told that it
was too slow; and nobody is further behind than the bound allows.
"""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.store import EventKind, ObjectKey, Record, StoreEvent, Subscription
from tensorfusion.embedded.store_subscriptions import Subscribers
from tensorfusion.errors import Gone

NAMESPACES = ("a", "b")
SCOPES = (("", ""), ("pods", ""), ("pods", "a"), ("nodes", ""))
WEIGHT = 10

commits = st.tuples(
    st.just("commit"),
    st.lists(st.sampled_from([("pods", "a"), ("pods", "b"), ("nodes", "")]), min_size=1, max_size=5),
)
opens = st.tuples(st.just("open"), st.sampled_from(SCOPES))
reads = st.tuples(st.sampled_from(["read", "close"]), st.integers(0, 5))


@dataclass
class Follower:
    scope: tuple[str, str]
    subscription: Subscription
    expected: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def covers(self, resource: str, namespace: str) -> bool:
        wanted, within = self.scope
        return wanted in ("", resource) and within in ("", namespace)


@dataclass
class World:
    most: int
    revision: int = 0
    followers: list[Follower] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)
    """The first revision of each revision's commit."""

    def __post_init__(self) -> None:
        self.subscribers = Subscribers(events=self.most, bytes=1 << 30, revision=lambda: self.revision)

    def commit(self, places: list[tuple[str, str]]) -> None:
        events = []
        start = self.revision + 1
        for resource, namespace in places:
            self.revision += 1
            self.starts[self.revision] = start
            key = ObjectKey(resource, namespace, f"o{self.revision}")
            record = Record(key, self.revision, "u", b"{}", {}, {}, ())
            events.append(StoreEvent(EventKind.ADDED, record, None))
            for follower in self.followers:
                if follower.covers(resource, namespace):
                    follower.expected.append(self.revision)
        self.subscribers.tell(events, WEIGHT * len(events))
        assert self.subscribers.lag() <= self.most + self.most // 16 + 1 + len(events)

    def open(self, scope: tuple[str, str]) -> None:
        self.followers.append(Follower(scope, self.subscribers.follow(scope, ())))

    async def read(self, number: int) -> None:
        if number >= len(self.followers):
            return
        follower = self.followers[number]
        follower.subscription.poke()  # so that it does not wait where there is nothing
        try:
            batch = await follower.subscription.next()
        except Gone:
            unseen = self.starts[follower.expected[len(follower.seen)]]
            assert self.starts[self.revision] - unseen > self.most, "closed without having been that far behind"
            self.followers.remove(follower)
            return
        follower.seen += [event.revision for event in batch]
        assert follower.seen == follower.expected[: len(follower.seen)]

    def close(self, number: int) -> None:
        if number < len(self.followers):
            self.followers.pop(number).subscription.close()


async def play(steps: list[tuple[str, object]], most: int) -> None:
    world = World(most)
    for name, argument in steps:
        done = getattr(world, name)(argument)
        if done is not None:
            await done
    for follower in tuple(world.followers):
        before = -1
        while follower in world.followers and before < len(follower.seen) < len(follower.expected):
            before = len(follower.seen)
            await world.read(world.followers.index(follower))
        assert follower not in world.followers or follower.seen == follower.expected


@given(st.lists(commits | opens | reads, max_size=60), st.sampled_from([3, 20, 1_000]))
def test_a_follower_sees_everything_once_and_in_order_or_is_told_that_it_was_too_slow(steps, most: int) -> None:
    asyncio.run(play(steps, most))
