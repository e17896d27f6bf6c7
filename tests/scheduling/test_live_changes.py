"""Other amounts for a pod that runs: what its devices and its namespace have room for, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.facts import Placement, PodFacts, QuotaFacts
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, fleet, pod

HERE = Placement("n0", ("n0-0",))


def world(*pods: PodFacts, devices: int = 1) -> State:
    state = fleet(nodes=1, devices=devices)
    for one in pods:
        state.confirm(one, Placement("n0", tuple(f"n0-{index}" for index in range(one.request.count))))
    return state


def wish(one: PodFacts, **amounts: Any) -> GpuRequest:
    assert one.request is not None
    return replace(one.request, **amounts)


def held(state: State) -> tuple[int, int]:
    device = state.fleet.devices["n0-0"]
    return device.compute_held // TFLOPS, device.vram_held // GIB


def test_the_worked_example_of_the_reference() -> None:
    one = pod(compute=50 * TFLOPS, vram=8 * GIB)
    state = world(one)
    state.resize(one.uid, wish(one, compute=90 * TFLOPS, vram=15 * GIB))
    assert held(state) == (90, 15)


def test_an_increase_is_held_from_the_decision_on_and_a_decrease_until_it_is_confirmed() -> None:
    one = pod(compute=50 * TFLOPS, vram=50 * GIB)
    state = world(one)
    wanted = wish(one, compute=60 * TFLOPS, vram=20 * GIB)
    state.resize(one.uid, wanted)
    assert held(state) == (60, 50)
    changes = state.confirm(replace(one, request=wanted), HERE)
    assert held(state) == (60, 20)
    assert any(change.vram_free == 60 * GIB for change in changes), "pods that wait for vram hear of it"


def test_a_change_that_did_not_happen_leaves_nothing_behind() -> None:
    one = pod(compute=50 * TFLOPS, vram=50 * GIB)
    state = world(one)
    before = state.usage("team")
    state.resize(one.uid, wish(one, compute=80 * TFLOPS, compute_limit=90 * TFLOPS))
    state.confirm(one, HERE)
    assert (held(state), state.usage("team")) == ((50, 50), before)


def test_what_is_left_of_the_device_bounds_an_increase_and_is_told() -> None:
    one, other = pod("a", compute=50 * TFLOPS), pod("b", compute=40 * TFLOPS)
    state = world(one, other)
    with pytest.raises(NotHoldable) as refused:
        state.resize(one.uid, wish(one, compute=61 * TFLOPS))
    assert str(refused.value) == (
        "device n0-0: scaling quota exceeded: wanted 11 TFLOPS and 0 more, left are 10 TFLOPS and 60Gi"
    )
    assert held(state) == (90, 20)
    state.resize(one.uid, wish(one, compute=60 * TFLOPS))


def test_every_device_of_a_pod_must_have_room() -> None:
    two, one = pod("two", count=2, compute=50 * TFLOPS), pod("one", compute=45 * TFLOPS)
    state = world(two, devices=2)
    state.confirm(one, Placement("n0", ("n0-1",)))
    with pytest.raises(NotHoldable, match="n0-1"):
        state.resize(two.uid, wish(two, compute=60 * TFLOPS))
    assert held(state) == (50, 10)


def test_percent_is_a_part_of_each_device() -> None:
    one = pod(compute=0, percent=25_000)
    state = world(one)
    state.resize(one.uid, wish(one, percent=100_000))
    assert held(state) == (100, 10)
    with pytest.raises(NotHoldable):
        world(one, pod("b", compute=80 * TFLOPS)).resize(one.uid, wish(one, percent=50_000))


def test_a_device_that_holds_too_much_already_still_lets_a_share_shrink() -> None:
    one, other = pod("a", compute=90 * TFLOPS), pod("b", compute=90 * TFLOPS)
    state = world(one, other)
    state.resize(one.uid, wish(one, compute=20 * TFLOPS))
    state.confirm(replace(one, request=wish(one, compute=20 * TFLOPS)), HERE)
    assert held(state) == (110, 20)
    with pytest.raises(NotHoldable):
        state.resize(other.uid, wish(other, compute=91 * TFLOPS))


def test_a_whole_device_may_be_asked_for_up_to_its_capacity() -> None:
    one = pod(isolation=Isolation.SHARED)
    state = world(one)
    state.resize(one.uid, wish(one, compute=100 * TFLOPS, vram=80 * GIB))
    assert held(state) == (100, 80)
    with pytest.raises(NotHoldable, match="left are 100 TFLOPS and 80Gi"):
        state.resize(one.uid, wish(one, compute=101 * TFLOPS))


def test_a_pod_without_a_share_and_a_missing_device_are_refused() -> None:
    state = world(pod("a"))
    with pytest.raises(NotHoldable, match="holds no share"):
        state.resize("uid-b", wish(pod()))
    state.remove_device("n0-0")
    with pytest.raises(NotHoldable, match="does not answer"):
        state.resize("uid-a", wish(pod(), compute=1))


@pytest.mark.parametrize(
    ("quota", "amounts", "key"),
    [
        ({"single_compute": 20 * TFLOPS}, {"compute": 21 * TFLOPS}, "single.max.tflops.request"),
        ({"single_vram_limit": 20 * GIB}, {"vram_limit": 21 * GIB}, "single.max.vram.limit"),
        ({"total_compute": 30 * TFLOPS}, {"compute": 21 * TFLOPS}, "total.max.tflops.request"),
        ({"total_vram_limit": 30 * GIB}, {"vram_limit": 31 * GIB}, "total.max.vram.limit"),
    ],
)
def test_a_quota_bounds_what_grows(quota: dict[str, int], amounts: dict[str, int], key: str) -> None:
    one, other = pod("a"), pod("b")
    state = world(one, other)
    state.set_quota(QuotaFacts("team", **quota))
    with pytest.raises(QuotaExceeded) as refused:
        state.resize(one.uid, wish(one, **amounts))
    assert refused.value.key == key
    assert held(state) == (20, 20)


def test_a_quota_counts_the_growth_on_every_device_and_no_worker() -> None:
    two = pod(count=2)
    state = world(two, devices=2)
    state.set_quota(QuotaFacts("team", total_compute=40 * TFLOPS, total_workers=1, total_devices=2))
    state.resize(two.uid, wish(two, compute=20 * TFLOPS))
    with pytest.raises(QuotaExceeded):
        state.resize(two.uid, wish(two, compute=21 * TFLOPS))
    assert state.usage("team").compute == 40 * TFLOPS


def test_below_a_ceiling_that_was_lowered_a_share_may_shrink_and_only_that() -> None:
    one = pod(compute=50 * TFLOPS, vram=50 * GIB)
    state = world(one)
    state.set_quota(QuotaFacts("team", total_compute=10 * TFLOPS, single_compute=5 * TFLOPS))
    state.resize(one.uid, wish(one, compute=40 * TFLOPS, vram=60 * GIB))
    with pytest.raises(QuotaExceeded):
        state.resize(one.uid, wish(one, compute=51 * TFLOPS))


def test_asking_changes_nothing() -> None:
    one = pod()
    state = world(one)
    state.require_growth(one.uid, wish(one, compute=100 * TFLOPS))
    assert held(state) == (10, 10)


def test_a_change_can_be_undone_with_everything_around_it() -> None:
    one = pod()
    state = world(one)
    mark = state.checkpoint()
    state.resize(one.uid, wish(one, compute=90 * TFLOPS))
    state.rollback(mark)
    assert held(state) == (10, 10)
    assert state.allocations[one.uid].pod == one
