"""A waiting pod is tried again on the events that can help it, and on no others."""

from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_RESOURCE_QUOTAS, GPUS, NODES, PODS


def attempts(world, name: str) -> int:
    entry = world.service.book.queue.get(world.pod(name)["metadata"]["uid"])
    return 0 if entry is None else entry.attempts


async def full(world, **wishes: str) -> None:
    """One device that ``holder`` fills, and ``waiting`` that does not fit beside it; its first backoff is over."""
    world.fleet()
    world.node("other", cpu="1")
    world.worker("holder", tflops="80", vram="8Gi")
    await world.start()
    world.worker("waiting", **{"tflops": "40", **wishes})
    await world.settle(20)
    assert attempts(world, "waiting") == 1


async def test_a_deleted_holder_helps_at_once(world) -> None:
    await full(world)
    world.delete("holder")
    await world.settle(0.1)
    assert world.node_of("waiting") == "n0"
    world.check_books()


async def test_a_finished_holder_helps_at_once(world) -> None:
    await full(world)
    world.finish("holder", "Failed")
    await world.settle(0.1)
    assert world.node_of("waiting") == "n0"


async def test_a_release_that_leaves_too_little_does_not(world) -> None:
    world.fleet()
    world.worker("large", tflops="70")
    world.worker("small", tflops="10")
    await world.start()
    world.worker("waiting", tflops="60")
    await world.settle(20)
    world.delete("small")
    await world.settle(20)
    assert attempts(world, "waiting") == 1
    world.delete("large")
    await world.settle(0.1)
    assert world.node_of("waiting") == "n0"


async def test_two_small_releases_help_together(world) -> None:
    world.fleet()
    world.worker("one", tflops="50")
    world.worker("two", tflops="50")
    await world.start()
    world.worker("waiting", tflops="100")
    await world.settle(20)
    world.delete("one")
    await world.settle(20)
    assert attempts(world, "waiting") == 1
    world.delete("two")
    await world.settle(0.1)
    assert world.node_of("waiting") == "n0"


async def test_a_new_device_of_its_pool_helps_and_one_of_another_pool_does_not(world) -> None:
    await full(world)
    world.pool("second")
    world.gpu("elsewhere", "n0", index=5, pool="second")
    await world.settle(20)
    assert attempts(world, "waiting") == 1
    world.gpu("here", "n0", index=6)
    await world.settle(0.1)
    assert world.devices_of("waiting") == ["here"]


async def test_a_device_that_starts_running_helps(world) -> None:
    await full(world)
    world.gpu("new", "n0", index=1, phase="Pending")
    await world.settle(20)
    assert attempts(world, "waiting") == 1
    world.api.change(GPUS, "new", {"status": {"phase": "Running"}}, subresource="status")
    await world.settle(0.1)
    assert world.devices_of("waiting") == ["new"]


async def test_roll_ups_labels_and_plain_pods_do_not(world) -> None:
    await full(world)
    rolled_up = {"status": {"available": {"tflops": "20", "vram": "8Gi"}}}
    world.api.change(GPUS, "g0-0", rolled_up, subresource="status")
    world.api.change(NODES, "n0", {"status": {"images": [{"names": ["x"]}]}}, subresource="status")
    world.api.change(PODS, "waiting", {"metadata": {"labels": {"app": "x"}}}, namespace="default")
    world.plain("plain", cpu="1")
    await world.settle(20)
    world.delete("plain")
    await world.settle(20)
    assert attempts(world, "waiting") == 1


async def test_an_uncordoned_node_helps(world) -> None:
    world.fleet()
    world.api.change(NODES, "n0", {"spec": {"unschedulable": True}})
    await world.start()
    world.worker("waiting")
    await world.settle(20)
    assert "cordoned" in world.reason_of("waiting")
    world.api.change(NODES, "n0", {"spec": {"unschedulable": False}})
    await world.settle(0.1)
    assert world.node_of("waiting") == "n0"


async def test_a_quota_that_is_raised_or_released_helps_its_namespace_only(world) -> None:
    world.fleet(devices=2)
    for namespace in ("a", "b"):
        world.quota(namespace, {"total": {"requests": {"tflops": "50"}}})
        world.worker("holder", tflops="40", namespace=namespace)
    await world.start()
    for namespace in ("a", "b"):
        world.worker(f"waiting-{namespace}", tflops="40", namespace=namespace)
    await world.settle(20)

    def tries(namespace: str) -> int:
        uid = world.pod(f"waiting-{namespace}", namespace)["metadata"]["uid"]
        entry = world.service.book.queue.get(uid)
        return 0 if entry is None else entry.attempts

    world.delete("holder", "a")
    await world.settle(0.1)
    assert world.node_of("waiting-a", "a") == "n0"
    await world.settle(20)
    assert tries("b") == 1
    world.api.change(GPU_RESOURCE_QUOTAS, "quota", {"spec": {"total": {"requests": {"tflops": "80"}}}}, namespace="b")
    await world.settle(0.1)
    assert world.node_of("waiting-b", "b") == "n0"
    world.check_books()


async def test_a_pod_that_is_changed_is_tried_again(world) -> None:
    await full(world)
    world.api.change(PODS, "waiting", {"metadata": {"annotations": {keys.TFLOPS_REQUEST: "10"}}}, namespace="default")
    await world.settle(0.1)
    assert world.node_of("waiting") == "n0"


async def test_without_any_event_it_is_tried_after_five_minutes(world) -> None:
    await full(world)
    await world.settle(250)
    assert attempts(world, "waiting") == 1
    await world.settle(60)
    assert attempts(world, "waiting") == 2


async def test_a_pod_that_left_the_queue_holds_nobody_up(world) -> None:
    await full(world)
    world.delete("waiting")
    await world.settle(1)
    assert len(world.service.book.queue) == 0
