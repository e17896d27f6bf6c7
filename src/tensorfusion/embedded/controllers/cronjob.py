"""CronJob: make a Job each time its schedule is due.

The name of a Job is the minute that it is for, so neither a lost reply nor a second process makes two for the same
minute. A pass makes at most the newest Job that is due: what was missed while nobody looked is made up for once.

Source: batch/v1 CronJob as kube-controller-manager keeps it, with its events.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.job_objects import COMPLETE, Job, end_of
from tensorfusion.embedded.controllers.objects import OWNER_INDEX, REFUSED_PAUSE, owner_reference, owner_uids
from tensorfusion.embedded.controllers.statuses import write_status
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, InvalidRequest, NotFound
from tensorfusion.kube.api import Api, Propagation
from tensorfusion.model.meta import Key, Object, Raw
from tensorfusion.model.resources import CRON_JOBS, JOBS
from tensorfusion.policy.cron import Schedule, UnknownZone, parse_schedule
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_WORKERS = 2
_SLACK = 0.1
"""Seconds after its time that a Job is made: a clock that is a little ahead must not make it too early."""
_LONGEST_NAP = 24 * 3600.0
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0


class JobTemplate(msgspec.Struct, frozen=True):
    metadata: Raw = msgspec.field(default_factory=dict)
    spec: Raw = msgspec.field(default_factory=dict)


class CronJobSpec(msgspec.Struct, frozen=True):
    schedule: str = ""
    time_zone: str | None = msgspec.field(default=None, name="timeZone")
    deadline: int | None = msgspec.field(default=None, name="startingDeadlineSeconds")
    concurrency: str = msgspec.field(default="Allow", name="concurrencyPolicy")
    suspend: bool = False
    template: JobTemplate = msgspec.field(default_factory=JobTemplate, name="jobTemplate")
    successes_kept: int = msgspec.field(default=3, name="successfulJobsHistoryLimit")
    failures_kept: int = msgspec.field(default=1, name="failedJobsHistoryLimit")


class CronJob(Object, frozen=True):
    spec: CronJobSpec = msgspec.field(default_factory=CronJobSpec)
    status: Raw = msgspec.field(default_factory=dict)


class CronJobController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="cronjob-controller", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )

    def install(self, manager: Manager) -> None:
        """Register informers' handlers, the controller and its events."""
        self._cron_jobs = manager.informer(CRON_JOBS, CronJob, client=self._client)
        self._jobs = manager.informer(JOBS, Job, client=self._client)
        self._jobs.add_index(OWNER_INDEX, lambda job: owner_uids(job.metadata))
        controller = Controller("cronjob", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("cronjob-events", self._recorder.run)
        self._cron_jobs.subscribe(lambda change: self._queue.add(change.key))
        self._jobs.subscribe(self._on_job)

    def _on_job(self, change: Change[Job]) -> None:
        for job in (change.old, change.new):
            owner = job.metadata.controller if job is not None else None
            if owner is not None and owner.kind == CRON_JOBS.kind:
                self._queue.add(Key(change.key.namespace, owner.name))

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        cron_job = self._cron_jobs.cache.get(key)
        if cron_job is None:
            return DONE
        try:
            return await self._reconcile(cron_job)
        except InvalidRequest as error:  # a schedule or zone that cannot be read: until somebody changes it
            reason = "UnknownTimeZone" if isinstance(error, UnknownZone) else "UnparseableSchedule"
            self._warn(cron_job, reason, str(error))
            return DONE

    async def _reconcile(self, cron_job: CronJob) -> Result:
        now = self._clock.now()
        children = self._jobs.cache.by_index(OWNER_INDEX, cron_job.metadata.uid)
        await self._forget_history(cron_job, children)
        status = await self._observe(cron_job, children)
        if cron_job.metadata.deleting or cron_job.spec.suspend:
            await self._write(cron_job, status)
            return DONE
        try:
            schedule = parse_schedule(cron_job.spec.schedule, zone=cron_job.spec.time_zone)
        except InvalidRequest:
            await self._write(cron_job, status)
            raise
        due = self._due(cron_job, schedule, now)
        if due is not None:
            await self._start(cron_job, status, schedule, due)
        await self._write(cron_job, status)
        following = schedule.next_after(now)
        if following is None:
            return DONE
        return Result(requeue_after=min(_LONGEST_NAP, (following - now).total_seconds() + _SLACK))

    async def _observe(self, cron_job: CronJob, children: Sequence[Job]) -> Raw:
        """The status after looking at the Jobs: who still runs, and when one last succeeded."""
        status = dict(cron_job.status)
        by_uid = {job.metadata.uid: job for job in children}
        active = []
        for reference in status.get("active") or ():
            job = by_uid.get(reference.get("uid", ""))
            if job is None and await self._exists(cron_job, reference):
                active.append(reference)  # the cache does not show it yet
            elif job is None:
                self._note(cron_job, "MissingJob", f"Active job went missing: {reference.get('name')}")
            elif (end := end_of(job.known_status())) is not None:
                name = job.metadata.name
                self._note(cron_job, "SawCompletedJob", f"Saw completed job: {name}, condition: {end.type}")
            else:
                active.append(reference)
        known = {reference.get("uid") for reference in active}
        for job in children:
            found = job.known_status()
            end = end_of(found)
            if end is None and job.metadata.uid not in known:
                await self._check_fresh(cron_job)
                message = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
                self._warn(cron_job, "UnexpectedJob", message)
            if end is not None and end.type == COMPLETE and found.completion_time:
                status["lastSuccessfulTime"] = max(status.get("lastSuccessfulTime") or "", found.completion_time)
        status["active"] = active
        return status

    async def _check_fresh(self, cron_job: CronJob) -> None:
        """A Job that the cached status does not know may be our own of a moment ago.

        Raises:
            Conflict: the cache lags.
        """
        key = cron_job.key
        found = await self._client.get(CRON_JOBS, CronJob, key.name, namespace=key.namespace)
        if found.metadata.resource_version != cron_job.metadata.resource_version:
            raise Conflict(f"cron job {key} has changed meanwhile")

    async def _exists(self, cron_job: CronJob, reference: Raw) -> bool:
        try:
            name, namespace = str(reference.get("name")), cron_job.metadata.namespace
            found = await self._client.get(JOBS, Job, name, namespace=namespace)
        except NotFound:
            return False
        return found.metadata.uid == reference.get("uid")

    def _due(self, cron_job: CronJob, schedule: Schedule, now: datetime) -> datetime | None:
        """The newest time that is due and has had no Job."""
        text = cron_job.status.get("lastScheduleTime") or cron_job.metadata.creation_timestamp
        since = datetime.fromisoformat(text) if text else now
        deadline = cron_job.spec.deadline
        if deadline is not None:
            since = max(since, now - timedelta(seconds=deadline))
        return schedule.last_until(now, since=since)

    async def _start(self, cron_job: CronJob, status: Raw, schedule: Schedule, due: datetime) -> None:
        """Make the Job of one moment, and enter it into the status."""
        name = f"{cron_job.metadata.name}-{int(due.timestamp()) // 60}"
        active = status["active"]
        if any(reference.get("name") == name for reference in active):
            return
        if cron_job.spec.concurrency == "Forbid" and active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._note(cron_job, "JobAlreadyActive", message)
            return
        if cron_job.spec.concurrency == "Replace":
            for reference in list(active):
                await self._delete(cron_job, str(reference["name"]), str(reference["uid"]))
                active.remove(reference)
        made = await self._create(cron_job, _job_of(cron_job, name, due.astimezone(schedule.zone or UTC)))
        if made is None:
            return
        active.append(
            {
                "apiVersion": JOBS.api_version,
                "kind": JOBS.kind,
                "name": name,
                "namespace": cron_job.metadata.namespace,
                "uid": made.metadata.uid,
                "resourceVersion": made.metadata.resource_version,
            }
        )
        status["lastScheduleTime"] = timestamp(due)

    async def _create(self, cron_job: CronJob, body: Raw) -> Job | None:
        """The Job of one moment, made now or before; None where somebody else has the name."""
        namespace, name = cron_job.metadata.namespace, body["metadata"]["name"]
        try:
            made = await self._client.create(JOBS, body, namespace=namespace, type_=Job)
        except AlreadyExists:
            found = await self._client.get(JOBS, Job, name, namespace=namespace)
            owner = found.metadata.controller
            return found if owner is not None and owner.uid == cron_job.metadata.uid else None
        except ApiError as error:
            if not error.retryable:
                self._warn(cron_job, "FailedCreate", f"Error creating job: {error}")
            raise
        self._note(cron_job, "SuccessfulCreate", f"Created job {name}")
        return made

    async def _forget_history(self, cron_job: CronJob, children: Sequence[Job]) -> None:
        """Delete the oldest finished Jobs beyond the limits."""
        ended = [(job, end) for job in children if (end := end_of(job.known_status())) is not None]
        ended.sort(key=lambda pair: (pair[0].known_status().start_time or "", pair[0].metadata.name))
        good = [job for job, end in ended if end.type == COMPLETE]
        bad = [job for job, end in ended if end.type != COMPLETE]
        for jobs, kept in ((good, cron_job.spec.successes_kept), (bad, cron_job.spec.failures_kept)):
            for job in jobs[: max(0, len(jobs) - kept)]:
                if not job.metadata.deleting:
                    await self._delete(cron_job, job.metadata.name, job.metadata.uid)

    async def _delete(self, cron_job: CronJob, name: str, uid: str) -> None:
        namespace = cron_job.metadata.namespace
        try:
            await self._client.delete(JOBS, name, namespace=namespace, uid=uid, propagation=Propagation.BACKGROUND)
        except (NotFound, Conflict):
            return
        self._note(cron_job, "SuccessfulDelete", f"Deleted job {name}")

    async def _write(self, cron_job: CronJob, status: Raw) -> None:
        new = {name: value for name, value in status.items() if value not in (None, [])}
        await write_status(self._client, CRON_JOBS, cron_job.metadata, old=cron_job.status, new=new, guarded=True)

    def _note(self, cron_job: CronJob, reason: str, message: str) -> None:
        self._recorder.record(reference_to(CRON_JOBS, cron_job), type_=EventType.NORMAL, reason=reason, message=message)

    def _warn(self, cron_job: CronJob, reason: str, message: str) -> None:
        self._recorder.record(
            reference_to(CRON_JOBS, cron_job), type_=EventType.WARNING, reason=reason, message=message
        )


def _job_of(cron_job: CronJob, name: str, due: datetime) -> Raw:
    template = cron_job.spec.template
    written = due.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": name,
            "labels": template.metadata.get("labels") or {},
            "annotations": {**(template.metadata.get("annotations") or {}), _SCHEDULED: written},
            "ownerReferences": [owner_reference(CRON_JOBS, cron_job.metadata)],
        },
        "spec": template.spec,
    }
