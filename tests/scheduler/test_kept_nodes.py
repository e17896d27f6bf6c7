"""Nodes that are kept whole, live: who is kept out says so, and opens one before anybody is evicted for it."""

from typing import Any

import pytest

from tensorfusion.model.resources import GPU_POOLS, GPUS, PODS


async def keeping(world: Any) -> None:
    """Three nodes of two devices; whole-node jobs came first and are gone; one node is open and full, two are kept."""
    world.template("dense", "FragmentationAware")
    world.fleet(nodes=3, devices=2)
    world.api.change(GPU_POOLS, "main", {"spec": {"schedulingConfigTemplate": "dense"}})
    await world.start()
    for number in range(9):
        world.worker(f"whole-{number}", tflops="100", count=2)
    await world.settle(2)
    for number in range(9):
        world.delete(f"whole-{number}")
    await world.settle(2)
    for number in range(2):
        world.worker(f"small-{number}", tflops="100")
        await world.settle(2)
    assert {world.node_of("small-0"), world.node_of("small-1")} == {"n0"}


async def test_who_is_kept_out_says_so_and_whole_jobs_get_the_nodes(world) -> None:
    await keeping(world)
    world.worker("late", tflops="50")
    await world.settle(3)
    assert world.node_of("late") == ""
    assert "kept for jobs that want whole nodes" in world.reason_of("late")
    world.worker("whole", tflops="100", count=2)
    await world.settle(2)
    assert world.node_of("whole") == "n1"


@pytest.mark.parametrize("count", ["1", "2"])
async def test_a_node_is_opened_for_an_important_pod_and_nobody_is_evicted(world, count: str) -> None:
    await keeping(world)
    world.worker("late", tflops="50", priority=100, annotations={"tensor-fusion.ai/gpu-count": count})
    await world.settle(10)
    assert world.node_of("late") == "n1"
    assert world.node_of("small-0") == world.node_of("small-1") == "n0"
    assert not any("deletionTimestamp" in pod["metadata"] for pod in world.api.objects(PODS))
    world.check()
    world.check_books()


async def test_a_change_of_the_mode_opens_the_nodes(world) -> None:
    await keeping(world)
    world.worker("late", tflops="50")
    await world.settle(3)
    assert world.node_of("late") == ""
    world.api.change(GPU_POOLS, "main", {"spec": {"schedulingConfigTemplate": ""}})
    await world.settle(5)
    assert world.node_of("late") != ""


async def test_who_is_kept_out_is_looked_at_again_when_less_is_expected(world) -> None:
    """The devices that are in use go, and with them what whole-node jobs would have of them."""
    await keeping(world)
    world.worker("late", tflops="50")
    await world.settle(3)
    assert world.node_of("late") == ""
    for device in ("g0-0", "g0-1"):
        world.api.change(GPUS, device, {"status": {"phase": "Pending"}}, subresource="status")
    await world.settle(5)
    assert world.node_of("late") != ""
