"""What would help a pod that waits, over HTTP: true sentences, and no names of other tenants."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from bare_http import Http, anybody, unchanged
from starlette.applications import Starlette

from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import NODES, PODS
from tensorfusion.scheduler import advice
from tensorfusion.scheduler.advice import BURST, SHARE, Budget
from tensorfusion.scheduler.routes import routes
from tensorfusion.scheduling import gang_remedies


@pytest.fixture
async def http(world) -> Http:
    world.fleet(nodes=1, devices=2, tflops="100", vram="16Gi")
    await world.start()
    app = routes(world.service, admission=unchanged, authorize=anybody, usable=lambda _, pool: pool != "closed")
    return Http(Starlette(routes=app))


async def story(http: Http, name: str, namespace: str = "default") -> dict[str, Any]:
    status, answer = await http.call("GET", f"/api/explain?namespace={namespace}&name={name}")
    assert status == 200
    return answer


async def said(http: Http, name: str, namespace: str = "default") -> list[str]:
    return [one["words"] for one in (await story(http, name, namespace))["help"]]


def starts(world, name: str, *, at: str, namespace: str = "default") -> None:
    world.api.change(PODS, name, {"status": {"startTime": at}}, namespace=namespace, subresource="status")


async def test_amounts_that_would_fit(world, http) -> None:
    world.worker("deep", vram="20Gi")
    world.worker("fast", tflops="120")
    await world.settle()
    assert await said(http, "deep") == ["fits if vram <= 16Gi"]
    assert await said(http, "fast") == ["fits if tflops <= 100"]
    assert (await story(http, "fast"))["help"][0]["change"] == {"tflops": "100"}


async def test_devices_that_are_short_and_other_pools_that_may_be_used(world, http) -> None:
    for pool in ("other", "closed"):
        world.pool(pool)
        world.node(f"{pool}-0")
        for index in range(4):
            world.gpu(f"{pool}-{index}", f"{pool}-0", index=index, pool=pool)
    await world.settle()
    world.worker("wide", count=3)
    await world.settle()
    assert await said(http, "wide") == [
        "1 device short in pool main: no node has more than 2 that can take a share now; fits if gpu-count <= 2",
        "fits in pool other: 1 node could take it, 4 of its devices idle",
    ]


async def test_when_it_frees_where_an_end_is_known(world, http) -> None:
    world.worker("short", tflops="80", activeDeadlineSeconds=600)
    world.worker("long", tflops="80", namespace="theirs", activeDeadlineSeconds=900)
    world.worker("new", tflops="30", count=2)
    await world.settle()
    starts(world, "short", at="2026-01-01T00:00:00Z")
    starts(world, "long", at="2026-01-01T00:00:00Z", namespace="theirs")
    await world.settle()
    answer = await story(http, "new")
    assert answer["help"][0] == {
        "words": "frees at 2026-01-01T00:15:00Z, or before, when default/short (activeDeadlineSeconds), "
        "a pod of another namespace (activeDeadlineSeconds) end: if nobody takes it first",
        "change": {"at": "2026-01-01T00:15:00Z"},
    }
    assert answer["couldBeEvicted"] == {"asImportant": 2}


async def test_a_nominated_pod_waits_for_those_that_were_told_to_end(world, http) -> None:
    world.worker("low", tflops="90", count=2)
    await world.settle()
    world.worker("high", tflops="90", priority=5)
    await world.settle(2)
    (words,) = await said(http, "high")
    assert words.startswith("a place on node n0 is kept for it: frees when default/low left it, by ")
    assert words.endswith("Z at the latest")


async def test_what_is_short_of_a_quota(world, http) -> None:
    world.quota("default", {"total": {"requests": {"tflops": "40"}}})
    await world.settle()
    world.worker("a", tflops="30")
    world.worker("b", tflops="22")
    await world.settle()
    short = "quota: 12 TFLOPS short: total.requests.tflops is 40, 30 of it used, and 22 asked for; "
    assert await said(http, "b") == [
        short + "fits if the quota allows total.requests.tflops 52",
        "fits if tflops <= 10: that is what the quota has left",
        "fits with a priority of 1 or more: 1 less important pod would be evicted",
    ]


def member(world, name: str, *, required: int, **wishes: Any) -> None:
    stamps = {
        keys.GANG_REQUIRED_MEMBERS: str(required),
        keys.GANG_DESIRED_MEMBERS: str(required),
        keys.GANG_GROUP_KEY: "default/train",
    }
    world.worker(name, annotations=stamps, **wishes)


async def test_members_that_a_gang_waits_for(world, http) -> None:
    member(world, "m0", required=4)
    await world.settle()
    assert await said(http, "m0") == [
        "gang default/train waits for 3 more members: it fits once they are created, if they ask for the same"
    ]


async def test_members_that_do_not_fit_together(world, http) -> None:
    for number in range(4):
        member(world, f"m{number}", required=4, tflops="60", vram="1Gi")
    await world.settle()
    assert await said(http, "m0") == [
        "fits with gang-min-members <= 2: 2 too many now",
        "fits if each member asks for tflops <= 48 and vram <= 819Mi",
    ]


async def test_a_gang_with_too_many_members_is_not_tried_out(world, http, monkeypatch) -> None:
    monkeypatch.setattr(gang_remedies, "MOST_MEMBERS", 3)
    monkeypatch.setattr(advice, "MOST_MEMBERS", 3, raising=False)
    monkeypatch.setattr(advice, "tried_gang", lambda *_, **__: pytest.fail("tried out"))
    for number in range(4):
        member(world, f"m{number}", required=4, tflops="60", vram="1Gi")
    await world.settle()
    assert await said(http, "m0") == ["the gang has too many members to try out: 4, of at most 3"]


async def test_the_last_try_out_of_a_gang_is_charged_and_left_out_when_the_time_is_spent(world, monkeypatch) -> None:
    world.fleet(nodes=1, devices=2, tflops="100", vram="16Gi")
    await world.start()
    for number in range(4):
        member(world, f"m{number}", required=4, tflops="150", vram="1Gi")
    await world.settle()
    budget = Budget(lambda: 0.0)
    made = world.service.pods.get(Key("default", "m0"))
    advisor = advice.Advisor(world.service, lambda *_: True, budget)
    tried: list[bool] = []

    def last(*_: Any, **__: Any) -> None:
        assert budget.open
        tried.append(True)
        time.sleep(0.01)

    monkeypatch.setattr(advice, "tried_gang", last)
    monkeypatch.setattr(advice, "gang_remedies", lambda *_, **__: iter(()))
    facts = world.service.book.facts(made)
    left = budget._left
    await advisor.advise(made, facts)
    assert tried == [True]
    assert budget._left < left - 0.01
    monkeypatch.setattr(advice, "gang_remedies", lambda *_, **__: spends(budget))
    (answer,) = (await advisor.advise(made, facts))["help"]
    assert answer["words"] == "no single change that was tried out makes the gang fit now"
    assert tried == [True]


def spends(budget: Budget) -> Iterator[None]:
    budget.spend(BURST)
    yield None


async def test_why_a_placed_pod_is_where_it_is(world, http) -> None:
    world.worker("a", tflops="50")
    await world.settle()
    assert (await story(http, "a"))["why"] == "n0 was the only node that could take it, of 1 looked at"
    world.node("n1")
    world.gpu("g1-0", "n1")
    await world.settle()
    world.worker("b", tflops="50")
    await world.settle()
    why = (await story(http, "b"))["why"]
    assert why.startswith("2 of 2 nodes could take it; n0 had ")
    assert why.endswith("(NodeCompactGPULowLoad)")


async def test_a_cordon_is_named_and_lifting_it_is_what_helps(world, http) -> None:
    world.api.change(NODES, "n0", {"spec": {"unschedulable": True}})
    await world.settle()
    world.worker("a")
    await world.settle()
    assert await said(http, "a") == ["fits on node n0 if it is uncordoned (kubectl uncordon n0)"]
    world.api.change(NODES, "n0", {"spec": {"unschedulable": False}})
    await world.settle(5)
    assert world.node_of("a") == "n0"


def test_try_outs_take_a_share_of_the_time_and_no_more() -> None:
    now = 0.0
    budget = Budget(lambda: now)
    assert budget.open
    budget.spend(BURST + 1.0)
    assert not budget.open
    now = 0.9 / SHARE
    assert not budget.open
    now = 1.1 / SHARE
    assert budget.open
