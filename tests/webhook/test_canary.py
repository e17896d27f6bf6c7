"""Canaries: of one controller's pods at most N are enabled at any moment, and N once everything is settled.

The world is an API in memory, two webhook replicas and a ReplicaSet controller that creates pods at once and again
whenever one is missing. What goes wrong is drawn from a seed: pods that are refused after us, pods that are deleted,
conflicts, connections that break before or after the write, webhooks that count and never answer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from tensorfusion.errors import Conflict, NotFound, ServerError
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Key
from tensorfusion.operator.canary import CanaryReconciler
from tensorfusion.policy.canary import EXPIRY
from tensorfusion.policy.guards import Accounts
from tensorfusion.runtime.admission import AdmissionRequest, AdmissionResponse
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.objects import json_patch
from tensorfusion.webhook.service import Webhook

Json = dict[str, Any]
HASH = "6b7f9"
COUNTER = f"{keys.COUNTER_PREFIX}{HASH}"


@dataclass
class Troubles:
    """How often, of one, each thing goes wrong."""

    refused_later: float = 0.0
    webhook_dies: float = 0.0
    deleted: float = 0.0
    conflicts: float = 0.0
    broken: float = 0.0
    reply_lost: float = 0.0


@dataclass
class World:
    """Two webhook replicas and one ReplicaSet at a time."""

    api: FakeApi
    clock: VirtualClock
    webhooks: list[Webhook]
    operator: CanaryReconciler
    dice: Random = field(default_factory=Random)
    limit: int = 3
    most: int = 0
    rs: Json = field(default_factory=dict)
    numbers: int = 0

    def replica_set(self, limit: int, seed: int = 0) -> None:
        self.dice.seed(seed)
        self.limit, self.most = limit, 0
        for pod in self.api.objects(r.PODS):
            self.api.remove(r.PODS, pod["metadata"]["name"], namespace="team")
        if self.rs:
            self.api.remove(r.REPLICA_SETS, "web", namespace="team")
        body = {"metadata": {"name": "web"}, "spec": {"replicas": 1}}
        self.rs = self.api.seed(r.REPLICA_SETS, body, namespace="team")

    def annotations(self) -> Json:
        return dict(self.api.object(r.REPLICA_SETS, "web", namespace="team")["metadata"].get("annotations", {}))

    def template(self, **changes: Any) -> Json:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
        return {
            "metadata": {
                "generateName": "web-",
                "labels": {keys.ENABLED: "true", "pod-template-hash": HASH},
                "annotations": {keys.ENABLED_REPLICAS: str(self.limit), keys.TFLOPS_LIMIT: "10"},
                "ownerReferences": [{**owner, "name": "web", "uid": self.rs["metadata"]["uid"]}],
                **changes,
            },
            "spec": {
                "containers": [{"name": "m", "image": "a", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            },
        }

    def ask(self, pod: Json, *, dry_run: bool = False, webhook: int | None = None) -> Any:
        self.numbers += 1
        request = AdmissionRequest(
            uid=f"r{self.numbers}", operation="CREATE", namespace="team", object=pod, dry_run=dry_run
        )
        replica = self.webhooks[self.dice.randrange(2) if webhook is None else webhook]
        return replica.mutate_pod(request)

    def store(self, pod: Json, answer: AdmissionResponse) -> Json:
        body = json_patch(pod, answer.patch)
        body["metadata"]["name"] = f"web-{self.numbers}-{self.dice.randrange(1 << 40)}"
        made = self.api.seed(r.PODS, body, namespace="team")
        self.most = max(self.most, self.enabled())
        return made

    def active(self) -> list[Json]:
        return [
            pod
            for pod in self.api.objects(r.PODS)
            if "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") != "Failed"
        ]

    def enabled(self) -> int:
        return sum(pod["metadata"]["labels"].get(keys.COMPONENT) == "worker" for pod in self.active())

    async def create(self, troubles: Troubles) -> None:
        """One creation, as the API server carries it out."""
        pod = self.template()
        await self.turns(30)
        if self.dice.random() < troubles.webhook_dies:
            dying = asyncio.ensure_future(self.ask(pod))
            await self.turns(20)
            dying.cancel()
            return
        answer = await self.ask(pod)
        if not answer.allowed:
            assert answer.code == 503, answer.message
            return
        await self.turns(60)
        if self.dice.random() >= troubles.refused_later:
            self.store(pod, answer)

    async def turns(self, most: int) -> None:
        """Let the others go on for a while, at the same moment: time would let each of them finish first."""
        for _ in range(self.dice.randrange(most)):
            await asyncio.sleep(0)

    async def keep(self, replicas: int, troubles: Troubles) -> None:
        """The ReplicaSet controller, until all its pods are there and nothing goes wrong any more."""
        for attempt in range(1000):
            missing = replicas - len(self.active())
            if not missing:
                return
            calm = attempt >= 3
            await asyncio.gather(*(self.create(Troubles() if calm else troubles) for _ in range(missing)))
            if calm:
                self.api.recover()
            for pod in self.active():
                if not calm and self.dice.random() < troubles.deleted:
                    self.end(pod)
            await self.recount()
            await self.clock.sleep(0.2 * 2 ** min(attempt, 6))

    def end(self, pod: Json) -> None:
        """A pod goes, in one of three ways."""
        name = pod["metadata"]["name"]
        match self.dice.randrange(3):
            case 0:
                self.api.remove(r.PODS, name, namespace="team")
            case 1:
                self.api.change(r.PODS, name, {"status": {"phase": "Failed"}}, namespace="team", subresource="status")
            case 2:
                self.api.change(r.PODS, name, {"metadata": {"finalizers": ["test/hold"]}}, namespace="team")
                self.deleting.append(asyncio.ensure_future(self.api.delete(r.PODS, name, namespace="team")))

    deleting: list[asyncio.Future[None]] = field(default_factory=list)

    async def recount(self) -> None:
        """The operator's pass, which may fail like anybody's."""
        with contextlib.suppress(Conflict, ServerError, NotFound):
            await self.operator.reconcile(Key("team", "ReplicaSet/web"))

    def go_wrong(self, troubles: Troubles) -> None:
        for _ in range(60):
            skip = self.dice.randrange(8)
            if self.dice.random() < troubles.conflicts:
                self.api.fail("patch", r.REPLICA_SETS, error=Conflict("written meanwhile"), skip=skip)
            if self.dice.random() < troubles.broken:
                self.api.fail(self.dice.choice(["get", "patch"]), r.REPLICA_SETS, skip=skip)
            if self.dice.random() < troubles.reply_lost:
                self.api.fail("patch", r.REPLICA_SETS, reply_lost=True, skip=skip)

    async def repeat(self, replicas: int, troubles: Troubles) -> None:
        self.go_wrong(troubles)
        await self.keep(replicas, troubles)
        self.api.recover()
        assert self.most <= self.limit
        assert self.enabled() == min(self.limit, replicas), self.annotations()
        await self.clock.sleep(EXPIRY)
        await self.operator.reconcile(Key("team", "ReplicaSet/web"))
        assert self.annotations() == {COUNTER: str(min(self.limit, replicas))}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = VirtualClock()
    api = FakeApi(clock)
    pool = {"metadata": {"name": "main", "annotations": {keys.IS_DEFAULT_POOL: "true"}}}
    api.seed(r.GPU_POOLS, pool)
    api.seed(r.NAMESPACES, {"metadata": {"name": "team"}})
    managers = [Manager(api, clock=clock) for _ in range(2)]
    webhooks = [Webhook(manager, accounts=Accounts()) for manager in managers]
    running = [asyncio.ensure_future(manager.run()) for manager in managers]
    for manager in managers:
        await manager.synced.wait()
    made = World(api, clock, webhooks, CanaryReconciler(api, clock=clock))
    made.replica_set(3)
    yield made
    for manager, task in zip(managers, running, strict=True):
        manager.stop()
        await task


CALM = Troubles()
WILD = Troubles(refused_later=0.1, webhook_dies=0.1, deleted=0.1, conflicts=0.3, broken=0.2, reply_lost=0.2)


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_fifty_concurrent_pods_through_two_replicas_enable_exactly_as_many_as_wanted(
    world: World, times: int
) -> None:
    for seed in range(times):
        world.replica_set(world.dice.randrange(1, 50), seed)
        await world.clock.run(world.repeat(50, CALM))


async def test_never_more_and_finally_not_fewer_whatever_goes_wrong(world: World) -> None:
    for seed in range(8):
        world.replica_set(world.dice.randrange(1, 12), seed)
        await world.clock.run(world.repeat(14, WILD))


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_never_more_and_finally_not_fewer_whatever_goes_wrong_for_long(world: World) -> None:
    for seed in range(200):
        world.replica_set(world.dice.randrange(1, 52), seed)
        await world.clock.run(world.repeat(50, WILD))


async def test_a_deleted_pod_gives_its_place_to_its_successor_before_anybody_recounts(world: World) -> None:
    world.replica_set(1)
    pod = world.template()
    first = world.store(pod, await world.ask(pod))
    assert world.enabled() == 1
    assert (await world.ask(pod)).patch == ()
    world.api.change(r.PODS, first["metadata"]["name"], {"metadata": {"finalizers": ["test/hold"]}}, namespace="team")
    await world.api.delete(r.PODS, first["metadata"]["name"], namespace="team")
    world.store(pod, await world.ask(pod))
    assert world.enabled() == 1


async def test_the_counter_follows_the_pods_and_goes_with_the_last_one(world: World) -> None:
    pod = world.template()
    made = [world.store(pod, await world.ask(pod)) for _ in range(2)]
    assert world.annotations()[COUNTER] == "2"
    await world.recount()
    assert world.annotations() == {COUNTER: "2"}
    for count, gone in ((1, made[0]), (0, made[1])):
        world.api.remove(r.PODS, gone["metadata"]["name"], namespace="team")
        await world.recount()
        assert world.annotations() == ({COUNTER: str(count)} if count else {})


async def test_a_dry_run_says_what_would_be_and_counts_nothing(world: World) -> None:
    world.replica_set(1)
    pod = world.template()
    for _ in range(3):
        assert (await world.ask(pod, dry_run=True)).patch
    assert world.annotations() == {}
    world.store(pod, await world.ask(pod))
    assert (await world.ask(pod, dry_run=True)).patch == ()


async def test_a_pod_that_is_looked_at_again_keeps_its_place(world: World) -> None:
    world.replica_set(1)
    pod = world.template()
    once = json_patch(pod, (await world.ask(pod)).patch)
    again = await world.ask(once, webhook=0)
    assert again.allowed
    assert json_patch(once, again.patch) == once
    assert world.annotations()[COUNTER] == "1"


async def test_a_place_that_was_never_given_is_refused(world: World) -> None:
    forged = world.template()
    forged["metadata"]["annotations"] |= {keys.POD_COUNTER_KEY: COUNTER, keys.POD_COUNTER_ID: "mine"}
    answer = await world.ask(forged)
    assert (answer.allowed, answer.code) == (False, 403)
    assert keys.POD_COUNTER_ID in answer.message


async def test_another_template_counts_anew(world: World) -> None:
    world.replica_set(1)
    pod = world.template()
    world.store(pod, await world.ask(pod))
    changed = world.template(labels={keys.ENABLED: "true", "pod-template-hash": "other"})
    assert (await world.ask(changed)).patch
    assert world.annotations()[f"{keys.COUNTER_PREFIX}other"] == "1"


async def test_while_a_place_is_in_doubt_the_pod_is_refused_for_now_and_says_why(world: World) -> None:
    world.replica_set(1)
    pod = world.template()
    assert (await world.ask(pod)).patch  # and then never created
    answer = await world.clock.run(world.ask(pod))
    assert (answer.allowed, answer.code) == (False, 503)
    assert "0 are, and 1 were admitted but have not appeared" in answer.message
    await world.clock.advance(EXPIRY)
    assert (await world.ask(pod)).patch


async def test_a_counter_that_somebody_broke_or_removed_is_counted_again(world: World) -> None:
    world.replica_set(1)
    pod = world.template()
    world.store(pod, await world.ask(pod))
    for text in ("many", None, "-3"):
        await world.recount()
        change = {"metadata": {"annotations": {COUNTER: text}}}
        world.api.change(r.REPLICA_SETS, "web", change, namespace="team")
        assert (await world.ask(pod)).patch == ()


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        ([], "found a pod without a controller"),
        ([{"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f", "controller": True}], "controller Fleet f"),
    ],
)
async def test_a_pod_that_nothing_counts_is_refused(world: World, owners: list[Json], words: str) -> None:
    answer = await world.ask(world.template(ownerReferences=owners))
    assert (answer.allowed, answer.code) == (False, 400)
    assert keys.ENABLED_REPLICAS in answer.message
    assert words in answer.message


async def test_pods_without_enabled_replicas_cost_no_call(world: World) -> None:
    pod = world.template(annotations={keys.TFLOPS_LIMIT: "10"})
    world.api.calls.clear()
    assert (await world.ask(pod)).patch
    assert world.api.calls == []


async def test_a_controller_that_is_gone_is_said_to_be_gone(world: World) -> None:
    pod = world.template()
    world.api.remove(r.REPLICA_SETS, "web", namespace="team")
    world.rs = {}
    answer = await world.ask(pod)
    assert (answer.allowed, answer.code) == (False, 503)
    assert "ReplicaSet team/web is gone" in answer.message
