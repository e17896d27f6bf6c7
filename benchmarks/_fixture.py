"""The fixed fixture of the decision figures: a fleet, a stream of pods, and a warm-up to a part of the compute.

30 % is held before anything is measured, of very large fleets less: half a million pods would take a minute to place.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts, PoolFacts

GIB = 1 << 30
TFLOPS = 1000
POOL = "pool"
MODELS = ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA L4")
DEVICE_TFLOPS = 1000
WARM_PERCENT = 30


class World(Protocol):
    """Who can be told of a fleet: the columns' state, the reference scheduler."""

    def upsert_pool(self, facts: PoolFacts) -> object: ...
    def upsert_node(self, facts: NodeFacts) -> object: ...
    def upsert_device(self, facts: DeviceFacts) -> object: ...


def nodes(count: int) -> Iterator[NodeFacts]:
    for number in range(count):
        yield NodeFacts(f"node-{number:05}", cpu=64_000, memory=256 * GIB, pods=110)


def devices(count: int, per_node: int) -> Iterator[DeviceFacts]:
    for number in range(count):
        yield DeviceFacts(
            f"gpu-{number:05}",
            f"node-{number // per_node:05}",
            POOL,
            vendor="NVIDIA",
            model=MODELS[number % len(MODELS)],
            index=number % per_node,
            compute=DEVICE_TFLOPS * TFLOPS,
            vram=80 * GIB,
        )


def pool() -> PoolFacts:
    return PoolFacts(POOL)


def pod(number: int) -> PodFacts:
    """Pod i of the stream: small mixed requests, every 20th on 2 devices, every 50th on 4, every 10th with a model."""
    count = 4 if number % 50 == 49 else 2 if number % 20 == 19 else 1
    request = GpuRequest(
        pool=POOL,
        count=count,
        compute=10 * (1 + number % 9) * TFLOPS,
        vram=(1 + number % 8) * GIB,
        model=MODELS[number // 10 % len(MODELS)] if number % 10 == 4 else "",
    )
    return PodFacts(f"uid-{number}", "default", f"pod-{number}", request=request, cpu=100, memory=GIB // 4)


def fill(world: World, nodes_count: int, devices_count: int) -> None:
    """The fleet, in one pool."""
    world.upsert_pool(pool())
    for node in nodes(nodes_count):
        world.upsert_node(node)
    for device in devices(devices_count, devices_count // nodes_count):
        world.upsert_device(device)


def warm_up(total_devices: int, place: Callable[[PodFacts], None], *, percent: float = WARM_PERCENT) -> int:
    """Place pods of the stream until this much of the compute is held; returns the number of the next pod."""
    wanted = total_devices * DEVICE_TFLOPS * TFLOPS * percent // 100
    held = number = 0
    while held < wanted:
        one = pod(number)
        place(one)
        if one.request is not None:
            held += one.request.compute * one.request.count
        number += 1
    return number
