"""Gangs in the running scheduler: together or not at all, through every accident, and never at the cost of others."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduler_steps import bound, gang, stamps

from tensorfusion.errors import Forbidden
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.gang import Gang
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler import gang_holds, gangs, queue
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.gang_book import GangBook
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.state import State

RACK = "topology.kubernetes.io/rack"


async def test_a_gang_is_bound_at_once_and_says_so(world) -> None:
    world.fleet(nodes=4)
    await world.start()
    names = gang(world, 4)
    await world.settle(0.3)
    assert sorted(world.node_of(name) for name in names) == ["n0", "n1", "n2", "n3"]
    await world.settle(2)
    told = [world.events_of(name).get("GangScheduled") for name in names]
    assert [words for words in told if words] == ["gang default/train: 4 members are placed together"]
    assert all(world.reason_of(name) == "" for name in names)
    world.check_books()


async def test_members_wait_for_those_that_are_not_there_yet(world) -> None:
    world.fleet(nodes=4)
    await world.start()
    first = gang(world, 3, 4)
    await world.settle(3)
    assert world.bindings() == []
    line = "gang default/train: 3 of 4 members are known: it starts when the others are created"
    assert [world.reason_of(name) for name in first] == [line] * 3
    assert world.events_of("m0")["GangWaiting"] == line
    assert explain(world.service, Key("default", "m0"))["gang"] == line
    assert world.service.state.allocations == {}
    world.worker("last", tflops="100", annotations=stamps(4))
    await world.settle(0.3)
    assert len(bound(world, [*first, "last"])) == 4
    await world.settle(2)
    assert explain(world.service, Key("default", "m0"))["gang"] == (
        "gang default/train: started; 4 of its members have a place"
    )


async def test_a_gang_that_does_not_fit_holds_nothing_and_starts_when_it_does(world) -> None:
    world.fleet(nodes=4)
    world.worker("other", tflops="80")
    await world.start()
    names = gang(world, 4)
    await world.settle(5)
    assert bound(world, names) == []
    assert len(world.service.state.allocations) == 1
    for name in names:
        assert world.reason_of(name).startswith("gang default/train: 3 of 4 fit; the 4th: 0/4 nodes are available: ")
    world.worker("small", tflops="20")
    await world.settle(1)
    assert world.node_of("small")
    world.delete("other")
    world.delete("small")
    await world.settle(11)
    assert len(bound(world, names)) == 4
    world.check_books()


async def test_nothing_but_what_can_help_wakes_a_gang(world) -> None:
    world.fleet(nodes=2)
    world.worker("other", tflops="80")
    world.worker("more", tflops="10")
    await world.start()
    names = gang(world, 2)
    await world.settle(30)
    group = world.service.book.gangs.groups["default/train"]
    assert group.attempts == 1
    world.delete("more")
    await world.settle(30)
    assert group.attempts == 1
    world.delete("other")
    await world.settle(1)
    assert len(bound(world, names)) == 2


async def test_members_beyond_the_required_ones_are_placed_as_room_allows(world) -> None:
    world.fleet(nodes=3)
    await world.start()
    names = gang(world, 5, 2)
    await world.settle(2)
    assert len(bound(world, names)) == 3
    waiting = next(name for name in names if not world.node_of(name))
    assert "not enough compute" in world.reason_of(waiting)
    assert "gang" not in world.reason_of(waiting)
    world.gpu("new", "n0", index=1)
    await world.settle(15)
    assert len(bound(world, names)) == 4
    world.check_books()


async def test_the_highest_member_speaks_for_the_gang(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    world.office.leading = False
    world.worker("single", tflops="100", priority=5)
    low = {"priority": 1}
    gang(world, 1, 2, name="low", wishes=low)
    gang(world, 1, 2, name="high", wishes={"priority": 9})
    world.office.leading = True
    world.office.epoch = 2
    await world.settle(2)
    assert len(bound(world, ["low0", "high0"])) == 2
    assert not world.node_of("single")


async def test_two_gangs_that_fit_one_after_the_other_do_not_block_each_other(world) -> None:
    world.fleet(nodes=4)
    await world.start()
    one = gang(world, 2, 3, name="a", group="default/a")
    other = gang(world, 2, 3, name="b", group="default/b")
    await world.settle(2)
    world.worker("b-last", tflops="100", annotations=stamps(3, group="default/b"))
    world.worker("a-last", tflops="100", annotations=stamps(3, group="default/a"))
    await world.settle(2)
    assert len(bound(world, [*one, "a-last"])) == 3
    assert bound(world, [*other, "b-last"]) == []
    for name in [*one, "a-last"]:
        world.finish(name)
    await world.settle(11)
    assert len(bound(world, [*other, "b-last"])) == 3


async def test_a_gang_across_two_pools_is_refused(world) -> None:
    world.fleet(nodes=2)
    world.pool("second")
    world.gpu("far", "n0", index=1, pool="second")
    await world.start()
    gang(world, 1, 2, name="a")
    gang(world, 1, 2, name="b", wishes={"annotations": {**stamps(2), keys.GPU_POOL: "second"}})
    await world.settle(2)
    assert "its members ask for pools main and second: give all of them the same gpupool" in world.reason_of("a0")


async def test_a_strict_gang_is_rejected_and_backs_off_for_ten_seconds(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    gang(world, 3, mode="Strict")
    await world.settle(2)
    assert world.events_of("m0")["GangStrictRejected"].startswith("gang default/train: 2 of 3 fit; the 3rd: ")
    world.gpu("new", "n0", index=1)
    await world.settle(6)
    assert bound(world, ["m0"]) == []
    await world.settle(4)
    assert len(bound(world, ["m0", "m1", "m2"])) == 3


async def test_a_gang_that_waits_too_long_says_so_and_still_starts_when_it_can(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    names = gang(world, 2, 3, timeout="1m")
    await world.settle(30)
    assert "timed out" not in world.reason_of("m0")
    await world.settle(33)
    line = "gang default/train: timed out after 1m: 2 of 3 members are known: it starts when the others are created"
    assert world.reason_of("m0") == line
    assert world.events_of("m0")["GangTimeout"] == line
    world.gpu("new", "n0", index=1)
    world.worker("last", tflops="100", annotations=stamps(3, timeout="1m"))
    await world.settle(2)
    assert len(bound(world, [*names, "last"])) == 3


async def test_a_deleted_member_is_waited_for_again(world) -> None:
    world.fleet(nodes=3)
    world.worker("other", tflops="80")
    await world.start()
    names = gang(world, 3)
    await world.settle(3)
    world.delete("m1")
    world.delete("other")
    await world.settle(15)
    assert bound(world, ["m0", "m2"]) == []
    assert "2 of 3 members are known" in world.reason_of("m0")
    world.worker("m1", tflops="100", annotations=stamps(3))
    await world.settle(2)
    assert len(bound(world, names)) == 3


async def test_gated_members_do_not_count_until_they_are_released(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    gang(world, 1, 2)
    gang(world, 1, 2, name="gated", wishes={"schedulingGates": [{"name": "example.com/hold"}]})
    await world.settle(2)
    assert "1 of 2 members are known" in world.reason_of("m0")
    world.api.change(PODS, "gated0", {"spec": {"schedulingGates": None}}, namespace="default")
    await world.settle(2)
    assert len(bound(world, ["m0", "gated0"])) == 2


async def test_a_stamp_that_cannot_be_read_holds_the_pod_back_with_one_line(world) -> None:
    world.fleet()
    await world.start()
    world.worker("odd", annotations={keys.GANG_REQUIRED_MEMBERS: "many"})
    await world.settle(2)
    assert world.reason_of("odd") == (
        f"annotation {keys.GANG_REQUIRED_MEMBERS}: wanted a whole number, found 'many': admission writes it"
    )


async def test_all_members_of_a_gang_land_in_one_rack(world) -> None:
    world.pool()
    for number in range(6):
        world.node(f"n{number}", **{RACK: f"r{number % 2}"})
        world.gpu(f"g{number}", f"n{number}")
    world.worker("other", tflops="80")
    await world.start()
    taken = world.node_of("other")
    names = gang(world, 3)
    await world.settle(2)
    assert {int(world.node_of(name)[1:]) % 2 for name in names} == {1 - int(taken[1:]) % 2}


# --- accidents ---


async def test_half_bound_by_a_scheduler_that_died_the_rest_is_completed_by_its_successor(world, office) -> None:
    world.fleet(nodes=4)
    await world.start()

    def only_two() -> None:
        world.office.leading = len(world.bindings()) < 2

    world.office.asked = only_two
    names = gang(world, 4)
    await world.settle(1)
    half = bound(world, names)
    assert len(half) == 2
    await world.stop()
    await world.start(office(epoch=2))
    await world.settle(3)
    assert len(bound(world, names)) == 4
    world.check_books()


async def test_a_restarted_scheduler_rebuilds_its_gangs_from_the_pods(world, office) -> None:
    world.fleet(nodes=6)
    await world.start()
    waiting = gang(world, 1, 2, name="w", group="default/w")
    started = gang(world, 2, name="s", group="default/s")
    await world.settle(2)
    await world.stop()
    await world.start(office(epoch=2))
    await world.settle(3)
    assert bound(world, waiting) == []
    assert "1 of 2 members are known" in world.reason_of("w0")
    world.worker("w1", tflops="100", annotations=stamps(2, group="default/w"))
    world.worker("s2", tflops="100", annotations=stamps(2, group="default/s"))
    await world.settle(2)
    assert len(bound(world, [*waiting, "w1", *started, "s2"])) == 5
    world.check_books()


async def test_a_refused_binding_of_one_member_is_tried_again_alone(world) -> None:
    world.fleet(nodes=3)
    await world.start()
    world.api.fail("bind", error=Forbidden("not this time"))
    names = gang(world, 3)
    await world.settle(0.3)
    assert len(bound(world, names)) == 2
    await world.settle(3)
    assert len(bound(world, names)) == 3
    world.check_books()


async def test_a_gang_whose_pods_all_failed_starts_as_a_whole_again(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    names = gang(world, 2)
    await world.settle(1)
    for name in names:
        world.finish(name, "Failed")
    world.worker("again0", tflops="100", annotations=stamps(2))
    await world.settle(3)
    assert not world.node_of("again0")
    world.worker("again1", tflops="100", annotations=stamps(2))
    await world.settle(2)
    assert len(bound(world, ["again0", "again1"])) == 2


async def test_the_last_member_of_a_job_that_is_nearly_done_is_replaced_alone(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    gang(world, 2)
    await world.settle(1)
    world.finish("m0")
    world.finish("m1", "Failed")
    world.worker("again", tflops="100", annotations=stamps(2))
    await world.settle(2)
    assert world.node_of("again")


# --- nobody starves ---


async def stream_past_a_gang(world, seconds: int) -> tuple[list[str], float | None]:
    """Small pods come and go, so that two whole devices are never free at once; answers when the gang started."""
    running = ["first"]
    for second in range(seconds):
        for name in running[:1] if len(running) >= 2 else []:
            world.delete(name)
            running.remove(name)
        world.worker(f"s{second}", tflops="60")
        running.append(f"s{second}")
        await world.settle(1)
        if world.node_of("m0"):
            return running, second
    return running, None


async def test_pods_pass_a_waiting_gang_only_until_its_patience_ends(world) -> None:
    world.fleet(nodes=2)
    world.worker("first", tflops="60")
    await world.start()
    gang(world, 2)
    await world.settle(2)
    running, started = await stream_past_a_gang(world, 400)
    assert started is not None
    assert 290 <= started <= 340
    assert any(not world.node_of(name) for name in running)
    for name in ("m0", "m1"):
        world.finish(name)
    await world.settle(3)
    assert all(world.node_of(name) for name in running)
    world.check_books()


async def test_a_gang_that_can_never_fit_holds_up_nobody(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    gang(world, 3)
    await world.settle(400)
    world.worker("young", tflops="60")
    await world.settle(2)
    assert world.node_of("young")


async def test_higher_priorities_and_other_pools_do_not_wait_for_a_gang(world) -> None:
    world.fleet(nodes=2)
    world.pool("second")
    world.gpu("far", "n1", index=1, pool="second")
    world.worker("first", tflops="60")
    await world.start()
    gang(world, 2)
    await world.settle(310)
    world.worker("young", tflops="10")
    world.worker("urgent", tflops="10", priority=7)
    world.worker("elsewhere", tflops="10", annotations={keys.GPU_POOL: "second"})
    world.plain("plain")
    await world.settle(2)
    assert not world.node_of("young")
    assert world.reason_of("young").startswith("held for gang default/train, which waits for room in pool main")
    assert len(bound(world, ["urgent", "elsewhere", "plain"])) == 3
    world.delete("m0")
    await world.settle(2)
    assert world.node_of("young")


async def test_a_nominated_pod_gets_its_place_although_a_gang_holds_the_pool_by_then(world) -> None:
    world.fleet(nodes=2)
    world.worker("low", tflops="100")
    world.worker("other", tflops="100", priority=20)
    await world.start()
    names = gang(world, 2, wishes={"priority": 10})
    await world.settle(290)
    world.worker("nominee", tflops="100", priority=10)
    await world.settle(20)
    assert list(world.service.gangs.holds.pools) == ["main"]
    assert [call.name for call in world.api.calls if call.verb == "evict"] == ["low"]
    world.delete("low")
    await world.settle(5)
    assert world.node_of("nominee")
    world.finish("nominee")
    world.delete("other")
    await world.settle(15)
    assert len(bound(world, names)) == 2
    world.check_books()


async def held_pool(world) -> list[str]:
    """A gang that keeps younger pods waiting: the pod ``first`` stands in its way."""
    world.fleet(nodes=2)
    world.worker("first", tflops="60")
    await world.start()
    names = gang(world, 2)
    await world.settle(310)
    assert list(world.service.gangs.holds.pools) == ["main"]
    return names


async def test_a_hold_ends_with_its_gang_although_another_of_that_name_came_at_once(world) -> None:
    for name in await held_pool(world):
        world.delete(name)
    again = gang(world, 2, name="again")
    await world.settle(5)
    world.delete("first")
    await world.settle(15)
    for name in again:
        assert world.node_of(name)
        world.delete(name)
    world.worker("young", tflops="10")
    await world.settle(15)
    assert world.node_of("young")


async def test_a_hold_ends_when_its_gang_went_while_another_replica_led(world) -> None:
    names = await held_pool(world)
    world.worker("held", tflops="10")
    world.office.leading = False
    await world.settle(1)
    for name in names:
        world.delete(name)
        await world.settle(1)
    gang(world, 1, 2, name="again")
    world.office.leading, world.office.epoch = True, 3
    await world.settle(3)
    assert world.node_of("held")


async def test_a_gang_keeps_its_turn_through_a_change_of_leaders(world) -> None:
    names = await held_pool(world)
    world.office.leading = False
    await world.settle(1)
    world.office.leading, world.office.epoch = True, 3
    await world.settle(3)
    world.worker("young", tflops="10")
    await world.settle(3)
    assert world.reason_of("young").startswith("held for gang default/train")
    world.delete("first")
    await world.settle(15)
    assert len(bound(world, [*names, "young"])) == 2


async def test_a_follower_does_not_remember_gangs_that_are_gone(world, office) -> None:
    world.fleet()
    await world.start(office(leading=False))
    for number in range(5):
        for name in gang(world, 2, group=f"default/g{number}"):
            await world.settle(0.5)
            world.delete(name)
        await world.settle(0.5)
    left = gang(world, 1, 2)
    await world.settle(0.5)
    assert list(world.service.book.gangs.changed) == ["default/train"]
    world.office.leading = True
    await world.settle(3)
    assert "1 of 2 members are known" in world.reason_of(left[0])


async def test_a_gang_that_only_its_quota_keeps_back_holds_up_nobody(world) -> None:
    world.fleet(nodes=3)
    for name in ("a", "b", "c"):
        world.worker(name, tflops="60", namespace="other")
    world.quota("default", {"total": {"requests": {"tflops": "200", "vram": "100Gi"}}})
    await world.start()
    gang(world, 2)
    await world.settle(310)
    world.worker("own", tflops="10", priority=5)
    world.worker("young", tflops="10", namespace="other")
    await world.settle(2)
    assert world.reason_of("young", "other").startswith("held for")
    for name in ("a", "b", "c"):
        world.delete(name, "other")
    await world.settle(15)
    assert "quota exceeded" in world.reason_of("m0")
    assert world.node_of("young", "other")


async def test_members_that_a_running_gang_needs_do_not_wait_for_another_gang(world) -> None:
    world.fleet(nodes=3)
    await world.start()
    gang(world, 3, 2, name="run", group="default/run", wishes={"tflops": "60"})
    await world.settle(2)
    world.finish("run2")
    await world.settle(1)
    gang(world, 3, name="wait", group="default/wait")
    await world.settle(310)
    world.worker("more", tflops="60", annotations=stamps(2, 3, group="default/run"))
    await world.settle(2)
    assert world.reason_of("more").startswith("held for gang default/wait")
    world.delete("run0")
    await world.settle(2)
    assert world.node_of("more")
    world.worker("even-more", tflops="60", annotations=stamps(2, 3, group="default/run"))
    await world.settle(2)
    assert world.reason_of("even-more").startswith("held for gang default/wait")


async def test_one_gang_a_look_is_weighed_the_most_important_first_and_those_outranked_not_at_all(
    world, monkeypatch
) -> None:
    weighed: list[tuple[float, str]] = []
    weigh = gang_holds.fits_when_empty

    def noted(state: State, members: Sequence[PodFacts], **rest: Any) -> bool:
        weighed.append((world.clock.monotonic(), members[0].gang.key if members[0].gang else ""))
        return weigh(state, members, **rest)

    monkeypatch.setattr(gang_holds, "fits_when_empty", noted)
    world.fleet(nodes=2)
    world.worker("first", tflops="60", priority=9)
    await world.start()
    for number in range(4):
        gang(world, 3, name=f"big{number}-", group=f"default/big{number}", wishes={"priority": number})
    for number in range(3):
        gang(world, 2, name=f"pair{number}-", group=f"default/pair{number}", wishes={"priority": 1})
    await world.settle(330)
    assert [key for _, key in weighed] == ["default/big3", "default/big2", "default/big1", "default/pair0"]
    assert all(later - sooner >= 1 for (sooner, _), (later, _) in pairwise(weighed))
    await world.settle(300)
    assert [key for _, key in weighed[4:]] == ["default/big3", "default/big2", "default/pair0"]


async def test_weighing_takes_a_twentieth_of_the_time_at_most(world, monkeypatch) -> None:
    weighed: list[float] = []
    seconds = iter(range(0, 10_000, 2))

    def slow(state: State, members: Sequence[PodFacts], **rest: Any) -> bool:
        weighed.append(world.clock.monotonic())
        return False

    world.fleet(nodes=2)
    world.worker("first", tflops="60")
    await world.start()
    for number in range(3):
        gang(world, 2, name=f"g{number}-", group=f"default/g{number}")
    await world.settle(295)
    monkeypatch.setattr(gang_holds, "fits_when_empty", slow)
    monkeypatch.setattr(world.service.gangs.holds, "_timer", lambda: next(seconds) * 1_000_000_000)
    await world.settle(120)
    assert len(weighed) == 3
    assert all(later - sooner >= 40 for sooner, later in pairwise(weighed))


async def test_a_gang_of_another_namespace_is_not_named_to_those_that_wait_for_it(world) -> None:
    world.fleet(nodes=2)
    world.worker("first", tflops="60")
    await world.start()
    gang(world, 2, group="default/secret")
    await world.settle(310)
    world.worker("young", tflops="10", namespace="other")
    await world.settle(3)
    assert world.reason_of("young", "other").startswith(
        "held for a gang of another namespace, which waits for room in pool main and was there first"
    )


async def test_a_pod_that_waits_for_a_neighbour_is_woken_by_a_gangs_placement(world) -> None:
    world.fleet(nodes=3)
    await world.start()
    beside = {"topologyKey": keys.HOSTNAME_LABEL, "labelSelector": {"matchLabels": {"app": "train"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [beside]}}
    world.worker("beside", tflops="1", affinity=near)
    await world.settle(30)
    gang(world, 2, wishes={"tflops": "40", "labels": {"app": "train"}})
    await world.settle(2)
    assert world.node_of("beside") in (world.node_of("m0"), world.node_of("m1"))


async def test_more_news_than_can_be_offered_to_each_gang_stirs_them_all(world, monkeypatch) -> None:
    monkeypatch.setattr(queue, "WAKES_COUNTED", 5)
    world.fleet(nodes=2)
    world.worker("other", tflops="80")
    world.worker("more", tflops="10")
    await world.start()
    gang(world, 2, name="a", group="default/a")
    gang(world, 2, name="b", group="default/b")
    await world.settle(30)
    asked: list[object] = []
    monkeypatch.setattr(gangs, "helps", lambda *each: asked.append(each) or False)
    groups = world.service.book.gangs.groups
    before = [group.attempts for group in groups.values()]
    for number in range(6):
        world.node(f"new{number}")
    await world.settle(2)
    assert not asked
    assert [group.attempts for group in groups.values()] == [attempts + 1 for attempts in before]


# --- whatever comes ---


@st.composite
def days(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Groups as (members, required, pause before); one member is a single pod."""
    groups = []
    for _ in range(draw(st.integers(1, 6))):
        count = draw(st.integers(1, 4))
        groups.append((count, draw(st.integers(min(2, count), count)), draw(st.integers(0, 5))))
    return groups


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days())
async def test_no_gang_starts_in_part_and_all_that_fit_are_placed_in_the_end(make_world, groups) -> None:
    world = make_world()
    try:
        world.fleet(nodes=4)
        await world.start()
        names: dict[str, tuple[list[str], int]] = {}
        for number, (count, required, pause) in enumerate(groups):
            key = f"default/g{number}"
            if count == 1:
                world.worker(f"g{number}-0", tflops="100")
                names[key] = [f"g{number}-0"], 1
            else:
                names[key] = gang(world, count, required, name=f"g{number}-", group=key), required
            await world.settle(pause)
        started: set[str] = set()
        for _ in range(200):
            await world.settle(0.5)
            world.check()
            for key, (members, required) in names.items():
                on = bound(world, members)
                assert key in started or not on or len(on) >= required, (key, on)
                if on:
                    started.add(key)
            for key in sorted(started):
                for name in bound(world, names[key][0]):
                    if world.pod(name).get("status", {}).get("phase") != "Succeeded":
                        world.finish(name)
            if all(len(bound(world, members)) == len(members) for members, _ in names.values()):
                break
        assert {key: len(bound(world, members)) for key, (members, _) in names.items()} == {
            key: len(members) for key, (members, _) in names.items()
        }
        await world.settle(1)
        world.check_books()
    finally:
        await world.stop()


@pytest.mark.parametrize("count", [300])
async def test_a_gang_larger_than_the_binders_backlog_goes_out_whole(world, count: int) -> None:
    world.pool()
    for number in range(10):
        world.node(f"n{number}")
        for index in range(30):
            world.gpu(f"g{number}-{index}", f"n{number}", index=index)
    await world.start()
    names = gang(world, count)
    await world.settle(5)
    assert len(bound(world, names)) == count
    world.check_books()


def test_the_stamps_of_a_member_that_is_gone_count_no_more() -> None:
    """Else a successor, which never saw it, would take the gang for another one."""
    book = GangBook(())

    def member(uid: str, second: int, required: int, *, phase: str = "Running") -> None:
        metadata = {
            "name": uid,
            "namespace": "default",
            "uid": uid,
            "creationTimestamp": f"2026-01-01T00:00:0{second}Z",
        }
        body = {"metadata": metadata, "spec": {"nodeName": "n0", "containers": []}, "status": {"phase": phase}}
        book.observe(msgspec.convert(body, Pod), Gang("default/g", required, required), None)

    member("old", 1, 3)
    member("young", 2, 2)
    member("old", 1, 3)
    assert book.groups["default/g"].gang.required == 2
    member("young", 2, 2, phase="Failed")
    assert book.groups["default/g"].gang.required == 3
    member("younger", 3, 5)
    assert book.groups["default/g"].gang.required == 5
    book.left("younger")
    assert book.groups["default/g"].gang.required == 3
    book.left("old")
    assert not book.groups
