"""The placement rules written down plainly: objects, dictionaries and loops, one device at a time. Slow and obvious.

It is what the columns of ``tensorfusion.scheduling`` are held against, and the peer that benchmarks measure. It shares
no code with them but the fact types, keeps nothing that it could compute anew, and computes in whole numbers.
Tell it what happens (``reference_books``, ``arrive``) and ask (``decide``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import (
    DeviceFacts,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.testing.reference_ahead import Place, PlainForesight, in_order
from tensorfusion.testing.reference_books import ReferenceBooks, share, share_limit
from tensorfusion.testing.reference_cohorts import ReferenceCohorts
from tensorfusion.testing.reference_foresight import PlainMix
from tensorfusion.testing.reference_rules import cut, device_problem, keeps_off, ports_clash, preference
from tensorfusion.testing.reference_topology import UNKNOWN, harmless, nearest

_DEVICE_REASONS = (
    "pool phase used-by index isolation vendor model other-mode in-use partition-template partition compute vram quota "
    "count "
)
_NODE_REASONS = (
    "absent not-ready unschedulable taint node-selector node-affinity cpu memory pods resources workers shares native "
    "gpu-topology host-ports kept-whole"
)
REASONS = tuple((_DEVICE_REASONS + _NODE_REASONS).split())
"""In the order in which they are looked at: of devices, then of nodes."""


@dataclass
class Answer:
    """``node`` is "" when nothing fits; ``quota`` names the ceiling that stands in the way.

    ``removed`` counts devices and nodes under the first filter that removed them, in the order of the filters.
    """

    node: str = ""
    devices: tuple[str, ...] = ()
    partitions: tuple[Partition, ...] = ()
    tier: int | None = None
    affinity: int | None = None
    score: int = 0
    device_scores: tuple[int, ...] = ()
    alternatives: tuple[tuple[str, int], ...] = ()
    nodes: int = 0
    feasible: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    quota: str = ""


class ReferenceScheduler(ReferenceBooks):
    """Where the next pod goes, in the fleet of these books."""

    # --- what is learned ---

    def arrive(self, pod: PodFacts) -> None:
        """The pod is seen for the first time."""
        if pod.request is None or not (pod.request.pool in self.pools or pod.request.pool in self.pool_order):
            return
        if pod.uid in self.live or self._could_run(pod, pod.request):
            self.mixes.setdefault(pod.request.pool, PlainMix(self.look_ahead)).add(pod)

    def _could_run(self, pod: PodFacts, request: GpuRequest) -> bool:
        """Its namespace and its own rules let it be somewhere in the pool."""
        if self.quota_problem(pod, request, None):
            return False
        here = self.pool_order[request.pool].places if request.pool in self.pool_order else ()
        ruled = pod.node_selector or pod.affinity is not None
        return not ruled or any(not keeps_off(self.nodes.get(node), pod) for node in here)

    # --- decisions about shares ---

    def decide(self, pod: PodFacts) -> Answer:
        """Where the pod goes, or why it cannot go anywhere."""
        request = pod.request
        if request is None:
            return self._decide_plain(pod)
        quota = self.quota_problem(pod, request, None)
        if quota:
            return Answer(quota=quota)
        room = self._room(pod, request)
        answer = self._decide_shares(pod, request, room)
        if answer.partitions:
            quota = self._partition_problem(pod, answer.partitions)
            return Answer(quota=quota) if quota else answer
        if answer.node or "quota" not in answer.removed:
            return answer
        # unequal devices of one node may fit together where the room per device is too strict
        other = self._decide_shares(pod, request, (None, None))
        if not other.node:
            return answer
        quota = self.quota_problem(pod, request, [self.devices[name].compute for name in other.devices])
        return Answer(quota=quota) if quota else other

    def _decide_shares(self, pod: PodFacts, request: GpuRequest, room: tuple[int | None, int | None]) -> Answer:
        order = self.pool_order[request.pool].names() if request.pool in self.pool_order else []
        if not order or not request.pool:
            return Answer()
        removed = dict.fromkeys(REASONS, 0)
        rule = pod.topology_rule
        candidates = []
        fitting: dict[str, list[DeviceFacts]] = {node: [] for node in order}
        everyone: dict[str, list[DeviceFacts]] = {node: [] for node in order}
        for device in self.devices.values():
            if device.pool == request.pool:
                everyone[device.node].append(device)
            why = self._device_problem(device, request, room)
            if why:
                removed[why] += 1
            else:
                fitting[device.node].append(device)
        for node in order:
            if len(fitting[node]) < request.count:
                removed["count"] += len(fitting[node])
                continue
            why = self._pool_node_problem(node, pod, request.pool)
            if not why and rule.enabled and rule.hard and not self._near_enough(fitting[node], everyone[node], pod):
                why = "gpu-topology"
            why = why or self._port_problem(node, pod)
            if why:
                removed[why] += 1
            else:
                candidates.append(node)
        ahead = None
        if self.pools.get(request.pool, PoolFacts(request.pool)).mode == "FragmentationAware":
            mix = self.mixes.get(request.pool, PlainMix(self.look_ahead))
            ahead = PlainForesight(self, mix, self.look_ahead, everyone)
            kept = ahead.kept(pod).intersection(candidates)
            removed["kept-whole"] = len(kept)
            candidates = [node for node in candidates if node not in kept]
        found = {reason: count for reason, count in removed.items() if count}
        if not candidates:
            return Answer(removed=found)
        told = any(device.numa >= 0 or device.peers for device in self.devices.values() if device.pool == request.pool)
        asked = request.count > 1 and rule.enabled and (told or rule.hard)
        if ahead is not None:
            answer = self._look_ahead(
                ahead, pod, request, {node: fitting[node] for node in candidates}, everyone, asked
            )
            answer.nodes, answer.feasible, answer.removed = len(order), len(candidates), found
            return answer
        ranks = {}
        for node in candidates:
            points, soft = self._rank(everyone[node], pod)
            if asked and rule.ranks_nodes:
                points += 101 * (3 - self._nearest(fitting[node], everyone[node], pod)[1])
            ranks[node] = points, soft
        best = sorted(candidates, key=lambda node: ranks[node], reverse=True)  # stable: ties keep the order
        chosen, tier, affinity = self._nearest(fitting[best[0]], everyone[best[0]], pod)
        return Answer(
            tier=tier if asked else None,
            affinity=affinity if asked else None,
            node=best[0],
            devices=tuple(device.name for device in chosen),
            partitions=tuple(one for device in chosen if (one := self._partition(device, request)[1]) is not None),
            score=ranks[best[0]][0],
            device_scores=tuple(self.score(device, for_node=False) for device in chosen),
            alternatives=tuple((node, ranks[node][0]) for node in best[1:4]),
            nodes=len(order),
            feasible=len(candidates),
            removed=found,
        )

    def _look_ahead(
        self,
        ahead: PlainForesight,
        pod: PodFacts,
        request: GpuRequest,
        fitting: dict[str, list[DeviceFacts]],
        everyone: dict[str, list[DeviceFacts]],
        asked: bool,
    ) -> Answer:
        """The best place of nodes that can take the pod, in a pool that looks ahead."""
        places: list[tuple[Place | None, Place | None]] = []
        for node, devices in fitting.items():
            weight, soft = preference(self.nodes[node], pod)
            beside = 64 * weight + soft
            if asked and pod.topology_rule.ranks_nodes:
                beside += 64 * 10_000 * (3 - self._nearest(devices, everyone[node], pod)[1])
            choices = [(device, self._partition(device, request)[1]) for device in devices]
            places.append(ahead.places(pod, request, node, fitting=choices, beside=beside))
        best = in_order([hole for hole, _ in places if hole], [place for _, place in places if place])
        node = best[0].node
        tier = affinity = None
        if request.count == 1:
            chosen = [harmless(best[0].devices, _by_slot(fitting[node]), everyone[node], rule=pod.topology_rule)]
        else:
            own = [1000 - ahead.free_of(device) for device in _by_slot(fitting[node])]
            chosen, tier, affinity = nearest(
                _by_slot(fitting[node]), everyone[node], own, count=request.count, rule=pod.topology_rule
            )
        return Answer(
            tier=tier if asked else None,
            affinity=affinity if asked else None,
            node=node,
            devices=tuple(device.name for device in chosen),
            partitions=tuple(one for device in chosen if (one := self._partition(device, request)[1]) is not None),
            score=-(-best[0].points // 64),
            device_scores=tuple(self.score(device, for_node=False) for device in chosen),
            alternatives=tuple((place.node, -(-place.points // 64)) for place in best[1:4]),
        )

    def _near_enough(self, fitting: list[DeviceFacts], everyone: list[DeviceFacts], pod: PodFacts) -> bool:
        rule = pod.topology_rule
        if pod.request is None or pod.request.count == 1:
            return True
        tier = self._nearest(fitting, everyone, pod)[1]
        return tier <= rule.max_tier and not (rule.reject_unknown and tier == UNKNOWN)

    def _nearest(
        self, fitting: list[DeviceFacts], everyone: list[DeviceFacts], pod: PodFacts
    ) -> tuple[list[DeviceFacts], int, int]:
        """The devices that the pod gets of a node, the tier that they come to, and their affinity."""
        count = pod.request.count if pod.request is not None else 0
        ordered = sorted(fitting, key=lambda device: (device.index, device.name))
        own = [self.score(device, for_node=False) for device in ordered]
        return nearest(ordered, everyone, own, count=count, rule=pod.topology_rule)

    def _device_problem(self, device: DeviceFacts, request: GpuRequest, room: tuple[int | None, int | None]) -> str:
        """The first filter that removes the device; "" where none does."""
        why = device_problem(device, request)
        if why:
            return why
        mode, dynamic = request.isolation, device.isolation_policy == "Dynamic"
        others = self.on_device.get(device.name, {}).values()
        if dynamic and any(other.isolation != mode for other in others):
            return "other-mode"
        compute, vram = self.held(device.name)
        compute, vram = device.compute - compute, device.vram - vram
        if mode == "partitioned":
            covered, partition = self._partition(device, request)
            if partition is None:
                return "partition" if covered else "partition-template"
            return "compute" if compute < partition.compute else "vram" if vram < partition.vram else ""
        if mode == "shared" and others:
            return "in-use"
        nothing = not (request.compute or request.percent or request.vram)
        if nothing and any(other.isolation == "shared" for other in others):
            return "in-use"
        if compute < share(request, device.compute):
            return "compute"
        if vram < request.vram:
            return "vram"
        for part, most in zip((request.percent, request.percent_limit), room, strict=True):
            if most is not None and device.compute * part // 100_000 > most:
                return "quota"
        return ""

    def _partition(self, device: DeviceFacts, request: GpuRequest) -> tuple[bool, Partition | None]:
        if request.isolation != "partitioned":
            return False, None
        return cut(device, list(self.cuts.get(device.name, {}).values()), request)

    def _rank(self, devices: Sequence[DeviceFacts], pod: PodFacts) -> tuple[int, int]:
        """Mean score of the node's devices in the pool with what the pod prefers, then the soft taints."""
        points = 0
        for device in devices:
            score = self.score(device, for_node=True)
            points += score // 4 if device.phase == "Pending" else score
        weight, soft = preference(self.nodes[devices[0].node], pod)
        return points // len(devices) + weight, soft

    def score(self, device: DeviceFacts, *, for_node: bool) -> int:
        """How full (or empty, by the pool's mode) the device is: 0..100, halves up."""
        pool = self.pools.get(device.pool, PoolFacts(device.pool))
        by_use = pool.mode in ("CompactFirst", "FragmentationAware") or (for_node and pool.mode != "LowLoadFirst")
        compute, vram = self.held(device.name)
        compute_part, vram_part = min(compute, device.compute), min(vram, device.vram)
        if not by_use:
            compute_part, vram_part = device.compute - compute_part, device.vram - vram_part
        # weight x part / capacity of both, over one denominator
        most_compute, most_vram = max(device.compute, 1), max(device.vram, 1)
        weighted = round(1000 * pool.vram_weight) * vram_part * most_compute
        weighted += round(1000 * pool.tflops_weight) * compute_part * most_vram
        whole = 1000 * most_compute * most_vram
        return min(100, max(0, (200 * weighted + whole) // (2 * whole)))

    # --- nodes ---

    def _pool_node_problem(self, name: str, pod: PodFacts, pool: str) -> str:
        why = self._node_problem(name, pod)
        if why:
            return why
        if 0 < self.pools.get(pool, PoolFacts(pool)).max_workers_per_node <= self._workers(name):
            return "workers"
        asked = sum(other.native for other in self.on_node.get(name, {}).values())
        if asked:
            here = [device for device in self.devices.values() if device.node == name]
            if asked > sum(device.used_by not in ("", "tensor-fusion") for device in here):
                return "native"
        return ""

    def _node_problem(self, name: str, pod: PodFacts) -> str:
        node = self.nodes.get(name)
        why = keeps_off(node, pod)
        if why or node is None:
            return why
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

    def _workers(self, node: str) -> int:
        return sum(pod.request is not None for pod in self.on_node.get(node, {}).values())

    def _port_problem(self, node: str, pod: PodFacts) -> str:
        return "host-ports" if any(ports_clash(pod, one) for one in self.on_node.get(node, {}).values()) else ""

    def _decide_plain(self, pod: PodFacts) -> Answer:
        removed = dict.fromkeys(REASONS, 0)
        candidates = []
        for name in self.node_order.names():
            if name not in self.nodes:
                continue
            why = self._node_problem(name, pod)
            if not why and pod.native and self._workers(name):
                why = "shares"
            why = why or self._port_problem(name, pod)
            if why:
                removed[why] += 1
            else:
                candidates.append(name)
        found = {reason: count for reason, count in removed.items() if count}
        if not candidates:
            return Answer(removed=found)
        with_devices = {device.node for device in self.devices.values()}

        def rank(name: str) -> tuple[bool, int, int]:
            node, here = self.nodes[name], self.on_node.get(name, {}).values()
            cpu = 100 * sum(other.cpu for other in here) // node.cpu if node.cpu else 100
            memory = 100 * sum(other.memory for other in here) // node.memory if node.memory else 100
            weight, soft = preference(node, pod)
            return name not in with_devices, min(100, max(0, (cpu + memory) // 2)) + weight, soft

        ranks = {name: rank(name) for name in candidates}
        best = sorted(candidates, key=lambda name: ranks[name], reverse=True)
        return Answer(
            node=best[0],
            score=ranks[best[0]][1],
            alternatives=tuple((name, ranks[name][1]) for name in best[1:4]),
            nodes=len(self.nodes),
            feasible=len(candidates),
            removed=found,
        )

    # --- quota ---

    def quota_problem(self, pod: PodFacts, request: GpuRequest, capacities: list[int] | None) -> str:
        """The first ceiling of the namespace that the pod passes; without ``capacities``, percent counts as nothing."""
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
            ("total.max.tflops.request", sum(computes), held["tflops.request"], self._total(quota, 0)),
            ("total.max.vram.request", request.vram * request.count, held["vram.request"], self._total(quota, 1)),
            ("total.max.tflops.limit", sum(limits), held["tflops.limit"], quota.total_compute_limit),
            ("total.max.vram.limit", request.vram_limit * request.count, held["vram.limit"], quota.total_vram_limit),
            ("total.max.workers.limit", 1, held["workers"], quota.total_workers),
            ("total.max.gpuCount.limit", request.count, held["gpu"], self._total(quota, 2)),
        ):
            if ceiling is not None and more and now + more > ceiling:
                return key
        return ""

    def _total(self, quota: QuotaFacts, part: int) -> int | None:
        """The ceiling of requested compute (0), memory (1) or devices (2); in a cohort what is held and left."""
        own = (quota.total_compute, quota.total_vram, quota.total_devices)[part]
        if own is None or not quota.cohort:
            return own
        sums = {name: self.usage(name) for name in self.quotas}
        held = {name: (one["tflops.request"], one["vram.request"], one["gpu"]) for name, one in sums.items()}
        return held[quota.namespace][part] + ReferenceCohorts(self.quotas, self.cohorts, held).room(
            quota.namespace, part
        )

    def _partition_problem(self, pod: PodFacts, partitions: Sequence[Partition]) -> str:
        """The first ceiling that these partitions pass, which count in their own size; single ones first."""
        quota = self.quotas.get(pod.namespace)
        if quota is None:
            return ""
        for one in partitions:
            for key, found, ceiling in (
                ("single.max.tflops.request", one.compute, quota.single_compute),
                ("single.max.vram.request", one.vram, quota.single_vram),
                ("single.max.tflops.limit", one.compute, quota.single_compute_limit),
                ("single.max.vram.limit", one.vram, quota.single_vram_limit),
            ):
                if ceiling and found > ceiling:
                    return key
        held = self.usage(pod.namespace)
        compute, vram = sum(one.compute for one in partitions), sum(one.vram for one in partitions)
        for key, more, now, ceiling in (
            ("total.max.tflops.request", compute, held["tflops.request"], self._total(quota, 0)),
            ("total.max.vram.request", vram, held["vram.request"], self._total(quota, 1)),
            ("total.max.tflops.limit", compute, held["tflops.limit"], quota.total_compute_limit),
            ("total.max.vram.limit", vram, held["vram.limit"], quota.total_vram_limit),
        ):
            if ceiling is not None and more and now + more > ceiling:
                return key
        return ""

    def _room(self, pod: PodFacts, request: GpuRequest) -> tuple[int | None, int | None]:
        """What one device's share in percent may come to at most, as request and as limit; None is any amount."""
        quota = self.quotas.get(pod.namespace)
        if quota is None:
            return None, None
        held = self.usage(pod.namespace)
        compute = limit = None
        if request.percent and not request.compute:
            compute = _least(quota.single_compute, self._total(quota, 0), held["tflops.request"], request.count)
        if request.percent_limit and not request.compute_limit:
            limit = _least(quota.single_compute_limit, quota.total_compute_limit, held["tflops.limit"], request.count)
        return compute, limit


def _by_slot(devices: list[DeviceFacts]) -> list[DeviceFacts]:
    return sorted(devices, key=lambda device: (device.index, device.name))


def _least(single: int | None, total: int | None, held: int, count: int) -> int | None:
    bounds = [single] if single else []
    if total is not None:
        bounds.append(max(0, (total - held) // count))
    return min(bounds) if bounds else None
