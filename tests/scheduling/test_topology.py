"""Devices of one pod are near each other: which of a node are taken, which node, and what a hard rule refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.model import keys
from tensorfusion.model.gpu_topology import TopologyRule, TopologySource, rule_of
from tensorfusion.scheduling import wiring
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import DeviceFacts, Placement, PoolFacts
from tensorfusion.scheduling.hints import helps
from tensorfusion.scheduling.preemption import Plan as Eviction
from tensorfusion.scheduling.preemption import search
from tensorfusion.scheduling.score_parts import in_points
from tensorfusion.scheduling.search import device_codes
from tensorfusion.scheduling.simulate import simulate
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.topology import tiers_of
from tensorfusion.scheduling.wiring import Plan, Wired, Wiring
from tensorfusion.testing.reference_topology import nearest
from worlds import GIB, device, node, pod, run

HARD = TopologyRule(hard=True)
SPREAD = PoolFacts("pool", "LowLoadFirst")


def cluster(*numas: str, policy: PoolFacts | None = None, **facts: Any) -> State:
    """Nodes n0, n1, ... of devices whose NUMA nodes are the digits; ``-`` says nothing."""
    state = State()
    state.upsert_pool(policy or PoolFacts("pool"))
    for number, digits in enumerate(numas):
        state.upsert_node(node(f"n{number}"))
        for index, digit in enumerate(digits):
            numa = -1 if digit == "-" else int(digit)
            state.upsert_device(device(f"n{number}-{index}", f"n{number}", numa=numa, **facts))
    return state


def link(state: State, *pairs: str, tier: int = 0, rate: int = 0) -> None:
    """Both devices of each pair, such as ``n0-0 n0-1``, report the other one."""
    for pair in pairs:
        one, other = pair.split()
        for name, peer in ((one, other), (other, one)):
            facts = state.fleet.devices[name].facts
            assert facts is not None
            state.upsert_device(replace(facts, peers=(*facts.peers, (peer, tier, rate))))


def take(state: State, *names: str) -> None:
    """A pod takes each of these devices for itself."""
    for name in names:
        where, index = name.split("-")
        own = {"node_selector": {}, "uid": f"holder-{name}"}
        held = pod(f"holder-{name}", compute=100_000, vram=80 * GIB, indices=(int(index),), **own)
        state.assume(held, Placement(where, (name,)))


def chosen(state: State, **wishes: Any) -> str:
    """The devices that a pod gets, such as ``n0: 0 1``, and the tier that they come to."""
    decision = decide(state, pod(**wishes))
    devices = " ".join(name.rsplit("-", 1)[1] for name in decision.placement.devices)
    return f"{decision.placement.node}: {devices}" + (f" tier {decision.plan.tier}" if decision.plan else "")


# --- devices of one node ---


def test_two_devices_share_a_numa_node_where_one_has_two() -> None:
    assert chosen(cluster("0011"), count=2) == "n0: 0 1 tier 1"


def test_two_devices_of_four_numa_nodes_are_across() -> None:
    state = cluster("0123")
    assert chosen(state, count=2) == "n0: 0 1 tier 2"
    with pytest.raises(Unschedulable):
        decide(state, pod(count=2, topology=HARD))
    assert chosen(state, count=2, topology=replace(HARD, max_tier=2)) == "n0: 0 1 tier 2"


def test_a_single_device_leaves_those_together_that_are_many() -> None:
    assert chosen(cluster("0001")) == "n0: 3"


def test_several_devices_take_the_smallest_numa_node_that_has_enough() -> None:
    assert chosen(cluster("001111"), count=2) == "n0: 0 1 tier 1"
    assert chosen(cluster("001111"), count=3) == "n0: 2 3 4 tier 1"


def test_a_single_device_that_reports_nothing_is_taken_before_the_others() -> None:
    assert chosen(cluster("00-1")) == "n0: 2"


def test_between_numa_nodes_of_one_size_the_score_decides() -> None:
    state = cluster("0011")
    run(state, pod("first", indices=(0,)), pod("second", indices=(1,)))
    assert chosen(state) == "n0: 2"  # low load on the devices of a node


def test_least_damage_can_be_switched_off() -> None:
    assert chosen(cluster("0001"), topology=TopologyRule(least_damage=False)) == "n0: 0"


def test_devices_on_one_interconnect_are_nearer_than_those_of_one_numa_node() -> None:
    state = cluster("0000")
    link(state, "n0-1 n0-3")
    assert chosen(state, count=2) == "n0: 1 3 tier 0"
    assert chosen(state, count=2, topology=TopologyRule(source=TopologySource.NUMA)) == "n0: 0 1 tier 1"


def test_a_single_device_is_one_without_peers_or_of_the_smallest_interconnect() -> None:
    state = cluster("000000")
    link(state, "n0-0 n0-1", "n0-0 n0-2", "n0-1 n0-2", "n0-3 n0-4")
    assert chosen(state) == "n0: 5"
    take(state, "n0-5")
    assert chosen(state) == "n0: 3"


def test_four_of_eight_in_pairs_break_no_pair() -> None:
    state = cluster("00001111")
    link(state, "n0-0 n0-1", "n0-2 n0-3", "n0-4 n0-5", "n0-6 n0-7")
    take(state, "n0-0")
    assert chosen(state, count=4) == "n0: 4 5 6 7 tier 1"
    assert chosen(state, count=2) == "n0: 2 3 tier 0"
    assert chosen(state) == "n0: 1"


def test_more_bandwidth_wins_where_everything_else_is_equal() -> None:
    state = cluster("00000000")
    link(state, "n0-0 n0-1", "n0-2 n0-3", rate=50)
    link(state, "n0-4 n0-5", rate=60)
    assert chosen(state, count=2) == "n0: 4 5 tier 0"


def test_the_better_of_two_reports_about_one_distance_counts() -> None:
    state = cluster("01")
    facts = state.fleet.devices["n0-0"].facts
    assert facts is not None
    state.upsert_device(replace(facts, peers=(("n0-1", 0, 7),)))
    assert chosen(state, count=2) == "n0: 0 1 tier 0"


def test_an_index_list_is_followed_whatever_the_distance() -> None:
    assert chosen(cluster("0011"), count=2, indices=(1, 2)) == "n0: 1 2 tier 2"


def test_what_reports_nothing_is_chosen_by_scores_as_ever() -> None:
    state = cluster("----")
    run(state, pod("first"))
    assert chosen(state, count=2) == "n0: 1 2"
    assert state.fleet.pools["pool"].located == 0


def test_switched_off_topology_leaves_the_choice_to_the_scores() -> None:
    state = cluster("0101")
    assert chosen(state, count=2, topology=TopologyRule(enabled=False)) == "n0: 0 1"


# --- the node ---


def test_a_nearer_tier_goes_before_the_placement_score() -> None:
    state = cluster("0123", "0011")
    take(state, "n0-0", "n0-1")  # n0 is fuller, which is what the pool's mode prefers
    assert chosen(state) == "n0: 2"
    assert chosen(state, count=2) == "n1: 0 1 tier 1"
    decision = decide(state, pod(count=2))
    assert (decision.score, decision.alternatives) == (2 * 101, (("n0", 101 + 50),))
    assert [in_points(parts) for parts in decision.parts] == [
        {"placement": 0.0, "topology": 202.0},
        {"placement": 50.0, "topology": 101.0},
    ]
    assert chosen(state, count=2, topology=TopologyRule(ranks_nodes=False)) == "n0: 2 3 tier 2"


def test_nodes_of_one_tier_are_ranked_by_the_placement_mode() -> None:
    assert chosen(taken_from("0011", "0011"), count=2) == "n1: 2 3 tier 1"
    assert chosen(taken_from("0011", "0011", policy=SPREAD), count=2) == "n0: 0 1 tier 1"


def taken_from(*numas: str, **more: Any) -> State:
    state = cluster(*numas, **more)
    take(state, "n1-0", "n1-1")
    return state


def test_devices_that_are_taken_change_the_tier_of_their_node() -> None:
    state = cluster("0011", "0012")
    first, second = (run(state, pod(f"p{number}", count=2, vram=60 * GIB)) for number in range(2))
    assert {first.placement.node, second.placement.node} == {"n0"}
    assert chosen(state, count=2, vram=60 * GIB) == "n1: 0 1 tier 1"
    state.release("uid-p0")
    assert chosen(state, count=2, vram=60 * GIB) == "n0: 0 1 tier 1"


def test_a_report_that_changes_is_followed() -> None:
    state = cluster("----", "----")
    assert chosen(state, count=2) == "n0: 0 1"
    link(state, "n1-2 n1-3")
    assert chosen(state, count=2) == "n1: 2 3 tier 0"
    for name in ("n1-2", "n1-3"):
        facts = state.fleet.devices[name].facts
        assert facts is not None
        state.upsert_device(replace(facts, peers=()))
    assert chosen(state, count=2) == "n0: 0 1"


# --- a hard rule ---


def test_a_hard_rule_says_which_tier_there_is_which_is_allowed_and_what_helps() -> None:
    with pytest.raises(Unschedulable) as caught:
        decide(cluster("0123", "01"), pod(count=2, topology=HARD))
    assert caught.value.reasons == {"gpu-topology": 2}
    assert (
        "2 nodes: with devices too far apart for the pod's GPU topology. GPU topology: the nearest 2 devices of one node "
        "come to tier 2 (across NUMA nodes), allowed is tier 1 (same NUMA node): wait for others that are nearer to each "
        "other; raise tensor-fusion.ai/gpu-topology-max-tier to 2, ask for fewer devices, or set "
        "tensor-fusion.ai/require-gpu-topology to false." in caught.value.message
    )


def test_unknown_distances_can_be_rejected_whatever_is_allowed() -> None:
    state = cluster("----")
    assert chosen(state, count=2, topology=replace(HARD, max_tier=3)) == "n0: 0 1 tier 3"
    with pytest.raises(Unschedulable) as caught:
        decide(state, pod(count=2, topology=TopologyRule(hard=True, max_tier=3, reject_unknown=True)))
    assert "unknown distances are rejected: the devices that fit report neither" in caught.value.message
    assert "gpu-topology-max-tier" not in caught.value.message


def test_a_hard_rule_asks_nothing_of_a_single_device() -> None:
    assert chosen(cluster("--"), topology=HARD) == "n0: 0"


def test_a_pod_that_waits_for_nearer_devices_hears_of_those_that_become_free() -> None:
    state = cluster("0011")
    take(state, "n0-0", "n0-2")
    with pytest.raises(Unschedulable) as caught:
        decide(state, pod(count=2, topology=HARD))
    changes = state.release("holder-n0-0")
    assert any(helps(caught.value, change) for change in changes)
    assert chosen(state, count=2, topology=HARD) == "n0: 0 1 tier 1"


def test_victims_are_those_whose_devices_are_near_each_other() -> None:
    state = cluster("0011")
    for index in range(4):
        held = pod(f"low-{index}", vram=80 * GIB, indices=(index,))
        run(state, held)
    state.release("uid-low-1")
    state.release("uid-low-2")  # two devices are free, across NUMA nodes
    urgent = pod("urgent", count=2, vram=80 * GIB, topology=HARD, priority=10)
    with pytest.raises(Unschedulable) as caught:
        decide(state, urgent)
    plan = search(state, urgent, caught.value, now=0)
    assert isinstance(plan, Eviction)
    assert len(plan.victims) == 1
    assert sorted(plan.placement.devices) in (["n0-0", "n0-1"], ["n0-2", "n0-3"])
    soft = replace(urgent, topology=None)
    assert sorted(decide(state, soft).placement.devices) == ["n0-1", "n0-2"]


def test_a_simulation_names_the_nodes_that_are_too_far_apart() -> None:
    found = simulate(cluster("0123", "0011"), pod(count=2, topology=HARD))
    assert found.node_refusals == {"n0": "gpu-topology"}
    assert found.feasible_nodes == ("n1",)


# --- annotations ---


def test_a_pods_own_annotations_go_before_its_profile() -> None:
    own = {keys.REQUIRE_GPU_TOPOLOGY: "true", keys.GPU_TOPOLOGY_MAX_TIER: "0", keys.GPU_TOPOLOGY_SOURCE: "vendor"}
    assert rule_of(own) == TopologyRule(hard=True, max_tier=0, source=TopologySource.VENDOR)
    assert rule_of({keys.REQUIRE_GPU_TOPOLOGY: "false"}, HARD) == TopologyRule()


@pytest.mark.parametrize("text", ["", "yes", "-1", "4", "1.0", "NUMA"])
def test_what_the_scheduler_cannot_read_it_leaves_out(text: str) -> None:
    names = (keys.REQUIRE_GPU_TOPOLOGY, keys.GPU_TOPOLOGY_MAX_TIER, keys.GPU_TOPOLOGY_SOURCE)
    assert rule_of(dict.fromkeys(names, text), HARD) == HARD


# --- plans ---


@st.composite
def nodes_of_devices(draw: st.DrawFn) -> list[DeviceFacts]:
    size = draw(st.integers(2, 7))
    numa = st.sampled_from((-1, 0, 0, 1, 1, 2))
    ties = draw(st.sampled_from(((0,), (0, 1, 2, 3), (0, 0, 2))))
    peer = st.tuples(st.integers(0, 7), st.sampled_from(ties), st.sampled_from((0, 5, 9)))
    peers = st.lists(peer, max_size=draw(st.sampled_from((0, 2, 6))))
    alike = draw(st.booleans())
    made = []
    for slot in range(size):
        where = slot // 2 % 2 if alike else draw(numa)
        links = tuple((f"n-{other}", tier, rate) for other, tier, rate in draw(peers))
        if alike:
            links = ((f"n-{slot ^ 1}", 0, 9),) if links or made else ()
        made.append(device(f"n-{slot}", "n", numa=where, peers=links))
    return made


@given(
    made=nodes_of_devices(),
    count=st.integers(1, 5),
    rule=st.builds(TopologyRule, source=st.sampled_from(TopologySource), least_damage=st.booleans()),
    data=st.data(),
)
@settings(max_examples=part_of(400), deadline=None)
def test_plans_are_those_that_looking_at_every_combination_finds(
    made: list[DeviceFacts], count: int, rule: TopologyRule, data: st.DataObject
) -> None:
    fitting = data.draw(st.lists(st.sampled_from(made), unique=True, min_size=min(count, len(made))))
    fitting.sort(key=lambda one: one.index)
    count = min(count, len(fitting))
    if not count:
        return
    own = data.draw(st.lists(st.integers(0, 2), min_size=len(made), max_size=len(made)))
    taken, tier, affinity = nearest(fitting, made, [own[one.index] for one in fitting], count=count, rule=rule)
    state = State()
    state.upsert_pool(PoolFacts("pool"))
    state.upsert_node(node("n"))
    for one in made:
        state.upsert_device(one)
    pool = state.fleet.pools["pool"]
    pool.follow_wirings()
    wired, mask = pool.wired(0), sum(1 << one.index for one in fitting)
    if wired is None:
        assert tier == (3 if count > 1 else tier)
    elif count > 1:
        plan = wired.plan(mask, count, rule.source)
        assert (plan.slots(own), plan.tier, plan.affinity) == ([one.index for one in taken], tier, affinity)
        assert wired.tier(mask, count, rule.source) == tier


def all_linked(*groups: range, size: int) -> Wired:
    links = tuple((a, b, 0, 1) for group in groups for a in group for b in group if a < b)
    return Wired(Wiring(tuple(slot * 2 // size for slot in range(size)), (1 << size) - 1, links), 0)


def test_large_nodes_of_regular_wiring_are_searched_in_full() -> None:
    both = all_linked(range(32), range(32, 64), size=64)
    plan = both.plan((1 << 64) - 1, 20, TopologySource.AUTO)
    assert (plan.tier, plan.heuristic) == (0, False)
    assert plan.slots([0] * 63 + [1]) == [*range(32, 51), 63]


def test_where_there_are_too_many_ways_a_plan_is_grown_and_says_so() -> None:
    pairs = all_linked(*(range(slot, slot + 2) for slot in range(0, 64, 2)), size=64)
    plan = pairs.plan((1 << 64) - 1, 8, TopologySource.AUTO)
    assert (plan.tier, plan.heuristic) == (1, True)
    assert plan.slots([0] * 64) == list(range(8))  # whole pairs of one NUMA node
    assert plan.affinity == 66


def test_a_grown_plan_is_as_near_as_the_node_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "MOST_WAYS", 1)
    pairs = all_linked(*(range(slot, slot + 2) for slot in range(0, 8, 2)), size=8)
    for mask in range(1, 256):
        for count in range(2, mask.bit_count() + 1):
            plan = pairs.plan(mask, count, TopologySource.AUTO)
            assert plan.tier == pairs.tier(mask, count, TopologySource.AUTO)
            assert all(mask >> slot & 1 for slot in plan.slots([0] * 8))
            assert len(set(plan.slots([0] * 8))) == count


def test_a_lower_tier_always_has_the_higher_plan_score() -> None:
    assert [Plan(tier, affinity, ()).score for tier in range(4) for affinity in (100, 0)] == [
        99, 75, 74, 50, 49, 25, 24, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("size", [7, 20, 40])
def test_columns_of_many_slots_say_what_single_rows_do(size: int) -> None:
    state = cluster("01" * (size // 2) + "1", "0" * size, "-" * size, "012")
    link(state, "n0-0 n0-1", "n1-2 n1-5", f"n1-0 n1-{size - 1}")
    pool = state.fleet.pools["pool"]
    for count in (2, 3, size):
        request, rule = pod(count=count).request, TopologyRule()
        assert request is not None
        codes = device_codes(pool, request, room=None)
        pool.follow_wirings()
        rows = [tiers_of(pool, request, rule, codes[:, [row]], np.array([row])).item() for row in range(4)]
        assert tiers_of(pool, request, rule, codes, None)[:4].tolist() == rows
        assert rows == {2: [0, 0, 3, 2], 3: [1, 1, 3, 2]}.get(count, [2, 1, 3, 0])
