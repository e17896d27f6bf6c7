"""What a new pod of a workload takes, where the autoscaler has an opinion and the owner wants it followed.

The recommendation wins over what pod, profile and workload state, by the target that the owner set: compute, VRAM or
both. Upstream writes it first and then overwrites it with the profile's values, which makes it count for nothing.

Source: TensorFusion's admission contract (workload with autoSetResources and a recommendation).
"""

from dataclasses import replace

import msgspec

from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.autoscaling import AutoscaleTarget
from tensorfusion.model.quantities import ComputeResource, ResourceBounds
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.workload import TensorFusionWorkload


def recommended(workload: TensorFusionWorkload) -> ResourceBounds | None:
    """The bounds of a new worker: the recommendation where it is wanted and made, else what the workload states."""
    stated = workload.spec.resources
    target, advice = _advice(workload)
    if target is None or advice is None:
        return stated
    known = stated or ResourceBounds()
    return ResourceBounds(
        requests=_advised(known.requests, advice.requests, target), limits=_advised(known.limits, advice.limits, target)
    )


def follow(request: GpuRequest, workload: TensorFusionWorkload | None) -> GpuRequest:
    """The request of a new pod as its workload's recommendation wants it; a limit is never below its request.

    A recommendation that cannot be read counts for nothing.
    """
    target, advice = _advice(workload) if workload is not None else (None, None)
    if target is None or advice is None:
        return request
    requests, limits = advice.requests or ComputeResource(), advice.limits or ComputeResource()
    try:
        if target is not AutoscaleTarget.VRAM:
            compute, percent = requests.gflops() or 0, requests.milli_percent() or 0
            if compute or percent:
                request = replace(
                    request,
                    compute=compute,
                    compute_limit=max(compute, limits.gflops() or 0),
                    percent=0 if compute else percent,
                    percent_limit=0 if compute else max(percent, limits.milli_percent() or 0),
                )
        if target is not AutoscaleTarget.COMPUTE and (vram := requests.vram_bytes() or 0):
            request = replace(request, vram=vram, vram_limit=max(vram, limits.vram_bytes() or 0))
    except InvalidQuantity:
        return request
    return request


def _advice(workload: TensorFusionWorkload) -> tuple[AutoscaleTarget | None, ResourceBounds | None]:
    config = workload.spec.auto_scaling_config
    wish = config.auto_set_resources if config is not None else None
    if wish is None or not wish.enable:
        return None, None
    return wish.target_resource, workload.status.recommendation


def _advised(
    stated: ComputeResource | None, advice: ComputeResource | None, target: AutoscaleTarget
) -> ComputeResource:
    stated, advice = stated or ComputeResource(), advice or ComputeResource()
    if target is not AutoscaleTarget.VRAM and (advice.tflops or advice.compute):
        stated = msgspec.structs.replace(stated, tflops=advice.tflops, compute=advice.compute)
    if target is not AutoscaleTarget.COMPUTE and advice.vram:
        stated = msgspec.structs.replace(stated, vram=advice.vram)
    return stated
