"""Which disruption budgets cover a pod: looked up once for pods that are alike."""

from collections.abc import Sequence

from tensorfusion.model.disruption import DisruptionBudget, DisruptionBudgetSpec, DisruptionBudgetStatus
from tensorfusion.model.meta import Key, LabelSelector, Meta
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.room_search import BUDGETS_BY_NAMESPACE, Covering
from worlds import pod


class Counted(Cache[DisruptionBudget]):
    """Counts the questions."""

    asked = 0

    def by_index(self, name: str, value: str) -> Sequence[DisruptionBudget]:
        self.asked += 1
        return super().by_index(name, value)


def test_pods_that_are_alike_are_looked_up_once_and_a_budget_for_all_there_are_is_meant_for_none() -> None:
    budgets = Counted()
    budgets.add_index(BUDGETS_BY_NAMESPACE, lambda budget: (budget.metadata.namespace,))
    for name, labels in (("web", {"app": "web"}), ("all", {})):
        budget = DisruptionBudget(
            metadata=Meta(name=name, namespace="team"),
            spec=DisruptionBudgetSpec(LabelSelector(match_labels=labels)),
            status=DisruptionBudgetStatus(3),
        )
        budgets.put(Key("team", name), budget)
    covering = Covering(budgets)
    for number in range(5):
        web = pod(f"web{number}", labels={"app": "web"})
        assert covering.is_meant(web)
        assert covering.allowed(web) == {"team/web": 3, "team/all": 3}
    assert budgets.asked == 1
    lonely, away = pod("lonely"), pod("away", namespace="elsewhere", labels={"app": "web"})
    assert (covering.is_meant(lonely), covering.allowed(lonely)) == (False, {"team/all": 3})
    assert (covering.is_meant(away), covering.allowed(away)) == (False, {})
