"""Whose turn it is among the members of a tree of cohorts: the one whose share would be the smallest.

Apart from the queue because that knows priorities and arrivals, and this knows quotas. Pods that are not of a cohort
are not touched: the turns of a tree are those that its pods have by priority and arrival, and only who of them takes a
turn is another question. It is answered by the share that the member would have with the pod (``cohorts``), compared
from the root down, then by arrival; within a member by arrival.

Those whose members have no more to lend are *parked*. When something is given back anywhere in the tree as many of them
are woken as there is room for, in the same order and without a backoff: if all were, whoever's backoff ended first
would take it. Whoever of these is not placed after all lets the next ones try.

Shares that grow are noticed when it would be the member's turn; ones that fall make the order of a lane anew.
"""

import heapq
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeAlias

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduler.queue import Entry, Place
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS, Amounts, Node
from tensorfusion.scheduling.cohorts import Cohorts
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.hints import Change, ChangeKind, helps
from tensorfusion.scheduling.quota import usage_of

Pending: TypeAlias = Entry[PodFacts, NotFit | QuotaExceeded]
Shares: TypeAlias = tuple[int, ...]
"""From below the root down to the member, as whole numbers in the proportions of shares."""
_Item: TypeAlias = tuple[Shares, int, str]
"""What a member's first pod would make of its shares, its arrival, and the namespace."""
_Asks: TypeAlias = tuple[int, Amounts]
"""Priority and amounts."""
_Place: TypeAlias = tuple[tuple[int, Shares, int], str, _Asks]
"""In the order in which parked pods go: the less important last; and where the first of them is."""
WOKEN_AT_ONCE = 64
"""Pods of one tree that are woken in one go at most; the others follow."""


@dataclass(slots=True)
class _Lane:
    """The active pods of one tree and priority, by namespace and arrival."""

    key: tuple[str, int]
    members: dict[str, list[tuple[int, Pending]]] = field(default_factory=dict)
    order: list[_Item] = field(default_factory=list)
    """A heap of members; what is not ``current`` of a namespace is passed over."""
    current: dict[str, _Item] = field(default_factory=dict)
    falls: int = -1

    def head(self, namespace: str) -> Pending | None:
        """The first active pod of a member."""
        waiting = self.members.get(namespace)
        while waiting:
            entry = waiting[0][1]
            if entry.place is Place.ACTIVE and entry.priority == self.key[1] and not entry.gone:
                return entry
            self.pop(namespace)
        return None

    def pop(self, namespace: str) -> None:
        """Leave the first pod of a member out."""
        _, entry = heapq.heappop(self.members[namespace])
        if entry.lane is self:
            entry.lane = None


@dataclass(slots=True)
class _Parked:
    """The pods of one tree that wait for its members to give something back: by namespace, priority and amounts."""

    tree: str
    members: dict[str, dict[_Asks, list[tuple[int, Pending]]]] = field(default_factory=dict)
    here: set[tuple[str, _Asks]] = field(default_factory=set)
    """Uids and amounts of those."""
    woken: dict[str, Pending] = field(default_factory=dict)
    """Those that were woken and not decided yet."""
    later: list[tuple[_Asks, Pending]] = field(default_factory=list)
    """Those that were woken in vain since somebody gave something back: not before it happens again."""
    again: bool = False
    """Others may be woken by now."""

    def put(self, asks: _Asks, entry: Pending) -> None:
        """File a pod."""
        waiting = self.members.setdefault(entry.facts.namespace, {}).setdefault(asks, [])
        heapq.heappush(waiting, (entry.arrival, entry))

    def head(self, asks: _Asks, waiting: list[tuple[int, Pending]]) -> Pending | None:
        """The first of these that still waits, and asks for so much."""
        while waiting:
            entry = waiting[0][1]
            if entry.place is Place.WAITING and not entry.gone and (entry.priority, _amounts(entry)) == asks:
                return entry
            heapq.heappop(waiting)
            self.here.discard((entry.uid, asks))
        return None


class Turns:
    """Entries of the queue that are pods of members."""

    def __init__(self, cohorts: Cohorts) -> None:
        self._cohorts = cohorts
        self._version = cohorts.version
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._parked: dict[str, _Parked] = {}

    # --- active pods ---

    def entered(self, entry: Pending) -> None:
        """The pod is active from now on."""
        if not self._cohorts.active:
            return
        self._follow()
        tree = self._cohorts.tree_of(entry.facts.namespace)
        if not tree or entry.facts.request is None:
            return
        key, namespace = (tree, entry.priority), entry.facts.namespace
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        if entry.lane is not lane:
            entry.lane = lane
            heapq.heappush(lane.members.setdefault(namespace, []), (entry.arrival, entry))
        if lane.head(namespace) is entry:
            self._put_in_order(lane, namespace)

    def instead(self, entry: Pending) -> Pending:
        """Who takes the turn that is this pod's by priority and arrival."""
        if not self._cohorts.active:
            return entry
        self._follow()
        root = self._cohorts.root(entry.facts.namespace)
        lane = self._lanes.get((root.name, entry.priority)) if root is not None else None
        if root is None or lane is None:
            return entry
        if lane.falls != root.falls:
            lane.falls = root.falls
            lane.order.clear()
            lane.current.clear()
            for namespace in list(lane.members):
                self._put_in_order(lane, namespace)
        chosen = self._first(lane)
        if not lane.members:
            del self._lanes[lane.key]
        return entry if chosen is None else chosen

    def _put_in_order(self, lane: _Lane, namespace: str) -> None:
        head = lane.head(namespace)
        if head is None:
            lane.members.pop(namespace, None)
            lane.current.pop(namespace, None)
            return
        item = (self._shares_with(head), head.arrival, namespace)
        if lane.current.get(namespace) != item:
            lane.current[namespace] = item
            heapq.heappush(lane.order, item)

    def _first(self, lane: _Lane) -> Pending | None:
        while lane.order:
            item = lane.order[0]
            namespace = item[2]
            if lane.current.get(namespace) != item:
                heapq.heappop(lane.order)
                continue
            self._put_in_order(lane, namespace)
            if lane.order[0] is item and lane.current.get(namespace) == item:
                head = lane.head(namespace)
                lane.pop(namespace)
                heapq.heappop(lane.order)
                del lane.current[namespace]
                self._put_in_order(lane, namespace)
                return head
        return None

    def _follow(self) -> None:
        """Where the trees are others, every pod goes to its new place."""
        if self._version == self._cohorts.version:
            return
        self._version = self._cohorts.version
        lanes, parked = list(self._lanes.values()), list(self._parked.values())
        self._lanes.clear()
        self._parked.clear()
        for entry in [entry for lane in lanes for waiting in lane.members.values() for _, entry in waiting]:
            if entry.place is Place.ACTIVE and not entry.gone:
                self.entered(entry)
        for entry in [entry for one in parked for entry in _all(one)]:
            if entry.place is Place.WAITING and not entry.gone:
                self.refused(entry)

    # --- parked pods ---

    def refused(self, entry: Pending) -> None:
        """The pod was decided and not placed."""
        failure, namespace = entry.failure, entry.facts.namespace
        tree = self._cohorts.tree_of(namespace) if self._cohorts.active else ""
        if not tree:
            return
        parked = self._parked.get(tree)
        in_vain = parked is not None and parked.woken.pop(entry.uid, None) is not None
        if parked is not None and in_vain:
            parked.again = True
        if isinstance(failure, QuotaExceeded) and failure.cohort and failure.resolvable:
            if parked is None:
                parked = self._parked[tree] = _Parked(tree)
            asks = entry.priority, _amounts(entry)
            if (entry.uid, asks) in parked.here:
                return
            parked.here.add((entry.uid, asks))
            if in_vain:
                parked.later.append((asks, entry))
            else:
                parked.put(asks, entry)

    def given_back(self, trees: Iterable[str]) -> None:
        """Somebody gave something back in these trees."""
        self._follow()
        for tree in trees:
            parked = self._parked.get(tree)
            if parked is not None:
                parked.again = True
                for asks, entry in parked.later:
                    parked.put(asks, entry)
                parked.later.clear()

    def due(self) -> list[Pending]:
        """The parked pods that there is room for now: the caller activates each."""
        if not self._parked:
            return []
        self._follow()
        found: list[Pending] = []
        for tree, parked in list(self._parked.items()):
            over = [uid for uid, entry in parked.woken.items() if entry.gone or entry.place is not Place.ACTIVE]
            for uid in over:  # placed, or it waits no more: the next one may try
                del parked.woken[uid]
            if parked.again or over:
                found += self._woken(parked)
            if not (parked.members or parked.woken or parked.later):
                del self._parked[tree]
        return found

    def _woken(self, parked: _Parked) -> list[Pending]:
        held: list[tuple[Node, Amounts]] = []
        picked: list[Pending] = []
        try:
            for entry in parked.woken.values():
                self._hold(entry, held)
            order = self._fitting(parked)
            while order and len(picked) < WOKEN_AT_ONCE and not self._is_full(parked):
                namespace, asks = order[0][1:]
                now = self._place_of(parked, namespace, asks)
                if now is None:  # room only shrinks meanwhile
                    heapq.heappop(order)
                elif now != order[0]:
                    heapq.heapreplace(order, now)
                else:
                    _, entry = heapq.heappop(parked.members[namespace][asks])
                    parked.here.discard((entry.uid, asks))
                    self._hold(entry, held)
                    picked.append(entry)
        finally:
            for node, (compute, vram, devices) in reversed(held):
                node.hold((-compute, -vram, -devices))
        parked.again = len(picked) == WOKEN_AT_ONCE
        parked.woken.update({entry.uid: entry for entry in picked})
        return picked

    def _fitting(self, parked: _Parked) -> list[_Place]:
        """A heap of those that there is room for: of each namespace and amounts the first."""
        order: list[_Place] = []
        if self._is_full(parked):
            return order
        for namespace, shapes in list(parked.members.items()):
            for asks, waiting in list(shapes.items()):
                place = self._place_of(parked, namespace, asks)
                if place is not None:
                    order.append(place)
                elif not waiting:
                    del shapes[asks]
            if not shapes:
                del parked.members[namespace]
        heapq.heapify(order)
        return order

    def _is_full(self, parked: _Parked) -> bool:
        """Whether there is certainly room for nobody, as every pod takes a share of some device."""
        root = self._cohorts.cohort(parked.tree)
        return root is not None and root.all_of_one and root.room(2) <= 0

    def _place_of(self, parked: _Parked, namespace: str, asks: _Asks) -> _Place | None:
        """Where the first of these comes; None where there is none, or no room for it."""
        head = parked.head(asks, parked.members[namespace][asks])
        node = self._cohorts.member(namespace)
        if head is None or node is None or not _fits(node, asks[1]):
            return None
        return (-asks[0], node.standings_with(asks[1]), head.arrival), namespace, asks

    def _hold(self, entry: Pending, held: list[tuple[Node, Amounts]]) -> None:
        """Count the pod as placed."""
        node = self._cohorts.member(entry.facts.namespace)
        if node is not None:
            amounts = node.of_it(_amounts(entry))
            node.hold(amounts)
            held.append((node, amounts))

    # --- shares ---

    def _shares_with(self, entry: Pending) -> Shares:
        """What the shares would be from below the root down, with the pod."""
        node = self._cohorts.member(entry.facts.namespace)
        return () if node is None else node.standings_with(_amounts(entry))


def is_parked(failure: NotFit | QuotaExceeded | None, trees: AbstractSet[str], news: Iterable[Change]) -> bool:
    """Whether a pod that failed so is for ``Turns.due`` to wake: nothing but what these trees got back can help it."""
    if not isinstance(failure, QuotaExceeded) or failure.cohort not in trees:
        return False
    return not any(helps(failure, change) for change in news if change.kind is not ChangeKind.USAGE)


def _all(parked: _Parked) -> Iterator[Pending]:
    yield from (entry for _, entry in parked.later)
    for shapes in parked.members.values():
        for waiting in shapes.values():
            yield from (entry for _, entry in waiting)


def _amounts(entry: Pending) -> Amounts:
    """What the pod counts for; in percent of devices nothing, until they are known."""
    known, request = entry.counts, entry.facts.request
    if known is None or known[0] is not request:
        amounts = (0, 0, 0) if request is None else usage_of(request, (0,) * request.count).shared
        known = entry.counts = request, amounts
    return known[1]


def _fits(node: Node, amounts: Amounts) -> bool:
    own = node.own
    return all(own[part] is None or not amounts[part] or amounts[part] <= node.room(part) for part in DIMENSIONS)
