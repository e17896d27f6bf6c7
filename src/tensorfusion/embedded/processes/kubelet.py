"""The kubelet of a process node: one task for each pod that is bound to it."""

import asyncio
import contextlib
import os
import shutil
import signal

import msgspec

from tensorfusion.embedded.processes.environment import Surroundings
from tensorfusion.embedded.processes.leftovers import kill_marked, shims_of
from tensorfusion.embedded.processes.machine import HOST, Machine
from tensorfusion.embedded.processes.pod import Node, NodePod, PodRun
from tensorfusion.embedded.processes.sources import service_variables
from tensorfusion.model.meta import Key, Object, Raw
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.informer import Change, Informer
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

_AGAIN = 5.0

log = get_logger(__name__)


class ServiceInfo(Object, frozen=True):
    """What containers are told of a Service."""

    spec: Raw = msgspec.field(default_factory=dict)


class NodeView:
    """What containers are told of the node and of the cluster."""

    host = HOST

    def __init__(self, machine: Machine, services: Informer[ServiceInfo], *, api: tuple[str, int], path: str) -> None:
        self._machine = machine
        self._services = services
        self._api = api
        self._path = path

    def around(self, namespace: str, address: str) -> Surroundings:
        services = (
            {"metadata": {"name": found.metadata.name, "namespace": found.metadata.namespace}, "spec": found.spec}
            for found in self._services.cache.all()
        )
        return Surroundings(
            {"podIP": address, "hostIP": HOST, "nodeName": self._machine.name},
            service_variables(services, namespace, api=self._api),
            self._machine.allocatable,
            self._path,
        )


class ProcessKubelet:
    """Runs the pods of one node. ``install`` registers it with a manager."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name
        self._runs: dict[str, PodRun] = {}
        """By the pods' uids."""
        self._arrived: asyncio.Queue[PodRun] = asyncio.Queue()

    def install(self, manager: Manager) -> None:
        pods = manager.informer(PODS, NodePod, fields=f"spec.nodeName={self._name}")
        self._pods = pods
        manager.add_task("process-kubelet", self._run)

    def find(self, key: Key, uid: str = "") -> PodRun | None:
        """The run of a pod, for what is asked about it."""
        found = self._pods.cache.get(key)
        if found is None or (uid and found.metadata.uid != uid):
            return None
        return self._runs.get(found.metadata.uid)

    async def _run(self) -> None:
        await asyncio.to_thread(self._clear, {pod.metadata.uid for pod in self._pods.cache.all()})
        async with asyncio.TaskGroup() as group:
            self._pods.subscribe(self._on_pod)
            while True:
                run = await self._arrived.get()
                group.create_task(self._accompany(run), name=f"pod {run.pod.key}")

    def _on_pod(self, change: Change[NodePod]) -> None:
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            gone = self._runs.get(old.metadata.uid)
            if gone is not None:
                gone.vanished()
        if new is None:
            return
        known = self._runs.get(new.metadata.uid)
        if known is not None:
            known.seen(new)
            return
        run = PodRun(new, self._node)
        self._runs[new.metadata.uid] = run
        self._arrived.put_nowait(run)

    async def _accompany(self, run: PodRun) -> None:
        uid = run.pod.metadata.uid
        while True:
            try:
                await run.run()
                break
            except Exception:  # the edge of one pod: the others go on
                log.exception("a pod's life failed unexpectedly", pod=run.pod.key, again_in_seconds=_AGAIN)
            await self._node.clock.sleep(_AGAIN)
            gone = uid not in {pod.metadata.uid for pod in self._pods.cache.all()}
            run = PodRun(run.pod, self._node)
            self._runs[uid] = run
            if gone:
                run.vanished()
        self._runs.pop(uid, None)

    def _clear(self, live: set[str]) -> None:
        """End and remove what belongs to pods that went while nobody watched."""
        for uid in self._node.places.known():
            place = self._node.places.pod(uid)
            if uid in live:
                self._node.users.of(place.state)  # before anybody else could get its number
                continue
            for pid in shims_of(place.state):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
            kill_marked(place.state)
            shutil.rmtree(place.space, ignore_errors=True)
            shutil.rmtree(place.state, ignore_errors=True)
            log.info("a pod went while the node process was away", uid=uid)
