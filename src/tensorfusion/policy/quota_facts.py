"""What quotas and cohorts say, as facts in integers.

Apart from the scheduler's other feeds because two ask: the scheduler, which enforces them, and the operator, which sums
up who uses what.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tensorfusion.model.cohort import GPUCohort, SharingLimit
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.quota import GPUResourceQuota, QuotaSingle, QuotaTotal
from tensorfusion.policy.quota_status import effective_quota
from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts
from tensorfusion.units import Rounding


def quota_facts(namespace: str, quotas: Sequence[GPUResourceQuota]) -> QuotaFacts | None:
    """The ceilings of a namespace. Of several quotas the lowest ceiling of each dimension counts; None without any.

    Raises:
        InvalidQuantity: an amount is not a quantity.
    """
    if not quotas:
        return None
    ceilings: dict[str, Any] = {}  # Any: fields of the facts, each of its own type
    for quota in quotas:
        for name, value in _ceilings(quota).items():
            ceilings[name] = min(value, ceilings.get(name, value))
    sharing = effective_quota(quota for quota in quotas if quota.spec.cohort)
    if sharing is None:
        return QuotaFacts(namespace=namespace, **ceilings)
    spec = sharing.spec
    limits = _limits(spec.borrowing, spec.lending) | _walls(quotas, ceilings, _limits(spec.borrowing, spec.lending))
    return QuotaFacts(namespace=namespace, cohort=spec.cohort, fair_weight=spec.fair_weight, **ceilings, **limits)


def cohort_facts(cohort: GPUCohort) -> CohortFacts:
    """How the members of a cohort share.

    Raises:
        InvalidQuantity: a limit is not a quantity.
    """
    spec = cohort.spec
    return CohortFacts(
        name=cohort.metadata.name,
        parent=spec.parent,
        fair_weight=spec.fair_weight,
        reclaim=spec.reclaim_policy,
        **_limits(spec.borrowing, spec.lending),
    )


def _walls(
    quotas: Sequence[GPUResourceQuota], own: Mapping[str, int], limits: Mapping[str, int | None]
) -> dict[str, int]:
    """What quotas without a cohort change of the limits: nothing of their ceilings is passed by borrowing.

    What only such quotas state is lent to nobody either.
    """
    found: dict[str, int] = {}
    alone = [_ceilings(quota) for quota in quotas if not quota.spec.cohort]
    together = [_ceilings(quota) for quota in quotas if quota.spec.cohort]
    for name in ("compute", "vram", "devices"):
        total, borrow = f"total_{name}", f"borrow_{name}"
        walls = [ceilings[total] for ceilings in alone if total in ceilings]
        if walls:
            above, most = min(walls) - own[total], limits[borrow]
            found[borrow] = above if most is None else min(above, most)
            if not any(total in ceilings for ceilings in together):
                found[f"lend_{name}"] = 0
    return found


def _limits(borrowing: SharingLimit | None, lending: SharingLimit | None) -> dict[str, Any]:  # Any: fields of facts
    found: dict[str, Any] = {}
    for word, limit in (("borrow", borrowing), ("lend", lending)):
        parts = (limit or SharingLimit()).parts()
        found |= {f"{word}_{name}": part for name, part in zip(("compute", "vram", "devices"), parts, strict=True)}
    return found


def _ceilings(quota: GPUResourceQuota) -> dict[str, int]:
    """The dimensions that one quota sets. A zero in ``single`` is no ceiling."""
    total = quota.spec.total or QuotaTotal()
    single = quota.spec.single or QuotaSingle()
    nothing = ComputeResource()
    totals = {
        "total_compute": (total.requests or nothing).gflops(Rounding.DOWN),
        "total_vram": (total.requests or nothing).vram_bytes(Rounding.DOWN),
        "total_compute_limit": (total.limits or nothing).gflops(Rounding.DOWN),
        "total_vram_limit": (total.limits or nothing).vram_bytes(Rounding.DOWN),
        "total_workers": total.max_workers,
        "total_devices": total.max_gpu_count,
    }
    singles = {
        "single_compute": (single.max_requests or nothing).gflops(Rounding.DOWN),
        "single_vram": (single.max_requests or nothing).vram_bytes(Rounding.DOWN),
        "single_compute_limit": (single.max_limits or nothing).gflops(Rounding.DOWN),
        "single_vram_limit": (single.max_limits or nothing).vram_bytes(Rounding.DOWN),
        "single_devices": single.max_gpu_count,
    }
    return {name: value for name, value in totals.items() if value is not None} | {
        name: value for name, value in singles.items() if value
    }
