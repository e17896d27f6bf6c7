"""CronJobs: one Job for each time that is due, never two for the same minute."""

from typing import Any

import pytest
from workloads import NAMESPACE, World

from tensorfusion.clock import timestamp
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CRON_JOBS, EVENTS, JOBS


@pytest.fixture
def world() -> World:
    return World()


def cron_job(world: World, schedule: str = "* * * * *", **spec: Any) -> None:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}
    job = {"metadata": {"labels": {"a": "b"}}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod}}
    job["spec"]["completions"] = 1
    body = {"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "jobTemplate": job, **spec}}
    world.api.seed(CRON_JOBS, body, namespace=NAMESPACE)


def jobs(world: World) -> list[Raw]:
    return world.api.objects(JOBS)


def status(world: World) -> Raw:
    found: Raw = world.api.object(CRON_JOBS, "tick", namespace=NAMESPACE)["status"]
    return found


def finish(world: World, job: Raw, type_: str = "Complete") -> None:
    now = timestamp(world.clock.now())
    condition = {"type": type_, "status": "True", "lastTransitionTime": now}
    patch = {"status": {"conditions": [condition], "completionTime": now, "startTime": now}}
    world.api.change(JOBS, job["metadata"]["name"], patch, namespace=NAMESPACE, subresource="status")


def reasons(world: World) -> set[str]:
    return {event["reason"] for event in world.api.objects(EVENTS) if event["involvedObject"]["kind"] == "CronJob"}


async def test_each_minute_that_is_due_has_a_job_named_by_it(world: World) -> None:
    cron_job(world)
    async with world.running():
        await world.advance(125, step=1)
    names = [job["metadata"]["name"] for job in jobs(world)]
    minute = int(world.clock.now().timestamp()) // 60
    assert names == [f"tick-{minute - 1}", f"tick-{minute}"]
    metadata = jobs(world)[0]["metadata"]
    assert metadata["labels"] == {"a": "b"}
    assert metadata["ownerReferences"][0]["kind"] == "CronJob"
    assert "batch.kubernetes.io/cronjob-scheduled-timestamp" in metadata["annotations"]
    assert [reference["name"] for reference in status(world)["active"]] == names
    assert status(world)["lastScheduleTime"].endswith(":00Z")
    assert reasons(world) == {"SuccessfulCreate"}


async def test_a_lost_reply_makes_no_second_job(world: World) -> None:
    cron_job(world)
    world.api.fail("create", JOBS, reply_lost=True)
    world.api.fail("patch", CRON_JOBS, reply_lost=True)
    async with world.running():
        await world.advance(65, step=1)
    assert len(jobs(world)) == 1
    assert len(status(world)["active"]) == 1


async def test_forbid_waits_for_the_running_job_and_replace_ends_it(world: World) -> None:
    cron_job(world, concurrencyPolicy="Forbid")
    async with world.running():
        await world.advance(185, step=1)
        assert len(jobs(world)) == 1
        assert "JobAlreadyActive" in reasons(world)
        first = jobs(world)[0]["metadata"]["name"]
        world.api.change(CRON_JOBS, "tick", {"spec": {"concurrencyPolicy": "Replace"}}, namespace=NAMESPACE)
        await world.advance(65, step=1)
        assert first not in [job["metadata"]["name"] for job in jobs(world)]
        assert len(jobs(world)) == 1
        assert len(status(world)["active"]) == 1


async def test_what_was_missed_is_made_up_for_once_and_not_beyond_the_deadline(world: World) -> None:
    cron_job(world, "0 * * * *", suspend=True)
    async with world.running():
        await world.advance(5 * 3600 + 1800, step=600)
        assert jobs(world) == []
        world.api.change(CRON_JOBS, "tick", {"spec": {"startingDeadlineSeconds": 60}}, namespace=NAMESPACE)
        world.api.change(CRON_JOBS, "tick", {"spec": {"suspend": False}}, namespace=NAMESPACE)
        await world.advance(10, step=1)
        assert jobs(world) == []
        world.api.change(CRON_JOBS, "tick", {"spec": {"startingDeadlineSeconds": None}}, namespace=NAMESPACE)
        await world.advance(10, step=1)
        assert len(jobs(world)) == 1


async def test_finished_jobs_are_kept_up_to_the_limits(world: World) -> None:
    cron_job(world, successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1)
    async with world.running():
        for number in range(6):
            await world.advance(60, step=1)
            for job in jobs(world):
                if not job["status"].get("conditions"):
                    finish(world, job, "Complete" if number % 2 else "Failed")
        world.api.change(CRON_JOBS, "tick", {"spec": {"suspend": True}}, namespace=NAMESPACE)
        await world.advance(5, step=1)
        ended = [job["status"]["conditions"][0]["type"] for job in jobs(world) if job["status"].get("conditions")]
        assert sorted(ended) == ["Complete", "Failed"]
        assert status(world)["lastSuccessfulTime"]
    assert {"SawCompletedJob", "SuccessfulDelete"} <= reasons(world)


async def test_a_job_that_goes_missing_leaves_the_list(world: World) -> None:
    cron_job(world)
    async with world.running():
        await world.advance(62, step=1)
        world.api.change(CRON_JOBS, "tick", {"spec": {"suspend": True}}, namespace=NAMESPACE)
        world.api.remove(JOBS, jobs(world)[0]["metadata"]["name"], namespace=NAMESPACE)
        await world.advance(3, step=1)
        assert not status(world).get("active")
    assert "MissingJob" in reasons(world)


@pytest.mark.parametrize(
    ("spec", "reason"), [({"schedule": "@never"}, "UnparseableSchedule"), ({"timeZone": "No/Where"}, "UnknownTimeZone")]
)
async def test_a_schedule_that_cannot_be_read_is_an_event(world: World, spec: dict[str, str], reason: str) -> None:
    cron_job(world, **spec)
    async with world.running():
        await world.advance(65, step=1)
    assert jobs(world) == []
    assert reasons(world) == {reason}
