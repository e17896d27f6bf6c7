"""The life of one process pod: its folders, init containers in order, its containers, its end.

Level-based where it counts: everything that must survive a restart of the node process is in the pod's folders and in
the API, and ``run`` goes on from there.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.processes import volumes
from tensorfusion.embedded.processes.container import Container, Housing, Prepare
from tensorfusion.embedded.processes.environment import Surroundings, environment
from tensorfusion.embedded.processes.images import Images
from tensorfusion.embedded.processes.leftovers import kill_marked, marked
from tensorfusion.embedded.processes.listening import addresses_of
from tensorfusion.embedded.processes.places import Places
from tensorfusion.embedded.processes.podstatus import Facts, pod_status
from tensorfusion.embedded.processes.restarts import Timing
from tensorfusion.embedded.processes.sources import Sources
from tensorfusion.embedded.processes.users import Users, check_security
from tensorfusion.embedded.processes.waiting import Waiting
from tensorfusion.errors import ApiError, Conflict, Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Object, Raw
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.telemetry.logs import get_logger

_RETRY = 1.0
_DEFAULT_GRACE = 30.0

T = TypeVar("T")

log = get_logger(__name__)


class NodePod(Object, frozen=True):
    """A pod of this node, whole."""

    spec: Raw = msgspec.field(default_factory=dict)
    status: Raw = msgspec.field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status.get("phase") in ("Succeeded", "Failed")

    @property
    def raw(self) -> Raw:
        meta = self.metadata
        metadata = {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "labels": meta.labels,
            "annotations": meta.annotations,
        }
        return {"metadata": metadata, "spec": self.spec}


class NodeFacts(Protocol):
    """What the pods' lives need of the node; ``around`` gives the surroundings of a pod with an address."""

    @property
    def host(self) -> str: ...

    def around(self, namespace: str, address: str) -> Surroundings: ...


@dataclass(frozen=True, slots=True)
class Node:
    """What all pods of a node share."""

    client: Api
    recorder: EventRecorder
    places: Places
    users: Users
    images: Images
    facts: NodeFacts
    timing: Timing
    clock: Clock


class PodRun:
    """One pod from its arrival to its removal."""

    def __init__(self, pod: NodePod, node: Node) -> None:
        self.pod = pod
        self._node = node
        self._place = node.places.pod(pod.metadata.uid)
        self._place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._user = node.users.of(self._place.state)
        self._deleted = asyncio.Event()
        self._gone = False
        self._changed = asyncio.Event()
        self._written: Raw = {}
        self._facts = Facts(
            self._user.address,
            node.facts.host,
            pod.status.get("startTime") or timestamp(node.clock.now()),
            prepared=False,
            initialized=not pod.spec.get("initContainers"),
            ended=pod.status["phase"] if pod.finished else "",
            reason=pod.status.get("reason", ""),
            message=pod.status.get("message", ""),
        )
        housing = self._housing()
        policy = pod.spec.get("restartPolicy", "Always")
        before = _by_name(pod.status.get("initContainerStatuses"))
        self.inits = [
            Container(spec, housing, restart=_init_policy(spec, policy), before=before.get(spec["name"], {}))
            for spec in pod.spec.get("initContainers") or ()
        ]
        before = _by_name(pod.status.get("containerStatuses"))
        self.containers = [
            Container(spec, housing, restart=policy, before=before.get(spec["name"], {}))
            for spec in pod.spec["containers"]
        ]
        self.seen(pod)

    def seen(self, pod: NodePod) -> None:
        """The API has a newer version of the pod."""
        self.pod = pod
        if pod.metadata.deleting:
            self._deleted.set()
        self._changed.set()

    def vanished(self) -> None:
        """The object is gone: end at once."""
        self._gone = True
        self._deleted.set()

    def listening(self, port: int) -> list[str]:
        """The addresses at which the pod's programs listen on a port. Looks at the whole machine: not for the loop."""
        pids = marked(self.pod.metadata.uid, self._user.uid)
        return addresses_of(pids, port, own=self._user.address)

    def container(self, name: str) -> Container | None:
        return next((entry for entry in (*self.inits, *self.containers) if entry.name == name), None)

    async def run(self) -> None:
        """Return when the pod is removed."""
        async with asyncio.TaskGroup() as group:
            status = group.create_task(self._keep_status())
            if not self._facts.ended and not self._deleted.is_set():
                await self._live_until_deleted()
            await self._deleted.wait()
            await self._stop(self._grace())
            status.cancel()
        await self._remove()

    # --- living ---

    async def _live_until_deleted(self) -> None:
        life = asyncio.create_task(self._live())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            await asyncio.wait((life, deleted), return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
        finally:
            for task in (life, deleted):
                task.cancel()
            await asyncio.gather(life, deleted, return_exceptions=True)

    async def _live(self) -> None:
        try:
            async with asyncio.timeout(self._seconds_left()):
                ended = await self._run_containers()
            reason = message = ""
        except TimeoutError:
            await self._stop(self._stated_grace())
            ended, reason = "Failed", "DeadlineExceeded"
            message = "Pod was active on the node longer than the specified deadline"
        await asyncio.to_thread(kill_marked, self._place.state)
        self._facts = replace(self._facts, ended=ended, reason=reason, message=message)
        self._changed.set()

    def _seconds_left(self) -> float | None:
        """Until the pod's own deadline, counted from its first start; None when it has none."""
        stated = self.pod.spec.get("activeDeadlineSeconds")
        if stated is None:
            return None
        ran = self._node.clock.now() - datetime.fromisoformat(self._facts.started_at).astimezone(UTC)
        return max(float(stated) - ran.total_seconds(), 0.0)

    async def _run_containers(self) -> str:
        """Run everything to its end; the phase that this comes to."""
        self._changed.set()
        await self._prepare()
        sidecars: list[asyncio.Task[object]] = []
        try:
            for entry in self.inits:
                if entry.spec.get("restartPolicy") == "Always":
                    sidecars.append(asyncio.create_task(entry.run()))
                    await entry.is_up.wait()
                elif (await entry.run()).code != 0:
                    return "Failed"
            self._facts = replace(self._facts, initialized=True)
            self._changed.set()
            endings = await _all(*(entry.run() for entry in self.containers))
            for entry in self.inits:
                await entry.stop(self._stated_grace())
            return "Failed" if any(ending.code != 0 for ending in endings) else "Succeeded"
        finally:
            for task in sidecars:
                task.cancel()
            await asyncio.gather(*sidecars, return_exceptions=True)

    async def _prepare(self) -> None:
        node = self._node
        while True:
            try:
                around = node.facts.around(self.pod.metadata.namespace, self._user.address)
                sources = Sources(node.client, self.pod.metadata.namespace)
                await volumes.prepare(self.pod.raw, self._place, uid=self._user.uid, sources=sources, around=around)
                break
            except Waiting as problem:
                self._say("FailedMount", str(problem), warning=True)
            except (ApiError, OSError) as error:
                self._say("FailedMount", f"the pod's folders cannot be made: {error}", warning=True)
            await node.clock.sleep(node.timing.retry)
        self._facts = replace(self._facts, prepared=True)

    def _housing(self) -> Housing:
        meta, node = self.pod.metadata, self._node
        return Housing(
            f"{meta.name}_{meta.namespace}",
            meta.uid,
            self._place,
            self._user.address,
            self._stated_grace(),
            node.images,
            node.timing,
            node.clock,
            self._say,
            self._changed.set,
            self._container_environment(),
        )

    def _container_environment(self) -> Prepare:
        async def prepare(container: Raw, image_env: dict[str, str]) -> tuple[int | None, dict[str, str]]:
            uid = check_security(self.pod.raw, container, self._user)
            around = self._node.facts.around(self.pod.metadata.namespace, self._user.address)
            sources = Sources(self._node.client, self.pod.metadata.namespace)
            try:
                found = await environment(
                    self.pod.raw, container, place=self._place, sources=sources, around=around, image=image_env
                )
            except ApiError as error:
                raise Waiting("CreateContainerError", f"its environment cannot be read: {error}") from error
            return uid, found

        return prepare

    # --- ending ---

    def _stated_grace(self) -> float:
        stated = self.pod.spec.get("terminationGracePeriodSeconds")
        return _DEFAULT_GRACE if stated is None else float(stated)

    def _grace(self) -> float:
        """Seconds until the API says that the time is over."""
        deadline = self.pod.metadata.deletion_timestamp
        if self._gone or deadline is None:
            return 0.0
        left = datetime.fromisoformat(deadline).astimezone(UTC) - self._node.clock.now()
        return max(left.total_seconds(), 0.0)

    async def _stop(self, grace: float) -> None:
        await _all(*(entry.stop(grace) for entry in self.containers))
        for entry in self.inits:
            await entry.stop(grace)

    async def _remove(self) -> None:
        """The last status, then the object, then the folders."""
        meta = self.pod.metadata
        await asyncio.to_thread(kill_marked, self._place.state)
        if not self._gone:
            await self._write_status()
            with contextlib.suppress(NotFound, Conflict):  # gone, or another pod of that name
                await self._node.client.delete(PODS, meta.name, namespace=meta.namespace, uid=meta.uid, grace_seconds=0)
        await asyncio.to_thread(volumes.remove, self._place)
        self._node.users.release(self._user)

    # --- telling ---

    def _say(self, reason: str, message: str, *, warning: bool = False) -> None:
        kind = EventType.WARNING if warning else EventType.NORMAL
        self._node.recorder.record(reference_to(PODS, self.pod), type_=kind, reason=reason, message=message)

    async def _keep_status(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write_status()
            except ApiError as error:
                log.warning("status not written", pod=self.pod.key, error=error)
                self._changed.set()
                await self._node.clock.sleep(_RETRY)

    async def _write_status(self) -> None:
        now = timestamp(self._node.clock.now())
        before = self._written or self.pod.status
        before = {**before, "conditions": _merged(before, self.pod.status)}
        status = pod_status(self.pod.raw, before, self.inits, self.containers, self._facts, now)
        if self._written == status:
            return
        meta = self.pod.metadata
        try:
            await self._node.client.patch(
                PODS,
                meta.name,
                {"metadata": {"uid": meta.uid}, "status": status},
                namespace=meta.namespace,
                subresource="status",
            )
        except (NotFound, Conflict, Invalid) as error:
            log.debug("status refused", pod=self.pod.key, error=error)
        self._written = status


def _by_name(statuses: Sequence[Raw] | None) -> dict[str, Raw]:
    return {status["name"]: status for status in statuses or ()}


def _init_policy(spec: Raw, pod_policy: str) -> str:
    """A sidecar says itself that it runs always; any other init container is tried until it succeeds."""
    return spec.get("restartPolicy") or ("Never" if pod_policy == "Never" else "OnFailure")


_OURS = frozenset({"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"})


def _merged(written: Raw, stored: Raw) -> list[Raw]:
    """Our conditions as we wrote them last, everybody else's as they are stored."""
    ours = [condition for condition in written.get("conditions") or () if condition["type"] in _OURS]
    return ours + [condition for condition in stored.get("conditions") or () if condition["type"] not in _OURS]


async def _all(*work: Coroutine[None, None, T]) -> list[T]:
    """Run coroutines side by side; when one fails, or we are cancelled, all end."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]
