"""Plans for people: what a campaign would do, over HTTP and as a table. Nothing happens because of them."""

from typing import Any

import pytest
from bare_http import Http, anybody, nobody, unchanged
from defrag_steps import budget, machine, owned, pool, scattered
from starlette.applications import Starlette

from fingerprints import fingerprint
from tensorfusion.cli.defrag import lines
from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_NODES
from tensorfusion.scheduler.routes import routes


def http(world: Any) -> Http:
    return Http(Starlette(routes=routes(world.service, admission=unchanged, authorize=anybody)))


async def test_a_plan_says_what_it_frees_and_who_would_move_and_changes_nothing(world) -> None:
    await scattered(world, enabled=False)
    await world.settle(70)
    before, version = fingerprint(world.service.state), world.api.version
    status, answer = await http(world).call("GET", "/api/defrag/plan")
    assert status == 200
    assert (fingerprint(world.service.state), world.api.version) == (before, version)
    (one,) = answer["pools"]
    assert (one["pool"], one["enabled"], one["thresholdPercent"], one["olderThanSeconds"]) == ("main", False, 40, 60)
    assert (one["wholeDevices"], one["podsMoved"]) == ({"before": 5, "after": 6}, 1)
    (step,) = one["steps"]
    (move,) = step["moves"]
    assert (step["node"], step["frees"], step["devices"]) == ("n0", 1, 4)
    assert move["pod"] == "default/a"
    assert move["from"] == {"node": "n0", "devices": ["g0-0"]}
    assert move["to"] == {"node": "n1", "devices": ["g1-0"]}
    assert 60 <= move["workSeconds"] == step["workSeconds"] < 80
    told = lines(answer)
    assert told[0] == ("pool main (not switched on): 1 node could be emptied, 1 pod would move, whole devices 5 -> 6")
    assert told[1].split() == ["STEP", "NODE", "FREES", "PODS", "LOST", "WORK"]
    assert told[2].split() == ["1", "n0", "1", "of", "4", "1", "1m"]
    assert told[5].split() == ["default/a", "n0", "n1"]


async def test_what_is_asked_goes_before_what_the_pool_says(world) -> None:
    await scattered(world, maxDuration="2h")
    await world.settle(1)
    _, answer = await http(world).call("GET", "/api/defrag/plan?pool=main")
    (one,) = answer["pools"]
    assert (one["steps"], one["kept"][0]["pod"]) == ([], "default/a")
    assert "younger" in lines(answer)[-1]
    _, answer = await http(world).call("GET", "/api/defrag/plan?pool=main&olderThan=0&threshold=20")
    assert answer["pools"][0]["steps"] == []  # a quarter of the node's devices is in use
    _, answer = await http(world).call("GET", "/api/defrag/plan?pool=main&olderThan=0&threshold=25")
    assert len(answer["pools"][0]["steps"]) == 1


async def test_budgets_and_marks_are_respected_as_in_a_campaign(world) -> None:
    pool(world)
    for number in range(3):
        machine(world, number)
    owned(world, "a", node="n0-0", labels={"app": "lonely"})
    owned(world, "b", node="n1-0")
    for index in range(3):
        owned(world, f"c{index}", node=f"n2-{index}")
    budget(world)
    world.api.seed(GPU_NODES, {"metadata": {"name": "n1", "labels": {keys.DO_NOT_DISRUPT: "true"}}})
    await world.start()
    await world.settle(5)
    _, answer = await http(world).call("GET", "/api/defrag/plan?olderThan=1s")
    assert answer["pools"][0]["kept"] == [
        {"node": "n0", "why": "no disruption budget covers a pod", "pod": "default/a"},
        {"node": "n1", "why": "do not disrupt"},
    ]


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("pool=nowhere", 404, "there is no GPUPool 'nowhere'"),
        ("threshold=lots", 400, "wanted a whole number from 0 to 100, found 'lots'"),
        ("olderThan=ages", 400, "query parameter olderThan: 'ages' is not a duration"),
    ],
)
async def test_what_cannot_be_asked_is_refused_in_one_line(world, query: str, status: int, says: str) -> None:
    await scattered(world)
    found, answer = await http(world).call("GET", f"/api/defrag/plan?{query}")
    assert found == status
    assert says in answer["error"]


async def test_a_plan_takes_the_right_to_the_path(world) -> None:
    await scattered(world)
    closed = Http(Starlette(routes=routes(world.service, admission=unchanged, authorize=nobody, anonymous_read=True)))
    status, _ = await closed.call("GET", "/api/defrag/plan")
    assert status in (401, 403)
