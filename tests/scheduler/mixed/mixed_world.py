"""A small cluster with every kind of device and pod in it, replicas of the scheduler, and a bad network between them.

Everybody else is here in a few lines: owners who create, edit and delete pods, kubelets that start and end them, the
device agents, whoever cordons nodes and changes quotas. Nothing happens but what a test says.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mixed_gangs import GangEye, WatchedNetwork
from mixed_places import PlaceEye
from tensorfusion.errors import Conflict, NotFound
from tensorfusion.model import keys
from tensorfusion.model.common import PlacementMode
from tensorfusion.model.core import Pod
from tensorfusion.model.provider_defaults import provider_objects
from tensorfusion.model.resources import (
    GPU_COHORTS,
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    LEASES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    PROVIDER_CONFIGS,
    SCHEDULING_CONFIG_TEMPLATES,
)
from tensorfusion.policy.shards import shard_lease
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler.binder import Leadership, Term
from tensorfusion.scheduler.service import Options, SchedulerService
from tensorfusion.scheduler.shards import Shards
from tensorfusion.testing.api import Call, FakeApi
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.placement_audit import (
    Cards,
    amount,
    gflops,
    held,
    is_live,
    usage_by_namespace,
    whole,
    wrong_with_cohort,
    wrong_with_devices,
    wrong_with_nodes,
)

Raw = dict[str, Any]
LEASE = 60.0
"""Seconds that a Lease of replicas that share lasts."""
P = f"{keys.DOMAIN}/"
RACK = "topology.kubernetes.io/rack"
ZONE = "topology.kubernetes.io/zone"
COHORT = "both"
FIXED, CHANGING, FREE = "fixed", "changing", "free"
NAMESPACES = (FIXED, CHANGING, FREE)
MIG, ASCEND = "NVIDIA A100-SXM4-80GB", "310P3"
POOLS = ("main", "cut")
MODES = tuple(mode.value for mode in PlacementMode)
NODE_NAMES = ("n0", "n1", "n2", "n3", "n4", "n5")
CEILING = {"requests.tflops": "250", "requests.vram": "80Gi"}
MODELS = ("A100_SXM_80G", ASCEND)
MOVES = {"moves": "yes"}
"""Labels of pods that a controller makes anew, and that may be moved."""


def providers() -> list[Raw]:
    """The built-in ProviderConfigs, as far as the devices of this world are concerned."""
    found = []
    for body in provider_objects():
        spec = body["spec"]
        models = [one for one in spec.get("hardwareMetadata", ()) if one["model"] in MODELS]
        refs = {ref for model in models for ref in model.get("partitionTemplateRefs", ())}
        if models:
            templates = [one for one in spec["virtualizationTemplates"] if one["id"] in refs]
            kept = {**spec, "hardwareMetadata": models, "virtualizationTemplates": templates}
            found.append({"metadata": {"name": body["metadata"]["name"]}, "spec": kept})
    return found


PROVIDERS = providers()


class Deaf:
    """Takes reports and tells nobody: what users read has tests of its own."""

    def record(self, *_: Any, **__: Any) -> None: ...

    def submit(self, *_: Any, **__: Any) -> None: ...


@dataclass
class Office:
    """The leadership as one replica believes it to be."""

    leading: bool = False
    epoch: int = 0

    def is_leader(self) -> bool:
        return self.leading


@dataclass
class Replica:
    """One process."""

    network: WatchedNetwork
    office: Office
    manager: Manager
    service: SchedulerService
    eye: GangEye
    places: PlaceEye
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    async def kill(self, arrives: float = 0.5) -> None:
        """``kill -9``: what it had sent may arrive, and nothing else does."""
        self.office.leading = False
        self.network.cut(arrives=arrives)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class MixedWorld:
    """The cluster. ``replicas`` are the schedulers that run; ``leader`` is whom the Lease names, unless it is shared."""

    def __init__(self, seed: int, *, shared: bool = False, lent: bool = False) -> None:
        self.shared = shared
        """The replicas share the pools, with Leases of their own: nobody leads."""
        self.lent = lent
        """The two namespaces with quotas lend each other what they do not use, and get it back by eviction."""
        self.asking: set[str] = set()
        """Namespaces of pods that were ever seen nominated."""
        self.named = 0
        self.dice = random.Random(seed)
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.api.admission = self._admit
        self.epoch = 0
        """Transitions of the Lease, as admission knows them."""
        self.replicas: list[Replica] = []
        self.leader: Replica | None = None
        self.cards = Cards()
        self.made = 0
        self.made_anew = True
        """Controllers make a pod of theirs anew when it has ended."""
        self.lost: dict[str, Raw] = {}
        self.delays = (0.0, 0.0)
        self.ceilings: list[Raw] = []
        """Every quota that namespace ``changing`` ever had."""
        self.nominated: dict[str, tuple[int, str, float]] = {}
        """Rank, node and last moment of every pod that was ever seen nominated, by uid."""
        self.bound_at: dict[str, float] = {}
        """When the server was told of each pod's node last, by uid."""
        self.wrong: list[str] = []
        self.counts: dict[str, int] = {}
        self._set_up()

    def _set_up(self) -> None:
        for mode in MODES:
            body = {"metadata": {"name": mode.lower()}, "spec": {"placement": {"mode": mode}}}
            self.api.seed(SCHEDULING_CONFIG_TEMPLATES, body)
        for pool in POOLS:
            self.api.seed(GPU_POOLS, {"metadata": {"name": pool}, "spec": {}})
            if self.dice.random() < 0.5:
                self.place_by(pool, "FragmentationAware")
        for body in PROVIDERS:
            self.api.seed(PROVIDER_CONFIGS, body)
        for place, name in enumerate(NODE_NAMES):
            labels = {RACK: f"r{place // 2}", ZONE: f"z{place // 4}"}
            self._node(name, labels)
        for node in ("n0", "n1"):
            for index in range(2):
                dynamic = {"isolationPolicy": "Dynamic"} if node == "n1" else {"numaNode": index}
                self._gpu(f"{node}-{index}", node, index, "main", "100", "16Gi", **dynamic)
        for index in range(4):
            link = {"peers": [{"peerGPUUUID": "n5-2", "tier": 0, "bandwidth": 9}]} if index == 1 else {"peers": []}
            self._gpu(f"n5-{index}", "n5", index, "main", "100", "16Gi", numaNode=index // 2, topology=link)
        for index in range(2):
            self._gpu(f"n2-{index}", "n2", index, "cut", "312", "80Gi", gpuModel=MIG, isolationMode="partitioned")
        ascend = {"gpuModel": ASCEND, "vendor": "Ascend", "isolationMode": "partitioned"}
        self._gpu("n3-0", "n3", 0, "cut", "22", "24Gi", **ascend)
        self._gpu("n3-1", "n3", 1, "main", "100", "16Gi")
        self.quota(FIXED, CEILING)
        self.quota(CHANGING, CEILING)
        if self.lent:
            self.api.seed(GPU_COHORTS, {"metadata": {"name": COHORT}, "spec": {"reclaim": {"policy": "Any"}}})
        for number, app in enumerate(("web", "db")):
            body = {"metadata": {"name": app}, "spec": {"selector": {"matchLabels": {"app": app}}}}
            self.api.seed(POD_DISRUPTION_BUDGETS, {**body, "status": {"disruptionsAllowed": number}}, namespace=FREE)

        for namespace in NAMESPACES:
            body = {"metadata": {"name": "moves"}, "spec": {"selector": {"matchLabels": MOVES}}}
            self.api.seed(POD_DISRUPTION_BUDGETS, {**body, "status": {"disruptionsAllowed": 9}}, namespace=namespace)

    def _node(self, name: str, labels: dict[str, str], cpu: str = "8") -> None:
        status = {
            "allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "12"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        metadata = {"name": name, "labels": {keys.HOSTNAME_LABEL: name, **labels}}
        self.api.seed(NODES, {"metadata": metadata, "status": status})

    def _gpu(self, name: str, node: str, index: int, pool: str, tflops: str, vram: str, **more: Any) -> None:
        status = {
            "phase": "Running",
            "vendor": "NVIDIA",
            "gpuModel": "A100",
            "uuid": name,
            "index": index,
            "capacity": {"tflops": tflops, "vram": vram},
            "available": {"tflops": tflops, "vram": vram},
            "nodeSelector": {keys.HOSTNAME_LABEL: node},
            **more,
        }
        self.api.seed(GPUS, {"metadata": {"name": name, "labels": {keys.GPU_POOL: pool}}, "status": status})
        self.cards.see(self.api.objects(GPUS))

    def quota(self, namespace: str, requests: dict[str, str], workers: int | None = None) -> None:
        total: Raw = {"requests": {name.removeprefix("requests."): text for name, text in requests.items()}}
        if workers is not None:
            total["maxWorkers"] = workers
        if namespace == CHANGING:
            self.ceilings.append(total)
        spec = {"total": total, **({"cohort": COHORT} if self.lent else {})}
        try:
            self.api.change(GPU_RESOURCE_QUOTAS, "quota", {"spec": spec}, namespace=namespace)
        except NotFound:
            self.api.seed(GPU_RESOURCE_QUOTAS, {"metadata": {"name": "quota"}, "spec": spec}, namespace=namespace)

    # --- admission, as far as the scheduler's writes are concerned ---

    def _admit(self, call: Call) -> None:
        """Refuses what a former leader sends, and looks at each eviction."""
        if call.verb == "bind":
            self.count("bindings")
            self._require_epoch(call.body["annotations"], f"binding of pod {call.name}")
            self.bound_at[call.body["uid"]] = self.clock.monotonic()
        elif call.verb == "patch" and call.subresource == "status":
            notes = call.body.get("metadata", {}).get("annotations", {})
            if keys.RESIZE in notes:
                self._require_epoch(notes, f"pod {call.name}")
                self.count("resizes")
            name = call.body.get("status", {}).get("nominatedNodeName")
            if name:
                self._note_nomination(call, name)
        elif call.verb == "evict":
            self._look_at_eviction(call)

    def _require_epoch(self, notes: Raw, what: str) -> None:
        found = [
            (int(notes[keys.SCHEDULER_EPOCH]), self._transitions(keys.LEADER_LEASE) if self.shared else self.epoch)
        ]
        if self.shared and notes.get(keys.SCHEDULER_SHARD):
            epoch, _, shard = notes[keys.SCHEDULER_SHARD].partition("/")
            found.append((int(epoch), self._transitions(shard_lease(shard))))
        for epoch, wanted in found:
            if epoch < wanted:
                self.count("fenced")
                raise Conflict(
                    f"{what}: wanted epoch {wanted} or later, found {epoch}: the sender is no longer the leader; "
                    "decide again"
                )

    def _transitions(self, lease: str) -> int:
        found = self.api.object(LEASES, lease, namespace=keys.SYSTEM_NAMESPACE)
        return int(found["spec"].get("leaseTransitions") or 0)

    def _note_nomination(self, call: Call, node: str) -> None:
        with suppress(NotFound):
            pod = self.api.object(PODS, call.name, namespace=call.namespace)
            if pod["metadata"]["uid"] == call.body["metadata"].get("uid"):
                self.nominated[pod["metadata"]["uid"]] = rank(pod), node, self.clock.monotonic()
                self.asking.add(pod["metadata"]["namespace"])
                self.count("nominations")

    def _look_at_eviction(self, call: Call) -> None:
        """Somebody more important was told that it gets a place by it."""
        with suppress(NotFound):
            pod = self.api.object(PODS, call.name, namespace=call.namespace)
            if pod["metadata"]["uid"] != call.body["uid"] or pod["metadata"].get("deletionTimestamp"):
                return
            if keys.DEFRAG_EVICTED in (pod["metadata"].get("labels") or {}):
                self._look_at_move(pod)
                return
            self.count("evictions")
            namespace = pod["metadata"]["namespace"]
            if self.lent and namespace in (FIXED, CHANGING) and {FIXED, CHANGING} - {namespace} <= self.asking:
                self.count("evictions that may be reclaims")
            elif not any(above > rank(pod) for above, _, _ in self.nominated.values()):
                self.wrong.append(f"{call.name} of rank {rank(pod)} is evicted for nobody: {self.nominated}")

    def _look_at_move(self, pod: Raw) -> None:
        """Only who may be moved is, and off a node that is marked for it."""
        self.count("moves")
        meta, notes = pod["metadata"], pod["metadata"]["annotations"]
        if not meta.get("ownerReferences") or f"{P}gang-required-members" in notes:
            self.wrong.append(f"{meta['name']} is moved and must not be")
        with suppress(NotFound):
            node = self.api.object(NODES, pod["spec"]["nodeName"])
            if node["metadata"]["labels"].get(keys.DEFRAG_SOURCE) != "true":
                self.wrong.append(f"{meta['name']} is moved off {node['metadata']['name']}, which is not emptied")

    def count(self, what: str, more: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + more

    # --- replicas ---

    async def start(self, *, leads: bool = True) -> Replica:
        """One more scheduler; it becomes the leader, whoever was. Where they share it follows, with ``leads`` False."""
        network = WatchedNetwork(self.api, clock=self.clock, dice=self.dice)
        network.delays = self.delays
        office = Office()
        manager = Manager(network, clock=self.clock)
        deaf = Deaf()
        shards: Shards | None = None
        if self.shared and leads:
            self.named += 1
            shards = Shards(manager, identity=f"r{self.named}", seconds=LEASE)
            manager.add_task("shards", shards.run)
        leadership: Leadership = office if shards is None else shards.regime
        service = SchedulerService(
            manager,
            leadership,
            recorder=deaf,
            writer=deaf,
            options=Options(
                scheduler_names=(keys.SCHEDULER_NAME, keys.DEFAULT_SCHEDULER_NAME),
                preempt_cluster_wide=lambda: True,
                shards=shards,
            ),
        )
        manager.add_task("scheduler", service.run)

        def leads_still(notes: Mapping[str, str]) -> bool:
            epoch, _, shard = notes.get(keys.SCHEDULER_SHARD, "").partition("/")
            in_epoch = leadership.is_leader() and int(notes[keys.SCHEDULER_EPOCH]) == leadership.epoch
            return in_epoch and (shards is None or shards.holds(Term(shard, int(epoch))))

        eye = GangEye(network, self.clock.monotonic, leads_still)
        manager.informer(PODS, Pod).subscribe(eye.hear)
        places = PlaceEye(service.preemptor, self.clock.monotonic)
        replica = Replica(network, office, manager, service, eye, places)
        replica.tasks.append(asyncio.create_task(manager.run()))
        self.replicas.append(replica)
        if leads and not self.shared:
            self.elect(replica)
        return replica

    def elect(self, replica: Replica, *, told: bool = True) -> None:
        """The Lease names this replica; ``told`` says whether the former leader knows."""
        self.epoch += 1
        if self.leader is not None and self.leader is not replica and told:
            self.leader.office.leading = False
        self.leader = replica
        replica.office.epoch = self.epoch
        replica.office.leading = True

    def lose_device(self, name: str) -> None:
        """A device is gone. Whoever holds a share of it counts for as much as before."""
        found = self.api.object(GPUS, name)
        metadata = {"name": name, "labels": found["metadata"]["labels"]}
        self.lost[f"gpu/{name}"] = {"metadata": metadata, "status": found["status"]}
        self.api.remove(GPUS, name)

    async def kill(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        if self.leader is replica:
            self.leader = None
        await replica.kill(arrives=self.dice.random())
        for task in replica.tasks:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    async def stop(self) -> None:
        for replica in list(self.replicas):
            await replica.kill(arrives=0.0)
        self.replicas.clear()

    async def settle(self, seconds: float = 0.0) -> None:
        await self.clock.advance(seconds)
        self.api.calls.clear()

    # --- pods ---

    def pods(self) -> list[Raw]:
        return self.api.objects(PODS)

    def worker(
        self,
        namespace: str,
        notes: dict[str, str],
        *,
        name: str = "",
        pool: str = "main",
        priority: int = 0,
        labels: dict[str, str] | None = None,
        cpu: str = "1",
        **spec: Any,
    ) -> Raw:
        """A pod as admission leaves it."""
        self.made += 1
        annotations = {f"{P}gpupool": pool, f"{P}gpu-count": "1"} | {f"{P}{key}": text for key, text in notes.items()}
        return self._create(
            name or f"p{self.made:03}",
            namespace,
            {keys.COMPONENT: "worker", **(labels or {})},
            annotations,
            {"schedulerName": keys.SCHEDULER_NAME, "priority": priority, **spec},
            cpu=cpu,
        )

    def plain(self, namespace: str, *, cpu: str = "1", priority: int = 0, notes: Any = None, **spec: Any) -> Raw:
        """A pod without shares."""
        self.made += 1
        spec = {"schedulerName": keys.DEFAULT_SCHEDULER_NAME, "priority": priority, **spec}
        labels = spec.pop("labels", {})
        return self._create(f"p{self.made:03}", namespace, labels, notes or {}, spec, cpu=cpu)

    def _create(self, name: str, namespace: str, labels: Raw, notes: Raw, spec: Raw, *, cpu: str) -> Raw:
        ports = spec.pop("ports", [])
        container = {
            "name": "main",
            "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}},
            "ports": [{"containerPort": port, "hostPort": port, "protocol": "TCP"} for port in ports],
        }
        metadata = {"name": name, "labels": labels, "annotations": notes}
        return self.api.seed(
            PODS, {"metadata": metadata, "spec": {"containers": [container], **spec}}, namespace=namespace
        )

    async def delete(self, pod: Raw, *, force: bool) -> None:
        meta = pod["metadata"]
        if force:
            self.api.remove(PODS, meta["name"], namespace=meta["namespace"])
        else:
            with suppress(NotFound):
                await self.api.delete(PODS, meta["name"], namespace=meta["namespace"])

    def phase(self, pod: Raw, phase: str) -> None:
        meta = pod["metadata"]
        patch = {"status": {"phase": phase}}
        self.api.change(PODS, meta["name"], patch, namespace=meta["namespace"], subresource="status")

    def end(self) -> None:
        """The kubelets' part: pods that were told to end have ended; and that of whoever makes them anew."""
        for pod in self.pods():
            if pod["metadata"].get("deletionTimestamp"):
                self.api.remove(PODS, pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])
                if self.made_anew and pod["metadata"].get("ownerReferences"):
                    self._make_anew(pod)

    def _make_anew(self, pod: Raw) -> None:
        self.made += 1
        meta = pod["metadata"]
        notes = {key: text for key, text in meta["annotations"].items() if key not in keys.SYSTEM_WRITTEN}
        metadata = {
            "name": f"p{self.made:03}",
            "labels": {key: text for key, text in meta["labels"].items() if key != keys.DEFRAG_EVICTED},
            "annotations": {key: text for key, text in notes.items() if key != keys.RESIZE},
            "ownerReferences": meta["ownerReferences"],
        }
        spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
        self.api.seed(PODS, {"metadata": metadata, "spec": spec}, namespace=meta["namespace"])

    def place_by(self, pool: str, mode: str) -> None:
        """The pool is of this mode from now on."""
        self.api.change(GPU_POOLS, pool, {"spec": {"schedulingConfigTemplate": mode.lower()}})

    def defragment(self, settings: Raw | None) -> None:
        """The main pool is defragmented so from now on."""
        spec = {"nodeManagerConfig": {"nodeCompaction": {"defrag": settings}}}
        self.api.change(GPU_POOLS, "main", {"spec": spec})

    def edit(self, pod: Raw, wish: dict[str, str | None]) -> None:
        """The owner of a bound pod wants other amounts; admission has made a wish of the edit."""
        meta = pod["metadata"]
        patch = {"metadata": {"annotations": {keys.RESIZE: json.dumps(wish)}}}
        self.api.change(PODS, meta["name"], patch, namespace=meta["namespace"])

    # --- judgements ---

    def check(self) -> None:
        """What holds at every moment."""
        pods = self.pods()
        wrong = [*self.wrong, *wrong_with_devices(pods, self.cards, PROVIDERS)]
        wrong += wrong_with_nodes(pods, self.api.objects(NODES))
        wrong += self._over_quota(pods)
        wrong += [line for replica in self.replicas for line in (*replica.eye.wrong(), *replica.places.wrong)]
        assert not wrong, "\n".join(wrong)

    def _over_quota(self, pods: list[Raw]) -> Iterator[str]:
        usage = usage_by_namespace(pods, self.cards)
        most = {
            namespace: (
                max(gflops(one["requests"]["tflops"]) for one in ceilings),
                max(whole(one["requests"]["vram"]) for one in ceilings),
            )
            for namespace, ceilings in ((FIXED, self.ceilings[:1]), (CHANGING, self.ceilings))
        }
        if self.lent:
            yield from wrong_with_cohort(COHORT, most, usage)
            return
        for namespace, (compute, vram) in most.items():
            used = usage.get(namespace)
            if used is not None and (used.compute > compute or used.vram > vram):
                yield f"{namespace}: {used} is above every ceiling it had"

    def bound_once(self) -> None:
        """No pod ever changed its node."""
        for before, after in self.api.bindings():
            assert not before["spec"].get("nodeName"), f"{after['metadata']['name']} changed its node"

    def check_books(self, service: SchedulerService) -> None:
        """The ledger of a replica that has heard everything says what the objects say."""
        pods, state = self.pods(), service.state
        expected = held(pods, self.cards)
        for device in state.devices():
            found = device.compute_held, device.vram_held
            assert found == expected.get(device.name, (0, 0)), f"{device.name}: {found}, {expected.get(device.name)}"
            assert not device.promised
        live = {pod["metadata"]["uid"]: pod for pod in pods if is_live(pod)}
        assert set(state.allocations) == set(live), "the ledger knows other pods than there are"
        for uid, pod in live.items():
            placement = state.allocations[uid].placement
            assert placement.node == pod["spec"]["nodeName"]
            ids = (pod["metadata"].get("annotations") or {}).get(keys.GPU_IDS, "")
            assert ",".join(placement.devices) == ids
        usage = usage_by_namespace(pods, self.cards)
        for namespace in NAMESPACES:
            has, wanted = state.usage(namespace), usage.get(namespace)
            counted = (has.compute, has.vram, has.workers, has.devices)
            assert counted == (
                (wanted.compute, wanted.vram, wanted.workers, wanted.devices) if wanted else (0, 0, 0, 0)
            ), namespace
        for record in state.nodes():
            here = [pod for pod in live.values() if pod["spec"]["nodeName"] == record.name]
            assert record.pods == len(here)
            wants = [one["resources"]["requests"] for pod in here for one in pod["spec"]["containers"]]
            assert record.cpu == sum(int(amount(want["cpu"]) * 1000) for want in wants)


def rank(pod: Raw) -> int:
    """How important a pod is: by priority, then by quality of service."""
    levels = ("low", "medium", "high", "critical")
    level = (pod["metadata"].get("annotations") or {}).get(f"{P}qos", "medium")
    return 4 * pod["spec"].get("priority", 0) + levels.index(level)


Maker = Callable[[MixedWorld, int, int], None]
