"""A preemption from the pod that fits nowhere to the pod that runs, and everything that may come in between."""

from typing import Any

import pytest
from scheduler_steps import budget, end, evicted, no_hold_left, nominated, stamps

from tensorfusion.errors import Conflict, ServerError
from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPUS, NODES, POD_DISRUPTION_BUDGETS, PODS
from tensorfusion.scheduler import search_line
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.nominations import LONGEST_NOMINATION
from tensorfusion.scheduling import circumstances


def story(world: Any, name: str) -> dict[str, Any]:
    found = explain(world.service, Key("default", name))["preemption"]
    assert isinstance(found, dict)
    return found


async def full(world: Any, **low: Any) -> None:
    """One device, and a pod on it that can be evicted."""
    world.fleet(vram="8Gi")
    world.worker("low", vram="8Gi", **low)
    await world.start()
    assert world.node_of("low") == "n0"


async def test_a_less_important_pod_is_evicted_and_its_place_is_the_important_ones(world) -> None:
    await full(world)
    high = world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert evicted(world) == ["low"]
    assert nominated(world, "high") == "n0"
    low = world.pod("low")
    assert low["metadata"]["deletionTimestamp"]
    (target,) = [c for c in low["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "PreemptionByScheduler")
    assert "preempting to accommodate a higher priority pod" in target["message"]
    assert world.node_of("high") == ""
    world.check()
    world.delete("low")
    await world.settle()
    assert world.node_of("high") == "n0"
    await world.settle(2)
    assert world.events_of("low")["Preempted"] == f"Preempted by pod {high['metadata']['uid']} on node n0"
    assert "default/low" in world.events_of("high")["Nominated"]
    no_hold_left(world)


async def test_nobody_is_evicted_before_the_nominated_pod_says_where_it_goes(world) -> None:
    await full(world)
    world.api.fail("patch", PODS, error=Conflict("the object has been modified; please apply your changes"), times=3)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(0.1)
    assert evicted(world) == []
    await world.settle(5)
    assert (evicted(world), nominated(world, "high")) == (["low"], "n0")


async def test_an_eviction_that_met_another_write_is_tried_again(world) -> None:
    await full(world)
    world.api.fail("evict", error=Conflict("the object has been modified; please apply your changes"), times=2)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(5)
    assert evicted(world) == ["low"] * 3
    assert world.pod("low")["metadata"]["deletionTimestamp"]


async def test_the_nominated_place_is_bound_at_once_when_it_is_free(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.delete("low")
    await world.settle(0.1)
    assert world.node_of("high") == "n0"


async def test_explain_tells_who_was_considered_and_who_has_to_go(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    told = story(world, "high")
    assert (told["considered"], told["triedOut"], told["victims"]) == (1, ["default/low"], ["default/low"])
    assert (told["node"], told["outcome"]) == ("n0", "nominated")
    world.worker("equal", vram="8Gi")
    await world.settle()
    assert "preemption" not in explain(world.service, Key("default", "equal"))


async def test_nobody_else_gets_what_the_victim_leaves(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.worker("sneaky", vram="1Gi", priority=9)
    world.worker("equal", vram="1Gi", priority=10)
    await world.settle()
    world.api.hold("bind")
    world.delete("low")
    await world.settle(20)
    assert (world.node_of("sneaky"), world.node_of("equal")) == ("", "")
    world.api.hold("bind").set()
    await world.settle(20)
    assert world.node_of("high") == "n0"
    no_hold_left(world)


async def test_a_more_important_pod_takes_the_place_that_is_kept(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.worker("highest", vram="8Gi", priority=20)
    await world.settle()
    assert evicted(world) == ["low"]
    assert (nominated(world, "high"), nominated(world, "highest")) == ("", "n0")
    world.delete("low")
    await world.settle(20)
    assert (world.node_of("highest"), world.node_of("high")) == ("n0", "")
    no_hold_left(world)


async def test_a_nominated_pod_is_bound_elsewhere_if_that_is_free_earlier(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.node("n1")
    world.gpu("g1-0", "n1", vram="8Gi")
    await world.settle(5)
    assert world.node_of("high") == "n1"
    no_hold_left(world)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({"priority": 10}, {"priority": 10}),
        ({}, {"priority": 10, "preemptionPolicy": "Never"}),
        ({"annotations": {keys.EVICTION_PROTECTION: "10m"}}, {"priority": 10}),
        ({"namespace": "other"}, {"priority": 10}),
    ],
)
async def test_who_must_not_be_evicted_is_not(world, low, high) -> None:
    world.fleet(vram="8Gi")
    world.worker("low", vram="8Gi", **low)
    await world.start()
    world.worker("high", vram="8Gi", **high)
    await world.settle(30)
    assert evicted(world) == []
    assert nominated(world, "high") == ""


async def test_quality_of_service_decides_between_equal_priorities(world) -> None:
    await full(world, annotations={keys.QOS: "low"})
    world.worker("medium", vram="8Gi")
    await world.settle()
    assert evicted(world) == ["low"]


async def test_the_end_of_the_protection_is_not_missed(world) -> None:
    await full(world, annotations={keys.EVICTION_PROTECTION: "2m"})
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(100)
    assert evicted(world) == []
    assert "protected" in story(world, "high")["outcome"]
    await world.settle(30)
    assert evicted(world) == ["low"]


async def test_protection_that_is_given_to_a_running_pod_counts(world) -> None:
    await full(world)
    world.api.change(PODS, "low", {"metadata": {"annotations": {keys.EVICTION_PROTECTION: "10h"}}}, namespace="default")
    await world.settle()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(20)
    assert evicted(world) == []


async def test_protection_that_is_taken_from_a_running_pod_is_not_waited_for(world) -> None:
    await full(world, annotations={keys.EVICTION_PROTECTION: "10h"})
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(20)
    assert evicted(world) == []
    world.api.change(PODS, "low", {"metadata": {"annotations": {keys.EVICTION_PROTECTION: None}}}, namespace="default")
    await world.settle(2)
    assert evicted(world) == ["low"]


async def test_pods_of_other_namespaces_go_where_that_is_configured_and_stay_unnamed(world) -> None:
    world.cluster_wide = True
    world.fleet(vram="8Gi")
    world.worker("low", vram="8Gi", namespace="other")
    await world.start()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert evicted(world) == ["low"]
    assert story(world, "high")["victims"] == ["a pod of another namespace"]


async def test_a_budget_that_allows_nothing_keeps_its_pods(world) -> None:
    budget(world, "web", 0, app="web")
    await full(world, labels={"app": "web"})
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(30)
    assert evicted(world) == []
    told = story(world, "high")
    assert (told["keptByBudgets"], told["triedOut"]) == (["default/web"], ["default/low"])
    assert "budgets" in told["outcome"]
    no_hold_left(world)
    patch = {"status": {"disruptionsAllowed": 1}}
    world.api.change(POD_DISRUPTION_BUDGETS, "web", patch, namespace="default", subresource="status")
    await world.settle()
    assert evicted(world) == ["low"]


async def test_a_refused_eviction_is_respected_and_another_victim_is_looked_for(world) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.worker("guarded", vram="8Gi", labels={"app": "web"})
    world.worker("other", vram="8Gi", priority=1)
    await world.start()
    budget(world, "web", 1, app="web")
    await world.settle()
    world.api.lag(POD_DISRUPTION_BUDGETS)
    patch = {"status": {"disruptionsAllowed": 0}}
    world.api.change(POD_DISRUPTION_BUDGETS, "web", patch, namespace="default", subresource="status")
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert evicted(world) == ["guarded", "other"]
    assert "deletionTimestamp" not in world.pod("guarded")["metadata"]
    world.delete("other")
    await world.settle()
    assert world.node_of("high") == world.pod("high")["status"]["nominatedNodeName"]
    no_hold_left(world)


async def test_pods_that_end_anyway_are_waited_for_and_nobody_is_evicted(world) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.worker("low", vram="8Gi")
    world.worker("going", vram="8Gi", priority=50)
    await world.start()
    where = world.node_of("going")
    await world.api.delete(PODS, "going", namespace="default")
    await world.settle()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert evicted(world) == []
    assert nominated(world, "high") == where
    world.delete("going")
    await world.settle()
    assert world.node_of("high") == where


async def test_the_hold_goes_with_a_preemptor_that_is_deleted(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.delete("high")
    await world.settle()
    no_hold_left(world)
    world.worker("next", vram="8Gi")
    world.delete("low")
    await world.settle(3)
    assert world.node_of("next") == "n0"


async def test_a_changed_preemptor_is_decided_anew(world) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.api.change(PODS, "high", {"spec": {"nodeSelector": {"zone": "nowhere"}}}, namespace="default")
    await world.settle(5)
    no_hold_left(world)
    assert nominated(world, "high") == ""


@pytest.mark.parametrize("lost", ["node", "device"])
async def test_a_lost_place_is_given_up(world, lost) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    if lost == "node":
        world.api.remove(NODES, "n0")
    else:
        world.api.remove(GPUS, "g0-0")
    await world.settle(5)
    assert not world.service.state.nominated
    assert nominated(world, "high") == ""


async def test_victims_that_do_not_end_are_not_counted_on_any_more(world) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.worker("stuck", vram="8Gi")
    world.worker("other", vram="8Gi", priority=1)
    await world.start()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(LONGEST_NOMINATION - 10)
    assert evicted(world) == ["stuck"]
    await world.settle(200)
    assert evicted(world) == ["stuck", "other"]
    world.delete("other")
    await world.settle(2)
    assert world.node_of("high")
    world.check()


async def test_a_successor_goes_on_with_what_is_ending_and_evicts_nobody_more(world, office) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.worker("low", vram="8Gi")
    world.worker("also", vram="8Gi")
    first = office()
    await world.start(first)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert len(evicted(world)) == 1
    old = world.service
    first.leading = False
    await world.settle()
    assert not old.state.nominated
    await world.start(office(epoch=2))
    await world.settle(5)
    assert len(evicted(world)) == 1
    assert set(world.service.preemptor.nominations) == {world.pod("high")["metadata"]["uid"]}
    world.delete(evicted(world)[0])
    await world.settle(2)
    assert world.node_of("high") == nominated(world, "high")
    no_hold_left(world)


async def test_a_leader_that_is_elected_again_looks_at_its_nominations_anew(world) -> None:
    await full(world)
    world.api.fail("evict", PODS, error=ServerError("broken"))
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(0.1)
    world.office.epoch += 1
    await world.settle(20)
    assert evicted(world) == ["low", "low"]
    world.delete("low")
    await world.settle()
    assert world.node_of("high") == "n0"
    no_hold_left(world)


@pytest.mark.parametrize("epochs", [0, 1])
async def test_a_leader_that_regains_office_keeps_its_promises(world, epochs) -> None:
    await full(world)
    world.worker("never", tflops="100", priority=10, preemptionPolicy="Never")
    await world.settle(2)
    world.worker("high", tflops="100", priority=10)
    await world.settle(2)
    assert nominated(world, "high") == "n0"
    world.office.leading = False
    await world.settle(2)
    end(world)
    await world.settle(2)
    world.office.epoch += epochs
    world.office.leading = True
    await world.settle(5)
    assert world.node_of("high")
    assert world.node_of("never") == ""
    no_hold_left(world)


async def test_a_leader_that_regains_office_looks_for_those_that_waited(world) -> None:
    world.fleet(nodes=2)
    world.worker("low0", tflops="100")
    protected = {f"{keys.DOMAIN}/eviction-protection": "60s"}
    world.worker("low1", tflops="100", namespace="other", annotations=protected)
    await world.start()
    world.worker("high0", tflops="100", priority=10)
    world.worker("high1", tflops="100", priority=10, namespace="other")
    await world.settle(5)
    assert evicted(world) == ["low0"]
    world.office.leading = False
    await world.settle(2)
    world.office.leading = True
    await world.settle(70)
    assert sorted(evicted(world)) == ["low0", "low1"]


async def test_a_successor_takes_away_a_nomination_that_came_to_nothing(world) -> None:
    world.fleet(vram="8Gi")
    world.worker("important", vram="8Gi", priority=50)
    await world.start()
    world.worker("high", vram="8Gi", priority=10)
    patch = {"status": {"nominatedNodeName": "n0"}}
    world.api.change(PODS, "high", patch, namespace="default", subresource="status")
    await world.settle(12)
    assert nominated(world, "high") == ""


async def test_broken_calls_are_repeated_and_nobody_is_evicted_twice(world) -> None:
    await full(world)
    world.api.fail("evict", PODS, error=ServerError("broken"), times=2)
    world.api.fail("evict", PODS, reply_lost=True)
    world.api.fail("patch", PODS, times=2)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(10)
    assert world.pod("low")["metadata"]["deletionTimestamp"]
    assert nominated(world, "high") == "n0"
    world.delete("low")
    await world.settle(1)
    assert world.node_of("high") == "n0"


async def test_another_pod_of_the_victims_name_is_left_alone(world) -> None:
    await full(world)
    world.api.hold("evict")
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.api.lag(PODS)
    world.delete("low")
    world.worker("low", vram="1Gi", priority=99)
    world.api.hold("evict").set()
    await world.settle()
    assert "deletionTimestamp" not in world.pod("low")["metadata"]
    world.api.catch_up()
    await world.settle(5)
    world.check()


async def test_a_replica_that_does_not_lead_evicts_nobody(world, office) -> None:
    await full(world)
    world.api.hold("patch")
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    world.office.leading = False
    world.api.hold("patch").set()
    await world.settle(5)
    assert evicted(world) == []
    assert not world.service.state.nominated


async def test_a_pod_over_its_quota_makes_room_in_its_own_namespace(world) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.quota("default", {"total": {"requests": {"vram": "8Gi"}}})
    world.worker("low", vram="6Gi")
    await world.start()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert evicted(world) == ["low"]
    world.delete("low")
    await world.settle()
    assert world.node_of("high")
    no_hold_left(world)


async def test_a_plain_pod_makes_room_for_its_cpu(world) -> None:
    world.node("cpu", cpu="2")
    world.plain("low", cpu="2")
    await world.start()
    world.plain("high", cpu="1", priority=10)
    await world.settle()
    assert evicted(world) == ["low"]
    world.delete("low")
    await world.settle()
    assert world.node_of("high") == "cpu"


@pytest.fixture
def searched(world, monkeypatch) -> list[tuple[float, str]]:
    """When a search for victims began, and for which pod."""
    searches = []
    real = circumstances.search

    def counted(state: Any, pod: Any, failure: Any, **more: Any) -> Any:
        searches.append((world.clock.monotonic(), pod.name))
        return real(state, pod, failure, **more)

    monkeypatch.setattr(circumstances, "search", counted)
    return searches


async def wake_everybody(world: Any, seconds: float, *, every: float = 1) -> None:
    """Time goes by in which something seems to help every pod again and again."""
    until = world.clock.monotonic() + seconds
    while world.clock.monotonic() < until:
        world.service.book.queue.wake(lambda _: True, now=world.clock.monotonic())
        await world.settle(every)


async def test_a_pod_that_nothing_helps_is_searched_for_less_and_less(world, searched) -> None:
    await full(world)
    world.worker("giant", vram="9Gi", priority=10)
    await wake_everybody(world, 160)
    assert 4 <= len(searched) <= 6


async def test_many_pods_that_nothing_helps_do_not_keep_others_from_being_helped(world, monkeypatch) -> None:
    monkeypatch.setattr(search_line, "SEARCHES_A_SECOND", 5.0)
    await full(world)
    for number in range(100):
        world.worker(f"giant-{number}", vram="9Gi", priority=10)
    await world.settle(3)
    world.worker("small", vram="8Gi", priority=5)
    await wake_everybody(world, 120, every=12)
    assert evicted(world) == ["low"]
    assert len(world.service.preemptor.line) <= 101


async def test_of_equally_important_pods_those_of_each_namespace_are_searched_for_in_turn(
    world, monkeypatch, searched
) -> None:
    monkeypatch.setattr(search_line, "SEARCHES_A_SECOND", 1.0)
    await full(world)
    for number in range(20):
        world.worker(f"giant-{number}", vram="9Gi", priority=10)
    for number in range(2):
        world.worker(f"other-{number}", vram="9Gi", priority=10, namespace="other")
    await world.settle(10)
    assert {"other-0", "other-1"} <= {name for _, name in searched[:5]}


async def test_hopeless_pods_are_searched_for_at_a_bounded_rate(world, monkeypatch, searched) -> None:
    monkeypatch.setattr(search_line, "SEARCHES_A_SECOND", 10.0)
    await full(world)
    began = world.clock.monotonic()
    for number in range(60):
        world.worker(f"giant-{number}", vram="9Gi", priority=10)
    world.worker("small", tflops="1", vram="8Gi", priority=5)
    await world.settle(2)
    assert 10 <= len([at for at, _ in searched if at - began <= 1.0]) <= 20 + 2
    await world.settle(8)
    assert evicted(world) == ["low"]


async def test_nobody_is_evicted_for_a_pod_that_waits_for_an_older_gang(world) -> None:
    world.fleet(nodes=2)
    world.worker("low", tflops="100", labels={"app": "web"})
    world.worker("older", tflops="100", priority=50)
    budget(world, "web", 0, app="web")
    await world.start()
    for number in range(2):
        world.worker(f"m{number}", tflops="100", annotations=stamps(2), priority=10)
    await world.settle(290)
    world.worker("young", tflops="100", priority=5)
    await world.settle(320)
    assert world.reason_of("young").startswith("held for gang")
    patch = {"status": {"disruptionsAllowed": 1}}
    world.api.change(POD_DISRUPTION_BUDGETS, "web", patch, namespace="default", subresource="status")
    await world.settle(5)
    assert evicted(world) == []


async def test_a_victim_that_the_server_fails_to_evict_again_and_again_is_left_alone(world) -> None:
    world.fleet(nodes=2, vram="8Gi")
    world.worker("broken", vram="8Gi")
    world.worker("other", vram="8Gi", priority=1)
    await world.start()
    evict = world.api.evict
    tries = []

    async def failing(namespace: str, name: str, *, uid: str) -> None:
        if name == "broken":
            tries.append(name)
            raise ServerError("This pod has more than one PodDisruptionBudget")
        await evict(namespace, name, uid=uid)

    world.api.evict = failing
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(20)
    assert evicted(world) == ["other"]
    assert len(tries) == 5


async def test_victims_with_a_long_grace_period_are_waited_for(world) -> None:
    world.fleet(nodes=3, vram="8Gi")
    for number in range(3):
        world.worker(f"low{number}", vram="8Gi", terminationGracePeriodSeconds=3600)
    await world.start()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(3500)
    assert len(evicted(world)) == 1
    await world.settle(800)
    assert len(evicted(world)) == 2


async def test_a_search_that_fails_unexpectedly_stops_nobody_else(world, monkeypatch) -> None:
    await full(world)
    real = circumstances.search
    asked = []

    def faulty(state: Any, pod: Any, failure: Any, **more: Any) -> Any:
        asked.append(pod.name)
        if pod.name == "odd":
            raise KeyError("odd")
        return real(state, pod, failure, **more)

    monkeypatch.setattr(circumstances, "search", faulty)
    world.worker("odd", vram="8Gi", priority=20)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(5)
    assert evicted(world) == ["low"]
    assert asked == ["odd", "high"]
    world.delete("low")
    await world.settle(2)
    assert world.node_of("high") == "n0"
    no_hold_left(world)


async def test_budgets_of_other_namespaces_are_counted_and_not_named(world) -> None:
    world.cluster_wide = True
    world.fleet(vram="8Gi")
    world.worker("low", vram="8Gi", namespace="other", labels={"app": "web"})
    body = {"spec": {"selector": {"matchLabels": {"app": "web"}}}, "status": {"disruptionsAllowed": 0}}
    world.api.seed(POD_DISRUPTION_BUDGETS, {"metadata": {"name": "secret"}, **body}, namespace="other")
    await world.start()
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert story(world, "high")["keptByBudgets"] == ["1 of other namespaces"]


@pytest.mark.parametrize("wish", ["other pool", "over quota", "other node"])
async def test_what_is_kept_for_others_is_left_alone_where_it_is_not_in_the_way(world, monkeypatch, wish) -> None:
    world.pool("second")
    world.node("n1", zone="b")
    world.gpu("g1-0", "n1", vram="8Gi", pool="second")
    world.quota("other", {"total": {"requests": {"vram": "1Gi"}}})
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert nominated(world, "high") == "n0"
    if wish == "other pool":
        made = world.worker("higher", vram="9Gi", priority=20, annotations={keys.GPU_POOL: "second"})
    elif wish == "over quota":
        made = world.worker("higher", vram="2Gi", priority=20, namespace="other")
    else:
        made = world.plain("higher", cpu="500", priority=20, nodeSelector={"zone": "b"})
    released: list[str] = []
    release = world.service.state.release
    monkeypatch.setattr(world.service.state, "release", lambda uid: released.append(uid) or release(uid))
    await world.settle()
    assert world.service.book.queue.get(made["metadata"]["uid"]).failure is not None
    assert released == []
    assert len(world.service.preemptor.nominations) == 1


async def test_quota_that_is_promised_to_a_less_important_pod_is_taken_from_it(world) -> None:
    world.pool("second")
    world.quota("default", {"total": {"requests": {"vram": "8Gi"}}})
    await full(world)
    world.node("n1")
    world.gpu("g1-0", "n1", vram="8Gi", pool="second")
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    assert nominated(world, "high") == "n0"
    world.delete("low")
    world.worker("highest", vram="8Gi", priority=20, annotations={keys.GPU_POOL: "second"})
    await world.settle(0.1)
    assert (world.node_of("highest"), world.node_of("high")) == ("n1", "")


async def test_nominations_are_not_walked_through_at_every_step(world, monkeypatch) -> None:
    await full(world)
    world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    waits = world.service.preemptor.places.waits
    looks: list[str] = []
    monkeypatch.setattr(world.service.preemptor.places, "waits", lambda one: looks.append(one.facts.uid) or waits(one))
    for _ in range(100):
        world.service.preemptor.step()
    assert len(looks) <= 1
    world.delete("low")
    await world.settle(0.1)
    assert world.node_of("high") == "n0"


async def test_nobody_is_evicted_any_more_for_a_preemptor_that_was_deleted(world) -> None:
    await full(world)
    world.api.hold("patch")
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(0.3)
    assert world.service.preemptor.nominations
    world.delete("high")
    await world.settle(0.01)
    world.api.hold("patch").set()
    await world.settle()
    assert evicted(world) == []
    no_hold_left(world)


@pytest.mark.parametrize("successor", [False, True])
async def test_nobody_is_evicted_for_a_preemptor_that_is_gone_though_nobody_heard_of_it(world, successor) -> None:
    await full(world)
    world.api.hold("patch")
    world.worker("high", vram="8Gi", priority=10)
    await world.settle(0.3)
    assert world.service.preemptor.nominations
    world.api.lag(PODS)
    world.delete("high")
    if successor:
        world.worker("high", vram="8Gi")
    world.api.hold("patch").set()
    await world.settle(10)
    assert evicted(world) == []
    world.api.catch_up()
    await world.settle()
    assert evicted(world) == []
    no_hold_left(world)


async def gang_with_a_lost_member(world: Any, **more: Any) -> None:
    """A gang of two runs on n0 and n1; a member ended, and somebody unimportant is in its place."""
    world.fleet(nodes=2)
    await world.start()
    for number in range(2):
        world.worker(f"m{number}", tflops="100", annotations=stamps(2) | more, priority=10)
    await world.settle(2)
    world.delete("m1")
    await world.settle(1)
    world.worker("low", tflops="100")
    await world.settle(2)
    assert world.node_of("low")
    world.worker("m2", tflops="100", annotations=stamps(2) | more, priority=10)
    await world.settle(2)


async def test_a_member_that_a_running_gang_lacks_makes_room_for_itself(world) -> None:
    await gang_with_a_lost_member(world)
    assert evicted(world) == ["low"]
    assert nominated(world, "m2") == world.node_of("low")
    world.delete("low")
    await world.settle(2)
    assert world.node_of("m2")
    no_hold_left(world)


async def test_a_nominated_member_whose_gang_ends_starts_anew_with_the_others(world) -> None:
    await gang_with_a_lost_member(world)
    assert nominated(world, "m2")
    world.delete("m0")
    await world.settle(2)
    assert not world.service.state.nominated
    assert nominated(world, "m2") == ""
    world.worker("m3", tflops="100", annotations=stamps(2), priority=10)
    await world.settle(2)
    assert world.node_of("m3") == ""
    world.delete("low")
    await world.settle(12)
    assert world.node_of("m2")
    assert world.node_of("m3")
    no_hold_left(world)


async def test_nobody_is_evicted_for_a_member_that_has_to_be_in_the_same_domain(world) -> None:
    await gang_with_a_lost_member(world, **{keys.GANG_TOPOLOGY: "required"})
    await world.settle(30)
    assert evicted(world) == []
