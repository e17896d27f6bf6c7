"""Partitioned pods through the service: places in the Binding, recovered after a restart, templates that change."""

import json
from typing import Any

from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.provider_defaults import provider_objects
from tensorfusion.model.resources import GPUS, PROVIDER_CONFIGS
from tensorfusion.scheduler.advice import Advisor
from tensorfusion.scheduler.allocation import allocation
from tensorfusion.scheduler.explain import explain, explain_with_advice

MODEL = "NVIDIA A100-SXM4-80GB"


def cards(world: Any, devices: int = 1) -> None:
    for body in provider_objects():
        world.api.seed(PROVIDER_CONFIGS, body)
    world.fleet(devices=devices, tflops="312", vram="80Gi")
    for number in range(devices):
        status = {"isolationMode": "partitioned", "gpuModel": MODEL}
        world.api.change(GPUS, f"g0-{number}", {"status": status}, subresource="status")


def worker(world: Any, name: str, form: str = "", vram: str = "0Gi") -> None:
    notes = {keys.ISOLATION: "partitioned"} | ({keys.PARTITION_ID: form} if form else {})
    world.worker(name, tflops="0", vram=vram, annotations=notes)


def places(world: Any, name: str) -> list[tuple[str, int, int]]:
    text = world.pod(name)["metadata"]["annotations"].get(keys.PARTITIONS, "[]")
    return [(one["template"], one["slotStart"], one["slotEnd"]) for one in json.loads(text)]


async def test_a_binding_carries_the_partitions_places_and_the_template_that_was_matched(world) -> None:
    cards(world)
    worker(world, "a", "mig-3g.40gb")
    worker(world, "b", vram="9Gi")
    await world.start()
    await world.settle()
    assert places(world, "a") == [("nv-80g-3g-40gb", 0, 4)]
    assert world.pod("a")["metadata"]["annotations"][keys.PARTITION_ID] == "mig-3g.40gb", "the owner's own words stay"
    assert places(world, "b") == [("nv-80g-1g-10gb", 4, 5)]
    assert world.pod("b")["metadata"]["annotations"][keys.PARTITION_ID] == "nv-80g-1g-10gb"
    (told,) = explain(world.service, Key("default", "b"))["partitions"]
    assert told == "g0-0: nv-80g-1g-10gb, 44.571 TFLOPS, 10Gi, slots 4 to 4"
    device = world.service.state.fleet.devices["g0-0"]
    assert device.vram_held == 50 << 30
    told = await allocation(world.service)
    share = told["allocation"][world.pod("b")["metadata"]["uid"]]
    assert (share["PartitionTemplateID"], share["Request"]["vram"]) == ("nv-80g-1g-10gb", "10Gi")
    assert [one["request"]["vram"] for one in told["gpuToWorkerMap"]["g0-0"]] == ["40Gi", "10Gi"]


async def test_a_pod_whose_partition_is_over_quota_waits_without_being_decided_again_and_again(world) -> None:
    cards(world)
    world.quota("default", {"total": {"requests": {"tflops": "250"}}})
    worker(world, "a", "7g.80gb")
    await world.start()
    await world.settle(60)
    assert "total.max.tflops.request: requested 312, limit 250" in world.reason_of("a")
    assert world.service.book.queue.get(world.pod("a")["metadata"]["uid"]).attempts == 1


async def test_places_survive_a_restart_and_gaps_are_filled(world) -> None:
    cards(world)
    for name in ("a", "b"):
        worker(world, name, "3g.40gb")
    await world.start()
    await world.settle()
    await world.stop()
    world.delete("a")
    await world.start()
    worker(world, "c", "3g.40gb")
    worker(world, "d", "3g.40gb")
    await world.settle()
    placed = [name for name in "cd" if world.node_of(name)]
    assert [places(world, name) for name in placed] == [[("nv-80g-3g-40gb", 0, 4)]]
    (waiting,) = {"c", "d"} - set(placed)
    assert "1 device: without a free place for the partition" in world.reason_of(waiting)
    assert "PartitionTemplateMatchFailed" in world.events_of(waiting)


async def test_templates_that_go_leave_partitions_as_they_are_and_give_out_no_more(world) -> None:
    cards(world)
    worker(world, "a", "3g.40gb")
    await world.start()
    await world.settle()
    world.api.change(PROVIDER_CONFIGS, "nvidia-provider", {"spec": {"virtualizationTemplates": []}})
    await world.settle()
    assert world.service.state.fleet.devices["g0-0"].vram_held == 40 << 30
    worker(world, "b", "3g.40gb")
    await world.settle()
    assert "without a partition template" in world.reason_of("b")
    specs = {body["metadata"]["name"]: body["spec"] for body in provider_objects()}
    world.api.change(PROVIDER_CONFIGS, "nvidia-provider", {"spec": specs["nvidia-provider"]})
    await world.settle(5)
    assert places(world, "b") == [("nv-80g-3g-40gb", 4, 8)]


async def test_slices_of_ascend_devices_share_isolation_groups(world) -> None:
    cards(world)
    status = {"vendor": "Ascend", "gpuModel": "Ascend 310P3", "capacity": {"tflops": "22", "vram": "24Gi"}}
    world.api.change(GPUS, "g0-0", {"status": status}, subresource="status")
    for name, form in (("a", "vir01"), ("b", "vir01"), ("c", "vir02"), ("d", "vir04")):
        worker(world, name, form)
    await world.start()
    await world.settle()
    groups = {}
    for name in "abcd":
        for one in json.loads(world.pod(name)["metadata"]["annotations"].get(keys.PARTITIONS, "[]")):
            groups[name] = one["isolationGroup"]
            assert "slotStart" not in one
    assert (groups["a"], groups["b"], groups["c"]) == (0, 0, 1)
    assert groups.get("d") in (2, None), "AI CPUs may be used up"


async def test_the_largest_partition_that_has_a_place_is_what_helps(world) -> None:
    cards(world)
    worker(world, "a", "3g.40gb")
    await world.start()
    await world.settle()
    worker(world, "b", "7g.80gb")
    await world.settle()
    told = await explain_with_advice(world.service, Key("default", "b"), Advisor(world.service, lambda *_: True))
    said = [one for one in told["help"] if "partition" in one["change"]]
    assert said[0]["change"] == {"partition": "nv-80g-3g-40gb"}
    assert said[0]["words"].startswith("fits as a partition ")
    world.delete("b")
    worker(world, "c", said[0]["change"]["partition"])
    await world.settle()
    assert places(world, "c") == [("nv-80g-3g-40gb", 4, 8)]
