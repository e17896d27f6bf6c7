"""The worker pods of a workload with a fixed number of replicas: what they look like, and which come and go next.

A worker is an ordinary pod with the workload's wishes as annotations; admission makes of it what it makes of any pod.
Its template is the pool's worker template, with the workload's own laid over it.

How a new template replaces workers: at most a quarter of the workers, at least one, is missing or not ready at a time
on account of the replacement (``maxUnavailable`` 25 %), and there is no surge: the devices may be full, and then a
surge would wait for ever for what the old workers hold. Outdated workers that are not ready go first and all at once,
for they serve nobody. Where there are too many workers, those that are not ready go first, and of equals the outdated.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.errors import InvalidQuantity, InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import NodeAffinity, Pod
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Meta, Raw
from tensorfusion.model.quantities import ComputeResource, ResourceBounds
from tensorfusion.model.workload import GangScheduling, TensorFusionWorkload
from tensorfusion.policy.affinity import add_node_affinity
from tensorfusion.policy.names import label_value, template_hash
from tensorfusion.policy.patches import Json, Patch
from tensorfusion.policy.pod_template import merged, template_of
from tensorfusion.policy.ranking import deletion_order, pod_ready_since
from tensorfusion.policy.recommendation import recommended
from tensorfusion.units import format_bytes, format_gflops, format_milli

WORKER_CONTAINER = "tensorfusion-worker"
DEFAULT_WORKER_IMAGE = "tensorfusion/tensor-fusion-worker:v2.15.0"
"""Used where neither the pool nor the workload names an image."""
_LONGEST_PREFIX = 58
"""As an API server cuts a generateName."""
_UNAVAILABLE_PART = 4


def is_fixed(workload: TensorFusionWorkload) -> bool:
    """Whether the workload itself says how many workers there are: its pods are ours to make."""
    mode = workload.metadata.annotations.get(keys.WORKLOAD_MODE)
    return mode == "fixed" or (mode is None and workload.spec.replicas is not None)


def wanted_workers(workload: TensorFusionWorkload) -> int:
    """How many workers a fixed workload has."""
    return 1 if workload.spec.replicas is None else workload.spec.replicas


def worker_prefix(workload: Meta) -> str:
    """What the names of its worker pods begin with."""
    return f"{workload.name}-tf-worker-"[:_LONGEST_PREFIX]


def worker_template(workload: TensorFusionWorkload, pool: GPUPool | None) -> tuple[Raw, str]:
    """The body of a worker pod without its name, and the hash that tells templates apart.

    Raises:
        InvalidRequest: the workload's amounts or templates cannot be understood.
    """
    meta, spec = workload.metadata, workload.spec
    template = _template(workload, pool)
    metadata: Mapping[str, Json] = template.get("metadata") or {}
    pod_spec: Mapping[str, Json] = template["spec"]
    if spec.node_affinity is not None:
        pod_spec = _with_affinity(pod_spec, spec.node_affinity)
    body: Raw = {
        "apiVersion": r.PODS.api_version,
        "kind": r.PODS.kind,
        "metadata": {
            "generateName": worker_prefix(meta),
            "labels": {**(metadata.get("labels") or {}), keys.ENABLED: "true", keys.WORKLOAD: label_value(meta.name)},
            "annotations": {**(metadata.get("annotations") or {}), **_wishes(workload, workload.spec.resources)},
            "finalizers": [keys.FINALIZER],
        },
        "spec": pod_spec,
    }
    hash_ = template_hash(json.dumps(body, sort_keys=True))
    body["metadata"]["labels"][keys.POD_TEMPLATE_HASH] = hash_
    # a recommendation is for new workers: it replaces none, so it has no part in the hash
    body["metadata"]["annotations"] |= _wishes(workload, recommended(workload))
    body["metadata"]["ownerReferences"] = [
        {
            "apiVersion": r.TENSOR_FUSION_WORKLOADS.api_version,
            "kind": r.TENSOR_FUSION_WORKLOADS.kind,
            "name": meta.name,
            "uid": meta.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    return body, hash_


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass does: pods to delete, and how many to create."""

    create: int
    delete: tuple[Pod, ...]


def plan(active: Sequence[Pod], *, desired: int, hash_: str) -> Plan:
    """The next step towards ``desired`` workers of the current template. The same pods always give the same plan."""
    order = deletion_order(active)

    def rank(pod: Pod) -> tuple[bool, bool]:
        return pod_ready_since(pod) is not None, pod.metadata.labels.get(keys.POD_TEMPLATE_HASH) == hash_

    order.sort(key=rank)
    delete = order[: max(0, len(order) - desired)]
    left = [pod for pod in order[len(delete) :] if pod.metadata.labels.get(keys.POD_TEMPLATE_HASH) != hash_]
    delete += [pod for pod in left if pod_ready_since(pod) is None]
    gone = {pod.metadata.uid for pod in delete}
    ready = sum(pod_ready_since(pod) is not None for pod in order if pod.metadata.uid not in gone)
    spare = ready - (desired - max(1, desired // _UNAVAILABLE_PART))
    delete += [pod for pod in left if pod.metadata.uid not in gone][: max(0, spare)]
    return Plan(create=max(0, desired - (len(order) - len(delete))), delete=tuple(delete))


def _template(workload: TensorFusionWorkload, pool: GPUPool | None) -> Mapping[str, Json]:
    components = pool.spec.component_config if pool is not None else None
    worker = components.worker if components is not None else None
    image = (worker.image if worker is not None else "") or DEFAULT_WORKER_IMAGE
    result: Json = {"spec": {"containers": [{"name": WORKER_CONTAINER, "image": image}]}}
    for layer in (worker.pod_template if worker is not None else {}, workload.spec.worker_pod_template):
        result = merged(result, template_of(layer))
    containers = result.get("spec", {}).get("containers") if isinstance(result.get("spec"), dict) else None
    if not isinstance(containers, list) or not containers:
        raise InvalidRequest(
            f"TensorFusionWorkload {workload.key}: workerPodTemplate: wanted spec.containers to be a list of "
            f"containers, found {json.dumps(containers)[:80]}"
        )
    template: Mapping[str, Json] = result
    return template


def _with_affinity(pod_spec: Mapping[str, Json], wanted: NodeAffinity) -> Mapping[str, Json]:
    patch = Patch()
    add_node_affinity(patch, pod_spec, wanted)
    return {**pod_spec, "affinity": patch.ops[0]["value"]} if patch.ops else pod_spec


def _gang_wishes(gang: GangScheduling | None) -> dict[str, str | None]:
    if gang is None:
        return {}
    return {
        keys.GANG_ENABLED: "true",
        keys.GANG_MIN_MEMBERS: str(gang.min_members) if gang.min_members else None,
        keys.GANG_TIMEOUT: gang.timeout,
        keys.GANG_MODE: gang.mode.value if gang.mode is not None else None,
    }


def _wishes(workload: TensorFusionWorkload, bounds: ResourceBounds | None) -> dict[str, str]:
    """The workload's spec as the annotations of a pod. A zero means unset, as in a profile."""
    spec = workload.spec
    found: dict[str, str | None] = {
        keys.GPU_POOL: spec.pool_name,
        keys.QOS: spec.qos.value if spec.qos is not None else None,
        keys.IS_LOCAL_GPU: "true",
        keys.ISOLATION: spec.isolation.value,
        keys.PARTITION_ID: spec.partition_template_id,
        keys.GPU_MODEL: spec.gpu_model,
        keys.GPU_COUNT: str(spec.gpu_count) if spec.gpu_count else None,
        keys.GPU_INDICES: ",".join(map(str, spec.gpu_indices)),
        keys.VENDOR: spec.vendor,
        keys.INJECT_CONTAINER: WORKER_CONTAINER,
        keys.DISABLE_FEATURES: workload.metadata.annotations.get(keys.DISABLE_FEATURES),
        **_gang_wishes(spec.gang_scheduling),
    }
    if bounds is not None:
        requests, limits = bounds.requests or ComputeResource(), bounds.limits or ComputeResource()
        try:
            found |= {
                keys.TFLOPS_REQUEST: format_gflops(requests.gflops() or 0),
                keys.TFLOPS_LIMIT: format_gflops(limits.gflops() or 0),
                keys.COMPUTE_PERCENT_REQUEST: format_milli(requests.milli_percent() or 0),
                keys.COMPUTE_PERCENT_LIMIT: format_milli(limits.milli_percent() or 0),
                keys.VRAM_REQUEST: format_bytes(requests.vram_bytes() or 0),
                keys.VRAM_LIMIT: format_bytes(limits.vram_bytes() or 0),
            }
        except InvalidQuantity as error:
            raise InvalidRequest(f"TensorFusionWorkload {workload.key}: resources: {error}") from error
    return {key: value for key, value in found.items() if value and value != "0"}
