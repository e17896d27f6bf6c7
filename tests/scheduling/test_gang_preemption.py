"""Who has to go for a whole gang: never anybody unless all of it fits, and no more than it takes."""

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from example_counts import part_of
from tensorfusion.model.gang import Gang
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.facts import Placement, PodFacts, QuotaFacts
from tensorfusion.scheduling.gang_preemption import GangPlan, search_gang
from tensorfusion.scheduling.gangs import GangUnschedulable, place_gang
from tensorfusion.scheduling.pod_rules import PodRules, PodSelector, PodTerm
from tensorfusion.scheduling.preemption import Hopeless
from tensorfusion.scheduling.state import State
from test_ledger_machine import fingerprint
from test_preemption_invariants import allowed, pods, worlds
from worlds import GIB, fleet, pod, requirement

NOW = 1_000_000
RACK = "topology.kubernetes.io/rack"


def put(state: State, where: str, *, name: str, device: int = 0, **wishes: Any) -> PodFacts:
    """A pod that runs there already."""
    wishes.setdefault("vram", 60 * GIB)
    one = pod(name, **wishes)
    state.confirm(one, Placement(where, (f"{where}-{device}",)))
    return one


def gang_of(count: int, required: int | None = None, *, wishes: Any = None, **more: Any) -> list[PodFacts]:
    more.setdefault("topology", GangTopology.NONE)
    gang = Gang("team/new", required or count, count, **more)
    settings = {"priority": 5, "vram": 60 * GIB, **(wishes or {})}
    return [replace(pod(f"m{number}", **settings), gang=gang) for number in range(count)]


def find(state: State, members: list[PodFacts], **terms: Any) -> GangPlan | Hopeless:
    gang = members[0].gang
    assert gang is not None
    with pytest.raises(GangUnschedulable):
        place_gang(state, members, needed=gang.required)
    before = fingerprint(state)
    found = search_gang(state, members, needed=gang.required, now=NOW, **terms)
    assert fingerprint(state) == before
    return found


def victims(found: GangPlan | Hopeless) -> list[str]:
    assert isinstance(found, GangPlan), found
    return sorted(victim.pod.name for victim in found.victims)


def test_every_member_gets_a_place_and_only_those_in_the_way_go() -> None:
    state = fleet(nodes=4, devices=1)
    for number in (0, 1, 3):
        put(state, f"n{number}", name=f"low{number}", priority=number)
    found = find(state, gang_of(3))
    assert victims(found) == ["low0", "low1"]
    assert isinstance(found, GangPlan)
    assert sorted(placement.node for _, placement in found.placements) == ["n0", "n1", "n2"]


def test_nobody_goes_unless_the_required_number_fits() -> None:
    state = fleet(nodes=3, devices=1)
    put(state, "n0", name="low")
    put(state, "n1", name="also")
    put(state, "n2", name="important", priority=9)
    assert isinstance(find(state, gang_of(3)), Hopeless)
    assert victims(find(state, gang_of(3, 2))) == ["also", "low"]


def test_a_node_that_holds_several_members_is_made_room_on_once() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", name="big")
    put(state, "n1", name="important", priority=9)
    assert victims(find(state, gang_of(3, wishes={"vram": 20 * GIB}))) == ["big"]


def test_a_budget_counts_the_victims_of_all_members_together() -> None:
    state = fleet(nodes=4, devices=1)
    for number in range(4):
        put(state, f"n{number}", name=f"low{number}", priority=number // 2)

    def lets_go(one: int) -> Any:
        return lambda facts: {"team/web": one} if facts.name in ("low0", "low1") else {}

    assert victims(find(state, gang_of(2), budgets=lets_go(2))) == ["low0", "low1"]
    assert victims(find(state, gang_of(2), budgets=lets_go(1))) == ["low0", "low2"]
    assert isinstance(find(state, gang_of(4), budgets=lets_go(1)), Hopeless)


def test_a_gang_goes_for_a_gang_as_a_whole_and_everything_it_leaves_is_used() -> None:
    state = fleet(nodes=4, devices=1)
    for number in range(2):
        put(state, f"n{number}", name=f"old{number}", gang=Gang("team/old", 2, 2))
    for number in (2, 3):
        put(state, f"n{number}", name=f"single{number}", priority=1)
    assert victims(find(state, gang_of(2))) == ["old0", "old1"]
    assert victims(find(state, gang_of(3))) == ["old0", "old1", "single2"]


def test_members_of_its_own_are_never_victims() -> None:
    state = fleet(nodes=2, devices=1)
    own = gang_of(2)
    put(state, "n0", name="mine", priority=0, gang=own[0].gang)
    put(state, "n1", name="other")
    assert isinstance(find(state, own), Hopeless)


@pytest.mark.parametrize(
    ("low", "wishes"),
    [
        ({"priority": 5}, {}),
        ({"protected_until": NOW + 1}, {}),
        ({"namespace": "other"}, {}),
        ({}, {"preempts": False}),
    ],
)
def test_who_must_not_go_stays(low: Any, wishes: Any) -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", name="a", **low)
    put(state, "n1", name="b")
    assert isinstance(find(state, gang_of(2, wishes=wishes)), Hopeless)


def test_victims_are_less_important_than_the_least_of_the_members() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", name="a", priority=3)
    put(state, "n1", name="b")
    high, low = gang_of(2)
    assert isinstance(find(state, [high, replace(low, priority=2)]), Hopeless)
    assert victims(find(state, [high, replace(low, priority=4)])) == ["a", "b"]


def test_pods_that_end_anyway_are_waited_for() -> None:
    state = fleet(nodes=3, devices=1)
    put(state, "n0", name="ending", priority=50)
    put(state, "n1", name="low")
    put(state, "n2", name="other", priority=1)
    state.leaving("uid-ending")
    found = find(state, gang_of(2))
    assert victims(found) == ["low"]
    assert isinstance(found, GangPlan)
    assert len(found.ending) == 1


def test_rules_between_members_are_kept() -> None:
    apart = PodRules(anti_affinity=(PodTerm(HOST, PodSelector((requirement("app", "In", "ring"),), ("team",))),))
    state = racks(2, 2)
    for number in range(4):
        put(state, f"n{number}", name=f"low{number}", priority=number)
    members = [replace(one, rules=apart, labels={"app": "ring"}) for one in gang_of(2, wishes={"vram": 30 * GIB})]
    assert victims(find(state, members)) == ["low0", "low1"]


HOST = "kubernetes.io/hostname"


def racks(count: int, size: int) -> State:
    state = fleet(nodes=count * size, devices=1)
    for number in range(count * size):
        facts = state.fleet.nodes.records[f"n{number}"].facts
        assert facts is not None
        state.upsert_node(replace(facts, labels={RACK: f"r{number // size}", HOST: f"n{number}"}))
    return state


def test_a_required_domain_is_kept_and_the_cheapest_one_is_chosen() -> None:
    state = racks(3, 2)
    for number in range(6):
        put(state, f"n{number}", name=f"low{number}", priority=3 if number < 2 else number % 2)
    found = find(state, gang_of(2, topology=GangTopology.REQUIRED))
    assert isinstance(found, GangPlan)
    assert found.domain in (f"{RACK}=r1", f"{RACK}=r2")
    assert len(found.victims) == 2
    assert isinstance(find(state, gang_of(3, topology=GangTopology.REQUIRED)), Hopeless)


def test_nobody_more_goes_for_a_preferred_domain() -> None:
    state = racks(2, 2)
    for number, priority in enumerate((0, 4, 0, 4)):
        put(state, f"n{number}", name=f"low{number}", priority=priority)
    assert victims(find(state, gang_of(2, topology=GangTopology.PREFERRED))) == ["low0", "low2"]


def test_a_gang_over_its_quota_makes_room_in_its_own_namespace() -> None:
    state = fleet(nodes=4, devices=1)
    put(state, "n0", name="cheap")
    put(state, "n1", name="dear", priority=3)
    state.set_quota(QuotaFacts("team", total_vram=180 * GIB))
    assert victims(find(state, gang_of(2))) == ["cheap"]
    state.set_quota(QuotaFacts("team", total_vram=100 * GIB))
    assert isinstance(find(state, gang_of(2)), Hopeless)


@settings(max_examples=part_of(100), deadline=None)
@given(worlds(), st.lists(pods, min_size=2, max_size=4), st.data())
def test_a_plan_is_proven_lawful_and_minimal(state: State, several: list[PodFacts], data: st.DataObject) -> None:
    needed = data.draw(st.integers(2, len(several)))
    gang = Gang("team/new", needed, len(several), topology=data.draw(st.sampled_from(tuple(GangTopology))))
    space = several[0].namespace
    if data.draw(st.booleans()):
        several = [several[0]] * len(several)
    members = [
        replace(one, uid=f"new{number}", name=f"new{number}", namespace=space, gang=gang, priority=one.priority + 3)
        for number, one in enumerate(several)
    ]
    limits = {name: data.draw(st.integers(0, 2)) for name in ("even", "odd")}
    mark = state.checkpoint()
    try:
        place_gang(state, members, needed=needed)
    except GangUnschedulable:
        state.rollback(mark)
    else:
        state.rollback(mark)
        return
    before = fingerprint(state)

    def budgets(facts: PodFacts) -> dict[str, int]:
        kind = ("even", "odd", "")[int(facts.uid[1:]) % 3]
        return {kind: limits[kind]} if kind else {}

    found = search_gang(state, members, needed=needed, now=1_000, budgets=budgets)
    assert fingerprint(state) == before
    assert not state.nominated
    if isinstance(found, Hopeless):
        return
    lowest = min(members, key=lambda one: one.rank)
    gone = {victim.pod.uid for victim in found.victims}
    assert gone <= allowed(state, lowest, cluster_wide=False)
    counted = [name for victim in found.victims for name in budgets(victim.pod)]
    assert all(counted.count(name) <= most for name, most in limits.items())
    assert len(found.placements) == needed
    goes = gone | set(found.ending) | set(found.displaced)
    assert fits_without(state, members, goes, found)
    if found.victims:
        units: dict[str, set[str]] = {}
        for victim in found.victims:
            units.setdefault(victim.pod.gang.key if victim.pod.gang else victim.pod.uid, set()).add(victim.pod.uid)
        for unit in units.values():
            assert not fits_without(state, members, goes - unit)


def fits_without(state: State, members: list[PodFacts], gone: set[str], plan: GangPlan | None = None) -> bool:
    """Whether the gang is placed as a whole once these went; each at the place that the plan says."""
    gang = members[0].gang
    assert gang is not None
    mark = state.checkpoint()
    try:
        for uid in gone:
            state.release(uid)
        found = place_gang(state, members, needed=gang.required)
        if plan is not None:
            assert [(one, decision.placement) for one, decision in found.members] == list(plan.placements)
    except GangUnschedulable:
        return False
    finally:
        state.rollback(mark)
    return True


@settings(max_examples=part_of(60), deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=3), min_size=1, max_size=6), st.integers(1, 8))
def test_alike_members_get_places_whenever_enough_could_leave(nodes: list[list[int]], needed: int) -> None:
    """Whole devices, each held by one pod of some priority: as many places as less important pods, the lowest first."""
    needed = max(2, needed)
    state = fleet(nodes=len(nodes), devices=3)
    for place, held in enumerate(nodes):
        for device in range(3):
            priority = held[device] if device < len(held) else 9
            put(state, f"n{place}", name=f"p{place}-{device}", device=device, priority=priority)
    found = search_gang(state, gang_of(needed), needed=needed, now=NOW)
    lower = sorted(priority for held in nodes for priority in held if priority < 5)
    if len(lower) < needed:
        assert isinstance(found, Hopeless)
    else:
        assert isinstance(found, GangPlan)
        assert sorted(one.pod.priority for one in found.victims) == lower[:needed]
