"""Stateful and daemon sets under failures: names, nodes and revisions stay right, whatever the server does."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import NAMESPACE, World

from example_counts import part_of
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STATEFUL_SETS,
)


@pytest.fixture
def world() -> World:
    return World()


def pod_template(image: str = "v1") -> Raw:
    return {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def stateful_set(world: World, replicas: int, **spec: Any) -> None:
    body = {
        "metadata": {"name": "s"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "s"}},
            "template": pod_template(),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            **spec,
        },
    }
    world.api.seed(STATEFUL_SETS, body, namespace=NAMESPACE)


def daemon_set(world: World, nodes: int, **rolling: Any) -> None:
    for number in range(nodes):
        world.api.seed(NODES, {"metadata": {"name": f"n{number}"}, "spec": {}})
    body = {
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "s"}},
            "template": pod_template(),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        },
    }
    world.api.seed(DAEMON_SETS, body, namespace=NAMESPACE)


def set_image(world: World, resource: Any, name: str, image: str) -> None:
    world.api.change(resource, name, {"spec": {"template": pod_template(image)}}, namespace=NAMESPACE)


def names(world: World) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in world.pods())


async def test_claims_are_made_bound_and_kept(world: World) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    stateful_set(world, 2, volumeClaimTemplates=[claim])
    async with world.running():
        await world.advance(8)
        claims = world.api.objects(PERSISTENT_VOLUME_CLAIMS)
        assert [(each["metadata"]["name"], each["status"]["phase"]) for each in claims] == [
            ("data-s-0", "Bound"),
            ("data-s-1", "Bound"),
        ]
        volumes = {each["metadata"]["name"] for each in world.api.objects(PERSISTENT_VOLUMES)}
        assert {each["spec"]["volumeName"] for each in claims} == volumes
        world.api.change(STATEFUL_SETS, "s", {"spec": {"replicas": 0}}, namespace=NAMESPACE)
        await world.advance(8)
        assert world.pods() == []
        assert len(world.api.objects(PERSISTENT_VOLUME_CLAIMS)) == 2
        world.api.remove(PERSISTENT_VOLUME_CLAIMS, "data-s-0", namespace=NAMESPACE)
        await world.advance(2)
        assert len(world.api.objects(PERSISTENT_VOLUMES)) == 1


async def test_a_pod_that_ended_is_made_anew_under_its_name(world: World) -> None:
    stateful_set(world, 1)
    async with world.running():
        await world.advance(4)
        first = world.pods()[0]["metadata"]["uid"]
        world.status("s-0", phase="Failed")
        await world.advance(6)
        (pod,) = world.pods()
        assert pod["metadata"]["uid"] != first
    assert "RecreatingFailedPod" in {event["reason"] for event in world.api.objects(EVENTS)}


async def test_old_revisions_are_forgotten_beyond_the_limit(world: World) -> None:
    stateful_set(world, 1, revisionHistoryLimit=1)
    async with world.running():
        for image in ("v2", "v3", "v4", "v2"):
            await world.advance(8)
            set_image(world, STATEFUL_SETS, "s", image)
        await world.advance(8)
    revisions = world.api.objects(CONTROLLER_REVISIONS)
    assert len(revisions) == 2
    images = [each["data"]["spec"]["template"]["spec"]["containers"][0]["image"] for each in revisions]
    assert sorted(images) == ["v2", "v4"]
    assert max(each["revision"] for each in revisions) == 5


async def test_a_name_that_another_pod_holds_is_waited_for(world: World) -> None:
    world.api.seed(PODS, {"metadata": {"name": "s-0"}, "spec": {"nodeName": "x"}}, namespace=NAMESPACE)
    stateful_set(world, 1)
    async with world.running():
        await world.advance(4)
        world.api.remove(PODS, "s-0", namespace=NAMESPACE)
        await world.advance(60, step=1)
        (pod,) = world.pods()
        assert pod["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"


async def test_a_daemon_that_keeps_failing_is_remade_more_and_more_slowly(world: World) -> None:
    daemon_set(world, 1)
    made: set[str] = set()
    async with world.running():
        for _ in range(60):
            await world.advance(1, step=0.5)
            for pod in world.pods():
                made.add(pod["metadata"]["uid"])
                world.status(pod["metadata"]["name"], phase="Failed")
    assert 3 <= len(made) <= 8
    assert "FailedDaemonPod" in {event["reason"] for event in world.api.objects(EVENTS)}


async def test_daemons_follow_nodes_that_come_and_go(world: World) -> None:
    daemon_set(world, 2)
    async with world.running():
        await world.advance(3)
        assert len(world.pods()) == 2
        world.api.seed(NODES, {"metadata": {"name": "n9"}, "spec": {}})
        world.api.remove(NODES, "n0")
        await world.advance(4)
        assert sorted(pod["spec"]["nodeName"] for pod in world.pods()) == ["n1", "n9"]


async def test_a_cache_that_lags_makes_no_second_daemon(world: World) -> None:
    async with world.running():
        world.api.lag(PODS)
        daemon_set(world, 3)
        for poke in range(70):  # beyond the time after which confirmations are looked into
            await world.advance(1)
            world.api.change(DAEMON_SETS, "d", {"metadata": {"annotations": {"poked": str(poke)}}}, namespace=NAMESPACE)
            assert len(world.pods()) <= 3
        world.api.catch_up()
        await world.advance(3)
    assert len(world.pods()) == 3


FAULTS = [
    "lost create",
    "broken create",
    "lost delete",
    "broken delete",
    "lost patch",
    "lag",
    "lag pods",
    "drop",
    "expire",
]
STEPS = st.lists(
    st.sampled_from([*FAULTS, "catch up", "update", "scale", "kill", "pass", "wait"]), min_size=5, max_size=30
)


def disturb(world: World, step: str) -> None:
    match step.split():
        case ["lag"]:
            world.api.lag()
        case ["lag", "pods"]:
            world.api.lag(PODS)
        case ["catch", "up"]:
            world.api.catch_up()
        case ["drop"]:
            world.api.drop_watches()
        case ["expire"]:
            world.api.expire()
        case ["lost" | "broken" as kind, verb]:
            world.api.fail(verb, reply_lost=kind == "lost")


@settings(max_examples=part_of(40), deadline=None)
@given(STEPS, st.sampled_from(["OrderedReady", "Parallel"]))
def test_a_stateful_set_arrives_whatever_fails(steps: list[str], management: str) -> None:
    async def scenario() -> None:
        world = World(start_seconds=0.5, stop_seconds=0.5)
        stateful_set(world, 3, podManagementPolicy=management)
        replicas, image = 3, 1
        async with world.running():
            for step in steps:
                disturb(world, step)
                if step == "update":
                    image += 1
                    set_image(world, STATEFUL_SETS, "s", f"v{image}")
                elif step == "scale":
                    replicas = 4 - replicas % 4
                    world.api.change(STATEFUL_SETS, "s", {"spec": {"replicas": replicas}}, namespace=NAMESPACE)
                elif step == "kill" and world.pods():
                    world.api.remove(PODS, names(world)[0], namespace=NAMESPACE)
                elif step in ("pass", "wait"):
                    await world.advance(0.25 if step == "pass" else 3)
                assert set(names(world)) <= {f"s-{at}" for at in range(4)}
            world.api.recover()
            world.api.catch_up()
            await world.advance(200, step=1)
            assert names(world) == [f"s-{at}" for at in range(replicas)]
            assert set(world.images()) == {f"v{image}"}
            status = world.api.object(STATEFUL_SETS, "s", namespace=NAMESPACE)["status"]
            assert status["updatedReplicas"] == status["currentReplicas"] == status["readyReplicas"] == replicas
            assert status["currentRevision"] == status["updateRevision"]

    asyncio.run(scenario())


@settings(max_examples=part_of(40), deadline=None)
@given(STEPS)
def test_no_node_ever_has_two_daemons(steps: list[str]) -> None:
    async def scenario() -> None:
        world = World(start_seconds=0.5, stop_seconds=0.5)
        daemon_set(world, 3, maxUnavailable=2)
        image = 1
        async with world.running():
            for step in steps:
                disturb(world, step)
                if step == "update":
                    image += 1
                    set_image(world, DAEMON_SETS, "d", f"v{image}")
                elif step == "kill" and world.pods():
                    world.api.remove(PODS, names(world)[0], namespace=NAMESPACE)
                elif step in ("pass", "wait"):
                    await world.advance(0.25 if step == "pass" else 3)
                places = Counter(world.node_of(pod) for pod in world.pods())
                assert not places or max(places.values()) == 1
            world.api.recover()
            world.api.catch_up()
            await world.advance(200, step=1)
            assert sorted(pod["spec"]["nodeName"] for pod in world.pods()) == ["n0", "n1", "n2"]
            assert set(world.images()) == {f"v{image}"}
            status = world.api.object(DAEMON_SETS, "d", namespace=NAMESPACE)["status"]
            assert status["updatedNumberScheduled"] == status["numberAvailable"] == 3

    asyncio.run(scenario())
