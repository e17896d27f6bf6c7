"""The workload object that an admitted pod stands for, and the state of a workload from its pods.

Source: TensorFusion's workload contract. A local workload has as many workers as it has pods, so its wanted number is
that of its pods where no number is stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tensorfusion.model import keys
from tensorfusion.model.annotations import parse_wishes
from tensorfusion.model.autoscaling import AutoScalingConfig, AutoSetResources
from tensorfusion.model.meta import Condition
from tensorfusion.model.quantities import ComputeResource, ResourceBounds
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.model.workload import TensorFusionWorkloadStatus, WorkloadPhase, WorkloadProfileSpec
from tensorfusion.units import format_bytes, format_gflops, format_milli


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """The pods of a workload. ``failed`` ones are not among the live ``workers``."""

    workers: int = 0
    ready: int = 0
    failed: int = 0


def workload_spec(
    request: GpuRequest,
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    template: SchedulingConfigTemplate | None,
) -> WorkloadProfileSpec:
    """What an admitted pod says about its workload.

    Raises:
        InvalidRequest: an annotation cannot be understood.
    """
    return WorkloadProfileSpec(
        pool_name=request.pool,
        resources=ResourceBounds(
            requests=_resource(request.compute, request.percent, request.vram),
            limits=_resource(request.compute_limit, request.percent_limit, request.vram_limit),
        ),
        qos=request.qos,
        is_local_gpu=True,
        isolation=request.isolation,
        partition_template_id=request.partition,
        gpu_model=request.model,
        gpu_count=request.count,
        gpu_indices=request.indices,
        vendor=request.vendor,
        auto_scaling_config=_auto_scaling(labels, annotations, template),
    )


def workload_status(
    found: TensorFusionWorkloadStatus,
    counts: WorkerCounts,
    *,
    replicas: int | None,
    template_hash: str,
    now: str,
    failure: str = "",
) -> TensorFusionWorkloadStatus:
    """The status that a workload should have; parts that others own stay as they are.

    ``failure`` says why workers could not be made.
    """
    desired = counts.workers if replicas is None else replicas
    if counts.failed:
        phase, ready, reason = WorkloadPhase.FAILED, "False", "WorkerFailed"
    elif desired == 0:
        phase, ready, reason = WorkloadPhase.PENDING, "False", "ScaledToZero"
    elif counts.ready >= desired:
        phase, ready, reason = WorkloadPhase.RUNNING, "True", "WorkloadReady"
    else:
        phase, ready, reason = WorkloadPhase.PENDING, "False", "WaitingForWorkers"
    before = next((condition for condition in found.conditions if condition.type == "Ready"), None)
    since = before.last_transition_time if before is not None and before.status == ready else now
    condition = Condition(
        type="Ready",
        status=ready,
        reason=reason,
        message=f"{counts.ready} of {desired} workers are ready" + (f": {failure}" if failure else ""),
        last_transition_time=since,
    )
    others = tuple(one for one in found.conditions if one.type != "Ready")
    return msgspec.structs.replace(
        found,
        phase=phase,
        conditions=(*others, condition),
        worker_count=counts.workers,
        ready_workers=counts.ready,
        pod_template_hash=template_hash,
    )


def _resource(compute: int, percent: int, vram: int) -> ComputeResource:
    if percent and not compute:
        return ComputeResource(compute=format_milli(percent), vram=format_bytes(vram))
    return ComputeResource(tflops=format_gflops(compute), vram=format_bytes(vram))


def _auto_scaling(
    labels: Mapping[str, str], annotations: Mapping[str, str], template: SchedulingConfigTemplate | None
) -> AutoScalingConfig | None:
    """The pod's own wish, with the first matching rule of the pool's template on top."""
    wishes = parse_wishes(annotations)
    wish = None
    if wishes.autoscale:
        settings = AutoSetResources(enable=True)
        if wishes.autoscale_target is not None:
            settings = msgspec.structs.replace(settings, target_resource=wishes.autoscale_target)
        wish = AutoScalingConfig(auto_set_resources=settings)
    rules = template.spec.vertical_scaling_rules if template is not None else ()
    for rule in rules:
        if rule.auto_scaling is None or (rule.selector is not None and not rule.selector.matches(labels)):
            continue
        if wish is None:
            return rule.auto_scaling
        return AutoScalingConfig(
            auto_set_resources=rule.auto_scaling.auto_set_resources or wish.auto_set_resources,
            cron_scaling_rules=rule.auto_scaling.cron_scaling_rules,
            external_scaler=rule.auto_scaling.external_scaler,
        )
    return wish


def is_dynamic(annotations: Mapping[str, str]) -> bool:
    """Whether the operator made the workload from pods, and so may change its spec."""
    return annotations.get(keys.WORKLOAD_MODE) == "dynamic"
