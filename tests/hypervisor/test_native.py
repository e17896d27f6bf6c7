"""A simulated node's device plugin: whole devices for native pods, told on the GPU objects, never one that is shared."""

from typing import Any

import msgspec

from tensorfusion.hypervisor.agent import NodeAgent
from tensorfusion.hypervisor.native import NativeDevices
from tensorfusion.hypervisor.vendors.simulated import SimulatedVendor, devices_of
from tensorfusion.model import keys
from tensorfusion.model.annotations import annotations_of
from tensorfusion.model.core import Pod
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.resources import GPUS, NODES, PODS
from tensorfusion.testing.node_world import NodeWorld


def agent(world: NodeWorld) -> NodeAgent:
    devices = devices_of("n", count=3, vendor="NVIDIA", model="NVIDIA L4", compute=100_000, vram=24 << 30)
    vendor = SimulatedVendor(devices)
    plugin = NativeDevices()
    return NodeAgent(world.client, vendor, nodes=vendor.nodes, identity="sim", clock=world.clock, plugin=plugin)


async def started(world: NodeWorld) -> NodeAgent:
    world.api.seed(NODES, {"metadata": {"name": "n"}})
    serving = agent(world)
    await world.start(serving)
    await world.add_gpu_node("n")
    return serving


async def arrive(world: NodeWorld, serving: NodeAgent, name: str, *, native: int = 0, device: int = 0) -> str | None:
    """A bound pod comes to the node, and runs if it is let in."""
    spec: dict[str, Any] = {"nodeName": "n", "containers": [{"name": "m"}]}
    metadata: dict[str, Any] = {"name": name}
    if native:
        spec["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(native)}}
    else:
        request = GpuRequest(pool="p", compute=1000, vram=1 << 30)
        gpu_ids = {keys.GPU_IDS: gpus(world)[device]["metadata"]["name"]}
        metadata |= {"annotations": annotations_of(request) | gpu_ids, "labels": {keys.COMPONENT: "worker"}}
    body = {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}
    made = world.api.seed(PODS, body, namespace="default")
    refusal = serving.admit_share(msgspec.convert(made, Pod))
    await world.change(PODS, name, {"status": {"phase": "Failed" if refusal else "Running"}}, status=True)
    return refusal


def gpus(world: NodeWorld) -> list[dict[str, Any]]:
    return sorted(world.api.objects(GPUS), key=lambda gpu: gpu["status"]["index"])


def owners(world: NodeWorld) -> list[str]:
    return [gpu["status"]["usedBy"] for gpu in gpus(world)]


PLUGIN, OURS = "nvidia-device-plugin", "tensor-fusion"


async def test_a_native_pods_devices_are_told_and_given_back(world: NodeWorld) -> None:
    serving = await started(world)
    assert await arrive(world, serving, "a", native=2) is None
    assert owners(world) == [PLUGIN, PLUGIN, OURS]
    uid = world.find(PODS, "a")["metadata"]["uid"]
    assert gpus(world)[0]["metadata"]["annotations"][keys.NATIVE_POD] == uid
    await world.delete_pod("a", grace=0)
    assert owners(world) == [OURS, OURS, OURS]
    assert keys.NATIVE_POD not in gpus(world)[0]["metadata"].get("annotations", {})


async def test_no_device_is_both_native_and_shared(world: NodeWorld) -> None:
    serving = await started(world)
    assert await arrive(world, serving, "s", device=0) is None
    assert await arrive(world, serving, "a", native=1) is None
    assert owners(world) == [OURS, PLUGIN, OURS]
    assert "the device plugin gave it to another pod" in (await arrive(world, serving, "t", device=1) or "")
    assert "has 1 free devices on this node, wanted 2" in (await arrive(world, serving, "b", native=2) or "")


async def test_a_restarted_agent_knows_who_has_what(world: NodeWorld) -> None:
    serving = await started(world)
    await arrive(world, serving, "s", device=0)
    await arrive(world, serving, "a", native=1)
    before = [(gpu["status"]["usedBy"], gpu["metadata"].get("annotations")) for gpu in gpus(world)]
    await world.stop()
    serving = agent(world)
    await world.start(serving)
    assert [(gpu["status"]["usedBy"], gpu["metadata"].get("annotations")) for gpu in gpus(world)] == before
    assert "gave it to another pod" in (await arrive(world, serving, "t", device=1) or "")
    await world.delete_pod("a", grace=0)
    assert owners(world) == [OURS, OURS, OURS]


async def test_the_device_that_came_back_last_is_given_out_first(world: NodeWorld) -> None:
    serving = await started(world)
    await arrive(world, serving, "a", native=1)
    await arrive(world, serving, "b", native=1)
    await world.delete_pod("b", grace=0)
    await world.delete_pod("a", grace=0)
    await arrive(world, serving, "c", native=1)
    assert owners(world) == [PLUGIN, OURS, OURS]
