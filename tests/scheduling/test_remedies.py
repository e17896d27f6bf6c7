"""Whatever is said to help a pod makes it fit when it is done, and saying it changes nothing."""

import random
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fingerprints import fingerprint
from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Taint
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.circumstances import Circumstances, Ending
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.pod_rules import HostPort, PodRules
from tensorfusion.scheduling.remedies import failure_of, remedies
from tensorfusion.scheduling.remedy import Remedy
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, required, requirement, run, term

ASKED = 5
"""Pods of one world that are asked about."""


def found(state: State, one: PodFacts, **around: object) -> list[Remedy]:
    failure = failure_of(state, one)
    assert failure is not None
    return [remedy for remedy in remedies(state, one, failure, Circumstances(**around)) if remedy is not None]  # type: ignore[arg-type]


def words(state: State, one: PodFacts, **around: object) -> list[str]:
    """What is said, but for the priority that would help."""
    return [remedy.words for remedy in found(state, one, **around) if "priority" not in remedy.change]


def fits(state: State, one: PodFacts) -> bool:
    try:
        decide(state, one)
    except (NotFit, QuotaExceeded):
        return False
    return True


def do(state: State, one: PodFacts, remedy: Remedy) -> bool:
    """Whether the pod fits once the remedy was really done; the world is as before afterwards."""
    mark = state.checkpoint()
    quota = state.quotas.ceiling(one.namespace)
    before = state.fleet.nodes.records[remedy.node.name].facts if remedy.node is not None else None
    for uid in remedy.leaving:
        state.release(uid)
    if remedy.quota is not None:
        state.set_quota(remedy.quota)
    if remedy.node is not None:
        state.upsert_node(remedy.node)
    result = fits(state, remedy.pod or one)
    if remedy.quota is not None and quota is not None:
        state.set_quota(quota)
    if before is not None:
        state.upsert_node(before)
    state.rollback(mark)
    return result


@pytest.mark.parametrize("examples", [8, pytest.param(300, marks=pytest.mark.long)])
def test_what_is_said_to_help_helps_and_saying_it_changes_nothing(examples: int) -> None:
    @settings(max_examples=examples)
    @given(seed=st.integers(0, 10**6), ends=st.booleans())
    def holds(seed: int, ends: bool) -> None:
        hold_every_word(seed, ends=ends)

    holds()


def hold_every_word(seed: int, *, ends: bool) -> None:
    rng = random.Random(seed)
    state = State()
    random_fleet(rng, state)
    asked = 0
    for number in range(40):
        one = replace(random_pod(rng, number), priority=rng.randint(0, 3))
        if fits(state, one):
            state.assume(one, decide(state, one).placement)
            continue
        asked += 1
        if asked > ASKED:
            return
        before = fingerprint(state)
        endings = (
            [Ending(uid, rng.randint(1, 99), "") for uid in state.allocations if rng.random() < 0.4] if ends else []
        )
        said = found(state, one, endings=tuple(endings), cluster_wide=True)
        assert fingerprint(state) == before
        for remedy in said:
            event(next(iter(remedy.change), "time"))
            assert do(state, one, remedy), remedy.words
        assert fingerprint(state) == before


class TestAmounts:
    def test_the_most_memory_that_fits(self) -> None:
        state = fleet(2, 2, vram=14 * GIB)
        for name in ("n0", "n1"):
            state.upsert_node(node(name, labels={"host": name}))
        assert words(state, pod(vram=20 * GIB)) == ["fits if vram <= 14Gi"]
        for name in ("n0", "n1"):
            for index in (0, 1):
                run(state, pod(f"{name}{index}", vram=GIB - index, within=(("host", name),), indices=(index,)))
        assert words(state, pod(vram=20 * GIB)) == ["fits if vram <= 13Gi"]

    def test_the_most_compute_in_tflops_and_percent(self) -> None:
        state = fleet(1, 1)
        run(state, pod("a", compute=62_500))
        assert words(state, pod(compute=50_000)) == ["fits if tflops <= 37.5"]
        assert words(state, pod(compute=0, percent=60_000)) == ["fits if compute percent <= 37"]

    def test_both_where_neither_alone_helps(self) -> None:
        state = fleet(1, 1)
        assert words(state, pod(compute=200_000, vram=100 * GIB)) == ["fits if tflops <= 100 and vram <= 80Gi"]

    def test_of_several_devices_the_least_counts(self) -> None:
        state = fleet(1, 3)
        run(state, pod("a", vram=70 * GIB, indices=(0,)), pod("b", vram=50 * GIB, indices=(1,)))
        assert words(state, pod(vram=40 * GIB, count=2)) == [
            "fits if vram <= 30Gi",
            "1 device short in pool pool: no node has more than 1 that can take a share now; fits if gpu-count <= 1",
        ]

    def test_cpu_memory_and_other_resources_of_the_node(self) -> None:
        state = fleet(1, 1)
        state.upsert_node(node("n0", cpu=4000, memory=8 * GIB, extended={"example.com/nic": 2}))
        assert words(state, pod(cpu=5000)) == ["fits if cpu <= 4"]
        assert words(state, plain(memory=9 * GIB)) == ["fits if memory <= 8Gi"]
        assert words(state, plain(extended={"example.com/nic": 3})) == ["fits if example.com/nic <= 2"]

    def test_nothing_is_said_that_does_not_help(self) -> None:
        state = fleet(1, 1)
        assert words(state, pod(vram=100 * GIB, cpu=10**6)) == []


class TestRules:
    def test_a_cordon_a_taint_and_a_selector(self) -> None:
        state = fleet(1, 1)
        state.upsert_node(node("n0", unschedulable=True))
        assert words(state, pod()) == ["fits on node n0 if it is uncordoned (kubectl uncordon n0)"]
        state.upsert_node(node("n0", taints=(Taint("team", "x", "NoSchedule"), Taint("soft", "", "PreferNoSchedule"))))
        assert words(state, pod()) == ["fits on node n0 if it tolerates team=x:NoSchedule"]
        state.upsert_node(node("n0", labels={"zone": "a", "disk": "ssd"}))
        chosen = pod(node_selector={"zone": "b", "disk": "ssd"})
        assert words(state, chosen) == ["fits without node selector zone=b, on node n0"]
        affine = pod(affinity=required(term(requirement("zone", "In", "b"))))
        assert words(state, affine) == ["fits without its required node affinity, on node n0"]

    def test_host_ports(self) -> None:
        state = fleet(1, 1)
        rules = PodRules(ports=(HostPort(80),))
        run(state, pod("a", rules=rules, priority=5))
        assert words(state, pod("b", rules=rules)) == ["fits without its host ports, on node n0"]

    def test_models_modes_and_indices(self) -> None:
        state = fleet(1, 1)
        assert words(state, pod(model="NVIDIA H100 80GB HBM3")) == ["fits on model NVIDIA A100-SXM4-80GB"]
        assert words(state, pod(indices=(3,))) == ["fits without device indices 3, on node n0"]
        run(state, pod("a"))
        assert words(state, pod("b", isolation=Isolation.SHARED)) == ["fits with isolation soft"]

    def test_other_pools_that_the_namespace_may_use(self) -> None:
        state = fleet(1, 1)
        for name in ("b", "c"):
            state.upsert_pool(PoolFacts(name))
            state.upsert_device(device(f"{name}-0", "n0", pool=name, compute=200_000))
        wide = pod(compute=150_000)
        assert words(state, wide, usable=lambda name: name == "b") == [
            "fits if tflops <= 100",
            "fits in pool b: 1 node could take it, 1 of its devices idle",
        ]


SHORT = (
    "quota: 12 TFLOPS short: total.requests.tflops is 40, 30 of it used, and 22 asked for; "
    "fits if the quota allows total.requests.tflops 52"
)


class TestQuota:
    def test_how_much_is_short_and_what_the_rest_holds(self) -> None:
        state = fleet(1, 1)
        state.set_quota(QuotaFacts("team", total_compute=40 * TFLOPS))
        run(state, pod("a", compute=30 * TFLOPS))
        assert words(state, pod("b", compute=22 * TFLOPS)) == [
            SHORT,
            "fits if tflops <= 10: that is what the quota has left",
        ]

    def test_shares_in_percent_count_as_what_they_are(self) -> None:
        state = fleet(1, 1)
        state.set_quota(QuotaFacts("team", total_compute=40 * TFLOPS))
        (said, *_) = found(state, pod(compute=0, percent=50_000))
        assert said.change == {"total.requests.tflops": "50"}

    def test_nothing_where_the_fleet_would_not_hold_it_either(self) -> None:
        state = fleet(1, 1)
        state.set_quota(QuotaFacts("team", total_compute=40 * TFLOPS))
        assert words(state, pod(compute=200 * TFLOPS)) == []


class TestTime:
    def test_the_first_moment_at_which_enough_has_ended(self) -> None:
        state = fleet(1, 1)
        run(state, *(pod(f"p{i}", compute=25 * TFLOPS) for i in range(4)))
        endings = tuple(Ending(f"uid-p{i}", 100 - i, "") for i in range(3))
        said = found(state, pod("new", compute=50 * TFLOPS), endings=endings)[0]
        assert (said.at, said.leaving) == (99, ("uid-p2", "uid-p1"))

    def test_those_that_need_not_end_are_not_named(self) -> None:
        state = fleet(2, 1)
        run(state, pod("a", compute=90 * TFLOPS, node_selector={}), pod("b", compute=90 * TFLOPS))
        small = state.allocations["uid-a"].placement.node
        endings = (Ending("uid-a", 1, ""), Ending("uid-b", 2, ""))
        wish = pod("new", compute=50 * TFLOPS, affinity=None)
        state.upsert_node(node(small, unschedulable=True))
        said = found(state, wish, endings=endings)[0]
        assert (said.at, said.leaving) == (2, ("uid-b",))

    def test_nothing_where_even_all_of_them_are_too_few(self) -> None:
        state = fleet(1, 1)
        run(state, pod("a", compute=25 * TFLOPS), pod("b", compute=75 * TFLOPS, priority=9))
        assert all(
            not said.at for said in found(state, pod("c", compute=50 * TFLOPS), endings=(Ending("uid-a", 1, ""),))
        )


@pytest.mark.parametrize(("victim", "least"), [(0, 1), (7, 8)])
def test_the_least_priority_that_makes_room(victim: int, least: int) -> None:
    state = fleet(1, 1)
    run(state, pod("a", compute=100 * TFLOPS, priority=victim))
    said = found(state, pod("b", compute=50 * TFLOPS, priority=-1))[-1]
    assert said.words == f"fits with a priority of {least} or more: 1 less important pod would be evicted"
    assert said.change == {"priority": least}
    never = found(state, pod("b", compute=50 * TFLOPS, priority=-1, preempts=False))
    assert not any("priority" in remedy.change for remedy in never)


def test_what_a_cohort_has_left_counts_and_raising_ones_own_makes_it_fit() -> None:
    state = fleet(2, 4)
    state.set_quota(QuotaFacts("team", total_compute=20 * TFLOPS, total_devices=2, cohort="x"))
    state.set_quota(QuotaFacts("other", total_compute=30 * TFLOPS, total_devices=9, cohort="x"))
    run(state, pod("a", namespace="other", compute=25 * TFLOPS))
    asked = pod("p", compute=30 * TFLOPS)
    assert words(state, asked) == [
        (
            "quota: 5 TFLOPS short: total.requests.tflops is 20, 0 of it used, cohort x has 25 left for it, "
            "and 30 asked for; fits if the quota allows total.requests.tflops 25"
        ),
        "fits if tflops <= 25: that is what the quota has left",
    ]
    for remedy in found(state, asked):
        if remedy.quota is not None:
            state.set_quota(remedy.quota)
            assert fits(state, asked)
