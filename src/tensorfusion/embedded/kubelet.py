"""Simulated kubelets: thousands of nodes in one task, that run pods by saying so.

What a kubelet writes that others can see is written: ONE status patch that makes a bound pod Running, its end, and its
removal after deletion; ``machines`` keeps the Nodes. Containers do not exist; ``pod_life`` says how a pod scripts its
life. Pods of a Node that was deleted are removed after a while, as Kubernetes' pod garbage collection does.

Level-based: what to do follows from the pod as the cache has it, so a restart goes on where the last process ended.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded import pod_life
from tensorfusion.embedded.fleet import NodeSpec
from tensorfusion.embedded.machines import Ignored, SimulatedMachines
from tensorfusion.errors import Conflict, Invalid, InvalidRequest, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

_WORKERS = 24
_ORPHANED_AFTER = 20.0
_KILLED = 143
"""Exit code of containers that were told to end."""
_NODE_UNSEEN = 1.0
_ADDRESSES = 1 << 22
_ADDRESSES_PER_SECOND = 512

log = get_logger(__name__)


class DeviceGate(Protocol):
    """Who knows whether the node's devices hold the pod's shares."""

    def admit_share(self, pod: Pod) -> str | None:
        """None when they do; else one line that says why not."""
        ...

    def notes(self, pod: Pod) -> Mapping[str, str]:
        """Annotations that the devices give a pod that was let in; they travel with its first status."""
        ...


class NoGate:
    """For nodes without devices: everything is let in."""

    def admit_share(self, pod: Pod) -> str | None:
        return None

    def notes(self, pod: Pod) -> Mapping[str, str]:
        return {}


class SimulatedKubelets:
    """The kubelets of a fleet. ``install`` registers them, and their machines, with a manager."""

    def __init__(
        self, client: Api, nodes: Sequence[NodeSpec], gate: DeviceGate, *, clock: Clock, native: bool = False
    ) -> None:
        self.machines = SimulatedMachines(client, nodes, clock=clock, native=native)
        self._client = client
        self._gate = gate
        self._clock = clock
        # Ahead of what an earlier process gave out, as long as that was under 512 a second.
        self._addresses = int(clock.now().timestamp()) * _ADDRESSES_PER_SECOND
        self._told: dict[str, str] = {}
        """Pods that were told something the cache does not show yet: uid -> ``run`` or ``remove``."""
        self._since: dict[str, float] = {}
        """When a pod was first seen deleted, or without its node: uid -> monotonic seconds."""

    def install(self, manager: Manager) -> None:
        """Register the controller of the pods, and everything of the machines."""
        self._pods = manager.informer(PODS, Pod)
        controller = Controller("simulated-kubelet", self, workers=_WORKERS, clock=self._clock)
        self._queue = controller.queue
        manager.add_controller(controller)
        self.machines.install(manager)
        self.machines.on_change(self._on_machine)
        self._pods.subscribe_batch(self._on_pods)

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            pod = change.new
            if pod is None:
                if change.old is not None:
                    self._told.pop(change.old.metadata.uid, None)
                    self._since.pop(change.old.metadata.uid, None)
            elif pod.spec.node_name in self.machines and _has_next_step(pod):
                self._queue.add(change.key)

    def _on_machine(self, name: str) -> None:
        for pod in self._pods.cache.all():
            if pod.spec.node_name == name:
                self._queue.add(pod.key)

    async def reconcile(self, key: Key) -> Result:
        """Take the next step of one pod's life."""
        pod = self._pods.cache.get(key)
        if pod is None or pod.spec.node_name not in self.machines:
            return DONE
        if self.machines.gone(pod.spec.node_name):
            return await self._remove_orphan(pod)
        if not self.machines.alive(pod.spec.node_name):
            return Result(requeue_after=_NODE_UNSEEN)  # cut off, or so new that the cache does not have it
        if pod.metadata.deleting:
            return await self._stop(pod)
        if pod.finished:
            return DONE
        if pod.status.phase != "Running":
            return await self._start(pod)
        self._told.pop(pod.metadata.uid, None)
        return await self._end_if_due(pod)

    async def _start(self, pod: Pod) -> Result:
        uid = pod.metadata.uid
        if uid in self._told:
            return DONE
        now = timestamp(self._clock.now())
        refusal = self._gate.admit_share(pod)
        if refusal is not None:
            log.warning("share refused", pod=pod.key, node=pod.spec.node_name, reason=refusal)
            status = pod_life.refused(refusal, now=now)
        else:
            host = self.machines.address(pod.spec.node_name)
            status = pod_life.running(pod, now=now, pod_ip=self._next_address(), host_ip=host)
        self._told[uid] = "run"
        try:
            await self._patch_status(pod, status, notes={} if refusal is not None else self._gate.notes(pod))
        except BaseException:
            self._told.pop(uid, None)
            raise
        return DONE

    async def _end_if_due(self, pod: Pod) -> Result:
        annotations = pod.metadata.annotations
        if pod_life.RUN_FOR not in annotations:
            return DONE
        try:
            seconds = pod_life.seconds_of(annotations, pod_life.RUN_FOR)
            exit_code = pod_life.exit_code_of(annotations)
        except InvalidRequest as error:
            log.warning("the pod's script is ignored", pod=pod.key, error=error)
            return DONE
        now = self._clock.now()
        since = pod_life.running_since(pod) or now
        left = (seconds or 0.0) - (now - since).total_seconds()
        if left > 0:
            return Result(requeue_after=left)
        await self._patch_status(pod, pod_life.ended(pod, now=timestamp(now), exit_code=exit_code))
        return DONE

    async def _stop(self, pod: Pod) -> Result:
        """The containers of a deleted pod stop, at once or as scripted; then the object may go."""
        left = self._left_to_stop(pod)
        if left > 0:
            return Result(requeue_after=left)
        if pod.metadata.finalizers and pod.status.phase == "Running" and self._told.get(pod.metadata.uid) != "remove":
            # the object stays: that the containers ended is all that whoever holds it can go by, as a Job does
            status = pod_life.ended(pod, now=timestamp(self._clock.now()), exit_code=_KILLED)
            await self._patch_status(pod, status)
        await self._remove(pod)
        return DONE

    def _left_to_stop(self, pod: Pod) -> float:
        if pod_life.STOP_AFTER not in pod.metadata.annotations or pod.finished:
            return 0.0
        try:
            waited = self._seconds_since(pod.metadata.uid)
            return pod_life.seconds_to_stop(pod, waited=waited, now=self._clock.now())
        except InvalidRequest as error:
            log.warning("the pod's script is ignored", pod=pod.key, error=error)
            return 0.0

    async def _remove_orphan(self, pod: Pod) -> Result:
        left = _ORPHANED_AFTER - self._seconds_since(pod.metadata.uid)
        if left > 0:
            return Result(requeue_after=left)
        await self._remove(pod)
        return DONE

    def _seconds_since(self, uid: str) -> float:
        now = self._clock.monotonic()
        return now - self._since.setdefault(uid, now)

    async def _remove(self, pod: Pod) -> None:
        """Delete without grace, once: a finalizer of somebody else may still hold the object."""
        uid = pod.metadata.uid
        if self._told.get(uid) == "remove":
            return
        self._told[uid] = "remove"
        try:
            await self._client.delete(
                PODS, pod.metadata.name, namespace=pod.metadata.namespace, uid=uid, grace_seconds=0
            )
        except (NotFound, Conflict):
            return  # gone, or replaced by another pod of the same name
        except BaseException:
            self._told.pop(uid, None)
            raise

    async def _patch_status(self, pod: Pod, status: Raw, *, notes: Mapping[str, str] | None = None) -> None:
        metadata: Raw = {"uid": pod.metadata.uid} | ({"annotations": dict(notes)} if notes else {})
        patch = {"metadata": metadata, "status": status}
        try:
            await self._client.patch(
                PODS, pod.metadata.name, patch, namespace=pod.metadata.namespace, subresource="status", type_=Ignored
            )
        except (NotFound, Conflict, Invalid):
            return  # gone, or replaced by another pod of the same name

    def _next_address(self) -> str:
        """The next address of 10.128.0.0/10."""
        self._addresses += 1
        number = self._addresses % _ADDRESSES
        return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _has_next_step(pod: Pod) -> bool:
    """Whether anything is left to do for a pod in this state; most events say no."""
    if pod.metadata.deleting:
        return True
    if pod.finished:
        return False
    return pod.status.phase != "Running" or pod_life.RUN_FOR in pod.metadata.annotations
