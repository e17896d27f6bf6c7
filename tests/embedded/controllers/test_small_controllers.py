"""Node taints, disruption budgets, resource claims and endpoints under failures: written once, and only what differs."""

from typing import Any

import pytest
from workloads import NAMESPACE, World

from tensorfusion.clock import timestamp
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    SERVICES,
)
from tensorfusion.telemetry.metrics import RECONCILES


@pytest.fixture
def world() -> World:
    return World()


def say_ready(world: World, status: str) -> None:
    conditions = [{"type": "Ready", "status": status}]
    world.api.change(NODES, "n1", {"status": {"conditions": conditions}}, subresource="status")


def taints(world: World) -> list[tuple[str, str]]:
    return [(taint["key"], taint["effect"]) for taint in world.api.object(NODES, "n1")["spec"].get("taints", ())]


async def test_a_node_that_is_lost_is_tainted_and_untainted_beside_other_taints(world: World) -> None:
    world.api.seed(NODES, {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "team", "effect": "NoSchedule"}]}})
    unreachable = "node.kubernetes.io/unreachable"
    async with world.running():
        say_ready(world, "Unknown")
        await world.advance(1)
        assert taints(world) == [("team", "NoSchedule"), (unreachable, "NoSchedule"), (unreachable, "NoExecute")]
        say_ready(world, "False")
        world.api.change(NODES, "n1", {"spec": {"unschedulable": True}})
        await world.advance(1)
        assert [key for key, _ in taints(world)] == [
            "team",
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unschedulable",
        ]
        say_ready(world, "True")
        world.api.change(NODES, "n1", {"spec": {"unschedulable": None}})
        await world.advance(1)
        assert taints(world) == [("team", "NoSchedule")]
        written = world.api.count("patch", NODES)
        say_ready(world, "True")
        await world.advance(1)
        assert world.api.count("patch", NODES) == written


def budget(world: World, **spec: Any) -> None:
    body = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}
    world.api.seed(POD_DISRUPTION_BUDGETS, body, namespace=NAMESPACE)


def budget_status(world: World) -> Raw:
    found: Raw = world.api.object(POD_DISRUPTION_BUDGETS, "b", namespace=NAMESPACE)["status"]
    return found


async def test_a_pod_whose_eviction_was_allowed_counts_as_gone_until_it_is_or_two_minutes_are_over(
    world: World,
) -> None:
    budget(world, minAvailable=1)
    world.replica_set(3)
    async with world.running():
        await world.advance(4)
        assert budget_status(world)["disruptionsAllowed"] == 2
        name = world.pods()[0]["metadata"]["name"]
        evicted = {"disruptionsAllowed": 1, "disruptedPods": {name: timestamp(world.clock.now())}}
        world.api.change(POD_DISRUPTION_BUDGETS, "b", {"status": evicted}, namespace=NAMESPACE, subresource="status")
        await world.advance(60, step=1)
        assert (budget_status(world)["currentHealthy"], budget_status(world)["disruptionsAllowed"]) == (2, 1)
        await world.advance(65, step=1)
        assert budget_status(world)["disruptionsAllowed"] == 2
        assert "disruptedPods" not in budget_status(world)


async def test_pods_without_a_controller_do_not_make_up_a_percentage(world: World) -> None:
    budget(world, minAvailable="50%")
    world.api.seed(PODS, {"metadata": {"name": "bare", "labels": {"app": "web"}}, "spec": {}}, namespace=NAMESPACE)
    async with world.running():
        await world.advance(3)
        assert (budget_status(world)["expectedPods"], budget_status(world)["disruptionsAllowed"]) == (0, 0)


def claimer(world: World) -> None:
    entry = {"name": "gpu", "resourceClaimTemplateName": "t"}
    body = {"metadata": {"name": "p"}, "spec": {"resourceClaims": [entry]}}
    world.api.seed(PODS, body, namespace=NAMESPACE)


def claim_template(world: World) -> None:
    spec = {"metadata": {"labels": {"l": "v"}}, "spec": {"devices": {}}}
    world.api.seed(RESOURCE_CLAIM_TEMPLATES, {"metadata": {"name": "t"}, "spec": spec}, namespace=NAMESPACE)


async def test_a_lost_reply_makes_no_second_claim_and_the_claim_goes_with_the_pods_end(world: World) -> None:
    claimer(world)
    async with world.running():
        await world.advance(1)
        assert "FailedResourceClaimCreation" in {event["reason"] for event in world.api.objects(EVENTS)}
        world.api.fail("create", RESOURCE_CLAIMS, reply_lost=True)
        world.api.fail("patch", PODS, reply_lost=True)
        claim_template(world)
        await world.advance(3)
        (claim,) = world.api.objects(RESOURCE_CLAIMS)
        pod = world.api.object(PODS, "p", namespace=NAMESPACE)
        assert pod["status"]["resourceClaimStatuses"] == [
            {"name": "gpu", "resourceClaimName": claim["metadata"]["name"]}
        ]
        world.end(pod)
        await world.advance(2)
        assert world.api.objects(RESOURCE_CLAIMS) == []


async def test_a_claim_that_is_still_reserved_stays(world: World) -> None:
    claimer(world)
    claim_template(world)
    async with world.running():
        await world.advance(2)
        (claim,) = world.api.objects(RESOURCE_CLAIMS)
        name = claim["metadata"]["name"]
        reserved = {"status": {"reservedFor": [{"resource": "pods", "name": "p"}]}}
        world.api.change(RESOURCE_CLAIMS, name, reserved, namespace=NAMESPACE)
        world.end(world.api.object(PODS, "p", namespace=NAMESPACE))
        await world.advance(2)
        assert len(world.api.objects(RESOURCE_CLAIMS)) == 1
        world.api.change(RESOURCE_CLAIMS, name, {"status": {"reservedFor": None}}, namespace=NAMESPACE)
        await world.advance(2)
        assert world.api.objects(RESOURCE_CLAIMS) == []


async def test_pods_of_a_replica_set_are_no_work_for_the_controllers_of_other_kinds(world: World) -> None:
    others = ("job", "cronjob", "statefulset", "daemonset", "endpoints", "disruption", "resourceclaim")

    def passes() -> float:
        return sum(RECONCILES.labels(name, "ok")._value.get() for name in others)

    world.job()
    async with world.running():
        await world.advance(4)
        before = passes()
        world.replica_set(5)
        await world.advance(4)
        world.resize(0)
        await world.advance(4)
        assert passes() == before


async def test_endpoints_are_written_once_and_changed_only_by_what_they_show(world: World) -> None:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}], "clusterIP": "10.0.0.1"}
    world.api.seed(SERVICES, {"metadata": {"name": "s"}, "spec": spec}, namespace=NAMESPACE)
    world.replica_set(2)
    world.api.fail("create", ENDPOINT_SLICES, reply_lost=True)
    world.api.fail("create", ENDPOINTS, reply_lost=True)
    async with world.running():
        await world.advance(4)
        for number, pod in enumerate(world.pods()):
            status = {"status": {"podIP": f"10.1.0.{number}"}}
            world.api.change(PODS, pod["metadata"]["name"], status, namespace=NAMESPACE, subresource="status")
        await world.advance(3)
        (found,) = world.api.objects(ENDPOINT_SLICES)
        assert sorted(each["addresses"][0] for each in found["endpoints"]) == ["10.1.0.0", "10.1.0.1"]
        assert len(world.api.objects(ENDPOINTS)) == 1
        written = world.api.count("patch", ENDPOINT_SLICES) + world.api.count("patch", ENDPOINTS)
        for pod in world.pods():
            touched = {"metadata": {"annotations": {"note": "x"}}}
            world.api.change(PODS, pod["metadata"]["name"], touched, namespace=NAMESPACE)
        await world.advance(3)
        assert world.api.count("patch", ENDPOINT_SLICES) + world.api.count("patch", ENDPOINTS) == written
        world.api.remove(SERVICES, "s", namespace=NAMESPACE)
        await world.advance(3)
        assert world.api.objects(ENDPOINT_SLICES) == []
        assert world.api.objects(ENDPOINTS) == []
