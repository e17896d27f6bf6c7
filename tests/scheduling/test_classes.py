"""What is kept for kinds of pods: one class a kind, bounded in number and bytes, nothing of the moment."""

from contextlib import suppress

import pytest

from tensorfusion.scheduling.classes import Classes
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import QuotaFacts
from worlds import GIB, device, fleet, node, plain, pod, run


def test_pods_that_ask_for_the_same_are_one_class() -> None:
    state = fleet(3, 2)
    for number in range(5):
        run(state, pod(f"p{number}", namespace=f"tenant-{number}", compute_limit=1000 * (number + 50)))
    assert len(state.classes) == 1


def test_pods_that_ask_for_anything_else_are_another_class() -> None:
    state = fleet(3, 2)
    others = [{"vram": GIB}, {"count": 2}, {"cpu": 1}, {"node_selector": {"a": "b"}}, {"indices": (0, 1)}]
    for kind in [{}, *others]:
        with suppress(Unschedulable):  # no node has the label; that is kept too
            decide(state, pod("p", **kind))
    decide(state, plain())
    assert len(state.classes) == len(others) + 2


def test_the_class_that_was_not_used_for_longest_goes_first() -> None:
    state = fleet(2, 1)
    state.classes = Classes(limit=2)
    first, second, third = (pod(f"p{size}", vram=size * GIB) for size in (1, 2, 3))
    for one in (first, second, first, third):
        decide(state, one)
    assert len(state.classes) == 2
    kept = state.classes.shares(state.fleet.pools["pool"], state.fleet.nodes, first)
    assert state.classes.shares(state.fleet.pools["pool"], state.fleet.nodes, first) is kept


def test_the_bytes_of_all_classes_are_bounded() -> None:
    state = fleet(2, 2)
    decide(state, pod("p"))
    each = state.classes.bytes
    state.classes = Classes(most_bytes=3 * each)
    for size in range(1, 8):
        decide(state, pod(f"p{size}", vram=size * GIB))
    assert (len(state.classes), state.classes.bytes) == (3, 3 * each)


def test_the_bytes_are_those_of_the_classes_after_the_columns_grew() -> None:
    state = fleet(2, 2)
    decide(state, pod("p"))
    before = state.classes.bytes
    for number in range(40):
        state.upsert_node(node(f"m{number}"))
        state.upsert_device(device(f"m{number}-0", f"m{number}"))
    decide(state, pod("p"))
    assert len(state.classes) == 1
    assert before < state.classes.bytes < 10 * before


def test_what_a_namespace_has_left_is_not_kept() -> None:
    state = fleet(2, 2)
    state.set_quota(QuotaFacts("team", total_compute=25_000))
    one = pod("p", compute=0, percent=20_000)
    run(state, one)
    assert len(state.classes) == 0
    state.remove_quota("team")
    decide(state, pod("q", compute=0, percent=20_000))
    assert len(state.classes) == 1


def test_rules_for_nodes_are_followed_after_nodes_without_devices_came() -> None:
    state = fleet(2, 1)
    assert decide(state, pod("p")).placement.node == "n0"
    for number in range(40):  # the columns of nodes grow, those of the pool do not
        state.upsert_node(node(f"bare{number}"))
    state.upsert_node(node("n0", ready=False))
    assert decide(state, pod("p")).placement.node == "n1"


def test_a_pod_of_the_device_plugin_follows_the_shares_of_a_node() -> None:
    state = fleet(1, 1)
    state.upsert_node(node("n0", extended={"nvidia.com/gpu": 1}))
    native = plain("native", native=1, extended={"nvidia.com/gpu": 1})
    assert decide(state, native).placement.node == "n0"
    run(state, pod("share"))
    with pytest.raises(Unschedulable) as caught:
        decide(state, native)
    assert caught.value.reasons == {"shares": 1}
    state.release("uid-share")
    assert decide(state, native).placement.node == "n0"
