"""Jobs: each pod's end is counted once, whatever the cache and the server do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import NAMESPACE, World

from example_counts import part_of
from tensorfusion.embedded.controllers.job_indexes import format_indexes, parse_indexes
from tensorfusion.errors import Forbidden
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import EVENTS, JOBS, PODS


@pytest.fixture
def world() -> World:
    return World()


def conditions(world: World) -> list[str]:
    return [each["type"] for each in world.job_status().get("conditions", ()) if each["status"] == "True"]


def running(world: World) -> list[Raw]:
    return [pod for pod in world.pods() if pod["status"]["phase"] == "Running"]


async def test_a_failed_pod_is_replaced_after_a_pause_that_grows(world: World) -> None:
    world.job(backoffLimit=6)
    async with world.running():
        for pause in (10, 20, 40):
            await world.advance(3)
            (pod,) = world.pods()
            world.end(pod, "Failed", exit_code=1)
            await world.advance(pause - 2)
            assert world.pods() == []
            await world.advance(4)
            assert len(world.pods()) == 1
    assert world.job_status()["failed"] == 3


async def test_a_success_ends_the_growth_of_the_pause(world: World) -> None:
    world.job(completions=3)
    async with world.running():
        await world.advance(3)
        world.end(world.pods()[0], "Failed", exit_code=1)
        await world.advance(13)
        world.end(world.pods()[0])
        await world.advance(3)
        world.end(world.pods()[0], "Failed", exit_code=1)
        await world.advance(13)
        assert len(world.pods()) == 1


async def test_a_pod_is_held_until_its_end_is_in_the_status(world: World) -> None:
    world.job()
    world.api.fail("patch", JOBS, error=Forbidden("not now"), times=-1)
    async with world.running():
        await world.advance(3)
        (pod,) = world.pods()
        world.end(pod)
        await world.advance(3)
        assert world.api.object(PODS, pod["metadata"]["name"], namespace=NAMESPACE)["metadata"]["finalizers"]
        world.api.recover()
        await world.advance(40)
        assert not world.api.object(PODS, pod["metadata"]["name"], namespace=NAMESPACE)["metadata"].get("finalizers")
    assert conditions(world) == ["SuccessCriteriaMet", "Complete"]
    assert world.job_status()["succeeded"] == 1


async def test_fewer_parallel_pods_give_up_the_extra_ones_without_counting_them(world: World) -> None:
    world.job(parallelism=4, completions=8)
    async with world.running():
        await world.advance(3)
        world.api.change(JOBS, "work", {"spec": {"parallelism": 1}}, namespace=NAMESPACE)
        await world.advance(5)
        assert len(world.pods()) == 1
    assert "failed" not in world.job_status()


async def test_a_job_without_completions_ends_when_one_succeeds_and_the_others_have_ended(world: World) -> None:
    world.job(parallelism=3, completions=None)
    async with world.running():
        await world.advance(3)
        first, *others = running(world)
        world.end(first)
        await world.advance(3)
        assert len(running(world)) == 2
        assert conditions(world) == []
        for pod in others:
            world.end(pod)
        await world.advance(3)
    assert conditions(world) == ["SuccessCriteriaMet", "Complete"]


async def test_an_index_whose_pod_failed_is_tried_again_and_no_other(world: World) -> None:
    world.job(parallelism=3, completions=3, completionMode="Indexed")
    async with world.running():
        await world.advance(3)
        failed, *others = sorted(running(world), key=lambda pod: str(pod["spec"]["hostname"]))
        world.end(failed, "Failed", exit_code=1)
        for pod in others:
            world.end(pod)
        await world.advance(15)
        (again,) = running(world)
        assert again["spec"]["hostname"] == "work-0"
        assert world.job_status()["completedIndexes"] == "1,2"
        world.end(again)
        await world.advance(3)
    assert world.job_status()["completedIndexes"] == "0-2"


async def test_each_index_has_tries_of_its_own_where_failures_are_limited_per_index(world: World) -> None:
    world.job(parallelism=2, completions=2, completionMode="Indexed", backoffLimit=1000, backoffLimitPerIndex=1)
    async with world.running():
        await world.advance(3)
        bad, good = sorted(running(world), key=lambda pod: str(pod["spec"]["hostname"]))
        world.end(bad, "Failed", exit_code=1)
        await world.advance(5)
        assert running(world) == [good]
        assert world.job_status()["failedIndexes"] == ""
        await world.advance(8)
        again = next(pod for pod in running(world) if pod["spec"]["hostname"] == "work-0")
        assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
        assert world.job_status()["failed"] == 1
        world.end(again, "Failed", exit_code=1)
        await world.advance(30)
        assert running(world) == [good]
        assert world.job_status()["failedIndexes"] == "0"
        world.end(good)
        await world.advance(3)
    assert conditions(world) == ["FailureTarget", "Failed"]
    assert (world.job_status()["succeeded"], world.job_status()["failed"]) == (1, 2)


async def test_a_job_ends_beyond_the_failed_indexes_that_it_allows(world: World) -> None:
    world.job(parallelism=4, completions=4, completionMode="Indexed", backoffLimitPerIndex=0, maxFailedIndexes=1)
    async with world.running():
        await world.advance(3)
        for pod in running(world)[:2]:
            world.end(pod, "Failed", exit_code=1)
        await world.advance(5)
    assert conditions(world) == ["FailureTarget", "Failed"]
    assert world.job_status()["conditions"][0]["reason"] == "MaxFailedIndexesExceeded"


async def test_ignored_failures_do_not_count(world: World) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    world.job(backoffLimit=0, podFailurePolicy={"rules": [rule]}, podReplacementPolicy="Failed")
    async with world.running():
        await world.advance(3)
        (pod,) = running(world)
        disrupted = [{"type": "DisruptionTarget", "status": "True"}]
        world.status(pod["metadata"]["name"], phase="Failed", conditions=disrupted)
        await world.advance(15)
        assert len(running(world)) == 1
    assert "failed" not in world.job_status()


async def test_restarts_of_containers_count_where_they_restart_in_place(world: World) -> None:
    world.job(
        backoffLimit=2,
        template={
            "metadata": {"labels": {"job-name": "work"}},
            "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c"}]},
        },
    )
    async with world.running():
        await world.advance(3)
        (pod,) = running(world)
        world.status(pod["metadata"]["name"], phase="Running", containerStatuses=[{"name": "c", "restartCount": 2}])
        await world.advance(5)
    assert conditions(world) == ["FailureTarget", "Failed"]


async def test_a_server_that_refuses_pods_is_asked_again_and_the_reason_is_an_event(world: World) -> None:
    world.api.fail("create", PODS, error=Forbidden("no quota left"), times=2)
    world.job()
    async with world.running():
        await world.advance(60)
        assert len(world.pods()) == 1
    reasons = {event["reason"]: event["message"] for event in world.api.objects(EVENTS)}
    assert "no quota left" in reasons["FailedCreate"]


async def test_a_job_of_another_manager_is_left_alone(world: World) -> None:
    world.job(managedBy="example.com/other")
    async with world.running():
        await world.advance(3)
    assert world.api.objects(PODS) == []


@settings(max_examples=part_of(20), deadline=None)
@given(st.data())
async def test_ends_are_counted_once_with_lost_replies_and_lagging_caches(data: st.DataObject) -> None:
    world = World(start_seconds=0.25, stop_seconds=0.25)
    world.job(parallelism=3, completions=6, backoffLimit=100)
    succeeded: set[str] = set()
    failed: set[str] = set()
    async with world.running():
        for _ in range(12):
            fault = data.draw(st.sampled_from(["none", "lost", "broken", "lag jobs", "lag pods", "catch up"]))
            if fault in ("lost", "broken"):
                verb = data.draw(st.sampled_from(["create", "patch", "delete"]))
                world.api.fail(verb, data.draw(st.sampled_from([PODS, JOBS])), reply_lost=fault == "lost")
            elif fault.startswith("lag"):
                world.api.lag(JOBS if fault == "lag jobs" else PODS)
            elif fault == "catch up":
                world.api.catch_up()
            live = running(world)
            if live and len(succeeded) < 5:
                pod = data.draw(st.sampled_from(sorted(live, key=lambda each: str(each["metadata"]["name"]))))
                good = data.draw(st.booleans())
                world.end(pod, "Succeeded" if good else "Failed", exit_code=0 if good else 1)
                (succeeded if good else failed).add(pod["metadata"]["uid"])
            await world.advance(data.draw(st.sampled_from([0.25, 1.0, 30.0])))
        world.api.recover()
        world.api.catch_up()
        await world.advance(700, step=5)
        status = world.job_status()
        assert (status.get("succeeded", 0), status.get("failed", 0)) == (len(succeeded), len(failed))
        assert len(world.pods()) == min(3, 6 - len(succeeded))


@given(st.sets(st.integers(0, 60)))
def test_sets_of_indexes_are_read_as_they_are_written(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_indexes_are_written_as_kubernetes_writes_them() -> None:
    assert format_indexes([7, 1, 3, 4, 5, 9, 10]) == "1,3-5,7,9,10"
