"""Objects of the API as the facts that decisions are made of.

Apart from the service because it is where strings end: quantities, annotations and labels are read here, once, and an
object that cannot be read is refused here with one line, so that it never stops the objects around it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import gpu_capacities, gpu_ids, request_of
from tensorfusion.model.common import IsolationPolicy, PlacementMode
from tensorfusion.model.container_counts import container_counts
from tensorfusion.model.core import Node, Pod, PreemptionPolicy
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.gang import Gang, gang_of
from tensorfusion.model.gpu import GPU, GPUStatus
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.gpu_topology import PLAIN_RULE, Tier, TopologyRule
from tensorfusion.model.gpu_topology import rule_of as topology_rule_of
from tensorfusion.model.meta import Meta
from tensorfusion.model.partitions import Profile as CutProfile
from tensorfusion.model.partitions import partitions_of
from tensorfusion.model.pod_resources import pod_totals
from tensorfusion.model.providers import NO_PROVIDERS, Providers
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.scheduler.pod_rules import node_affinity, rules_of
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.profile import DEFAULT, Profile
from tensorfusion.units import Rounding, to_bytes, to_milli

PODS_OF_A_NODE = 110
"""What a node takes that does not say: the kubelet's default."""

_NANOSECONDS = 1_000_000_000
_KEPT_GANGS = 16_384
_READ_BY_GANGS = (
    keys.GANG_REQUIRED_MEMBERS,
    keys.GANG_DESIRED_MEMBERS,
    keys.GANG_TIMEOUT,
    keys.GANG_MODE,
    keys.GANG_TOPOLOGY,
    keys.GANG_TOPOLOGY_KEY,
)


@dataclass(frozen=True, slots=True)
class PlacementDefaults:
    """What the scheduler's configuration says where pools say nothing. Weights are shares of 1."""

    vram_weight: float = 0.7
    tflops_weight: float = 0.3
    max_workers_per_node: int = 256


def asked_by(pod: Pod) -> GpuRequest | None:
    """What the pod asks of its devices; None when it takes none.

    Raises:
        InvalidRequest: an annotation cannot be understood.
    """
    annotations = pod.metadata.annotations
    request = request_of(annotations, pod.metadata.labels)
    if request is not None:
        container_counts(annotations, request.count)
    return request


class Gangs:
    """Gangs read once for every distinct set of stamps: the members of one share theirs."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, ...], Gang | str | None] = {}

    def of(self, meta: Meta) -> Gang | None:
        """The pod's gang; None where it is in none.

        Raises:
            InvalidRequest: a stamp cannot be understood.
        """
        group = meta.annotations.get(keys.GANG_GROUP_KEY) or meta.labels.get(keys.WORKLOAD) or meta.name
        signature = (meta.namespace, group, *map(meta.annotations.get, _READ_BY_GANGS))
        if signature not in self._known:
            if len(self._known) >= _KEPT_GANGS:
                self._known.clear()
            try:
                self._known[signature] = gang_of(meta)
            except InvalidRequest as error:
                self._known[signature] = str(error)
        known = self._known[signature]
        if isinstance(known, str):
            raise InvalidRequest(known)
        return known


def pod_facts(
    pod: Pod,
    request: GpuRequest | None,
    priority: int,
    *,
    providers: Providers = NO_PROVIDERS,
    profile: Profile = DEFAULT,
    gang: Gang | None = None,
) -> PodFacts:
    """What a decision needs to know of a pod.

    Raises:
        InvalidRequest: a resource request of a container is not a quantity, or a rule cannot be understood.
    """
    meta, spec = pod.metadata, pod.spec
    totals = pod_totals(spec)
    return PodFacts(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        priority=priority,
        created=meta.creation_timestamp or "",
        request=request,
        cpu=totals.cpu,
        memory=totals.memory,
        extended=profile.fitted(totals.extended),
        node_selector=spec.node_selector,
        affinity=node_affinity(spec),
        tolerations=spec.tolerations,
        native=native_devices(totals.extended, providers) if request is None else 0,
        labels=meta.labels,
        rules=rules_of(meta, spec),
        scheduler=spec.scheduler_name,
        off=profile.off,
        gang=gang,
        preempts=profile.preempts and spec.preemption_policy is not PreemptionPolicy.NEVER,
        topology=_topology(meta.annotations, profile) if request is not None else None,
        protected_until=_protected_until(meta) if keys.EVICTION_PROTECTION in meta.annotations else 0,
    )


def seconds(moment: str) -> int:
    """A time of the API in Unix seconds; 0 where it is none."""
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0


def _topology(annotations: Mapping[str, str], profile: Profile) -> TopologyRule | None:
    """None for the plain rule: nearly every pod has it, and a key with nothing in it is the quickest."""
    rule = topology_rule_of(annotations, profile.topology)
    return None if rule is PLAIN_RULE or rule == PLAIN_RULE else rule


def _protected_until(meta: Meta) -> int:
    """Unix seconds until which the pod need not go for another one; a duration that cannot be read protects nothing."""
    try:
        seconds = parse_duration(meta.annotations[keys.EVICTION_PROTECTION]) // _NANOSECONDS
        return int(datetime.fromisoformat(meta.creation_timestamp or "").timestamp()) + seconds
    except (InvalidRequest, ValueError):
        return 0


def native_devices(extended: Mapping[str, int], providers: Providers = NO_PROVIDERS) -> int:
    """How many of the extended resources are devices that their maker's own plugin hands out."""
    return sum(amount for name, amount in extended.items() if providers.native_vendor(name) is not None)


def is_bound_version(new: Pod, old: Pod, *, node: str, annotations: Mapping[str, str]) -> bool:
    """Whether a Binding to this node with these annotations is all that makes the facts of two views differ."""
    before, after = old.metadata, new.metadata
    return (
        before.labels == after.labels
        and {**before.annotations, **annotations} == after.annotations
        and msgspec.structs.replace(old.spec, node_name=node) == new.spec
    )


def placement_of(pod: Pod) -> Placement:
    """Where a bound pod is, as its annotations say; a pod without shares holds no devices.

    Raises:
        InvalidRequest: the list of devices is malformed.
    """
    devices = gpu_ids(pod.metadata.annotations) if pod.metadata.labels.get(keys.COMPONENT) == "worker" else ()
    notes = pod.metadata.annotations
    capacities = gpu_capacities(notes, len(devices)) if keys.GPU_CAPACITIES in notes else ()
    return Placement(pod.spec.node_name, devices, partitions_of(notes, devices), capacities)


def node_facts(node: Node) -> NodeFacts:
    """What a decision needs to know of a node; capacity is what the node says pods may take.

    Raises:
        InvalidQuantity: an amount is not a quantity.
    """
    amounts = node.status.allocatable or node.status.capacity
    return NodeFacts(
        name=node.metadata.name,
        labels=node.metadata.labels,
        taints=node.spec.taints,
        unschedulable=node.spec.unschedulable,
        ready=node.ready,
        cpu=to_milli(amounts.get("cpu", 0), Rounding.DOWN),
        memory=to_bytes(str(amounts.get("memory", 0)), Rounding.DOWN),
        pods=to_bytes(str(amounts.get("pods", PODS_OF_A_NODE)), Rounding.DOWN),
        extended={
            name: to_bytes(str(amount), Rounding.DOWN)
            for name, amount in amounts.items()
            if name not in ("cpu", "memory", "pods")
        },
    )


def device_facts(gpu: GPU, profile: CutProfile | None = None) -> DeviceFacts | None:
    """What a decision needs to know of a device; None before its hypervisor says where it is. Capacity rounds down.

    ``profile``: what its model can be cut into.

    Raises:
        InvalidQuantity: an amount is not a quantity.
    """
    meta, status = gpu.metadata, gpu.status
    node = status.node_selector.get(keys.HOSTNAME_LABEL, "")
    if not node:
        return None
    capacity = status.capacity
    return DeviceFacts(
        name=meta.name,
        node=node,
        pool=meta.labels.get(keys.GPU_POOL, ""),
        vendor=status.vendor,
        model=status.gpu_model,
        index=status.index,
        compute=(capacity.gflops(Rounding.DOWN) or 0) if capacity else 0,
        vram=(capacity.vram_bytes(Rounding.DOWN) or 0) if capacity else 0,
        phase=status.phase,
        used_by=status.used_by,
        isolation_mode=status.isolation_mode,
        isolation_policy=status.isolation_policy or IsolationPolicy.STATIC,
        capabilities=_capabilities(meta.annotations),
        numa=status.numa_node,
        peers=_peers(status),
        profile=profile,
    )


def _peers(status: GPUStatus) -> tuple[tuple[str, int, int], ...]:
    """Name, tier and bandwidth of the devices that it says a distance to.

    Ours: where it reports its links only, those are the distances; upstream reads none then.
    """
    if status.topology is not None:
        return tuple([(peer.peer_gpu_uuid.lower(), peer.tier, peer.bandwidth or 0) for peer in status.topology.peers])
    if status.nv_link is None:
        return ()
    linked = status.nv_link.peers
    return tuple(
        [(peer.peer_uuid.lower(), int(Tier.INTERCONNECT), (peer.bandwidth_mbps or 0) * 1_000_000) for peer in linked]
    )


def pool_facts(pool: GPUPool, template: SchedulingConfigTemplate | None, defaults: PlacementDefaults) -> PoolFacts:
    """The placement policy of a pool; without a template it is the CRD's default mode."""
    return PoolFacts(
        name=pool.metadata.name,
        mode=template.spec.placement.mode if template is not None else PlacementMode.NODE_COMPACT_GPU_LOW_LOAD,
        vram_weight=defaults.vram_weight,
        tflops_weight=defaults.tflops_weight,
        max_workers_per_node=defaults.max_workers_per_node,
    )


class _Capabilities(msgspec.Struct, frozen=True):
    soft: bool = msgspec.field(default=False, name="SupportsSoftIsolation")
    hard: bool = msgspec.field(default=False, name="SupportsHardIsolation")
    partitioned: bool = msgspec.field(default=False, name="SupportsPartitioning")


_capabilities_of = msgspec.json.Decoder(_Capabilities).decode


def _capabilities(annotations: Mapping[str, str]) -> frozenset[Isolation] | None:
    """What the device can enforce; None where it does not say, or not in a way that can be read."""
    text = annotations.get(keys.VIRTUALIZATION_CAPABILITIES)
    if not text:
        return None
    try:
        found = _capabilities_of(text)
    except msgspec.DecodeError:
        return None
    modes = {Isolation.SHARED: True, Isolation.SOFT: found.soft, Isolation.HARD: found.hard}
    modes[Isolation.PARTITIONED] = found.partitioned
    return frozenset(mode for mode, supported in modes.items() if supported)
