"""Several schedulers share the pools: each is placed on by one of them, and what crosses pools stays exact."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduler_steps import stamps

from tensorfusion.errors import Conflict, ServerError
from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPU_POOLS, GPUS, LEASES, PODS, Resource
from tensorfusion.policy.guards import Accounts
from tensorfusion.policy.shards import COMMON, choices, member_lease, shard_lease, tied
from tensorfusion.runtime.admission import AdmissionRequest, UserInfo
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler.explain import explain
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.testing.api import FakeApi
from tensorfusion.webhook.service import Webhook

POOLS = ("a", "b", "c", "d")
SETTLED = 20.0
"""Seconds until replicas that started together have followed the watch for long enough, and have their shards."""
TAKEN_OVER = 35.0
"""Seconds after which the shards of a replica that died have another owner: twice a Lease's duration, and a little."""
USER = "controller"


class Line:
    """One replica's way to the API: it can be cut, and Bindings and news can be held up on it. Admission is the real one."""

    def __init__(self, api: FakeApi, webhook: Webhook) -> None:
        self._api = api
        self._webhook = webhook
        self.cut = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.news = asyncio.Event()
        self.news.set()
        self.pods = asyncio.Event()
        self.pods.set()
        self.lists = asyncio.Event()
        """Of pods, which a scheduler asks for when it catches up."""
        self.lists.set()
        self.sent: list[tuple[str, str]] = []
        """Pods that were bound over this line, and in the name of which shard."""
        self.refused: list[str] = []

    @property
    def clear(self) -> bool:
        """Everything gets through at once."""
        return not self.cut and self.flowing.is_set() and self.news.is_set()

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._api, name)

        async def over(*arguments: Any, **options: Any) -> Any:
            self._check()
            answer = await work(*arguments, **options)
            self._check()
            return answer

        return over

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        await self.flowing.wait()
        self._check()
        body = {"metadata": {"name": name, "annotations": dict(annotations)}, "target": {"name": node}}
        user = UserInfo(username=USER)
        request = AdmissionRequest(uid=uid, operation="CREATE", namespace=namespace, name=name, object=body, user=user)
        answer = await self._webhook.validate_binding(request)
        if not answer.allowed:
            self.refused.append(name)
            raise Conflict(f"admission webhook denied the request: {answer.message}")
        await self._api.bind(namespace, name, uid=uid, node=node, annotations=annotations)
        self.sent.append((name, annotations[keys.SCHEDULER_SHARD].partition("/")[2]))
        self._check()

    async def list(self, resource: Resource, type_: Any, **options: Any) -> Any:
        self._check()
        if resource is PODS:
            await self.lists.wait()
        return await self._api.list(resource, type_, **options)

    async def watch_batches(
        self, resource: Resource, type_: Any, **options: Any
    ) -> AsyncGenerator[Sequence[Any], None]:
        self._check()
        async for batch in self._api.watch_batches(resource, type_, **options):
            await self.news.wait()
            if resource is PODS:
                await self.pods.wait()
            self._check()
            yield batch

    def _check(self) -> None:
        if self.cut:
            raise ServerError("the line is cut")


class Site:
    """A world of four pools with two nodes of two devices each, a node without devices, and replicas by name."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.lines: dict[str, Line] = {}
        self.services: dict[str, SchedulerService] = {}
        self.dead: list[Line] = []

    async def open(self, *replicas: str, pools: Sequence[str] = POOLS) -> None:
        for pool in pools:
            self.world.pool(pool)
            for node in range(2):
                self.world.node(f"{pool}{node}", cpu="8")
                for index in range(2):
                    self.world.gpu(f"{pool}{node}-{index}", f"{pool}{node}", index=index, pool=pool)
        self.world.node("plain", cpu="8")
        self._manager = Manager(self.world.api, clock=self.world.clock)
        accounts = Accounts(system=frozenset({USER}), scheduler=frozenset({USER}))
        self.webhook = Webhook(self._manager, accounts=accounts)
        self._running = asyncio.ensure_future(self._manager.run())
        for replica in replicas:
            await self.join(replica)
        await self.world.settle(SETTLED)

    async def close(self) -> None:
        for line in [*self.lines.values(), *self.dead]:
            line.flowing.set()
            line.news.set()
            line.pods.set()
            line.lists.set()
        await self.world.stop()
        self._manager.stop()
        await self._running

    async def join(self, replica: str) -> None:
        self.lines[replica] = Line(self.world.api, self.webhook)
        self.services[replica] = await self.world.start_shared(replica, api=self.lines[replica])

    async def kill(self, replica: str) -> None:
        """The process ends at once, without giving anything up. What it has sent may still arrive."""
        line = self.lines.pop(replica)
        line.cut = True
        self.dead.append(line)
        await self.world.end(list(self.services).index(replica))
        del self.services[replica]

    def mine(self) -> dict[str, list[str]]:
        """Which shards each replica decides."""
        found = {}
        for name, service in self.services.items():
            assert service.shards is not None
            deciding = service.deciding
            found[name] = [shard for shard in (COMMON, *POOLS) if deciding and service.shards.may(shard)]
        return found

    def owner(self, shard: str) -> str:
        (owner,) = [name for name, shards in self.mine().items() if shard in shards]
        return owner

    def holder(self, shard: str) -> str:
        """Who has a shard's Lease."""
        lease = self.world.api.object(LEASES, shard_lease(shard), namespace=keys.SYSTEM_NAMESPACE)
        return str(lease["spec"]["holderIdentity"])

    def worker(self, name: str, pool: str, **parts: Any) -> None:
        self.world.worker(name, annotations={keys.GPU_POOL: pool}, **parts)

    def check(self) -> None:
        """No device holds more than it has, and no shard has two owners."""
        self.world.check()
        held = [shard for shards in self.mine().values() for shard in shards]
        assert len(held) == len(set(held))


@pytest.fixture
async def site(world: Any) -> AsyncIterator[Site]:
    made = Site(world)
    yield made
    await made.close()


def apart(shards: Sequence[str], replicas: Sequence[str]) -> dict[str, str]:
    return {shard: order[0] for shard, order in choices(tied(shards, ()), replicas).items()}


async def test_every_shard_has_the_owner_that_the_plan_names_and_pods_are_bound_by_it(site: Site) -> None:
    await site.open("one", "two")
    wanted = apart((COMMON, *POOLS), ("one", "two"))
    assert {shard: site.owner(shard) for shard in wanted} == wanted
    assert set(wanted.values()) == {"one", "two"}, "else the names of this test are badly chosen"
    for number in range(16):
        site.worker(f"w{number}", POOLS[number % 4])
    await site.world.settle(2)
    for name, line in site.lines.items():
        assert {shard for _, shard in line.sent} <= set(site.mine()[name])
    assert sum(len(line.sent) for line in site.lines.values()) == 16
    for number in range(16):
        assert site.world.node_of(f"w{number}")[0] == POOLS[number % 4]
    site.check()


async def test_the_pools_of_a_replica_that_was_killed_are_taken_over(site: Site) -> None:
    await site.open("one", "two")
    lost = site.mine()["one"]
    await site.kill("one")
    for pool in POOLS:
        site.worker(f"w-{pool}", pool)
    await site.world.settle(2)
    assert [pool for pool in POOLS if not site.world.node_of(f"w-{pool}")] == [pool for pool in lost if pool]
    await site.world.settle(TAKEN_OVER)
    assert site.mine() == {"two": [COMMON, *POOLS]}
    assert all(site.world.node_of(f"w-{pool}") for pool in POOLS)


async def test_a_replica_that_ends_in_good_order_is_replaced_at_once(site: Site) -> None:
    await site.open("one", "two")
    await site.world.end(0)
    del site.services["one"]
    await site.world.settle(5)
    assert site.mine() == {"two": [COMMON, *POOLS]}


async def test_a_newcomer_gets_its_shards_one_after_the_other(site: Site) -> None:
    await site.open("one")
    assert site.mine() == {"one": [COMMON, *POOLS]}
    await site.join("two")
    for _ in range(240):
        await site.world.settle(0.25)
        site.check()
        owned = sum(len(shards) for shards in site.mine().values())
        assert owned >= len(POOLS), "one at a time is between two owners"
    wanted = apart((COMMON, *POOLS), ("one", "two"))
    assert {shard: site.owner(shard) for shard in wanted} == wanted


async def test_a_stalled_owners_late_binding_is_refused_after_its_pool_was_taken_over(site: Site) -> None:
    await site.open("one", "two")
    pool = next(shard for shard in site.mine()["one"] if shard)
    line = site.lines["one"]
    line.flowing.clear()
    site.worker("late", pool, tflops="100", count=2)
    await site.world.settle(1)
    line.cut = True  # the process stands still, and so does everything that it sends
    await site.world.settle(TAKEN_OVER)
    assert pool in site.mine()["two"]
    for number in range(2):
        site.worker(f"filler{number}", pool, tflops="100", count=2)
    await site.world.settle(2)
    line.cut = False
    line.flowing.set()
    await site.world.settle(2)
    assert line.refused == ["late"]
    placed = [name for name in ("late", "filler0", "filler1") if site.world.node_of(name)]
    assert len(placed) == 2
    site.check()


async def test_a_quota_is_exact_over_pools_of_several_owners(site: Site) -> None:
    await site.open("one", "two")
    mine = site.mine()
    first = next(shard for shard in mine["one"] if shard)
    second = next(shard for shard in mine["two"] if shard)
    site.world.quota("default", {"total": {"maxWorkers": 3}})
    await site.world.settle(1)
    for number in range(6):
        site.worker(f"w{number}", (first, second)[number % 2])
    await site.world.settle(1)
    placed = [number for number in range(6) if site.world.node_of(f"w{number}")]
    assert len(placed) <= 3
    await site.world.settle(60)
    placed = [number for number in range(6) if site.world.node_of(f"w{number}")]
    assert len(placed) == 3
    assert site.owner(first) == site.owner(second), "tied pools come to one owner"
    site.world.delete(f"w{placed[0]}")
    await site.world.settle(15)
    assert sum(bool(site.world.node_of(f"w{number}")) for number in range(6) if number != placed[0]) == 3


async def test_quotas_that_are_lent_are_exact_over_pools_of_several_owners(site: Site) -> None:
    await site.open("one", "two")
    mine = site.mine()
    pools = [next(shard for shard in mine[name] if shard) for name in ("one", "two")]
    for namespace, gpus in (("default", 1), ("other", 2)):
        site.world.quota(namespace, {"total": {"maxGPUCount": gpus}, "cohort": "both"})
    await site.world.settle(1)
    pods = [(f"w{number}", ("default", "other")[number % 2]) for number in range(6)]
    for number, (name, namespace) in enumerate(pods):
        site.worker(name, pools[number % 2], namespace=namespace)

    def placed() -> list[tuple[str, str]]:
        return [pod for pod in pods if pod not in gone and site.world.node_of(*pod)]

    gone: list[tuple[str, str]] = []
    await site.world.settle(1)
    assert len(placed()) <= 3
    await site.world.settle(60)
    assert len(placed()) == 3
    assert site.owner(pools[0]) == site.owner(pools[1]), "the pools of a tree come to one owner"
    gone.append(placed()[0])
    site.world.delete(*gone[0])
    await site.world.settle(15)
    assert len(placed()) == 3
    site.check()


@pytest.mark.parametrize("replicas", [("one",), ("one", "two")])
async def test_a_pod_of_a_pool_that_is_gone_does_not_keep_the_others_of_its_namespace_waiting(
    site: Site, replicas: Sequence[str]
) -> None:
    site.world.quota("default", {"total": {"maxWorkers": 9}})
    await site.open(*replicas)
    site.worker("left", "d", tflops="1000")
    await site.world.settle(1)
    for node in range(2):
        for index in range(2):
            site.world.api.remove(GPUS, f"d{node}-{index}")
    site.world.api.remove(GPU_POOLS, "d")
    await site.world.settle(60)
    site.worker("goes", "a")
    site.worker("goes-too", "b")
    await site.world.settle(60)
    assert site.world.node_of("goes") and site.world.node_of("goes-too")
    assert "waits" not in site.world.reason_of("left")
    site.check()


async def test_a_namespace_in_one_pool_does_not_wait_for_other_pools(site: Site) -> None:
    await site.open("one", "two")
    site.world.quota("default", {"total": {"maxWorkers": 1}})
    for name in ("w0", "w1"):
        site.worker(name, "a")
    site.worker("elsewhere", "b", namespace="other")
    await site.world.settle(2)
    assert [bool(site.world.node_of(name)) for name in ("w0", "w1")] == [True, False]
    assert site.world.node_of("elsewhere", "other")
    assert "quota" in site.world.reason_of("w1")


async def test_pods_without_shares_fill_the_nodes_of_every_owner_and_oversell_none(site: Site) -> None:
    await site.open("one", "two")
    for number in range(80):
        site.world.plain(f"p{number}", cpu="1")
    await site.world.settle(60)
    nodes = [site.world.node_of(f"p{number}") for number in range(80)]
    counts = {node: nodes.count(node) for node in set(nodes) if node}
    assert counts == {**{f"{pool}{number}": 8 for pool in POOLS for number in range(2)}, "plain": 8}
    waiting = [f"p{number}" for number, node in enumerate(nodes) if not node]
    assert all("not enough cpu" in site.world.reason_of(name) for name in waiting)
    twice = [name for name, node, _ in site.world.bindings() if not node]
    assert twice == []


async def test_a_pod_that_only_one_owner_can_place_is_placed_by_it_at_once(site: Site) -> None:
    await site.open("one", "two")
    for pool in POOLS:
        site.world.plain(f"daemon-{pool}", nodeSelector={keys.HOSTNAME_LABEL: f"{pool}1"})
    await site.world.settle(0.5)
    assert [site.world.node_of(f"daemon-{pool}") for pool in POOLS] == [f"{pool}1" for pool in POOLS]


async def test_a_node_that_changes_its_pool_rests_before_its_new_owner_places_on_it(site: Site) -> None:
    await site.open("one", "two")
    for index in range(2):
        site.world.gpu(f"new-{index}", "plain", index=index, pool="a", tflops="500")
    await site.world.settle(1)
    site.worker("big", "a", tflops="400")
    site.world.plain("pod", nodeSelector={keys.HOSTNAME_LABEL: "plain"})
    await site.world.settle(10)
    assert not site.world.node_of("big") and not site.world.node_of("pod")
    await site.world.settle(20)
    assert site.world.node_of("big") == site.world.node_of("pod") == "plain"


async def test_nobody_decides_beside_a_scheduler_that_takes_everything_for_its_own(site: Site) -> None:
    site.world.api.seed(
        LEASES,
        {
            "metadata": {"name": keys.LEADER_LEASE},
            "spec": {"holderIdentity": "single", "leaseDurationSeconds": 60, "leaseTransitions": 4},
        },
        namespace=keys.SYSTEM_NAMESPACE,
    )
    await site.open("one")
    site.worker("w", "a")
    for _ in range(5):
        now = site.world.clock.now().isoformat()
        lease = {"spec": {"renewTime": now}}
        site.world.api.change(LEASES, keys.LEADER_LEASE, lease, namespace=keys.SYSTEM_NAMESPACE)
        await site.world.settle(30)
        assert not site.world.node_of("w")
    await site.world.settle(70)
    assert site.world.node_of("w")
    lease = site.world.api.object(LEASES, keys.LEADER_LEASE, namespace=keys.SYSTEM_NAMESPACE)["spec"]
    assert (lease["holderIdentity"], lease["leaseTransitions"]) == (keys.SHARDED_HOLDER, 5)


async def test_a_scheduler_that_is_asked_about_a_pod_of_another_says_whose_it_is(site: Site) -> None:
    await site.open("one", "two")
    pool = next(shard for shard in site.mine()["one"] if shard)
    site.worker("w", pool, tflops="1000")
    await site.world.settle(1)
    told = explain(site.services["two"], Key("default", "w"))
    assert told["reason"] == f"scheduler one places on pool {pool}, and has the record of the pod"
    assert "not enough compute" in explain(site.services["one"], Key("default", "w"))["reason"]


async def test_gangs_evictions_and_live_changes_are_the_business_of_the_pools_owner(site: Site) -> None:
    await site.open("one", "two")
    mine = site.mine()
    for who in ("one", "two"):
        pool = next(shard for shard in mine[who] if shard)
        stamps = {
            keys.GPU_POOL: pool,
            keys.GANG_REQUIRED_MEMBERS: "3",
            keys.GANG_DESIRED_MEMBERS: "3",
            keys.GANG_GROUP_KEY: f"default/{who}",
        }
        for number in range(3):
            site.world.worker(f"gang-{who}{number}", tflops="100", annotations=stamps)
        site.worker(f"rest-{who}", pool, tflops="50")
        await site.world.settle(2)
        site.worker(f"high-{who}", pool, tflops="90", priority=10)
        wish = {"metadata": {"annotations": {keys.RESIZE: '{"vram-request": "3Gi"}'}}}
        site.world.api.change(PODS, f"gang-{who}0", wish, namespace="default")
        await site.world.settle(5)
        assert [call.name for call in site.world.api.calls if call.verb == "evict"][-1] == f"rest-{who}"
        site.world.delete(f"rest-{who}")
        await site.world.settle(5)
        sent = [name for name, shard in site.lines[who].sent if shard == pool]
        assert sorted(sent) == [*(f"gang-{who}{number}" for number in range(3)), f"high-{who}", f"rest-{who}"]
        notes = site.world.pod(f"gang-{who}0")["metadata"]["annotations"]
        assert notes[f"{keys.DOMAIN}/vram-request"] == "3Gi"
        assert notes[keys.SCHEDULER_SHARD].partition("/")[2] == pool
    site.check()


async def test_for_pods_without_shares_the_owner_of_the_common_shard_alone_makes_room(site: Site) -> None:
    await site.open("one", "two")
    common = site.owner(COMMON)
    (other,) = {"one", "two"} - {common}
    for number in range(9):
        site.world.plain(f"low{number}", cpu="8")
    await site.world.settle(60)
    site.world.plain("high", cpu="8", priority=10)
    for number in range(2):
        site.world.api.seed(PODS, plain_member(f"member{number}"), namespace="default")
    await site.world.settle(10)
    named = {name: nominated(site, name) for name in ("high", "member0", "member1")}
    assert all(named.values())
    shards = site.services[other].shards
    assert shards is not None
    shards.fenced(shards.term(next(shard for shard in site.mine()[other] if shard)))
    await site.world.settle(1)
    await site.join("three")
    await site.world.settle(3)
    assert {name: len(one.preemptor.nominations) for name, one in site.services.items()} == {
        common: 3,
        other: 0,
        "three": 0,
    }
    evicted = {call.name for call in site.world.api.calls if call.verb == "evict"}
    assert {site.world.node_of(name) for name in evicted} == set(named.values()) and len(evicted) == 3
    assert {name: nominated(site, name) for name in named} == named


def plain_member(name: str) -> dict[str, Any]:
    container = {"name": "main", "resources": {"requests": {"cpu": "8", "memory": "1Gi"}}}
    return {
        "metadata": {"name": name, "annotations": stamps(2)},
        "spec": {"schedulerName": "default-scheduler", "priority": 10, "containers": [container]},
    }


def nominated(site: Site, name: str) -> str:
    return str(site.world.pod(name).get("status", {}).get("nominatedNodeName", ""))


async def test_a_gang_with_and_without_shares_is_the_business_of_its_pools_owner_alone(site: Site) -> None:
    await site.open("one", "two")
    common = site.owner(COMMON)
    (other,) = {"one", "two"} - {common}
    pool = next(shard for shard in site.mine()[other] if shard)
    for number in range(4):
        site.worker(f"low{number}", pool, tflops="100")
    await site.world.settle(2)
    site.worker("member0", pool, tflops="100", priority=10)
    site.world.api.change(PODS, "member0", {"metadata": {"annotations": stamps(2)}}, namespace="default")
    site.world.api.seed(PODS, plain_member("member1"), namespace="default")
    await site.world.settle(10)
    assert nominated(site, "member0") and nominated(site, "member1")
    assert {name: len(one.preemptor.nominations) for name, one in site.services.items()} == {common: 0, other: 2}
    words = site.services[common].gangs.words(site.world.pod("member1")["metadata"]["uid"])
    assert "another scheduler places members of it" in str(words)
    shards = site.services[common].shards
    assert shards is not None
    shards.fenced(shards.term(COMMON))  # afterwards it looks for what was promised
    await site.world.settle(20)
    assert nominated(site, "member0") and nominated(site, "member1")
    await site.world.settle(30)
    evicted = [call.name for call in site.world.api.calls if call.verb == "evict"]
    for name in set(evicted):
        site.world.delete(name)
    await site.world.settle(15)
    assert site.world.node_of("member0") and site.world.node_of("member1")
    assert {name for name, _ in site.lines[other].sent} >= {"member0", "member1"}


def apart_pools(site: Site) -> tuple[str, str]:
    """Two pools of two owners, in the order of their names."""
    first = next(pool for pool in POOLS if pool in site.mine()["one"])
    second = next(pool for pool in POOLS if pool in site.mine()["two"])
    return min(first, second), max(first, second)


def member(site: Site, name: str, pool: str, required: int = 2, **more: str) -> None:
    site.world.worker(name, annotations={**stamps(required, **more), keys.GPU_POOL: pool})


SEVERAL = "gang default/train: its members ask for pools {} and {}: give all of them the same gpupool"


@pytest.mark.parametrize("mode", ["", "Strict"])
async def test_a_gang_over_the_pools_of_two_owners_hears_from_both_why_it_waits(site: Site, mode: str) -> None:
    await site.open("one", "two")
    pools = apart_pools(site)
    words, more = SEVERAL.format(*pools), {"timeout": "60s", **({"mode": mode} if mode else {})}
    for number, pool in enumerate(pools):
        member(site, f"m{number}", pool, **more)
    await site.world.settle(5)
    for name in ("m0", "m1"):
        assert site.world.events_of(name) == {"GangStrictRejected" if mode else "GangWaiting": words}
        assert site.world.reason_of(name) == words
        uid = site.world.pod(name)["metadata"]["uid"]
        assert {service.gangs.words(uid) for service in site.services.values()} == {words}
    await site.world.settle(60)
    for name in ("m0", "m1"):
        late = site.world.events_of(name)["GangTimeout"]
        assert late == words.replace("its members", "timed out after 1m: its members") == site.world.reason_of(name)
    site.world.delete("m1")
    member(site, "m2", pools[0], **more)
    await site.world.settle(5)
    assert site.world.node_of("m0") and site.world.node_of("m2")


async def test_a_member_without_shares_of_a_gang_over_two_owners_pools_hears_why_it_waits(site: Site) -> None:
    await site.open("one", "two")
    pools = apart_pools(site)
    site.world.api.seed(PODS, plain_member("plain"), namespace="default")
    for number, pool in enumerate(pools):
        member(site, f"m{number}", pool)
    await site.world.settle(5)
    assert {site.world.reason_of(name) for name in ("m0", "m1", "plain")} == {SEVERAL.format(*pools)}


async def test_nobody_waits_and_nobody_goes_for_a_gang_over_the_pools_of_two_owners(site: Site) -> None:
    """Enough of its members for one pool, and room for them if all else ended there: it cannot start all the same."""
    await site.open("one", "two")
    pools = apart_pools(site)
    for number in range(4):
        site.worker(f"low{number}", pools[0], tflops="95")
    await site.world.settle(2)
    for name, pool in (("m0", pools[0]), ("m1", pools[0]), ("m2", pools[1])):
        site.world.worker(name, tflops="90", priority=10, annotations={**stamps(2, 3), keys.GPU_POOL: pool})
    await site.world.settle(400)
    site.worker("young", pools[0], tflops="5")
    await site.world.settle(5)
    assert site.world.node_of("young")
    assert not [call for call in site.world.api.calls if call.verb == "evict"]
    assert not any(site.world.node_of(name) for name in ("m0", "m1", "m2"))
    assert not any(nominated(site, name) for name in ("m0", "m1", "m2"))


async def test_a_pool_that_a_replica_has_not_heard_of_is_not_taken_for_its_own_in_a_quota(site: Site) -> None:
    await site.open("one")
    site.world.quota("default", {"total": {"maxWorkers": 9}})
    site.worker("there", "a")
    await site.world.settle(1)
    site.worker("first", "new")
    await site.world.settle(0.01)
    site.worker("here", "a")
    await site.world.settle(5)
    assert not site.world.node_of("here"), "another owner may place on the new pool already"
    await site.world.settle(20)
    assert site.world.node_of("here"), "there is no such pool"
    site.worker("second", "newer")
    site.worker("late", "a")
    await site.world.settle(2)
    assert not site.world.node_of("late")
    site.world.pool("newer")
    site.world.node("newer0", cpu="8")
    site.world.gpu("newer0-0", "newer0", pool="newer")
    await site.world.settle(5)
    assert site.world.node_of("late"), "it is known now, and this replica's"
    await site.world.settle(15)
    assert site.world.node_of("second")


async def test_catching_up_waits_for_pods_that_wait_themselves_and_that_the_watch_has_not_shown(site: Site) -> None:
    """Else a namespace's pods in flight in the former owner's other pool would not be known to the new owner of this."""
    tie = tied((COMMON, *POOLS), [{"a", "b"}])
    pairs = [("old", f"new{number}") for number in range(20)]
    former, newcomer = next(pair for pair in pairs if choices(tie, pair)["a"][0] == pair[1])
    await site.open(former)
    site.world.quota("default", {"total": {"maxWorkers": 1}})
    for number in range(4):
        site.worker(f"filler{number}", "a", namespace="other", tflops="100")
    site.worker("here", "a", tflops="100")
    await site.world.settle(1)
    await site.join(newcomer)
    await site.world.settle(5)
    site.lines[newcomer].pods.clear()
    site.lines[former].flowing.clear()
    site.worker("there", "b")
    await site.world.settle(40)
    assert site.holder("a") == newcomer and site.holder("b") == former, "what is in flight keeps the other one back"
    site.world.gpu("a0-2", "a0", index=2, pool="a")
    await site.world.settle(5)
    site.lines[former].flowing.set()
    await site.world.settle(1)
    site.lines[newcomer].pods.set()
    await site.world.settle(30)
    assert [bool(site.world.node_of(name)) for name in ("here", "there")] == [False, True]


async def test_a_pod_that_came_while_its_shard_was_lost_for_a_moment_is_placed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.open("one")
    shards = site.services["one"].shards
    assert shards is not None
    (elector,) = [one for one in shards.electors if one.name == shard_lease("a")]
    await site.world.settle(0.01)
    with monkeypatch.context() as late:  # its renewal is, and is there before the shards are looked at again
        late.setattr(elector, "is_leader", lambda: False)
        site.worker("during", "a")
        await site.world.settle(0.01)
    await site.world.settle(2)
    assert site.world.node_of("during")


async def test_what_is_decided_here_already_goes_on_while_a_new_shard_is_caught_up_with(site: Site) -> None:
    await site.open("one")
    shards = site.services["one"].shards
    assert shards is not None
    for index in range(2):
        site.worker(f"low{index}", "a", tflops="100", count=2)
    await site.world.settle(1)
    site.worker("high", "a", tflops="100", count=2, priority=10)
    await site.world.settle(2)
    assert len(site.services["one"].preemptor.nominations) == 1
    line = site.lines["one"]
    line.lists.clear()
    site.world.pool("e")
    await site.world.settle(5)
    assert [term.shard for term in shards.fresh()] == ["e"]
    for number in range(2):
        notes = {keys.GPU_POOL: "b", **stamps(3)}
        site.world.worker(f"member{number}", annotations=notes)
    await site.world.settle(10)
    assert "2 of 3 members" in site.world.reason_of("member0")
    shards.fenced(shards.term("a"))
    await site.world.settle(1)
    assert "a" not in shards.mine and not site.services["one"].preemptor.nominations
    line.lists.set()
    await site.world.settle(20)
    assert shards.mine == [COMMON, *POOLS, "e"]


async def test_a_shard_is_not_handed_over_before_what_goes_to_its_nodes_in_the_name_of_another_arrived(
    site: Site,
) -> None:
    """A node with devices of two pools is in the shard of the first: its new owner would not know of pods in flight."""
    await site.open("one")
    site.world.gpu("a0-b", "a0", index=2, pool="b", tflops="500")
    newcomer = next(
        name
        for name in ("two", "three", "four", "five")
        if choices(tied((COMMON, *POOLS), [{"a", "b"}]), ("one", name))["a"][0] == name
    )
    await site.world.settle(20)
    line = site.lines["one"]
    line.flowing.clear()
    site.worker("late", "b", tflops="400")
    await site.join(newcomer)
    await site.world.settle(40)
    assert site.holder("b") == site.holder("a") == "one"
    line.flowing.set()
    await site.world.settle(40)
    assert site.world.node_of("late") == "a0"
    assert site.owner("a") == site.owner("b") == newcomer
    site.check()


async def test_what_a_replica_leaves_behind_is_cleared_away_but_not_the_epochs_of_pools(site: Site) -> None:
    await site.open("one", "two", pools=("a",))
    await site.kill("one")
    await site.world.settle(400)
    leases = site.world.api.objects(LEASES, namespace=keys.SYSTEM_NAMESPACE)
    names = sorted(lease["metadata"]["name"] for lease in leases)
    assert names == sorted([keys.LEADER_LEASE, member_lease("two"), shard_lease("a"), shard_lease(COMMON)])


async def test_leases_of_shards_say_which_pool_they_are_for(site: Site) -> None:
    await site.open("one", pools=("a",))
    lease = site.world.api.object(LEASES, shard_lease("a"), namespace=keys.SYSTEM_NAMESPACE)
    assert lease["metadata"]["annotations"] == {keys.SCHEDULER_SHARD: "a"}
    assert lease["metadata"]["labels"] == {keys.COMPONENT: "scheduler"}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(POOLS), st.sampled_from(["capped", "free"]), st.integers(1, 9)),
        st.tuples(st.just("create"), st.sampled_from(POOLS), st.sampled_from(["capped", "free"]), st.integers(1, 9)),
        st.tuples(st.just("plain"), st.integers(1, 4)),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("move"), st.integers(0, 7), st.sampled_from(POOLS)),
        st.tuples(st.just("kill"), st.integers(0, 2)),
        st.tuples(st.just("join")),
        st.tuples(st.just("cut"), st.integers(0, 2)),
        st.tuples(st.just("mend")),
        st.tuples(st.just("hold"), st.integers(0, 2)),
        st.tuples(st.just("lag"), st.integers(0, 2)),
        st.tuples(st.just("settle"), st.sampled_from([0.1, 1.0, 5.0, 20.0])),
        st.tuples(st.just("settle"), st.sampled_from([0.1, 1.0, 5.0, 20.0])),
    ),
    max_size=25,
)


def usage(world: Any) -> int:
    """TFLOPS that live pods of the namespace with the quota hold."""
    return sum(
        int(pod["metadata"]["annotations"][f"{keys.DOMAIN}/tflops-request"])
        for pod in world.api.objects(PODS, namespace="capped")
        if pod["spec"].get("nodeName")
    )


async def play(site: Site, steps: list[tuple[Any, ...]]) -> None:
    world = site.world
    world.quota("capped", {"total": {"requests": {"tflops": "25", "vram": "1000Gi"}}})
    await site.open("one", "two")
    made = 0
    for step, *details in steps:
        lines = list(site.lines.values())
        if step == "create":
            pool, namespace, tflops = details
            site.worker(
                f"w{made}", pool, namespace=namespace, tflops=str(tflops * 10 if namespace == "free" else tflops)
            )
        elif step == "plain":
            world.plain(f"p{made}", cpu=str(details[0]))
        elif step == "delete":
            pods = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in world.api.objects(PODS)]
            if pods:
                namespace, name = pods[details[0] % len(pods)]
                world.delete(name, namespace)
        elif step == "move" and all(line.clear for line in lines):
            move(site, f"{POOLS[details[0] // 2]}{details[0] % 2}", details[1])
        elif step == "kill" and len(lines) > 1:
            await site.kill(list(site.lines)[details[0] % len(lines)])
        elif step == "join" and len(lines) < 3:
            await site.join(f"r{made}")
        elif step == "cut":
            lines[details[0] % len(lines)].cut = True
        elif step == "hold":
            lines[details[0] % len(lines)].flowing.clear()
        elif step == "lag":
            lines[details[0] % len(lines)].news.clear()
        elif step == "mend":
            mend(site)
        elif step == "settle":
            await world.settle(details[0])
        made += 1
        check(site)
    mend(site)
    await world.settle(120)
    check(site)
    waiting = [one for one in world.api.objects(PODS, namespace="free") if not one["spec"].get("nodeName")]
    assert len(waiting) < made or not waiting
    held = sorted(shard for shards in site.mine().values() for shard in shards)
    assert held == [COMMON, *POOLS]


def move(site: Site, node: str, pool: str) -> None:
    """Give a node without shares to another pool, as the operator does; everybody hears of it within the bound."""
    if any(one["spec"].get("nodeName") == node for one in site.world.api.objects(PODS)):
        return
    for index in range(2):
        site.world.api.change(GPUS, f"{node}-{index}", {"metadata": {"labels": {keys.GPU_POOL: pool}}})


def mend(site: Site) -> None:
    for line in [*site.lines.values(), *site.dead]:
        line.cut = line in site.dead
        line.flowing.set()
        line.news.set()


def check(site: Site) -> None:
    site.check()
    assert usage(site.world) <= 25
    pods = [one for one in site.world.api.objects(PODS) if one["spec"].get("nodeName")]
    for node in {one["spec"]["nodeName"] for one in pods}:
        cpu = [
            int(container.get("resources", {}).get("requests", {}).get("cpu", 0))
            for one in pods
            for container in one["spec"]["containers"]
            if one["spec"]["nodeName"] == node
        ]
        assert sum(cpu) <= 8, node


@pytest.mark.long
@given(steps=STEPS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_is_oversold_and_no_quota_overrun_whatever_happens_to_the_replicas(
    steps: list[tuple[Any, ...]], make_world: Any
) -> None:
    async def scenario() -> None:
        site = Site(make_world())
        try:
            await play(site, steps)
        finally:
            await site.close()

    asyncio.run(scenario())
