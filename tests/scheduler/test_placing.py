"""From a pending pod to one atomic Binding, and what its owner sees on the way."""

import json

import pytest

from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPU_POOLS, GPUS, NODES, PODS, SCHEDULING_CONFIG_TEMPLATES
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.records import describe


async def test_a_share_is_bound_with_devices_containers_and_epoch_in_one_request(world) -> None:
    world.fleet(devices=2)
    pod = world.worker("a", annotations={keys.INJECT_CONTAINER: "main"})
    await world.start(None, keys.SCHEDULER_NAME)
    assert world.node_of("a") == "n0"
    (call,) = [call for call in world.api.calls if call.verb == "bind"]
    device = world.devices_of("a")[0]
    assert call.body["uid"] == pod["metadata"]["uid"]
    assert call.body["annotations"] == {
        keys.GPU_IDS: device,
        keys.CONTAINER_GPUS: json.dumps({"main": [device]}, separators=(",", ":")),
        keys.SCHEDULER_EPOCH: "1",
    }
    world.check_books()


async def test_containers_in_name_order_take_consecutive_devices(world) -> None:
    world.fleet(devices=3)
    counts = {keys.CONTAINER_GPU_COUNT: '{"z": 1, "a": 2}', keys.INJECT_CONTAINER: "a,z"}
    world.worker("a", count=3, annotations=counts, containers=[{"name": "z"}, {"name": "a"}])
    await world.start()
    devices = world.devices_of("a")
    shares = json.loads(world.pod("a")["metadata"]["annotations"][keys.CONTAINER_GPUS])
    assert shares == {"a": devices[:2], "z": devices[2:]}


async def test_counts_that_do_not_add_up_hold_the_pod_back_with_one_line(world) -> None:
    world.fleet(devices=2)
    world.worker("a", count=2, annotations={keys.CONTAINER_GPU_COUNT: '{"main": 1}'})
    await world.start()
    assert world.bindings() == []
    assert "container-gpu-count" in world.reason_of("a")
    assert "\n" not in world.reason_of("a")
    await world.settle(2)
    assert "FailedScheduling" in world.events_of("a")


async def test_a_pod_whose_annotation_is_mended_is_placed(world) -> None:
    world.fleet()
    world.worker("a", tflops="many")
    await world.start()
    assert "tflops-request" in world.reason_of("a")
    world.api.change(PODS, "a", {"metadata": {"annotations": {keys.TFLOPS_REQUEST: "10"}}}, namespace="default")
    await world.settle(2)
    assert world.node_of("a") == "n0"


async def test_plain_pods_are_placed_where_they_fit_and_keep_off_devices(world) -> None:
    world.fleet()
    world.node("cpu", cpu="2")
    world.plain("a")
    world.plain("b")
    world.plain("c")
    await world.start()
    assert [world.node_of(name) for name in "abc"] == ["cpu", "cpu", "n0"]
    assert keys.GPU_IDS not in world.pod("a")["metadata"]["annotations"]
    world.check_books()


async def test_pods_of_other_schedulers_are_left_alone_and_their_use_is_counted(world) -> None:
    world.node("n0", cpu="2")
    world.plain("theirs", schedulerName="default-scheduler")
    world.plain("mine", cpu="2", schedulerName=keys.SCHEDULER_NAME)
    world.api.change(PODS, "theirs", {"spec": {"nodeName": "n0"}}, namespace="default")
    await world.start(None, keys.SCHEDULER_NAME)
    world.plain("other")
    await world.settle()
    assert world.bindings() == []
    assert "cpu" in world.reason_of("mine")
    assert world.reason_of("other") == ""


async def test_higher_priority_is_placed_first_and_equals_in_order_of_arrival(world) -> None:
    world.fleet(tflops="100")
    world.priority_class("urgent", 1000)
    await world.start()
    world.office.leading = False
    world.worker("late", tflops="40")
    world.worker("second", tflops="40")
    world.worker("first", tflops="40", priority=10)
    world.worker("by-class", tflops="40", priorityClassName="urgent")
    await world.settle()
    world.office.leading = True
    await world.settle()
    assert [name for name, *_ in world.bindings()] == ["by-class", "first"]


async def test_a_gated_pod_waits_for_its_gate(world) -> None:
    world.fleet()
    world.worker("a", schedulingGates=[{"name": "example.com/gate"}])
    await world.start()
    assert world.bindings() == []
    world.api.change(PODS, "a", {"spec": {"schedulingGates": None}}, namespace="default")
    await world.settle()
    assert world.node_of("a") == "n0"


async def test_a_pod_that_is_being_deleted_is_not_bound(world) -> None:
    world.fleet()
    world.api.hold("list")
    body = world.worker("a")
    stored = {**body["metadata"], "finalizers": ["example.com/f"]}
    world.api.change(PODS, "a", {"metadata": stored}, namespace="default")
    await world.api.delete(PODS, "a", namespace="default")
    world.api.hold("list").set()
    await world.start()
    assert world.bindings() == []


async def test_a_pod_that_does_not_fit_says_why_once(world) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.worker("big", vram="10Gi")
    await world.start()
    await world.settle(5)
    reason = world.reason_of("big")
    assert reason.startswith("0/2 nodes are available: 2 devices: not enough vram")
    assert world.events_of("big")["GPUQuotaOrCapacityNotEnough"] == reason
    assert "FailedScheduling" not in world.events_of("big")
    writes = [call for call in world.api.calls if call.verb == "patch" and call.resource == "pods"]
    assert len(writes) == 1
    await world.settle(1000)  # flushes change nothing, and so write nothing
    assert len([call for call in world.api.calls if call.verb == "patch" and call.resource == "pods"]) == 1


async def test_the_condition_keeps_those_of_others(world) -> None:
    world.fleet(vram="8Gi")
    world.worker("big", vram="10Gi")
    ready = {"type": "example.com/Ready", "status": "True"}
    world.api.change(PODS, "big", {"status": {"conditions": [ready]}}, namespace="default", subresource="status")
    await world.start()
    conditions = {c["type"]: c["status"] for c in world.pod("big")["status"]["conditions"]}
    assert conditions == {"example.com/Ready": "True", "PodScheduled": "False"}


async def test_quota_reasons_name_the_ceiling_and_have_their_own_event(world) -> None:
    world.fleet()
    world.quota("default", {"total": {"requests": {"tflops": "15"}}, "single": {"maxRequests": {"vram": "4Gi"}}})
    world.worker("first")
    await world.start()
    world.worker("total")
    world.worker("single", vram="8Gi")
    await world.settle(2)
    total = "quota exceeded in namespace default for total.max.tflops.request: requested 20, limit 15"
    assert world.reason_of("total") == total
    assert world.events_of("total") == {"GPUQuotaOrCapacityNotEnough": total}
    assert "single.max.vram.request: requested 8Gi, limit 4Gi" in world.reason_of("single")


async def test_of_several_quotas_the_lowest_ceiling_of_each_dimension_counts(world) -> None:
    world.fleet()
    world.quota("default", {"total": {"requests": {"tflops": "50", "vram": "1Gi"}}}, "a")
    world.quota("default", {"total": {"requests": {"tflops": "15", "vram": "9Gi"}}}, "b")
    world.worker("compute", tflops="20")
    world.worker("memory", tflops="1", vram="2Gi")
    await world.start()
    assert "limit 15" in world.reason_of("compute")
    assert "limit 1Gi" in world.reason_of("memory")


@pytest.mark.parametrize(
    ("pod", "pool", "template", "says"),
    [
        ("true", None, None, True),
        (None, None, None, False),
        (None, None, True, True),
        (None, True, None, True),
        (None, False, True, False),
        ("false", True, True, False),
        ("true", False, False, True),
    ],
)
async def test_a_dra_pod_is_placed_the_ordinary_way_and_an_event_says_so(
    world, pod: str | None, pool: bool | None, template: bool | None, says: bool
) -> None:
    world.fleet()
    placement = {"placement": {"mode": "CompactFirst"}, "dra": {"enable": template}}
    world.api.seed(SCHEDULING_CONFIG_TEMPLATES, {"metadata": {"name": "t"}, "spec": placement})
    spec = {"schedulingConfigTemplate": "t", "draConfig": {"enable": pool}}
    world.api.change(GPU_POOLS, "main", {"spec": spec})
    world.worker("a", annotations={} if pod is None else {keys.DRA_ENABLED: pod})
    await world.start()
    await world.settle(1)
    assert world.node_of("a") == "n0"
    assert ("DRAFallback" in world.events_of("a")) is says


async def test_a_placed_pod_has_its_events(world) -> None:
    world.fleet()
    world.worker("a")
    await world.start()
    await world.settle(1)
    assert world.events_of("a") == {
        "Scheduled": "Successfully assigned default/a to n0",
        "GPUDeviceAllocated": "g0-0 on n0",
    }


async def test_a_pools_template_decides_the_placement_and_its_change_counts_at_once(world) -> None:
    world.template("policy", "CompactFirst")
    world.pool("main", "policy")
    for number in range(2):
        world.node(f"n{number}")
        world.gpu(f"g{number}", f"n{number}")
    await world.start()
    for name in ("a", "b"):
        world.worker(name)
        await world.settle()
    assert [world.devices_of(name) for name in ("a", "b")] == [["g0"], ["g0"]]
    world.api.change(SCHEDULING_CONFIG_TEMPLATES, "policy", {"spec": {"placement": {"mode": "LowLoadFirst"}}})
    await world.settle()
    world.worker("c")
    await world.settle()
    assert world.devices_of("c") == ["g1"]


async def test_a_lost_device_takes_no_more_and_its_shares_count_again_when_it_returns(world) -> None:
    world.fleet(tflops="100")
    world.worker("a", tflops="60")
    await world.start()
    gpu = world.api.object(GPUS, "g0-0")
    world.api.remove(GPUS, "g0-0")
    world.worker("b", tflops="60")
    await world.settle(2)
    assert world.node_of("b") == ""
    world.api.seed(GPUS, {"metadata": {"name": "g0-0", "labels": gpu["metadata"]["labels"]}, "status": gpu["status"]})
    await world.settle(20)
    assert world.node_of("b") == ""
    world.finish("a")
    await world.settle(20)
    assert world.devices_of("b") == ["g0-0"]


async def test_a_lost_node_takes_no_pods(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    world.api.remove(NODES, "n0")
    world.worker("a")
    await world.settle()
    assert world.node_of("a") == "n1"


async def test_the_same_events_give_byte_identical_decisions(make_world) -> None:
    logs = []
    for _ in range(2):
        world = make_world()
        world.fleet(nodes=5, devices=4)
        await world.start()
        for number in range(60):
            world.worker(
                f"p{number}", tflops=str(7 * (number % 5 + 1)), vram=f"{number % 4 + 1}Gi", priority=number % 3
            )
            if number % 7 == 0:
                await world.settle()
            if number % 11 == 10:
                world.delete(f"p{number - 5}")
        await world.settle(30)
        records = [{**describe(record), "microseconds": 0} for record in world.service.records]
        logs.append(json.dumps([records, world.bindings()]).encode())
        await world.stop()
    assert logs[0] == logs[1]
    assert len(json.loads(logs[0])[1]) >= 50


async def test_numbers_that_change_all_the_time_are_told_from_time_to_time(world) -> None:
    world.fleet(vram="8Gi")
    world.worker("big", vram="10Gi")
    await world.start()
    first = world.reason_of("big")
    assert "1 device: not enough vram" in first
    for index in (1, 2):
        world.gpu(f"g0-{index}", "n0", index=index, vram="12Gi", phase="Pending")
        world.api.change(PODS, "big", {"spec": {"priority": index}}, namespace="default")
        await world.settle(3)
    assert world.reason_of("big") != first  # another reason is told at once
    second = world.reason_of("big")
    world.gpu("g0-3", "n0", index=3, phase="Pending")
    world.api.change(PODS, "big", {"spec": {"priority": 9}}, namespace="default")
    await world.settle(11)
    assert world.reason_of("big") == second
    await world.settle(40)
    assert "3 devices: not running" in world.reason_of("big")


async def test_a_reason_that_was_not_told_while_following_is_told_on_taking_over(world) -> None:
    world.fleet()
    await world.start()
    world.office.leading = False
    world.worker("broken", tflops="many")
    await world.settle()
    assert world.reason_of("broken") == ""
    world.office.leading, world.office.epoch = True, 2
    await world.settle(1)
    assert "tflops-request" in world.reason_of("broken")


async def test_a_hard_share_is_bound_with_the_percent_of_the_devices_processors(world) -> None:
    world.fleet(tflops="100")
    world.api.change(GPUS, "g0-0", {"status": {"isolationMode": "hard"}}, subresource="status")
    hard = {f"{keys.DOMAIN}/isolation": "hard", f"{keys.DOMAIN}/tflops-limit": "33"}
    world.worker("a", tflops="30", annotations=hard)
    await world.start()
    await world.settle()
    assert world.pod("a")["metadata"]["annotations"][keys.EFFECTIVE_HARD_SM_PERCENT] == "33"
    told = explain(world.service, Key("default", "a"))
    assert (told["hardPercent"], told["request"]["isolation"]) == ("33", "hard")
