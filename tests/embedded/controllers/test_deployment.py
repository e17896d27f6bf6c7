"""Deployments: rollouts within their bounds, rollbacks, pauses, and a status that kubectl understands."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import NAMESPACE, World, template

from example_counts import part_of
from tensorfusion.errors import Conflict, Forbidden, ServerError
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS

REVISION = "deployment.kubernetes.io/revision"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
RECREATE = {"type": "Recreate"}


@pytest.fixture
def world() -> World:
    return World()


async def until(world: World, check: Callable[[], bool], *, seconds: float = 120) -> None:
    for _ in range(round(seconds / 0.25)):
        if check():
            return
        await world.advance(0.25)
    raise AssertionError(f"not within {seconds} s: {world.current['status']}, {world.images()}")


def rolled_out(world: World) -> bool:
    """What ``kubectl rollout status`` waits for."""
    wanted, status = world.current["spec"]["replicas"], world.current["status"]
    return bool(
        status.get("observedGeneration", 0) >= world.current["metadata"]["generation"]
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("replicas", 0) <= status.get("updatedReplicas", 0)
        and status.get("availableReplicas", 0) >= status.get("updatedReplicas", 0)
    )


async def test_a_deployment_makes_a_replica_set_that_makes_its_pods(world: World) -> None:
    world.deployment(3)
    async with world.running():
        await until(world, lambda: rolled_out(world))
    (found,) = world.sets
    digest = found["metadata"]["labels"]["pod-template-hash"]
    assert found["metadata"]["name"] == f"web-{digest}"
    assert found["spec"]["selector"] == {"matchLabels": {"app": "web", "pod-template-hash": digest}}
    assert found["spec"]["template"]["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
    assert found["metadata"]["ownerReferences"][0]["kind"] == "Deployment"
    assert found["metadata"]["annotations"].items() >= {REVISION: "1", "kubernetes.io/change-cause": "first"}.items()
    assert world.current["metadata"]["annotations"][REVISION] == "1"
    assert len(world.pods(**{"pod-template-hash": digest})) == 3


async def test_the_status_of_a_finished_rollout(world: World) -> None:
    world.deployment(2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        await world.advance(1)
    status = dict(world.current["status"])
    assert status.pop("conditions")
    assert status == {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
    }
    assert (world.condition("Available")["status"], world.condition("Available")["reason"]) == (
        "True",
        "MinimumReplicasAvailable",
    )
    assert world.condition("Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_a_finished_deployment_writes_nothing_more(world: World) -> None:
    world.deployment(3)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        await world.advance(60, step=1)
        before = len(world.api.calls)
        await world.advance(1000, step=5)
        assert [call for call in world.api.calls[before:] if call.verb not in ("get", "watch")] == []


@pytest.mark.parametrize("strategy", [ROLLING, None])
async def test_a_rolling_update_keeps_within_its_bounds(world: World, strategy: Raw | None) -> None:
    world.deployment(8, strategy=strategy)
    surge, unavailable = (1, 1) if strategy else (2, 2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        world.change(template=template("v2"))
        seen: list[tuple[int, int]] = []

        def done() -> bool:
            seen.append((len(world.pods()), len(world.ready_pods())))
            return rolled_out(world)

        await until(world, done)
    assert world.images() == {"v2": 8}
    assert max(total for total, _ in seen) == 8 + surge
    assert min(ready for _, ready in seen) >= 8 - unavailable
    assert [found["spec"]["replicas"] for found in world.sets] == [0, 8]
    assert [found["metadata"]["annotations"][REVISION] for found in world.sets] == ["1", "2"]


async def test_recreate_starts_new_pods_only_when_no_old_one_is_left(world: World) -> None:
    world.stop_seconds = 5
    world.deployment(3, strategy=RECREATE)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        world.change(template=template("v2"))
        images: list[set[str]] = []

        def done() -> bool:
            images.append({pod["spec"]["containers"][0]["image"] for pod in world.api.objects(PODS)})
            return rolled_out(world)

        await until(world, done)
    assert {"v1", "v2"} not in images
    assert images[-1] == {"v2"}


async def test_a_rollback_uses_the_old_replica_set_again_under_the_next_revision(world: World) -> None:
    world.deployment(2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        world.change(template=template("v2"))
        await until(world, lambda: rolled_out(world) and world.images() == {"v2": 2})
        world.change(template=template("v1"))
        await until(world, lambda: rolled_out(world) and world.images() == {"v1": 2})
        await world.advance(1)
    assert len(world.sets) == 2
    assert [found["metadata"]["annotations"][REVISION] for found in world.sets] == ["2", "3"]
    assert world.current["metadata"]["annotations"][REVISION] == "3"


async def test_history_beyond_the_limit_is_forgotten(world: World) -> None:
    world.deployment(1, revisionHistoryLimit=2)
    async with world.running():
        for number in range(2, 7):
            await until(world, lambda: rolled_out(world))
            world.change(template=template(f"v{number}"))
            await world.advance(1)
        await until(world, lambda: rolled_out(world))
        await world.advance(5)
    assert [found["metadata"]["annotations"][REVISION] for found in world.sets] == ["4", "5", "6"]


async def test_scaling_changes_only_the_number(world: World) -> None:
    world.deployment(2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        await world.api.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, namespace=NAMESPACE, subresource="scale")
        await until(world, lambda: rolled_out(world) and len(world.pods()) == 5)
        await world.api.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, namespace=NAMESPACE, subresource="scale")
        await until(world, lambda: rolled_out(world) and not world.pods())
        await world.advance(1)
    assert len(world.sets) == 1
    messages = [event["message"] for event in world.api.objects(EVENTS) if event["reason"] == "ScalingReplicaSet"]
    assert messages == [f"Scaled down replica set {world.sets[0]['metadata']['name']} from 5 to 0"]


async def test_a_paused_deployment_scales_but_does_not_roll(world: World) -> None:
    world.deployment(2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        world.change(paused=True, template=template("v2"), replicas=4)
        await world.advance(30)
        assert world.images() == {"v1": 4}
        assert (world.condition("Progressing")["status"], world.condition("Progressing")["reason"]) == (
            "Unknown",
            "DeploymentPaused",
        )
        world.change(paused=False)
        await until(world, lambda: rolled_out(world) and world.images() == {"v2": 4})


async def test_a_rollout_without_progress_is_late_after_its_deadline(world: World) -> None:
    world.deployment(2, progressDeadlineSeconds=30)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        world.frozen = True
        world.change(template=template("v2"))
        await world.advance(25)
        assert world.condition("Progressing")["status"] == "True"
        await world.advance(15)
        assert world.condition("Progressing")["reason"] == "ProgressDeadlineExceeded"
        assert world.condition("Progressing")["status"] == "False"
        assert len(world.ready_pods()) == 2
        world.frozen = False
        await until(world, lambda: rolled_out(world))
        assert world.condition("Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_pods_lost_after_a_rollout_do_not_reopen_it(world: World) -> None:
    world.deployment(2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        await world.advance(1)
        world.frozen = True
        for pod in world.pods():
            world.api.remove(PODS, pod["metadata"]["name"], namespace=NAMESPACE)
        await world.advance(5)
        assert world.condition("Available")["status"] == "False"
        assert world.condition("Progressing")["reason"] == "NewReplicaSetAvailable"
        await world.advance(1000, step=5)
        assert world.condition("Progressing")["reason"] == "NewReplicaSetAvailable"
        world.frozen = False
        await until(world, lambda: rolled_out(world))


async def test_refused_pods_show_in_the_deployments_conditions(world: World) -> None:
    world.api.fail("create", PODS, error=Forbidden("quota exceeded"), times=-1)
    world.deployment(2)
    async with world.running():
        await world.advance(5)
        failure = world.condition("ReplicaFailure")
        assert (failure["status"], failure["reason"], failure["message"]) == ("True", "FailedCreate", "quota exceeded")
        world.api.recover()
        await until(world, lambda: rolled_out(world))
        await world.advance(1)
        assert world.condition("ReplicaFailure") == {}


async def test_a_refused_replica_set_is_tried_again(world: World) -> None:
    world.api.fail("create", REPLICA_SETS, error=Forbidden("no"), times=2)
    world.deployment(1)
    async with world.running():
        await world.advance(5)
        assert [event["reason"] for event in world.api.objects(EVENTS)] == ["ReplicaSetCreateError"]
        await until(world, lambda: rolled_out(world))


async def test_a_lost_reply_of_a_new_replica_set_makes_no_second_one(world: World) -> None:
    world.api.fail("create", REPLICA_SETS, times=2, reply_lost=True)
    world.deployment(1)
    async with world.running():
        await until(world, lambda: rolled_out(world))
    assert len(world.sets) == 1


async def test_a_name_taken_by_somebody_else_leads_to_another_hash(world: World) -> None:
    world.deployment(1)
    async with world.running():
        await until(world, lambda: rolled_out(world))
    (name,) = [found["metadata"]["name"] for found in world.sets]
    other = World()
    stranger = {"metadata": {"name": name, "labels": {"app": "other"}}, "spec": {"replicas": 0, "template": {}}}
    other.api.seed(REPLICA_SETS, stranger, namespace=NAMESPACE)
    other.deployment(1)
    async with other.running():
        await until(other, lambda: rolled_out(other))
    assert other.current["status"]["collisionCount"] == 1
    assert len(other.pods()) == 1


async def test_orphaned_replica_sets_are_adopted_with_their_pods(world: World) -> None:
    world.deployment(2)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        before = {pod["metadata"]["name"] for pod in world.pods()}
        world.api.remove(DEPLOYMENTS, "web", namespace=NAMESPACE)  # as kubectl delete --cascade=orphan
        name = world.sets[0]["metadata"]["name"]
        bare = {"metadata": {"ownerReferences": None}}
        world.api.change(REPLICA_SETS, name, bare, namespace=NAMESPACE)
        await world.advance(2)
        world.deployment(2)
        await until(world, lambda: rolled_out(world))
    assert len(world.sets) == 1
    assert world.sets[0]["metadata"]["ownerReferences"][0]["uid"] == world.current["metadata"]["uid"]
    assert {pod["metadata"]["name"] for pod in world.pods()} == before


async def test_a_deployment_that_is_being_deleted_is_left_to_the_garbage_collector(world: World) -> None:
    world.deployment(1)
    finalizers = {"metadata": {"finalizers": ["foregroundDeletion"]}}
    world.api.change(DEPLOYMENTS, "web", finalizers, namespace=NAMESPACE)
    await world.api.delete(DEPLOYMENTS, "web", namespace=NAMESPACE)
    async with world.running():
        await world.advance(3)
    assert world.sets == []


async def test_a_change_of_min_ready_seconds_reaches_the_replica_set(world: World) -> None:
    world.deployment(1)
    async with world.running():
        await until(world, lambda: rolled_out(world))
        world.change(minReadySeconds=7)
        await world.advance(1)
        assert world.sets[0]["spec"]["minReadySeconds"] == 7


FAULTS = {
    "conflict": Conflict("changed"),
    "broken": ServerError("broke", reason="ConnectionBroken"),
    "refused": Forbidden("no"),
}

steps = st.lists(
    st.one_of(
        st.tuples(st.just("image"), st.integers(1, 3)),
        st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(1, 4)),
        st.tuples(st.sampled_from(["lost", "turn"]), st.integers(1, 8)),
        st.tuples(st.sampled_from(["lag", "lag pods", "lag sets", "catch up", "drop", "expire"]), st.just(0)),
        st.tuples(st.just("pass"), st.integers(1, 16)),
    ),
    max_size=25,
)


@settings(max_examples=part_of(60), deadline=None)
@given(steps=steps, surge=st.integers(0, 2), unavailable=st.integers(0, 2), replicas=st.integers(1, 5))
def test_a_rollout_under_failures_stays_within_its_bounds_and_arrives(
    steps: list[tuple[str, int]], surge: int, unavailable: int, replicas: int
) -> None:
    allowed = unavailable if surge or unavailable else 1

    async def scenario() -> None:
        world = World(start_seconds=0.5, stop_seconds=0.5)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        world.deployment(replicas, strategy=strategy)
        image = 1

        def check() -> None:
            assert len(world.pods()) <= replicas + surge
            assert len(world.ready_pods()) >= replicas - allowed

        async with world.running():
            await until(world, lambda: rolled_out(world))
            for action, amount in steps:
                match action:
                    case "image":
                        image = amount
                        world.change(template=template(f"v{amount}"))
                    case "conflict" | "broken" | "refused":
                        world.api.fail(error=FAULTS[action], times=amount)
                    case "lost":
                        world.api.fail("create", times=amount, reply_lost=True)
                        world.api.fail("patch", times=amount, reply_lost=True)
                    case "lag":
                        world.api.lag()
                    case "lag pods":
                        world.api.lag(PODS)
                    case "lag sets":
                        world.api.lag(REPLICA_SETS)
                    case "catch up":
                        world.api.catch_up()
                    case "drop":
                        world.api.drop_watches()
                    case "expire":
                        world.api.expire()
                    case "turn":
                        for _ in range(amount):
                            await asyncio.sleep(0)
                            check()
                    case "pass":
                        for _ in range(amount):
                            await world.advance(0.25)
                            check()
                check()
            world.api.recover()
            world.api.catch_up()
            await world.advance(240, step=1)
            assert world.images() == {f"v{image}": replicas}
            assert rolled_out(world)

    asyncio.run(scenario())
