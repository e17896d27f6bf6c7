"""Searches for victims, with what only the service knows: the time, disruption budgets, and whom to leave alone.

Apart from the preemptor because nothing is changed here: a search answers with a plan, or says why there is none.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.pods import Failure
from tensorfusion.scheduling.circumstances import Circumstances, KeptPlace, Spared, room_for_gang, room_for_pod
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.gangs import GangUnschedulable, place_gang
from tensorfusion.scheduling.preemption import Hopeless, Plan
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Looked

BUDGETS_BY_NAMESPACE = "namespace"
"""The index of disruption budgets that is asked."""


class RoomSearch:
    """Searches in one state. ``domain_keys`` name labels, narrowest first.

    ``kept`` tells the places that are kept.
    """

    def __init__(
        self,
        state: State,
        *,
        clock: Clock,
        budgets: Cache[DisruptionBudget],
        cluster_wide: Callable[[], bool],
        domain_keys: Sequence[str],
        kept: Callable[[], Iterable[KeptPlace]],
    ) -> None:
        self.cluster_wide = cluster_wide
        self._state = state
        self._clock = clock
        self._budgets = budgets
        self._domain_keys = domain_keys
        self._kept = kept
        self._spared: dict[str, float] = {}
        """Pods that are left alone, and until when."""

    def spare(self, uids: Collection[str], seconds: float) -> None:
        """Leave these alone for so long, and do not count on their end either."""
        self._spared.update(dict.fromkeys(uids, self._clock.monotonic() + seconds))

    def for_pod(self, facts: PodFacts) -> Plan | Hopeless:
        """A plan for one pod; one without victims where it fits as things are."""
        try:
            placement = decide(self._state, facts).placement
        except (NotFit, QuotaExceeded) as refused:
            failure: Failure = refused
        else:
            return Plan(placement, (), (), (), Looked())
        return room_for_pod(self._state, facts, failure, self.around())

    def for_gang(self, members: Sequence[PodFacts], needed: int) -> GangPlan | Hopeless:
        """A plan for so many of the members of a gang; one without victims where they fit as things are."""
        state = self._state
        mark = state.checkpoint()
        try:
            found = place_gang(state, members, needed=needed, domain_keys=self._domain_keys)
        except GangUnschedulable:
            pass
        else:
            places = tuple((pod, decision.placement) for pod, decision in found.members)
            return GangPlan(places, (), (), (), Looked(), found.domain)
        finally:
            state.rollback(mark)
        return room_for_gang(state, members, needed, self.around(), domain_keys=self._domain_keys)

    def around(self) -> Circumstances:
        """What a search has to know now, whoever asks for one."""
        now = self._clock.monotonic()
        if self._spared:
            here = self._state.allocations
            self._spared = {uid: until for uid, until in self._spared.items() if until > now and uid in here}
        return Circumstances(
            now=int(self._clock.now().timestamp()),
            cluster_wide=self.cluster_wide(),
            budgets=self.budgets_of,
            spared=Spared(frozenset(self._spared), tuple(self._kept())),
        )

    def budgets_of(self, facts: PodFacts) -> Mapping[str, int]:
        """The disruption budgets that cover a pod, by name, and how many pods each of them lets go now."""
        return Covering(self._budgets).allowed(facts)


class Covering:
    """Which disruption budgets cover pods, at this moment: looked up once for all pods that are alike."""

    def __init__(self, budgets: Cache[DisruptionBudget]) -> None:
        self._budgets = budgets
        self._found: dict[tuple[str, frozenset[tuple[str, str]]], list[DisruptionBudget]] = {}

    def allowed(self, facts: PodFacts) -> dict[str, int]:
        """The budgets that cover a pod, by name, and how many pods each of them lets go now."""
        return {
            f"{budget.metadata.namespace}/{budget.metadata.name}": budget.status.disruptions_allowed
            for budget in self._of(facts)
        }

    def is_meant(self, facts: PodFacts) -> bool:
        """Whether somebody wrote a budget for pods like this one, not one for all there are."""
        return any(
            (selector := budget.spec.selector) is not None and (selector.match_labels or selector.match_expressions)
            for budget in self._of(facts)
        )

    def _of(self, facts: PodFacts) -> list[DisruptionBudget]:
        alike = facts.namespace, frozenset(facts.labels.items())
        found = self._found.get(alike)
        if found is None:
            found = self._found[alike] = [
                budget
                for budget in self._budgets.by_index(BUDGETS_BY_NAMESPACE, facts.namespace)
                if budget.spec.selector is not None and budget.spec.selector.matches(facts.labels)
            ]
        return found
