"""After a restart the books are rebuilt from what the pods say, before anything is decided."""

from tensorfusion.model import keys
from tensorfusion.model.resources import GPUS, PODS
from tensorfusion.scheduler import feeds


async def test_a_restart_knows_every_share_and_decides_nothing_twice(world) -> None:
    world.fleet(nodes=3, devices=2)
    await world.start()
    for number in range(20):
        world.worker(f"p{number}", tflops="25")
    await world.settle(5)
    before = {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in world.api.objects(PODS)}
    bindings = len(world.bindings())
    await world.stop()
    world.finish("p3")
    world.delete("p4")
    await world.start()
    world.check_books()
    await world.settle(30)
    assert len(world.bindings()) == bindings
    after = {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in world.api.objects(PODS)}
    assert {name: before[name] for name in after} == after
    world.check()


async def test_the_first_decision_comes_after_the_last_bound_pod_was_read(world) -> None:
    world.fleet(tflops="100")
    for number in range(700):  # more than one slice
        name = f"p{number:03}"
        world.worker(name, tflops="0.1", vram="0")
        patch = {"spec": {"nodeName": "n0"}, "metadata": {"annotations": {keys.GPU_IDS: "g0-0"}}}
        world.api.change(PODS, name, patch, namespace="default")
    world.worker("a-first-in-the-list", tflops="40")
    await world.start()
    await world.settle(5)
    assert world.node_of("a-first-in-the-list") == ""
    world.check_books()


async def test_device_ids_without_a_node_hold_nothing(world) -> None:
    world.fleet()
    world.worker("ghost", tflops="60", annotations={keys.GPU_IDS: "g0-0"}, schedulerName="somebody-else")
    world.worker("a", tflops="60")
    await world.start()
    assert world.devices_of("a") == ["g0-0"]
    world.check_books()


async def test_finished_pods_hold_nothing(world) -> None:
    world.fleet()
    world.worker("done", tflops="60")
    patch = {"spec": {"nodeName": "n0"}, "metadata": {"annotations": {keys.GPU_IDS: "g0-0"}}}
    world.api.change(PODS, "done", patch, namespace="default")
    world.finish("done")
    world.worker("a", tflops="60")
    await world.start()
    assert world.devices_of("a") == ["g0-0"]
    world.check_books()


async def test_a_bound_pod_whose_wishes_cannot_be_read_stops_nobody(world) -> None:
    world.fleet()
    world.worker("broken", tflops="what")
    patch = {"spec": {"nodeName": "n0"}, "metadata": {"annotations": {keys.GPU_IDS: "g0-0,g0-0"}}}
    world.api.change(PODS, "broken", patch, namespace="default")
    world.worker("a")
    await world.start()
    assert world.node_of("a") == "n0"
    world.delete("broken")
    await world.settle()
    world.check_books()


async def test_an_oversold_device_is_reported_and_takes_no_more(world) -> None:
    world.fleet(tflops="100")
    patch = {"spec": {"nodeName": "n0"}, "metadata": {"annotations": {keys.GPU_IDS: "g0-0"}}}
    for name in ("a", "b"):
        world.worker(name, tflops="70")
        world.api.change(PODS, name, patch, namespace="default")
    world.worker("c", tflops="1")
    await world.start()
    assert [device.name for device in world.service.state.overcommitted()] == ["g0-0"]
    assert world.node_of("c") == ""
    world.delete("a")
    await world.settle(2)
    assert world.node_of("c") == "n0"


async def test_a_share_is_released_once_however_its_end_is_told(world) -> None:
    world.fleet(tflops="100")
    world.worker("a", tflops="60")
    world.worker("b", tflops="40")
    await world.start()
    world.finish("a")
    await world.settle()
    world.finish("a", "Failed")
    world.delete("a")
    await world.settle()
    world.check_books()


async def test_a_watch_that_expired_brings_deletions_by_the_new_list(world) -> None:
    world.fleet(tflops="100")
    world.worker("a", tflops="60")
    await world.start()
    world.gpu("g0-1", "n0", index=1)
    await world.settle()
    world.api.lag()
    world.delete("a")
    world.api.remove(GPUS, "g0-0")
    world.api.expire()
    world.api.catch_up()
    await world.settle(10)
    world.check_books()
    world.worker("b", tflops="60")
    await world.settle()
    assert world.devices_of("b") == ["g0-1"]


async def test_a_pod_replaced_while_nobody_watched_is_another_pod(world) -> None:
    world.fleet(tflops="100")
    world.worker("a", tflops="60")
    await world.start()
    world.api.lag()
    world.delete("a")
    world.worker("a", tflops="80")
    world.api.expire()
    world.api.catch_up()
    await world.settle(10)
    assert world.devices_of("a") == ["g0-0"]
    world.check_books()


async def test_a_follower_keeps_its_books_and_binds_nothing(world, office) -> None:
    world.fleet()
    leader = await world.start(office())
    follower = await world.start(office(leading=False))
    for number in range(5):
        world.worker(f"p{number}")
    await world.settle()
    assert len(world.bindings()) == 5
    assert set(leader.state.allocations) == set(follower.state.allocations)
    world.check_books()


async def test_a_fault_in_applying_one_object_does_not_stop_the_others(world, monkeypatch) -> None:
    world.fleet()
    world.node("odd")
    real = feeds.node_facts

    def faulty(node):
        if node.metadata.name == "odd":
            raise RuntimeError("a defect")
        return real(node)

    monkeypatch.setattr(feeds, "node_facts", faulty)
    world.worker("a")
    await world.start()
    assert world.node_of("a") == "n0"


async def test_a_quota_counts_a_share_in_percent_of_a_device_that_a_newcomer_never_saw(world) -> None:
    world.fleet(nodes=2, devices=1, tflops="100")
    world.quota("default", {"total": {"requests": {"tflops": "120"}, "limits": {"tflops": "200"}}})
    world.worker("a", tflops="0", annotations={keys.COMPUTE_PERCENT_REQUEST: "50", keys.COMPUTE_PERCENT_LIMIT: "80"})
    first = await world.start()
    await world.settle(1)
    (device,) = world.devices_of("a")
    before = first.state.usage("default")
    assert (before.compute, before.compute_limit) == (50_000, 80_000)
    await world.stop()
    world.api.remove(GPUS, device)
    newcomer = await world.start()
    await world.settle(1)
    assert newcomer.state.usage("default") == before
    world.worker("b", tflops="80")
    await world.settle(5)
    assert "requested 130, limit 120" in world.reason_of("b")
    world.gpu(device, world.node_of("a"), tflops="60")
    await world.settle(5)
    assert newcomer.state.usage("default").compute == 30_000 + 80_000
