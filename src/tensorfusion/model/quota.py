"""GPUResourceQuota: what a namespace may hold of the devices, in sum and per worker.

Only the dimensions that are set are enforced: absent is unlimited, an explicit zero allows none (in ``single`` a zero
is unlimited, as users of the API expect).

Source: GPUResourceQuota of tensor-fusion.ai/v1; ``total.maxGPUCount`` and all that is about cohorts is ours.
"""

from typing import Annotated, ClassVar

import msgspec

from tensorfusion.model.cohort import CohortName, SharingLimit, Weight
from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.quantities import EXCLUSIVE, ComputeResource
from tensorfusion.model.rules import Cel, Column, Count, Part, Percent, Rules, Time

_AMOUNTS = (
    Cel(
        "!has(self.compute)",
        "a ceiling is stated in tflops: percent of a device counts as that share of the device it lands on",
    ),
)
"""For ceilings: percentages of different devices do not add up."""


def _limits_cover_requests(requests: str, limits: str) -> tuple[Cel, ...]:
    """A limit below the request of the same dimension would refuse everybody."""
    return tuple(
        Cel(
            f"!has(self.{requests}) || !has(self.{limits}) || !has(self.{requests}.{part}) || "
            f"!has(self.{limits}.{part}) || quantity(string(self.{limits}.{part}))"
            f".compareTo(quantity(string(self.{requests}.{part}))) >= 0",
            f"{limits}.{part} has to be at least {requests}.{part}",
        )
        for part in ("tflops", "vram")
    )


class QuotaTotal(Part, frozen=True):
    """Ceilings of the namespace's sums."""

    cel: ClassVar[tuple[Cel, ...]] = _limits_cover_requests("requests", "limits")

    requests: Annotated[
        ComputeResource | None, Rules("Ceiling of all requests, times their device count.", cel=_AMOUNTS)
    ] = None
    limits: Annotated[
        ComputeResource | None, Rules("Ceiling of all limits, times their device count.", cel=_AMOUNTS)
    ] = None
    max_workers: Annotated[Count, Rules("Most pods with shares.")] = msgspec.field(default=32768, name="maxWorkers")
    max_gpu_count: Annotated[Count | None, Rules("Most shares: the sum of all device counts.")] = msgspec.field(
        default=None, name="maxGPUCount"
    )
    alert_threshold_percent: Annotated[Percent, Rules("Warn when this much of a dimension is used.")] = msgspec.field(
        default=95, name="alertThresholdPercent"
    )


class QuotaSingle(Part, frozen=True):
    """Ceilings and defaults of one worker, per device."""

    cel: ClassVar[tuple[Cel, ...]] = (
        *_limits_cover_requests("maxRequests", "maxLimits"),
        *_limits_cover_requests("defaultRequests", "defaultLimits"),
    )

    max_requests: Annotated[
        ComputeResource | None, Rules("Most that a worker may request of a device.", cel=_AMOUNTS)
    ] = msgspec.field(default=None, name="maxRequests")
    max_limits: Annotated[ComputeResource | None, Rules("Highest limits of a worker on a device.", cel=_AMOUNTS)] = (
        msgspec.field(default=None, name="maxLimits")
    )
    max_gpu_count: Annotated[Count | None, Rules("Most devices of a worker.")] = msgspec.field(
        default=None, name="maxGPUCount"
    )
    default_requests: Annotated[ComputeResource | None, Rules("For pods that request nothing.", cel=EXCLUSIVE)] = (
        msgspec.field(default=None, name="defaultRequests")
    )
    default_limits: Annotated[ComputeResource | None, Rules("For pods that set no limits.", cel=EXCLUSIVE)] = (
        msgspec.field(default=None, name="defaultLimits")
    )


class GPUResourceQuotaSpec(Part, frozen=True):
    """Ceilings of the namespace, and with whom it shares them."""

    cel: ClassVar[tuple[Cel, ...]] = tuple(
        Cel(f"!has(self.{name}) || has(self.cohort)", f"{name} needs a cohort to share with")
        for name in ("fairWeight", "borrowing", "lending")
    )

    total: Annotated[QuotaTotal | None, Rules("Ceilings of the namespace's sums.")] = None
    single: Annotated[QuotaSingle | None, Rules("Ceilings and defaults of one worker.")] = None
    cohort: Annotated[
        CohortName,
        Rules(
            "The cohort whose members lend each other what they do not use of total.requests and total.maxGPUCount; "
            "it need not exist as a GPUCohort."
        ),
    ] = ""
    fair_weight: Annotated[
        Weight,
        Rules("Beside other members of the cohort: twice the weight, twice the part. 1 where unset.", defaulted=False),
    ] = msgspec.field(default=1, name="fairWeight")
    borrowing: Annotated[SharingLimit | None, Rules("What it may hold above its own.")] = None
    lending: Annotated[SharingLimit | None, Rules("What others may use of its own.")] = None


class QuotaUsage(Part, frozen=True):
    """What the namespace holds."""

    requests: Annotated[ComputeResource | None, Rules("Sum of all requests.")] = None
    limits: Annotated[ComputeResource | None, Rules("Sum of all limits.")] = None
    workers: Annotated[Count | None, Rules("Pods with shares.")] = None
    gpu_count: Annotated[Count | None, Rules("Shares.")] = msgspec.field(default=None, name="gpuCount")


class AvailablePercent(Part, frozen=True):
    """What is left of each dimension, in percent with two decimals; 100 where there is no ceiling."""

    requests_tflops: Annotated[str, Rules("Left of the requested compute.")] = msgspec.field(
        default="", name="requests.tflops"
    )
    requests_vram: Annotated[str, Rules("Left of the requested memory.")] = msgspec.field(
        default="", name="requests.vram"
    )
    limits_tflops: Annotated[str, Rules("Left of the compute limits.")] = msgspec.field(
        default="", name="limits.tflops"
    )
    limits_vram: Annotated[str, Rules("Left of the memory limits.")] = msgspec.field(default="", name="limits.vram")
    workers: Annotated[str, Rules("Left of the pods.")] = ""


class GPUResourceQuotaStatus(Part, frozen=True):
    """What the namespace holds, and what is left."""

    used: Annotated[QuotaUsage | None, Rules("What the namespace holds.")] = None
    available_percent: Annotated[AvailablePercent | None, Rules("What is left of each dimension.")] = msgspec.field(
        default=None, name="availablePercent"
    )
    conditions: Annotated[
        tuple[Condition, ...], Rules("Ready is False while a dimension is past the alert threshold.", map_key="type")
    ] = ()
    last_update_time: Annotated[Time | None, Rules("When the numbers last changed.")] = msgspec.field(
        default=None, name="lastUpdateTime"
    )


class GPUResourceQuota(Object, frozen=True):
    """Ceilings of what one namespace may hold of the devices. One per namespace counts."""

    spec: Annotated[GPUResourceQuotaSpec, Rules("Ceilings of the namespace.")] = msgspec.field(
        default_factory=GPUResourceQuotaSpec
    )
    status: Annotated[GPUResourceQuotaStatus, Rules("What the namespace holds, and what is left.")] = msgspec.field(
        default_factory=GPUResourceQuotaStatus
    )


COLUMNS = (
    Column("Requests TFlops Used", ".status.used.requests.tflops"),
    Column("Requests VRAM Used", ".status.used.requests.vram"),
    Column("Workers Used", ".status.used.workers", "integer"),
    Column("Alert Threshold", ".spec.total.alertThresholdPercent", "integer"),
    Column("Age", ".metadata.creationTimestamp", "date"),
)
