"""Pods of a device plugin beside shares, through the whole scheduler: nodes, devices, events and wake-ups."""

from typing import Any

import pytest

from tensorfusion.model.resources import GPUS, NODES, PROVIDER_CONFIGS


def native(world: Any, name: str, *, resource: str = "nvidia.com/gpu", count: int = 1) -> None:
    limits = {"containers": [{"name": "main", "resources": {"limits": {resource: str(count)}}}]}
    world.plain(name, **limits)


def offer(world: Any, node: str, *, resource: str = "nvidia.com/gpu", count: int = 2) -> None:
    allocatable = {"cpu": "64", "memory": "256Gi", "pods": "110", resource: str(count)}
    world.api.change(NODES, node, {"status": {"allocatable": allocatable}}, subresource="status")


def used_by(world: Any, device: str, system: str) -> None:
    world.api.change(GPUS, device, {"status": {"usedBy": system}}, subresource="status")


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "acme.com/gpu"])
async def test_a_native_pod_keeps_off_shares_and_shares_keep_off_its_device(world: Any, resource: str) -> None:
    world.fleet(nodes=2, devices=2)
    config = {"vendor": "Acme", "images": {"middleware": ""}, "inUseResourceNames": ["acme.com/gpu"]}
    world.api.seed(PROVIDER_CONFIGS, {"metadata": {"name": "acme"}, "spec": config})
    for node in ("n0", "n1"):
        offer(world, node, resource=resource)
    await world.start()
    world.worker("s", tflops="60")
    await world.settle()
    native(world, "a", resource=resource)
    await world.settle(2)
    assert {world.node_of("s"), world.node_of("a")} == {"n0", "n1"}
    assert world.node_of("a") in world.events_of("a")["ScheduleWithNativeGPU"]
    assert "ScheduleWithNativeGPU" not in world.events_of("s")

    for number in range(2):  # one fits beside s; the other waits for the plugin's choice
        world.worker(f"t{number}", tflops="100")
    await world.settle(2)
    waiting = next(name for name in ("t0", "t1") if not world.node_of(name))
    assert "has not chosen yet" in world.reason_of(waiting)
    number = world.node_of("a")[1]
    used_by(world, f"g{number}-0", "nvidia-device-plugin")
    await world.settle(2)
    assert world.devices_of(waiting) == [f"g{number}-1"]


async def test_a_waiting_native_pod_goes_where_the_last_share_ended(world: Any) -> None:
    world.fleet(nodes=1, devices=2)
    offer(world, "n0")
    await world.start()
    world.worker("s")
    await world.settle()
    native(world, "a")
    await world.settle(2)
    assert "holding shares of devices" in world.reason_of("a")
    world.finish("s")
    await world.settle(2)
    assert world.node_of("a") == "n0"


@pytest.mark.parametrize("first", ["bound", "waiting"])
async def test_pods_count_anew_when_a_provider_names_another_native_resource(world: Any, first: str) -> None:
    world.fleet(nodes=1, devices=2)
    offer(world, "n0", resource="acme.com/gpu")
    config = {"vendor": "Acme", "images": {"middleware": ""}, "inUseResourceNames": ["acme.com/other"]}
    world.api.seed(PROVIDER_CONFIGS, {"metadata": {"name": "acme"}, "spec": config})
    await world.start()
    if first == "waiting":
        offer(world, "n0", resource="acme.com/gpu", count=0)
    native(world, "a", resource="acme.com/gpu")
    await world.settle(2)
    assert world.node_of("a") == ("n0" if first == "bound" else "")
    world.api.change(PROVIDER_CONFIGS, "acme", {"spec": {"inUseResourceNames": ["acme.com/gpu"]}})
    await world.settle(2)
    world.worker("s")
    await world.settle(2)
    if first == "bound":  # its devices are not chosen yet
        assert "has not chosen yet" in world.reason_of("s")
        world.api.change(PROVIDER_CONFIGS, "acme", {"spec": {"inUseResourceNames": ["acme.com/other"]}})
        await world.settle(15)
        assert world.node_of("s") == "n0"
    else:
        assert world.node_of("s") == "n0"
        offer(world, "n0", resource="acme.com/gpu")
        await world.settle(15)
        assert "holding shares of devices" in world.reason_of("a")
    world.check_books()
