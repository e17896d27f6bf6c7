"""A gang makes room for all of itself or for none, through everything that may come in between."""

from typing import Any

import pytest
from scheduler_steps import bound, budget, end, evicted, gang, no_hold_left, nominated, stamps

from tensorfusion.errors import Conflict, Forbidden
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import EVENTS, GPUS, NODES, POD_DISRUPTION_BUDGETS, PODS
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.gang_book import GangBook
from tensorfusion.scheduler.nominations import Nominations
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling import circumstances
from tensorfusion.testing.api import Call

HIGH = {"priority": 10}


async def full(world: Any, nodes: int = 3, **low: Any) -> list[str]:
    """Nodes of one device, each held by a pod that can be evicted."""
    world.fleet(nodes=nodes)
    for number in range(nodes):
        world.worker(f"low{number}", tflops="100", **low)
    await world.start()
    assert all(world.node_of(f"low{number}") for number in range(nodes))
    return [f"low{number}" for number in range(nodes)]


def stalls(world: Any) -> list[str]:
    return [event["message"] for event in world.api.objects(EVENTS) if event["reason"] == "PreemptionStalled"]


async def test_all_members_are_named_before_anybody_is_evicted_and_start_together(world) -> None:
    lows = await full(world)
    names = gang(world, 3, wishes=HIGH)
    world.api.hold("evict")
    await world.settle()
    assert sorted(nominated(world, name) for name in names) == ["n0", "n1", "n2"]
    assert not any(world.pod(name)["metadata"].get("deletionTimestamp") for name in lows)
    world.api.hold("evict").set()
    await world.settle()
    assert sorted(evicted(world)) == lows
    world.delete("low0")
    world.delete("low1")
    await world.settle(20)
    assert bound(world, names) == []
    world.delete("low2")
    await world.settle(0.5)
    assert bound(world, names) == names
    await world.settle(2)
    assert "together with the rest of gang default/train" in world.events_of("m0")["Nominated"]
    assert world.events_of("low0")["Preempted"].endswith("on node n0")
    no_hold_left(world)


@pytest.mark.parametrize("refused", [["m1"], ["m0", "m1", "m2"]])
async def test_nobody_is_evicted_before_a_refused_name_was_written_too(world, refused) -> None:
    lows = await full(world)
    left, named = list(refused), []

    def admit(call: Call) -> None:
        if call.verb == "patch" and "nominatedNodeName" in call.body.get("status", {}) and call.name in left:
            left.remove(call.name)
            raise Conflict("the object has been modified")
        if call.verb == "evict":
            named.append(sorted(nominated(world, name) for name in names))

    world.api.admission = admit
    names = gang(world, 3, wishes=HIGH)
    await world.settle(0.1)
    assert (left, evicted(world)) == ([], [])
    await world.settle(5)
    assert named == [["n0", "n1", "n2"]] * 3
    assert sorted(evicted(world)) == lows


@pytest.mark.parametrize("gone", [1, 3])
async def test_nobody_is_evicted_for_a_gang_whose_members_are_gone_though_nobody_heard_of_it(world, gone) -> None:
    await full(world)
    world.api.hold("patch")
    names = gang(world, 3, wishes=HIGH)
    await world.settle(0.3)
    assert len(world.service.preemptor.nominations) == 3
    world.api.lag(PODS)
    for name in names[:gone]:
        world.delete(name)
    world.api.hold("patch").set()
    await world.settle(10)
    assert evicted(world) == []
    world.api.catch_up()
    await world.settle()
    assert evicted(world) == []
    no_hold_left(world)


async def test_nobody_is_evicted_unless_the_whole_gang_fits(world) -> None:
    await full(world)
    world.node("n3")
    world.gpu("g3-0", "n3", tflops="100")
    world.worker("important", tflops="100", priority=50)
    await world.settle()
    names = gang(world, 4, wishes=HIGH)
    await world.settle(60)
    assert evicted(world) == []
    assert all(nominated(world, name) == "" for name in names)
    told = explain(world.service, Key("default", "m1"))["preemption"]
    assert told["outcome"] == "evicting every less important pod would not make room"
    no_hold_left(world)


async def test_equals_and_gangs_that_never_preempt_evict_nobody(world) -> None:
    await full(world, priority=10)
    gang(world, 2, wishes=HIGH)
    gang(world, 2, name="never", group="default/never", wishes={"priority": 20, "preemptionPolicy": "Never"})
    await world.settle(30)
    assert evicted(world) == []


async def test_a_budget_counts_for_all_members_together(world) -> None:
    budget(world, "web", 1, app="web")
    await full(world, labels={"app": "web"})
    names = gang(world, 2, wishes=HIGH)
    await world.settle(30)
    assert evicted(world) == []
    patch = {"status": {"disruptionsAllowed": 2}}
    world.api.change(POD_DISRUPTION_BUDGETS, "web", patch, namespace="default", subresource="status")
    await world.settle()
    assert len(evicted(world)) == 2
    end(world)
    await world.settle()
    assert bound(world, names) == names
    no_hold_left(world)


async def test_nobody_else_gets_what_the_victims_leave(world) -> None:
    await full(world)
    names = gang(world, 3, wishes=HIGH)
    await world.settle()
    world.worker("sneaky", priority=9)
    world.worker("equal", priority=10)
    world.delete("low0")
    world.delete("low1")
    await world.settle(20)
    assert bound(world, ["sneaky", "equal"]) == []
    world.delete("low2")
    await world.settle()
    assert bound(world, names) == names
    no_hold_left(world)


@pytest.mark.parametrize("accident", ["member deleted", "member changed", "node lost", "device lost", "gated"])
async def test_whatever_happens_to_one_place_gives_all_of_them_back(world, accident) -> None:
    await full(world)
    names = gang(world, 3, wishes=HIGH)
    await world.settle()
    assert len(world.service.state.nominated) == 3
    where = nominated(world, "m1")
    if accident == "member deleted":
        world.delete("m1")
    elif accident == "member changed":
        world.api.change(PODS, "m1", {"spec": {"nodeSelector": {"zone": "nowhere"}}}, namespace="default")
    elif accident == "gated":
        world.api.change(PODS, "m1", {"spec": {"schedulingGates": [{"name": "wait"}]}}, namespace="default")
    elif accident == "node lost":
        world.api.remove(NODES, where)
    else:
        world.api.remove(GPUS, f"g{where[1:]}-0")
    await world.settle(15)
    assert not world.service.state.nominated
    assert not world.service.preemptor.nominations
    left = [name for name in names if name != "m1" or accident != "member deleted"]
    assert [nominated(world, name) for name in left] == [""] * len(left)
    end(world)
    await world.settle(15)
    assert bound(world, left) == []
    world.check()


async def test_a_more_important_pod_takes_one_place_and_the_gang_gives_up_all(world) -> None:
    await full(world)
    names = gang(world, 3, wishes=HIGH)
    await world.settle()
    world.worker("highest", tflops="100", priority=20)
    await world.settle()
    assert len(evicted(world)) == 3
    assert nominated(world, "highest") != ""
    assert [nominated(world, name) for name in names] == [""] * 3
    end(world)
    await world.settle(15)
    assert world.node_of("highest")
    assert bound(world, names) == []
    world.finish("highest")
    await world.settle(15)
    assert bound(world, names) == names
    no_hold_left(world)


async def test_two_gangs_at_once_evict_for_different_places(world) -> None:
    await full(world, 4)
    first = gang(world, 2, name="a", group="default/a", wishes=HIGH)
    second = gang(world, 2, name="b", group="default/b", wishes=HIGH)
    await world.settle(20)
    assert sorted(evicted(world)) == ["low0", "low1", "low2", "low3"]
    assert len({nominated(world, name) for name in [*first, *second]}) == 4
    end(world)
    await world.settle(15)
    assert bound(world, [*first, *second]) == [*first, *second]
    no_hold_left(world)


async def test_of_two_gangs_that_do_not_both_fit_the_second_evicts_nobody(world) -> None:
    await full(world, 3)
    first = gang(world, 2, name="a", group="default/a", wishes=HIGH)
    second = gang(world, 2, name="b", group="default/b", wishes=HIGH)
    await world.settle(30)
    assert len(evicted(world)) == 2
    end(world)
    await world.settle(30)
    assert bound(world, first) == first
    assert bound(world, second) == []
    assert len(evicted(world)) == 2
    no_hold_left(world)


async def test_a_more_important_gang_takes_the_places_of_another_one(world) -> None:
    await full(world, 2)
    first = gang(world, 2, name="a", group="default/a", wishes=HIGH)
    await world.settle()
    second = gang(world, 2, name="b", group="default/b", wishes={"priority": 20})
    await world.settle()
    assert len(evicted(world)) == 2
    assert [nominated(world, name) for name in first] == ["", ""]
    end(world)
    await world.settle(12)
    assert (bound(world, first), bound(world, second)) == ([], second)
    no_hold_left(world)


async def test_victims_that_do_not_end_are_replaced_once_and_then_nobody_is_evicted_for_long(world) -> None:
    await full(world, 12)
    names = gang(world, 2, wishes=HIGH)
    await world.settle(300)
    assert len(evicted(world)) == 2
    await world.settle(300)
    assert len(evicted(world)) == 4
    assert stalls(world)[0].endswith("do not end: others are looked for")
    await world.settle(2.5 * 3600)
    assert len(evicted(world)) <= 4 + 2 * 4
    assert len(set(evicted(world))) == len(evicted(world))
    assert any("do not end: nobody is evicted for it for 60 minutes" in words for words in stalls(world)), stalls(world)
    end(world)
    await world.settle(20)
    assert bound(world, names) == names
    no_hold_left(world)


async def test_a_single_pod_does_not_evict_one_pod_after_the_other_either(world) -> None:
    await full(world, 12)
    world.worker("high", tflops="100", priority=10)
    await world.settle(1.5 * 3600)
    assert 2 <= len(evicted(world)) <= 5
    assert stalls(world)
    world.delete(evicted(world)[0])
    await world.settle(2)
    assert world.node_of("high")


async def test_a_refused_eviction_is_respected_and_other_victims_are_looked_for(world) -> None:
    await full(world, 3)
    evict = world.api.evict

    async def refusing(namespace: str, name: str, *, uid: str) -> None:
        if name == "low0":
            raise Forbidden("not this one")
        await evict(namespace, name, uid=uid)

    world.api.evict = refusing
    names = gang(world, 2, wishes=HIGH)
    await world.settle(10)
    assert sorted(evicted(world)) == ["low1", "low2"]
    end(world)
    await world.settle()
    assert bound(world, names) == names
    no_hold_left(world)


@pytest.mark.parametrize("ended", [0, 1, 2])
async def test_a_successor_keeps_what_was_promised_and_evicts_nobody_more(world, office, ended) -> None:
    await full(world, 4)
    first = office()
    world.office.leading = False
    await world.start(first)
    names = gang(world, 2, wishes=HIGH)
    await world.settle()
    victims = evicted(world)
    assert len(victims) == 2
    old = world.service
    first.leading = False
    await world.settle()
    assert not old.state.nominated
    for name in victims[:ended]:
        world.delete(name)
    for number in range(3):
        world.worker(f"thief{number}", tflops="100", priority=9)
        world.worker(f"equal{number}", tflops="100", priority=10)
    await world.start(office(epoch=2))
    await world.settle(5)
    assert evicted(world)[:2] == victims
    assert all("low" in name for name in evicted(world))
    end(world)
    await world.settle(15)
    assert bound(world, names) == names
    no_hold_left(world)


async def test_a_promise_to_a_gang_is_looked_at_once_and_one_in_a_step(world, office, monkeypatch) -> None:
    await full(world, 2)
    world.office.leading = False
    await world.settle()
    for name in ("a", "b"):
        for one in gang(world, 6, name=name, group=f"default/{name}", wishes=HIGH):
            patch = {"status": {"nominatedNodeName": "n0"}}
            world.api.change(PODS, one, patch, namespace="default", subresource="status")
    searches: list[int] = []
    in_a_step: list[int] = []
    search, step = circumstances.search_gang, SchedulerService._step

    def counted(*args: Any, **more: Any) -> Any:
        searches.append(len(args[1]))
        return search(*args, **more)

    def stepped(service: SchedulerService) -> bool:
        before = len(searches)
        more = step(service)
        in_a_step.append(len(searches) - before)
        return more

    monkeypatch.setattr(circumstances, "search_gang", counted)
    monkeypatch.setattr(SchedulerService, "_step", stepped)
    await world.start(office(epoch=2))
    await world.settle(2)
    assert searches == [6, 6]
    assert max(in_a_step) == 1
    assert evicted(world) == []
    assert not any(nominated(world, f"{name}{number}") for name in "ab" for number in range(6))
    no_hold_left(world)


async def test_a_gang_that_fits_elsewhere_meanwhile_starts_there(world) -> None:
    await full(world, 2)
    names = gang(world, 2, wishes=HIGH)
    await world.settle()
    for number in (2, 3):
        world.node(f"n{number}")
        world.gpu(f"g{number}-0", f"n{number}", tflops="100")
    await world.settle(12)
    assert {world.node_of(name) for name in names} == {"n2", "n3"}
    no_hold_left(world)


async def test_a_required_rack_is_made_room_in(world) -> None:
    rack = "topology.kubernetes.io/rack"
    world.pool()
    for number in range(4):
        world.node(f"n{number}", **{rack: f"r{number // 2}"})
        world.gpu(f"g{number}-0", f"n{number}", tflops="100")
        world.worker(f"low{number}", tflops="100", priority=(1, 0, 2, 0)[number], nodeSelector={})
    await world.start()
    placed = {world.node_of(f"low{number}"): number for number in range(4)}
    names = gang(world, 2, wishes=HIGH, topology="required")
    await world.settle()
    racks = {tuple(sorted(name for name in evicted(world)))}
    assert racks in (
        {tuple(sorted(f"low{placed[node]}" for node in ("n0", "n1")))},
        {tuple(sorted(f"low{placed[node]}" for node in ("n2", "n3")))},
    )
    end(world)
    await world.settle()
    assert {world.node_of(name) for name in names} in ({"n0", "n1"}, {"n2", "n3"})
    no_hold_left(world)


async def test_gangs_that_nothing_helps_are_searched_for_less_and_less(world, monkeypatch) -> None:
    await full(world, 2)
    searches = []
    real = circumstances.search_gang

    def counted(*args: Any, **more: Any) -> Any:
        searches.append(world.clock.monotonic())
        return real(*args, **more)

    monkeypatch.setattr(circumstances, "search_gang", counted)
    gang(world, 3, wishes=HIGH)
    for _ in range(160):
        world.service.gangs._stirred["default/train"] = None
        await world.settle(1)
    assert 4 <= len(searches) <= 6


async def test_members_beyond_the_required_ones_do_not_wait_for_room(world) -> None:
    await full(world, 3)
    names = gang(world, 3, 2, wishes=HIGH)
    await world.settle()
    assert len(evicted(world)) == 2
    end(world)
    await world.settle(1)
    assert len(bound(world, names)) == 2
    await world.settle(5)
    assert len(evicted(world)) == 3, "the third makes room singly once the gang runs"
    end(world)
    await world.settle(5)
    assert bound(world, names) == names
    no_hold_left(world)


async def test_a_gang_that_lacks_members_by_now_gives_its_places_back(world) -> None:
    await full(world, 4)
    names = gang(world, 2, wishes=HIGH)
    await world.settle(2)
    assert len(evicted(world)) == 2
    world.worker("youngest", tflops="100", priority=10, annotations=stamps(4))
    await world.settle(2)
    end(world)
    world.worker("other", tflops="100", priority=5)
    await world.settle(60)
    assert world.node_of("other")
    assert bound(world, names) == []
    assert not any(nominated(world, name) for name in names)
    no_hold_left(world)


async def test_a_pod_ranked_between_members_takes_no_place_of_the_gang(world) -> None:
    await full(world, 2)
    world.worker("lead", tflops="100", priority=10, annotations=stamps(2))
    world.worker("minor", tflops="100", priority=5, annotations=stamps(2))
    await world.settle(2)
    assert len(evicted(world)) == 2
    world.worker("seven", tflops="100", priority=7)
    await world.settle(5)
    assert nominated(world, "seven") == ""
    end(world)
    await world.settle(5)
    assert bound(world, ["lead", "minor", "seven"]) == ["lead", "minor"]
    no_hold_left(world)


async def test_the_rest_after_a_stall_is_kept_by_a_gang_with_members_to_spare(world) -> None:
    await full(world, 16)
    for name in ("c", "b", "a"):
        world.worker(name, tflops="100", priority=10, annotations=stamps(2, 3))
    await world.settle(2700)
    assert len(evicted(world)) == 6
    end(world)
    await world.settle(10)
    assert len(bound(world, ["a", "b", "c"])) == 3, "no rest is left when the gang runs"
    no_hold_left(world)


async def test_a_member_that_joins_after_a_stall_and_speaks_for_its_gang_rests_with_it(world) -> None:
    await full(world, 16)
    for name in ("b", "a"):
        world.worker(name, tflops="100", priority=10, annotations=stamps(2, 3))
    while not any("nobody is evicted" in words for words in stalls(world)):
        await world.settle(60)
        assert len(evicted(world)) <= 4
    before = evicted(world)
    world.worker("chief", tflops="100", priority=20, annotations=stamps(2, 3))
    await world.settle(60)
    assert evicted(world) == before
    end(world)
    await world.settle(10)
    assert len(bound(world, ["a", "b", "chief"])) == 3
    no_hold_left(world)


async def test_what_a_gang_has_in_common_is_asked_once_in_a_review(world, monkeypatch) -> None:
    await full(world)
    gang(world, 3, wishes=HIGH)
    await world.settle(2)
    preemptor = world.service.preemptor
    assert len(preemptor.nominations) == 3
    assert len({id(one.awaited) for one in preemptor.nominations.values()}) == 1
    asked: list[str] = []
    for owner, name in ((Nominations, "waits"), (GangBook, "is_satisfied")):
        real = getattr(owner, name)

        def counted(*args: Any, real: Any = real, name: str = name) -> Any:
            asked.append(name)
            return real(*args)

        monkeypatch.setattr(owner, name, counted)
    preemptor._review()
    assert sorted(asked) == ["is_satisfied", "waits"]
