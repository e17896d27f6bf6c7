"""Simulated kubelets: one write makes a bound pod Running, and what follows is what its script and its node say."""

from typing import Any

import pytest

from tensorfusion.embedded.fleet import parse_fleet
from tensorfusion.embedded.kubelet import NoGate, SimulatedKubelets
from tensorfusion.embedded.machines import LOST
from tensorfusion.embedded.pod_life import EXIT_CODE, RUN_FOR
from tensorfusion.errors import Conflict
from tensorfusion.model.core import Pod
from tensorfusion.model.resources import NODES, PODS
from tensorfusion.testing.node_world import NodeWorld

FLEET = parse_fleet({"nodes": [{"name": "n-{i}", "count": 2, "cpu": 8, "memory": "16Gi"}]}, source="test")


class Gate:
    """Refuses the pods it is told to."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.asked: list[str] = []

    def admit_share(self, pod: Pod) -> str | None:
        self.asked.append(pod.metadata.name)
        return f"device is full for {pod.metadata.name}" if pod.metadata.name in self.refused else None

    def notes(self, pod: Pod) -> dict[str, str]:
        return {"given": pod.metadata.uid}


def kubelets(world: NodeWorld, gate: Gate | NoGate | None = None) -> SimulatedKubelets:
    return SimulatedKubelets(world.client, FLEET, gate or NoGate(), clock=world.clock)


def pod_writes(world: NodeWorld, name: str) -> list[tuple[str, str]]:
    return [(call.verb, call.subresource) for call in world.writes(PODS, name)]


def status(world: NodeWorld, name: str) -> dict[str, Any]:
    result: dict[str, Any] = world.api.object(PODS, name, namespace="default")["status"]
    return result


async def annotate(world: NodeWorld, node: str, value: str | None) -> None:
    await world.change(NODES, node, {"metadata": {"annotations": {LOST: value}}})


async def test_a_bound_pod_runs_after_one_write(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-1")
    assert world.phase("p") == "Running"
    assert pod_writes(world, "p") == [("patch", "status")]
    assert status(world, "p")["hostIP"] == "10.0.0.2"
    await world.advance(300)
    assert pod_writes(world, "p") == [("patch", "status")]


async def test_pods_of_other_nodes_and_unbound_ones_are_left_alone(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("unbound", "")
    await world.add_pod("elsewhere", "real-node")
    assert (world.phase("unbound"), world.phase("elsewhere")) == ("Pending", "Pending")


async def test_a_pod_runs_as_soon_as_it_is_bound(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "")
    uid = world.api.object(PODS, "p", namespace="default")["metadata"]["uid"]
    await world.api.bind("default", "p", uid=uid, node="n-0", annotations={})
    await world.settle()
    assert world.phase("p") == "Running"


async def test_every_pod_has_an_address_of_its_own(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    for number in range(5):
        await world.add_pod(f"p{number}", "n-0")
    assert len({status(world, f"p{number}")["podIP"] for number in range(5)}) == 5


async def test_what_the_gate_refuses_fails_with_its_words(world: NodeWorld) -> None:
    gate = Gate("second")
    await world.start(kubelets(world, gate))
    await world.add_pod("first", "n-0")
    await world.add_pod("second", "n-0")
    assert world.phase("first") == "Running"
    refused = status(world, "second")
    assert (refused["phase"], refused["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert refused["message"] == "Pod was rejected: device is full for second"
    assert gate.asked == ["first", "second"]


async def test_a_pod_is_started_again_after_a_failed_write(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    world.api.fail("patch", PODS, times=2)
    await world.add_pod("p", "n-0")
    await world.advance(1)
    assert world.phase("p") == "Running"
    assert pod_writes(world, "p") == [("patch", "status")] * 3


async def test_a_pod_is_started_once_although_the_cache_is_behind(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    held = world.api.hold("patch")
    await world.add_pod("p", "n-0")
    await world.change(PODS, "p", {"metadata": {"annotations": {"user": "writes"}}})
    world.api.lag()
    held.set()
    await world.settle()
    world.api.catch_up()
    await world.settle()
    assert world.phase("p") == "Running"
    assert pod_writes(world, "p") == [("patch", "status")]


async def test_a_pod_that_was_replaced_meanwhile_is_not_written(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    world.api.fail("patch", PODS, error=Conflict("other uid"), times=-1)
    await world.add_pod("p", "n-0")
    await world.advance(60)
    assert len(pod_writes(world, "p")) == 1


@pytest.mark.parametrize(("code", "phase"), [(None, "Succeeded"), ("0", "Succeeded"), ("7", "Failed")])
async def test_a_scripted_pod_ends_when_its_time_is_over(world: NodeWorld, code: str | None, phase: str) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0", annotations={RUN_FOR: "30s"} | ({EXIT_CODE: code} if code else {}))
    await world.advance(29)
    assert world.phase("p") == "Running"
    await world.advance(1)
    assert world.phase("p") == phase
    terminated = status(world, "p")["containerStatuses"][0]["state"]["terminated"]
    assert terminated["exitCode"] == int(code or 0)
    assert pod_writes(world, "p") == [("patch", "status")] * 2


async def test_a_script_goes_on_after_a_restart(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0", annotations={RUN_FOR: "1m"})
    await world.advance(40)
    await world.stop()
    await world.start(kubelets(world))
    await world.advance(19)
    assert world.phase("p") == "Running"
    await world.advance(1)
    assert world.phase("p") == "Succeeded"


async def test_pods_that_run_are_not_started_again_by_a_successor(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0")
    await world.stop()
    await world.add_pod("waits", "n-0")
    await world.start(kubelets(world))
    assert pod_writes(world, "p") == [("patch", "status")]
    assert world.phase("waits") == "Running"


async def test_a_script_that_cannot_be_understood_is_ignored(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0", annotations={RUN_FOR: "a while"})
    await world.add_pod("q", "n-0", annotations={RUN_FOR: "1s", EXIT_CODE: "300"})
    await world.advance(60)
    assert (world.phase("p"), world.phase("q")) == ("Running", "Running")


async def test_a_deleted_pod_goes_at_once(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0")
    await world.delete_pod("p")
    assert world.find(PODS, "p") is None


async def test_a_finalizer_of_somebody_else_is_waited_for_without_asking_again(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0", finalizers=["example.com/keep"])
    await world.delete_pod("p")
    await world.advance(120)
    assert world.find(PODS, "p") is not None
    assert pod_writes(world, "p").count(("delete", "")) == 1
    assert world.phase("p") == "Failed", "whoever holds it has to learn that its containers have ended"
    await world.change(PODS, "p", {"metadata": {"finalizers": None}})
    assert world.find(PODS, "p") is None


async def test_nothing_moves_on_a_machine_that_is_cut_off(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("runs", "n-0", annotations={RUN_FOR: "10s"})
    await annotate(world, "n-0", "true")
    await world.add_pod("late", "n-0")
    await world.add_pod("other", "n-1")
    await world.delete_pod("runs")
    await world.advance(60)
    assert (world.phase("late"), world.phase("other")) == ("Pending", "Running")
    assert world.find(PODS, "runs") is not None
    await annotate(world, "n-0", None)
    assert world.phase("late") == "Running"
    assert world.find(PODS, "runs") is None


async def test_pods_of_a_deleted_node_are_collected_after_a_while(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0")
    await world.add_pod("q", "n-1")
    world.api.remove(NODES, "n-0")
    await world.advance(19)
    assert world.find(PODS, "p") is not None
    await world.advance(2)
    assert world.find(PODS, "p") is None
    assert world.phase("q") == "Running"


async def test_a_node_that_is_made_anew_in_time_keeps_its_pods(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    await world.add_pod("p", "n-0")
    world.api.remove(NODES, "n-0")
    await world.advance(10)
    world.api.seed(NODES, {"metadata": {"name": "n-0"}})
    await world.advance(60)
    assert world.phase("p") == "Running"


async def test_thousands_of_pods_cost_one_write_each(world: NodeWorld) -> None:
    await world.start(kubelets(world))
    for number in range(300):
        body = {"metadata": {"name": f"p{number}"}, "spec": {"nodeName": f"n-{number % 2}"}}
        world.api.seed(PODS, body, namespace="default")
    for _ in range(40):
        await world.settle()
    running = [found for found in world.api.objects(PODS) if found["status"]["phase"] == "Running"]
    assert len(running) == 300
    assert [(call.verb, call.subresource) for call in world.writes(PODS)] == [("patch", "status")] * 300


async def test_what_the_devices_gave_a_pod_travels_with_its_first_status(world: NodeWorld) -> None:
    await world.start(kubelets(world, Gate("b")))
    for name in ("a", "b"):
        await world.add_pod(name, "n-0", annotations={"mine": "x"})
    notes = {name: world.find(PODS, name)["metadata"]["annotations"] for name in ("a", "b")}
    assert notes["a"] == {"mine": "x", "given": world.find(PODS, "a")["metadata"]["uid"]}
    assert notes["b"] == {"mine": "x"}
    assert len(pod_writes(world, "a")) == 1
