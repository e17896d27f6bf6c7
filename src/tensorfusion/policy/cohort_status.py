"""The status of a cohort: what its members have, hold and have borrowed, and whether its parent can be used."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from msgspec.structs import replace

from tensorfusion.model.cohort import CohortMember, GPUCohort, GPUCohortStatus, SharedAmounts
from tensorfusion.model.meta import Condition
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS, Node
from tensorfusion.scheduling.cohorts import Cohorts
from tensorfusion.units import format_bytes, format_gflops

MEMBERS_TOLD: Final = 100
"""Members that the status names, those with the largest share first."""


def cohort_status(cohort: GPUCohort, cohorts: Cohorts, *, now: str) -> GPUCohortStatus:
    """The status that a cohort should have; ``now`` stamps a condition that changed."""
    conditions = (_ready(cohort, cohorts, now=now),)
    node = cohorts.cohort(cohort.metadata.name)
    return GPUCohortStatus(conditions=conditions) if node is None else replace(sums_of(node), conditions=conditions)


def sums_of(node: Node) -> GPUCohortStatus:
    """Who holds how much of a cohort; nothing about its parent."""
    members = sorted(
        ((child.share, child) for child in node.children),
        key=lambda entry: (-entry[0], entry[1].is_cohort, entry[1].name),
    )
    return GPUCohortStatus(
        nominal=amounts_of([sum(one.quota[part] for one in _namespaces(node)) for part in DIMENSIONS]),
        used=amounts_of([sum(one.counted[part] for one in _namespaces(node)) for part in DIMENSIONS]),
        borrowed=amounts_of([node.above(part) for part in DIMENSIONS]) if node.parent is not None else None,
        members=tuple(_member(child, share) for share, child in members[:MEMBERS_TOLD]),
        member_count=len(node.children),
    )


def parent_problem(cohort: GPUCohort, cohorts: Cohorts) -> tuple[str, str] | None:
    """Why the parent that a cohort names is not used, as reason and message; None where it is, or there is none."""
    name, parent = cohort.metadata.name, cohort.spec.parent
    if not parent:
        return None
    if parent == name:
        return "ParentIsItself", "the cohort names itself as its parent and shares with nobody above its members"
    found = next((facts for facts in cohorts.objects if facts.name == parent), None)
    alone = "until then the cohort shares with nobody above its members"
    if found is None:
        return "ParentUnknown", f"there is no GPUCohort {parent}: {alone}"
    if found.parent:
        return (
            "ParentHasParent",
            f"GPUCohort {parent} has a parent itself ({found.parent}), and a parent may have none: {alone}",
        )
    return None


def percent(share: Fraction) -> str:
    """A share in percent with two decimals, rounded up: what is borrowed never shows as nothing."""
    hundredths = -(-share.numerator * 10_000 // share.denominator)
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def amounts_of(parts: Sequence[int | None]) -> SharedAmounts:
    """Compute, memory and devices as they are written; None is left out."""
    compute, vram, devices = parts
    return SharedAmounts(
        tflops="" if compute is None else format_gflops(compute),
        vram="" if vram is None else format_bytes(vram),
        gpu_count=devices,
    )


def _member(node: Node, share: Fraction) -> CohortMember:
    def told(parts: Sequence[int]) -> SharedAmounts:
        """Of a namespace nothing about what it does not share."""
        own = node.own
        return amounts_of([part if mine is not None else None for part, mine in zip(parts, own, strict=True)])

    return CohortMember(
        name=node.name,
        kind="GPUCohort" if node.is_cohort else "Namespace",
        nominal=told(node.quota),
        used=told(node.counted),
        borrowed=told([node.above(part) for part in DIMENSIONS]),
        share=percent(share),
    )


def _namespaces(node: Node) -> list[Node]:
    below: list[Node] = []
    for child in node.children:
        below += _namespaces(child) if child.is_cohort else [child]
    return below


def _ready(cohort: GPUCohort, cohorts: Cohorts, *, now: str) -> Condition:
    problem = parent_problem(cohort, cohorts)
    if problem is None:
        status, reason, message = "True", "Sharing", "its members lend each other what they do not use"
    else:
        status, (reason, message) = "False", problem
    before = next((one for one in cohort.status.conditions if one.type == "Ready"), None)
    since = before.last_transition_time if before is not None and before.status == status else now
    return Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=since)
