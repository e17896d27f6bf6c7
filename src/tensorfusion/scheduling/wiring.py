"""How near the devices of one node are to each other, and which of them to take together.

Apart from the columns because it looks at one node, and at its slots alone: who holds what comes in as a bit mask of
the slots that fit. Thousands of nodes are wired alike, so the columns keep one ``Wired`` per kind of wiring, and what
it found for a mask is found once.

A *plan* is a choice of slots. Plans compare by: lower tier (that of the two devices farthest apart); higher affinity;
fewer devices left alone, which are near a device that was taken; more bandwidth; higher scores of the devices; lower
slots. Devices that could be swapped without any difference (*alike*) are never told apart until their scores are, so
all ways to choose from two NUMA nodes of eight are nine. Where more than ``MOST_WAYS`` are left, the plan is grown
device by device instead (``heuristic``).

Source: TensorFusion's GPUNetworkTopologyAware plugin: tiers, pair points 10/6/2/0, planScore. Ours: plans are sought
inside the devices that are near enough for a tier, nearest tier first, which leaves few ways and loses none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from tensorfusion.model.gpu_topology import Tier, TopologySource
from tensorfusion.scheduling.holds import Device

MOST_WAYS: Final = 256
_SEEDS: Final = 16
"""Devices, each of another kind, that plans are grown from."""
_KEPT_PLANS: Final = 4096
_LINK_POINTS: Final = (10, 6, 2, 0)
_NUMA_POINTS: Final = (10, 10, 2, 0)
_MOST_POINTS: Final = 10

Pair: TypeAlias = tuple[int, int, int]
"""Tier, points and bandwidth of two devices."""
Group: TypeAlias = tuple[int, ...]
"""Slots of devices that are alike, in order."""
Choice: TypeAlias = tuple[tuple[Group, int], ...]
"""How many to take of each group."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the devices of a node report, by slot. ``numa`` -1 is unknown; ``linked`` has a bit for who reports peers.

    ``links``: two slots (the lower first), tier, and bytes a second.
    """

    numa: tuple[int, ...]
    linked: int = 0
    links: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The best ways to take some devices together; they differ in the scores of the devices alone."""

    tier: int
    affinity: int
    choices: tuple[Choice, ...]
    heuristic: bool = False

    @property
    def score(self) -> int:
        """0..99: a plan of a lower tier always has more."""
        return plan_score(self.tier, self.affinity)

    def slots(self, own: Sequence[int]) -> list[int]:
        """The slots to take where devices have these scores, in order."""
        ways = [_highest(choice, own) for choice in self.choices]
        if len(ways) == 1:
            return ways[0]
        return min(ways, key=lambda slots: (-sum([own[slot] for slot in slots]), slots))


def plan_score(tier: int, affinity: int) -> int:
    """25 for each tier that is better than unknown, and at most 24 for the affinity."""
    return 25 * (Tier.UNKNOWN - tier) + affinity * 24 // 100


def _highest(choice: Choice, own: Sequence[int]) -> list[int]:
    slots: list[int] = []
    for group, count in choice:
        slots += group if count == len(group) else sorted(group, key=own.__getitem__, reverse=True)[:count]
    slots.sort()
    return slots


def wiring_of(devices: Sequence[Device]) -> Wiring | None:
    """What the devices of a row report of each other; None where they report nothing.

    Where two say different things of the same distance, the better of both counts.
    """
    facts = [device.facts for device in devices]
    if all(one is None or (one.numa < 0 and not one.peers) for one in facts):
        return None
    slots = {device.name: slot for slot, device in enumerate(devices)}
    linked = 0
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for slot, one in enumerate(facts):
        for name, tier, rate in one.peers if one is not None else ():
            linked |= 1 << slot
            other = slots.get(name, slot)
            if other != slot:
                pair = (slot, other) if slot < other else (other, slot)
                known = links.get(pair, (int(Tier.UNKNOWN), 0))
                links[pair] = min(known[0], tier), max(known[1], rate)
    numa = tuple([-1 if one is None else max(one.numa, -1) for one in facts])
    return Wiring(numa, linked, tuple((*pair, *link) for pair, link in sorted(links.items())))


class Wirings:
    """One ``Wired`` for each kind of wiring that somebody still uses."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Wiring, Wired] = WeakValueDictionary()
        self.by_number: WeakValueDictionary[int, Wired] = WeakValueDictionary()
        self._made = 0

    def of(self, wiring: Wiring) -> "Wired":
        known = self._known.get(wiring)
        if known is None:
            known = self._known[wiring] = self.by_number[self._made] = Wired(wiring, self._made)
            self._made += 1
        return known


class Wired:
    """The answers for nodes of one wiring."""

    __slots__ = ("__weakref__", "_by_links", "_by_numa", "_linked", "number")

    def __init__(self, wiring: Wiring, number: int) -> None:
        self.number = number
        """Stands for the wiring in columns; never given to another one."""
        self._linked = wiring.linked
        self._by_numa = _View(wiring, by_links=False)
        self._by_links = _View(wiring, by_links=True) if wiring.linked else self._by_numa

    def _view(self, mask: int, source: TopologySource) -> "_View":
        if source is TopologySource.NUMA or (source is TopologySource.AUTO and not self._linked & mask):
            return self._by_numa
        return self._by_links

    def tier(self, mask: int, count: int, source: TopologySource) -> int:
        """The tier of the best plan for ``count`` (two or more) of the slots in the mask, which has as many."""
        return self._view(mask, source).tier(mask, count)

    def plan(self, mask: int, count: int, source: TopologySource) -> Plan:
        """The best plan for ``count`` (two or more) of the slots in the mask, which has as many."""
        return self._view(mask, source).plan(mask, count)

    def near(self, mask: int, slot: int, source: TopologySource) -> int:
        """How many slots of the mask are as near to this one as it gets, itself included; 0 where nothing is known."""
        return (self._view(mask, source).around[slot] & mask).bit_count()


class _View:
    """Distances as told by links (and NUMA nodes where there are none), or by NUMA nodes alone."""

    __slots__ = ("_groups", "_numa", "_pairs", "_parts", "_plans", "_regular", "around")

    def __init__(self, wiring: Wiring, *, by_links: bool) -> None:
        self._numa = not by_links
        size = len(wiring.numa)
        links = {(a, b): (tier, rate) for a, b, tier, rate in wiring.links} if by_links else {}
        self._pairs = [[self._pair(wiring.numa, links, a, b) for b in range(size)] for a in range(size)]
        near = Tier.NUMA if self._numa else Tier.INTERCONNECT
        told = [wiring.numa[slot] >= 0 if self._numa else bool(wiring.linked >> slot & 1) for slot in range(size)]
        self.around = [self._within(slot, near) if told[slot] else 0 for slot in range(size)]
        """By slot the mask of those that are near it, itself included; 0 where it reports nothing."""
        self._parts = tuple(_components([self._within(slot, tier) for slot in range(size)]) for tier in range(3))
        self._regular = tuple(
            all(self._within(slot, tier) & part == part for part in parts for slot in _slots(part))
            for tier, parts in enumerate(self._parts)
        )
        self._groups = self._alike(wiring)
        self._plans: dict[tuple[int, int], Plan] = {}

    def _pair(self, numa: Sequence[int], links: dict[tuple[int, int], tuple[int, int]], a: int, b: int) -> Pair:
        link = links.get((a, b) if a < b else (b, a))
        if link is not None:
            return link[0], _LINK_POINTS[link[0]], link[1]
        tier = Tier.UNKNOWN if min(numa[a], numa[b]) < 0 else Tier.NUMA if numa[a] == numa[b] else Tier.ACROSS
        return int(tier), (_NUMA_POINTS if self._numa else _LINK_POINTS)[tier], 0

    def _within(self, slot: int, tier: int) -> int:
        """The mask of the slots that are at most this far from one, itself included."""
        return sum(1 << b for b, pair in enumerate(self._pairs[slot]) if b == slot or pair[0] <= tier)

    def _alike(self, wiring: Wiring) -> tuple[Group, ...]:
        """Slots that could be swapped without any difference."""
        groups: list[list[int]] = []
        for slot in range(len(wiring.numa)):
            for group in groups:
                if self._swappable(wiring, group[0], slot):
                    group.append(slot)
                    break
            else:
                groups.append([slot])
        return tuple(tuple(group) for group in groups)

    def _swappable(self, wiring: Wiring, a: int, b: int) -> bool:
        if wiring.numa[a] != wiring.numa[b] or (wiring.linked >> a ^ wiring.linked >> b) & 1:
            return False
        one, other = self._pairs[a], self._pairs[b]
        return all(one[slot] == other[slot] for slot in range(len(one)) if slot not in (a, b))

    def tier(self, mask: int, count: int) -> int:
        for tier, parts in enumerate(self._parts):
            if not self._regular[tier]:
                break
            if any((part & mask).bit_count() >= count for part in parts):
                return tier
        else:
            return Tier.UNKNOWN
        return self.plan(mask, count).tier

    def plan(self, mask: int, count: int) -> Plan:
        known = self._plans.get((mask, count))
        if known is None:
            if len(self._plans) >= _KEPT_PLANS:
                self._plans.clear()
            known = self._plans[mask, count] = self._best(mask, count)
        return known

    def _best(self, mask: int, count: int) -> Plan:
        """The best plan inside the slots that are near enough for a tier, for the lowest tier that has one."""
        for tier in range(3):
            parts = [part & mask for part in self._parts[tier] if (part & mask).bit_count() >= count]
            found = self._among(parts, mask, count) if parts else None
            if found is not None and found.tier <= tier:
                return found
        return self._among([mask], mask, count)

    def _among(self, parts: Sequence[int], mask: int, count: int) -> Plan:
        """The best of all ways to take the devices from one of these parts of the mask."""
        groups = [
            [kept for group in self._groups if (kept := tuple([slot for slot in group if part >> slot & 1]))]
            for part in parts
        ]
        ways = list(islice(_ways_of_all(groups, count), MOST_WAYS + 1))
        heuristic = len(ways) > MOST_WAYS
        if heuristic:
            ways = [choice for some in groups for choice in self._grown(some, count)]
        ranked = [(self._rank(choice, mask, count), choice) for choice in ways]
        best = min(rank for rank, _ in ranked)
        choices = tuple(dict.fromkeys(choice for rank, choice in ranked if rank == best))
        return Plan(best[0], -best[1], choices, heuristic)

    def _rank(self, choice: Choice, mask: int, count: int) -> tuple[int, int, int, int]:
        """Tier, affinity, devices left alone and bandwidth, so that the lowest is the best."""
        tier = points = rate = 0
        for (one, many), (other, more) in combinations(choice, 2):
            pair, times = self._pairs[one[0]][other[0]], many * more
            tier, points, rate = max(tier, pair[0]), points + times * pair[1], rate + times * pair[2]
        around = taken = 0
        for group, many in choice:
            around |= self.around[group[0]]
            for slot in group[:many]:
                taken |= 1 << slot
            if many > 1:
                pair, times = self._pairs[group[0]][group[1]], many * (many - 1) // 2
                tier, points, rate = max(tier, pair[0]), points + times * pair[1], rate + times * pair[2]
        if self._numa and tier == Tier.NUMA:
            affinity = max(50, 100 - 5 * ((around & mask).bit_count() - count))
        else:
            most = _MOST_POINTS * count * (count - 1) // 2
            affinity = (200 * points + most) // (2 * most)
        return tier, -affinity, ((around | taken) & mask).bit_count() - count, -rate

    def _grown(self, groups: Sequence[Group], count: int) -> Iterator[Choice]:
        """Plans that begin with a device of one kind and take the nearest one each time."""
        for seed in range(min(len(groups), _SEEDS)):
            taken = [0] * len(groups)
            reach = [(0, 0, 0)] * len(groups)
            following = seed
            for _ in range(count):
                taken[following] += 1
                for place, group in enumerate(groups):
                    if taken[place] == len(group):
                        continue
                    near = groups[following][0], group[place == following]
                    tier, points, rate = self._pairs[near[0]][near[1]]
                    so_far = reach[place]
                    reach[place] = max(so_far[0], tier), so_far[1] - points, so_far[2] - rate
                open_ = [place for place, group in enumerate(groups) if taken[place] < len(group)]
                if open_:
                    following = min(open_, key=lambda place: (reach[place], place))
            yield tuple((group, many) for group, many in zip(groups, taken, strict=True) if many)


def _ways_of_all(parts: Iterable[Sequence[Group]], count: int) -> Iterator[Choice]:
    for groups in parts:
        yield from _ways(groups, count)


def _ways(groups: Sequence[Group], count: int) -> Iterator[Choice]:
    """Every way to take so many slots from the groups."""
    if count == 0:
        yield ()
        return
    if sum(map(len, groups)) < count:
        return
    first, rest = groups[0], groups[1:]
    for many in range(min(len(first), count), -1, -1):
        for others in _ways(rest, count - many):
            yield ((first, many), *others) if many else others


def _components(around: Sequence[int]) -> tuple[int, ...]:
    """Masks of the slots that hang together where each slot has these next to it."""
    left, parts = (1 << len(around)) - 1, []
    while left:
        part = edge = left & -left
        while edge:
            reached = 0
            for slot in _slots(edge):
                reached |= around[slot]
            edge = reached & ~part
            part |= edge
        parts.append(part)
        left &= ~part
    return tuple(parts)


def _slots(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
