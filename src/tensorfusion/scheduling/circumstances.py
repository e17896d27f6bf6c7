"""What a search for room has to know that no column says, and the one road to searching with it.

Apart from the searches because several ask them: for a pod that waits, for a question what would become of one, and for
advice to its owner. Who would have to go must be the same answer for all of them, so none of these passes to a search
what another one might forget.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.keys import GANG_DOMAINS
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan, search_gang
from tensorfusion.scheduling.gangs import in_order
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Budgets, no_budgets


@dataclass(frozen=True, slots=True)
class Ending:
    """A placed pod whose end is known, in Unix seconds, and why."""

    uid: str
    at: int
    why: str


@dataclass(frozen=True, slots=True)
class KeptPlace:
    """A place that is kept for a nominated pod."""

    uid: str
    namespace: str
    rank: int
    """Who is not above it may not take the place; of a gang that of its most important member."""
    in_gang: bool
    owed: bool
    """It gets back what is its namespace's own."""

    def is_barred(self, state: State, namespace: str) -> bool:
        """Whether it was got back from the tree of this other namespace: not for pods of it that would borrow."""
        return self.owed and self.namespace != namespace and state.quotas.counts_with(self.namespace, namespace)


@dataclass(frozen=True, slots=True)
class Spared:
    """Whom no search may count on: pods that are left alone for a time, and places that are kept."""

    pods: frozenset[str] = frozenset()
    places: tuple[KeptPlace, ...] = ()

    def by(self, state: State, rank: int, pods: Sequence[PodFacts]) -> frozenset[str]:
        """Uids of those whom these pods of one namespace, the least important of this rank, have to leave alone.

        Members of gangs, however low their own rank is; from those that would borrow, who gets back what is its own.
        """
        space = pods[0].namespace
        kept = {one.uid for one in self.places if one.in_gang and one.rank >= rank}
        got_back = [one for one in self.places if one.owed]
        if got_back and not state.quotas.stay_within_own(space, [one.request for one in pods]):
            kept |= {one.uid for one in got_back if one.is_barred(state, space)}
        return self.pods | kept


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a try-out has to know of the world around the columns. ``now`` is in Unix seconds."""

    now: int = 0
    endings: Sequence[Ending] = ()
    usable: Callable[[str], bool] = lambda _: True
    """Whether the pod's namespace may use a pool."""
    cluster_wide: bool = False
    budgets: Budgets = no_budgets
    spared: Spared = Spared()


def room_for_pod(
    state: State, pod: PodFacts, failure: NotFit | QuotaExceeded, around: Circumstances
) -> Plan | Hopeless:
    """Who has to go for a pod that failed so. Changes nothing."""
    return search(
        state,
        pod,
        failure,
        now=around.now,
        cluster_wide=around.cluster_wide,
        spared=around.spared.by(state, pod.rank, (pod,)),
        budgets=around.budgets,
    )


def room_for_gang(
    state: State,
    members: Sequence[PodFacts],
    needed: int,
    around: Circumstances,
    *,
    domain_keys: Sequence[str] = GANG_DOMAINS,
) -> GangPlan | Hopeless:
    """Who has to go for so many of the members of a gang, which do not fit as things are. Changes nothing."""
    first = [pod for pod, _ in in_order(state, members)[:needed]]
    return search_gang(
        state,
        members,
        needed=needed,
        now=around.now,
        domain_keys=domain_keys,
        cluster_wide=around.cluster_wide,
        spared=around.spared.by(state, min(one.rank for one in members), first),
        budgets=around.budgets,
    )
