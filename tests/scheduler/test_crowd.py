"""Five thousand pods at once: everybody who fits gets a place within the stated bound, and nobody is asked in vain.

The guide "Why is it there, why does it wait" states the bound: a pod that fits is decided at the latest 10 s after
the change that made room for it, the longest backoff. Who fits is found here by plain sums over the objects.
"""

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler.queue import LONGEST_BACKOFF

PREFIX = f"{keys.DOMAIN}/"
KINDS = ((10, 1), (25, 2), (50, 8), (100, 4), (5, 16), (20, 6))
"""TFLOPS and GiB of the shares that are asked for."""
DEVICE = (100, 16)
BOUND = LONGEST_BACKOFF + 1.0
"""Seconds; the second is the step in which this test looks."""


async def run_through(world: Any, *, nodes: int, devices: int, pods: int) -> tuple[float, int]:
    """Create all pods at once and let each run for some time; answers the longest wait of a kind that fitted."""
    dice = random.Random(5)
    world.fleet(nodes=nodes, devices=devices, tflops=str(DEVICE[0]), vram=f"{DEVICE[1]}Gi")
    await world.start()
    kinds: dict[str, tuple[int, int]] = {}
    for number in range(pods):
        kind = dice.choice(KINDS)
        kinds[f"p{number}"] = kind
        world.worker(f"p{number}", tflops=str(kind[0]), vram=f"{kind[1]}Gi")
    ends: dict[int, list[str]] = defaultdict(list)
    free = {f"g{node}-{index}": list(DEVICE) for node in range(nodes) for index in range(devices)}
    seen = 0
    fits_since: dict[tuple[int, int], float] = {}
    longest = 0.0
    waiting = Counter(kinds.values())
    second = 0
    while waiting:
        second += 1
        assert second < 3_000, f"livelock: {waiting} wait for ever"
        await world.settle(1.0)
        for call in world.api.calls[seen:]:
            if call.verb == "bind":
                kind = kinds[call.name]
                (device,) = call.body["annotations"][keys.GPU_IDS].split(",")
                free[device][0] -= kind[0]
                free[device][1] -= kind[1]
                waiting -= Counter([kind])
                ends[second + dice.randrange(5, 60)].append(call.name)
        seen = len(world.api.calls)
        assert all(compute >= 0 and vram >= 0 for compute, vram in free.values()), "oversold"
        for kind in KINDS:
            fits = waiting[kind] and any(left[0] >= kind[0] and left[1] >= kind[1] for left in free.values())
            since = fits_since.setdefault(kind, second)
            if not fits:
                fits_since[kind] = second
            longest = max(longest, second - since)
        for name in ends.pop(second, ()):
            kind = kinds[name]
            left = free[world.pod(name)["metadata"]["annotations"][keys.GPU_IDS]]
            left[0] += kind[0]
            left[1] += kind[1]
            world.api.remove(PODS, name, namespace="default")
    return longest, second


@pytest.mark.parametrize(
    ("nodes", "pods"), [(2, 200), pytest.param(25, 5_000, marks=pytest.mark.long)], ids=["200", "5000"]
)
async def test_nobody_who_fits_waits_longer_than_the_stated_bound(world, nodes: int, pods: int) -> None:
    longest, seconds = await run_through(world, nodes=nodes, devices=8, pods=pods)
    attempts = world.service.book.queue.figures
    print(
        f"{pods} pods through {nodes} nodes in {seconds} s: {longest:.0f} s was the longest wait of a kind that fitted"
    )
    assert longest <= BOUND
    assert len(world.bindings()) == pods, "somebody was bound twice"
    assert attempts.retries < 60 * pods, "pods are decided over and over"
