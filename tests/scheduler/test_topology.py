"""Devices of one pod near each other, from GPU objects and annotations to Bindings, events and counters."""

from pathlib import Path
from typing import Any

import yaml

from tensorfusion.embedded.fleet import NodeSpec, parse_fleet
from tensorfusion.hypervisor.gpu_objects import status_patch
from tensorfusion.hypervisor.vendors.simulated import devices_of
from tensorfusion.model import keys
from tensorfusion.model.common import IsolationPolicy
from tensorfusion.model.gpu_topology import TopologyRule
from tensorfusion.model.meta import Key
from tensorfusion.model.request import Isolation
from tensorfusion.model.resources import EVENTS, GPUS, PODS
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.configuration import Configuration
from tensorfusion.scheduler.records import describe
from tensorfusion.scheduling.profile import Profile, Profiles

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
HARD = {keys.REQUIRE_GPU_TOPOLOGY: "true"}


def cluster(world: Any, *numas: str) -> None:
    """Nodes n0, n1, ... of devices whose NUMA nodes are these digits."""
    world.pool()
    for number, digits in enumerate(numas):
        world.node(f"n{number}")
        for index, numa in enumerate(digits):
            world.gpu(f"g{number}-{index}", f"n{number}", index=index, numa=int(numa))


def everything_counted() -> dict[tuple[str, str], float]:
    samples = [sample for family in meters.TOPOLOGY.collect() for sample in family.samples]
    return {(sample.labels["pool"], sample.labels["result"]): sample.value for sample in samples}


def counted(result: str) -> float:
    return everything_counted().get(("main", result), 0)


def reasons(world: Any, pod: str) -> list[str]:
    return [event["reason"] for event in world.api.objects(EVENTS) if event["involvedObject"]["name"] == pod]


async def test_several_devices_of_one_numa_node_are_bound_and_an_event_says_how_near_they_are(world) -> None:
    cluster(world, "0101")
    before = counted("satisfied")
    world.worker("a", count=2)
    await world.start()
    assert world.devices_of("a") == ["g0-0", "g0-2"]
    await world.settle(2)
    event = world.events_of("a")["GPUInterconnectTopologySelected"]
    assert event == "its devices come to tier 1 (same NUMA node), affinity 100 of 100, score 74"
    assert counted("satisfied") == before + 1
    record = world.service.records.find(Key("default", "a"))
    assert describe(record)["topology"] == {"tier": 1, "affinity": 100, "planScore": 74, "heuristic": False}


async def test_links_are_read_by_uuid_in_any_case(world) -> None:
    cluster(world, "0000")
    world.api.change(
        GPUS,
        "g0-1",
        {"status": {"topology": {"peers": [{"peerGPUUUID": "G0-3", "tier": 0, "bandwidth": 9}]}}},
        subresource="status",
    )
    world.worker("a", count=2)
    await world.start()
    assert world.devices_of("a") == ["g0-1", "g0-3"]


async def test_links_alone_say_as_much(world) -> None:
    cluster(world, "0000")
    links = {"peers": [{"peerUUID": "G0-2", "linkCount": 4, "bandwidthMBps": 112_500}]}
    world.api.change(GPUS, "g0-0", {"status": {"nvLink": links}}, subresource="status")
    world.worker("a", count=2)
    await world.start()
    assert world.devices_of("a") == ["g0-0", "g0-2"]


async def test_a_pod_that_requires_it_waits_and_is_told_once_what_would_help(world) -> None:
    cluster(world, "01")
    before = counted("unsatisfied")
    world.worker("a", count=2, annotations=HARD)
    await world.start()
    await world.settle(2)
    assert world.bindings() == []
    assert "raise tensor-fusion.ai/gpu-topology-max-tier to 2" in world.reason_of("a")
    for number in range(2, 6):  # every node wakes it, and none of them helps
        world.node(f"n{number}")
        world.gpu(f"g{number}-0", f"n{number}", numa=0)
        await world.settle(3)
    assert counted("unsatisfied") >= before + 3
    assert reasons(world, "a") == ["GPUInterconnectTopologyUnsatisfied"]
    world.gpu("g5-1", "n5", index=1, numa=0)
    await world.settle(3)
    assert world.devices_of("a") == ["g5-0", "g5-1"]


async def test_a_tier_that_is_allowed_by_an_edit_places_the_pod(world) -> None:
    cluster(world, "01")
    world.worker("a", count=2, annotations=HARD)
    await world.start()
    change = {"metadata": {"annotations": {keys.GPU_TOPOLOGY_MAX_TIER: "2"}}}
    world.api.change(PODS, "a", change, namespace="default")
    await world.settle(2)
    assert world.devices_of("a") == ["g0-0", "g0-1"]


async def test_the_profile_decides_where_the_pod_says_nothing(world) -> None:
    cluster(world, "01")
    await world.start()
    strict = Profile(topology=TopologyRule(hard=True))
    world.service.configure(Configuration(profiles=Profiles({keys.SCHEDULER_NAME: strict})))
    world.worker("a", count=2)
    world.worker("b", count=2, annotations={keys.REQUIRE_GPU_TOPOLOGY: "false"})
    await world.settle(2)
    assert (world.devices_of("a"), world.devices_of("b")) == ([], ["g0-0", "g0-1"])
    world.service.configure(Configuration())
    await world.settle(2)
    assert world.devices_of("a") == ["g0-0", "g0-1"]


async def test_values_that_cannot_be_read_do_not_stop_a_pod_that_is_there(world) -> None:
    cluster(world, "01")
    world.worker("a", count=2, annotations={keys.REQUIRE_GPU_TOPOLOGY: "hard", keys.GPU_TOPOLOGY_MAX_TIER: "-1"})
    await world.start()
    assert world.devices_of("a") == ["g0-0", "g0-1"]


async def test_unknown_distances_are_told_of_where_others_are_known(world) -> None:
    cluster(world, "0")
    world.node("bare")
    for index in range(2):
        world.gpu(f"b-{index}", "bare", index=index)
    before = counted("fallback"), counted("unsatisfied")
    world.worker("a", count=2)
    await world.start()
    await world.settle(2)
    assert world.devices_of("a") == ["b-0", "b-1"]
    assert "GPUInterconnectTopologyFallback" in world.events_of("a")
    assert (counted("fallback"), counted("unsatisfied")) == (before[0] + 1, before[1] + 1)


async def test_nothing_is_looked_at_or_told_where_no_device_reports_anything(world) -> None:
    world.fleet(devices=2)
    before = everything_counted()
    world.worker("a", count=2)
    await world.start()
    await world.settle(2)
    assert world.node_of("a") == "n0"
    assert not [reason for reason in reasons(world, "a") if "Topology" in reason]
    assert everything_counted() == before


def guide() -> tuple[list[NodeSpec], list[list[str]]]:
    """The fleet of the guide's example, and the rows of its table."""
    text = (DOCS / "guides" / "gpu-topology.md").read_text().partition("## An example\n")[2].partition("\n## ")[0]
    fleet = parse_fleet(yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]), source="the guide")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return fleet, rows[2:]


async def test_the_example_of_the_guide_comes_out_as_it_says(world) -> None:
    fleet, rows = guide()
    world.pool()
    await world.start()
    names = {}
    for spec in fleet:  # in this order, which breaks ties
        world.node(spec.name)
        await world.settle(0.1)
        cards = spec.devices
        assert cards is not None
        figures = {"vendor": cards.vendor, "model": cards.full_name, "compute": cards.compute, "vram": cards.vram}
        for device in devices_of(spec.name, count=cards.count, numa=cards.numa, links=cards.links, **figures):
            written = status_patch(None, device, isolation=Isolation.SOFT, policy=IsolationPolicy.STATIC)
            body = {"metadata": {"name": device.object_name, "labels": {keys.GPU_POOL: "main"}}, **(written or {})}
            world.api.seed(GPUS, body)
            names[device.object_name] = device.index
    await world.settle()
    assert len(rows) == 7
    for name, count, asked, gets, _ in rows:
        annotations = dict(part.strip("`").replace('"', "").split(": ") for part in asked.split(", ") if part)
        wishes = {f"{keys.DOMAIN}/{key}": value for key, value in annotations.items()}
        world.worker(name, count=int(count), annotations={keys.ISOLATION: "shared", **wishes})
        await world.settle(1)
        got = f"{world.node_of(name)}: {' '.join(str(names[device]) for device in world.devices_of(name))}"
        assert (got if world.node_of(name) else "waits") == gets.strip("`"), name
    assert "come to tier 1 (same NUMA node), allowed is tier 0 (same interconnect)" in world.reason_of("never")
