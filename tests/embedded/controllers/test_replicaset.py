"""ReplicaSets: the right number of pods, never more by mistake, whatever the cache and the server do."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import NAMESPACE, World

from example_counts import part_of
from tensorfusion.errors import Conflict, Forbidden, ServerError
from tensorfusion.kube.transport import UNSENT
from tensorfusion.model.resources import EVENTS, PODS, REPLICA_SETS


@pytest.fixture
def world() -> World:
    return World()


async def test_the_wanted_pods_are_created_from_the_template(world: World) -> None:
    world.replica_set(3)
    async with world.running():
        await world.advance(0.25)
    pods = world.pods()
    assert len(pods) == 3
    metadata = pods[0]["metadata"]
    assert metadata["name"].startswith("rs-")
    assert (metadata["generateName"], metadata["labels"]) == ("rs-", {"app": "web"})
    assert pods[0]["spec"]["containers"][0]["image"] == "v1"
    (owner,) = metadata["ownerReferences"]
    owner_uid = world.api.object(REPLICA_SETS, "rs", namespace=NAMESPACE)["metadata"]["uid"]
    assert owner == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "rs",
        "uid": owner_uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


async def test_the_status_counts_pods_ready_pods_and_available_ones(world: World) -> None:
    world.replica_set(2, minReadySeconds=10)
    async with world.running():
        await world.advance(0.5)
        assert world.set_status() == {"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1}
        await world.advance(2)
        assert world.set_status()["readyReplicas"] == 2
        assert "availableReplicas" not in world.set_status()
        await world.advance(11)
        assert world.set_status()["availableReplicas"] == 2
        world.resize(0)
        await world.advance(5)
        assert world.set_status() == {"replicas": 0, "observedGeneration": 2}


async def test_a_steady_replica_set_writes_nothing(world: World) -> None:
    world.replica_set(3)
    async with world.running():
        await world.advance(10)
        before = len(world.api.calls)
        await world.advance(300, step=1)
        assert [call for call in world.api.calls[before:] if call.verb not in ("get", "watch")] == []


async def test_a_pod_that_ends_is_replaced(world: World) -> None:
    world.replica_set(2)
    async with world.running():
        await world.advance(3)
        first, second = (pod["metadata"]["name"] for pod in world.pods())
        world.api.remove(PODS, first, namespace=NAMESPACE)
        world.status(second, phase="Failed")
        await world.advance(5)
    assert len(world.pods()) == 2
    assert not {first, second} & {pod["metadata"]["name"] for pod in world.pods()}


async def test_pods_that_fail_at_once_are_replaced_more_and_more_slowly(world: World) -> None:
    world.replica_set(1)
    world.frozen = True
    async with world.running():
        for _ in range(240):
            for pod in world.pods():
                world.status(pod["metadata"]["name"], phase="Failed")
            await world.clock.advance(1)
    assert 4 <= len(world.api.objects(PODS)) <= 9


async def test_the_least_useful_pods_go_first(world: World) -> None:
    world.frozen = True
    world.replica_set(6)
    async with world.running():
        await world.clock.advance(1)
        names = [pod["metadata"]["name"] for pod in world.pods()]
        unassigned, pending, unready, cheap, newer, older = names

        def settle(name: str, *, phase: str, ready: int | None) -> None:
            world.api.change(PODS, name, {"spec": {"nodeName": f"node-of-{name}"}}, namespace=NAMESPACE)
            since = f"2026-01-01T00:00:{ready:02}Z" if ready is not None else None
            conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}] if since else []
            world.status(name, phase=phase, conditions=conditions)

        settle(pending, phase="Pending", ready=None)
        settle(unready, phase="Running", ready=None)
        settle(cheap, phase="Running", ready=1)
        cost = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}}
        world.api.change(PODS, cheap, cost, namespace=NAMESPACE)
        settle(newer, phase="Running", ready=30)
        settle(older, phase="Running", ready=2)
        gone = []
        for left in (5, 4, 3, 2, 1):
            world.resize(left)
            await world.clock.advance(1)
            gone.append(
                next(name for name in names if name not in [p["metadata"]["name"] for p in world.pods()] + gone)
            )
    assert gone == [unassigned, pending, unready, cheap, newer]


async def test_orphans_are_adopted_and_strangers_released(world: World) -> None:
    world.api.seed(PODS, {"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": {}}, namespace=NAMESPACE)
    world.replica_set(2)
    async with world.running():
        await world.advance(3)
        assert len(world.pods()) == 2
        orphan = world.api.object(PODS, "orphan", namespace=NAMESPACE)
        assert orphan["metadata"]["ownerReferences"][0]["name"] == "rs"
        world.api.change(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}}, namespace=NAMESPACE)
        await world.advance(3)
        assert not world.api.object(PODS, "orphan", namespace=NAMESPACE)["metadata"].get("ownerReferences")
        assert len(world.pods(app="web")) == 2
        assert world.set_status()["replicas"] == 2


async def test_a_pod_of_somebody_else_is_left_alone(world: World) -> None:
    owner = {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "u", "controller": True}
    metadata = {"name": "taken", "labels": {"app": "web"}, "ownerReferences": [owner]}
    world.api.seed(PODS, {"metadata": metadata, "spec": {}}, namespace=NAMESPACE)
    world.replica_set(1)
    async with world.running():
        await world.advance(3)
        world.resize(0)
        await world.advance(3)
    assert [pod["metadata"]["name"] for pod in world.pods()] == ["taken"]


async def test_a_replica_set_that_is_being_deleted_neither_creates_nor_adopts(world: World) -> None:
    world.api.seed(PODS, {"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": {}}, namespace=NAMESPACE)
    world.replica_set(2)
    finalizers = {"metadata": {"finalizers": ["foregroundDeletion"]}}
    world.api.change(REPLICA_SETS, "rs", finalizers, namespace=NAMESPACE)
    await world.api.delete(REPLICA_SETS, "rs", namespace=NAMESPACE)
    async with world.running():
        await world.advance(3)
    assert [pod["metadata"]["name"] for pod in world.pods()] == ["orphan"]
    assert not world.api.object(PODS, "orphan", namespace=NAMESPACE)["metadata"].get("ownerReferences")


async def test_a_cache_that_lags_never_makes_too_many_nor_removes_too_many(world: World) -> None:
    world.replica_set(3)
    async with world.running():
        await world.advance(3)
        world.api.lag(PODS)
        world.resize(7)
        for _ in range(70):  # beyond the time after which confirmations are looked into
            await world.advance(1)
            world.poke()
            assert len(world.pods()) == 7
        world.resize(4)
        for _ in range(70):
            await world.advance(1)
            world.poke()
            assert len(world.pods()) == 4
        world.api.catch_up()
        await world.advance(3)
    assert len(world.pods()) == 4


async def test_a_creation_that_broke_off_is_asked_for_again_by_the_same_name(world: World) -> None:
    world.replica_set(1)
    async with world.running():
        await world.advance(3)
        world.api.fail("create", PODS)
        world.resize(2)
        await world.advance(3)
    names = [
        call.body["metadata"]["name"] for call in world.api.calls if (call.verb, call.resource) == ("create", "pods")
    ]
    assert len(world.pods()) == 2
    assert (len(names), names[1]) == (3, names[2])


async def test_a_deletion_that_broke_off_is_asked_for_again_for_the_same_pod(world: World) -> None:
    world.replica_set(3)
    async with world.running():
        await world.advance(3)
        world.api.fail("delete", PODS)
        world.resize(2)
        await world.advance(3)
    uids = [call.body["uid"] for call in world.api.calls if call.verb == "delete"]
    assert len(world.pods()) == 2
    assert (len(uids), uids[0]) == (2, uids[1])


async def test_a_pod_that_came_and_went_unseen_is_replaced(world: World) -> None:
    world.replica_set(2)
    async with world.running():
        await world.clock.settle()
        world.api.lag(PODS)
        world.resize(3)
        await world.clock.settle()
        (newest,) = [
            pod for pod in world.pods() if pod["metadata"]["uid"] == max(p["metadata"]["uid"] for p in world.pods())
        ]
        world.api.remove(PODS, newest["metadata"]["name"], namespace=NAMESPACE)
        world.api.catch_up()
        await world.advance(1)
        assert len(world.pods()) == 3


async def test_a_replica_set_that_is_being_deleted_unseen_adopts_nothing(world: World) -> None:
    world.replica_set(1)
    async with world.running():
        await world.advance(3)
        world.api.lag(REPLICA_SETS)
        finalizers = {"metadata": {"finalizers": ["foregroundDeletion"]}}
        world.api.change(REPLICA_SETS, "rs", finalizers, namespace=NAMESPACE)
        await world.api.delete(REPLICA_SETS, "rs", namespace=NAMESPACE)
        orphan = {"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": {}}
        world.api.seed(PODS, orphan, namespace=NAMESPACE)
        await world.advance(3)
    assert not world.api.object(PODS, "orphan", namespace=NAMESPACE)["metadata"].get("ownerReferences")


async def test_a_lost_reply_of_a_creation_makes_no_second_pod(world: World) -> None:
    world.api.fail("create", PODS, times=3, reply_lost=True)
    world.replica_set(4)
    async with world.running():
        world.api.lag()
        await world.advance(5)
        assert len(world.pods()) == 4
        world.api.catch_up()
        await world.advance(5)
    assert len(world.api.objects(PODS)) == 4


async def test_a_lost_reply_of_a_deletion_takes_no_second_pod(world: World) -> None:
    world.replica_set(4)
    async with world.running():
        await world.advance(5)
        world.api.fail("delete", PODS, times=2, reply_lost=True)
        world.api.lag()
        world.api.change(REPLICA_SETS, "rs", {"spec": {"replicas": 3}}, namespace=NAMESPACE)
        world.api.catch_up()
        await world.clock.settle()
        world.api.lag()
        await world.advance(5)
        assert len(world.pods()) == 3
        world.api.catch_up()
        await world.advance(5)
    assert len(world.pods()) == 3


async def test_a_server_that_cannot_be_reached_leaves_no_doubt(world: World) -> None:
    world.api.fail("create", PODS, error=ServerError("refused", reason=UNSENT), times=5)
    world.replica_set(2)
    async with world.running():
        await world.advance(10)
    assert len(world.api.objects(PODS)) == 2


async def test_a_refused_template_costs_few_requests_and_is_tried_again(world: World) -> None:
    world.api.fail("create", PODS, error=Forbidden("admission webhook: pool x does not exist"), times=-1)
    world.replica_set(100)
    async with world.running():
        await world.clock.advance(60)
        assert world.api.count("create", PODS) < 12
        (condition,) = world.set_status()["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "ReplicaFailure",
            "True",
            "FailedCreate",
        )
        assert "pool x does not exist" in condition["message"]
        events = {event["reason"]: event["message"] for event in world.api.objects(EVENTS)}
        assert "pool x does not exist" in events["FailedCreate"]
        world.api.recover()
        await world.advance(120, step=1)
        assert len(world.pods()) == 100
        assert "conditions" not in world.set_status()


async def test_creations_start_slowly_and_go_wide(world: World) -> None:
    world.replica_set(100)
    active = most = 0
    create = world.api.create

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal active, most
        active += 1
        most = max(most, active)
        try:
            return await create(*arguments, **options)
        finally:
            active -= 1

    world.api.create = counted  # type: ignore[method-assign]
    async with world.running():
        await world.advance(1)
    assert len(world.pods()) == 100
    assert 16 <= most <= 33


async def test_a_new_process_goes_on_where_the_last_one_ended(world: World) -> None:
    world.replica_set(5)
    async with world.running():
        await world.clock.settle()
    world.resize(7)
    async with world.running():
        await world.advance(5)
    assert len(world.pods()) == 7


steps = st.lists(
    st.one_of(
        st.tuples(st.just("resize"), st.integers(0, 6)),
        st.tuples(st.sampled_from(["kill", "fail pod"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["conflict", "broken", "lost", "refused"]), st.integers(1, 4)),
        st.tuples(st.sampled_from(["broken writes", "lost writes", "lost writes"]), st.integers(1, 3)),
        st.tuples(st.sampled_from(["lag", "lag pods", "catch up", "drop", "expire", "poke", "poke"]), st.just(0)),
        st.tuples(st.just("pass"), st.integers(1, 12)),
        st.tuples(st.just("turn"), st.integers(1, 30)),
    ),
    max_size=40,
)

ERRORS = {
    "conflict": Conflict("changed"),
    "broken": ServerError("broke", reason="ConnectionBroken"),
    "refused": Forbidden("quota"),
}


@settings(max_examples=part_of(100), deadline=None)
@given(steps=steps, first=st.integers(0, 5), faults=st.integers(0, 2))
def test_whatever_fails_there_are_never_too_many_and_in_the_end_exactly_enough(
    steps: list[tuple[str, int]], first: int, faults: int
) -> None:
    async def scenario() -> None:
        world = World(start_seconds=0.5, stop_seconds=0.5)
        most = wanted = first
        world.replica_set(wanted)
        world.api.fail("create", PODS, times=faults, reply_lost=True, skip=1)
        async with world.running():
            for action, amount in steps:
                pods = [pod["metadata"]["name"] for pod in world.pods()]
                match action:
                    case "resize":
                        wanted = amount
                        most = max(most, wanted)
                        world.resize(wanted)
                    case "kill" if amount < len(pods):
                        world.api.remove(PODS, pods[amount], namespace=NAMESPACE)
                    case "fail pod" if amount < len(pods):
                        world.status(pods[amount], phase="Failed")
                    case "conflict" | "broken" | "refused":
                        world.api.fail(error=ERRORS[action], times=amount)
                    case "lost":
                        world.api.fail(times=amount, reply_lost=True)
                    case "broken writes" | "lost writes":
                        for verb in ("create", "delete"):
                            world.api.fail(verb, PODS, times=amount, reply_lost=action == "lost writes")
                    case "lag":
                        world.api.lag()
                    case "lag pods":
                        world.api.lag(PODS)
                    case "poke":
                        world.poke()
                    case "catch up":
                        world.api.catch_up()
                    case "drop":
                        world.api.drop_watches()
                    case "expire":
                        world.api.expire()
                    case "turn":
                        for _ in range(amount):
                            await asyncio.sleep(0)
                    case "pass":
                        for _ in range(amount):
                            await world.advance(0.25)
                            assert len(world.pods()) <= most
                assert len(world.pods()) <= most
            world.api.recover()
            world.api.catch_up()
            await world.advance(400, step=2)
            assert len(world.pods()) == wanted
            status = world.set_status()
            assert (status["replicas"], status.get("availableReplicas", 0)) == (wanted, wanted)
            assert "conditions" not in status

    asyncio.run(scenario())
