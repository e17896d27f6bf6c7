"""What was lent comes back: whose pods have to go for a pod within its namespace's own, and whose never."""

from itertools import permutations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from example_counts import part_of
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.gang import Gang
from tensorfusion.scheduling.circumstances import Circumstances
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import CohortFacts, Placement, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.gang_preemption import GangPlan, search_gang
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.owing import still_owed
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.remedies import more_important
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_cohorts import ReferenceCohorts
from worlds import GIB, device, fleet, node, pod, run

NOW = 1_000


def whole(name: str, namespace: str, **other: object) -> PodFacts:
    """A pod that takes a whole device."""
    return pod(name, namespace=namespace, **{"compute": 100_000, **other})


def world(devices: int, *facts: QuotaFacts | CohortFacts, nodes: int = 1) -> State:
    state = fleet(nodes, devices)
    for one in facts:
        if isinstance(one, QuotaFacts):
            state.set_quota(one)
        else:
            state.set_cohort(one)
    return state


def gpus(namespace: str, own: int, cohort: str = "x", **other: int) -> QuotaFacts:
    return QuotaFacts(namespace, total_devices=own, cohort=cohort, **other)  # type: ignore[arg-type]


def fill(state: State, namespace: str, count: int, **other: object) -> None:
    run(state, *(whole(f"{namespace}{i}", namespace, **other) for i in range(count)))


def wanted(state: State, one: PodFacts, **other: object) -> Plan | Hopeless:
    try:
        decide(state, one)
    except (NotFit, QuotaExceeded) as failure:
        return search(state, one, failure, now=NOW, **other)  # type: ignore[arg-type]
    raise AssertionError("it fits as things are")


def victims(found: Plan | GangPlan | Hopeless) -> list[str]:
    assert not isinstance(found, Hopeless), found
    assert found.owed == {one.pod.uid for one in found.victims}
    return sorted(one.pod.name for one in found.victims)


ANY = CohortFacts("x", reclaim=ReclaimPolicy.ANY)


def test_what_was_borrowed_comes_back_even_from_a_more_important_pod() -> None:
    state = world(8, ANY, gpus("a", 4), gpus("b", 4))
    fill(state, "a", 8, priority=100)
    found = wanted(state, whole("p", "b"))
    assert len(victims(found)) == 1


def test_nobody_goes_who_is_within_their_own_nor_for_a_pod_that_would_borrow() -> None:
    state = world(8, ANY, gpus("a", 4), gpus("b", 4))
    fill(state, "a", 5)
    fill(state, "b", 3)
    assert len(victims(wanted(state, whole("p", "b")))) == 1
    assert isinstance(wanted(state, whole("p", "b", count=2)), Hopeless)
    state.release("uid-a0")
    run(state, whole("p", "b"))
    assert isinstance(wanted(state, whole("q", "b")), Hopeless)


@pytest.mark.parametrize(
    ("policy", "priority", "goes"),
    [
        (ReclaimPolicy.NEVER, 9, False),
        (ReclaimPolicy.LOWER_PRIORITY, 0, False),
        (ReclaimPolicy.LOWER_PRIORITY, 9, True),
        (ReclaimPolicy.ANY, 0, True),
    ],
)
def test_the_policy_says_who_may_be_asked(policy: ReclaimPolicy, priority: int, goes: bool) -> None:
    state = world(4, CohortFacts("x", reclaim=policy), gpus("a", 2), gpus("b", 2))
    fill(state, "a", 4)
    found = wanted(state, whole("p", "b", priority=priority))
    assert isinstance(found, Hopeless) is not goes


def test_without_an_object_nothing_is_reclaimed() -> None:
    state = world(4, gpus("a", 2), gpus("b", 2))
    fill(state, "a", 4)
    assert isinstance(wanted(state, whole("p", "b")), Hopeless)


def test_the_largest_share_gives_back_first_and_weights_count() -> None:
    for weight, name in ((1, "a"), (4, "c")):
        state = world(8, ANY, gpus("a", 2, fair_weight=weight), gpus("b", 4), gpus("c", 2))
        fill(state, "c", 3)
        fill(state, "a", 5)
        (victim,) = victims(wanted(state, whole("p", "b")))
        assert victim[0] == name


def test_shares_level_down_when_several_have_to_go() -> None:
    state = world(8, ANY, gpus("a", 1), gpus("b", 6), gpus("c", 1))
    fill(state, "c", 4)
    fill(state, "a", 4)
    found = victims(wanted(state, whole("p", "b", count=4)))
    assert sorted(name[0] for name in found) == ["a", "a", "c", "c"]


def test_of_one_namespace_the_least_important_goes_first() -> None:
    state = world(4, ANY, gpus("a", 1), gpus("b", 3))
    run(state, *(whole(f"a{i}", "a", priority=priority) for i, priority in enumerate((5, 1, 3, 7))))
    assert victims(wanted(state, whole("p", "b"))) == ["a1"]


def test_borrowed_pods_go_before_less_important_ones_of_the_own_namespace() -> None:
    state = world(4, ANY, gpus("a", 2), gpus("b", 2))
    fill(state, "a", 3)
    fill(state, "b", 1)
    assert victims(wanted(state, whole("p", "b", priority=9)))[0].startswith("a")


def test_where_the_devices_are_full_and_the_quota_is_not_it_comes_back_too() -> None:
    state = world(4, ANY, gpus("a", 2), gpus("b", 8), nodes=2)
    fill(state, "a", 8)
    found = wanted(state, whole("p", "b", count=3))
    assert len(victims(found)) == 3
    assert len({one.placement.node for one in found.victims}) == 1  # type: ignore[union-attr]


def test_what_a_cohort_lends_inside_is_no_business_of_other_cohorts() -> None:
    state = world(
        8,
        CohortFacts("p", reclaim=ReclaimPolicy.ANY),
        CohortFacts("x", parent="p"),
        CohortFacts("y", parent="p", reclaim=ReclaimPolicy.ANY),
        gpus("a", 2),
        gpus("b", 2),
        gpus("c", 2, "y"),
        gpus("d", 2, "y"),
    )
    fill(state, "a", 4)  # of b, in their own cohort
    fill(state, "d", 4)
    assert {name[0] for name in victims(wanted(state, whole("p", "c")))} == {"d"}
    assert isinstance(wanted(state, whole("p", "b")), Hopeless)  # x itself asks for no reclaim


def test_a_cohort_that_borrows_gives_back_to_another_cohort() -> None:
    state = world(
        8,
        CohortFacts("p", reclaim=ReclaimPolicy.ANY),
        CohortFacts("x", parent="p"),
        CohortFacts("y", parent="p"),
        gpus("a", 2),
        gpus("b", 2),
        gpus("c", 4, "y"),
    )
    fill(state, "a", 6)
    fill(state, "b", 2)
    found = wanted(state, whole("p", "c", count=4))
    assert victims(found) and {name[0] for name in victims(found)} == {"a"}


def test_protection_and_budgets_hold() -> None:
    state = world(4, ANY, gpus("a", 2), gpus("b", 2))
    fill(state, "a", 4, protected_until=NOW + 60)
    found = wanted(state, whole("p", "b"))
    assert isinstance(found, Hopeless)
    assert (found.protected_until, found.entitled) == (NOW + 60, True)
    state = world(4, ANY, gpus("a", 2), gpus("b", 2))
    fill(state, "a", 4)
    assert isinstance(wanted(state, whole("p", "b"), budgets=lambda _: {"a/all": 0}), Hopeless)
    assert len(victims(wanted(state, whole("p", "b"), budgets=lambda _: {"a/all": 1}))) == 1
    assert isinstance(wanted(state, whole("p", "b", count=2), budgets=lambda _: {"a/all": 1}), Hopeless)


def test_a_gang_gives_back_as_a_whole_or_not_at_all() -> None:
    state = world(6, ANY, gpus("a", 1), gpus("b", 5))
    gang = Gang(key="a/g", required=3, desired=3)
    run(
        state, *(whole(f"a{i}", "a", gang=gang, priority=0) for i in range(3)), *(whole(f"z{i}", "a") for i in range(3))
    )
    found = wanted(state, whole("p", "b"))
    assert victims(found) in (["z0"], ["z1"], ["z2"])
    assert victims(wanted(state, whole("p", "b", count=5)))[:3] == ["a0", "a1", "a2"]
    state.set_quota(gpus("a", 4))  # by now it owes two: a gang of three goes for the second of them, too
    assert victims(wanted(state, whole("p", "b", count=2))) in (["z0", "z1"], ["z0", "z2"], ["z1", "z2"])


def test_who_is_told_to_go_already_counts_as_gone() -> None:
    state = world(4, ANY, gpus("a", 3), gpus("b", 1))
    fill(state, "a", 4)
    first = wanted(state, whole("p", "b"))
    assert not isinstance(first, Hopeless)
    state.nominate(whole("p", "b"), first.placement)
    state.awaited.update(one.pod.uid for one in first.victims)
    state.set_quota(gpus("b", 2))  # two of its own by now: but a is within its own once the first is gone
    assert isinstance(wanted(state, whole("q", "b")), Hopeless)


def test_a_gang_gets_back_what_is_its_own() -> None:
    state = world(4, ANY, gpus("a", 4), gpus("b", 4), nodes=2)
    fill(state, "a", 8)
    gang = Gang(key="b/g", required=2, desired=2)
    members = [whole(f"p{i}", "b", count=2, gang=gang) for i in range(2)]
    found = search_gang(state, members, needed=2, now=NOW)
    assert len(victims(found)) == 4
    three = [whole(f"p{i}", "b", count=2, gang=Gang(key="b/g", required=3, desired=3)) for i in range(3)]
    assert isinstance(search_gang(state, three, needed=3, now=NOW), Hopeless)


def test_a_pod_that_would_borrow_evicts_nobody_of_the_tree_who_is_within_their_own() -> None:
    gang = Gang(key="a/g", required=1, desired=1)
    for priority in (2_000_000_000, 100):
        state = world(4, ANY, gpus("a", 2), gpus("b", 2))
        fill(state, "a", 2, priority=priority)
        fill(state, "b", 2)
        one = whole("x", "a", priority=priority)
        assert isinstance(wanted(state, one, cluster_wide=True), Hopeless)
        in_gang = whole("x", "a", priority=priority, gang=gang)
        assert isinstance(search_gang(state, [in_gang], needed=1, now=NOW, cluster_wide=True), Hopeless)
    state.set_quota(gpus("a", 4))  # it is its own by now: as ever, by priority
    found = wanted(state, whole("x", "a", priority=100), cluster_wide=True)
    assert isinstance(found, Plan) and [one.pod.namespace for one in found.victims] == ["b"]


def test_a_pod_that_would_borrow_evicts_by_priority_what_others_borrowed_and_nothing_more() -> None:
    state = world(6, gpus("a", 2), gpus("b", 2), gpus("c", 2))
    fill(state, "a", 2, priority=100)
    fill(state, "b", 4)
    found = wanted(state, whole("x", "a", priority=100, count=2), cluster_wide=True)
    assert isinstance(found, Plan) and not found.owed
    assert [one.pod.namespace for one in found.victims] == ["b", "b"]
    assert isinstance(wanted(state, whole("x", "a", priority=100, count=3), cluster_wide=True), Hopeless)


def test_the_end_of_a_pod_that_does_not_end_is_not_counted_on() -> None:
    state = world(4, ANY, gpus("a", 3), gpus("b", 1))
    fill(state, "a", 4)
    state.leaving("uid-a0")
    found = wanted(state, whole("p", "b"))
    assert isinstance(found, Plan) and (found.victims, found.ending) == ((), ("uid-a0",))
    assert len(victims(wanted(state, whole("p", "b"), spared=frozenset({"uid-a0"})))) == 1


def fractions(order: tuple[str, str]) -> State:
    """Two devices: c and one of a share the first, the other of a has the second; a owes as much as the first has."""
    facts = (
        QuotaFacts(name, total_compute=own, cohort="x") for name, own in zip("abc", (10**5, 10**5, 50_000), strict=True)
    )
    state = world(2, ANY, *facts)
    for name, namespace, compute, number in (
        ("c0", "c", 50_000, 0),
        (order[0], "a", 50_000, 0),
        (order[1], "a", 10**5, 1),
    ):
        state.confirm(pod(name, namespace=namespace, compute=compute), Placement("n0", (f"n0-{number}",)))
    return state


@pytest.mark.parametrize("order", [("a0", "a1"), ("a1", "a0")])
def test_what_is_owed_is_not_spent_on_a_pod_of_no_use(order: tuple[str, str]) -> None:
    state = fractions(order)
    assert victims(wanted(state, pod("p", namespace="b", compute=10**5))) == [order[1]]
    in_gang = pod("p", namespace="b", compute=10**5, gang=Gang(key="b/g", required=1, desired=1))
    assert victims(search_gang(state, [in_gang], needed=1, now=NOW)) == [order[1]]


@pytest.mark.parametrize("kept", [("a0", "a1"), ("a2", "a3")])
def test_what_is_owed_is_not_spent_on_pods_that_their_budget_keeps(kept: tuple[str, str]) -> None:
    state = State()
    for node_name, pool in (("n0", "pool"), ("n1", "other")):
        state.upsert_pool(PoolFacts(pool))
        state.upsert_node(node(node_name))
        for number in range(4):
            state.upsert_device(device(f"{node_name}-{number}", node_name, pool=pool))
    for facts in (gpus("a", 2), gpus("b", 2)):
        state.set_quota(facts)
    state.set_cohort(ANY)
    fill(state, "a", 4)
    found = wanted(state, whole("p", "b", pool="other"), budgets=lambda one: {"a/x": 0} if one.name in kept else {})
    assert len(victims(found)) == 1 and not {*victims(found)} & {*kept}


def test_only_what_the_pod_takes_and_its_namespace_shares_is_asked_back() -> None:
    state = world(4, ANY, gpus("a", 3), gpus("c", 1), QuotaFacts("b", total_vram=1000 * GIB, cohort="x"))
    fill(state, "c", 4)
    assert isinstance(wanted(state, whole("p", "b")), Hopeless)
    state.set_quota(gpus("b", 1))
    assert len(victims(wanted(state, whole("p", "b")))) == 1


def test_it_is_asked_again_whether_the_rest_may_go() -> None:
    state = world(8, ANY, gpus("a", 4), gpus("b", 4))
    fill(state, "a", 6)
    fill(state, "b", 2)
    asking = whole("p", "b", count=2)
    found = wanted(state, asking)
    assert isinstance(found, Plan)
    state.nominate(asking, found.placement)
    state.awaited.update(one.pod.uid for one in found.victims)
    first, second = found.victims

    def still(*rest: Allocation) -> bool:
        return still_owed(state, (asking,), [(one,) for one in rest])

    assert still(first, second)
    state.leaving(first.pod.uid)
    assert still(second)
    mark = state.checkpoint()
    state.release(next(uid for uid in state.allocations if uid.startswith("uid-a") and uid not in found.owed))
    assert not still(second), "it would hold less than its own"
    state.rollback(mark)
    state.set_cohort(CohortFacts("x", reclaim=ReclaimPolicy.NEVER))
    assert not still(second)
    state.set_cohort(CohortFacts("x", reclaim=ReclaimPolicy.LOWER_PRIORITY))
    assert not still(second)
    state.set_cohort(ANY)
    assert still(second)
    state.set_quota(gpus("b", 3))
    assert not still(second), "it would borrow"


def test_of_the_rest_the_largest_is_asked_last() -> None:
    state = world(8, ANY, gpus("a", 2), gpus("b", 6))
    run(state, whole("a0", "a", count=3), whole("a1", "a", count=1), whole("a2", "a", count=1))
    large, *small = (state.allocations[f"uid-a{number}"] for number in range(3))
    assert still_owed(state, (whole("p", "b"),), [(large,), (small[0],), (small[1],)])
    state.set_quota(gpus("a", 3))
    assert not still_owed(state, (whole("p", "b"),), [(large,), (small[0],), (small[1],)])
    assert still_owed(state, (whole("p", "b"),), [(large,), (small[0],)])


def test_nobody_is_told_to_be_more_important_for_what_is_their_own() -> None:
    for policy, told in ((ReclaimPolicy.ANY, False), (ReclaimPolicy.LOWER_PRIORITY, True)):
        state = world(4, CohortFacts("x", reclaim=policy), gpus("a", 2), gpus("b", 2))
        fill(state, "a", 4, priority=100)
        asking = whole("p", "b")
        with pytest.raises(QuotaExceeded) as refused:
            decide(state, asking)
        found = list(more_important(state, asking, refused.value, Circumstances(now=NOW)))
        assert bool(found) is told


amounts = st.tuples(st.sampled_from("abcd"), st.integers(1, 3), st.integers(0, 2))


@settings(max_examples=part_of(150), deadline=None)
@given(
    held=st.lists(amounts, max_size=10),
    own=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    where=st.lists(st.sampled_from("xy"), min_size=4, max_size=4),
    weights=st.lists(st.sampled_from((1, 3)), min_size=4, max_size=4),
    lends=st.lists(st.sampled_from((None, None, 1)), min_size=4, max_size=4),
    joined=st.booleans(),
    asked=amounts,
    nodes=st.sampled_from((1, 2, 6)),
)
def test_whoever_stays_within_its_own_gets_it_and_nobody_within_theirs_goes(
    held: list[tuple[str, int, int]],
    own: list[int],
    where: list[str],
    weights: list[int],
    lends: list[int | None],
    joined: bool,
    asked: tuple[str, int, int],
    nodes: int,
) -> None:
    quotas = {
        name: QuotaFacts(name, total_devices=mine, cohort=cohort, fair_weight=weight, lend_devices=lend)
        for name, mine, cohort, weight, lend in zip("abcd", own, where, weights, lends, strict=True)
    }
    cohorts = {
        name: CohortFacts(name, parent="p" if joined and name != "p" else "", reclaim=ReclaimPolicy.ANY)
        for name in "xyp"
    }
    state = world(8 if nodes == 6 else 4, *quotas.values(), *cohorts.values(), nodes=nodes)
    for number, (namespace, count, priority) in enumerate(held):
        one = whole(f"{namespace}{number}", namespace, count=count, compute=60_000, priority=priority)
        try:
            run(state, one)
        except NotFit:
            continue
        except QuotaExceeded:
            if nodes == 6:
                state.confirm(one, decide(world(8, nodes=6), one).placement)  # a quota that shrank
    namespace, count, priority = asked
    one = whole("asked", namespace, count=count, compute=60_000, priority=priority)
    usage = {name: (0, 0, state.usage(name).devices) for name in "abcd"}
    model = ReferenceCohorts(quotas, cohorts, usage)
    within = usage[namespace][2] + count <= own["abcd".index(namespace)]
    refused = model.refused(namespace, (0, 0, count)) is not None
    try:
        decide(state, one)
    except NotFit:
        assert not refused
    except QuotaExceeded:
        assert refused
    else:
        assert not refused
        return
    before = {name: state.usage(name) for name in "abcd"}
    found = wanted(state, one)
    assert {name: state.usage(name) for name in "abcd"} == before
    if not within:
        assert isinstance(found, Hopeless) or all(victim.pod.namespace == namespace for victim in found.victims)
        return
    if isinstance(found, Hopeless):
        assert not refused or nodes < 6, "it is its own, and there are devices"
        return
    owed = [victim.pod for victim in found.victims if victim.pod.uid in found.owed]
    assert any(in_order(model, namespace, order) for order in permutations(owed[:6])) or len(owed) > 6
    gone = model
    for victim in found.victims:
        assert victim.pod.request is not None
        gone = gone.with_more(victim.pod.namespace, (0, 0, -victim.pod.request.count))
    assert gone.refused(namespace, (0, 0, count)) is None
    state.without(found.victims)
    assert decide(state, one).placement == found.placement


def in_order(model: ReferenceCohorts, namespace: str, order: tuple[PodFacts, ...]) -> bool:
    """Whether each of these holds what is owed at the moment when it goes."""
    for one in order:
        assert one.request is not None
        name = one.namespace
        mine, theirs = model.quotas[namespace].cohort, model.quotas[name].cohort
        owes = model.uses(name, 2) > (model.own(name, 2) or 0)
        if mine != theirs:
            owes = owes and model.balance(theirs, 2, with_limit=False) < 0
        if not owes:
            return False
        model = model.with_more(name, (0, 0, -one.request.count))
    return True
