"""Pools of mode FragmentationAware: holes before untouched devices, whole nodes kept, and learning from what is asked."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tensorfusion.errors import NotFit
from tensorfusion.model.core import Affinity, Taint, Toleration
from tensorfusion.model.gang import Gang
from tensorfusion.model.partitions import Profile
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.arrivals import Part
from tensorfusion.scheduling.asked import Asked, asked_of
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import NodeFacts, Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.gang_preemption import GangPlan, search_gang
from tensorfusion.scheduling.gangs import GangUnschedulable, place_gang
from tensorfusion.scheduling.hints import helps
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.score_parts import ScorePart
from tensorfusion.scheduling.simulate import simulate
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, required, requirement, term

AHEAD = PoolFacts("pool", "FragmentationAware")


def share(name: str, percent: int, **own: object) -> PodFacts:
    return pod(name, compute=0, vram=0, percent=percent * 1000, **own)


def whole(name: str, devices: int = 4, **own: object) -> PodFacts:
    return pod(name, compute=0, vram=0, percent=100_000, count=devices, **own)


def come(state: State, *pods: PodFacts) -> list[Decision | None]:
    """They arrive one after the other, and those that fit are placed."""
    found: list[Decision | None] = []
    for one in pods:
        state.arrive(one)
        try:
            decision = decide(state, one)
        except NotFit:
            found.append(None)
            continue
        state.assume(one, decision.placement)
        found.append(decision)
    return found


def keeping() -> State:
    """Three nodes of four devices, all whole; whole-node jobs are nearly all that comes, so all nodes but one are kept.

    They ask for 12 of 12.7 devices: of three nodes, 2.83.
    """
    state = fleet(3, 4, pool=AHEAD)
    come(state, *(whole(f"w{i}") for i in range(3)), share("s", 70))
    for i in range(3):
        state.release(f"uid-w{i}")
    return state


def on(name: str) -> Affinity:
    return required(term(fields=[requirement("metadata.name", "In", name)]))


def refused(state: State, one: PodFacts) -> Unschedulable:
    with pytest.raises(Unschedulable) as caught:
        decide(state, one)
    return caught.value


class TestWorth:
    def test_a_share_goes_where_it_fills_a_device(self) -> None:
        state = fleet(2, 2, pool=AHEAD)
        first, second, third = come(state, share("a", 70), share("b", 100), share("c", 30))
        assert first is not None and second is not None and third is not None
        assert second.placement.devices != first.placement.devices
        assert third.placement.devices == first.placement.devices
        assert third.mode == "FragmentationAware"

    def test_what_a_place_is_worth_is_told_apart_from_the_order_of_whole_nodes(self) -> None:
        state = fleet(4, 2, pool=AHEAD)
        decision = come(state, whole("w", 2), share("a", 50))[1]
        assert decision is not None
        assert decision.placement.node == "n1"
        parts = dict(decision.parts[0])
        assert parts[ScorePart.WHOLE_NODES] == -50 * 64, "the second of four nodes: a quarter of 2,000 milli-GPU"
        assert sum(parts.values()) == decision.score * 64

    def test_unequal_devices_count_in_parts_of_themselves(self) -> None:
        """Half of the memory of one is all of the other's: it fits the small one without waste."""
        state = fleet(1, 2, pool=AHEAD)
        state.upsert_node(node("small"))
        state.upsert_device(device("small-0", "small", compute=100 * TFLOPS, vram=40 * GIB))
        found = come(state, *(pod(f"p{i}", compute=1, vram=40 * GIB) for i in range(5)))
        assert all(found)
        assert {one.placement.node for one in found if one is not None} == {"n0", "small"}
        assert come(state, pod("one-more", compute=1, vram=GIB)) == [None]

    def test_of_several_profiles_of_one_model_always_the_same_one_counts(self) -> None:
        """Not the one that comes first in a set, whose order is another one in every process."""
        profiles = [Profile(most, 7, 0, (), ()) for most in range(2, 10)]
        state = fleet(1, 1, pool=AHEAD)
        for number in random.Random(0).sample(range(8), 8):
            state.upsert_node(node(f"p{number}"))
            state.upsert_device(device(f"p{number}-0", f"p{number}", profile=profiles[number]))
        [kind] = state.classes.foresights.of(state.fleet.pools["pool"]).kinds
        assert kind.profile == profiles[0]

    def test_pods_that_ask_for_a_device_to_themselves_or_for_nothing_are_placed(self) -> None:
        state = fleet(1, 2, pool=AHEAD)
        alone = pod("alone", compute=0, vram=0, isolation=Isolation.SHARED)
        nothing = pod("nothing", compute=0, vram=0)
        first, second = come(state, alone, nothing)
        assert first is not None and second is not None
        assert first.placement.devices != second.placement.devices

    def test_another_mode_and_back_leaves_no_trace(self) -> None:
        state, other = fleet(3, 2, pool=AHEAD), fleet(3, 2, pool=AHEAD)
        for one in (share("a", 70), share("b", 60)):
            assert come(state, one) == come(other, one)
        state.upsert_pool(PoolFacts("pool", "LowLoadFirst"))
        assert decide(state, share("c", 40)).mode == "LowLoadFirst"
        state.upsert_pool(AHEAD)
        assert come(state, share("c", 40)) == come(other, share("c", 40))


class TestHold:
    def test_small_pods_are_kept_off_the_last_whole_nodes_and_told_so(self) -> None:
        state = keeping()
        found = come(state, share("fits", 30), share("beside", 40))
        assert found[0] is not None and found[0].placement.node == "n0"
        assert found[1] is not None and found[1].placement.node == "n0"
        failure = refused(state, whole("half", 2, node_selector={"zone": "none"}))
        assert NodeReason.KEPT_WHOLE not in failure.reasons
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        failure = refused(state, share("late", 50))
        assert failure.reasons["kept-whole"] == 2
        assert "2 nodes: kept for jobs that want whole nodes" in failure.message
        assert "2 whole nodes stay free for jobs that want all 4 devices of one" in failure.message

    def test_jobs_that_want_them_whole_get_them(self) -> None:
        state = keeping()
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        first, second = come(state, whole("a"), whole("b"))
        assert first is not None and second is not None
        assert {first.placement.node, second.placement.node} == {"n1", "n2"}

    @pytest.mark.parametrize("part", [{"vram": 78 * GIB}, {"compute": 51 * TFLOPS}, {"percent": 51_000}])
    def test_jobs_that_leave_no_room_for_another_one_get_them_too_and_count(self, part: dict[str, int]) -> None:
        state = keeping()
        full = {"compute": 100 * TFLOPS, "vram": 80 * GIB}
        come(state, *(pod(f"fill-{i}", **full) for i in range(4)))
        wishes = {"compute": 0, "vram": 0, "count": 4, **part}
        first = come(state, pod("nearly", **wishes))[0]
        assert first is not None
        assert first.placement.node == "n1"
        told = refused(state, pod("late", **full)).message
        assert "1 whole node stays free for jobs that want all 4 devices of one: 1 of them run" in told
        assert come(state, pod("second", **wishes))[0] is not None

    def test_the_batch_of_a_day_keeps_next_to_nothing_a_week_later(self) -> None:
        """Also beside one namespace alone, though the jobs are most of what was asked for."""
        state, day, found = fleet(64, 4, pool=AHEAD), 24 * 3600, []
        for number in range(40):
            state.arrive(whole(f"w{number}", namespace="batch"), created=day)
        for since in range(8):
            for number in range(40):
                state.arrive(share(f"s{since}-{number}", 100), created=day * (1 + since))
            (hold,) = state.classes.foresights.of(state.fleet.pools["pool"]).holds
            found.append(hold.expected)
        assert found[0] == 32
        assert found == sorted(found, reverse=True)
        assert found[3] <= 8
        assert found[7] == 0

    @pytest.mark.parametrize("part", [{"vram": 78 * GIB}, {"percent": 51_000}])
    def test_nodes_are_kept_for_them_as_for_those_that_ask_for_all(self, part: dict[str, int]) -> None:
        state, wishes = fleet(3, 4, pool=AHEAD), {"compute": 0, "vram": 0, "count": 4, **part}
        come(state, *(pod(f"w{i}", **wishes) for i in range(3)), share("s", 70))
        for i in range(3):
            state.release(f"uid-w{i}")
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        told = refused(state, share("small", 100)).message
        assert "2 whole nodes stay free for jobs that want all 4 devices of one: 0 of them run" in told

    @pytest.mark.parametrize("wishes", [{"percent": 50_000, "count": 4}, {"percent": 100_000, "count": 3}])
    def test_jobs_of_which_two_share_a_node_or_that_leave_a_device_do_not(self, wishes: dict[str, int]) -> None:
        state = keeping()
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        assert "kept-whole" in refused(state, pod("small", compute=0, vram=0, **wishes)).reasons

    def test_simulation_names_the_nodes_that_are_kept(self) -> None:
        state = keeping()
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        told = simulate(state, share("late", 50)).node_refusals
        assert told["n1"] == told["n2"] == NodeReason.KEPT_WHOLE

    def test_a_whole_node_job_that_starts_wakes_those_that_are_kept_out(self) -> None:
        state = keeping()
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        failure = refused(state, share("late", 50))
        changes = state.placed(whole("w"))
        assert any(helps(failure, change) for change in changes)
        assert not any(helps(failure, change) for change in state.placed(share("s", 10)))
        other = refused(state, share("elsewhere", 50, node_selector={"zone": "none"}))
        assert not any(helps(other, change) for change in changes)

    def test_devices_that_go_wake_them_too(self) -> None:
        state = keeping()
        come(state, *(share(f"fill-{i}", 100) for i in range(4)))
        failure = refused(state, share("late", 50))
        assert any(helps(failure, change) for change in state.remove_device("n2-0"))

    @pytest.mark.parametrize("change", ["devices that stop", "a node that is cordoned", "CPU that is given back"])
    def test_whatever_opens_a_node_wakes_them(self, change: str) -> None:
        """One of three nodes is expected to run a whole-node job: n1, as n0 is open and n2 has not the CPU for it."""
        state = fleet(3, 4, pool=AHEAD)
        mix = [(whole("w", cpu=60_000), 1), (share("s", 100), 6)]
        state.fleet.pools["pool"].learned.decide_by(
            [Part([(asked_of(one, one.request), count) for one, count in mix if one.request is not None])]
        )
        busy = plain("busy", cpu=32_000)
        state.confirm(busy, Placement("n2"))
        for i in range(3):
            small = share(f"fill-{i}", 100)
            state.assume(small, decide(state, small).placement)
        failure = refused(state, share("late", 100, affinity=on("n1")))
        state.eased_holds()
        assert state.eased_holds() == ()
        if change == "devices that stop":
            told = [told for i in range(4) for told in state.upsert_device(device(f"n0-{i}", "n0", phase="Pending"))]
        elif change == "a node that is cordoned":
            told = [*state.upsert_node(node("n0", unschedulable=True))]
        else:
            told = [*state.release("uid-busy")]
        assert not any(helps(failure, one) for one in told)
        assert any(helps(failure, one) for one in state.eased_holds())
        assert decide(state, share("late", 100, affinity=on("n1"))).placement.node == "n1"
        assert state.eased_holds() == ()


class TestNodesThatTakeNobody:
    """Eight nodes of four devices; 20 of 36 devices that are asked for are whole-node jobs': four nodes."""

    def mixed(self, *aside: NodeFacts, others: Sequence[Taint] = ()) -> State:
        state = fleet(8, 4, pool=AHEAD)
        for number in range(8):
            state.upsert_node(node(f"n{number}", taints=tuple(others)))
        for one in aside:
            state.upsert_node(one)
        expected = [(whole("w"), 5), (share("s", 100), 16)]
        mix = [(asked_of(one, one.request), count) for one, count in expected if one.request is not None]
        state.fleet.pools["pool"].learned.decide_by([Part(mix)])
        return state

    def opened(self, state: State, **own: object) -> list[str]:
        """The nodes that small pods open until they are kept out."""
        found: list[str] = []
        while True:
            one = share(f"late{len(state.allocations)}", 100, **own)
            try:
                placement = decide(state, one).placement
            except NotFit:
                return sorted(found)
            state.assume(one, placement)
            found += [placement.node] * (placement.node not in found)

    def test_half_of_the_nodes_that_can_be_had_are_kept(self) -> None:
        assert self.opened(self.mixed()) == ["n0", "n1", "n2", "n3"]

    @pytest.mark.parametrize(
        "problem",
        [
            {"unschedulable": True},
            {"ready": False},
            {"taints": (Taint("disk", "broken", "NoSchedule"),)},
        ],
        ids=["cordoned", "not-ready", "tainted"],
    )
    def test_those_that_cannot_be_had_are_neither_expected_nor_free(self, problem: dict[str, Any]) -> None:
        state = self.mixed(*(node(f"n{number}", **problem) for number in (0, 2, 3, 7)))
        assert self.opened(state) == ["n1", "n4"]
        failure = refused(state, share("next", 100))
        assert failure.reasons["kept-whole"] == 2
        assert "2 whole nodes stay free" in failure.message
        assert "by what arrives 2 would" in failure.message

    def test_jobs_on_a_cordoned_node_do_not_count_for_those_that_are_missing(self) -> None:
        state = self.mixed()
        running = whole("running", affinity=on("n7"))
        state.assume(running, decide(state, running).placement)
        state.upsert_node(node("n7", unschedulable=True))
        assert self.opened(state) == ["n0", "n1", "n2", "n3"], "three of seven are kept"

    def test_a_taint_of_most_nodes_sets_nobody_apart(self) -> None:
        state = self.mixed(node("n1"), others=[Taint("gpu", "", "NoSchedule")])
        tolerant = {"tolerations": (Toleration(key="gpu", operator="Exists"),)}
        assert self.opened(state, **tolerant) == ["n0", "n1", "n2", "n3"]

    def test_nodes_come_back(self) -> None:
        state = self.mixed(*(node(f"n{number}", unschedulable=True) for number in range(4)))
        assert self.opened(state) == ["n4", "n5"]
        for number in range(4):
            state.upsert_node(node(f"n{number}"))
        assert self.opened(state) == ["n0", "n1"]


class TestHoldAndPreemption:
    def full(self) -> State:
        """One node is full of unimportant shares, the others are kept."""
        state = keeping()
        come(state, *(share(f"fill-{i}", 100) for i in range(3)), share("rest", 60))
        return state

    def test_a_node_is_opened_before_anybody_is_evicted(self) -> None:
        state = self.full()
        late = share("late", 50, priority=10)
        found = search(state, late, refused(state, late), now=0)
        assert isinstance(found, Plan)
        assert found.free
        assert found.instead
        assert found.placement.node in ("n1", "n2")
        with state.without_holds():
            assert decide(state, late).placement == found.placement

    def test_who_could_evict_nobody_stays_out(self) -> None:
        state = self.full()
        late = share("late", 50)
        assert isinstance(search(state, late, refused(state, late), now=0), Hopeless)

    def test_whoever_makes_a_node_whole_by_evicting_gets_it(self) -> None:
        """Nothing is free; the node that is emptied would be kept, if not for the pod that emptied it."""
        state = keeping()
        everywhere = [f"n{i}" for i in range(3)]
        with state.without_holds():
            come(state, *(share(name, 60, affinity=on(name)) for name in everywhere[1:]))
            assert all(come(state, whole("two", 2, affinity=on("n0"))))
        others = [
            share(f"{name}-{i}", 100, priority=20, affinity=on(name)) for name in everywhere[1:] for i in range(3)
        ]
        assert all(come(state, *others))
        wide = whole("wide", 3, priority=10)
        found = search(state, wide, refused(state, wide), now=0)
        assert isinstance(found, Plan)
        assert [one.pod.name for one in found.victims] == ["two"]
        assert found.placement.node == "n0"

    def test_a_gang_opens_nodes_before_anybody_is_evicted(self) -> None:
        state = self.full()
        gang = Gang("team/g", 2, 2)
        members = [replace(share(f"m{i}", 60, priority=10), gang=gang) for i in range(2)]
        with pytest.raises(GangUnschedulable) as caught:
            place_gang(state, members, needed=2)
        assert "kept-whole" in caught.value.reasons
        found = search_gang(state, members, needed=2, now=0)
        assert isinstance(found, GangPlan)
        assert found.free
        assert found.instead
        unimportant = [replace(one, priority=0) for one in members]
        assert isinstance(search_gang(state, unimportant, needed=2, now=0), Hopeless)

    def test_a_promised_place_is_given_through_the_hold(self) -> None:
        state = self.full()
        late = share("late", 50, priority=10)
        with pytest.raises(NotFit):
            decide(state, late)
        assert state.promised(lambda: decide(state, late)).placement.node == "n1"


def test_pods_that_ask_for_more_than_numbers_can_hold_stop_nobody() -> None:
    """Amounts of one container are bounded, their sum is not."""
    state = fleet(3, 4, pool=AHEAD)
    absurd = [
        share("much", 30, cpu=18 * 10**18),
        share("more", 30, cpu=1 << 80, memory=1 << 90),
        pod("large", compute=1 << 70, vram=1 << 90, count=1 << 70),
        whole("wide", 1 << 62, cpu=1 << 62),
    ]
    assert come(state, *absurd) == [None] * len(absurd)
    assert all(come(state, *(share(f"good-{number}", 30) for number in range(9))))


def test_a_look_ahead_that_failed_is_made_anew() -> None:
    """Whatever failed, the next one stands on all that is there, and not on half of it."""
    state, plain = fleet(3, 4, pool=AHEAD), fleet(3, 4, pool=AHEAD)
    for each in (state, plain):
        come(each, share("first", 30))
    learned = state.fleet.pools["pool"].learned
    before = learned.counts()
    learned.restore({"a": {Asked(1 << 70, 1, 1, percent=1): 1}}, count=1, until=0, halved_at=0, idle={})
    state.remove_device("n0-0")
    plain.remove_device("n0-0")
    for _ in range(3):
        with pytest.raises(OverflowError):
            decide(state, share("second", 30))
    learned.restore(before, count=1, until=0, halved_at=0, idle={})
    pods = [*(share(f"s{number}", 30) for number in range(5)), whole("w")]
    assert come(state, *pods) == come(plain, *pods)
