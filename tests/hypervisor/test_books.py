"""The agent's books: what a device cannot hold is refused, whoever bound it."""

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.hypervisor.books import DeviceBooks, Limits
from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.model import keys
from tensorfusion.model.annotations import annotations_of
from tensorfusion.model.core import Pod, PodSpec
from tensorfusion.model.meta import Meta
from tensorfusion.model.request import GpuRequest, Isolation

GIB = 1 << 30
NODE = "n"


def device(index: int = 0, compute: int = 100_000, vram: int = 16 * GIB, fault: str = "") -> Device:
    return Device(f"GPU-{index}", NODE, index, "NVIDIA", "A100", compute, vram, fault=fault)


def present(*devices: Device) -> dict[str, Device]:
    return {each.object_name: each for each in devices}


def pod(uid: str, ids: str, request: GpuRequest | None = None, **annotations: str) -> Pod:
    request = request or GpuRequest(pool="p", compute=40_000, vram=4 * GIB)
    written = annotations_of(request) | ({keys.GPU_IDS: ids} if ids else {}) | annotations
    metadata = Meta(name=uid, namespace="d", uid=uid, annotations=written, labels={keys.COMPONENT: "worker"})
    return Pod(metadata=metadata, spec=PodSpec(node_name=NODE))


def test_shares_are_taken_until_the_device_is_full() -> None:
    books, devices = DeviceBooks(), present(device())
    assert books.charge(pod("a", "gpu-0"), devices) is None
    assert books.charge(pod("b", "gpu-0"), devices) is None
    refusal = books.charge(pod("c", "gpu-0"), devices)
    assert refusal is not None
    assert "gpu-0 cannot hold the share: wanted 40 TFLOPS and 4Gi, free are 20 TFLOPS and 8Gi" in refusal
    assert books.held("gpu-0") == (80_000, 8 * GIB)


def test_a_pod_is_charged_once_and_released_once() -> None:
    books, devices = DeviceBooks(), present(device())
    for _ in range(3):
        assert books.charge(pod("a", "gpu-0"), devices) is None
    assert books.held("gpu-0") == (40_000, 4 * GIB)
    assert books.release("a") == ("gpu-0",)
    assert books.release("a") == ()
    assert books.held("gpu-0") == (0, 0)
    assert books.holders("gpu-0") == 0


def test_all_devices_of_a_pod_or_none() -> None:
    books = DeviceBooks()
    devices = present(device(0), device(1, vram=GIB))
    two = GpuRequest(pool="p", count=2, vram=4 * GIB)
    assert books.charge(pod("a", "gpu-0,gpu-1", two), devices) is not None
    assert books.held("gpu-0") == (0, 0)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ("", "asks for 1 devices and carries 0 gpu-ids"),
        ("gpu-0,gpu-1", "asks for 1 devices and carries 2 gpu-ids"),
        ("gpu-9", "gpu-9 is not on node n, or does not answer"),
        ("gpu-2", "gpu-2 does not work: broken"),
        ("a,,b", "does not describe its shares: annotation tensor-fusion.ai/gpu-ids"),
    ],
)
def test_shares_that_make_no_sense_here_are_refused(ids: str, reason: str) -> None:
    refusal = DeviceBooks().charge(pod("a", ids), present(device(0), device(1), device(2, fault="broken")))
    assert refusal is not None
    assert reason in refusal
    assert "\n" not in refusal


def test_a_broken_request_is_refused_with_its_annotation() -> None:
    refusal = DeviceBooks().charge(pod("a", "gpu-0", **{keys.VRAM_REQUEST: "much"}), present(device()))
    assert refusal is not None
    assert keys.VRAM_REQUEST in refusal


def test_a_plain_pod_is_let_in_but_not_with_devices() -> None:
    books = DeviceBooks()
    plain = Pod(metadata=Meta(uid="a"), spec=PodSpec(node_name=NODE))
    assert books.charge(plain, present(device())) is None
    assert not books.holds("a")
    odd = Pod(metadata=Meta(uid="b", annotations={keys.GPU_IDS: "gpu-0"}), spec=PodSpec(node_name=NODE))
    assert books.charge(odd, present(device())) is not None


def test_percent_is_a_part_of_the_device_rounded_down() -> None:
    books = DeviceBooks()
    devices = present(device(compute=100_003))
    third = GpuRequest(pool="p", percent=33_333, vram=GIB)
    for uid in "abc":
        assert books.charge(pod(uid, "gpu-0", third), devices) is None
    assert books.held("gpu-0")[0] == 3 * (33_333 * 100_003 // 100_000)


def test_a_whole_device_is_not_shared() -> None:
    whole = GpuRequest(pool="p", isolation=Isolation.SHARED)
    books, devices = DeviceBooks(), present(device())
    assert books.charge(pod("a", "gpu-0", GpuRequest(pool="p", vram=1)), devices) is None
    assert "takes the whole device" in (books.charge(pod("b", "gpu-0", whole), devices) or "")
    books.release("a")
    assert books.charge(pod("b", "gpu-0", whole), devices) is None
    assert "takes the whole device" in (books.charge(pod("c", "gpu-0", GpuRequest(pool="p")), devices) or "")


def test_what_runs_already_is_taken_as_it_is() -> None:
    books, devices = DeviceBooks(), present(device())
    for uid in "abcd":
        books.recover(pod(uid, "gpu-0"), devices)
    assert books.held("gpu-0") == (160_000, 16 * GIB)
    assert books.charge(pod("e", "gpu-0"), devices) is not None


def test_a_device_that_does_not_answer_keeps_its_holders_over_a_restart() -> None:
    books = DeviceBooks()
    books.recover(pod("a", "gpu-7"), present(device(0)))
    assert books.holders("gpu-7") == 1
    assert books.release("a") == ("gpu-7",)


shares = st.tuples(
    st.integers(0, 60_000), st.integers(0, 10), st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)
)
steps = st.lists(
    st.tuples(st.sampled_from(["charge", "release"]), st.integers(0, 9), shares, st.booleans()), max_size=40
)


@given(steps)
def test_no_device_is_ever_over_its_capacity(history: list[tuple[str, int, tuple[int, int, list[int]], bool]]) -> None:
    books, devices = DeviceBooks(), present(device(0), device(1), device(2))
    live: dict[str, tuple[int, int, list[int]]] = {}
    for action, number, (compute, gib, indices), whole in history:
        uid = f"pod-{number}"
        if action == "release":
            assert bool(books.release(uid)) == (uid in live)
            live.pop(uid, None)
            continue
        isolation = Isolation.SHARED if whole else Isolation.SOFT
        request = GpuRequest(pool="p", count=len(indices), compute=compute, vram=gib * GIB, isolation=isolation)
        ids = ",".join(f"gpu-{index}" for index in indices)
        if books.charge(pod(uid, ids, request), devices) is None and uid not in live:
            live[uid] = (100_000, 16, indices) if whole else (compute, gib, indices)
        sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for held_compute, held_gib, held_on in live.values():
            for index in held_on:
                sums[index][0] += held_compute
                sums[index][1] += held_gib * GIB
        for index in range(3):
            assert list(books.held(f"gpu-{index}")) == sums[index]
            assert sums[index][0] <= 100_000
            assert sums[index][1] <= 16 * GIB


def test_other_amounts_are_taken_over_or_the_old_ones_stay() -> None:
    books, devices = DeviceBooks(), present(device())
    first = GpuRequest(pool="p", compute=40_000, vram=4 * GIB, compute_limit=50_000, vram_limit=8 * GIB)
    assert books.charge(pod("a", "gpu-0", first), devices) is None
    assert books.charge(pod("b", "gpu-0"), devices) is None
    assert books.limits("a") == Limits(compute=50_000, vram=8 * GIB)
    larger = replace(first, compute=60_000, compute_limit=90_000)
    assert books.change(pod("a", "gpu-0", larger), devices) is None
    assert (books.held("gpu-0"), books.limits("a")) == ((100_000, 8 * GIB), Limits(compute=90_000, vram=8 * GIB))
    refusal = books.change(pod("a", "gpu-0", replace(larger, compute=60_001)), devices)
    assert "free are 60 TFLOPS and 12Gi" in (refusal or "")
    assert (books.held("gpu-0"), books.limits("a")) == ((100_000, 8 * GIB), Limits(compute=90_000, vram=8 * GIB))
    assert books.change(pod("a", "gpu-0", replace(larger, compute=1_000)), {}) is None, "less fits anywhere"
    assert "does not answer" in (books.change(pod("a", "gpu-0", larger), {}) or "")
    assert books.limits("nobody") is None


def test_a_device_refuses_a_mode_that_it_cannot_keep_or_is_not_in() -> None:
    able = replace(device(), modes=frozenset({Isolation.SHARED, Isolation.SOFT}))
    hard = GpuRequest(pool="p", compute=1_000, vram=GIB, isolation=Isolation.HARD)
    refusal = DeviceBooks().charge(pod("a", "gpu-0", hard), present(able))
    assert refusal == "device gpu-0 cannot keep shares apart by isolation hard"
    books, devices = DeviceBooks(), present(device())
    assert books.charge(pod("a", "gpu-0"), devices, one_mode=True) is None
    assert "in use with isolation soft" in (books.charge(pod("b", "gpu-0", hard), devices, one_mode=True) or "")
    assert books.charge(pod("b", "gpu-0", hard), devices) is None, "a Static node has one mode anyway"
