"""Plans to empty nodes: every pod has a place first, nobody moves who must not, and whole devices come of it."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from fingerprints import fingerprint
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.defrag import DefragPlan, asked_about, plan
from tensorfusion.scheduling.defrag_candidates import Kept, Terms, Why
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, pod

NOW = 1_000_000
OLD = "1970-01-02T00:00:00Z"
COVERED: Mapping[str, int] = {"team/budget": 9}


def terms(**more: Any) -> Terms:
    return Terms(**{"pool": "pool", "now": NOW, "budgets": lambda _: COVERED, **more})


def put(state: State, name: str, *devices: str, **wishes: Any) -> PodFacts:
    """A pod that runs there since long ago: half a device unless told otherwise."""
    wanted = {"compute": 50 * TFLOPS, "vram": 40 * GIB, "count": len(devices), "created": OLD, **wishes}
    one = pod(name, **wanted)
    state.confirm(one, Placement(devices[0].split("-")[0], devices))
    return one


def moves(found: DefragPlan) -> list[list[tuple[str, str, tuple[str, ...]]]]:
    return [[(one.pod.name, one.target.node, one.target.devices) for one in step.moves] for step in found.steps]


def test_a_hardly_used_node_is_emptied_onto_a_fuller_one() -> None:
    state = fleet(nodes=2, devices=4)
    put(state, "a", "n0-0")
    put(state, "b", "n1-0")
    put(state, "c", "n1-1")
    found = plan(state, terms())
    assert moves(found) == [[("a", "n1", ("n1-0",))]]
    (step,) = found.steps
    assert (step.node, step.frees, step.devices, step.worth) == ("n0", 1, 4, Fraction(1))
    assert step.work == NOW - 86_400
    assert (found.whole_before, found.whole_after) == (5, 6)


def test_devices_in_use_are_filled_before_whole_ones_whatever_the_mode_of_the_pool() -> None:
    for mode in ("CompactFirst", "LowLoadFirst", "NodeCompactGPULowLoad"):
        state = fleet(nodes=2, devices=4, pool=PoolFacts("pool", mode))
        put(state, "a", "n0-0")
        put(state, "b", "n1-2")
        put(state, "c", "n1-3", vram=10 * GIB, compute=10 * TFLOPS)
        assert moves(plan(state, terms())) == [[("a", "n1", ("n1-2",))]]


def test_the_node_that_frees_most_for_each_pod_goes_first() -> None:
    state = fleet(nodes=3, devices=4)
    small = {"compute": 10 * TFLOPS, "vram": 10 * GIB}
    for index in range(3):
        put(state, f"n0-{index}", "n0-0", **small)
    put(state, "pair", "n1-0", "n1-1", vram=10 * GIB, compute=10 * TFLOPS)
    for index in range(3):
        put(state, f"n2-{index}", f"n2-{index}", **small)
    found = plan(state, terms(threshold=50))
    assert [(step.node, step.frees, len(step.moves)) for step in found.steps] == [("n1", 2, 1), ("n0", 1, 3)]


def test_of_equal_steps_the_one_that_loses_less_work_goes_first() -> None:
    state = fleet(nodes=3, devices=4)
    put(state, "older", "n0-0")
    put(state, "younger", "n1-0", created="1970-01-05T00:00:00Z")
    put(state, "b", "n2-0")
    put(state, "c", "n2-1")
    assert [step.node for step in plan(state, terms()).steps] == ["n1", "n0"]


def test_pods_only_move_towards_fullness_and_never_to_an_empty_node() -> None:
    state = fleet(nodes=3, devices=4)
    put(state, "a", "n0-0")
    put(state, "b", "n0-1")
    put(state, "c", "n1-0")
    found = plan(state, terms(threshold=50))
    assert moves(found) == [[("c", "n0", ("n0-0",))]]


def test_all_pods_of_a_node_fit_together_or_none_moves() -> None:
    state = fleet(nodes=2, devices=4)
    put(state, "a", "n0-0", vram=40 * GIB)
    put(state, "b", "n0-0", vram=30 * GIB)
    for index in range(4):
        put(state, f"c{index}", f"n1-{index}", vram=(30 if index else 45) * GIB, compute=90 * TFLOPS)
    found = plan(state, terms())
    assert found.steps == ()
    kept = found.kept["n0"]
    assert (kept.why, kept.pod is not None and kept.pod.name) == (Why.UNSCHEDULABLE, "a")


def test_a_step_that_would_break_into_more_than_it_frees_is_not_taken() -> None:
    state = fleet(nodes=1, devices=4)
    state.upsert_node(node("n1"))
    for index in range(4):
        state.upsert_device(device(f"n1-{index}", "n1", vram=40 * GIB))
    put(state, "a", "n0-0", vram=30 * GIB)
    put(state, "b", "n0-0", vram=30 * GIB)
    for index in range(2):
        put(state, f"c{index}", f"n1-{index}", vram=30 * GIB)
    found = plan(state, terms())
    assert (found.steps, found.kept["n0"]) == ((), Kept(Why.NO_GAIN))


def test_a_step_that_frees_a_node_but_no_device_is_taken_last() -> None:
    state = fleet(nodes=3, devices=4)
    put(state, "whole", "n0-0", compute=100 * TFLOPS, vram=80 * GIB)
    put(state, "half", "n1-0")
    for index in range(2):
        put(state, f"c{index}", f"n2-{index}")
    found = plan(state, terms())
    assert [(step.node, step.frees) for step in found.steps] == [("n1", 1), ("n0", 0)]


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"gang": Gang("team/train", 2, 2)}, Why.GANG),
        ({"protected_until": NOW + 1}, Why.PROTECTED),
        ({"created": "1970-01-12T12:00:00Z"}, Why.YOUNG),
    ],
)
def test_a_pod_that_must_not_move_keeps_its_node(wishes: dict[str, Any], why: Why) -> None:
    state = fleet(nodes=2, devices=4)
    put(state, "free", "n0-0")
    put(state, "kept", "n0-0", **wishes)
    for index in range(3):
        put(state, f"c{index}", f"n1-{index}")
    found = plan(state, terms())
    assert found.steps == ()
    assert found.kept["n0"].why is why
    assert str(found.kept["n0"]) == f"{why}: team/kept"


def test_a_node_that_is_closed_cordoned_or_has_native_pods_stays() -> None:
    state = fleet(nodes=5, devices=4)
    for number in range(3):
        put(state, f"a{number}", f"n{number}-0")
    for index in range(4):
        put(state, f"b{index}", f"n3-{index}")
    state.upsert_node(node("n1", unschedulable=True))
    state.upsert_device(device("n2-3", "n2", used_by="nvidia-device-plugin"))
    found = plan(state, terms(closed={"n0": Why.DO_NOT_DISRUPT}))
    assert found.steps == ()
    assert {name: kept.why for name, kept in found.kept.items()} == {
        "n0": Why.DO_NOT_DISRUPT,
        "n1": Why.CORDONED,
        "n2": Why.NATIVE,
    }


def test_barred_nodes_take_nobody() -> None:
    state = fleet(nodes=3, devices=4)
    put(state, "a", "n0-0")
    for index in range(3):
        put(state, f"b{index}", f"n1-{index}")
        put(state, f"c{index}", f"n2-{index}", vram=20 * GIB, compute=20 * TFLOPS)
    assert moves(plan(state, terms(barred=frozenset({"n1"})))) == [[("a", "n2", ("n2-0",))]]
    assert plan(state, terms(barred=frozenset({"n1", "n2"}))).kept["n0"].why is Why.UNSCHEDULABLE


def test_a_disruption_budget_lets_all_go_or_none() -> None:
    state = fleet(nodes=2, devices=4)
    put(state, "a", "n0-0", vram=GIB, compute=TFLOPS)
    put(state, "b", "n0-0", vram=GIB, compute=TFLOPS)
    for index in range(3):
        put(state, f"c{index}", f"n1-{index}")
    for budgets, why in (
        ({"x": 2}, None),
        ({"x": 1}, Why.PDB_BLOCKED),
        ({"x": 0}, Why.PDB_BLOCKED),
        ({"x": 5, "y": 5}, Why.PDB_BLOCKED),  # the server evicts no pod that two cover
        ({}, Why.MISSING_PDB),
    ):
        found = plan(state, terms(budgets=lambda _, budgets=budgets: budgets))
        assert len(found.steps) == (why is None)
        assert found.kept.get("n0", Kept(Why.NO_GAIN)).why is (why or Why.NO_GAIN)


def test_pods_that_end_anyway_are_not_moved_and_free_nothing() -> None:
    state = fleet(nodes=2, devices=4)
    put(state, "a", "n0-0")
    ends = put(state, "ends", "n0-1")
    state.leaving(ends.uid)
    for index in range(3):
        put(state, f"c{index}", f"n1-{index}")
    (step,) = plan(state, terms(threshold=50)).steps
    assert ([move.pod.name for move in step.moves], step.frees) == (["a"], 1)


def test_a_place_that_is_promised_is_no_place() -> None:
    state = fleet(nodes=3, devices=2)
    put(state, "a", "n0-0")
    put(state, "b", "n1-0", vram=80 * GIB)
    state.nominate(pod("waits", vram=80 * GIB), Placement("n1", ("n1-1",)))
    assert plan(state, terms(threshold=50)).kept["n0"].why is Why.UNSCHEDULABLE
    put(state, "c", "n2-0")
    put(state, "d", "n2-1")
    assert moves(plan(state, terms(threshold=50))) == [[("a", "n2", ("n2-0",))]]


def test_nobody_is_moved_twice() -> None:
    state = fleet(nodes=3, devices=4)
    put(state, "a", "n0-0", vram=10 * GIB, compute=10 * TFLOPS)
    put(state, "b", "n1-0", vram=10 * GIB, compute=10 * TFLOPS)
    put(state, "c", "n2-0")
    put(state, "d", "n2-1")
    put(state, "full", "n2-2", vram=80 * GIB)
    state.upsert_pool(PoolFacts("pool", max_workers_per_node=3))
    found = plan(state, terms())
    assert moves(found) == [[("a", "n1", ("n1-0",))]]
    assert str(found.kept["n1"]) == "a pod is on its way to it: team/a"


def test_so_many_steps_and_tries_are_made_at_most() -> None:
    state = fleet(nodes=4, devices=4)
    for number in range(3):
        put(state, f"a{number}", f"n{number}-0", vram=10 * GIB, compute=10 * TFLOPS)
    for index in range(3):
        put(state, f"b{index}", f"n3-{index}")
    assert len(plan(state, terms()).steps) == 3
    assert len(plan(state, terms(), most_steps=2).steps) == 2
    assert len(plan(state, terms(), most_tried=1).steps) == 1
    assert plan(state, terms(), most_tried=0).steps == ()


def test_a_pool_that_nobody_knows_has_no_plan() -> None:
    assert plan(fleet(), terms(pool="other")) == DefragPlan((), {}, 0, 0)


# --- in any world ---

shares = st.builds(
    lambda compute, vram, count, isolation: {
        "compute": compute * TFLOPS,
        "vram": vram * GIB,
        "count": count,
        "isolation": isolation,
    },
    st.sampled_from((5, 20, 50, 100)),
    st.sampled_from((5, 20, 40, 80)),
    st.sampled_from((1, 1, 1, 2)),
    st.sampled_from((Isolation.SOFT, Isolation.SOFT, Isolation.SOFT, Isolation.SHARED)),
)
kinds = st.builds(
    dict,
    namespace=st.sampled_from(("team", "other")),
    created=st.sampled_from((OLD,) * 15 + ("1970-01-12T13:00:00Z",)),
    cpu=st.sampled_from((0, 4_000)),
    node_selector=st.sampled_from(({}, {}, {}, {"zone": "x"})),
    protected_until=st.sampled_from((0,) * 15 + (NOW + 5,)),
    gang=st.sampled_from((None,) * 15 + (Gang("team/a", 2, 2),)),
    priority=st.integers(0, 1),
)


@st.composite
def worlds(draw: st.DrawFn) -> State:
    """Some nodes with pods anywhere on them, as churn leaves them."""
    state = State()
    mode = draw(st.sampled_from(("CompactFirst", "LowLoadFirst", "NodeCompactGPULowLoad")))
    state.upsert_pool(PoolFacts("pool", mode, max_workers_per_node=draw(st.sampled_from((0, 3)))))
    if draw(st.booleans()):
        state.set_quota(QuotaFacts("team", total_vram=draw(st.sampled_from((100, 200))) * GIB))
    names = [f"n{i}" for i in range(draw(st.integers(3, 7)))]
    for name in names:
        closed = draw(st.integers(0, 9)) == 0
        state.upsert_node(
            NodeFacts(name, {"zone": draw(st.sampled_from("xy"))}, unschedulable=closed, cpu=16_000, memory=64 * GIB)
        )
        for j in range(draw(st.integers(2, 4))):
            state.upsert_device(DeviceFacts(f"{name}-{j}", name, "pool", "NVIDIA", "A100", j, 100 * TFLOPS, 80 * GIB))
    for number in range(draw(st.integers(4, 20))):
        share, where = draw(shares), draw(st.sampled_from(names))
        here = [one for one in state.devices() if one.facts is not None and one.facts.node == where]
        chosen = tuple(one.name for one in here[: share["count"]])
        if len(chosen) < share["count"]:
            continue
        one = pod(f"p{number}", **{**share, **draw(kinds)})
        try:
            state.assume(one, Placement(where, chosen))
        except (NotHoldable, QuotaExceeded):
            continue
        if draw(st.integers(0, 30)):
            state.confirm(one, state.allocations[one.uid].placement)
        if draw(st.integers(0, 9)) == 0:
            state.leaving(one.uid)
    return state


budgets = st.sampled_from(({"b": 9}, {"b": 9}, {"b": 1}, {}, {"b": 9, "c": 9}))


def whole(state: State) -> int:
    return sum(not one.holders for one in state.devices())


@settings(max_examples=part_of(300), deadline=None)
@given(worlds(), st.sampled_from((40, 60, 100)), budgets, budgets)
def test_a_plan_is_lawful_and_can_be_carried_out_step_by_step(
    state: State, threshold: int, of_team: dict[str, int], of_other: dict[str, int]
) -> None:
    asked = terms(threshold=threshold, budgets=lambda one: of_team if one.namespace == "team" else of_other)
    before = fingerprint(state)
    found = plan(state, asked)
    assert fingerprint(state) == before
    assert plan(state, asked) == found
    freed = whole(state)
    assert found.whole_before == freed
    emptied: set[str] = set()
    for step in found.steps:
        here = [one for one in state.allocations.values() if one.placement.node == step.node]
        ending = [one for one in here if state.residents.is_ending(one.pod.uid)]
        stay = [one for one in here if one not in ending and one.pod.request is not None]
        assert {move.pod.uid for move in step.moves} == {one.pod.uid for one in stay}
        devices = [one for one in state.devices() if one.facts is not None and one.facts.node == step.node]
        used = sum(bool(one.holders) for one in devices)
        assert 100 * used <= threshold * len(devices)
        for one in ending:
            state.release(one.pod.uid)
        freed_now = whole(state)
        room = dict(of_team), dict(of_other)
        full = {
            name: Fraction(sum(bool(one.holders) for one in mine), len(mine))
            for name in {one.facts.node for one in state.devices() if one.facts is not None}
            if (mine := [one for one in state.devices() if one.facts is not None and one.facts.node == name])
        }
        for move in step.moves:
            one = move.pod
            assert one.gang is None
            assert one.protected_until <= NOW
            assert one.created == OLD
            mine = room[one.namespace != "team"]
            assert len(mine) == 1
            mine["b"] -= 1
            assert mine["b"] >= 0
            assert move.target.node not in emptied | {step.node}
            assert full[move.target.node] > 0
            assert (
                one.node_selector.items()
                <= (state.fleet.nodes.records[move.target.node].facts or node("")).labels.items()
            )
            state.release(one.uid)
        for move in step.moves:
            state.assume(move.pod, move.target)  # it has room, devices and node alike
            state.confirm(move.pod, move.target)
        assert whole(state) - freed_now == step.frees
        assert step.frees >= 0
        assert not state.overcommitted()
        emptied.add(step.node)
        assert not any(one.holders for one in devices)
    assert whole(state) == found.whole_after


@settings(max_examples=part_of(100), deadline=None)
@given(worlds())
def test_the_first_step_is_worth_as_much_as_any_single_one(state: State) -> None:
    """What the bounds leave untried is never better."""
    found = plan(state, terms(threshold=100))
    best = found.steps[0].worth if found.steps else Fraction(-1)
    names = [record.name for record in state.nodes()]
    for name in names:
        others = {other: Why.SKIPPED for other in names if other != name}
        single = plan(state, terms(threshold=100, closed=others), most_steps=1)
        assert all(step.worth <= best for step in single.steps)
        assert all(step.node == name for step in single.steps)


def test_a_plan_asks_only_about_pods_on_nodes_that_could_be_emptied() -> None:
    state = fleet(nodes=3, devices=4)
    state.upsert_pool(PoolFacts("other"))
    state.upsert_node(node("n9"))
    state.upsert_device(device("n9-0", "n9", pool="other"))
    put(state, "a", "n0-0")
    put(state, "closed", "n2-0")
    for index in range(3):
        put(state, f"b{index}", f"n1-{index}")
    put(state, "stranger", "n9-0", pool="other")
    asked: list[str] = []

    def veto(pod: PodFacts) -> Why | None:
        asked.append(pod.name)
        return None

    wanted = terms(veto=veto, closed={"n2": Why.SKIPPED})
    assert [one.name for one in asked_about(state, wanted)] == ["a"]
    assert len(plan(state, wanted).steps) == 1
    assert set(asked) == {"a"}
    assert asked_about(state, terms(pool="nowhere")) == []


def test_pods_are_asked_about_only_when_it_is_the_turn_of_their_node() -> None:
    state = fleet(nodes=12, devices=4)
    for number in range(10):
        put(state, f"a{number}", f"n{number}-0")
    for number in (10, 11):
        for index in range(3):
            put(state, f"b{number}-{index}", f"n{number}-{index}")
    asked: list[str] = []

    def veto(pod: PodFacts) -> Why | None:
        asked.append(pod.name)
        return Why.BARE if pod.name == "a0" else None

    found = plan(state, terms(veto=veto), most_steps=1)
    assert [step.node for step in found.steps] == ["n1"]
    assert asked == ["a0", "a1"]
    assert found.kept == {"n0": Kept(Why.BARE, state.allocations["uid-a0"].pod)}
