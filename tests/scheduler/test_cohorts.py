"""What is lent in a cohort, from the pod that borrows to the pod that gets it back, through the whole scheduler."""

from typing import Any

import pytest
from scheduler_steps import budget, evicted, no_hold_left, nominated

from tensorfusion.errors import TooManyRequests
from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPU_COHORTS, GPU_RESOURCE_QUOTAS, PODS
from tensorfusion.scheduler.advice import Advisor
from tensorfusion.scheduler.allocation import allocation
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.simulate import Question, Simulator
from tensorfusion.telemetry.metrics import REGISTRY


def member(world: Any, namespace: str, gpus: int, **spec: Any) -> None:
    world.quota(namespace, {"total": {"maxGPUCount": gpus}, "cohort": "both", **spec})


def cohort(world: Any, name: str = "both", **spec: Any) -> None:
    world.api.seed(GPU_COHORTS, {"metadata": {"name": name}, "spec": spec})


async def lent(world: Any, *, borrowed: int = 2, **spec: Any) -> None:
    """Four devices, two of each namespace; ``default`` holds its own and so many of ``other``'s."""
    world.fleet(devices=4, vram="8Gi")
    if spec:
        cohort(world, **spec)
    member(world, "default", 2)
    member(world, "other", 2)
    for number in range(2 + borrowed):
        world.worker(f"w{number}", vram="8Gi")
    await world.start()
    assert [world.node_of(f"w{number}") for number in range(2 + borrowed)] == ["n0"] * (2 + borrowed)


def reclaimed() -> float:
    return REGISTRY.get_sample_value("tensorfusion_scheduler_reclaimed_pods_total", {"cohort": "both"}) or 0.0


async def test_what_was_borrowed_is_reclaimed_and_told_to_everybody(world) -> None:
    before = reclaimed()
    await lent(world, reclaim={})
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle()
    (victim,) = evicted(world)
    assert nominated(world, "mine", namespace="other") == "n0"
    (target,) = [one for one in world.pod(victim)["status"]["conditions"] if one["type"] == "DisruptionTarget"]
    assert "reclaiming what its namespace has borrowed" in target["message"]
    theirs = str(world.pod(victim)) + str(explain(world.service, Key("default", victim)))
    assert "other" not in theirs.replace("another", "").replace("others", ""), theirs
    world.delete(victim)
    await world.settle(2)
    assert world.node_of("mine", namespace="other") == "n0"
    told = world.events_of(victim)["Reclaimed"]
    assert "more than its own quota: by reclaim policy Any of cohort both a member that stays within its own" in told
    words = str((world.pod("mine", namespace="other"), explain(world.service, Key("other", "mine"))))
    assert victim not in words, "a namespace is told nothing about the pods of another one"
    assert reclaimed() == before + 1
    no_hold_left(world)
    body = await allocation(world.service)
    assert [(one["name"], one["borrowed"]["gpuCount"]) for one in body["cohorts"]["both"]["members"]] == [
        ("default", 1),
        ("other", 0),
    ]


async def test_the_evicted_pod_does_not_take_it_back(world) -> None:
    await lent(world, reclaim={})
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle()
    (victim,) = evicted(world)
    world.delete(victim)
    world.worker("again", vram="8Gi", priority=100)
    await world.settle(400)
    assert world.node_of("mine", namespace="other") == "n0"
    assert (world.node_of("again"), len(evicted(world))) == ("", 2)  # of its own namespace the less important may go


async def test_without_reclaim_a_pod_waits_and_says_so_until_something_ends_anywhere_in_the_tree(world) -> None:
    await lent(world)
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(5)
    assert evicted(world) == []
    told = explain(world.service, Key("other", "mine"))
    assert "it waits until that ends, as no reclaim is asked for" in str(told)
    world.delete("w0")
    await world.settle(2)
    assert world.node_of("mine", namespace="other") == "n0"


async def test_a_policy_that_comes_later_helps_who_waits_already(world) -> None:
    await lent(world)
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(5)
    cohort(world, reclaim={"policy": "LowerPriority"})
    await world.settle(12)
    assert evicted(world) == []
    world.api.remove(GPU_COHORTS, "both")
    cohort(world, reclaim={"policy": "Any"})
    await world.settle(12)
    assert len(evicted(world)) == 1


async def test_cohorts_change_under_running_pods(world) -> None:
    await lent(world, reclaim={})
    world.api.remove(GPU_RESOURCE_QUOTAS, "quota", namespace="other")  # its own is gone: default holds too much
    world.worker("more", vram="8Gi")
    await world.settle(5)
    assert (world.node_of("more"), evicted(world)) == ("", [])
    world.delete("w0")
    await world.settle(2)
    assert world.node_of("more") == ""
    world.api.remove(GPU_RESOURCE_QUOTAS, "quota", namespace="default")
    world.quota("default", {"total": {"maxGPUCount": 4}})
    await world.settle(12)
    assert world.node_of("more") == "n0"
    world.check()


async def test_a_parent_lets_cohorts_lend_each_other(world) -> None:
    world.fleet(devices=4, vram="8Gi")
    cohort(world, parent="all")
    cohort(world, "apart", parent="all")
    member(world, "default", 1)
    world.quota("other", {"total": {"maxGPUCount": 3}, "cohort": "apart"})
    for number in range(2):
        world.worker(f"w{number}", vram="8Gi")
    await world.start()
    assert [world.node_of("w0"), world.node_of("w1")] == ["n0", ""]
    cohort(world, "all")
    await world.settle(12)
    assert world.node_of("w1") == "n0"


@pytest.mark.parametrize(("allowed", "gone"), [(0, 0), (4, 2)])
async def test_a_question_about_a_gang_knows_the_budgets_of_more_important_pods(world, allowed: int, gone: int) -> None:
    world.fleet(devices=4, vram="8Gi")
    cohort(world, reclaim={})
    member(world, "default", 2)
    member(world, "other", 2)
    for number in range(4):
        world.worker(f"w{number}", vram="8Gi", priority=10, labels={"app": "web"})
    budget(world, "keep", allowed, app="web")
    await world.start()
    asked = world.worker("asked", vram="8Gi", namespace="other", schedulingGates=[{"name": "not-yet"}])
    answer = await Simulator(world.service).answer({**asked, "kind": "Pod"}, Question(gang=2))
    assert (answer.get("preemption") or {}).get("evicted", 0) == gone, answer


async def test_a_pod_that_may_not_be_evicted_does_not_count_as_gone(world) -> None:
    await lent(world, borrowed=1, reclaim={})
    world.worker("theirs", vram="8Gi", namespace="other")
    await world.settle(2)
    real, asked = world.service.preemptor._evictions._api.evict, []

    async def refuse_the_first(namespace: str, name: str, **more: Any) -> Any:
        asked.append(name)
        if name == asked[0]:
            raise TooManyRequests("its budget does not let it go")
        return await real(namespace, name, **more)

    world.service.preemptor._evictions._api.evict = refuse_the_first
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(15)
    assert len(set(asked)) == 2, asked
    world.delete(asked[-1])
    await world.settle(2)
    assert world.node_of("mine", namespace="other") == "n0"
    await world.settle(2)
    assert not world.service.state.awaited


@pytest.mark.parametrize("ended", [True, False])
async def test_a_more_important_pod_that_would_borrow_takes_no_place_that_was_got_back(world, ended: bool) -> None:
    world.fleet(devices=4, vram="8Gi")
    cohort(world, reclaim={})
    member(world, "default", 2)
    member(world, "other", 2)
    for number in range(4):
        world.worker(f"w{number}", vram="8Gi", priority=100)
    await world.start()
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(2)
    (victim,) = evicted(world)
    if ended:
        world.delete(victim)
    world.worker("again", vram="8Gi", priority=100)
    await world.settle(5)
    if not ended:
        world.delete(victim)
    await world.settle(400)
    assert world.node_of("mine", namespace="other") == "n0"
    assert (world.node_of("again"), evicted(world)) == ("", [victim])


async def test_a_policy_that_changes_helps_at_once_who_was_searched_for_in_vain_again_and_again(world) -> None:
    await lent(world, reclaim={"policy": "LowerPriority"})
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(5)
    for weight in range(1, 6):  # each asks again, and rests for longer
        cohort(world, f"apart{weight}", fairWeight=weight)
        await world.settle(12)
    assert evicted(world) == []
    world.api.remove(GPU_COHORTS, "both")
    cohort(world, reclaim={"policy": "Any"})
    await world.settle(5)
    assert len(evicted(world)) == 1


async def test_who_may_not_be_asked_is_not_asked_again_and_again(world) -> None:
    world.fleet(devices=4, vram="8Gi")
    cohort(world, "all", reclaim={})
    cohort(world, parent="all")
    member(world, "default", 2)
    member(world, "other", 2)
    for number in range(4):
        world.worker(f"w{number}", vram="8Gi", priority=5)
    await world.start()
    world.worker("mine", vram="8Gi", namespace="other", priority=1)
    await world.settle(5)
    rooms, asked = world.service.preemptor.rooms, []
    real = rooms.for_pod
    rooms.for_pod = lambda facts: (asked.append(facts.name), real(facts))[1]
    for weight in range(1, 7):
        cohort(world, f"apart{weight}", fairWeight=weight)
        await world.settle(12)
    assert len(asked) <= 3
    assert "as no reclaim is asked for between them" in str(explain(world.service, Key("other", "mine")))


@pytest.mark.parametrize("reclaim", [None, {}])
async def test_a_lender_does_not_wait_until_pods_have_left_for_others_of_their_own_namespace(world, reclaim) -> None:
    world.fleet(nodes=2, devices=2, vram="8Gi")
    if reclaim is not None:
        cohort(world, reclaim=reclaim)
    member(world, "default", 2)
    member(world, "other", 2)
    for number in range(2):
        world.worker(f"w{number}", vram="8Gi", nodeSelector={keys.HOSTNAME_LABEL: "n0"})
    await world.start()
    world.worker("more", vram="8Gi", priority=10, nodeSelector={keys.HOSTNAME_LABEL: "n0"})
    await world.settle(2)
    (victim,) = evicted(world)
    assert nominated(world, "more") == "n0"
    for number in range(2):
        world.worker(f"theirs{number}", vram="8Gi", namespace="other")
    await world.settle(2)
    assert [world.node_of(f"theirs{number}", namespace="other") for number in range(2)] == ["n1", "n1"]
    body = await allocation(world.service)
    assert [one["borrowed"]["gpuCount"] for one in body["cohorts"]["both"]["members"]] == [0, 0]
    world.delete(victim)
    await world.settle(2)
    assert (world.node_of("more"), evicted(world)) == ("n0", [victim])
    no_hold_left(world)
    world.check()


async def test_a_successor_keeps_what_was_got_back_from_those_who_would_borrow_it(world) -> None:
    world.fleet(devices=4, vram="8Gi")
    cohort(world, reclaim={})
    member(world, "default", 2)
    member(world, "other", 2)
    for number in range(4):
        world.worker(f"w{number}", vram="8Gi", priority=100)
    await world.start()
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(2)
    (victim,) = evicted(world)
    await world.stop()
    await world.start()
    (kept,) = world.service.preemptor.nominations.values()
    assert kept.owed == {world.pod(victim)["metadata"]["uid"]}
    world.worker("again", vram="8Gi", priority=100)
    await world.settle(5)
    world.delete(victim)
    await world.settle(400)
    assert world.node_of("mine", namespace="other") == "n0"
    assert (world.node_of("again"), evicted(world)) == ("", [victim])


@pytest.mark.parametrize("members", [0, 1])
async def test_a_question_shows_no_displacement_that_the_scheduler_would_refuse(world, members: int) -> None:
    await lent(world, reclaim={})
    world.worker("mine", vram="8Gi", namespace="other")
    await world.settle(2)
    (victim,) = evicted(world)
    budget(world, "keep", 0, app="web")
    for name in {"w0", "w1", "w2", "w3"} - {victim}:  # nobody else may be asked
        world.api.change(PODS, name, {"metadata": {"labels": {"app": "web"}}}, namespace="default")
    again = world.worker("again", vram="8Gi", priority=100)
    await world.settle(2)
    answer = await Simulator(world.service).answer({**again, "kind": "Pod"}, Question(gang=members))
    assert answer["preemption"]["possible"] is False, answer["preemption"]
    advised = await Advisor(world.service, lambda _space, _pool: True).advise(
        world.service.pods.get(Key("default", "again")),
        world.service.book.facts(world.service.pods.get(Key("default", "again"))),
    )
    assert "priority" not in str(advised["help"]), advised


async def test_a_question_leaves_alone_whom_the_scheduler_leaves_alone(world) -> None:
    await lent(world, borrowed=1, reclaim={})
    world.worker("theirs", vram="8Gi", namespace="other")
    await world.settle(2)
    world.service.preemptor.rooms.spare([world.pod(f"w{number}")["metadata"]["uid"] for number in range(3)], 60.0)
    mine = world.worker("mine", vram="8Gi", namespace="other", schedulingGates=[{"name": "not-yet"}])
    for gang in (0, 1):
        answer = await Simulator(world.service).answer({**mine, "kind": "Pod"}, Question(gang=gang))
        assert answer["preemption"]["possible"] is False, answer["preemption"]
