"""Who has to go for whom: the order of preference, what may never happen, and the proof before anybody goes."""

from dataclasses import replace
from typing import Any

import pytest

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Taint
from tensorfusion.model.gang import Gang
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.model.request import Isolation, QoS
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.pod_rules import HostPort, PodRules, PodSelector, PodTerm
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Looked
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod

NOW = 1_000_000
GANG = Gang("team/gang", required=2, desired=2)
HOUR = 3600


def put(state: State, where: str, *devices: str, name: str, **wishes: Any) -> PodFacts:
    """A pod that runs there already."""
    wishes.setdefault("vram", 60 * GIB)
    one = pod(name, **wishes)
    state.confirm(one, Placement(where, devices))
    return one


def born(seconds_ago: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat()


def find(state: State, one: PodFacts, **terms: Any) -> Plan | Hopeless:
    """The search after a decision that said no."""
    with pytest.raises((NotFit, QuotaExceeded)) as failed:
        decide(state, one)
    return search(state, one, failed.value, now=NOW, **terms)


def victims(found: Plan | Hopeless) -> list[str]:
    assert isinstance(found, Plan)
    return sorted(victim.pod.name for victim in found.victims)


def test_a_less_important_pod_goes_and_the_place_is_the_one_it_leaves() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="high", priority=9)
    put(state, "n1", "n1-0", name="low")
    found = find(state, pod("new", priority=5, vram=60 * GIB))
    assert victims(found) == ["low"]
    assert isinstance(found, Plan)
    assert found.placement == Placement("n1", ("n1-0",))
    assert (found.looked.considered, [one.name for one in found.looked.pods]) == (1, ["low"])


@pytest.mark.parametrize("count", [200, 256])
def test_a_node_with_256_devices_that_all_come_into_question_is_not_missed(count: int) -> None:
    state = fleet(nodes=1, devices=256)
    for number in range(256):
        put(state, "n0", f"n0-{number}", name=f"low{number}")
    found = find(state, pod("new", priority=5, count=count, vram=60 * GIB))
    assert len(victims(found)) == count


def test_nothing_is_changed_by_a_search() -> None:
    from test_ledger_machine import fingerprint

    state = fleet(nodes=2, devices=2)
    for name in ("n0-0", "n0-1", "n1-0", "n1-1"):
        put(state, name[:2], name, name=name)
    before = fingerprint(state)
    find(state, pod("new", priority=5, count=2, vram=60 * GIB))
    assert fingerprint(state) == before


@pytest.mark.parametrize(
    ("victim", "preemptor"),
    [
        ({"priority": 5}, {"priority": 5}),
        ({"priority": 6}, {"priority": 5}),
        ({}, {"priority": 5, "preempts": False}),
        ({"qos": QoS.MEDIUM}, {}),
        ({"protected_until": NOW + 1}, {"priority": 5}),
        ({"namespace": "other"}, {"priority": 5}),
    ],
)
def test_equals_the_important_the_protected_and_others_are_left_alone(victim: Any, preemptor: Any) -> None:
    state = fleet(nodes=1, devices=1)
    put(state, "n0", "n0-0", name="here", **victim)
    assert isinstance(find(state, pod("new", vram=60 * GIB, **preemptor)), Hopeless)


@pytest.mark.parametrize(
    ("victim", "preemptor", "terms"),
    [
        ({"qos": QoS.LOW}, {}, {}),
        ({"priority": 5, "qos": QoS.MEDIUM}, {"priority": 5, "qos": QoS.CRITICAL}, {}),
        ({"protected_until": NOW}, {"priority": 5}, {}),
        ({"namespace": "other"}, {"priority": 5}, {"cluster_wide": True}),
        ({"namespace": "other"}, {"priority": 2_000_000_000}, {}),
    ],
)
def test_quality_of_service_the_end_of_protection_and_scope_decide(victim: Any, preemptor: Any, terms: Any) -> None:
    state = fleet(nodes=1, devices=1)
    put(state, "n0", "n0-0", name="here", **victim)
    assert victims(find(state, pod("new", vram=60 * GIB, **preemptor), **terms)) == ["here"]


def test_the_end_of_the_first_protection_is_told() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="a", protected_until=NOW + 90)
    put(state, "n1", "n1-0", name="b", protected_until=NOW + 30)
    found = find(state, pod("new", priority=5, vram=60 * GIB))
    assert found == Hopeless(Looked(), NOW + 30)


def test_the_lowest_highest_victim_counts_before_their_number() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="one", priority=2)
    put(state, "n1", "n1-0", name="a", priority=1, vram=30 * GIB)
    put(state, "n1", "n1-0", name="b", priority=1, vram=30 * GIB)
    assert victims(find(state, pod("new", priority=5, vram=70 * GIB))) == ["a", "b"]


def test_fewer_victims_are_better_at_equal_importance() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="a", vram=30 * GIB)
    put(state, "n0", "n0-0", name="b", vram=30 * GIB)
    put(state, "n1", "n1-0", name="one", vram=60 * GIB)
    assert victims(find(state, pod("new", priority=5, vram=70 * GIB))) == ["one"]


def test_the_youngest_goes_and_then_the_first_node() -> None:
    state = fleet(nodes=3, devices=1)
    put(state, "n0", "n0-0", name="old", created=born(9 * HOUR))
    put(state, "n1", "n1-0", name="young", created=born(HOUR))
    put(state, "n2", "n2-0", name="twin", created=born(HOUR))
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["young"]


def test_a_second_of_several_devices_is_more_work_than_a_second_of_one() -> None:
    state = fleet(nodes=2, devices=2)
    put(state, "n0", "n0-0", "n0-1", name="wide", count=2, created=born(HOUR))
    put(state, "n1", "n1-0", name="narrow", created=born(HOUR + 60))
    put(state, "n1", "n1-1", name="other", created=born(9 * HOUR))
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["narrow"]


def test_who_need_not_go_stays_the_important_first() -> None:
    state = fleet(nodes=1, devices=1)
    put(state, "n0", "n0-0", name="big", priority=1, vram=40 * GIB)
    put(state, "n0", "n0-0", name="small", priority=3, vram=20 * GIB)
    put(state, "n0", "n0-0", name="tiny", priority=2, vram=10 * GIB)
    assert victims(find(state, pod("new", priority=5, vram=30 * GIB))) == ["big"]
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["big", "tiny"]


def test_one_victim_is_taken_instead_of_several_that_are_as_important() -> None:
    state = fleet(nodes=1, devices=1)
    put(state, "n0", "n0-0", name="big", vram=40 * GIB, created=born(9 * HOUR))
    put(state, "n0", "n0-0", name="a", vram=20 * GIB, created=born(HOUR))
    put(state, "n0", "n0-0", name="b", vram=20 * GIB, created=born(HOUR))
    assert victims(find(state, pod("new", priority=5, vram=40 * GIB))) == ["big"]


def test_several_devices_are_freed_on_one_node() -> None:
    state = fleet(nodes=2, devices=2)
    put(state, "n0", "n0-0", name="a")
    put(state, "n0", "n0-1", name="stays", priority=9)
    put(state, "n1", "n1-0", name="b")
    put(state, "n1", "n1-1", name="c")
    found = find(state, pod("new", priority=5, count=2, vram=60 * GIB))
    assert victims(found) == ["b", "c"]


def test_a_budget_is_never_broken() -> None:
    state = fleet(nodes=2, devices=2)
    for name in ("n0-0", "n0-1", "n1-0", "n1-1"):
        put(state, name[:2], name, name=name, vram=60 * GIB)
    wish = pod("new", priority=5, vram=60 * GIB)
    kept = find(state, wish, budgets=lambda _: {"web": 0})
    assert isinstance(kept, Hopeless)
    assert kept.looked.budgets == ("web",)
    assert victims(find(state, wish, budgets=lambda one: {"web": 0} if one.name < "n1-1" else {})) == ["n1-1"]
    two = pod("two", priority=5, count=2, vram=60 * GIB)
    assert isinstance(find(state, two, budgets=lambda _: {"web": 1}), Hopeless)
    assert victims(find(state, two, budgets=lambda _: {"web": 2})) == ["n0-0", "n0-1"]


def test_a_more_important_pod_without_a_budget_goes_where_the_others_are_guarded() -> None:
    state = fleet(nodes=1, devices=2)
    put(state, "n0", "n0-0", name="guarded", priority=1)
    put(state, "n0", "n0-1", name="open", priority=2)
    found = find(
        state, pod("new", priority=5, vram=60 * GIB), budgets=lambda o: {"b": 0} if o.name == "guarded" else {}
    )
    assert victims(found) == ["open"]


def test_spared_pods_stay() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="a")
    put(state, "n1", "n1-0", name="b")
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB), spared=frozenset({"uid-a"}))) == ["b"]


def test_pods_that_end_anyway_cost_nothing() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="low")
    going = put(state, "n1", "n1-0", name="going", priority=9)
    state.residents.note_ending(going.uid)
    found = find(state, pod("new", priority=5, vram=60 * GIB))
    assert victims(found) == []
    assert isinstance(found, Plan)
    assert (found.placement.node, found.ending) == ("n1", ("uid-going",))
    stuck = find(state, pod("new", priority=5, vram=60 * GIB), spared=frozenset({"uid-going"}))
    assert victims(stuck) == ["low"]


def test_a_promise_to_a_less_important_pod_is_given_up_and_one_to_an_equal_is_kept() -> None:
    state = fleet(nodes=1, devices=1)
    low = put(state, "n0", "n0-0", name="low")
    state.nominate(pod("first", priority=5, vram=60 * GIB), Placement("n0", ("n0-0",)))
    assert isinstance(find(state, pod("equal", priority=5, vram=60 * GIB)), Hopeless)
    found = find(state, pod("above", priority=6, vram=60 * GIB))
    assert victims(found) == ["low"]
    assert isinstance(found, Plan)
    assert found.displaced == ("uid-first",)
    state.release(low.uid)
    with pytest.raises(NotFit):
        decide(state, pod("equal", priority=5, vram=60 * GIB))


def test_a_nominated_pod_is_charged_beside_those_it_waits_for_and_nothing_is_oversold() -> None:
    state = fleet(nodes=1, devices=1)
    low = put(state, "n0", "n0-0", name="low")
    wish = pod("new", priority=5, vram=60 * GIB)
    state.nominate(wish, Placement("n0", ("n0-0",)))
    held = state.fleet.devices["n0-0"]
    assert held.vram_free == -40 * GIB
    assert held.overfull
    assert state.overcommitted() == ()
    state.release(low.uid)
    state.release(wish.uid)
    assert held.vram_free == 80 * GIB
    assert not state.nominated
    assert not held.promised


def test_a_gang_goes_as_a_whole_and_counts_as_many() -> None:
    state = fleet(nodes=3, devices=1)
    put(state, "n0", "n0-0", name="g0", gang=GANG)
    put(state, "n1", "n1-0", name="g1", gang=GANG)
    put(state, "n2", "n2-0", name="single", created=born(99 * HOUR))
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["single"]
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB), spared=frozenset({"uid-single"}))) == ["g0", "g1"]


def test_a_gang_with_one_protected_member_stays() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="g0", gang=GANG)
    put(state, "n1", "n1-0", name="g1", gang=GANG, priority=7)
    assert isinstance(find(state, pod("new", priority=5, vram=60 * GIB)), Hopeless)


def test_over_quota_the_cheapest_pods_of_the_own_namespace_go_wherever_they_run() -> None:
    state = fleet(nodes=3, devices=1)
    state.set_quota(QuotaFacts("team", total_vram=50 * GIB))
    put(state, "n0", "n0-0", name="old", vram=20 * GIB, created=born(9 * HOUR))
    put(state, "n1", "n1-0", name="young", vram=20 * GIB, created=born(HOUR))
    put(state, "n1", "n1-0", name="foreign", vram=20 * GIB, namespace="other")
    found = find(state, pod("new", priority=5, vram=30 * GIB), cluster_wide=True)
    assert victims(found) == ["young"]
    single = QuotaFacts("team", single_vram=10 * GIB)
    state.set_quota(single)
    assert isinstance(find(state, pod("new", priority=5, vram=30 * GIB)), Hopeless)


def test_pods_without_shares_make_room_and_take_it() -> None:
    state = State()
    state.upsert_node(node("n0", cpu=4000))
    state.upsert_node(node("n1", cpu=4000))
    state.confirm(plain("small", cpu=1000), Placement("n0"))
    state.confirm(plain("big", cpu=3000), Placement("n0"))
    state.confirm(plain("other", cpu=4000, priority=1), Placement("n1"))
    assert victims(find(state, plain("new", priority=5, cpu=2000))) == ["big"]
    assert victims(find(state, plain("new", priority=5, cpu=4000))) == ["big", "small"]


def test_a_pod_without_a_share_goes_for_the_cpu_of_one_with_a_share() -> None:
    state = fleet(nodes=1, devices=1)
    state.confirm(plain("hog", cpu=64_000), Placement("n0"))
    assert victims(find(state, pod("new", priority=5, cpu=1000))) == ["hog"]


def test_whole_devices_wait_for_everybody_on_one() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="a", vram=GIB)
    put(state, "n0", "n0-0", name="b", vram=GIB)
    put(state, "n1", "n1-0", name="c", vram=GIB)
    put(state, "n1", "n1-0", name="important", vram=GIB, priority=9)
    found = find(state, pod("new", priority=5, isolation=Isolation.SHARED))
    assert victims(found) == ["a", "b"]


def test_another_isolation_mode_on_a_dynamic_device_goes_too() -> None:
    state = fleet(nodes=1, devices=1, isolation_policy="Dynamic")
    put(state, "n0", "n0-0", name="soft", vram=GIB)
    assert victims(find(state, pod("new", priority=5, vram=GIB, isolation=Isolation.HARD))) == ["soft"]


def test_nobody_goes_where_the_pod_could_not_run_all_the_same() -> None:
    state = fleet(nodes=1, devices=1)
    state.upsert_node(node("n0", taints=(Taint("team", "x", "NoSchedule"),)))
    put(state, "n0", "n0-0", name="low")
    assert isinstance(find(state, pod("new", priority=5, vram=60 * GIB)), Hopeless)
    state = fleet(nodes=1, devices=1)
    put(state, "n0", "n0-0", name="low")
    assert isinstance(find(state, pod("new", priority=5, vram=90 * GIB)), Hopeless)
    assert isinstance(find(state, pod("new", priority=5, count=2, vram=GIB)), Hopeless)


def test_the_maximum_of_workers_is_a_reason_to_go() -> None:
    state = fleet(nodes=1, devices=1, pool=PoolFacts("pool", max_workers_per_node=1))
    put(state, "n0", "n0-0", name="low", vram=GIB)
    assert victims(find(state, pod("new", priority=5, vram=GIB))) == ["low"]


def test_devices_that_moved_in_their_columns_are_found_again() -> None:
    state = fleet(nodes=1, devices=1)
    put(state, "n0", "n0-0", name="low")
    find(state, pod("new", priority=5, vram=60 * GIB))
    state.upsert_device(replace(device("a-0", "n0"), vram=GIB, compute=TFLOPS, index=-1))
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["low"]


def test_a_device_that_has_the_number_of_a_forgotten_one_is_not_taken_for_it() -> None:
    state = fleet(nodes=2, devices=1)
    put(state, "n0", "n0-0", name="gone")
    put(state, "n1", "n1-0", name="low")
    find(state, pod("new", priority=5, vram=60 * GIB))
    number = state.fleet.devices["n0-0"].number
    state.remove_device("n0-0")
    state.release("uid-gone")
    state.upsert_device(replace(device("other-0", "n0"), pool="elsewhere"))
    assert state.fleet.devices["other-0"].number == number
    state.confirm(pod("there", vram=60 * GIB, pool="elsewhere"), Placement("n0", ("other-0",)))
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["low"]
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB, pool="elsewhere"))) == ["there"]


def test_a_pod_under_two_budgets_stays_for_the_server_does_not_evict_it() -> None:
    state = fleet(nodes=1, devices=2)
    put(state, "n0", "n0-0", name="two")
    put(state, "n0", "n0-1", name="one", priority=3)
    allowed = {"two": {"team/a": 5, "team/b": 5}, "one": {"team/a": 1}}
    found = find(state, pod("new", priority=5, vram=60 * GIB), budgets=lambda one: allowed[one.name])
    assert victims(found) == ["one"]
    allowed["one"] = {"team/a": 0}
    hopeless = find(state, pod("new", priority=5, vram=60 * GIB), budgets=lambda one: allowed[one.name])
    assert isinstance(hopeless, Hopeless)
    assert set(hopeless.looked.budgets) == {"team/a", "team/b"}


HOST = "kubernetes.io/hostname"
APART = PodRules(anti_affinity=(PodTerm(HOST, PodSelector((SelectorRequirement("app", "In", ("db",)),), ("team",))),))
"""Not where a pod with the label app=db is."""


def database(name: str, **own: Any) -> PodFacts:
    return plain(name, **{"labels": {"app": "db"}, "rules": APART, "cpu": 1_000, **own})


def hosts(*cpus: int) -> State:
    state = State()
    for number, cpu in enumerate(cpus):
        state.upsert_node(node(f"n{number}", labels={HOST: f"n{number}"}, cpu=cpu))
    return state


@pytest.mark.parametrize("roomy", [1, 7, 70])
@pytest.mark.parametrize("room", [4_000, 2_030])
def test_nodes_that_a_rule_between_pods_closes_hide_no_victim_elsewhere(roomy: int, room: int) -> None:
    state = hosts(*[room] * roomy, 4_000)
    for number in range(roomy):
        state.confirm(database(f"db{number}", priority=10), Placement(f"n{number}"))
        for rank in range(4):
            state.confirm(plain(f"low{number}-{rank}", cpu=10, priority=rank), Placement(f"n{number}"))
    state.confirm(plain("low", cpu=4_000, priority=4), Placement(f"n{roomy}"))
    assert victims(find(state, database("new", priority=10))) == ["low"]


def test_among_nodes_that_a_rule_closes_the_one_is_found_whose_victim_lifts_it() -> None:
    state = hosts(*[1_000] * 8)
    for number in range(7):
        state.confirm(database(f"db{number}", priority=10, cpu=500), Placement(f"n{number}"))
        state.confirm(plain(f"low{number}", cpu=500, created=born(1)), Placement(f"n{number}"))
    state.confirm(database("db", created=born(HOUR)), Placement("n7"))
    found = find(state, database("new", priority=10, cpu=900))
    assert isinstance(found, Plan)
    assert found.placement == Placement("n7")


def test_a_rule_that_a_pod_lifts_by_ending_is_no_obstacle() -> None:
    state = hosts(4_000, 4_000)
    port = PodRules(ports=(HostPort(80),))
    for number, name in enumerate(("stays", "ends")):
        state.confirm(plain(name, cpu=10, priority=10, rules=port), Placement(f"n{number}"))
    state.residents.note_ending("uid-ends")
    found = find(state, plain("new", priority=10, cpu=10, rules=port))
    assert isinstance(found, Plan)
    assert (found.placement, found.victims, found.ending) == (Placement("n1"), (), ("uid-ends",))


def test_a_pool_that_is_made_anew_is_looked_at_anew() -> None:
    state = fleet(nodes=2, devices=1)
    for name in ("n0", "n1"):
        put(state, name, f"{name}-0", name=f"first-{name}")
    find(state, pod("new", priority=5, vram=60 * GIB))
    for name in ("n0", "n1"):
        state.release(f"uid-first-{name}")
        state.remove_device(f"{name}-0")
    state.remove_pool("pool")
    for name in ("n1", "n0"):
        state.upsert_device(device(f"{name}-0", name))
    put(state, "n0", "n0-0", name="high", priority=9)
    put(state, "n1", "n1-0", name="low")
    assert victims(find(state, pod("new", priority=5, vram=60 * GIB))) == ["low"]


@pytest.mark.parametrize("gang", [None, GANG])
def test_who_goes_of_equals_does_not_depend_on_when_columns_caught_up(gang: Gang | None) -> None:
    def searched(*, caught_up: bool) -> list[str]:
        state = hosts(2_000)
        for name in "xy":
            state.confirm(plain(name, cpu=1), Placement("n0"))
        if caught_up:
            state.residents.sync()
        for name in "xy":
            state.release(f"uid-{name}")
        for name in "ab":
            state.confirm(plain(name, cpu=1_000, created=born(HOUR), gang=gang), Placement("n0"))
        found = find(state, plain("new", priority=5, cpu=1_000))
        assert isinstance(found, Plan)
        return [victim.pod.name for victim in found.victims]

    assert searched(caught_up=True) == searched(caught_up=False)


def test_gangs_and_namespaces_that_are_gone_leave_nothing_behind() -> None:
    state = hosts(64_000)
    for number in range(20):
        space = f"space-{number}"
        one = plain(f"p{number}", namespace=space, gang=Gang(f"{space}/gang", required=2, desired=2))
        state.confirm(one, Placement("n0"))
        state.residents.sync()
        state.release(one.uid)
        state.residents.sync()
    assert (len(state.residents._gangs), len(state.residents._namespaces)) == (1, 1)


def test_a_number_that_is_used_again_mixes_up_no_gangs_and_no_namespaces() -> None:
    state = hosts(4_000, 4_000)
    old = plain("old", namespace="gone", gang=Gang("gone/gang", required=2, desired=2))
    state.confirm(old, Placement("n0"))
    state.residents.sync()
    state.release(old.uid)
    state.residents.sync()
    for number in range(2):
        state.confirm(plain(f"m{number}", cpu=2_000, gang=GANG, priority=number), Placement("n0"))
    state.confirm(plain("other", namespace="other", cpu=4_000), Placement("n1"))
    assert victims(find(state, plain("new", priority=5, cpu=1_000))) == ["m0", "m1"]
    assert isinstance(find(state, plain("new", priority=1, cpu=1_000)), Hopeless)
