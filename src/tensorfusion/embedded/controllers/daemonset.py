"""DaemonSet: one pod on every node that it selects.

Pods are made for a node by their affinity, so the scheduler places them like all others. ``daemonset_plan`` decides;
here is what stands around it.

Source: apps/v1 DaemonSet as kube-controller-manager keeps it, with its events.
"""

from collections.abc import Sequence

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.daemonset_objects import DaemonSet, fit_of, node_of, pod_of_node, pod_spec
from tensorfusion.embedded.controllers.daemonset_plan import Plan, View, manage, roll, seconds_to_available, status_of
from tensorfusion.embedded.controllers.objects import REFUSED_PAUSE
from tensorfusion.embedded.controllers.pods import BURST, OwnedPods, in_batches, random_suffix
from tensorfusion.embedded.controllers.revisions import REVISION_HASH, Revisions
from tensorfusion.embedded.controllers.routing import PodRoutes
from tensorfusion.embedded.controllers.statuses import write_status
from tensorfusion.errors import ApiError
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.meta import Key, OwnerReference
from tensorfusion.model.resources import DAEMON_SETS, NODES, PODS
from tensorfusion.policy.expected import Expected
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager

_WORKERS = 2
_GATHER = 0.1
"""Seconds that a pass waits which a node or a pod asked for."""
_LOOK_AGAIN = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 900.0
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0
_NAMESPACE_INDEX = "namespace"


class DaemonSetController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="daemonset-controller", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )
        self._expected: dict[str, Expected] = {}
        """By the DaemonSet's uid."""
        self._pauses: dict[tuple[str, str], tuple[float, float]] = {}
        """DaemonSet's uid and node -> how long a failed pod was kept last, and until when."""

    def install(self, manager: Manager, routes: PodRoutes) -> None:
        """Register informers' handlers, the controller and its events."""
        self._sets = manager.informer(DAEMON_SETS, DaemonSet, client=self._client)
        self._nodes = manager.informer(NODES, Node)
        self._revisions = Revisions(self._client, manager, DAEMON_SETS, hash_label=REVISION_HASH)
        self._owned = OwnedPods(
            self._client,
            DAEMON_SETS,
            DaemonSet,
            pods=manager.informer(PODS, Pod),
            clock=self._clock,
            recorder=self._recorder,
        )
        self._sets.add_index(_NAMESPACE_INDEX, lambda found: (found.metadata.namespace,))
        controller = Controller("daemonset", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("daemonset-events", self._recorder.run)
        self._sets.subscribe(self._on_set)
        self._nodes.subscribe(self._on_node)
        routes.owned(DAEMON_SETS.kind, self._on_pod)
        routes.orphans(self._sets.cache, self._on_orphan)

    def _on_set(self, change: Change[DaemonSet]) -> None:
        if change.kind is ChangeKind.DELETED and change.old is not None:
            uid = change.old.metadata.uid
            self._expected.pop(uid, None)
            self._pauses = {place: pause for place, pause in self._pauses.items() if place[0] != uid}
        self._queue.add(change.key)

    def _on_node(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        if old is not None and new is not None:
            same = old.spec == new.spec and old.metadata.labels == new.metadata.labels
            if same:
                return
        for current in self._sets.cache.all():
            self._queue.add(current.key, after=_GATHER)

    def _on_pod(self, owner: OwnerReference, pod: Pod) -> None:
        expected = self._expected.get(owner.uid)
        if expected is not None:
            expected.seen(pod.metadata.name)
        self._queue.add(Key(pod.metadata.namespace, owner.name), after=_GATHER)

    def _on_orphan(self, pod: Pod) -> None:
        for candidate in self._sets.cache.by_index(_NAMESPACE_INDEX, pod.metadata.namespace):
            if candidate.spec.selector.matches(pod.metadata.labels):
                self._queue.add(candidate.key)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        current = self._sets.cache.get(key)
        if current is None or current.metadata.deleting:
            return DONE
        owned = await self._owned.claim(current, current.spec.selector)
        history = self._revisions.history(current.metadata)
        collisions = int(current.status.get("collisionCount") or 0)
        update = await self._revisions.of_template(
            current.metadata, current.spec.template, history, collisions=collisions
        )
        if update is None:
            new = {**current.status, "collisionCount": collisions + 1}
            await write_status(self._client, DAEMON_SETS, current.metadata, old=current.status, new=new)
            return DONE
        digest = update.metadata.labels.get(REVISION_HASH, "")
        expected = self._expected.setdefault(current.metadata.uid, Expected())
        active = {pod.metadata.uid for pod in owned if not pod.metadata.deleting}
        expected.observe(known=[pod.metadata.name for pod in owned], active=active, now=self._clock.monotonic())
        view = self._view(current, owned, expected)
        now = self._clock.now()
        step = manage(current, view)
        if not step.create and not step.delete:
            step = roll(current, view, digest, now=now)
        failure, kept = await self._carry_out(current, step, expected, digest)
        status = status_of(current, view, digest, now=now)
        await write_status(self._client, DAEMON_SETS, current.metadata, old=current.status, new=status)
        live = {update.metadata.name}
        used = {pod.metadata.labels.get(REVISION_HASH) for pod in owned}
        live |= {each.key.name for each in history if each.metadata.labels.get(REVISION_HASH) in used}
        await self._revisions.forget(current.metadata, history, live, limit=current.spec.history_limit)
        if failure is not None and failure.retryable:
            raise failure
        waits = [kept, *(seconds_to_available(current, pod, now) for pod in owned)]
        waits += [REFUSED_PAUSE] if failure is not None else []
        waits += [_LOOK_AGAIN] if expected.creating or expected.deleting else []
        return Result(requeue_after=min((wait for wait in waits if wait > 0), default=None))

    def _view(self, current: DaemonSet, owned: Sequence[Pod], expected: Expected) -> View:
        spec = pod_spec(current)
        fits = {
            node.metadata.name: fit_of(spec, node) for node in self._nodes.cache.all() if not node.metadata.deleting
        }
        pods: dict[str, list[Pod]] = {}
        for pod in owned:
            pods.setdefault(node_of(pod), []).append(pod)
        return View(fits, pods, frozenset(expected.purposes.values()), frozenset(expected.deleting))

    async def _carry_out(
        self, current: DaemonSet, step: Plan, expected: Expected, digest: str
    ) -> tuple[ApiError | None, float]:
        """Delete and create; the first error, and how long pods that failed are still kept."""
        kept = self._keep_failed(current, step)
        surplus = expected.doubted_uids() + [(pod.metadata.uid, pod.metadata.name) for pod in step.delete[:BURST]]
        failure = await in_batches(surplus, lambda pod: self._owned.delete(current, pod, expected))
        names = expected.doubted_names()
        for node in step.create[:BURST]:
            name = f"{current.metadata.name}-{random_suffix()}"
            expected.purposes[name] = node
            names.append(name)

        async def create(name: str) -> ApiError | None:
            body = pod_of_node(current, name, expected.purposes.get(name, ""), digest)
            return await self._owned.create(current, body, expected)

        failure = failure or await in_batches(names, create)
        expected.tidy()
        return failure, kept

    def _keep_failed(self, current: DaemonSet, step: Plan) -> float:
        """Keep pods that failed for a while that grows, so that one that always fails is not remade all the time."""
        now, left = self._clock.monotonic(), 0.0
        for pod in step.failed:
            place = (current.metadata.uid, node_of(pod))
            length, until = self._pauses.get(place, (0.0, -1.0))
            if until < 0:
                length = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * length))
                until = now + length
                self._pauses[place] = (length, until)
            if until > now:
                step.delete.remove(pod)
                left = min(left or until - now, until - now)
                continue
            self._pauses[place] = (length, -1.0)
            failed = pod.status.phase == "Failed"
            where = f"{pod.metadata.namespace}/{pod.metadata.name} on node {node_of(pod)}"
            if failed:
                message = f"Found failed daemon pod {where}, will try to kill it"
                self._owned.record(current, EventType.WARNING, "FailedDaemonPod", message)
            else:
                message = f"Found succeeded daemon pod {where}, will try to delete it"
                self._owned.record(current, EventType.NORMAL, "SucceededDaemonPod", message)
        return left
