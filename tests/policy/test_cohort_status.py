"""What the status of a cohort says."""

from typing import Any

import msgspec
import pytest

from tensorfusion.model.cohort import GPUCohort
from tensorfusion.policy.cohort_status import MEMBERS_TOLD, cohort_status
from tensorfusion.policy.quota_facts import cohort_facts
from tensorfusion.scheduling.cohort_nodes import Amounts
from tensorfusion.scheduling.cohorts import Cohorts
from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts


def cohort(name: str = "x", **spec: Any) -> GPUCohort:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, GPUCohort)


def trees(held: dict[str, Amounts], *facts: QuotaFacts | CohortFacts) -> Cohorts:
    found = Cohorts(lambda namespace: held.get(namespace, (0, 0, 0)))
    for one in facts:
        if isinstance(one, QuotaFacts):
            found.set_quota(one.namespace, one)
        else:
            found.set_cohort(one)
    return found


def test_it_says_who_holds_how_much_of_whose() -> None:
    found = trees(
        {"a": (3_000, 0, 6), "b": (0, 0, 1)},
        QuotaFacts("a", total_compute=4_000, total_devices=4, cohort="x", fair_weight=2),
        QuotaFacts("b", total_devices=4, cohort="x"),
        QuotaFacts("c", total_devices=2, cohort="y"),
        CohortFacts("x"),
        CohortFacts("y", parent="x"),
    )
    status = cohort_status(cohort(), found, now="now")
    assert status.nominal is not None
    assert (status.nominal.tflops, status.nominal.gpu_count, status.member_count) == ("4", 10, 3)
    assert status.used is not None
    assert (status.used.tflops, status.used.gpu_count) == ("3", 7)
    assert status.borrowed is None
    first = status.members[0]
    assert (first.name, first.kind, first.share) == ("a", "Namespace", "10.00")  # 2 of 10, by weight 2
    assert first.borrowed is not None
    assert first.borrowed.gpu_count == 2
    assert [(one.name, one.kind, one.share) for one in status.members[1:]] == [
        ("b", "Namespace", "0.00"),
        ("y", "GPUCohort", "0.00"),
    ]
    assert status.members[1].used is not None
    assert status.members[1].used.tflops == ""
    assert status.conditions[0].status == "True"


@pytest.mark.parametrize(
    ("parent", "reason"),
    [("x", "ParentIsItself"), ("nobody", "ParentUnknown"), ("y", "ParentHasParent")],
)
def test_a_parent_that_is_not_used_is_told(parent: str, reason: str) -> None:
    one = cohort(parent=parent)
    found = trees({}, cohort_facts(one), CohortFacts("y", parent="z"))
    status = cohort_status(one, found, now="now")
    (condition,) = status.conditions
    assert (condition.status, condition.reason, condition.last_transition_time) == ("False", reason, "now")


def test_a_large_cohort_names_those_with_the_largest_share_only() -> None:
    quotas = [QuotaFacts(f"n{i:03}", total_devices=1, cohort="x") for i in range(MEMBERS_TOLD + 5)]
    found = trees({"n104": (0, 0, 2)}, CohortFacts("x"), *quotas)
    status = cohort_status(cohort(), found, now="now")
    assert (len(status.members), status.member_count, status.members[0].name) == (MEMBERS_TOLD, 105, "n104")


def test_the_facts_of_a_cohort_are_in_integers() -> None:
    facts = cohort_facts(
        cohort(
            parent="p",
            fairWeight=3,
            reclaim={},
            borrowing={"limit": {"tflops": "1.5", "gpuCount": 2}},
            lending={"limit": {"vram": "1Ki"}},
        )
    )
    assert (facts.name, facts.parent, facts.fair_weight, facts.reclaim) == ("x", "p", 3, "Any")
    assert (facts.borrow_compute, facts.borrow_vram, facts.borrow_devices) == (1_500, None, 2)
    assert (facts.lend_compute, facts.lend_vram, facts.lend_devices) == (None, 1_024, None)
