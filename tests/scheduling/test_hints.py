"""A change wakes the pods it may help, and not those it cannot."""

import pytest

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Taint
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.hints import Change, ChangeKind, helps
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, run


def failure(state: State, one: PodFacts) -> NotFit | QuotaExceeded:
    with pytest.raises((NotFit, QuotaExceeded)) as caught:
        decide(state, one)
    assert isinstance(caught.value, NotFit | QuotaExceeded)
    return caught.value


def any_helps(error: NotFit | QuotaExceeded, changes: tuple[Change, ...]) -> bool:
    return any(helps(error, change) for change in changes)


def full() -> State:
    state = fleet(1, 1)
    run(state, *(pod(name, vram=40 * GIB) for name in "ab"))
    return state


def test_a_release_wakes_who_fits_now() -> None:
    state = full()
    waiting, larger = failure(state, pod(vram=40 * GIB)), failure(state, pod(vram=40 * GIB + 1))
    changes = state.release("uid-a")
    assert any_helps(waiting, changes)
    assert not any_helps(larger, changes)


def test_two_releases_of_half_a_share_wake_who_needs_both() -> None:
    state = full()
    waiting = failure(state, pod(vram=60 * GIB))
    assert not any_helps(waiting, state.release("uid-a"))
    assert any_helps(waiting, state.release("uid-b"))


@pytest.mark.parametrize(
    ("wishes", "facts", "expected"),
    [
        ({}, {}, True),
        ({}, {"pool": "other"}, False),
        ({}, {"phase": "Pending"}, False),
        ({}, {"used_by": "nvidia-device-plugin"}, False),
        ({"model": "H100"}, {}, False),
        ({"model": "A100"}, {}, True),
        ({"vendor": "AMD"}, {}, False),
        ({"indices": (3,)}, {}, False),
        ({"indices": (1,)}, {}, True),
        ({"compute": 0, "percent": 90_000}, {}, True),
        ({"isolation": Isolation.SHARED}, {}, True),
        ({"compute": 101 * TFLOPS}, {}, False),
    ],
)
def test_a_new_device_wakes_who_could_use_it(
    wishes: dict[str, object], facts: dict[str, object], expected: bool
) -> None:
    state = full()
    error = failure(state, pod(**{"vram": 30 * GIB, **wishes}))
    assert any_helps(error, state.upsert_device(device("n0-1", "n0", **facts))) is expected


def test_a_device_that_others_hold_does_not_wake_who_needs_it_whole() -> None:
    state = full()
    error = failure(state, pod(isolation=Isolation.SHARED, vram=1))
    assert not any_helps(error, state.release("uid-a"))
    assert any_helps(error, state.release("uid-b"))


def test_node_changes_wake_only_who_failed_by_nodes_and_could_go_there() -> None:
    state = full()
    by_device = failure(state, pod(vram=60 * GIB))
    by_node = failure(state, pod(vram=0, cpu=65_000))
    bigger = state.upsert_node(node("n0", cpu=70_000))
    assert not any_helps(by_device, bigger)
    assert any_helps(by_node, bigger)
    assert not any_helps(by_node, state.upsert_node(node("n0", cpu=66_000, taints=(Taint("k", "", "NoSchedule"),))))


def test_a_plain_pod_wakes_when_a_node_has_room_for_it_and_never_for_devices() -> None:
    state = fleet(1, 1)
    state.upsert_node(node("n0", cpu=1000))
    run(state, pod("a", cpu=800))
    error = failure(state, plain(cpu=500))
    device_changes = [change for change in state.upsert_device(device("n0-1", "n0")) if helps(error, change)]
    assert device_changes == []
    assert not any_helps(error, state.upsert_node(node("n1", cpu=400)))
    assert any_helps(error, state.release("uid-a"))


def test_a_pool_change_wakes_the_pods_of_that_pool() -> None:
    state = fleet(1, 1, pool=PoolFacts("pool", max_workers_per_node=1))
    run(state, pod("a"))
    error = failure(state, pod("b"))
    assert not any_helps(error, state.upsert_pool(PoolFacts("other")))
    assert any_helps(error, state.upsert_pool(PoolFacts("pool", max_workers_per_node=2)))


def test_a_worker_that_leaves_wakes_who_met_the_worker_ceiling() -> None:
    state = fleet(1, 1, pool=PoolFacts("pool", max_workers_per_node=1))
    run(state, pod("a"))
    error = failure(state, pod("b"))
    assert any_helps(error, state.release("uid-a"))


def test_quota_refusals_wake_on_the_quota_and_on_usage_of_their_namespace_only() -> None:
    state = fleet()
    state.set_quota(QuotaFacts("team", total_workers=1))
    run(state, pod("a"), pod("x", namespace="other"))
    error = failure(state, pod("b"))
    assert not any_helps(error, state.release("uid-x"))
    assert not any_helps(error, state.upsert_node(node("n9")))
    assert not any_helps(error, state.set_quota(QuotaFacts("other", total_workers=1)))
    assert any_helps(error, state.set_quota(QuotaFacts("team", total_workers=2)))
    assert any_helps(error, state.release("uid-a"))
    assert any_helps(error, state.remove_quota("team"))


def test_usage_does_not_wake_what_no_release_can_help() -> None:
    state = fleet()
    state.set_quota(QuotaFacts("team", single_vram=GIB))
    run(state, pod("a", vram=GIB))
    error = failure(state, pod("b"))
    assert not any_helps(error, state.release("uid-a"))
    assert any_helps(error, state.set_quota(QuotaFacts("team", single_vram=10 * GIB)))


def test_an_unknown_failure_is_woken_by_anything() -> None:
    assert helps(NotFit("a share", {}), Change(ChangeKind.NODE))


def test_a_pod_that_a_change_lets_fit_was_woken_by_it() -> None:
    """The hint errs on the side of waking, whatever the pod waited for."""
    state = fleet(1, 1)
    state.upsert_node(node("n0", unschedulable=True))
    error = failure(state, pod())
    changes = state.upsert_node(node("n0"))
    assert decide(state, pod()).placement == Placement("n0", ("n0-0",))
    assert any_helps(error, changes)
