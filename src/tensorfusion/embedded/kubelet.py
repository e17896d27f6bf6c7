"""Simulated kubelets: thousands of nodes in one task, that run pods by saying so.

What a kubelet writes that others can see is written: the Node with its capacity and conditions, its Lease, ONE status
patch that makes a bound pod Running, its end, and its removal after deletion. Containers do not exist. A pod may script
its life with the annotations ``simulated.tensor-fusion.ai/run-for`` (seconds, such as ``30s``) and ``.../exit-code``.

Level-based: what to do follows from the pod as the cache has it, so a restart goes on where the last process ended.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from tensorfusion.clock import Clock, micro_timestamp, timestamp
from tensorfusion.embedded.fleet import NodeSpec
from tensorfusion.errors import AlreadyExists, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import LEASES, NODES, PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import format_bytes, format_milli

RUN_FOR = f"simulated.{keys.DOMAIN}/run-for"
EXIT_CODE = f"simulated.{keys.DOMAIN}/exit-code"

_POD_WORKERS = 48
_NODE_WORKERS = 16
_LEASES_PER_SECOND = 20.0
_LEASE_EVERY = 10.0
_NODE_LEASES = "kube-node-lease"
_DURATION = re.compile(r"^(\d{1,7})(ms|s|m|h)?$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}

log = get_logger(__name__)


class DeviceGate(Protocol):
    """Who knows whether the node's devices hold the pod's shares."""

    def admit_share(self, pod: Pod) -> str | None:
        """None when they do; else one line that says why not."""
        ...


class NoGate:
    """For nodes without devices: everything is let in."""

    def admit_share(self, pod: Pod) -> str | None:
        return None


class SimulatedKubelets:
    """The kubelets of a fleet. ``install`` registers them with a manager."""

    def __init__(self, client: Api, nodes: Sequence[NodeSpec], gate: DeviceGate, *, clock: Clock) -> None:
        self._client = client
        self._specs = {node.name: node for node in nodes}
        self._addresses = {node.name: _address(number) for number, node in enumerate(nodes)}
        self._gate = gate
        self._clock = clock
        self._pod_number = 0
        self._started: dict[str, str] = {}
        """Pods that were told to run and whose cached copy does not say so yet: uid -> resource version then."""

    def install(self, manager: Manager) -> None:
        """Register the controllers of pods and nodes, and the Leases."""
        self._pods = manager.informer(PODS, Pod)
        self._nodes = manager.informer(NODES, Node)
        pods = Controller("simulated-kubelet", _PodReconciler(self), workers=_POD_WORKERS, clock=self._clock)
        machines = Controller("simulated-node", _NodeReconciler(self), workers=_NODE_WORKERS, clock=self._clock)
        self._pod_queue, self._node_queue = pods.queue, machines.queue
        manager.add_controller(pods)
        manager.add_controller(machines)
        manager.add_task("node-leases", self._renew_leases)
        self._pods.subscribe(self._on_pod)
        self._nodes.subscribe(lambda change: self._on_node(change.key.name))
        for name in self._specs:
            self._node_queue.add(Key("", name))

    def _on_pod(self, change: Change[Pod]) -> None:
        if change.kind is ChangeKind.DELETED:
            if change.old is not None:
                self._started.pop(change.old.metadata.uid, None)
            return
        pod = change.new
        if pod is None or pod.spec.node_name not in self._specs:
            return
        if pod.status.phase == "Running":
            self._started.pop(pod.metadata.uid, None)
        if pod.metadata.deleting or (not pod.finished and (pod.status.phase != "Running" or _has_end(pod))):
            self._pod_queue.add(change.key)

    def _on_node(self, name: str) -> None:
        if name in self._specs:
            self._node_queue.add(Key("", name))

    async def reconcile_pod(self, key: Key) -> Result:
        """Take the next step of one pod's life."""
        pod = self._pods.cache.get(key)
        if pod is None or pod.spec.node_name not in self._specs:
            return DONE
        if pod.metadata.deleting:
            await self._remove(pod)
            return DONE
        if pod.finished:
            return DONE
        if pod.status.phase != "Running":
            if pod.metadata.uid not in self._started:
                await self._start(pod)
            return DONE
        return await self._end_if_due(pod)

    async def _start(self, pod: Pod) -> None:
        refusal = self._gate.admit_share(pod)
        if refusal is not None:
            log.warning("share refused", pod=str(pod.key), node=pod.spec.node_name, reason=refusal)
            status: Raw = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": refusal}
        else:
            status = self._running_status(pod)
        self._started[pod.metadata.uid] = pod.metadata.resource_version
        try:
            await self._patch_status(pod, status)
        except BaseException:
            self._started.pop(pod.metadata.uid, None)
            raise

    async def _end_if_due(self, pod: Pod) -> Result:
        seconds = _seconds(pod.metadata.annotations.get(RUN_FOR, ""))
        if seconds is None:
            return DONE
        started = next((c.last_transition_time for c in pod.status.conditions if c.type == "Ready"), None)
        since = _parse_time(started) if started else self._clock.now()
        left = seconds - (self._clock.now() - since).total_seconds()
        if left > 0:
            return Result(requeue_after=left)
        code = pod.metadata.annotations.get(EXIT_CODE, "0")
        exit_code = int(code) if code.isdigit() and len(code) < 4 else 0
        now = timestamp(self._clock.now())
        terminated = {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed", "finishedAt": now}
        status: Raw = {
            "phase": "Failed" if exit_code else "Succeeded",
            "conditions": _conditions(pod, now, ready=False),
            "containerStatuses": [
                {**_container(container.name), "state": {"terminated": terminated}} for container in pod.spec.containers
            ],
        }
        await self._patch_status(pod, status)
        return DONE

    async def _remove(self, pod: Pod) -> None:
        """The containers have stopped (at once, in a simulation): the object may go."""
        try:
            await self._client.delete(
                PODS, pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid, grace_seconds=0
            )
        except (NotFound, Conflict):
            return

    async def _patch_status(self, pod: Pod, status: Raw) -> None:
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
        try:
            await self._client.patch(
                PODS, pod.metadata.name, patch, namespace=pod.metadata.namespace, subresource="status", type_=Ignored
            )
        except (NotFound, Conflict):
            return  # gone, or replaced by another pod of the same name

    def _running_status(self, pod: Pod) -> Raw:
        now = timestamp(self._clock.now())
        self._pod_number += 1
        address = f"10.{128 + (self._pod_number >> 16) % 64}.{(self._pod_number >> 8) % 256}.{self._pod_number % 256}"
        host = self._addresses[pod.spec.node_name]
        return {
            "phase": "Running",
            "startTime": now,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "conditions": _conditions(pod, now, ready=True),
            "containerStatuses": [
                {**_container(container.name), "ready": True, "started": True, "state": {"running": {"startedAt": now}}}
                for container in pod.spec.containers
            ],
        }

    async def reconcile_node(self, key: Key) -> Result:
        """Register a machine that is missing, or make its status say that it is ready."""
        spec = self._specs[key.name]
        current = self._nodes.cache.get(key)
        if current is None:
            try:
                await self._client.create(NODES, self._node_object(spec), type_=Ignored)
            except AlreadyExists:
                return Result(requeue_after=1.0)
            return DONE
        if not any(condition.type == "Ready" for condition in current.status.conditions):
            patch = {"status": self._node_status(spec)}
            await self._client.patch(NODES, key.name, patch, subresource="status", type_=Ignored)
        return DONE

    def _node_object(self, spec: NodeSpec) -> Raw:
        labels = {
            keys.HOSTNAME_LABEL: spec.name,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "simulated",
        }
        if spec.devices is not None:
            labels["nvidia.com/gpu.present"] = "true"
            labels["nvidia.com/gpu.product"] = re.sub(r"[^A-Za-z0-9_.-]", "-", spec.devices.full_name)[:63]
            labels["nvidia.com/gpu.count"] = str(spec.devices.count)
        taints = [{"key": key, "value": value, "effect": effect} for key, value, effect in spec.taints]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": spec.name, "labels": {**labels, **spec.labels}},
            "spec": {"taints": taints} if taints else {},
            "status": self._node_status(spec),
        }

    def _node_status(self, spec: NodeSpec) -> Raw:
        now = timestamp(self._clock.now())
        amounts = {"cpu": format_milli(spec.cpu), "memory": format_bytes(spec.memory), "pods": str(spec.pods)}
        return {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [
                {"type": "InternalIP", "address": self._addresses[spec.name]},
                {"type": "Hostname", "address": spec.name},
            ],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "simulated kubelet is ready",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "simulated://1",
                "kernelVersion": "simulated",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.2-simulated",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "simulated",
                "systemUUID": "",
            },
        }

    async def _renew_leases(self) -> None:
        """Each node's Lease every 10 s, or as slowly as keeps all of them under the budget of writes."""
        period = max(_LEASE_EVERY, len(self._specs) / _LEASES_PER_SECOND)
        step = period / max(1, len(self._specs))
        duration = int(4 * period)
        while self._specs:
            for name in self._specs:
                await self._renew(name, duration)
                await self._clock.sleep(step)

    async def _renew(self, name: str, duration: int) -> None:
        now = micro_timestamp(self._clock.now())
        spec = {"holderIdentity": name, "leaseDurationSeconds": duration, "renewTime": now}
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, namespace=_NODE_LEASES, type_=Ignored)
        except NotFound:
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": name}, "spec": spec}
            try:
                await self._client.create(LEASES, body, namespace=_NODE_LEASES, type_=Ignored)
            except AlreadyExists:
                return


class _PodReconciler:
    def __init__(self, kubelets: SimulatedKubelets) -> None:
        self._kubelets = kubelets

    async def reconcile(self, key: Key) -> Result:
        return await self._kubelets.reconcile_pod(key)


class _NodeReconciler:
    def __init__(self, kubelets: SimulatedKubelets) -> None:
        self._kubelets = kubelets

    async def reconcile(self, key: Key) -> Result:
        return await self._kubelets.reconcile_node(key)


class Ignored(msgspec.Struct, frozen=True):
    """An answer nobody reads: decoding it costs nothing."""


def _container(name: str) -> Raw:
    return {"name": name, "image": "", "imageID": "", "restartCount": 0, "ready": False}


def _conditions(pod: Pod, now: str, *, ready: bool) -> list[Raw]:
    """The conditions of a running or ended pod; PodScheduled keeps the time the scheduler gave it."""
    scheduled = next((c.last_transition_time for c in pod.status.conditions if c.type == "PodScheduled"), None)
    value = "True" if ready else "False"
    reason = {} if ready else {"reason": "PodCompleted"}
    return [
        {"type": "PodReadyToStartContainers", "status": value, "lastTransitionTime": now},
        {"type": "Initialized", "status": "True", "lastTransitionTime": now},
        {"type": "Ready", "status": value, "lastTransitionTime": now, **reason},
        {"type": "ContainersReady", "status": value, "lastTransitionTime": now, **reason},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled or now},
    ]


def _has_end(pod: Pod) -> bool:
    return RUN_FOR in pod.metadata.annotations


def _seconds(text: str) -> float | None:
    """``30s``, ``500ms``, ``2m`` or a bare number of seconds; None where it is none of these."""
    match = _DURATION.match(text)
    return None if match is None else int(match.group(1)) * _SECONDS[match.group(2)]


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _address(number: int) -> str:
    """A node's address: 10.0.0.0/9 in order."""
    return f"10.{number >> 16 & 127}.{number >> 8 & 255}.{number & 255}"
