"""SchedulingConfigTemplate: how the pools that name it place, scale and limit.

Source: SchedulingConfigTemplate of tensor-fusion.ai/v1; ``dra`` is in the user's own guide.
"""

from typing import Annotated

import msgspec

from tensorfusion.model.autoscaling import AutoScalingConfig
from tensorfusion.model.common import PlacementMode
from tensorfusion.model.meta import LabelSelector, Object, Raw
from tensorfusion.model.request import QoS
from tensorfusion.model.rules import Column, EmptyStatus, Part, Rules


class GpuFilter(Part, frozen=True):
    """One more filter of devices."""

    type: Annotated[str, Rules("avoidTooMuchConnectionsOnSameGPU or avoidDifferentZone.")] = ""
    params: Annotated[Raw, Rules("Parameters of the filter.")] = msgspec.field(default_factory=dict)


class Placement(Part, frozen=True):
    """Where shares go."""

    mode: Annotated[
        PlacementMode, Rules("Fill up, spread, fill nodes and spread devices, or look ahead.", required=True)
    ] = PlacementMode.NODE_COMPACT_GPU_LOW_LOAD
    allow_using_local_gpu: Annotated[bool, Rules("Pods may run on the device's own node.")] = msgspec.field(
        default=True, name="allowUsingLocalGPU"
    )
    gpu_filters: Annotated[tuple[GpuFilter, ...], Rules("More filters of devices.")] = msgspec.field(
        default=(), name="gpuFilters"
    )


class VerticalScalingRule(Part, frozen=True):
    """Scaling of the pods that a selector matches; the first match counts."""

    name: Annotated[str, Rules("Name of the rule.")] = ""
    selector: Annotated[LabelSelector | None, Rules("Labels of the pods.")] = None
    auto_scaling: Annotated[AutoScalingConfig | None, Rules("How their resources follow the use.")] = msgspec.field(
        default=None, name="autoScaling"
    )


class ReBalanceThreshold(Part, frozen=True):
    """When moving pays."""

    match_any: Annotated[Raw, Rules("Conditions, any of which is enough.")] = msgspec.field(
        default_factory=dict, name="matchAny"
    )


class ReBalancer(Part, frozen=True):
    """Moving shares to better places."""

    enable: Annotated[bool | None, Rules("Move shares to better places.")] = None
    interval: Annotated[str, Rules("Time between two looks.")] = ""
    re_balance_cool_down_time: Annotated[str, Rules("A moved share rests this long.")] = msgspec.field(
        default="", name="reBalanceCoolDownTime"
    )
    threshold: Annotated[ReBalanceThreshold | None, Rules("When moving pays.")] = None


class AutoFreeze(Part, frozen=True):
    """When idle workers of one quality of service leave the device. Times may use d and w."""

    qos: Annotated[QoS | None, Rules("Which quality of service.")] = None
    freeze_to_mem_ttl: Annotated[str, Rules("Idle time until device memory moves to host memory.")] = msgspec.field(
        default="", name="freezeToMemTTL"
    )
    freeze_to_disk_ttl: Annotated[str, Rules("Idle time until it moves to disk.")] = msgspec.field(
        default="", name="freezeToDiskTTL"
    )
    enable: Annotated[bool | None, Rules("Freeze idle workers.")] = None


class IntelligenceWarmup(Part, frozen=True):
    """Thawing workers before they are needed."""

    enable: Annotated[bool | None, Rules("Thaw workers before they are needed.")] = None
    model: Annotated[str, Rules("Model that predicts the need.")] = ""
    history_data_period: Annotated[str, Rules("How far back it looks.")] = msgspec.field(
        default="", name="historyDataPeriod"
    )
    prediction_period: Annotated[str, Rules("How far ahead it looks.")] = msgspec.field(
        default="", name="predictionPeriod"
    )


class AutoFreezeAndResume(Part, frozen=True):
    """Moving idle workers off the device and back."""

    auto_freeze: Annotated[tuple[AutoFreeze, ...], Rules("When idle workers leave the device.")] = msgspec.field(
        default=(), name="autoFreeze"
    )
    intelligence_warmup: Annotated[IntelligenceWarmup | None, Rules("Thawing before the need.")] = msgspec.field(
        default=None, name="intelligenceWarmup"
    )


class ElasticRateLimitParameters(Part, frozen=True):
    """The controller of the soft limiter. Decimal strings."""

    max_refill_rate: Annotated[str, Rules("Highest refill of a worker's bucket.")] = msgspec.field(
        default="", name="maxRefillRate"
    )
    min_refill_rate: Annotated[str, Rules("Lowest refill of a worker's bucket.")] = msgspec.field(
        default="", name="minRefillRate"
    )
    filter_alpha: Annotated[str, Rules("Smoothing of the measured use.")] = msgspec.field(
        default="", name="filterAlpha"
    )
    ki: Annotated[str, Rules("Integral gain.")] = ""
    kd: Annotated[str, Rules("Differential gain.")] = ""
    kp: Annotated[str, Rules("Proportional gain.")] = ""
    burst_window: Annotated[str, Rules("How long a burst may last.")] = msgspec.field(default="", name="burstWindow")
    capacity_min: Annotated[str, Rules("Smallest bucket.")] = msgspec.field(default="", name="capacityMin")
    capacity_max: Annotated[str, Rules("Largest bucket.")] = msgspec.field(default="", name="capacityMax")
    integral_decay_factor: Annotated[str, Rules("Forgetting of the integral part.")] = msgspec.field(
        default="", name="integralDecayFactor"
    )


class MultiProcessQueuingParameters(Part, frozen=True):
    """When workers of low quality of service wait. Decimal strings and durations."""

    computing_threshold_for_preempt: Annotated[str, Rules("Use above which low workers wait.")] = msgspec.field(
        default="", name="computingThresholdForPreempt"
    )
    trigger_preempt_duration: Annotated[str, Rules("How long the use must be above.")] = msgspec.field(
        default="", name="triggerPreemptDuration"
    )
    computing_threshold_for_resume: Annotated[str, Rules("Use below which they go on.")] = msgspec.field(
        default="", name="computingThresholdForResume"
    )
    trigger_resume_duration: Annotated[str, Rules("How long the use must be below.")] = msgspec.field(
        default="", name="triggerResumeDuration"
    )
    coefficient_low: Annotated[str, Rules("Weight of low.")] = msgspec.field(default="", name="coefficientLow")
    coefficient_medium: Annotated[str, Rules("Weight of medium.")] = msgspec.field(default="", name="coefficientMedium")
    coefficient_high: Annotated[str, Rules("Weight of high.")] = msgspec.field(default="", name="coefficientHigh")
    slow_start_ratio: Annotated[str, Rules("Part of its share that a resumed worker starts with.")] = msgspec.field(
        default="", name="slowStartRatio"
    )


class HypervisorScheduling(Part, frozen=True):
    """What the node agent does with the shares of a device."""

    auto_freeze_and_resume: Annotated[AutoFreezeAndResume | None, Rules("Moving idle workers off the device.")] = (
        msgspec.field(default=None, name="autoFreezeAndResume")
    )
    elastic_rate_limit_parameters: Annotated[
        ElasticRateLimitParameters | None, Rules("The controller of the soft limiter.")
    ] = msgspec.field(default=None, name="elasticRateLimitParameters")
    multi_process_queuing_parameters: Annotated[
        MultiProcessQueuingParameters | None, Rules("When workers of low quality of service wait.")
    ] = msgspec.field(default=None, name="multiProcessQueuingParameters")


class DraTemplate(Part, frozen=True):
    """Dynamic Resource Allocation for the pools of the template."""

    enable: Annotated[bool | None, Rules("Use Dynamic Resource Allocation unless a pool or pod says otherwise.")] = None
    resource_claim_template_name: Annotated[str, Rules("ResourceClaimTemplate for the pods.")] = msgspec.field(
        default="tensor-fusion-gpu-template", name="resourceClaimTemplateName"
    )


class SchedulingConfigTemplateSpec(Part, frozen=True):
    """How the pools that name the template schedule."""

    placement: Annotated[Placement, Rules("Where shares go.", required=True)] = msgspec.field(default_factory=Placement)
    vertical_scaling_rules: Annotated[
        tuple[VerticalScalingRule, ...], Rules("The first match counts.", max_items=64)
    ] = msgspec.field(default=(), name="verticalScalingRules")
    re_balancer: Annotated[ReBalancer | None, Rules("Moving shares to better places.")] = msgspec.field(
        default=None, name="reBalancer"
    )
    hypervisor: Annotated[HypervisorScheduling | None, Rules("What the node agent does with shares.")] = None
    dra: Annotated[DraTemplate | None, Rules("Dynamic Resource Allocation for the pools of this template.")] = None


class SchedulingConfigTemplate(Object, frozen=True):
    """How the pools that name it place, scale and limit their shares."""

    spec: Annotated[SchedulingConfigTemplateSpec, Rules("How the pools schedule.")] = msgspec.field(
        default_factory=SchedulingConfigTemplateSpec
    )
    status: Annotated[EmptyStatus, Rules("Empty.")] = msgspec.field(default_factory=EmptyStatus)


COLUMNS = (
    Column("Mode", ".spec.placement.mode"),
    Column("Allow Local GPU", ".spec.placement.allowUsingLocalGPU", "boolean"),
    Column("AutoFreeze", ".spec.hypervisor.autoFreezeAndResume.autoFreeze[0].enable", "boolean"),
)
