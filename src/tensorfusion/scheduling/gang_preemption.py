"""Who has to go so that a whole gang that does not fit gets its places: all of them in one statement, or nobody goes.

In a statement that is rolled back at the end the members are placed one after the other, largest first, as a gang is
decided. Where the next one has no room, the cheapest victims of one node are looked for as for a single pod, with the
members before it and the victims so far as they will be: budgets, quotas and room are those of the whole sum. Whoever
turns out not to be needed is put back. Then the gang is decided as a whole with the victims gone (topology, quotas and
rules between pods included), and only what that proves is a plan.

Victims are less important than every member of the gang (unless they hold what is its namespace's own, ``owing``), and
never members of it. A required topology is kept: the
domains that could hold the gang are looked at, most room first, and the cheapest plan wins. For a preferred one nobody
more has to go.

Cost: what could leave is laid out in columns once for each kind of member; every member then costs a decision and about
two nodes that are tried out. Nodes that are tried out are bounded (``MOST_TRIED``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tensorfusion.errors import NotFit
from tensorfusion.model.gang import Gang
from tensorfusion.model.keys import GANG_DOMAINS
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.gang_room import room_by_node
from tensorfusion.scheduling.gang_trial import GangTrial
from tensorfusion.scheduling.gangs import (
    Domain,
    GangUnschedulable,
    in_order,
    inside,
    keys_of,
    label_columns,
    place_gang,
)
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.owing import stays_within
from tensorfusion.scheduling.preemption import SYSTEM_PRIORITY, Hopeless, leavings
from tensorfusion.scheduling.residents import Terms
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import (
    Budgets,
    Candidates,
    Going,
    Looked,
    Unit,
    no_budgets,
)

TRIED_DOMAINS = 4
"""Domains of a required topology that are looked at for one label, those with the most room first."""
MOST_TRIED = 192
"""Nodes that one search tries out at most, beside four for each member."""
DECIDED_AGAIN = 128
"""Victims times members of a plan so small that each victim is tried back by deciding the whole gang again."""


@dataclass(frozen=True, slots=True)
class GangPlan:
    """Places for as many members as the gang needs once ``victims`` were evicted and ``ending`` have ended.

    ``displaced`` gave up the places that are kept for them. ``domain`` is what all places share, or empty.
    """

    placements: tuple[tuple[PodFacts, Placement], ...]
    victims: tuple[Allocation, ...]
    ending: tuple[str, ...]
    displaced: tuple[str, ...]
    looked: Looked
    domain: str = ""
    instead: tuple[Allocation, ...] = ()
    """Members take whole nodes that are kept for whole-node jobs: else these would have to go."""
    owed: frozenset[str] = frozenset()
    """Uids of victims that go only because their namespace holds what is the gang's namespace's own."""

    @property
    def free(self) -> bool:
        """Nobody has to leave: the gang fits as things are."""
        return not (self.victims or self.ending or self.displaced)


def search_gang(
    state: State,
    members: Sequence[PodFacts],
    *,
    needed: int,
    now: int,
    domain_keys: Sequence[str] = GANG_DOMAINS,
    cluster_wide: bool = False,
    spared: frozenset[str] = frozenset(),
    budgets: Budgets = no_budgets,
) -> GangPlan | Hopeless:
    """Find the cheapest victims for ``needed`` of these members of one gang, which do not fit as things are.

    ``now`` is in Unix seconds; ``spared`` are left alone. Nothing is changed.
    """
    gang = members[0].gang
    pools = {one.request.pool for one in members if one.request is not None}
    if gang is None or len(members) < needed or len(pools) > 1 or not all(one.preempts for one in members):
        return Hopeless(Looked())
    state.residents.sync()
    lowest = min(members, key=lambda one: one.rank)
    anywhere = cluster_wide or lowest.priority >= SYSTEM_PRIORITY
    terms = Terms(lowest.rank, now, "" if anywhere else lowest.namespace, spared, gang.key)
    hopeless = Hopeless(Looked())
    first = [pod for pod, _ in in_order(state, members)[:needed]]
    for leaving, owing in leavings(state, terms, first):
        candidates = Candidates(state, leaving, now, budgets, owing=owing)
        attempt = _Attempt(state, gang, members, candidates, needed=needed, now=now, domain_keys=domain_keys)
        with state.kept_as_now(next(iter(pools), "")):
            found = attempt.anywhere()
            if found is None and leaving.owed is not None:  # what is owed may have been spent on pods of no use
                attempt.nodes_first = True
                found = attempt.anywhere()
        if found is not None and found.victims and any(map(state.keeps_whole_nodes, pools)):
            with state.without_holds():
                opened = attempt.opened() or attempt.anywhere()
            if opened is not None and len(opened.victims) < len(found.victims):
                found = replace(opened, instead=found.victims)
        if found is not None:
            return found
        until = min(leaving.protected_until, hopeless.protected_until)
        hopeless = Hopeless(attempt.looked, until, entitled=leaving.owed is not None)
    return hopeless


class _Attempt:
    """One search."""

    def __init__(
        self,
        state: State,
        gang: Gang,
        members: Sequence[PodFacts],
        candidates: Candidates,
        *,
        needed: int,
        now: int,
        domain_keys: Sequence[str],
    ) -> None:
        self._state = state
        self._gang = gang
        self._members = members
        self._ordered = in_order(state, members)
        self._leaving = candidates.leaving
        self._needed = needed
        self._now = now
        self._domain_keys = domain_keys
        self._candidates = candidates
        self._tried = 0
        self.nodes_first = False

    @property
    def looked(self) -> Looked:
        """What was looked at so far."""
        return self._candidates.looked(self._tried)

    def anywhere(self) -> GangPlan | None:
        """A plan as the gang's topology has it."""
        return self._in_domains() if self._gang.topology is GangTopology.REQUIRED else self.within(None)

    def opened(self) -> GangPlan | None:
        """Places that nobody has to leave."""
        return self._proven(Going(()))

    def _in_domains(self) -> GangPlan | None:
        """The cheapest plan that keeps the gang in one domain, of the narrowest label that has one."""
        for column_domains in self._domains():
            plans = [plan for domain in column_domains if (plan := self.within(domain)) is not None]
            if plans:
                return min(plans, key=lambda plan: Going((Unit(0, 0, "", plan.victims),)).cost)
        return None

    def within(self, domain: Domain | None) -> GangPlan | None:
        """A plan in one domain, or anywhere."""
        most = max(0, MOST_TRIED + 4 * self._needed - self._tried)
        trial = GangTrial(
            self._state,
            self._candidates,
            self._leaving,
            needed=self._needed,
            now=self._now,
            most=most,
            nodes_first=self.nodes_first,
        )
        mark = self._state.checkpoint()
        try:
            if not self._fill(trial, domain):
                return None
            chosen = trial.going()
            fewer = trial.without_the_unneeded()
        finally:
            self._state.rollback(mark)
            self._candidates.charge(trial.victims, -1)
            self._tried += trial.tried
        return self._leanest(chosen, fewer)

    def _leanest(self, chosen: Going, fewer: Going) -> GangPlan | None:
        """The first that is proven: nobody goes but those that do anyway; those still needed; all that were chosen."""
        tries = [fewer] if fewer.victims == chosen.victims else [fewer, chosen]
        if chosen.victims and (chosen.ending or chosen.displaced):
            tries.insert(0, Going((), chosen.ending, chosen.displaced))
        for going in tries:
            plan = self._proven(going)
            if plan is not None:
                return self._one_by_one(going, plan)
        return None

    def _one_by_one(self, going: Going, plan: GangPlan) -> GangPlan:
        """In a small plan everybody is put back once more, and the whole gang decided without that."""
        if len(going.units) * self._needed > DECIDED_AGAIN:
            return plan
        for unit in sorted(going.units, key=lambda unit: (-unit.rank, -unit.work, unit.uid)):
            less = Going(tuple(one for one in going.units if one is not unit), going.ending, going.displaced)
            found = self._proven(less)
            if found is not None:
                going, plan = less, found
        return plan

    def _fill(self, trial: GangTrial, domain: Domain | None) -> bool:
        """Place members until there are enough, and let go whoever is in their way."""
        hopeless: set[int] = set()
        asking: dict[int, PodFacts] = {}
        for pod, kind in self._ordered:
            if kind in hopeless:
                continue
            try:
                if domain is not None and kind not in asking:
                    asking[kind] = inside(self._state, pod, domain)
                placed = trial.place(pod, asking.get(kind, pod), kind)
            except NotFit:  # its own selector keeps it out of the domain
                placed = False
            if placed and trial.placed == self._needed:
                return True
            if not placed:
                if self._gang.strict:
                    return False
                hopeless.add(kind)
        return False

    def _proven(self, going: Going) -> GangPlan | None:
        """The plan, if the gang is really placed once all of these are gone."""
        mark = self._state.checkpoint()
        try:
            self._state.without(going.everybody)
            found = place_gang(self._state, self._members, needed=self._needed, domain_keys=self._domain_keys)
        except GangUnschedulable:
            return None
        finally:
            self._state.rollback(mark)
        placements = tuple((pod, decision.placement) for pod, decision in found.members)
        owed = going.owed
        if owed and not stays_within(self._state, placements):
            return None
        return GangPlan(
            placements=placements,
            victims=going.victims,
            ending=tuple(one.pod.uid for one in going.ending),
            displaced=tuple(one.pod.uid for one in going.displaced),
            looked=self.looked,
            domain=found.domain,
            owed=owed,
        )

    def _domains(self) -> Iterator[list[Domain]]:
        """Label by label, narrowest first: the domains that could hold the gang if everybody went."""
        counts: dict[int, tuple[PodFacts, int]] = {}
        for pod, kind in self._ordered:
            counts[kind] = pod, counts.get(kind, (pod, 0))[1] + 1
        without = self._leaving.free | self._leaving.victims
        rooms = [
            (room_by_node(self._state, pod), room_by_node(self._state, pod, without=without), count)
            for pod, count in counts.values()
        ]
        for column in label_columns(self._state, keys_of(self._gang, self._domain_keys)):
            labelled = column.codes >= 0
            if not column.values or not labelled.any():
                continue
            now = np.zeros(len(column.values), np.int64)
            then = np.zeros(len(column.values), np.int64)
            for room, emptied, count in rooms:
                at = column.codes[labelled]
                for sums, amounts in ((now, room), (then, emptied)):
                    found = np.bincount(at, weights=amounts[labelled], minlength=len(sums)).astype(np.int64)
                    np.add(sums, np.minimum(found, count), out=sums)
            fitting = np.flatnonzero(then >= self._needed)
            best = fitting[np.argsort(-now[fitting], kind="stable")][:TRIED_DOMAINS]
            yield [Domain(column.key, column.values[place], column.codes == place) for place in best.tolist()]
