"""The same placement rules written down naively: objects, dictionaries and loops, one device at a time.

It shares no code with ``tensorfusion.scheduling`` but the fact types. Tests hold the columns against it, and
``benchmarks/decision.py`` measures it as the peer.
"""

import math
from dataclasses import dataclass, field

from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts, QuotaFacts


@dataclass
class Answer:
    """``node`` is "" when nothing fits; ``quota`` names the ceiling that stands in the way."""

    node: str = ""
    devices: tuple[str, ...] = ()
    removed: dict[str, int] = field(default_factory=dict)
    quota: str = ""


class NaiveWorld:
    def __init__(self) -> None:
        self.nodes: dict[str, NodeFacts] = {}
        self.devices: dict[str, DeviceFacts] = {}
        self.capacity: dict[str, tuple[int, int]] = {}
        self.pools: dict[str, PoolFacts] = {}
        self.quotas: dict[str, QuotaFacts] = {}
        self.live: dict[str, tuple[PodFacts, Placement]] = {}
        self.on_device: dict[str, dict[str, GpuRequest]] = {}
        self.on_node: dict[str, dict[str, PodFacts]] = {}
        self.node_order: list[str | None] = []
        self.pool_order: dict[str, list[str | None]] = {}

    # events

    def upsert_node(self, facts: NodeFacts) -> None:
        self.nodes[facts.name] = facts
        join(self.node_order, facts.name)

    def remove_node(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.leave_node(name)

    def upsert_device(self, facts: DeviceFacts) -> None:
        old = self.devices.get(facts.name)
        self.capacity[facts.name] = (facts.compute, facts.vram)
        if old is not None and (old.pool, old.node) != (facts.pool, facts.node):
            self.remove_device(facts.name)
        self.devices[facts.name] = facts
        join(self.node_order, facts.node)
        join(self.pool_order.setdefault(facts.pool, []), facts.node)

    def remove_device(self, name: str) -> None:
        old = self.devices.pop(name, None)
        if old is None:
            return
        if not any(d.node == old.node and d.pool == old.pool for d in self.devices.values()):
            leave(self.pool_order[old.pool], old.node)
            if not any(self.pool_order[old.pool]) and old.pool not in self.pools:
                del self.pool_order[old.pool]
        self.leave_node(old.node)

    def remove_pool(self, name: str) -> None:
        self.pools.pop(name, None)
        if not any(self.pool_order.get(name, [])):
            self.pool_order.pop(name, None)

    def leave_node(self, name: str) -> None:
        if name not in self.nodes and not self.on_node.get(name):
            if not any(device.node == name for device in self.devices.values()):
                leave(self.node_order, name)

    def place(self, pod: PodFacts, placement: Placement) -> None:
        self.live[pod.uid] = (pod, placement)
        join(self.node_order, placement.node)
        self.on_node.setdefault(placement.node, {})[pod.uid] = pod
        if pod.request is not None:
            for device in placement.devices:
                self.on_device.setdefault(device, {})[pod.uid] = pod.request

    def release(self, uid: str) -> None:
        gone = self.live.pop(uid, None)
        if gone is None:
            return
        _, placement = gone
        for device in placement.devices:
            self.on_device[device].pop(uid, None)
        del self.on_node[placement.node][uid]
        self.leave_node(placement.node)

    # sums

    def held(self, device: str) -> tuple[int, int]:
        compute_capacity, vram_capacity = self.capacity.get(device, (0, 0))
        compute = vram = 0
        for request in self.on_device.get(device, {}).values():
            if request.isolation == "shared":
                compute += compute_capacity
                vram += vram_capacity
            else:
                compute += share(request, compute_capacity)
                vram += request.vram
        return compute, vram

    def usage(self, namespace: str) -> dict[str, int]:
        total = dict.fromkeys(("tflops.request", "vram.request", "tflops.limit", "vram.limit", "workers", "gpu"), 0)
        for pod, placement in self.live.values():
            if pod.namespace == namespace and pod.request is not None:
                for device in placement.devices:
                    total["tflops.request"] += share(pod.request, self.capacity.get(device, (0, 0))[0])
                    total["vram.request"] += pod.request.vram
                    total["tflops.limit"] += share_limit(pod.request, self.capacity.get(device, (0, 0))[0])
                    total["vram.limit"] += pod.request.vram_limit
                    total["gpu"] += 1
                total["workers"] += 1
        return total

    # the decision

    def decide(self, pod: PodFacts) -> Answer:
        if pod.request is None:
            return self.decide_plain(pod)
        quota = self.quota_problem(pod, pod.request, None)
        if quota:
            return Answer(quota=quota)
        return self.decide_shares(pod, pod.request)

    def decide_shares(self, pod: PodFacts, request: GpuRequest) -> Answer:
        removed: dict[str, int] = {}
        order = [node for node in self.pool_order.get(request.pool, []) if node is not None]
        if not order:
            return Answer()
        by_node: dict[str, list[DeviceFacts]] = {node: [] for node in order}
        everyone: dict[str, list[DeviceFacts]] = {node: [] for node in order}
        for device in self.devices.values():
            if device.pool == request.pool:
                everyone[device.node].append(device)
            why = self.device_problem(device, request)
            if why:
                removed[why] = removed.get(why, 0) + 1
            else:
                by_node[device.node].append(device)
        candidates = []
        for node in order:
            if len(by_node[node]) < request.count:
                if by_node[node]:
                    removed["count"] = removed.get("count", 0) + len(by_node[node])
                continue
            why = self.node_problem(node, pod)
            pool = self.pools.get(request.pool, PoolFacts(request.pool))
            if not why and 0 < pool.max_workers_per_node <= self.workers(node):
                why = "workers"
            if why:
                removed[why] = removed.get(why, 0) + 1
                continue
            candidates.append(node)
        if not candidates:
            return Answer(removed=removed)
        best = max(candidates, key=lambda node: self.node_rank(node, everyone[node], pod))
        fitting = sorted(by_node[best], key=lambda device: (device.index, device.name))
        fitting.sort(key=lambda device: -self.score(device, for_node=False))
        return Answer(best, tuple(device.name for device in fitting[: request.count]), removed)

    def device_problem(self, device: DeviceFacts, request: GpuRequest) -> str:
        if device.pool != request.pool:
            return "pool"
        if device.phase != "Running":
            return "phase"
        if device.used_by not in ("", "tensor-fusion"):
            return "used-by"
        if request.indices and device.index not in request.indices:
            return "index"
        mode, dynamic = request.isolation, device.isolation_policy == "Dynamic"
        if mode != "shared":
            if device.capabilities is not None and mode not in device.capabilities:
                return "isolation"
            if mode == "partitioned" if dynamic else device.isolation_mode not in ("", mode):
                return "isolation"
        if request.vendor and device.vendor != request.vendor:
            return "vendor"
        if request.model and not model_matches(request.model, device.model):
            return "model"
        others = self.on_device.get(device.name, {}).values()
        if dynamic and any(other.isolation != mode for other in others):
            return "other-mode"
        if mode == "shared" and others:
            return "in-use"
        if mode != "shared" and not (request.compute or request.percent or request.vram):
            if any(other.isolation == "shared" for other in others):
                return "in-use"
        compute, vram = self.held(device.name)
        if device.compute - compute < share(request, device.compute):
            return "compute"
        if device.vram - vram < request.vram:
            return "vram"
        return ""

    def node_problem(self, name: str, pod: PodFacts) -> str:
        node = self.nodes.get(name)
        if node is None:
            return "absent"
        if not node.ready:
            return "not-ready"
        cordon = "node.kubernetes.io/unschedulable"
        if node.unschedulable and not tolerates(pod, cordon, "", "NoSchedule"):
            return "unschedulable"
        for taint in node.taints:
            if node.unschedulable and taint.key == cordon:
                continue
            if taint.effect in ("NoSchedule", "NoExecute"):
                if not tolerates(pod, taint.key, taint.value, taint.effect):
                    return "taint"
        for key, value in pod.node_selector.items():
            if node.labels.get(key) != value:
                return "node-selector"
        affinity = pod.affinity.node_affinity if pod.affinity else None
        if affinity and affinity.required is not None:
            if not any(term_holds(term, node) for term in affinity.required.terms):
                return "node-affinity"
        here = self.on_node.get(name, {}).values()
        if pod.cpu and node.cpu - sum(other.cpu for other in here) < pod.cpu:
            return "cpu"
        if pod.memory and node.memory - sum(other.memory for other in here) < pod.memory:
            return "memory"
        if len(here) >= node.pods:
            return "pods"
        for key, amount in pod.extended.items():
            if amount and node.extended.get(key, 0) - sum(other.extended.get(key, 0) for other in here) < amount:
                return "resources"
        return ""

    def workers(self, node: str) -> int:
        return sum(pod.request is not None for pod in self.on_node.get(node, {}).values())

    def preference(self, name: str, pod: PodFacts) -> tuple[int, int]:
        node = self.nodes[name]
        soft = 0
        for taint in node.taints:
            if taint.effect == "PreferNoSchedule" and not tolerates(pod, taint.key, taint.value, taint.effect):
                soft += 1
        affinity = pod.affinity.node_affinity if pod.affinity else None
        preferred = affinity.preferred if affinity else ()
        return sum(term.weight for term in preferred if term_holds(term.preference, node)), -soft

    def node_rank(self, name: str, devices: list[DeviceFacts], pod: PodFacts) -> tuple[int, int]:
        points = 0
        for device in devices:
            score = self.score(device, for_node=True)
            points += score // 4 if device.phase == "Pending" else score
        weight, soft = self.preference(name, pod)
        return points // len(devices) + weight, soft

    def score(self, device: DeviceFacts, *, for_node: bool) -> int:
        pool = self.pools.get(device.pool, PoolFacts(device.pool))
        by_use = pool.mode == "CompactFirst" or (for_node and pool.mode != "LowLoadFirst")
        compute, vram = self.held(device.name)
        parts = 0.0
        for held, capacity, weight in (
            (vram, device.vram, pool.vram_weight),
            (compute, device.compute, pool.tflops_weight),
        ):
            held = min(held, capacity)
            parts += 100.0 * (held if by_use else capacity - held) / max(capacity, 1) * weight
        return min(100, max(0, math.floor(parts + 0.5 + 1e-9)))

    def decide_plain(self, pod: PodFacts) -> Answer:
        removed: dict[str, int] = {}
        candidates = []
        for node in self.node_order:
            if node is None or node not in self.nodes:
                continue
            why = self.node_problem(node, pod)
            if why:
                removed[why] = removed.get(why, 0) + 1
            else:
                candidates.append(node)
        if not candidates:
            return Answer(removed=removed)
        with_devices = {device.node for device in self.devices.values()}

        def rank(name: str) -> tuple[bool, int, int]:
            node, here = self.nodes[name], self.on_node.get(name, {}).values()
            cpu = 100 * sum(other.cpu for other in here) // node.cpu if node.cpu else 100
            memory = 100 * sum(other.memory for other in here) // node.memory if node.memory else 100
            weight, soft = self.preference(name, pod)
            return name not in with_devices, min(100, (cpu + memory) // 2) + weight, soft

        return Answer(max(candidates, key=rank), (), removed)

    # quota

    def quota_problem(self, pod: PodFacts, request: GpuRequest, capacities: list[int] | None) -> str:
        quota = self.quotas.get(pod.namespace)
        if quota is None:
            return ""
        computes = [share(request, c) for c in capacities or [0] * request.count]
        limits = [share_limit(request, c) for c in capacities or [0] * request.count]
        for key, found, ceiling in (
            ("single.max.tflops.request", max(computes), quota.single_compute),
            ("single.max.vram.request", request.vram, quota.single_vram),
            ("single.max.tflops.limit", max(limits), quota.single_compute_limit),
            ("single.max.vram.limit", request.vram_limit, quota.single_vram_limit),
            ("single.max.gpuCount.limit", request.count, quota.single_devices),
        ):
            if ceiling and found > ceiling:
                return key
        held = self.usage(pod.namespace)
        for key, more, now, ceiling in (
            ("total.max.tflops.request", sum(computes), held["tflops.request"], quota.total_compute),
            ("total.max.vram.request", request.vram * request.count, held["vram.request"], quota.total_vram),
            ("total.max.tflops.limit", sum(limits), held["tflops.limit"], quota.total_compute_limit),
            ("total.max.vram.limit", request.vram_limit * request.count, held["vram.limit"], quota.total_vram_limit),
            ("total.max.workers.limit", 1, held["workers"], quota.total_workers),
            ("total.max.gpuCount.limit", request.count, held["gpu"], quota.total_devices),
        ):
            if ceiling is not None and more and now + more > ceiling:
                return key
        return ""


def share(request: GpuRequest, capacity: int) -> int:
    return request.compute or math.floor(capacity * request.percent / 100_000)


def share_limit(request: GpuRequest, capacity: int) -> int:
    return request.compute_limit or math.floor(capacity * request.percent_limit / 100_000)


def tolerates(pod: PodFacts, key: str, value: str, effect: str) -> bool:
    for wish in pod.tolerations:
        if wish.effect and wish.effect != effect:
            continue
        if wish.operator == "Exists":
            if wish.key in ("", key):
                return True
        elif wish.key == key and wish.value == value:
            return True
    return False


def term_holds(term, node: NodeFacts) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    for wish, labels in [(wish, node.labels) for wish in term.match_expressions] + [
        (wish, {"metadata.name": node.name}) for wish in term.match_fields
    ]:
        value = labels.get(wish.key)
        if wish.operator == "In":
            holds = value in wish.values
        elif wish.operator == "NotIn":
            holds = value not in wish.values
        elif wish.operator == "Exists":
            holds = value is not None
        elif wish.operator == "DoesNotExist":
            holds = value is None
        elif value is None or not value.lstrip("-").isdigit():
            holds = False
        else:
            holds = int(value) > int(wish.values[0]) if wish.operator == "Gt" else int(value) < int(wish.values[0])
        if not holds:
            return False
    return True


def join(order: list[str | None], name: str) -> None:
    if name in order:
        return
    if None in order:
        order[order.index(None)] = name
    else:
        order.append(name)


def leave(order: list[str | None], name: str) -> None:
    if name in order:
        order[order.index(name)] = None
