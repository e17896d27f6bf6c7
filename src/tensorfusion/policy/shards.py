"""Which scheduler places on which pool: who should have a shard, who may take one now, and who gives one away.

A *shard* is a pool, or ``COMMON``: everything that belongs to no pool. Each shard has a Lease of its own, so two owners
at once are ruled out below this module, whatever it says; here it is decided who tries. Every replica decides alone,
from what it sees of the others, and only about itself.

Shards that are *tied* - a namespace with a quota has pods in both - belong together: they go where the first of them
goes. The choice is rendezvous hashing with bounded loads: no replica has more than its part, however few shards there
are, and one that comes or goes moves few shards but its own.

Rejected: a coordinator that writes the plan down (one more thing to elect, to fence and to wait for); a ring of hashed
points (uneven with two or three replicas, which is how many there are).

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (highest random weight); Mirrokni,
Thorup and Zadimoghaddam, "Consistent hashing with bounded loads".
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tensorfusion.model import keys

COMMON = ""
"""The shard of nodes without devices, and of pods that name no pool we know."""
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Seat:
    """A shard's Lease as one replica sees it. Seconds are of its own monotonic clock.

    ``since`` is when it first saw this version, or, where there is no Lease yet, when it first heard of the shard.
    """

    holder: str
    since: float
    duration: float = 0.0

    def free_for(self, now: float) -> float:
        """For how long nobody has held the shard; negative while somebody does."""
        return now - self.since - (self.duration if self.holder else 0.0)


@dataclass(frozen=True, slots=True)
class Move:
    """What one replica should do now: try for these shards, and give one away."""

    take: frozenset[str] = frozenset()
    give: str | None = None


def plan(
    me: str,
    *,
    members: Collection[str],
    seats: Mapping[str, Seat],
    ties: Iterable[Collection[str]],
    now: float,
    patience: float,
) -> Move:
    """What ``me`` should do. ``members`` are the replicas that live and have followed the watch for long enough.

    The first choice takes a free shard at once, the second after ``patience`` seconds, and so on, so that a shard is
    not left alone because two replicas disagree about who lives. A shard is given away only to a first choice that
    lives, and only while no other shard is free: at most one a replica is between two owners.
    """
    if me not in members:
        return Move()
    take, give = set(), None
    someone_waits = False
    for shard, order in sorted(choices(tied(seats, ties), members).items()):
        seat = seats[shard]
        free_for = seat.free_for(now)
        if free_for >= 0:
            someone_waits = True
            if free_for >= order.index(me) * patience:
                take.add(shard)
        elif seat.holder == me and order[0] != me and give is None:
            give = shard
    return Move(frozenset(take), None if someone_waits else give)


def tied(shards: Iterable[str], ties: Iterable[Collection[str]]) -> dict[str, str]:
    """For each shard the first of those that it belongs together with, by name. Unknown shards tie nothing."""
    first = {shard: shard for shard in shards}

    def root(shard: str) -> str:
        while first[shard] != shard:
            first[shard] = shard = first[first[shard]]
        return shard

    for tie in ties:
        roots = sorted({root(shard) for shard in tie if shard in first})
        for other in roots[1:]:
            first[other] = roots[0]
    return {shard: root(shard) for shard in first}


def choices(firsts: Mapping[str, str], members: Collection[str]) -> dict[str, list[str]]:
    """The replicas in the order in which they should have each shard. ``firsts`` as ``tied`` says.

    The first choice is the highest in the ranking that has its part not full yet; large ties choose first, and where
    nobody has room for all of one, whoever has least takes it.
    """
    sizes: dict[str, int] = {}
    for first in firsts.values():
        sizes[first] = sizes.get(first, 0) + 1
    part = -(-len(firsts) // len(members)) if members else 0
    loads = dict.fromkeys(members, 0)
    orders: dict[str, list[str]] = {}
    for first, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        order = ranking(first, members)
        chosen = next((one for one in order if loads[one] + size <= part), None)
        if chosen is None:
            chosen = min(order, key=loads.__getitem__)
        loads[chosen] += size
        orders[first] = [chosen, *(one for one in order if one != chosen)]
    return {shard: orders[first] for shard, first in firsts.items()}


def ranking(shard: str, members: Iterable[str]) -> list[str]:
    """The replicas in an order that is the shard's own, whatever others there are."""
    return sorted(members, key=lambda member: (_weight(shard, member), member), reverse=True)


def shard_lease(shard: str) -> str:
    """The name of a shard's Lease."""
    return _name(f"pool.{shard}" if shard != COMMON else "common")


def member_lease(identity: str) -> str:
    """The name of the Lease by which a replica says that it lives."""
    return _name(f"member.{identity.lower()}")


def _name(text: str) -> str:
    """A name of a Lease: as it is where Kubernetes takes it, else a digest of it."""
    name = f"{text}.{keys.LEADER_LEASE}"
    plain = all(part and part[0] != "-" and part[-1] != "-" for part in name.split("."))
    if plain and len(name) <= _LONGEST_NAME and all(letter in _LETTERS for letter in name):
        return name
    kind = text.split(".", 1)[0]
    return f"{kind}.{hashlib.sha256(text.encode()).hexdigest()[:40]}.{keys.LEADER_LEASE}"


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")


def _weight(shard: str, member: str) -> bytes:
    return hashlib.sha256(f"{shard}\n{member}".encode()).digest()
