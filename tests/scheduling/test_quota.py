"""Ceilings of a namespace: single before total, only what is set, each share once."""

import pytest

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import Placement, PodFacts, QuotaFacts
from tensorfusion.scheduling.quota import Usage
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, run


def limited(**ceilings: int) -> State:
    state = fleet(2, 4)
    state.set_quota(QuotaFacts("team", **ceilings))
    return state


def refused(state: State, one: PodFacts) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        decide(state, one)
    return caught.value


@pytest.mark.parametrize(
    ("ceilings", "wishes", "text"),
    [
        ({"single_compute": 9 * TFLOPS}, {}, "single.max.tflops.request: requested 10, limit 9"),
        ({"single_compute": 9 * TFLOPS + 500}, {}, "single.max.tflops.request: requested 10, limit 9500m"),
        ({"single_vram": 8 * GIB}, {}, "single.max.vram.request: requested 10Gi, limit 8Gi"),
        ({"single_compute_limit": 1}, {"compute_limit": 2}, "single.max.tflops.limit: requested 2m, limit 1m"),
        ({"single_vram_limit": GIB}, {"vram_limit": 2 * GIB}, "single.max.vram.limit: requested 2Gi, limit 1Gi"),
        ({"single_devices": 1}, {"count": 2}, "single.max.gpuCount.limit: requested 2, limit 1"),
        ({"total_compute": 19 * TFLOPS}, {"count": 2}, "total.max.tflops.request: requested 20, limit 19"),
        ({"total_vram": 19 * GIB}, {"count": 2}, "total.max.vram.request: requested 20Gi, limit 19Gi"),
        (
            {"total_compute_limit": 3},
            {"count": 2, "compute_limit": 2},
            "total.max.tflops.limit: requested 4m, limit 3m",
        ),
        ({"total_vram_limit": 3}, {"count": 2, "vram_limit": 2}, "total.max.vram.limit: requested 4, limit 3"),
        ({"total_workers": 0}, {}, "total.max.workers.limit: requested 1, limit 0"),
        ({"total_devices": 1}, {"count": 2}, "total.max.gpuCount.limit: requested 2, limit 1"),
        ({"total_compute": 0}, {}, "total.max.tflops.request: requested 10, limit 0"),
        ({"single_vram": 1, "total_compute": 0}, {}, "single.max.vram.request: requested 10Gi, limit 1"),
    ],
)
def test_each_ceiling_refuses_with_its_own_line(ceilings: dict[str, int], wishes: dict[str, int], text: str) -> None:
    error = refused(limited(**ceilings), pod(**wishes))
    assert str(error) == f"quota exceeded in namespace team for {text}"


@pytest.mark.parametrize(
    "ceilings",
    [
        {},
        {"total_vram": 10 * GIB},
        {"total_compute": 10 * TFLOPS},
        {"total_compute_limit": 0, "total_vram_limit": 0},
        {"single_compute": 0, "single_vram": 0, "single_devices": 0},
        {"single_compute": 10 * TFLOPS, "total_workers": 1, "total_devices": 1},
    ],
)
def test_what_is_not_set_or_just_met_does_not_hold_back(ceilings: dict[str, int]) -> None:
    assert run(limited(**ceilings), pod()).placement.node == "n0"


def test_single_ceilings_are_per_device_not_times_count() -> None:
    assert run(limited(single_compute=10 * TFLOPS), pod(count=4)).placement.node == "n0"


def test_other_namespaces_and_plain_pods_are_not_counted() -> None:
    state = limited(total_workers=1)
    run(state, pod("a"), pod("b", namespace="other"), plain("c"), plain("d"))
    assert state.usage("team").workers == 1
    assert refused(state, pod("e")).resolvable


def test_usage_counts_shares_times_devices_and_is_given_back_once() -> None:
    state = limited(total_compute=40 * TFLOPS)
    run(state, pod("a", count=4, compute_limit=20 * TFLOPS, vram_limit=30 * GIB))
    assert state.usage("team") == Usage(40 * TFLOPS, 40 * GIB, 80 * TFLOPS, 120 * GIB, 1, 4)
    refused(state, pod("b"))
    state.release("uid-a")
    state.release("uid-a")
    state.forget("uid-a")
    assert state.usage("team") == Usage()
    assert run(state, pod("b")).placement.node == "n0"


def test_only_a_release_that_could_make_room_makes_a_refusal_resolvable() -> None:
    state = limited(total_compute=15 * TFLOPS, single_devices=2)
    run(state, pod("a"))
    assert refused(state, pod("b")).resolvable
    assert not refused(state, pod("c", compute=16 * TFLOPS)).resolvable
    assert not refused(state, pod("d", count=3)).resolvable


class TestPercent:
    """A share in percent counts as the compute of the device it lands on."""

    def test_it_is_charged_as_that_share(self) -> None:
        state = limited()
        run(state, pod(compute=0, percent=25_000, percent_limit=50_000))
        assert (state.usage("team").compute, state.usage("team").compute_limit) == (25 * TFLOPS, 50 * TFLOPS)

    def test_it_cannot_pass_a_compute_ceiling(self) -> None:
        state = limited(total_compute=60 * TFLOPS)
        run(state, pod("a", compute=0, percent=40_000))
        error = refused(state, pod("b", compute=0, percent=40_000))
        assert (error.key, error.resolvable) == ("total.max.tflops.request", True)
        assert "requested 80, limit 60" in str(error)
        assert run(state, pod("c", compute=0, percent=20_000)).placement.node == "n0"

    @pytest.mark.parametrize(
        ("ceilings", "wishes", "key"),
        [
            ({"single_compute": 30 * TFLOPS}, {"percent": 31_000}, "single.max.tflops.request"),
            ({"total_compute": 0}, {"percent": 1_000}, "total.max.tflops.request"),
            ({"total_compute": 50 * TFLOPS}, {"percent": 26_000, "count": 2}, "total.max.tflops.request"),
            ({"single_compute_limit": TFLOPS}, {"percent": 1, "percent_limit": 2_000}, "single.max.tflops.limit"),
            ({"total_compute_limit": 0}, {"percent": 1, "percent_limit": 2_000}, "total.max.tflops.limit"),
        ],
    )
    def test_every_compute_ceiling_bounds_it(self, ceilings: dict[str, int], wishes: dict[str, int], key: str) -> None:
        assert refused(limited(**ceilings), pod(compute=0, **wishes)).key == key

    def test_a_smaller_device_is_taken_where_the_larger_one_would_pass_the_ceiling(self) -> None:
        state = limited(total_compute=20 * TFLOPS)
        state.upsert_node(node("small"))
        state.upsert_device(device("small-0", "small", compute=40 * TFLOPS))
        decision = decide(state, pod(compute=0, percent=50_000))
        assert decision.placement == Placement("small", ("small-0",))
        assert decision.counts == {"quota": 8}

    def test_unequal_devices_of_a_node_are_added_up(self) -> None:
        state = State()
        state.upsert_node(node("n0"))
        state.upsert_device(device("g-0", "n0", compute=10 * TFLOPS))
        state.upsert_device(device("g-1", "n0", compute=30 * TFLOPS))
        state.set_quota(QuotaFacts("team", total_compute=20 * TFLOPS))
        assert decide(state, pod(compute=0, percent=50_000, count=2)).placement.devices == ("g-0", "g-1")
        state.set_quota(QuotaFacts("team", total_compute=19 * TFLOPS))
        assert refused(state, pod(compute=0, percent=50_000, count=2)).key == "total.max.tflops.request"

    def test_request_and_limit_ceilings_are_counted_together(self) -> None:
        state = limited(single_compute=50 * TFLOPS, single_compute_limit=50 * TFLOPS)
        state.upsert_device(device("n0-0", "n0", compute=50 * TFLOPS))
        decision = decide(state, pod(compute=0, percent=60_000, percent_limit=90_000))
        assert (decision.placement.devices, decision.counts) == (("n0-0",), {"quota": 7})

    def test_a_fleet_without_room_is_named_before_the_ceiling(self) -> None:
        state = limited(total_compute=0)
        with pytest.raises(Unschedulable) as caught:
            decide(state, pod(compute=0, percent=1_000, vram=100 * GIB))
        assert caught.value.reasons == {"vram": 8}

    def test_usage_follows_the_capacity_of_the_device(self) -> None:
        state = limited()
        run(state, pod(compute=0, percent=50_000))
        state.upsert_device(device("n0-0", "n0", compute=80 * TFLOPS))
        assert state.usage("team").compute == 40 * TFLOPS
        state.remove_device("n0-0")
        assert state.usage("team").compute == 40 * TFLOPS
        state.release("uid-pod")
        assert state.usage("team") == Usage()


def test_a_shared_pod_counts_as_what_it_asks_for() -> None:
    state = limited()
    run(state, pod(isolation=Isolation.SHARED))
    assert (state.usage("team").compute, state.usage("team").devices) == (10 * TFLOPS, 1)
