"""A gang is placed as a whole, close together where it can be, or not at all; and a refusal leaves no trace."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import NotFit, TensorFusionError
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import Isolation
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Off, PodFacts, QuotaFacts
from tensorfusion.scheduling.gang_room import room_by_node
from tensorfusion.scheduling.gangs import GangPlacement, GangUnschedulable, ordinal, place_gang, place_member
from tensorfusion.scheduling.pod_rules import PodRules, PodSelector, PodTerm, SpreadRule
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, requirement, run, term
from worlds import required as required_affinity

RACK, ZONE = "topology.kubernetes.io/rack", "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


def members(
    count: int, *, needed: int | None = None, name: str = "m", gang: Any = None, **wishes: Any
) -> list[PodFacts]:
    own = {"strict": False, **(gang or {})}
    key = Gang(own.pop("key", "team/train"), required=needed or count, desired=count, **own)
    return [pod(f"{name}{number:03}", gang=key, **wishes) for number in range(count)]


def whole(**facts: Any) -> dict[str, Any]:
    """Wishes of a pod that takes a whole device of the small worlds."""
    return {"compute": 100 * TFLOPS, "vram": 80 * GIB, **facts}


def racks(*sizes: int, zone: int = 0) -> State:
    """One device a node; as many nodes in each rack as said; racks r0, r1, ... of zone z0 (or two racks a zone)."""
    state = fleet(0)
    number = 0
    for rack, size in enumerate(sizes):
        for _ in range(size):
            labels = {RACK: f"r{rack}", ZONE: f"z{rack // zone if zone else 0}"}
            state.upsert_node(node(f"n{number}", labels=labels))
            state.upsert_device(device(f"n{number}-0", f"n{number}"))
            number += 1
    return state


def snapshot(state: State) -> object:
    """Everything that placing changes."""
    return (
        sorted(state.allocations),
        [(one.name, one.compute_held, one.vram_held, sorted(one.holders)) for one in state.devices()],
        [(one.name, one.cpu, one.memory, one.pods, one.workers) for one in state.nodes()],
        state.usage("team"),
        [(pool.node_score.tolist(), pool.compute_free.tolist()) for pool in state.fleet.pools.values()],
    )


def nodes_of(placement: GangPlacement) -> list[str]:
    return [decision.placement.node for _, decision in placement.members]


def refusal(state: State, pods: list[PodFacts], needed: int) -> GangUnschedulable:
    before = snapshot(state)
    with pytest.raises(GangUnschedulable) as caught:
        place_gang(state, pods, needed=needed)
    assert snapshot(state) == before
    return caught.value


# --- all or nothing ---


def test_a_gang_that_fits_is_held_as_a_whole() -> None:
    state = fleet(4, 1)
    placement = place_gang(state, members(4, **whole()), needed=4)
    assert sorted(nodes_of(placement)) == ["n0", "n1", "n2", "n3"]
    assert len(state.allocations) == 4


def test_a_refusal_holds_nothing_and_says_how_many_fit_and_what_stopped_the_next() -> None:
    state = fleet(5, 1)
    failure = refusal(state, members(8, **whole()), 8)
    assert (failure.fits, failure.needed) == (5, 8)
    assert failure.message.startswith("gang team/train: 5 of 8 fit; the 6th: 0/5 nodes are available: ")
    assert "not enough compute" in failure.message
    assert failure.alike
    assert decide(state, pod("other", **whole())).feasible == 5


def test_a_gang_bound_by_quota_is_refused_with_the_quotas_words() -> None:
    state = fleet(5, 1)
    state.set_quota(QuotaFacts("team", total_workers=3))
    assert "3 of 4 fit; the 4th: quota exceeded in namespace team" in refusal(state, members(4), 4).message


def test_members_beyond_the_needed_number_are_left_out() -> None:
    state = fleet(5, 1)
    placement = place_gang(state, members(8, needed=3, **whole()), needed=3)
    assert [one.name for one, _ in placement.members] == ["m000", "m001", "m002"]
    assert len(state.allocations) == 3


def test_the_largest_member_goes_first() -> None:
    state = fleet(1, 2)
    state.upsert_node(node("n1"))
    state.upsert_device(device("n1-0", "n1"))
    small = members(1, name="a", **whole())
    large = [replace(one, request=replace(one.request, count=2)) for one in members(1, name="b", **whole())]
    placement = place_gang(state, small + large, needed=2)
    assert [(one.name, decision.placement.node) for one, decision in placement.members] == [
        ("b000", "n0"),
        ("a000", "n1"),
    ]


def test_an_elastic_gang_goes_on_without_a_member_that_cannot_run_and_a_strict_one_does_not() -> None:
    odd = members(1, name="odd", model="GB200")
    usual = members(3, name="usual")
    assert len(place_gang(fleet(), odd + usual, needed=3).members) == 3
    strict = [replace(one, gang=replace(one.gang, strict=True)) for one in odd + usual if one.gang is not None]
    failure = refusal(fleet(), strict, 3)
    assert failure.member is not None
    assert failure.member.name == "odd000"
    assert not failure.alike


def test_a_gang_across_two_pools_is_refused() -> None:
    failure = refusal(fleet(), members(1) + members(1, name="o", pool="other"), 2)
    assert failure.message == (
        "gang team/train: its members ask for pools other and pool: give all of them the same gpupool"
    )


def test_pods_without_shares_are_gangs_too() -> None:
    state = fleet(2, 1)
    gang = Gang("team/mpi", required=2, desired=2)
    placement = place_gang(state, [plain(f"p{number}", cpu=40_000, gang=gang) for number in range(2)], needed=2)
    assert sorted(nodes_of(placement)) == ["n0", "n1"]
    refusal(state, [plain(f"q{number}", cpu=40_000, gang=gang) for number in range(2)], 2)


# --- topology ---


def test_the_tightest_rack_that_holds_the_gang_is_taken() -> None:
    state = racks(6, 3, 4)
    placement = place_gang(state, members(3, **whole()), needed=3)
    assert placement.domain == f"{RACK}=r1"
    assert nodes_of(placement) == ["n6", "n7", "n8"]


def test_what_others_hold_in_a_rack_counts() -> None:
    state = racks(4, 4)
    state.assume(pod("other", **whole()), decide(state, pod("other", **whole())).placement)
    assert place_gang(state, members(4, **whole()), needed=4).domain == f"{RACK}=r1"


def test_a_gang_too_large_for_any_rack_takes_a_zone_and_then_anything() -> None:
    assert place_gang(racks(2, 2, 2, 2, zone=2), members(4, **whole()), needed=4).domain == f"{ZONE}=z0"
    assert place_gang(racks(2, 2, 2, 2, zone=2), members(5, **whole()), needed=5).domain == ""


def test_a_required_topology_refuses_and_says_how_many_the_best_domain_holds() -> None:
    state = racks(2, 3, 2)
    wish = {"topology": GangTopology.REQUIRED, "topology_key": RACK}
    failure = refusal(state, members(4, gang=wish, **whole()), 4)
    assert failure.message.startswith(f"gang team/train: 3 of 4 fit in {RACK}=r1, the best of them; the 4th: ")
    assert place_gang(state, members(3, gang=wish, **whole()), needed=3).domain == f"{RACK}=r1"


def test_a_required_topology_without_labelled_nodes_says_what_to_do() -> None:
    failure = refusal(fleet(4), members(2, gang={"topology": GangTopology.REQUIRED}), 2)
    assert f"no node has label {RACK} or {ZONE}: label the nodes" in failure.message


def test_no_topology_looks_at_no_rack() -> None:
    state = racks(1, 3)
    placement = place_gang(state, members(3, gang={"topology": GangTopology.NONE}, **whole()), needed=3)
    assert (placement.domain, nodes_of(placement)) == ("", ["n0", "n1", "n2"])


def test_a_members_own_node_rules_hold_inside_a_domain() -> None:
    state = racks(3, 3)
    own = {"affinity": required_affinity(term(requirement(RACK, "In", "r1")))}
    assert place_gang(state, members(2, **own), needed=2).domain == f"{RACK}=r1"
    other = {"node_selector": {RACK: "r0"}}
    assert place_gang(state, members(2, name="o", **other), needed=2).domain == f"{RACK}=r0"


def test_members_bound_to_different_racks_by_themselves_still_make_a_gang() -> None:
    state = racks(3, 3)
    apart = members(1, node_selector={RACK: "r0"}) + members(1, name="o", node_selector={RACK: "r1"})
    placement = place_gang(state, apart, needed=2)
    assert placement.domain == f"{ZONE}=z0"
    assert nodes_of(placement) == ["n0", "n3"]


def test_a_relabelled_node_counts_where_it_is_now() -> None:
    state = racks(2, 2)
    place_gang(state, members(2, **whole()), needed=2)
    state.upsert_node(node("n1", labels={RACK: "r1"}))
    failure = refusal(
        state, members(3, name="o", gang={"topology": GangTopology.REQUIRED, "topology_key": RACK}, **whole()), 3
    )
    assert f"2 of 3 fit in {RACK}=r1" in failure.message


def test_a_late_member_joins_the_others_rack() -> None:
    state = racks(1, 3)
    (late,) = members(1, needed=2, name="late")
    assert place_member(state, late, ["n2", "n3"]).placement.node in ("n1", "n2", "n3")
    assert place_member(state, late, []).placement.node == "n0"
    full = racks(2, 1)
    held = pod("held", **whole())
    full.assume(held, decide(full, replace(held, node_selector={RACK: "r1"})).placement)
    assert place_member(full, late, ["n2"]).placement.node == "n0"
    wish = replace(late, gang=Gang("team/train", 2, 2, topology=GangTopology.REQUIRED))
    with pytest.raises(GangUnschedulable, match=r"the others are in topology\.kubernetes\.io/rack=r1"):
        place_member(full, wish, ["n2"])


def test_a_required_topology_is_told_of_room_in_any_domain() -> None:
    state = racks(3, 4)
    run(state, *(pod(f"held{number}", node_selector={RACK: "r1"}, **whole()) for number in range(2)))
    wish = {"topology": GangTopology.REQUIRED, "topology_key": RACK}
    failure = refusal(state, members(4, gang=wish, **whole()), 4)
    assert f"3 of 4 fit in {RACK}=r0" in failure.message
    assert isinstance(failure.cause, NotFit)
    assert not failure.alike, "what helps in another rack does not help the member that was kept in this one"


def test_a_spread_over_zones_counts_all_zones_while_a_domain_is_tried() -> None:
    state = racks(4, 4, zone=1)
    even = PodRules(spread=(SpreadRule(ZONE, 1, labelled("app", "web")),))
    own: dict[str, Any] = {"labels": {"app": "web"}, "rules": even}
    preferred = members(4, gang={"topology": GangTopology.PREFERRED}, **own)
    placement = place_gang(state, preferred, needed=4)
    zones = [state.fleet.nodes.records[name].facts.labels[ZONE] for name in nodes_of(placement)]
    assert (placement.domain, sorted(zones)) == ("", ["z0", "z0", "z1", "z1"])
    required = members(4, name="r", gang={"topology": GangTopology.REQUIRED, "key": "team/r"}, **own)
    assert refusal(state, required, 4).fits == 1


def test_a_profile_without_node_selectors_still_keeps_a_gang_in_its_domain() -> None:
    own = {"off": frozenset({Off.OWN_NODES}), "node_selector": {RACK: "elsewhere"}}
    placement = place_gang(racks(2, 2), members(2, **own, **whole()), needed=2)
    assert placement.domain == f"{RACK}=r0"
    assert nodes_of(placement) == ["n0", "n1"]


# --- neighbours ---


def labelled(key: str, value: str) -> PodSelector:
    return PodSelector((requirement(key, "In", value),), ("team",))


def guarded(*, nodes: int) -> State:
    """Nodes of one device in one rack; on n0 runs a pod that keeps pods of role b away from its node."""
    state = State()
    for number in range(nodes):
        state.upsert_node(node(f"n{number}", labels={HOST: f"n{number}", RACK: "r0"}))
    away = PodRules(anti_affinity=(PodTerm(HOST, labelled("role", "b")),))
    run(state, plain("guard", rules=away, node_selector={HOST: "n0"}))
    return state


def roles(*names: str, **gang: Any) -> list[PodFacts]:
    key = Gang("team/train", required=len(names), desired=len(names), **gang)
    return [plain(f"m{number}", labels={"role": role}, cpu=1, gang=key) for number, role in enumerate(names)]


@pytest.mark.parametrize("topology", GangTopology)
def test_a_placed_pod_keeps_away_the_members_that_it_names_and_no_others(topology: GangTopology) -> None:
    placement = place_gang(guarded(nodes=2), roles("a", "b", topology=topology), needed=2)
    assert nodes_of(placement) == ["n0", "n1"]
    placement = place_gang(guarded(nodes=2), roles("b", "a", topology=topology), needed=2)
    assert nodes_of(placement)[0] == "n1"
    two = place_gang(guarded(nodes=1), roles("b", "a", "a", topology=topology, strict=False), needed=2)
    assert [one.name for one, _ in two.members] == ["m1", "m2"]


def test_a_member_with_rules_keeps_away_the_later_members_that_it_names_and_no_others() -> None:
    state = State()
    state.upsert_node(node("n0", labels={HOST: "n0"}))
    first, *others = roles("x", "b", "a", strict=False)
    away = PodRules(anti_affinity=(PodTerm(HOST, labelled("role", "b")),))
    placement = place_gang(state, [replace(first, cpu=2, rules=away), *others], needed=2)
    assert [one.name for one, _ in placement.members] == ["m0", "m2"]


def test_labels_that_no_placed_pod_looks_at_make_no_kinds() -> None:
    state = guarded(nodes=1)
    failure = refusal(state, [replace(one, cpu=10**9) for one in roles("x", "y", "z")], 3)
    assert failure.alike
    assert not refusal(state, [replace(one, cpu=10**9) for one in roles("x", "b")], 2).alike


# --- invariants ---

SHAPES = ({"compute": 30 * TFLOPS}, {"vram": 60 * GIB}, {"isolation": "shared"}, {"percent": 40_000, "compute": 0})
wishes = st.sampled_from(SHAPES)
sizes = st.lists(st.tuples(st.integers(2, 9), wishes, st.sampled_from(GangTopology)), min_size=1, max_size=6)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), sizes, st.data())
def test_a_gang_is_never_placed_in_part_and_a_refusal_leaves_everything_as_it_was(rooms, gangs, data) -> None:
    state = racks(*rooms, zone=2)
    for number, (count, wish, topology) in enumerate(gangs):
        needed = data.draw(st.integers(2, count))
        key = f"team/g{number}"
        pods = members(count, needed=needed, name=f"g{number}-", gang={"key": key, "topology": topology}, **wish)
        before = snapshot(state)
        try:
            placement = place_gang(state, pods, needed=needed)
        except GangUnschedulable as failure:
            assert snapshot(state) == before
            assert failure.fits < needed
        else:
            held = [one.pod.name for one in state.allocations.values() if one.pod.gang == pods[0].gang]
            assert len(held) == len(placement.members) == needed
            if topology is GangTopology.REQUIRED:
                assert placement.domain
        assert not state.overcommitted()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), wishes, st.integers(1, 12))
def test_the_room_of_a_node_is_never_below_what_really_fits(rooms, wish, count: int) -> None:
    state = racks(*rooms)
    one = pod("asking", **wish)
    bound = int(room_by_node(state, one).sum())
    placed = 0
    for number in range(count):
        try:
            state.assume(pod(f"p{number}", **wish), decide(state, one).placement)
        except TensorFusionError:
            break
        placed += 1
    assert placed <= bound
    assert int(room_by_node(state, one).sum()) >= 0


@given(sizes, st.integers(0, 6), st.randoms(use_true_random=False))
def test_gangs_and_singles_that_fit_an_empty_fleet_are_all_placed_in_the_end(gangs, singles: int, random) -> None:
    waiting: list[list[PodFacts]] = [
        members(min(count, 4), name=f"g{number}-", gang={"key": f"team/g{number}"}, **wish)
        for number, (count, wish, _) in enumerate(gangs)
    ]
    waiting += [[pod(f"s{number}", **whole())] for number in range(singles)]
    random.shuffle(waiting)
    state = racks(3, 2)
    running: list[list[PodFacts]] = []
    for _ in range(2 * len(waiting) + 1):
        left = []
        for group in waiting:
            try:
                if group[0].gang is not None:
                    place_gang(state, group, needed=len(group))
                else:
                    state.assume(group[0], decide(state, group[0]).placement)
                running.append(group)
            except TensorFusionError:
                left.append(group)
        waiting = left
        if running:
            for one in running.pop(random.randrange(len(running))):
                state.release(one.uid)
    assert waiting == []


@pytest.mark.parametrize("isolation", [Isolation.SHARED, Isolation.HARD])
def test_room_counts_other_isolations(isolation: Isolation) -> None:
    state = fleet(2, 2)
    one = pod("asking", isolation=isolation, compute=60 * TFLOPS)
    assert int(room_by_node(state, one).sum()) == 4


@pytest.mark.parametrize(
    ("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_ordinals(number: int, word: str) -> None:
    assert ordinal(number) == word
