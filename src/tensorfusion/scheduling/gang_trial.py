"""The statement in which a gang's members are placed one after the other, and those in their way let go.

Apart from the search (``gang_preemption``), which proves what comes of it, because it is where the choice is made: for
the next member the cheapest node, with everything as the members before it have left it. A node is tried out again only
when something about it changed since. The caller opens the statement and rolls it back.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.preemption import quota_victims
from tensorfusion.scheduling.preemption_rows import VICTIM, Level, levels
from tensorfusion.scheduling.residents import Leaving
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Candidates, Going, Unit, cheapest_first

NODES_AHEAD = 64
"""Nodes of one level that come into question, beside two for each member."""
ENOUGH = 6
"""Nodes known to fit after which no further one is tried out before the cheapest of them is taken."""


class GangTrial:
    """The statement: members that are placed, and who went for them. The caller rolls it back."""

    def __init__(
        self,
        state: State,
        candidates: Candidates,
        leaving: Leaving,
        *,
        needed: int,
        now: int,
        most: int,
        nodes_first: bool = False,
    ) -> None:
        self._state = state
        self._candidates = candidates
        self._leaving = leaving
        self._needed = needed
        self._now = now
        self._most = most
        self._nodes_first = nodes_first
        """Where the quota is full, those go that make room on a node, too."""
        self._ahead = NODES_AHEAD + 2 * needed
        self.tried = 0
        self._placements: list[tuple[PodFacts, Placement]] = []
        self._taken: set[str] = set()
        """Devices that members have shares of."""
        self._units: list[tuple[Unit, int]] = []
        """Who had to go, and when."""
        self._ending: dict[str, Allocation] = {}
        self._displaced: dict[str, Allocation] = {}
        self._fronts: dict[int, _Front] = {}
        self._own: Iterator[Unit] | None = None
        self.steps = 0
        self.changed: dict[int, int] = {}
        """By node row the step that changed it last."""
        self._limits_changed = 0
        """The step that charged a disruption budget, or a quota, last."""

    @property
    def placed(self) -> int:
        return len(self._placements)

    @property
    def victims(self) -> tuple[Allocation, ...]:
        return tuple(one for unit, _ in self._units for one in unit.members)

    def going(self) -> Going:
        """Who went so far."""
        units = tuple(unit for unit, _ in self._units)
        return Going(units, tuple(self._ending.values()), tuple(self._displaced.values()))

    def place(self, pod: PodFacts, asking: PodFacts, kind: int) -> bool:
        """Hold a place for the member, ``asking`` so, and let go whoever has to for it; False leaves all as it was."""
        front = self._fronts.get(kind)
        if front is None:
            for other in self._fronts.values():
                other.roomy = True
            front = self._fronts[kind] = _Front(self, asking)
        limited = self._state.quotas.ceiling(pod.namespace) is not None
        if front.roomy or limited:
            failure = self._hold(pod, asking)
            if isinstance(failure, QuotaExceeded) and failure.resolvable and self._nodes_first:
                if self._on_one_node(pod, asking, front):
                    return True
                front = self._fronts[kind] = _Front(self, asking)
            while isinstance(failure, QuotaExceeded) and failure.resolvable and self._let_own_go(pod):
                failure = self._hold(pod, asking)
            if failure is None:
                return True
            if isinstance(failure, QuotaExceeded):
                return False
            front.roomy = False
        return self._on_one_node(pod, asking, front)

    def _on_one_node(self, pod: PodFacts, asking: PodFacts, front: "_Front") -> bool:
        while (best := front.cheapest()) is not None:
            node, going = best
            mark = self._state.checkpoint()
            self._state.without(going.everybody)
            if self._hold(pod, asking) is not None:  # a rule between pods, or what only a decision sees
                self._state.rollback(mark)
                front.discard(node)
                continue
            self._state.keep(mark)
            self._note(going, node)
            if len({one.placement.node for one in going.victims}) > 1:
                front.roomy = True  # a gang left other nodes, too
            return True
        return False

    def _hold(self, pod: PodFacts, asking: PodFacts) -> NotFit | QuotaExceeded | NotHoldable | None:
        try:
            placement = decide(self._state, asking).placement
            self._state.assume(pod, placement)
        except (NotFit, QuotaExceeded, NotHoldable) as failure:
            failure.__traceback__ = None
            return failure
        self._placements.append((pod, placement))
        self._taken.update(placement.devices)
        self.steps += 1
        self._touch(placement.node)
        if self._state.quotas.ceiling(pod.namespace) is not None:
            self._limits_changed = self.steps
        return None

    def _note(self, going: Going, node: int | None = None) -> None:
        """These went, for the step that was taken last."""
        elsewhere = node is not None and self._placements[-1][1].node != self._state.fleet.nodes.names[node]
        self._units += [(unit, self.steps - elsewhere) for unit in going.units]
        self._ending.update((one.pod.uid, one) for one in going.ending)
        self._displaced.update((one.pod.uid, one) for one in going.displaced)
        if self._candidates.charge(going.victims):
            self._limits_changed = self.steps
        for one in going.everybody:
            self._touch(one.placement.node)
        if node is not None:
            self.changed[node] = self.steps

    def _touch(self, name: str) -> None:
        self.changed[self._state.fleet.nodes.records[name].row] = self.steps

    # --- quota ---

    def _let_own_go(self, pod: PodFacts) -> bool:
        """Let the next cheapest pods go that count for the quota of the member's namespace, which is full."""
        if self._own is None:
            units, ending = quota_victims(self._state, pod, self._candidates, self._still_leaving())
            self._own = iter(sorted(units, key=cheapest_first))
            if ending:
                free = Going(
                    (),
                    tuple(one for one in ending if not one.nominated),
                    tuple(one for one in ending if one.nominated),
                )
                self._release(free)
                return True
        for unit in self._own:
            if unit.uid in self._state.allocations and self._candidates.allowed((unit,)):
                self._release(Going((unit,)))
                return True
        return False

    def _release(self, going: Going) -> None:
        self._state.without(going.everybody)
        self._note(going)

    # --- who is not needed after all ---

    def without_the_unneeded(self) -> Going:
        """Put back, the most important first, whoever the members have room beside. Only a proposal: no proof."""
        stays = {unit.uid for unit, _ in self._by_importance() if self._can_stay(unit)}
        units = tuple(unit for unit, _ in self._units if unit.uid not in stays)
        return Going(units, tuple(self._ending.values()), self._still_displaced())

    def _by_importance(self) -> list[tuple[Unit, int]]:
        """Those about whom something changed after they went: the others were needed when they went, and still are."""
        return sorted(
            (
                (unit, step)
                for unit, step in self._units
                if self._own is not None or any(self._changed_after(one, step) for one in unit.members)
            ),
            key=lambda entry: (-entry[0].rank, -entry[0].work, entry[0].uid),
        )

    def _changed_after(self, one: Allocation, step: int) -> bool:
        return self.changed[self._state.fleet.nodes.records[one.placement.node].row] > step

    def _still_displaced(self) -> tuple[Allocation, ...]:
        return tuple(one for one in self._displaced.values() if not self._can_stay(Unit(0, 0, one.pod.uid, (one,))))

    def _can_stay(self, unit: Unit) -> bool:
        """Whether all members still have their places with these back; they stay back if so."""
        if any(self._would_crowd(one) for one in unit.members):
            return False
        state = self._state
        mark = state.checkpoint()
        for one in unit.members:
            if one.nominated:
                state.nominate(one.pod, one.placement, one.awaits)
            else:
                state.confirm(one.pod, one.placement)
        nodes = {one.placement.node for one in unit.members}
        namespaces = {one.pod.namespace for one in unit.members}
        beside = [
            (pod, placement)
            for pod, placement in self._placements
            if placement.node in nodes or any(state.quotas.counts_with(pod.namespace, name) for name in namespaces)
        ]
        for pod, _ in beside:
            state.release(pod.uid)
        try:
            for pod, placement in beside:
                state.assume(pod, placement)
        except (NotHoldable, QuotaExceeded):
            state.rollback(mark)
            return False
        state.keep(mark)
        return True

    def _would_crowd(self, one: Allocation) -> bool:
        """Whether a device of which a member has a share would be overfull with this pod back: no need to try it."""
        return any(
            device.name in self._taken and (device.compute_free < compute or device.vram_free < vram)
            for device, compute, vram in one.amounts()
        )

    # --- what a front asks ---

    def is_current(self, node: int, step: int) -> bool:
        """Whether nothing that a node was tried out with has changed since that step."""
        return step >= self.changed.get(node, 0) and step >= self._limits_changed

    def try_out(self, asking: PodFacts, node: int, going: Going) -> Going | None:
        """Who of these, as far as they are still there, has to go from the node."""
        self.tried += 1
        if node in self.changed:
            here = self._state.allocations
            going = Going(
                tuple(unit for unit in going.units if unit.uid in here),
                tuple(one for one in going.ending if one.pod.uid in here),
                tuple(one for one in going.displaced if one.pod.uid in here),
            )
        return self._candidates.try_out(asking, node, going, roomy=True)

    def levels(self, asking: PodFacts) -> Iterator[Level]:
        """The levels of a search for such a member, as things are now."""
        return levels(self._state, asking, self._still_leaving(), now=self._now, most=self._ahead)

    def _still_leaving(self) -> Leaving:
        """Without those that went in this statement."""
        return self._state.residents.still(self._leaving, [one.pod.uid for one in self.going().everybody])

    def on_nodes(self, level: Level) -> tuple[Iterator[tuple[int, Going]], Sequence[int]]:
        """The best nodes of a level, each with all who may go from it; and what each costs at least."""
        most = self._ahead
        return self._candidates.on_nodes(level.nodes[:most], level.goes), level.bounds[:most].tolist()

    @property
    def tired(self) -> bool:
        """No further node may be tried out."""
        return self.tried >= self._most


class _Front:
    """The nodes that one kind of member could go to, those that are known to cost least first."""

    def __init__(self, trial: GangTrial, asking: PodFacts) -> None:
        self.roomy = True
        """There may be room without anybody going."""
        self._trial = trial
        self._asking = asking
        self._levels: Iterator[Level] | None = None
        self._ahead: Iterator[tuple[int, Going]] = iter(())
        """Nodes that were not tried out yet."""
        self._bounds: deque[int] = deque()
        """What each of those, and every one after it, costs at least."""
        self._from: dict[int, Going] = {}
        """All who may go from each node at this level."""
        self._known: list[tuple[tuple[int, int, int], int, int, Going]] = []
        """A heap: cost, node row, the step at which it was tried out, and who has to go."""

    def cheapest(self) -> tuple[int, Going] | None:
        """The node that costs least, and who has to go from it; None where no node can be made to fit."""
        while True:
            while self._bounds and not self._knows_enough():
                self._bounds.popleft()
                node, going = next(self._ahead)
                self._from[node] = going
                self._try(node)
            if self._known:
                _, node, step, going = self._known[0]
                if self._trial.is_current(node, step):
                    return node, going
                heapq.heappop(self._known)
                self._try(node)
            elif not self._go_deeper():
                return None

    def discard(self, node: int) -> None:
        """The node that was the cheapest does not do, whatever the reason."""
        self._known = [entry for entry in self._known if entry[1] != node]
        heapq.heapify(self._known)

    def _knows_enough(self) -> bool:
        if not self._known:
            return False
        going = self._known[0][3]
        return len(self._known) >= ENOUGH or VICTIM * len(going.victims) + going.work <= self._bounds[0]

    def _try(self, node: int) -> None:
        if self._trial.tired:
            self._bounds.clear()
            return
        going = self._trial.try_out(self._asking, node, self._from[node])
        if going is not None:
            heapq.heappush(self._known, (going.cost, node, self._trial.steps, going))

    def _go_deeper(self) -> bool:
        """The next level: more important pods may go, too."""
        if self._trial.tired:
            return False
        if self._levels is None:
            self._levels = self._trial.levels(self._asking)
        level = next(self._levels, None)
        if level is None:
            return False
        self._ahead, bounds = self._trial.on_nodes(level)
        self._bounds = deque(bounds)
        return True
