"""The status of routes: what is in force, what is missing, written once, and an event for what is wrong."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.errors import Forbidden, ServerError
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.objects.ledger import Ledger
from tensorfusion.gateway.objects.reports import Reporter, Reports, RouteReport
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.objects.statuses import Statuses
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State
from tensorfusion.model.llm_route import RolloutPhase
from tensorfusion.model.resources import EVENTS, LLM_KEYS, LLM_ROUTES, SECRETS
from tensorfusion.policy.routing.latencies import class_of
from tensorfusion.policy.routing.money import PICO
from tensorfusion.policy.routing.route_stats import Totals
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


@dataclass
class World:
    api: FakeApi
    clock: VirtualClock
    folder: Path
    leads: bool = True
    states: list[State] = field(default_factory=list)

    def status(self, name: str = "chat") -> dict[str, Any]:
        return dict(self.api.object(LLM_ROUTES, name, namespace="red").get("status") or {})

    def conditions(self, name: str = "chat") -> dict[str, tuple[str, str]]:
        return {one["type"]: (one["status"], one["reason"]) for one in self.status(name).get("conditions", ())}

    def message(self, type_: str, name: str = "chat") -> str:
        return next(str(one["message"]) for one in self.status(name)["conditions"] if one["type"] == type_)

    def worker(self) -> "Worker":
        return Worker(self, Reporter(self.folder))

    @property
    def patches(self) -> int:
        return self.api.count("patch", LLM_ROUTES)


@dataclass
class Worker:
    """One that has answered so many requests of the route ``chat``."""

    world: World
    reporter: Reporter

    def tell(self, succeeded: int, failed: int = 0, *, active: str = "t0", tokens: int = 0, cost: int = 0) -> None:
        uid = self.world.api.object(LLM_ROUTES, "chat", namespace="red")["metadata"]["uid"]
        totals = Totals(succeeded + failed, succeeded, failed, tokens=tokens, cost=cost)
        seconds = 0.1 * totals.requests
        latencies = {class_of(0.1): totals.requests}
        self.reporter.put([RouteReport(uid, totals, seconds, latencies, active, float(totals.requests))])


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def world(clock: VirtualClock, tmp_path: Path) -> AsyncIterator[World]:
    found = World(FakeApi(clock), clock, tmp_path)
    async with writing(found):
        yield found


@contextlib.asynccontextmanager
async def writing(world: World) -> AsyncIterator[None]:
    """The one of a host who writes, until the end."""
    api, clock = world.api, world.clock
    states = world.states = [State.of(Routes(()), Secrets({}))]

    def use(routes: Routes, secrets: Secrets) -> None:
        fresh = State.of(routes, secrets, addresses=source.addresses, before=states[-1], progress=source.progress)
        states.append(fresh)

    source = Source(api, clock=clock, book=KeyBook(clock), use=use)
    recorder = EventRecorder(api, component="gateway", clock=clock)
    statuses = Statuses(
        api,
        source,
        recorder,
        reports=Reports(world.folder),
        ledger=lambda: Ledger(world.folder),
        clock=clock,
        state=lambda: states[-1],
        leads=lambda: world.leads,
        now=clock.monotonic,
    )
    running = [asyncio.create_task(one) for one in (source.run(), recorder.run(), statuses.run(last=lambda: None))]
    yield
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def route(*targets: dict[str, Any], name: str = "chat", **spec: Any) -> dict[str, Any]:
    found = [{"name": f"t{at}", "provider": "self-hosted", "model": "m", **one} for at, one in enumerate(targets)]
    return {"metadata": {"name": name}, "spec": {"targets": found, **spec}}


GOOD = {"endpoint": "http://10.0.0.1"}
NO_KEY = {**GOOD, "apiKeySecret": {"name": "s", "namespace": "red", "key": "k"}}
WRONG = {**GOOD, "apiKeySecret": {"name": "s", "namespace": "blue", "key": "k"}}


async def test_a_route_in_force_says_so_once(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    await world.clock.advance(1)
    assert world.status()["phase"] == "Active"
    assert world.conditions() == {
        "Accepted": ("True", "Accepted"),
        "TargetsResolved": ("True", "Resolved"),
        "SecretsResolved": ("True", "Resolved"),
        "BudgetAvailable": ("True", "NoBudget"),
    }
    assert world.patches == 1
    await world.clock.advance(60)
    assert world.patches == 2  # and how its targets do
    assert world.api.objects(EVENTS) == []


async def test_what_a_target_lacks_is_told_and_the_route_is_active_while_another_lacks_nothing(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(NO_KEY, {"gpuPool": "l4"}, GOOD, budget={"dailyLimit": "1"}), namespace="red")
    await world.clock.advance(1)
    assert world.status()["phase"] == "Active"
    assert world.conditions() == {
        "Accepted": ("True", "Accepted"),
        "TargetsResolved": ("False", "NoAddress"),
        "SecretsResolved": ("False", "NoCredential"),
        "BudgetAvailable": ("Unknown", "NotEnforced"),
    }
    assert world.message("SecretsResolved") == "t0: Secret red/s key k does not exist"
    assert world.message("TargetsResolved").startswith("t1: GPUPool l4: namespace red has no Service")
    world.api.change(LLM_ROUTES, "chat", route(NO_KEY), namespace="red")
    await world.clock.advance(1)
    assert world.status()["phase"] == "Error"


async def test_a_wrong_route_gets_a_condition_and_one_event(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(WRONG), namespace="red")
    await world.clock.advance(30)
    assert world.status()["phase"] == "Error"
    assert world.conditions()["Accepted"] == ("False", "Invalid")
    assert world.conditions()["TargetsResolved"] == ("Unknown", "NotAccepted")
    (event,) = world.api.objects(EVENTS)
    assert event["message"] == world.message("Accepted")
    assert event["message"].startswith("spec.targets[0].apiKeySecret.namespace: wanted red")
    assert event["count"] == 1
    since = world.status()["conditions"][0]["lastTransitionTime"]
    world.api.change(LLM_ROUTES, "chat", route(GOOD), namespace="red")
    await world.clock.advance(1)
    assert world.conditions()["Accepted"] == ("True", "Accepted")
    assert world.status()["conditions"][0]["lastTransitionTime"] != since


async def test_who_does_not_lead_writes_nothing_and_who_comes_to_writes_what_is_missing(world: World) -> None:
    world.leads = False
    world.api.seed(LLM_ROUTES, route(WRONG), namespace="red")
    await world.clock.advance(30)
    assert world.patches == 0
    assert world.api.objects(EVENTS) == []
    world.leads = True
    await world.clock.advance(6)
    assert world.conditions()["Accepted"] == ("False", "Invalid")


async def test_a_write_that_another_was_faster_than_is_made_anew(world: World) -> None:
    world.api.lag(LLM_ROUTES)
    await world.clock.advance(1)
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    world.api.change(LLM_ROUTES, "chat", {"metadata": {"labels": {"a": "b"}}}, namespace="red")
    world.api.catch_up()
    world.api.fail("patch", LLM_ROUTES, times=1)
    await world.clock.advance(10)
    assert world.conditions()["Accepted"] == ("True", "Accepted")


async def test_a_key_that_lets_nobody_in_gets_an_event(world: World) -> None:
    spec = {"hash": "0" * 64, "expiresAt": "whenever"}
    world.leads = False
    world.api.seed(LLM_KEYS, {"metadata": {"name": "app"}, "spec": spec}, namespace="red")
    await world.clock.advance(10)
    assert world.api.objects(EVENTS) == []
    world.leads = True
    await world.clock.advance(20)
    (event,) = world.api.objects(EVENTS)
    assert event["involvedObject"]["kind"] == "LLMKey"
    assert event["message"].startswith("spec.expiresAt: wanted a time")


def total(world: World) -> tuple[int, int, int]:
    stats = world.status().get("stats", {})
    return stats.get("totalRequests", 0), stats.get("successfulRequests", 0), stats.get("failedRequests", 0)


async def test_what_all_workers_counted_is_added_up_at_most_every_five_seconds(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(GOOD, {"endpoint": "http://10.0.0.2"}), namespace="red")
    await world.clock.advance(1)
    one, two = world.worker(), world.worker()
    for step in range(1, 21):
        one.tell(step, active="t0", tokens=10 * step, cost=PICO * step)
        two.tell(2 * step, step, active="t1")
        await world.clock.advance(1)
    await world.clock.advance(6)
    assert total(world) == (80, 60, 20)
    status = world.status()
    assert status["activeTarget"] == "t1"
    assert status["stats"]["averageLatency"] == "100.00ms"
    assert 95 < float(status["stats"]["p99Latency"].removesuffix("ms")) < 105
    assert status["costTracking"]["totalCost"] == status["costTracking"]["costToday"] == "20"
    assert status["costTracking"]["totalTokens"] == 200
    assert [(one["name"], one["healthy"], one["circuit"]) for one in status["targets"]] == [
        ("t0", True, "closed"),
        ("t1", True, "closed"),
    ]
    patches = world.patches
    assert patches <= 7
    await world.clock.advance(60)
    assert world.patches == patches
    one.reporter.close()
    two.reporter.close()


async def test_totals_go_on_from_what_the_status_says(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    world.api.change(
        LLM_ROUTES,
        "chat",
        {"status": {"stats": {"totalRequests": 100, "successfulRequests": 90, "failedRequests": 10}}},
        namespace="red",
        subresource="status",
    )
    worker = world.worker()
    worker.tell(5, 1)
    await world.clock.advance(12)
    assert total(world) == (106, 95, 11)
    worker.reporter.close()  # it is dead: what it counted is written, and stays so
    await world.clock.advance(12)
    assert total(world) == (106, 95, 11)
    assert list(world.folder.glob("*.report")) == []


async def test_a_host_without_the_lease_adds_its_own_and_nothing_else(world: World) -> None:
    world.leads = False
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    worker = world.worker()
    worker.tell(5)
    await world.clock.advance(12)
    assert total(world) == (5, 5, 0)
    assert set(world.status()) == {"stats", "lastUpdated"}
    worker.reporter.close()


async def test_what_two_hosts_with_two_workers_each_count_adds_up_also_over_restarts(world: World) -> None:
    other = World(world.api, world.clock, world.folder / "other", leads=False)
    other.folder.mkdir()
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    await world.clock.advance(1)
    workers = [world.worker(), world.worker(), other.worker(), other.worker()]
    patches, step = world.patches, 0
    for _ in range(3):
        async with writing(other):
            for _ in range(20):
                step += 1
                for number, worker in enumerate(workers, start=1):
                    worker.tell(number * step, step)
                await world.clock.advance(1)
        # killed, and started anew: a worker that is gone stays counted, its successor begins at nothing
    async with writing(other):
        await world.clock.advance(12)
        assert total(world) == (14 * step, 10 * step, 4 * step)
        assert world.patches - patches <= 2 * (72 // 5 + 1) + 4  # each host every five seconds; 4 were cut off
        workers[3].reporter.close()
        successor = other.worker()
        successor.tell(5)
        await world.clock.advance(12)
        assert total(world) == (14 * step + 5, 10 * step + 5, 4 * step)
    for worker in (*workers[:3], successor):
        worker.reporter.close()


@pytest.mark.parametrize("lost", [True, False])
async def test_a_write_whose_answer_is_lost_counts_once(world: World, lost: bool) -> None:
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    await world.clock.advance(1)
    worker = world.worker()
    worker.tell(5)
    error = ServerError("the connection broke", code=503, reason="ConnectionBroken")
    world.api.fail("patch", LLM_ROUTES, error=error, reply_lost=lost)
    await world.clock.advance(30)
    assert total(world) == (5, 5, 0)
    worker.tell(7)
    await world.clock.advance(30)
    assert total(world) == (7, 7, 0)
    worker.reporter.close()


async def test_another_route_of_the_same_name_begins_at_nothing(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    worker = world.worker()
    worker.tell(5)
    await world.clock.advance(12)
    world.api.remove(LLM_ROUTES, "chat", namespace="red")
    await world.clock.advance(12)
    world.api.seed(LLM_ROUTES, route(GOOD), namespace="red")
    await world.clock.advance(12)
    assert total(world) == (0, 0, 0)
    worker.reporter.close()


async def test_a_rollout_is_written_down_and_goes_on_from_there(world: World) -> None:
    plan = {"target": "t1", "steps": [5, 50], "interval": "1m", "minRequests": 0}
    body = route(GOOD, {"endpoint": "http://10.0.0.2"}, strategy="weighted", rollout=plan)
    world.api.seed(LLM_ROUTES, body, namespace="red")
    await world.clock.advance(1)
    chooser = world.states[-1].choosers["red/chat"]
    for _ in range(2):
        chooser.roll(world.clock.now().timestamp())
        await world.clock.advance(61)
    written = world.status()["rollout"]
    assert (written["target"], written["step"], written["percent"]) == ("t1", 1, 50)
    # a gateway that starts anew knows nothing but what is written
    world.states.append(State.of(Routes(()), Secrets({})))
    world.api.change(LLM_ROUTES, "chat", {"spec": {"timeout": "31s"}}, namespace="red")
    await world.clock.advance(1)
    fresh = world.states[-1].choosers["red/chat"]
    assert fresh is not chooser
    assert fresh.progress is not None
    assert (fresh.progress.step, fresh.progress.id) == (1, written["id"])
    await world.clock.advance(12)
    assert world.status()["rollout"]["percent"] == 50


ROLLOUT = {"target": "t1", "steps": [50], "interval": "1h"}


async def test_a_host_without_the_lease_says_that_it_went_back_in_a_rollout(world: World) -> None:
    world.leads = False
    other = {"endpoint": "http://10.0.0.2"}
    world.api.seed(LLM_ROUTES, route(GOOD, other, strategy="weighted", rollout=ROLLOUT), namespace="red")
    await world.clock.advance(6)
    assert "rollout" not in world.status()
    chooser = world.states[-1].choosers["red/chat"]
    assert chooser.progress is not None
    since = world.clock.now().timestamp()
    assert chooser.roll_back(replace(chooser.progress, phase=RolloutPhase.ROLLED_BACK, since=since, message="bad"))
    await world.clock.advance(6)
    assert (world.status()["rollout"]["phase"], world.status()["rollout"]["message"]) == ("RolledBack", "bad")
    patches = world.patches
    await world.clock.advance(30)
    assert world.patches == patches


async def test_who_holds_the_lease_does_not_take_back_what_another_host_rolled_back(world: World) -> None:
    other = {"endpoint": "http://10.0.0.2"}
    world.api.seed(LLM_ROUTES, route(GOOD, other, strategy="weighted", rollout=ROLLOUT), namespace="red")
    await world.clock.advance(6)
    chooser = world.states[-1].choosers["red/chat"]
    chooser.roll(world.clock.now().timestamp())
    await world.clock.advance(6)
    written = world.status()["rollout"]
    assert "phase" not in written  # Progressing, as it is unless said otherwise
    world.api.change(
        LLM_ROUTES,
        "chat",
        {"status": {"rollout": {**written, "phase": "RolledBack", "message": "bad", "percent": 0}}},
        namespace="red",
        subresource="status",
    )
    await world.clock.advance(12)  # and this one has not looked at it yet
    assert world.status()["rollout"]["phase"] == "RolledBack"


async def test_a_secret_that_may_not_be_read_is_not_called_missing(world: World) -> None:
    world.api.fail("list", SECRETS, error=Forbidden("no"), times=-1)
    world.api.seed(LLM_ROUTES, route(NO_KEY), namespace="red")
    await world.clock.advance(1)
    assert world.message("SecretsResolved").startswith("t0: Secret red/s cannot be read yet: ")
    assert "tensor-fusion-gateway" in world.message("SecretsResolved")
    world.api.recover()
    await world.clock.advance(30)
    assert world.message("SecretsResolved") == "t0: Secret red/s key k does not exist"
