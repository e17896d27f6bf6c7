"""Which scheduler should place on which pool: everybody agrees, little moves, and nothing stays without an owner."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings

from example_counts import part_of
from tensorfusion.policy.shards import COMMON, Move, Seat, choices, member_lease, plan, shard_lease, tied

DURATION = 15.0
names = st.text("abcdefgh-", min_size=1, max_size=6).map(lambda text: f"r{text}r")
members = st.sets(names, min_size=1, max_size=5)
shards = st.sets(st.one_of(st.just(COMMON), names), min_size=1, max_size=12)


def asked(me: str, others: Sequence[str], seats: dict[str, Seat], *, ties: Sequence[set[str]] = ()) -> Move:
    return plan(me, members={*others}, seats=seats, ties=ties, now=100.0, patience=DURATION)


def wanted(pools: Iterable[str], replicas: Collection[str], ties: Sequence[set[str]] = ()) -> dict[str, str]:
    return {pool: order[0] for pool, order in choices(tied(pools, ties), replicas).items()}


@given(shards, members)
def test_no_replica_has_more_than_its_part(pools: set[str], replicas: set[str]) -> None:
    loads = Counter(wanted(pools, replicas).values())
    assert max(loads.values()) == -(-len(pools) // len(replicas))


@given(shards, members, st.lists(shards, max_size=4))
def test_a_large_tie_leaves_the_rest_to_others(pools: set[str], replicas: set[str], ties: list[set[str]]) -> None:
    loads = Counter(wanted(pools, replicas, ties).values())
    largest = max(Counter(tied(pools, ties).values()).values())
    assert max(loads.values()) <= -(-len(pools) // len(replicas)) + largest - 1


def test_a_replica_that_comes_or_goes_moves_few_shards_but_its_own() -> None:
    pools = [f"pool-{number}" for number in range(100)]
    for count in range(2, 6):
        replicas = [f"replica-{number}" for number in range(count)]
        before, after = wanted(pools, replicas), wanted(pools, [*replicas, "newcomer"])
        moved = [pool for pool in pools if after[pool] not in (before[pool], "newcomer")]
        assert len(moved) <= 15


@given(shards, members)
def test_a_free_shard_is_taken_at_once_by_exactly_one(pools: set[str], replicas: set[str]) -> None:
    seats = {pool: Seat("", 100.0) for pool in pools}
    takers = [pool for me in replicas for pool in asked(me, sorted(replicas), seats).take]
    assert sorted(takers) == sorted(pools)


@given(shards, members, st.lists(shards, max_size=4))
def test_tied_shards_go_to_one_replica(pools: set[str], replicas: set[str], ties: list[set[str]]) -> None:
    seats = {pool: Seat("", 100.0) for pool in pools}
    for me in replicas:
        took = asked(me, sorted(replicas), seats, ties=ties).take
        for tie in ties:
            known = tie & pools
            assert not known & took or known <= took


def test_ties_join_further_ties_and_leave_out_what_nobody_knows() -> None:
    found = tied("abcdx", [{"b", "a"}, {"b", "c", "gone"}, {"gone", "d"}])
    assert found == {"a": "a", "b": "a", "c": "a", "d": "d", "x": "x"}


def test_nobody_takes_what_somebody_holds_until_its_time_is_over() -> None:
    held = {"a": Seat("other", 100.0 - DURATION + 0.1, DURATION)}
    assert asked("me", ["me"], held) == Move()
    assert asked("me", ["me"], {"a": Seat("other", 100.0 - DURATION, DURATION)}).take == {"a"}


@given(members)
def test_whoever_is_next_takes_over_where_the_first_choice_does_not(replicas: set[str]) -> None:
    order = choices({"a": "a"}, replicas)["a"]
    for place, me in enumerate(order):
        due = 100.0 - place * DURATION
        if place:
            assert asked(me, order, {"a": Seat("", due + 0.1)}) == Move()
        assert asked(me, order, {"a": Seat("", due)}).take == {"a"}


def test_a_replica_that_has_not_followed_for_long_does_nothing() -> None:
    assert asked("me", ["other"], {"a": Seat("", 0.0)}) == Move()


def test_a_shard_is_given_to_its_first_choice_one_at_a_time_and_never_while_one_is_free() -> None:
    everything = [f"p{number}" for number in range(12)]
    pools = [pool for pool, who in sorted(wanted(everything, ["one", "two"]).items()) if who == "two"]
    assert len(pools) == 6
    seats = {pool: Seat("one", 99.0, DURATION) for pool in everything}
    assert asked("one", ["one", "two"], seats) == Move(give=pools[0])
    seats[pools[0]] = Seat("", 99.5)
    assert asked("one", ["one", "two"], seats).give is None
    assert asked("two", ["one", "two"], seats).take == {pools[0]}


def test_names_of_leases_are_names_that_kubernetes_takes() -> None:
    odd = ["a" * 250, "Über", "host_1-77", "a..b", "-x"]
    made = [shard_lease(COMMON), shard_lease("common"), *map(shard_lease, odd), *map(member_lease, odd)]
    assert len(set(made)) == len(made)
    for name in made:
        assert len(name) <= 253 and all(part.strip("-") == part != "" for part in name.split("."))
        assert name.isascii() and name == name.lower()
    assert member_lease("Host-1") == "member.host-1.85104305.tensor-fusion.ai"


@dataclass
class Lock:
    """A Lease as its own protocol has it: taken only when free, or unrenewed for its whole duration."""

    holder: str = ""
    version: int = 0
    renewed: float = 0.0


@dataclass
class Replica:
    """A replica that may be cut off, or stopped. It sees the Leases only while it is connected."""

    name: str
    born: float
    connected: bool = True
    dead: bool = False
    until: dict[str, float] = field(default_factory=dict)
    """Until when it takes itself for the owner of each shard."""
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)


class Fleet:
    """Some replicas by the rules of Leases, second by second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.locks = {shard: Lock() for shard in (COMMON, "a", "b", "c", "d")}
        self.replicas: list[Replica] = []
        self.unowned = dict.fromkeys(self.locks, 0.0)
        self.calm = 0.0
        """For how long nothing has happened to the replicas."""

    def owners(self, shard: str) -> list[str]:
        return [one.name for one in self.replicas if not one.dead and self.now < one.until.get(shard, 0.0)]

    def second(self, ties: list[set[str]]) -> None:
        self.now += 1.0
        self.calm += 1.0
        up = [one for one in self.replicas if one.connected and not one.dead]
        for me in up:
            for other in up:
                me.heard[other.name] = self.now
            for shard, lock in self.locks.items():
                if me.seen.get(shard, (-1, 0.0))[0] != lock.version:
                    me.seen[shard] = (lock.version, self.now)
            self.act(me, ties)
        for shard in self.locks:
            assert len(self.owners(shard)) <= 1
            self.unowned[shard] = 0.0 if self.owners(shard) else self.unowned[shard] + 1.0

    def act(self, me: Replica, ties: list[set[str]]) -> None:
        known = {
            one.name
            for one in self.replicas
            if self.now - me.heard.get(one.name, -100.0) < DURATION and self.now - one.born >= DURATION
        }
        seats = {
            shard: Seat(lock.holder, me.seen[shard][1], DURATION if lock.holder else 0.0)
            for shard, lock in self.locks.items()
        }
        move = plan(me.name, members=known, seats=seats, ties=ties, now=self.now, patience=DURATION)
        for shard, lock in self.locks.items():
            if lock.holder == me.name and shard == move.give:
                me.until.pop(shard, None)
                lock.holder, lock.version = "", lock.version + 1
            elif (lock.holder == me.name and shard in me.until) or shard in move.take:
                lock.holder, lock.version, lock.renewed = me.name, lock.version + 1, self.now
                me.until[shard] = self.now + DURATION * 2 / 3


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["join", "crash", "cut", "mend", "wait", "wait", "tie"]),
        st.integers(0, 5),
        st.integers(1, 40),
    ),
    max_size=12,
)


@given(EVENTS)
@settings(max_examples=part_of(60))
def test_never_two_owners_and_every_shard_has_one_again_within_the_bound(events: list[tuple[str, int, int]]) -> None:
    fleet, ties = Fleet(), list[set[str]]()
    fleet.replicas = [Replica("r0", -100.0), Replica("r1", -100.0)]
    for what, which, seconds in events:
        alive = [one for one in fleet.replicas if not one.dead]
        one = alive[which % len(alive)]
        if what == "join" and len(alive) < 4:
            fleet.replicas.append(Replica(f"r{len(fleet.replicas)}", fleet.now))
        elif what == "crash" and len(alive) > 1:
            one.dead = True
        elif what in ("cut", "mend"):
            one.connected = what == "mend"
        elif what == "tie":
            ties = [{"a", "bcd"[which % 3]}] if not ties else []
        for _ in range(seconds):
            fleet.second(ties)
    for one in fleet.replicas:
        one.connected = True
    for _ in range(int(3 * DURATION)):  # expiry, and the patience of the next in line
        fleet.second(ties)
    assert all(fleet.owners(shard) for shard in fleet.locks)
    for _ in range(60):  # then everything comes to whom it belongs, one at a time
        fleet.second(ties)
    living = {one.name for one in fleet.replicas if not one.dead}
    for shard, who in wanted(fleet.locks, living, ties).items():
        assert fleet.owners(shard) == [who]
        assert fleet.unowned[shard] == 0.0
