"""Host ports at admission and over HTTP: assigned once, kept on a second look, refused when forged."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from tensorfusion.errors import Conflict, ServerError, Unauthorized
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.host_ports import EXPIRY, PortRange
from tensorfusion.runtime.admission import AdmissionRequest
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.objects import json_patch
from tensorfusion.webhook.host_ports import Assignments, assign_routes
from tensorfusion.webhook.service import Webhook

Json = dict[str, Any]
PORTS = PortRange(42000, 42010)


@dataclass
class Site:
    api: FakeApi
    clock: VirtualClock
    webhooks: list[Webhook]
    assignments: Assignments
    number: int = 0

    def template(self, **labels: str) -> Json:
        ports = [{"name": "web", "containerPort": 80}, {"name": "rpc", "containerPort": 90}]
        return {
            "metadata": {
                "name": "w",
                "labels": {keys.ENABLED: "true", keys.HOST_PORT: "auto", keys.PORT_NAME: "rpc", **labels},
                "annotations": {keys.TFLOPS_LIMIT: "10"},
            },
            "spec": {"containers": [{"name": "m", "image": "a", "ports": ports}]},
        }

    async def ask(self, pod: Json, *, dry_run: bool = False) -> Any:
        self.number += 1
        request = AdmissionRequest(
            uid=f"r{self.number}", operation="CREATE", namespace="team", object=pod, dry_run=dry_run
        )
        return await self.webhooks[self.number % 2].mutate_pod(request)

    async def create(self, name: str) -> Json:
        pod = self.template()
        pod["metadata"]["name"] = name
        answer = await self.ask(pod)
        assert answer.allowed, answer.message
        return self.api.seed(r.PODS, json_patch(pod, answer.patch), namespace="team")


def port(pod: Json) -> int:
    given = pod["spec"]["containers"][0]["ports"][1]["hostPort"]
    assert pod["metadata"]["annotations"][keys.PORT_NUMBER] == str(given)
    return int(given)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = VirtualClock()
    api = FakeApi(clock)
    api.seed(r.GPU_POOLS, {"metadata": {"name": "main", "annotations": {keys.IS_DEFAULT_POOL: "true"}}})
    api.seed(r.NAMESPACES, {"metadata": {"name": "team"}})
    managers = [Manager(api, clock=clock) for _ in range(2)]
    assignments = [Assignments(api, PORTS, clock=clock) for _ in range(2)]
    webhooks = [Webhook(one, assignments=given) for one, given in zip(managers, assignments, strict=True)]
    running = [asyncio.ensure_future(manager.run()) for manager in managers]
    for manager in managers:
        await manager.synced.wait()
    yield Site(api, clock, webhooks, assignments[0])
    for manager, task in zip(managers, running, strict=True):
        manager.stop()
        await task


async def test_concurrent_pods_through_two_replicas_get_ports_of_their_own(site: Site) -> None:
    pods = await site.clock.run(_all(*(site.create(f"w{n}") for n in range(10))))
    assert sorted(map(port, pods)) == list(range(42000, 42010))
    answer = await site.ask(site.template())
    assert (answer.allowed, answer.code) == (False, 503)
    assert "no host port is free in 42000-42010" in answer.message


async def _all(*work: Any) -> list[Json]:
    return list(await asyncio.gather(*work))


async def test_a_port_is_free_again_when_its_pod_ended_or_is_gone(site: Site) -> None:
    for name in ("a", "b", "c"):
        await site.create(name)
    site.api.remove(r.PODS, "a", namespace="team")
    await site.clock.advance(EXPIRY)
    assert port(await site.create("d")) == 42000
    site.api.change(r.PODS, "b", {"status": {"phase": "Failed"}}, namespace="team", subresource="status")
    assert port(await site.create("e")) == 42001


async def test_a_lost_reply_and_a_conflict_cost_no_second_port(site: Site) -> None:
    site.api.fail("patch", r.CONFIG_MAPS, error=ServerError("timed out", code=504), reply_lost=True)
    assert port(await site.clock.run(site.create("a"))) == 42000
    site.api.fail("patch", r.CONFIG_MAPS, error=Conflict("written meanwhile"))
    assert port(await site.clock.run(site.create("b"))) == 42001


async def test_a_dry_run_takes_no_port(site: Site) -> None:
    answer = await site.ask(site.template(), dry_run=True)
    assert port(json_patch(site.template(), answer.patch)) == 42000
    assert port(await site.create("a")) == 42000


async def test_a_second_look_keeps_the_port_and_a_forged_one_is_refused(site: Site) -> None:
    pod = site.template()
    once = json_patch(pod, (await site.ask(pod)).patch)
    assert json_patch(once, (await site.ask(once)).patch) == once
    forged = json_patch(once, [])
    forged["metadata"]["annotations"][keys.PORT_NUMBER] = "42005"
    answer = await site.ask(forged)
    assert (answer.allowed, answer.code) == (False, 403)
    native = {**once, "metadata": {**once["metadata"], "labels": {keys.HOST_PORT: "auto"}}}
    assert not (await site.ask(native)).allowed


async def test_a_port_that_does_not_exist_is_refused(site: Site) -> None:
    answer = await site.ask(site.template(**{keys.PORT_NAME: "none"}))
    assert (answer.allowed, answer.code) == (False, 400)
    assert "web, rpc" in answer.message


async def test_pods_without_the_label_cost_no_call(site: Site) -> None:
    pod = site.template()
    del pod["metadata"]["labels"][keys.HOST_PORT]
    site.api.calls.clear()
    assert (await site.ask(pod)).allowed
    assert site.api.calls == []


def test_the_routes_answer_in_plain_text_and_ask_who_is_there() -> None:
    api = FakeApi()
    assignments = Assignments(api, PORTS, clock=VirtualClock())

    async def authorize(request: Request) -> None:
        if "Authorization" not in request.headers:
            raise Unauthorized("missing authorization header")

    client = TestClient(Starlette(routes=assign_routes(assignments, authorize=authorize)))
    headers = {"Authorization": "Bearer t"}
    assert client.post("/api/assign-host-port?podName=w").status_code == 401
    answers = [client.post(f"/api/assign-host-port?podName={name}", headers=headers) for name in ("w", "v", "w")]
    assert [answer.text for answer in answers] == ["42000", "42001", "42000"]
    indices = [client.get("/api/assign-index?podName=w", headers=headers).text for _ in range(130)]
    assert (indices[:2], indices[127:]) == (["1", "2"], ["128", "1", "2"])
    for name in ("", "a,b", "a=1@2", "x" * 254):
        assert client.post(f"/api/assign-host-port?podName={name}", headers=headers).status_code == 400


class SlowApi(FakeApi):
    """While ``slow``, lists arrive long after they were made."""

    slow = False

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self._time = clock

    async def list(self, *arguments: Any, **options: Any) -> Any:
        found = await super().list(*arguments, **options)
        if self.slow:
            await self._time.sleep(EXPIRY)
        return found


async def test_a_pod_that_came_while_a_list_was_on_its_way_keeps_its_port() -> None:
    clock = VirtualClock()
    api = SlowApi(clock)
    assignments = [Assignments(api, PORTS, clock=clock) for _ in range(2)]
    first = await clock.run(assignments[0].host_port("a"))
    api.slow = True
    assert await clock.run(assignments[1].host_port("b")) != first
