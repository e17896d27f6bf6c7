"""Simulated machines: registered once, ready, kept alive within a budget of writes, lost on request."""

from typing import Any

from tensorfusion.embedded.absent_nodes import mark_absent
from tensorfusion.embedded.fleet import NodeSpec, beside_processes, parse_fleet
from tensorfusion.embedded.machines import LOST, SimulatedMachines
from tensorfusion.model.keys import RUN, RUN_PROCESS, SIMULATED_TAINT
from tensorfusion.model.resources import LEASES, NODES
from tensorfusion.testing.node_world import NodeWorld


def fleet(count: int = 2, **entry: Any) -> list[NodeSpec]:
    node = {"name": "n-{i}", "count": count, "cpu": "7500m", "memory": "16Gi"} | entry
    return parse_fleet({"nodes": [node]}, source="test")


def machines(world: NodeWorld, specs: list[NodeSpec] | None = None) -> SimulatedMachines:
    return SimulatedMachines(world.client, specs or fleet(), clock=world.clock)


def node(world: NodeWorld, name: str = "n-0") -> dict[str, Any]:
    return world.api.object(NODES, name)


def ready(world: NodeWorld, name: str = "n-0") -> str:
    return next(str(each["status"]) for each in node(world, name)["status"]["conditions"] if each["type"] == "Ready")


def node_writes(world: NodeWorld) -> int:
    return len(world.writes(NODES))


async def test_a_machine_becomes_a_ready_node_with_its_capacity(world: NodeWorld) -> None:
    await world.start(machines(world))
    status = node(world)["status"]
    assert status["capacity"] == status["allocatable"]
    assert {key: status["capacity"][key] for key in ("cpu", "memory", "pods")} == {
        "cpu": "7500m",
        "memory": "16Gi",
        "pods": "110",
    }
    assert ready(world) == "True"
    assert status["addresses"][0] == {"type": "InternalIP", "address": "10.0.0.1"}
    assert status["nodeInfo"]["operatingSystem"] == "linux"
    assert node_writes(world) == 2


async def test_labels_say_what_the_machine_is_and_the_users_labels_win(world: NodeWorld) -> None:
    gpus = {"model": "A100_SXM_80G", "count": 4}
    taint = {"key": "gpu", "value": "only", "effect": "NoSchedule"}
    labels = {"zone": "a", "kubernetes.io/arch": "arm64"}
    await world.start(machines(world, fleet(gpus=gpus, labels=labels, taints=[taint])))
    assert node(world)["metadata"]["labels"] == {
        "kubernetes.io/hostname": "n-0",
        "kubernetes.io/arch": "arm64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "simulated",
        "topology.kubernetes.io/zone": "a",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.count": "4",
        "zone": "a",
    }
    assert node(world)["spec"]["taints"] == [taint]


async def test_devices_of_other_vendors_are_not_called_nvidias(world: NodeWorld) -> None:
    await world.start(machines(world, fleet(gpus={"model": "RX7900XTX"})))
    assert not any(label.startswith("nvidia.com/") for label in node(world)["metadata"]["labels"])


async def test_a_restart_registers_nothing_twice(world: NodeWorld) -> None:
    await world.start(machines(world))
    await world.stop()
    await world.start(machines(world))
    assert node_writes(world) == 2


async def test_a_node_without_status_gets_it(world: NodeWorld) -> None:
    world.api.seed(NODES, {"metadata": {"name": "n-0"}})
    await world.start(machines(world))
    assert ready(world) == "True"
    assert node(world)["status"]["capacity"]["cpu"] == "7500m"


async def test_registration_is_repeated_until_the_api_answers(world: NodeWorld) -> None:
    world.api.fail("create", NODES, times=3)
    await world.start(machines(world))
    await world.advance(5)
    assert (ready(world, "n-0"), ready(world, "n-1")) == ("True", "True")


async def test_a_machine_that_is_cut_off_is_not_ready_until_it_returns(world: NodeWorld) -> None:
    fleet_of_two = machines(world)
    await world.start(fleet_of_two)
    await fleet_of_two.lose("n-0")
    await world.settle()
    assert (ready(world, "n-0"), ready(world, "n-1")) == ("Unknown", "True")
    assert not fleet_of_two.alive("n-0")
    await fleet_of_two.regain("n-0")
    await world.settle()
    assert ready(world) == "True"
    assert fleet_of_two.alive("n-0")


async def test_a_deleted_node_stays_away_until_the_process_starts_anew(world: NodeWorld) -> None:
    first = machines(world)
    await world.start(first)
    world.api.remove(NODES, "n-0")
    await world.advance(60)
    assert world.find(NODES, "n-0") is None
    assert first.gone("n-0")
    await world.stop()
    await world.start(machines(world))
    assert ready(world) == "True"


async def test_a_node_that_is_deleted_right_after_a_change_is_not_made_again(world: NodeWorld) -> None:
    await world.start(machines(world))
    world.api.change(NODES, "n-0", {"metadata": {"labels": {"a": "b"}}})
    world.api.remove(NODES, "n-0")
    await world.advance(60)
    assert world.find(NODES, "n-0") is None


async def test_every_node_has_a_lease_that_is_renewed_every_ten_seconds(world: NodeWorld) -> None:
    await world.start(machines(world))
    await world.advance(61)
    lease = world.find(LEASES, "n-1", "kube-node-lease")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "n-1"
    assert lease["spec"]["leaseDurationSeconds"] == 40
    assert lease["metadata"]["ownerReferences"][0]["name"] == "n-1"
    assert 6 <= len(world.writes(LEASES, "n-1")) <= 8


async def test_the_leases_of_a_large_fleet_stay_within_their_budget(world: NodeWorld) -> None:
    await world.start(machines(world, fleet(600)))
    await world.advance(30)
    world.api.calls.clear()
    await world.advance(60)
    renewals = world.writes(LEASES)
    assert len(renewals) <= 20.1 * 60
    assert {call.name for call in renewals if call.name} == {f"n-{number}" for number in range(600)}


async def test_a_lost_machine_renews_no_lease(world: NodeWorld) -> None:
    await world.start(machines(world))
    await world.change(NODES, "n-0", {"metadata": {"annotations": {LOST: "true"}}})
    world.api.calls.clear()
    await world.advance(60)
    assert world.writes(LEASES, "n-1")
    assert not world.writes(LEASES, "n-0")


async def test_leases_outlive_an_api_that_is_down(world: NodeWorld) -> None:
    await world.start(machines(world))
    world.api.fail(resource=LEASES, times=-1)
    await world.advance(60)
    world.api.recover()
    await world.advance(20)
    lease = world.find(LEASES, "n-0", "kube-node-lease")
    assert lease is not None
    assert lease["spec"]["renewTime"] >= "2026-01-01T00:01:10"


async def test_machines_that_join_while_it_runs_register_with_addresses_of_their_own(world: NodeWorld) -> None:
    followed = machines(world)
    await world.start(followed)
    followed.follow(fleet(4))
    await world.settle()
    assert ready(world, "n-3") == "True"
    addresses = {node(world, f"n-{number}")["status"]["addresses"][0]["address"] for number in range(4)}
    assert len(addresses) == 4
    assert node_writes(world) == 4


async def test_a_machine_that_is_changed_says_what_it_is_now(world: NodeWorld) -> None:
    followed = machines(world)
    await world.start(followed)
    gpus = {"model": "L4", "count": 2}
    taint = {"key": "gpu", "value": "only", "effect": "NoSchedule"}
    followed.follow([*fleet(1, cpu=9, gpus=gpus, taints=[taint]), fleet()[1]])
    await world.settle()
    changed = node(world)
    assert changed["status"]["capacity"]["cpu"] == "9"
    assert changed["metadata"]["labels"]["nvidia.com/gpu.count"] == "2"
    assert changed["spec"]["taints"] == [taint]
    assert ready(world) == "True"
    writes = node_writes(world)
    followed.follow([*fleet(1, cpu=9, gpus=gpus, taints=[taint]), fleet()[1]])
    await world.settle()
    assert node_writes(world) == writes


async def test_a_machine_taken_out_and_put_in_again_registers_again_and_a_deleted_one_does_not(
    world: NodeWorld,
) -> None:
    followed = machines(world)
    await world.start(followed)
    for name in ("n-0", "n-1"):
        world.api.remove(NODES, name)
    await world.settle()
    followed.follow(fleet()[1:])  # n-0 is taken out; n-1 stays in the fleet, out of service
    await world.settle()
    followed.follow(fleet())
    await world.settle()
    assert ready(world) == "True"
    assert world.find(NODES, "n-1") is None


# --- beside a node that runs real programs ---


def taints(world: NodeWorld) -> list[str]:
    return [taint["key"] for taint in node(world)["spec"].get("taints") or ()]


async def test_the_taint_of_simulation_comes_and_goes_with_the_process_node(world: NodeWorld) -> None:
    """Another start of the same folder; taints of administrators stay."""
    await world.start(machines(world, fleet(taints=[{"key": "mine", "effect": "NoSchedule"}])))
    assert taints(world) == ["mine"]
    await world.stop()
    await world.start(machines(world, beside_processes(fleet())))
    assert taints(world) == ["mine", SIMULATED_TAINT]
    await world.stop()
    await world.start(machines(world, fleet()))
    assert taints(world) == ["mine"]


async def test_a_process_node_without_its_process_is_not_ready(world: NodeWorld) -> None:
    await world.start(machines(world))
    world.api.seed(
        NODES,
        {
            "metadata": {"name": "real", "labels": {RUN: RUN_PROCESS}},
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        },
    )
    await mark_absent(world.client, clock=world.clock)
    assert ready(world, "real") == "False"
    assert ready(world, "n-0") == "True"
    before = node_writes(world)
    await mark_absent(world.client, clock=world.clock)
    assert node_writes(world) == before
