"""What a TensorFusionCluster stands for: the pools it wants, and the status that follows from the pools there are.

A pool object is named ``<cluster>-<pool>`` and owned by the cluster. A pool of that name that somebody else made is
left alone and reported: taking it over would delete it together with the cluster.

Source: TensorFusionCluster of tensor-fusion.ai/v1 and its controller's contract. Ours: a provider that this version
cannot talk to is an error of the cluster, and nothing is called checked that was not checked.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec

from tensorfusion.errors import InvalidQuantity
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.cluster import (
    AuthType,
    ClusterPhase,
    ClusterPool,
    ComputingVendor,
    TensorFusionCluster,
    TensorFusionClusterStatus,
    VendorParams,
    VendorType,
)
from tensorfusion.model.gpu_pool import GPUPool, PoolPhase
from tensorfusion.model.meta import Condition, Raw
from tensorfusion.model.pool_nodes import ProvisioningMode
from tensorfusion.model.wire import merge_patch, to_wire
from tensorfusion.policy.conditions import set_condition, without
from tensorfusion.policy.names import template_hash
from tensorfusion.units import Rounding, format_bytes, format_gflops, to_bytes, to_gflops

READY, POOLS_READY = "Ready", "GPUPoolReady"
DATABASE_READY, VENDOR_READY = "TimeSeriesDatabaseReady", "CloudVendorConnectionReady"


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What is known about the pools of a cluster. ``taken``: names that somebody else's pool has."""

    pools: Sequence[GPUPool] = ()
    taken: Sequence[str] = ()


def pool_name(cluster: TensorFusionCluster, entry: ClusterPool) -> str:
    """The name of an entry's pool object."""
    return f"{cluster.metadata.name}-{entry.name}"


def owns(cluster: TensorFusionCluster, pool: GPUPool) -> bool:
    """Whether a pool was made for the cluster."""
    owner = pool.metadata.controller
    return owner is not None and owner.uid == cluster.metadata.uid


def new_pool(cluster: TensorFusionCluster, entry: ClusterPool) -> Raw:
    """The pool object of an entry."""
    return {
        "apiVersion": r.GPU_POOLS.api_version,
        "kind": r.GPU_POOLS.kind,
        "metadata": {
            "name": pool_name(cluster, entry),
            "labels": {keys.MANAGED_BY: cluster.metadata.name},
            "annotations": {keys.IS_DEFAULT_POOL: _default(entry)},
            "finalizers": [keys.FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": r.TENSOR_FUSION_CLUSTERS.api_version,
                    "kind": r.TENSOR_FUSION_CLUSTERS.kind,
                    "name": cluster.metadata.name,
                    "uid": cluster.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": to_wire(entry.spec_template),
    }


def pool_patch(entry: ClusterPool, pool: GPUPool, cluster: TensorFusionCluster) -> Raw | None:
    """The merge patch that makes a pool what its entry says; None where it is already."""
    patch: Raw = {}
    spec = merge_patch(to_wire(pool.spec), to_wire(entry.spec_template))
    if spec:
        patch["spec"] = spec
    metadata: Raw = {}
    if pool.metadata.annotations.get(keys.IS_DEFAULT_POOL) != _default(entry):
        metadata["annotations"] = {keys.IS_DEFAULT_POOL: _default(entry)}
    if pool.metadata.labels.get(keys.MANAGED_BY) != cluster.metadata.name:
        metadata["labels"] = {keys.MANAGED_BY: cluster.metadata.name}
    if metadata:
        patch["metadata"] = metadata
    return patch or None


def vendor_problem(cluster: TensorFusionCluster) -> str | None:
    """Why the cluster's provider cannot be used, in one line; None where none is wanted."""
    vendor = cluster.spec.computing_vendor
    karpenter = [
        entry.name
        for entry in cluster.spec.gpu_pools
        if entry.spec_template.node_manager_config.provisioning_mode is ProvisioningMode.KARPENTER
    ]
    where = "spec.computingVendor"
    if vendor is None or not vendor.enable:
        return None
    if vendor.type is None:
        return f"{where}.type: wanted a provider, found none"
    if karpenter and vendor.type is not VendorType.KARPENTER:
        return (
            f"{where}.type: wanted karpenter, because pool {karpenter[0]} has provisioningMode Karpenter, "
            f"found {vendor.type.value}"
        )
    missing = _missing_credentials(vendor)
    if missing is not None:
        return f"{where}.params.{missing}"
    return (
        f"unsupported cloud provider {vendor.type.value}: this version buys no nodes: add nodes to the cluster "
        f"yourself, or set {where}.enable: false"
    )


def _missing_credentials(vendor: ComputingVendor) -> str | None:
    params = vendor.params or VendorParams()
    if vendor.auth_type is AuthType.SERVICE_ACCOUNT_ROLE and not params.iam_role:
        return "iamRole: wanted a role, because authType is serviceAccountRole, found none"
    if vendor.auth_type is AuthType.ACCESS_KEY:
        for name, value in (("accessKeyPath", params.access_key_path), ("secretKeyPath", params.secret_key_path)):
            if not value:
                return f"{name}: wanted a file, because authType is accessKey, found none"
    return None


def cluster_status(cluster: TensorFusionCluster, state: ClusterState, *, now: str) -> TensorFusionClusterStatus:
    """The status that a cluster should have; parts that nobody computes stay as they are."""
    pools = sorted(state.pools, key=lambda pool: pool.metadata.name)
    wanted = {pool_name(cluster, entry) for entry in cluster.spec.gpu_pools}
    ready = [pool.metadata.name for pool in pools if pool.status.phase is PoolPhase.RUNNING]
    waiting = sorted((wanted | {pool.metadata.name for pool in pools}) - set(ready))
    compute, vram = _sum(pools, "total_tflops", to_gflops), _sum(pools, "total_vram", to_bytes)
    free_compute, free_vram = _sum(pools, "available_tflops", to_gflops), _sum(pools, "available_vram", to_bytes)
    problem = vendor_problem(cluster)
    phase = _phase(cluster, waiting=waiting, problem=problem)
    return msgspec.structs.replace(
        cluster.status,
        phase=phase,
        conditions=_conditions(cluster, state, phase=phase, waiting=waiting, problem=problem, now=now),
        total_pools=len(pools),
        total_nodes=sum(pool.status.total_nodes for pool in pools),
        total_gpus=sum(pool.status.total_gpus for pool in pools),
        total_tflops=format_gflops(compute),
        total_vram=format_bytes(vram),
        virtual_tflops=format_gflops(_sum(pools, "virtual_tflops", to_gflops)),
        virtual_vram=format_bytes(_sum(pools, "virtual_vram", to_bytes)),
        available_tflops=format_gflops(free_compute),
        available_vram=format_bytes(free_vram),
        virtual_available_tflops=_signed(_sum(pools, "virtual_available_tflops", to_gflops), format_gflops),
        virtual_available_vram=_signed(_sum(pools, "virtual_available_vram", to_bytes), format_bytes),
        ready_gpu_pools=tuple(ready),
        not_ready_gpu_pools=tuple(waiting),
        allocated_tflops_percent=_percent(compute - free_compute, compute),
        allocated_vram_percent=_percent(vram - free_vram, vram),
        cloud_vendor_config_hash=_vendor_hash(cluster.spec.computing_vendor),
    )


def _phase(cluster: TensorFusionCluster, *, waiting: Sequence[str], problem: str | None) -> ClusterPhase:
    if cluster.metadata.deleting:
        return ClusterPhase.DESTROYING
    if problem is not None:
        return ClusterPhase.UNKNOWN
    if not waiting:
        return ClusterPhase.RUNNING
    return ClusterPhase.PENDING if cluster.status.phase is ClusterPhase.PENDING else ClusterPhase.UPDATING


def _conditions(
    cluster: TensorFusionCluster,
    state: ClusterState,
    *,
    phase: ClusterPhase,
    waiting: Sequence[str],
    problem: str | None,
    now: str,
) -> tuple[Condition, ...]:
    generation = cluster.metadata.generation
    found = cluster.status.conditions

    def put(type_: str, status: str, reason: str, message: str) -> None:
        nonlocal found
        found = set_condition(found, type_, status, reason=reason, message=message, now=now, generation=generation)

    if phase is ClusterPhase.RUNNING:
        put(READY, "True", "CheckPassed", "every pool is Running")
    elif phase is ClusterPhase.UNKNOWN:
        put(READY, "False", "UnknownState", str(problem))
    else:
        reason = "NewCreation" if phase is ClusterPhase.PENDING else "ResourcesUpdated"
        put(
            READY,
            "False",
            reason,
            "the cluster is being deleted" if phase is ClusterPhase.DESTROYING else _told(waiting),
        )
    if state.taken:
        message = f"GPUPool {state.taken[0]} exists and is not this cluster's: delete it, or give the pool another name"
        put(POOLS_READY, "False", "NameTaken", message)
    elif waiting:
        put(POOLS_READY, "False", "StillChecking", _told(waiting))
    else:
        put(POOLS_READY, "True", "CheckPassed", "every pool is Running")
    put(DATABASE_READY, "Unknown", "NotServedYet", "this version keeps no time series of metrics")
    vendor = cluster.spec.computing_vendor
    if vendor is None or not vendor.enable:
        return without(found, VENDOR_READY)
    put(VENDOR_READY, "False", "CloudVendorConnectionFailed", str(problem))
    return found


def _told(waiting: Sequence[str]) -> str:
    more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
    return f"not Running yet: {', '.join(waiting[:3])}{more}"


def _default(entry: ClusterPool) -> str:
    return "true" if entry.is_default else "false"


def _vendor_hash(vendor: ComputingVendor | None) -> str:
    return template_hash(msgspec.json.encode(to_wire(vendor), order="sorted").decode()) if vendor is not None else ""


def _sum(pools: Iterable[GPUPool], field: str, parse: Callable[[str | int, Rounding], int]) -> int:
    return sum(_amount(getattr(pool.status, field), parse) for pool in pools)


def _amount(text: str | int, parse: Callable[[str | int, Rounding], int]) -> int:
    """A quantity of a pool's status, which may be negative; unset and unreadable ones count nothing."""
    try:
        if isinstance(text, str):
            if text.startswith("-"):
                return -parse(text[1:], Rounding.DOWN)
            return parse(text, Rounding.DOWN) if text else 0
        return parse(text, Rounding.DOWN) if text >= 0 else -parse(-text, Rounding.DOWN)
    except InvalidQuantity:
        return 0


def _signed(value: int, show: Callable[[int], str]) -> str:
    return f"-{show(-value)}" if value < 0 else show(value)


def _percent(part: int, whole: int) -> str:
    if whole <= 0:
        return ""
    hundredths = round(Fraction(max(0, part), whole) * 10_000)
    return f"{hundredths // 100}.{hundredths % 100:02d}"
