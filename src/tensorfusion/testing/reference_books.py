"""What there is and who holds what, in plain dictionaries: what the reference scheduler decides by.

Apart from the decisions because it only notes what happens, from which everything that is held can be computed anew.
"""

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    Placement,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.fragmentation import LookAhead
from tensorfusion.testing.reference_foresight import PlainMix


class Order:
    """Nodes in the order that breaks ties; the lowest place that somebody left is the next new one's."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self._left: list[int] = []

    def names(self) -> list[str]:
        return sorted(self.places, key=self.places.__getitem__)

    def join(self, name: str) -> None:
        if name not in self.places:
            place = min(self._left, default=len(self.places))
            if self._left:
                self._left.remove(place)
            self.places[name] = place

    def leave(self, name: str) -> None:
        if name in self.places:
            self._left.append(self.places.pop(name))


class ReferenceBooks:
    """A fleet, its pods, and what has arrived."""

    def __init__(self, look_ahead: LookAhead | None = None) -> None:
        self.look_ahead = look_ahead or LookAhead()
        self.mixes: dict[str, PlainMix] = {}
        self.nodes: dict[str, NodeFacts] = {}
        self.devices: dict[str, DeviceFacts] = {}
        self.capacity: dict[str, tuple[int, int]] = {}
        """GFLOPS and bytes of devices as last seen; kept while somebody holds a share of an absent one."""
        self.pools: dict[str, PoolFacts] = {}
        self.quotas: dict[str, QuotaFacts] = {}
        self.cohorts: dict[str, CohortFacts] = {}
        self.live: dict[str, tuple[PodFacts, Placement]] = {}
        self.on_device: dict[str, dict[str, GpuRequest]] = {}
        self.cuts: dict[str, dict[str, Partition]] = {}
        self.on_node: dict[str, dict[str, PodFacts]] = {}
        self.node_order = Order()
        self.pool_order: dict[str, Order] = {}

    # --- what happens ---

    def upsert_node(self, facts: NodeFacts) -> None:
        self.nodes[facts.name] = facts
        self.node_order.join(facts.name)

    def remove_node(self, name: str) -> None:
        self.nodes.pop(name, None)
        self._leave_node(name)

    def upsert_device(self, facts: DeviceFacts) -> None:
        old = self.devices.get(facts.name)
        self.capacity[facts.name] = (facts.compute, facts.vram)
        if old is not None and (old.pool, old.node) != (facts.pool, facts.node):
            self._take_device(facts.name)
        self.devices[facts.name] = facts
        self.node_order.join(facts.node)
        self.pool_order.setdefault(facts.pool, Order()).join(facts.node)

    def remove_device(self, name: str) -> None:
        self._take_device(name)
        self._forget_capacity(name)

    def upsert_pool(self, facts: PoolFacts) -> None:
        self.pools[facts.name] = facts

    def remove_pool(self, name: str) -> None:
        self.pools.pop(name, None)
        if name in self.pool_order and not self.pool_order[name].places:
            del self.pool_order[name]
        if name not in self.pool_order:
            self.mixes.pop(name, None)

    def set_quota(self, facts: QuotaFacts) -> None:
        self.quotas[facts.namespace] = facts

    def remove_quota(self, namespace: str) -> None:
        self.quotas.pop(namespace, None)

    def set_cohort(self, facts: CohortFacts) -> None:
        self.cohorts[facts.name] = facts

    def remove_cohort(self, name: str) -> None:
        self.cohorts.pop(name, None)

    def place(self, pod: PodFacts, placement: Placement) -> None:
        """The pod is there, or is there with other amounts."""
        self.live[pod.uid] = (pod, placement)
        self.node_order.join(placement.node)
        self.on_node.setdefault(placement.node, {})[pod.uid] = pod
        if pod.request is not None:
            for place, device in enumerate(placement.devices):
                request = pod.request
                if place < len(placement.partitions):
                    partition = placement.partitions[place]
                    self.cuts.setdefault(device, {})[pod.uid] = partition
                    request = partition.share(request)
                self.on_device.setdefault(device, {})[pod.uid] = request

    def release(self, uid: str) -> None:
        gone = self.live.pop(uid, None)
        if gone is None:
            return
        _, placement = gone
        for device in placement.devices:
            self.on_device[device].pop(uid, None)
            self.cuts.get(device, {}).pop(uid, None)
            self._forget_capacity(device)
        del self.on_node[placement.node][uid]
        self._leave_node(placement.node)

    def _take_device(self, name: str) -> None:
        old = self.devices.pop(name, None)
        if old is None:
            return
        if not any(d.node == old.node and d.pool == old.pool for d in self.devices.values()):
            self.pool_order[old.pool].leave(old.node)
            if not self.pool_order[old.pool].places and old.pool not in self.pools:
                del self.pool_order[old.pool]
                self.mixes.pop(old.pool, None)
        self._leave_node(old.node)

    def _forget_capacity(self, device: str) -> None:
        if device not in self.devices and not self.on_device.get(device):
            self.capacity.pop(device, None)

    def _leave_node(self, name: str) -> None:
        has_devices = any(device.node == name for device in self.devices.values())
        if name not in self.nodes and not self.on_node.get(name) and not has_devices:
            self.node_order.leave(name)

    # --- what pods hold ---

    def held(self, device: str) -> tuple[int, int]:
        """GFLOPS and bytes that pods hold of a device; over what it has is not possible in the eyes of a score."""
        capacity = self.capacity.get(device, (0, 0))
        compute = vram = 0
        for request in self.on_device.get(device, {}).values():
            if request.isolation == "shared":
                compute += capacity[0]
                vram += capacity[1]
            else:
                compute += share(request, capacity[0])
                vram += request.vram
        return compute, vram

    def usage(self, namespace: str) -> dict[str, int]:
        """What the namespace's pods count for in its quota."""
        total = dict.fromkeys(("tflops.request", "vram.request", "tflops.limit", "vram.limit", "workers", "gpu"), 0)
        for pod, placement in self.live.values():
            if pod.namespace == namespace and pod.request is not None:
                for device in dict.fromkeys(placement.devices):
                    request = self.on_device[device][pod.uid]
                    capacity = self.capacity.get(device, (0, 0))[0]
                    total["tflops.request"] += share(request, capacity)
                    total["vram.request"] += request.vram
                    total["tflops.limit"] += share_limit(request, capacity)
                    total["vram.limit"] += request.vram_limit
                    total["gpu"] += 1
                total["workers"] += 1
        return total


def share(request: GpuRequest, capacity: int) -> int:
    return request.compute or capacity * request.percent // 100_000


def share_limit(request: GpuRequest, capacity: int) -> int:
    return request.compute_limit or capacity * request.percent_limit // 100_000
