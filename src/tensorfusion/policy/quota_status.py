"""The status of a namespace's quota: what is used, what is left in percent, and whether that is alarming.

Source: TensorFusion's quota contract (status and threshold).
"""

from collections.abc import Iterable
from fractions import Fraction

from tensorfusion.model.meta import Condition
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.quota import (
    AvailablePercent,
    GPUResourceQuota,
    GPUResourceQuotaStatus,
    QuotaTotal,
    QuotaUsage,
)
from tensorfusion.scheduling.quota import Usage
from tensorfusion.units import format_bytes, format_gflops

_NO_CEILING = "100"


def effective_quota(quotas: Iterable[GPUResourceQuota]) -> GPUResourceQuota | None:
    """The one quota of a namespace that counts: the first by name."""
    return min(quotas, key=lambda quota: quota.metadata.name, default=None)


def available_percent(total: int | None, used: int) -> str:
    """What is left of a ceiling, in percent with two decimals, never below zero; 100 where there is no ceiling."""
    if not total or total < 0:
        return _NO_CEILING
    left = round(Fraction(max(0, total - used), total) * 10_000)
    return f"{left // 100}.{left % 100:02d}"


def alert_reached(available: AvailablePercent, threshold: int, *, shared: bool = False) -> bool:
    """Whether any dimension has less left than ``100 - threshold`` percent; an empty value counts as nothing left.

    ``shared``: requests are shared in a cohort, where using up one's own is nothing to be alarmed about.
    """
    left = [available.limits_tflops, available.limits_vram, available.workers]
    if not shared:
        left += [available.requests_tflops, available.requests_vram]
    return any(Fraction(text or "0") < 100 - threshold for text in left)


def quota_status(quota: GPUResourceQuota, usage: Usage, *, now: str) -> GPUResourceQuotaStatus:
    """The status that a quota should have; equal to the present one where nothing changed.

    ``now`` stamps what did change.

    Raises:
        InvalidQuantity: the quota's own amounts cannot be read.
    """
    total = quota.spec.total or QuotaTotal()
    requests, limits = total.requests or ComputeResource(), total.limits or ComputeResource()
    available = AvailablePercent(
        requests_tflops=available_percent(requests.gflops(), usage.compute),
        requests_vram=available_percent(requests.vram_bytes(), usage.vram),
        limits_tflops=available_percent(limits.gflops(), usage.compute_limit),
        limits_vram=available_percent(limits.vram_bytes(), usage.vram_limit),
        workers=available_percent(total.max_workers, usage.workers),
    )
    used = QuotaUsage(
        requests=ComputeResource(tflops=format_gflops(usage.compute), vram=format_bytes(usage.vram)),
        limits=ComputeResource(tflops=format_gflops(usage.compute_limit), vram=format_bytes(usage.vram_limit)),
        workers=usage.workers,
        gpu_count=usage.devices,
    )
    status = GPUResourceQuotaStatus(
        used=used,
        available_percent=available,
        conditions=(
            _ready(quota.status, available, total.alert_threshold_percent, shared=bool(quota.spec.cohort), now=now),
        ),
        last_update_time=quota.status.last_update_time,
    )
    if status == quota.status:
        return quota.status
    return GPUResourceQuotaStatus(
        used=used, available_percent=available, conditions=status.conditions, last_update_time=now
    )


def _ready(
    found: GPUResourceQuotaStatus, available: AvailablePercent, threshold: int, *, shared: bool, now: str
) -> Condition:
    if alert_reached(available, threshold, shared=shared):
        status, reason = "False", "AlertThresholdReached"
        message = f"more than {threshold} percent of a dimension is used"
    else:
        status, reason = "True", "CapacitySufficient"
        message = "the quota is ready and its capacity is sufficient"
    before = next((condition for condition in found.conditions if condition.type == "Ready"), None)
    since = before.last_transition_time if before is not None and before.status == status else now
    return Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=since)
