"""Wishes of running pods for other amounts: answered by the ledger, written once, and never held twice or not at all."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tensorfusion.errors import Conflict
from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler.explain import explain

PREFIX = f"{keys.DOMAIN}/"


def ask(world, name: str, **wishes: str | None) -> None:
    """What admission makes of an owner's edit."""
    wish = json.dumps({key.replace("_", "-"): value for key, value in wishes.items()})
    world.api.change(PODS, name, {"metadata": {"annotations": {keys.RESIZE: wish}}}, namespace="default")


def note(world, name: str, key: str) -> str | None:
    value = world.pod(name)["metadata"]["annotations"].get(PREFIX + key)
    assert value is None or isinstance(value, str)
    return value


def answer(world, name: str) -> dict[str, Any]:
    found = [one for one in world.pod(name)["status"]["conditions"] if one["type"] == keys.RESOURCE_UPDATE]
    return found[0] if found else {}


def held(world, device: str = "g0-0") -> int:
    return int(world.service.state.fleet.devices[device].compute_held // 1000)


def answers_sent(world) -> int:
    return sum(call.verb == "patch" and "uid" in call.body.get("metadata", {}) for call in world.api.calls)


async def running(world, *names: str, tflops: str = "10") -> None:
    world.fleet()
    for name in names:
        world.worker(name, tflops=tflops)
    await world.start()
    await world.settle()


async def test_a_granted_wish_is_one_write_with_amounts_condition_and_epoch(world) -> None:
    await running(world, "a")
    ask(world, "a", tflops_request="60", vram_request="4Gi", tflops_limit="90")
    await world.settle(2)
    assert (note(world, "a", "tflops-request"), note(world, "a", "vram-request")) == ("60", "4Gi")
    assert note(world, "a", "tflops-limit") == "90"
    assert note(world, "a", "resize") is None
    found = answer(world, "a")
    words = "tflops-request 10 -> 60, tflops-limit none -> 90, vram-request 1Gi -> 4Gi"
    assert (found["status"], found["reason"], found["message"]) == ("True", "Accepted", words)
    assert any(one["type"] == "PodScheduled" for one in world.pod("a")["status"]["conditions"])
    assert (held(world), answers_sent(world)) == (60, 1)
    assert world.events_of("a")["ResourceUpdated"] == words
    told = explain(world.service, Key("default", "a"))
    assert told["resourceUpdate"] == f"Accepted: {words}"
    assert told["request"]["tflops"] == "60"
    world.check_books()


async def test_a_refused_wish_goes_away_and_says_what_is_left(world) -> None:
    await running(world, "a", "b", tflops="40")
    ask(world, "a", tflops_request="70")
    await world.settle(2)
    assert (note(world, "a", "tflops-request"), note(world, "a", "resize")) == ("40", None)
    found = answer(world, "a")
    assert (found["status"], found["reason"]) == ("False", "Refused")
    assert "wanted 30 TFLOPS and 0 more, left are 20 TFLOPS" in found["message"]
    assert found["message"].startswith("tflops-request 40 -> 70: device g0-0: scaling quota exceeded")
    assert "ResourceUpdateRefused" in world.events_of("a")
    world.check_books()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"tflops_request": "many"}, "tflops-request"),
        ({"tflops_limit": "5"}, "change both together"),
        ({"gpu_count": "2"}, "found 'gpu-count'"),
        ({"compute_percent_request": "10"}, "wanted only one of"),
        ({"tflops_request": None, "compute_percent_request": "10"}, "keeps its unit"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_by_name(world, wish: dict[str, str | None], words: str) -> None:
    await running(world, "a")
    ask(world, "a", **wish)
    await world.settle(2)
    assert words in answer(world, "a")["message"]
    assert (note(world, "a", "tflops-request"), note(world, "a", "resize")) == ("10", None)
    world.check_books()


async def test_a_quota_refuses_what_a_device_would_hold(world) -> None:
    await running(world, "a")
    world.quota("default", {"total": {"requests": {"tflops": "50"}}})
    await world.settle()
    ask(world, "a", tflops_request="51")
    await world.settle(2)
    assert "total.max.tflops.request: requested 51, limit 50" in answer(world, "a")["message"]
    ask(world, "a", tflops_request="50")
    await world.settle(2)
    assert answer(world, "a")["reason"] == "Accepted"
    world.check_books()


async def test_what_a_share_gives_back_wakes_a_pod_that_waits(world) -> None:
    await running(world, "a", tflops="80")
    world.worker("b", tflops="60")
    await world.settle()
    assert not world.node_of("b")
    ask(world, "a", tflops_request="30")
    await world.settle(3)
    assert world.node_of("b") == "n0"
    world.check_books()


async def test_while_an_answers_fate_is_unknown_the_larger_amounts_are_held(world) -> None:
    await running(world, "a", tflops="40")
    world.api.fail("patch", PODS, times=-1)
    ask(world, "a", tflops_request="70")
    await world.settle(1)
    world.worker("b", tflops="40")
    await world.settle(20)
    assert (held(world), world.node_of("b")) == (70, "")
    world.api.recover()
    await world.settle(20)
    assert (note(world, "a", "tflops-request"), held(world)) == ("70", 70)
    world.check_books()


async def test_a_lost_reply_is_looked_up(world) -> None:
    await running(world, "a")
    world.api.fail("patch", PODS, reply_lost=True)
    ask(world, "a", tflops_request="70")
    await world.settle(5)
    assert answer(world, "a")["reason"] == "Accepted"
    assert answers_sent(world) == 1
    world.check_books()


async def test_an_answer_to_a_pod_that_changed_meanwhile_is_decided_again(world) -> None:
    await running(world, "a")
    world.api.lag()
    ask(world, "a", tflops_request="70")
    world.api.change(PODS, "a", {"metadata": {"annotations": {"note": "x"}}}, namespace="default")
    world.api.catch_up()
    world.api.fail("patch", PODS, error=Conflict("the object has been modified"))
    await world.settle(20)
    assert (note(world, "a", "tflops-request"), answer(world, "a")["reason"]) == ("70", "Accepted")
    world.check_books()


async def test_a_lost_leadership_ends_an_answer_only_when_it_cannot_land_any_more(world) -> None:
    await running(world, "a", tflops="40")
    world.api.fail("patch", PODS, times=-1)
    ask(world, "a", tflops_request="70")
    await world.settle(1)
    world.office.leading = False
    await world.settle(40)
    assert held(world) == 70
    await world.settle(60)
    assert held(world) == 40
    world.api.recover()
    world.office.leading, world.office.epoch = True, 2
    await world.settle(20)
    assert (note(world, "a", "tflops-request"), note(world, "a", "scheduler-epoch")) == ("70", "2")
    world.check_books()


async def test_a_pod_that_goes_while_its_answer_is_on_its_way_holds_nothing(world) -> None:
    await running(world, "a", tflops="40")
    world.api.fail("patch", PODS, times=-1)
    ask(world, "a", tflops_request="70")
    await world.settle(1)
    world.delete("a")
    world.api.recover()
    await world.settle(20)
    assert held(world) == 0
    world.check_books()


async def test_a_wish_is_answered_after_a_restart(world) -> None:
    await running(world, "a")
    await world.stop()
    ask(world, "a", tflops_request="70")
    await world.start()
    await world.settle(2)
    assert (note(world, "a", "tflops-request"), held(world)) == ("70", 70)
    world.check_books()


async def test_a_new_leader_decides_nothing_before_it_knows_what_its_predecessor_granted(world, office) -> None:
    await running(world, "a", tflops="40")
    first = world.office
    second = office(leading=False, epoch=2)
    service = world.service
    await world.start(second)
    world.api.lag()
    world.api.change(
        PODS, "a", {"metadata": {"annotations": {f"{PREFIX}tflops-request": "90"}}}, namespace="default"
    )  # granted by the first, and not seen by the second yet
    world.worker("b", tflops="40")
    first.leading, second.leading = False, True
    await world.settle(5)
    assert not world.bindings()[1:]
    world.api.catch_up()
    await world.settle(5)
    assert "compute" in world.reason_of("b")
    world.check()
    assert service is not world.service


async def test_wishes_and_new_pods_at_once_never_oversell(world) -> None:
    await running(world, *(f"p{number}" for number in range(5)))
    for number in range(5):
        ask(world, f"p{number}", tflops_request="45")
        world.worker(f"q{number}", tflops="15")
    await world.settle(10)
    world.check()
    world.check_books()
    reasons = [answer(world, f"p{number}")["reason"] for number in range(5)]
    assert reasons.count("Accepted") == 1, "of 50 TFLOPS left one pod may take 35 more"


async def test_the_judge_tells_what_would_happen_and_changes_nothing(world) -> None:
    await running(world, "a", "b", tflops="40")
    (uid,) = (pod["metadata"]["uid"] for pod in world.api.objects(PODS) if pod["metadata"]["name"] == "a")
    request = world.service.state.allocations[uid].pod.request
    assert world.service.judge(uid, replace(request, compute=60_000)) is None
    assert "left are 20 TFLOPS" in (world.service.judge(uid, replace(request, compute=61_000)) or "")
    assert world.service.judge("nobody", request) is None
    assert held(world) == 80
