"""How a workload's resources follow its use: shared by workloads, profiles and scheduling templates.

Source: AutoScalingConfig of tensor-fusion.ai/v1. Fractions are decimal strings there, and stay so here.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.quantities import ResourceBounds
from tensorfusion.model.rules import Duration, Part, Rules


class AutoscaleTarget(StrEnum):
    ALL = "all"
    COMPUTE = "compute"
    VRAM = "vram"


class AutoSetResources(Part, frozen=True):
    """Requests and limits from percentiles of past use."""

    enable: Annotated[bool, Rules("Adjust requests and limits to the use.", defaulted=True)] = False
    target_resource: Annotated[AutoscaleTarget, Rules("What is adjusted.")] = msgspec.field(
        default=AutoscaleTarget.ALL, name="targetResource"
    )
    target_compute_percentile: Annotated[str, Rules("Percentile of the use that becomes the compute request.")] = (
        msgspec.field(default="0.9", name="targetComputePercentile")
    )
    lower_bound_compute_percentile: Annotated[str, Rules("Percentile below which compute is not scaled down.")] = (
        msgspec.field(default="0.5", name="lowerBoundComputePercentile")
    )
    upper_bound_compute_percentile: Annotated[str, Rules("Percentile above which compute is not scaled up.")] = (
        msgspec.field(default="0.95", name="upperBoundComputePercentile")
    )
    target_vram_percentile: Annotated[str, Rules("Percentile of the use that becomes the memory request.")] = (
        msgspec.field(default="0.9", name="targetVRAMPercentile")
    )
    lower_bound_vram_percentile: Annotated[str, Rules("Percentile below which memory is not scaled down.")] = (
        msgspec.field(default="0.5", name="lowerBoundVRAMPercentile")
    )
    upper_bound_vram_percentile: Annotated[str, Rules("Percentile above which memory is not scaled up.")] = (
        msgspec.field(default="0.95", name="upperBoundVRAMPercentile")
    )
    margin_fraction: Annotated[str, Rules("Added to every recommendation, as a fraction.")] = msgspec.field(
        default="0.15", name="marginFraction"
    )
    update_threshold: Annotated[str, Rules("Smaller changes are not made; keep it below marginFraction.")] = (
        msgspec.field(default="0.1", name="updateThreshold")
    )
    history_data_period: Annotated[Duration, Rules("How far back use is looked at.")] = msgspec.field(
        default="2h", name="historyDataPeriod"
    )
    min_vram_resources_ratio: Annotated[str, Rules("Never below this part of the original memory.")] = msgspec.field(
        default="0.2", name="minVRAMResourcesRatio"
    )
    max_vram_resources_ratio: Annotated[str, Rules("Never above this multiple of the original memory.")] = (
        msgspec.field(default="5.0", name="maxVRAMResourcesRatio")
    )
    min_compute_resources_ratio: Annotated[str, Rules("Never below this part of the original compute.")] = (
        msgspec.field(default="0.1", name="minComputeResourcesRatio")
    )
    max_compute_resources_ratio: Annotated[str, Rules("Never above this multiple of the original compute.")] = (
        msgspec.field(default="10.0", name="maxComputeResourcesRatio")
    )
    initial_delay_period: Annotated[Duration, Rules("Younger workloads are left alone.")] = msgspec.field(
        default="30m", name="initialDelayPeriod"
    )
    interval: Annotated[Duration, Rules("Time between two adjustments; the global interval where unset.")] = ""


class CronScalingRule(Part, frozen=True):
    """Fixed resources between two moments of a calendar."""

    enable: Annotated[bool | None, Rules("The rule is in force.")] = None
    name: Annotated[str, Rules("Name of the rule.")] = ""
    start: Annotated[str, Rules("Cron expression of the start.")] = ""
    end: Annotated[str, Rules("Cron expression of the end.")] = ""
    desired_resources: Annotated[ResourceBounds | None, Rules("Resources while the rule holds.")] = msgspec.field(
        default=None, name="desiredResources"
    )


class SecretRef(Part, frozen=True):
    """Reference to a Secret."""

    name: Annotated[str, Rules("Name of the Secret.")] = ""
    namespace: Annotated[str, Rules("Namespace of the Secret.")] = ""


class ExternalScaler(Part, frozen=True):
    """A service of the user that recommends resources."""

    enable: Annotated[bool | None, Rules("Ask the service.")] = None
    url: Annotated[str, Rules("URL that is called with POST.")] = ""
    api_key_secret_ref: Annotated[SecretRef | None, Rules("Secret with the bearer token.")] = msgspec.field(
        default=None, name="apiKeySecretRef"
    )
    initial_delay_period: Annotated[Duration, Rules("Younger workloads are left alone.")] = msgspec.field(
        default="30m", name="initialDelayPeriod"
    )
    interval: Annotated[Duration, Rules("Time between two calls; the global interval where unset.")] = ""


class AutoScalingConfig(Part, frozen=True):
    """How resources follow the use."""

    auto_set_resources: Annotated[AutoSetResources | None, Rules("From percentiles of past use.")] = msgspec.field(
        default=None, name="autoSetResources"
    )
    cron_scaling_rules: Annotated[tuple[CronScalingRule, ...], Rules("From the calendar.", max_items=32)] = (
        msgspec.field(default=(), name="cronScalingRules")
    )
    external_scaler: Annotated[ExternalScaler | None, Rules("From a service of the user.")] = msgspec.field(
        default=None, name="externalScaler"
    )
