"""Job: run pods until enough of them have succeeded, or too many have failed.

Each pass looks at all pods of a Job, creates or deletes some, writes one status, and lets go of the pods whose end is
in it (``job_survey`` says why none is counted twice). Passes that pods ask for wait a moment, so that the ends of many
pods become one pass.

Source: batch/v1 Job as kube-controller-manager keeps it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.job_backoff import Backoff, seconds_left_for
from tensorfusion.embedded.controllers.job_objects import (
    COMPLETE,
    FAILED,
    JOB_CONTROLLER,
    SUSPENDED,
    TRACKING,
    Job,
    JobStatus,
    completion_index,
    end_of,
    failures_before,
    tracked,
)
from tensorfusion.embedded.controllers.job_pods import creation_prefix, extra_pods, pending_indexes, pod_of_job
from tensorfusion.embedded.controllers.job_state import (
    Ending,
    completed_now,
    decide,
    next_status,
    seconds_to_deadline,
    wanted_pods,
)
from tensorfusion.embedded.controllers.job_survey import Survey, new_failures, survey
from tensorfusion.embedded.controllers.objects import OWNER_INDEX, REFUSED_PAUSE
from tensorfusion.embedded.controllers.pods import BURST, OwnedPods, in_batches, random_suffix
from tensorfusion.embedded.controllers.routing import PodRoutes
from tensorfusion.embedded.controllers.statuses import write_status
from tensorfusion.errors import ApiError, Invalid, NotFound
from tensorfusion.kube.api import Api, Propagation
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, OwnerReference, Raw
from tensorfusion.model.resources import JOBS, PODS
from tensorfusion.policy.expected import Expected
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager

_WORKERS = 4
_GATHER = 0.2
"""Seconds that a pass waits which a pod asked for."""
_LOOK_AGAIN = 60.0
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0
_NAMESPACE_INDEX = "namespace"


class JobController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="job-controller", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )
        self._expected: dict[str, Expected] = {}
        self._backoffs: dict[str, Backoff] = {}
        """Both by the Job's uid."""

    def install(self, manager: Manager, routes: PodRoutes) -> None:
        """Register informers' handlers, the controller and its events."""
        self._jobs = manager.informer(JOBS, Job, client=self._client)
        self._pods = manager.informer(PODS, Pod)
        self._owned = OwnedPods(
            self._client,
            JOBS,
            Job,
            pods=self._pods,
            clock=self._clock,
            recorder=self._recorder,
            finalizer=TRACKING,
        )
        self._jobs.add_index(_NAMESPACE_INDEX, lambda found: (found.metadata.namespace,))
        controller = Controller("job", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        letting_go = Controller("job-pods", _LetGo(self), workers=_WORKERS, clock=self._clock)
        self._left = letting_go.queue
        manager.add_controller(controller)
        manager.add_controller(letting_go)
        manager.add_task("job-events", self._recorder.run)
        self._jobs.subscribe(self._on_job)
        routes.owned(JOBS.kind, self._on_pod)
        routes.orphans(self._jobs.cache, self._on_orphan)

    def _on_job(self, change: Change[Job]) -> None:
        if change.kind is ChangeKind.DELETED and change.old is not None:
            uid = change.old.metadata.uid
            self._expected.pop(uid, None)
            self._backoffs.pop(uid, None)
            for pod in self._pods.cache.by_index(OWNER_INDEX, uid):
                self._left.add(pod.key)
        self._queue.add(change.key)

    def _on_pod(self, owner: OwnerReference, pod: Pod) -> None:
        expected = self._expected.get(owner.uid)
        if expected is not None:
            expected.seen(pod.metadata.name)
        self._queue.add(Key(pod.metadata.namespace, owner.name), after=_GATHER)
        if tracked(pod) and not self.keeps(pod):
            self._left.add(pod.key, after=_GATHER)

    def _on_orphan(self, pod: Pod) -> None:
        for candidate in self._jobs.cache.by_index(_NAMESPACE_INDEX, pod.metadata.namespace):
            if candidate.spec.selector.matches(pod.metadata.labels):
                self._queue.add(candidate.key)
        if tracked(pod):
            self._left.add(pod.key, after=_GATHER)

    def keeps(self, pod: Pod) -> bool:
        """The pod belongs to a Job that exists."""
        owner = pod.metadata.controller
        job = self._jobs.cache.get(Key(pod.metadata.namespace, owner.name)) if owner is not None else None
        return owner is not None and job is not None and job.metadata.uid == owner.uid

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        job = self._jobs.cache.get(key)
        if job is None or job.spec.managed_by != JOB_CONTROLLER:
            return DONE
        now, status = self._clock.now(), job.known_status()
        if end_of(status) is not None:
            return await self._after_end(job, status, now)
        pods = await self._owned.claim(job, job.spec.selector)
        found = survey(job, status, pods, now=now)
        expected = self._expected.setdefault(job.metadata.uid, Expected())
        uids = {pod.metadata.uid for pod in found.active}
        expected.observe(known=[pod.metadata.name for pod in pods], active=uids, now=self._clock.monotonic())
        backoff = self._backoffs.setdefault(job.metadata.uid, Backoff())
        backoff.learn(pods, now=now)
        ending = decide(job, status, found, pods, now=now)
        held_off, failure = backoff.seconds_left(now=now), None
        waiting: dict[int, float] = {}
        if job.spec.limit_per_index is not None:  # each index waits for itself
            waiting, held_off = _waiting_indexes(found, now), 0.0
        if not job.metadata.deleting:
            failure = await self._scale(
                job, found, expected, ending=ending, may_create=held_off <= 0, waiting=waiting.keys()
            )
        live = expected.live(uids)
        if failure is None and ending is None and not job.metadata.deleting:
            ending = completed_now(job, found, live)
        new = next_status(job, found, ending if live == 0 else None, active=max(0, live), now=now)
        await self._write(job, status, new)
        await self._let_go_of(found.releasable)
        if failure is not None and failure.retryable:
            raise failure
        waits = [held_off, *waiting.values(), REFUSED_PAUSE if failure is not None else 0.0]
        waits += [seconds_to_deadline(job, status, now=now) or 0.0]
        waits += [_LOOK_AGAIN if expected.creating or expected.deleting else 0.0]
        return _due(waits)

    async def _scale(
        self,
        job: Job,
        found: Survey,
        expected: Expected,
        *,
        ending: Ending | None,
        may_create: bool,
        waiting: Collection[int],
    ) -> ApiError | None:
        """Create what is missing, delete what is too many; the first error, if any."""
        wanted = 0 if ending is not None else wanted_pods(job, found)
        extra = extra_pods(job, found, wanted)
        gone = [(p.metadata.uid, p.metadata.name) for p in extra if p.metadata.uid not in expected.deleting]
        surplus = expected.doubted_uids() + gone[:BURST]
        failed = ending is not None and ending.final == FAILED
        failure = await in_batches(surplus, lambda pod: self._delete(job, pod, expected, counts=failed))
        names = expected.doubted_names()
        stopping = found.terminating if job.spec.replacement_policy == "Failed" else 0
        missing = min(BURST, wanted - stopping - (len(found.active) - len(extra)) - len(expected.creating))
        if missing > 0 and may_create and not extra:
            names += self._new_names(job, found, expected, missing, waiting)
        failure = failure or await in_batches(names, lambda name: self._create(job, found, name, expected))
        expected.tidy()
        return failure

    def _new_names(
        self, job: Job, found: Survey, expected: Expected, missing: int, waiting: Collection[int]
    ) -> list[str]:
        if not job.indexed:
            return [f"{creation_prefix(job, None)}{random_suffix()}" for _ in range(missing)]
        taken = {*found.completed, *found.failed_indexes, *waiting, *(completion_index(pod) for pod in found.active)}
        taken |= {int(index) for index in expected.purposes.values()}
        names = []
        for index in pending_indexes(job, taken, missing):
            name = f"{creation_prefix(job, index)}{random_suffix()}"
            expected.purposes[name] = str(index)
            names.append(name)
        return names

    async def _create(self, job: Job, found: Survey, name: str, expected: Expected) -> ApiError | None:
        purpose = expected.purposes.get(name)
        index = None if purpose is None else int(purpose)
        replaced = None if index is None else found.to_replace.get(index)
        body = pod_of_job(job, name, index, new_failures(job, replaced))
        return await self._owned.create(job, body, expected)

    async def _delete(self, job: Job, pod: tuple[str, str], expected: Expected, *, counts: bool) -> ApiError | None:
        """Delete a pod; one that is only not needed is let go first, so that it does not count as failed."""
        held = None if counts else self._pods.cache.get(Key(job.metadata.namespace, pod[1]))
        try:
            if held is not None and held.metadata.uid == pod[0] and tracked(held):
                await self.let_go(held)
        except ApiError as error:
            return error
        return await self._owned.delete(job, pod, expected)

    async def _write(self, job: Job, before: JobStatus, new: Raw) -> None:
        """Write the status on top of the version it was decided on, then say what it means.

        Raises:
            Conflict: the Job has changed; the next pass decides anew.
        """
        if not await write_status(self._client, JOBS, job.metadata, old=job.status, new=new, guarded=True):
            return
        for condition in new.get("conditions") or ():
            if before.condition(condition["type"]) is None and condition["status"] == "True":
                self._announce(job, condition)
            elif before.condition(condition["type"]) is not None and condition["status"] != "True":
                self._owned.record(job, EventType.NORMAL, "Resumed", "Job resumed")

    def _announce(self, job: Job, condition: Raw) -> None:
        match condition["type"]:
            case t if t == COMPLETE:
                self._owned.record(job, EventType.NORMAL, "Completed", "Job completed")
            case t if t == FAILED:
                self._owned.record(job, EventType.WARNING, condition["reason"], condition["message"])
            case t if t == SUSPENDED:
                self._owned.record(job, EventType.NORMAL, "Suspended", "Job suspended")

    async def _after_end(self, job: Job, status: JobStatus, now: datetime) -> Result:
        """Let go of pods that are still held, and delete the Job when its time is over."""
        self._expected.pop(job.metadata.uid, None)
        self._backoffs.pop(job.metadata.uid, None)
        for pod in self._pods.cache.by_index(OWNER_INDEX, job.metadata.uid):
            if tracked(pod):
                await self.let_go(pod)
        ended = end_of(status)
        if job.spec.ttl_seconds is None or job.metadata.deleting or ended is None or not ended.last_transition_time:
            return DONE
        age = (now - datetime.fromisoformat(ended.last_transition_time)).total_seconds()
        if age < job.spec.ttl_seconds:
            return Result(requeue_after=job.spec.ttl_seconds - age)
        try:
            await self._client.delete(
                JOBS,
                job.metadata.name,
                namespace=job.metadata.namespace,
                uid=job.metadata.uid,
                resource_version=job.metadata.resource_version,
                propagation=Propagation.FOREGROUND,
            )
        except NotFound:
            return DONE
        return DONE

    async def _let_go_of(self, pods: Sequence[Pod]) -> None:
        """Take the finalizer off many pods, some at a time.

        Raises:
            ApiError: the first that failed; the others of its batch were let go.
        """

        async def attempt(pod: Pod) -> ApiError | None:
            try:
                await self.let_go(pod)
            except ApiError as error:
                return error
            return None

        failure = await in_batches(pods, attempt)
        if failure is not None:
            raise failure

    async def let_go(self, pod: Pod) -> None:
        """Take the finalizer off a pod.

        Raises:
            Conflict: the pod has changed meanwhile.
        """
        meta = pod.metadata
        left = [name for name in meta.finalizers if name != TRACKING]
        guard = {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": left or None}
        try:
            await self._client.patch(PODS, meta.name, {"metadata": guard}, namespace=meta.namespace)
        except (NotFound, Invalid):  # gone, or another pod by the same name
            return

    async def let_go_if_left(self, key: Key) -> Result:
        """A pod that no Job keeps (any more) is not held for one."""
        pod = self._pods.cache.get(key)
        if pod is not None and tracked(pod) and not self.keeps(pod):
            await self.let_go(pod)
        return DONE


class _LetGo:
    """The reconciler of pods that a Job left behind."""

    def __init__(self, jobs: JobController) -> None:
        self._jobs = jobs

    async def reconcile(self, key: Key) -> Result:
        return await self._jobs.let_go_if_left(key)


def _waiting_indexes(found: Survey, now: datetime) -> dict[int, float]:
    """Indexes that may not be tried again yet, and for how long."""
    waits = {index: seconds_left_for(pod, failures_before(pod), now=now) for index, pod in found.to_replace.items()}
    return {index: left for index, left in waits.items() if left > 0}


def _due(waits: Sequence[float]) -> Result:
    due = [wait for wait in waits if wait > 0]
    return Result(requeue_after=min(due)) if due else DONE
