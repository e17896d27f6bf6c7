"""The node agent: GPU objects follow the devices, shares are checked once more, nothing is written twice."""

import json
from dataclasses import replace
from typing import Any

import msgspec

from tensorfusion.hypervisor.agent import NodeAgent
from tensorfusion.hypervisor.vendors.simulated import (
    FAULTY_DEVICES,
    LOST_DEVICES,
    SimulatedVendor,
    device_uuid,
    devices_of,
)
from tensorfusion.model import keys
from tensorfusion.model.annotations import annotations_of
from tensorfusion.model.common import IsolationPolicy
from tensorfusion.model.core import Pod
from tensorfusion.model.partitions import Partition, partitions_text
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.model.resources import GPU_NODES, GPU_POOLS, GPUS, LEASES, NODES, PODS
from tensorfusion.testing.api import Call
from tensorfusion.testing.node_world import NodeWorld

VENDOR_MODEL = "NVIDIA A100-SXM4-80GB"
WORKER = {keys.COMPONENT: "worker"}


def vendor(*nodes: str, count: int = 2) -> SimulatedVendor:
    return SimulatedVendor(
        device
        for node in nodes or ("n",)
        for device in devices_of(node, count=count, vendor="NVIDIA", model=VENDOR_MODEL, compute=312_000, vram=80 << 30)
    )


def agent(world: NodeWorld, devices: SimulatedVendor | None = None) -> NodeAgent:
    devices = devices or vendor()
    return NodeAgent(world.client, devices, nodes=devices.nodes, identity="sim", clock=world.clock)


async def started(world: NodeWorld, *, labels: dict[str, str] | None = None) -> NodeAgent:
    """An agent for node ``n`` with two devices, published."""
    world.api.seed(NODES, {"metadata": {"name": "n", "labels": labels or {}}})
    serving = agent(world)
    await world.start(serving)
    await world.add_gpu_node("n")
    return serving


def names(world: NodeWorld) -> list[str]:
    return [gpu["metadata"]["name"] for gpu in sorted(world.api.objects(GPUS), key=lambda g: g["status"]["index"])]


def gpu(world: NodeWorld, name: str) -> dict[str, Any]:
    return world.api.object(GPUS, name)


def writes(world: NodeWorld) -> list[Call]:
    return world.writes(GPUS)


async def annotate(world: NodeWorld, key: str, value: str | None) -> None:
    await world.change(NODES, "n", {"metadata": {"annotations": {key: value}}})


async def hold(world: NodeWorld, name: str, device: str, *, phase: str = "Running") -> None:
    annotations = annotations_of(GpuRequest(pool="p", compute=1000, vram=1 << 30)) | {keys.GPU_IDS: device}
    await world.add_pod(name, "n", annotations=annotations, labels=WORKER, phase=phase)


async def test_devices_are_published_when_their_node_belongs_to_a_pool(world: NodeWorld) -> None:
    await world.start(agent(world))
    assert world.api.objects(GPUS) == []
    await world.add_gpu_node("n", pool="shared")
    first = gpu(world, names(world)[0])
    assert first["metadata"]["labels"] == {keys.MANAGED_BY: "n", keys.GPU_POOL: "shared"}
    assert [owner["kind"] for owner in first["metadata"]["ownerReferences"]] == ["GPUNode"]
    amount = {"tflops": "312", "vram": "80Gi"}
    second = device_uuid("n", 1)
    assert first["status"] == {
        "phase": "Running",
        "vendor": "NVIDIA",
        "gpuModel": VENDOR_MODEL,
        "uuid": first["status"]["uuid"],
        "capacity": amount,
        "available": amount,
        "index": 0,
        "numaNode": 0,
        "nodeSelector": {"kubernetes.io/hostname": "n"},
        "usedBy": "tensor-fusion",
        "isolationMode": "soft",
        "isolationPolicy": "Static",
        "message": "managed",
        "topology": {"peers": [{"peerGPUUUID": second, "tier": 0, "linkType": "NVLink", "bandwidth": 600_000_000_000}]},
        "nvLink": {
            "peerCount": 1,
            "totalLinkCount": 12,
            "totalBandwidthMBps": 600_000,
            "peers": [{"peerUUID": second, "linkCount": 12, "linkVersion": 3, "bandwidthMBps": 600_000}],
        },
    }
    assert first["status"]["uuid"].lower() == first["metadata"]["name"]


async def test_a_device_costs_two_writes_and_then_none(world: NodeWorld) -> None:
    await started(world)
    assert [(write.verb, write.subresource) for write in writes(world)] == [("create", ""), ("patch", "status")] * 2
    for number in range(3):
        await world.change(GPU_NODES, "n", {"status": {"totalGPUs": number}}, status=True)
        await world.change(GPUS, names(world)[0], {"status": {"available": {"tflops": str(number)}}}, status=True)
        await world.advance(60)
    assert len(writes(world)) == 4


async def test_links_that_are_gone_are_taken_out_of_the_object(world: NodeWorld) -> None:
    made = vendor("n")
    world.api.seed(NODES, {"metadata": {"name": "n"}})
    await world.start(agent(world, made))
    await world.add_gpu_node("n")
    assert "nvLink" in gpu(world, names(world)[0])["status"]
    made.follow(replace(device, links=()) for device in made.devices("n"))
    await world.settle()
    assert {"topology", "nvLink"}.isdisjoint(gpu(world, names(world)[0])["status"])


async def test_a_restart_writes_nothing(world: NodeWorld) -> None:
    await started(world)
    await world.stop()
    before = len(writes(world))
    await world.start(agent(world))
    await world.settle()
    assert len(writes(world)) == before


async def test_what_others_break_is_put_right_and_their_own_part_is_left(world: NodeWorld) -> None:
    await started(world)
    name = names(world)[0]
    theirs = {"available": {"tflops": "1", "vram": "1Gi"}, "phase": "Pending", "message": "?"}
    await world.change(GPUS, name, {"status": theirs}, status=True)
    status = gpu(world, name)["status"]
    assert (status["phase"], status["message"], status["available"]["tflops"]) == ("Running", "managed", "1")
    world.api.remove(GPUS, name)
    await world.settle()
    assert name in names(world)


async def test_half_a_publication_is_completed_after_a_failure(world: NodeWorld) -> None:
    world.api.fail("patch", GPUS, times=2)
    await started(world)
    await world.advance(1)
    assert {found["status"]["phase"] for found in world.api.objects(GPUS)} == {"Running"}
    assert all(found["status"]["available"]["vram"] == "80Gi" for found in world.api.objects(GPUS))


async def test_a_node_that_changes_its_pool_takes_its_devices_along(world: NodeWorld) -> None:
    await started(world)
    await world.change(GPU_NODES, "n", {"metadata": {"labels": {keys.MANAGED_BY: "other"}}})
    assert {found["metadata"]["labels"][keys.GPU_POOL] for found in world.api.objects(GPUS)} == {"other"}


async def test_the_pools_isolation_rules_decide_the_mode(world: NodeWorld) -> None:
    rule = {"mode": "shared", "selector": {"matchLabels": {"tier": "whole"}}}
    pool = {"metadata": {"name": "p"}, "spec": {"nodeManagerConfig": {"isolationModeRules": [rule]}}}
    world.api.seed(GPU_POOLS, pool)
    await started(world, labels={"tier": "whole"})
    assert {found["status"]["isolationMode"] for found in world.api.objects(GPUS)} == {"shared"}
    await world.change(GPU_POOLS, "p", {"spec": {"nodeManagerConfig": {"isolationModeRules": None}}})
    assert {found["status"]["isolationMode"] for found in world.api.objects(GPUS)} == {"soft"}


async def test_only_the_devices_that_the_node_names_are_used(world: NodeWorld) -> None:
    await world.start(agent(world))
    await world.add_gpu_node("n", gpuCardIndices=[1])
    assert [found["status"]["index"] for found in world.api.objects(GPUS)] == [1]
    await world.change(GPU_NODES, "n", {"spec": {"gpuCardIndices": []}})
    assert len(world.api.objects(GPUS)) == 2


async def test_an_idle_device_that_is_lost_goes_and_comes_back_as_itself(world: NodeWorld) -> None:
    await started(world)
    before = names(world)
    await annotate(world, LOST_DEVICES, "1")
    assert names(world) == before[:1]
    await annotate(world, LOST_DEVICES, None)
    assert names(world) == before


async def test_a_busy_device_that_is_lost_stays_as_missing_until_it_is_idle(world: NodeWorld) -> None:
    await started(world)
    name = names(world)[0]
    await hold(world, "holder", name)
    await annotate(world, LOST_DEVICES, "0")
    missing = gpu(world, name)
    assert missing["status"]["phase"] == "Unknown"
    assert missing["metadata"]["annotations"][keys.GPU_MISSING_SINCE] == "2026-01-01T00:00:00Z"
    await world.advance(60)
    assert gpu(world, name) == missing
    await world.delete_pod("holder", grace=0)
    assert world.find(GPUS, name) is None


async def test_a_missing_device_that_returns_is_running_again(world: NodeWorld) -> None:
    await started(world)
    name = names(world)[0]
    await hold(world, "holder", name)
    await annotate(world, LOST_DEVICES, "0")
    await annotate(world, LOST_DEVICES, "")
    back = gpu(world, name)
    assert (back["status"]["phase"], back["status"]["message"]) == ("Running", "managed")
    assert keys.GPU_MISSING_SINCE not in back["metadata"].get("annotations", {})


async def test_who_holds_a_missing_device_is_known_after_a_restart(world: NodeWorld) -> None:
    await started(world)
    name = names(world)[0]
    await hold(world, "holder", name)
    await annotate(world, LOST_DEVICES, "0")
    await world.stop()
    await world.start(agent(world))
    await world.settle()
    assert gpu(world, name)["status"]["phase"] == "Unknown"


async def test_a_broken_device_takes_no_work_and_says_why(world: NodeWorld) -> None:
    serving = await started(world)
    name = names(world)[0]
    await annotate(world, FAULTY_DEVICES, "0")
    broken = gpu(world, name)["status"]
    assert broken["phase"] == "Unknown"
    assert "uncorrectable error" in broken["message"]
    await hold(world, "late", name, phase="Pending")
    assert "does not work" in (serving.admit_share(await pod(world, "late")) or "")
    await annotate(world, FAULTY_DEVICES, None)
    assert gpu(world, name)["status"]["phase"] == "Running"
    assert serving.admit_share(await pod(world, "late")) is None


async def test_an_annotation_that_is_no_list_of_devices_changes_nothing(world: NodeWorld) -> None:
    await started(world)
    for text in ("a", "0,7", "-1", "0;1"):
        await annotate(world, LOST_DEVICES, text)
        assert len(names(world)) == 2


async def test_shares_of_ended_pods_are_given_back(world: NodeWorld) -> None:
    serving = await started(world)
    name = names(world)[0]
    whole = annotations_of(GpuRequest(pool="p", compute=312_000, vram=80 << 30)) | {keys.GPU_IDS: name}
    for number in range(3):
        await world.add_pod(f"pod-{number}", "n", annotations=whole, labels=WORKER)
    first, second, third = [await pod(world, f"pod-{number}") for number in range(3)]
    assert serving.admit_share(first) is None
    assert "cannot hold the share" in (serving.admit_share(second) or "")
    await world.change(PODS, "pod-0", {"status": {"phase": "Succeeded"}}, status=True)
    assert serving.admit_share(second) is None
    await world.delete_pod("pod-1", grace=0)
    assert serving.admit_share(third) is None


async def test_running_pods_are_in_the_books_after_a_restart(world: NodeWorld) -> None:
    await started(world)
    name = names(world)[0]
    whole = annotations_of(GpuRequest(pool="p", compute=312_000, vram=80 << 30)) | {keys.GPU_IDS: name}
    await world.add_pod("old", "n", annotations=whole, labels=WORKER, phase="Running")
    await world.add_pod("late", "n", annotations=whole, labels=WORKER)
    await world.stop()
    successor = agent(world)
    await world.start(successor)
    assert "free are 0 TFLOPS and 0" in (successor.admit_share(await pod(world, "late")) or "")


async def test_one_lease_is_the_heartbeat_of_all_devices(world: NodeWorld) -> None:
    await world.start(agent(world, vendor(*(f"n{number}" for number in range(50)))))
    first = world.find(LEASES, "tensor-fusion-agent-sim", keys.SYSTEM_NAMESPACE)
    assert first is not None
    await world.advance(100)
    assert len(world.writes(LEASES)) == 2 + 10
    last = world.find(LEASES, "tensor-fusion-agent-sim", keys.SYSTEM_NAMESPACE)
    assert last is not None
    assert last["spec"]["renewTime"] == "2026-01-01T00:01:40.000000Z"


async def test_the_heartbeat_outlives_an_api_that_is_down(world: NodeWorld) -> None:
    await world.start(agent(world))
    world.api.fail(resource=LEASES, times=-1)
    await world.advance(30)
    world.api.recover()
    await world.advance(30)
    lease = world.find(LEASES, "tensor-fusion-agent-sim", keys.SYSTEM_NAMESPACE)
    assert lease is not None
    assert lease["spec"]["renewTime"] == "2026-01-01T00:01:00.000000Z"


async def pod(world: NodeWorld, name: str) -> Any:
    from tensorfusion.model.core import Pod

    return await world.api.get(PODS, Pod, name, namespace="default")


async def test_new_limits_of_a_running_pod_come_into_force_or_wait_for_room(world: NodeWorld) -> None:
    told: list[str] = []

    class Recorder:
        def record(self, reference: Any, *, type_: Any, reason: str, message: str) -> None:
            told.append(f"{reference.name} {reason}: {message}")

    devices = vendor()
    serving = NodeAgent(
        world.client, devices, nodes=devices.nodes, identity="sim", clock=world.clock, recorder=Recorder()
    )
    world.api.seed(NODES, {"metadata": {"name": "n"}})
    await world.start(serving)
    await world.add_gpu_node("n")
    name = names(world)[0]
    await hold(world, "a", name)
    await hold(world, "b", name)
    amounts = {"metadata": {"annotations": {keys.TFLOPS_REQUEST: "312", keys.TFLOPS_LIMIT: "312"}}}
    await world.change(PODS, "a", amounts)
    (message,) = told
    assert message.startswith("a LimitsKept: the limits stay as they were: device")
    await world.delete_pod("b", grace=0)
    third = await refusal(world, serving, name)
    assert "free are 0 TFLOPS" in third, "a has it all since b left"
    assert len(told) == 1


async def refusal(world: NodeWorld, serving: NodeAgent, device: str) -> str:
    """What the agent says to one more pod on the device."""
    await hold(world, "late", device, phase="Pending")
    pod = msgspec.convert(world.find(PODS, "late"), Pod, strict=False)
    return serving.admit_share(pod) or ""


async def test_devices_say_what_they_can_do_and_which_mode_they_are_in(world: NodeWorld) -> None:
    rules = [{"mode": "hard", "selector": {"matchLabels": {"isolation": "hard"}}}]
    world.api.seed(GPU_POOLS, {"metadata": {"name": "p"}, "spec": {"nodeManagerConfig": {"isolationModeRules": rules}}})
    world.api.seed(NODES, {"metadata": {"name": "n"}})
    devices = vendor(count=1)
    policy = IsolationPolicy.DYNAMIC
    await world.start(
        NodeAgent(world.client, devices, nodes=devices.nodes, identity="sim", clock=world.clock, policy=policy)
    )
    await world.add_gpu_node("n")
    (name,) = names(world)
    able = json.loads(gpu(world, name)["metadata"]["annotations"][keys.VIRTUALIZATION_CAPABILITIES])
    assert able == {
        "SupportsHardIsolation": True,
        "SupportsPartitioning": True,
        "SupportsSoftIsolation": True,
        "MaxPartitions": 7,
    }
    status = gpu(world, name)["status"]
    assert (status["isolationMode"], status["isolationPolicy"]) == ("soft", "Dynamic")
    await world.change(NODES, "n", {"metadata": {"labels": {"isolation": "hard"}}})
    status = gpu(world, name)["status"]
    assert (status["isolationMode"], status["isolationPolicy"]) == ("hard", "Static")
    await world.change(GPUS, name, {"metadata": {"annotations": {keys.VIRTUALIZATION_CAPABILITIES: "{}"}}})
    assert json.loads(gpu(world, name)["metadata"]["annotations"][keys.VIRTUALIZATION_CAPABILITIES]) == able


def partitioned(name: str, *starts: int, form: str = "nv-80g-3g-40gb", length: int = 4) -> dict[str, str]:
    """The annotations of a pod with one partition of device ``name``."""
    cut = [Partition(form, 133_713, 40 << 30, start=start, length=length) for start in starts]
    request = GpuRequest(pool="p", isolation=Isolation.PARTITIONED, partition=form)
    return annotations_of(request) | {keys.GPU_IDS: name, keys.PARTITIONS: partitions_text([name], cut)}


async def test_a_partition_is_cut_for_a_pod_and_undone_when_it_ends(world: NodeWorld) -> None:
    devices = vendor(count=1)
    serving = agent(world, devices)
    world.api.seed(NODES, {"metadata": {"name": "n"}})
    await world.start(serving)
    await world.add_gpu_node("n")
    (name,) = names(world)
    (card,) = devices.devices("n")
    for uid, start in (("a", 0), ("b", 4)):
        await world.add_pod(uid, "n", annotations=partitioned(name, start), labels=WORKER)
        found = msgspec.convert(world.find(PODS, uid), Pod, strict=False)
        assert serving.admit_share(found) is None
        assert serving.notes(found)[keys.PARTITION_UUIDS].endswith(f":{name}")
    assert sorted(one.start for one in devices.partitions(card)) == [0, 4]
    for start, words in ((0, "taken by"), (2, "taken by")):
        await world.add_pod(f"c{start}", "n", annotations=partitioned(name, start, length=1), labels=WORKER)
        late = msgspec.convert(world.find(PODS, f"c{start}"), Pod, strict=False)
        refusal = serving.admit_share(late) or ""
        assert words in refusal or "cannot hold the share" in refusal
        assert serving.notes(late) == {}
    await world.delete_pod("a", grace=0)
    assert [one.start for one in devices.partitions(card)] == [4]


async def test_partitions_of_running_pods_are_there_after_a_restart(world: NodeWorld) -> None:
    serving = await started(world)
    name = names(world)[0]
    await world.add_pod("a", "n", annotations=partitioned(name, 0), labels=WORKER, phase="Running")
    await world.stop()
    devices = vendor()
    serving = agent(world, devices)
    await world.start(serving)
    assert [one.start for one in devices.partitions(devices.devices("n")[0])] == [0]
    running = msgspec.convert(world.find(PODS, "a"), Pod, strict=False)
    assert serving.admit_share(running) is None


async def test_a_partitioned_pod_without_its_places_is_refused(world: NodeWorld) -> None:
    serving = await started(world)
    notes = partitioned(names(world)[0], 0)
    del notes[keys.PARTITIONS]
    await world.add_pod("a", "n", annotations=notes, labels=WORKER)
    refusal = serving.admit_share(msgspec.convert(world.find(PODS, "a"), Pod, strict=False))
    assert "carries no annotation tensor-fusion.ai/partitions" in (refusal or "")
