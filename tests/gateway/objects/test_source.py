"""What is put in force of a cluster's objects, and when: whole, soon, and nothing of a route before what it needs."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tensorfusion.errors import Forbidden
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.objects.kinds import SERVICE_NAME
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State
from tensorfusion.model.resources import AZURE_GPU_SOURCES, ENDPOINT_SLICES, LLM_ROUTES, SECRETS, SERVICES
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


@dataclass
class World:
    api: FakeApi
    clock: VirtualClock
    source: Source
    state: State
    used: list[State] = field(default_factory=list)

    async def settle(self) -> None:
        """Long enough for a change to be in force: 200 ms."""
        await self.clock.advance(0.2)

    def upstream(self, key: str = "red/chat", index: int = 0) -> Any:
        route = self.state.routes.by_key[key]
        return self.state.upstreams.of(route, route.targets[index])

    def urls(self, key: str = "red/chat") -> list[str]:
        return [replica.url for replica in self.upstream(key).replicas]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    api = FakeApi(clock)
    source = Source(api, clock=clock, book=KeyBook(clock), use=lambda routes, secrets: use(routes, secrets))
    found = World(api, clock, source, State.of(Routes(()), Secrets({})))

    def use(routes: Routes, secrets: Secrets) -> None:
        found.state = State.of(routes, secrets, addresses=source.addresses, before=found.state)
        found.used.append(found.state)

    running = asyncio.create_task(source.run())
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def target(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "provider": "self-hosted", "model": "m", **more}


def route(*targets: dict[str, Any], name: str = "chat", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"targets": list(targets), **spec}}


def credential(name: str) -> dict[str, str]:
    return {"name": name, "namespace": "red", "key": "k"}


def secret(name: str, value: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"k": base64.b64encode(value.encode()).decode()}}


def behind(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-1", "labels": {SERVICE_NAME: name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
        "ports": [{"name": "", "port": 8000}],
    }


SERVICE = {"metadata": {"name": "llm"}, "spec": {"ports": [{"port": 80}]}}


async def test_a_route_is_in_force_within_200_ms_and_gone_as_soon(world: World) -> None:
    await world.settle()
    assert world.source.in_force.is_set()
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://10.0.0.1")), namespace="red")
    await world.settle()
    assert world.urls() == ["http://10.0.0.1"]
    world.api.remove(LLM_ROUTES, "chat", namespace="red")
    await world.settle()
    assert world.state.routes.by_key == {}


async def test_only_the_secrets_that_routes_name_are_read_each_by_its_name(world: World) -> None:
    world.api.seed(SECRETS, secret("mine", "one"), namespace="red")
    world.api.seed(SECRETS, secret("other", "two"), namespace="red")
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://a.b", apiKeySecret=credential("mine"))), namespace="red")
    await world.settle()
    assert world.upstream().credential == ((b"Authorization", b"Bearer one"),)
    asked = [call for call in world.api.calls if call.resource == SECRETS.id]
    assert {call.namespace for call in asked} == {"red"}
    assert len([call for call in asked if call.verb == "list"]) == 1
    world.api.change(SECRETS, "mine", secret("mine", "three"), namespace="red")
    await world.settle()
    assert world.upstream().credential == ((b"Authorization", b"Bearer three"),)


async def test_a_route_waits_for_what_it_newly_refers_to_and_never_lacks_it(world: World) -> None:
    for name in ("a", "b"):
        world.api.seed(SECRETS, secret(name, name), namespace="red")
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y", apiKeySecret=credential("a"))), namespace="red")
    await world.settle()
    world.used.clear()
    changed = route(target(endpoint="http://x.y", apiKeySecret=credential("b")))
    world.api.change(LLM_ROUTES, "chat", changed, namespace="red")
    await world.settle()
    assert world.upstream().credential == ((b"Authorization", b"Bearer b"),)
    for state in world.used:
        assert [state.upstreams.unusable(one) for one in state.routes.by_key.values()] == [0]


async def test_what_may_not_be_read_holds_nothing_up_for_long(world: World) -> None:
    await world.settle()
    world.api.fail("list", SECRETS, error=Forbidden("no"), times=-1)
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y", apiKeySecret=credential("a"))), namespace="red")
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y"), name="other"), namespace="red")
    await world.settle()
    assert world.upstream("red/other").problem == ""
    assert world.upstream("red/chat").unauthorized == "Secret red/a key k does not exist"
    assert world.upstream("red/chat").unreachable == ""


async def test_a_service_is_its_ready_endpoints_and_a_name_without_one_is_left_as_it_is(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://llm/v1")), namespace="red")
    await world.settle()
    assert world.urls() == ["http://llm/v1"]
    world.api.seed(ENDPOINT_SLICES, behind("llm", "10.0.0.1"), namespace="red")
    world.api.seed(SERVICES, SERVICE, namespace="red")
    await world.settle()
    assert world.urls() == ["http://10.0.0.1:8000/v1"]
    kept = world.upstream().replicas[0]
    world.api.change(ENDPOINT_SLICES, "llm-1", behind("llm", "10.0.0.1", "10.0.0.2"), namespace="red")
    await world.settle()
    assert world.urls() == ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"]
    assert world.upstream().replicas[0] is kept
    world.api.change(ENDPOINT_SLICES, "llm-1", behind("llm"), namespace="red")
    await world.settle()
    assert world.upstream().unreachable == "Service red/llm has no ready endpoint"


async def test_a_pool_is_the_services_of_the_routes_namespace_that_say_so(world: World) -> None:
    labelled = {"metadata": {"name": "llm", "labels": {"tensor-fusion.ai/gpupool": "l4"}}, "spec": SERVICE["spec"]}
    for namespace, address in (("red", "10.0.0.1"), ("blue", "10.0.0.2")):
        world.api.seed(SERVICES, labelled, namespace=namespace)
        world.api.seed(ENDPOINT_SLICES, behind("llm", address), namespace=namespace)
    world.api.seed(LLM_ROUTES, route(target(gpuPool="l4")), namespace="red")
    await world.settle()
    assert world.urls() == ["http://10.0.0.1:8000"]


async def test_a_wrong_route_is_left_out_and_the_others_work(world: World) -> None:
    stranger = {"name": "a", "namespace": "blue", "key": "k"}
    world.api.seed(
        LLM_ROUTES, route(target(endpoint="http://x.y", apiKeySecret=stranger), name="wrong"), namespace="red"
    )
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y")), namespace="red")
    await world.settle()
    assert list(world.state.routes.by_key) == ["red/chat"]
    (problem,) = world.state.routes.problems
    assert (problem.route, problem.field) == ("red/wrong", "spec.targets[0].apiKeySecret.namespace")
    assert not [call for call in world.api.calls if call.resource == SECRETS.id]


async def test_a_status_that_is_written_changes_nothing_here(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y")), namespace="red")
    await world.settle()
    world.used.clear()
    world.api.change(LLM_ROUTES, "chat", {"status": {"phase": "Active"}}, namespace="red", subresource="status")
    await world.settle()
    assert world.used == []


async def test_what_is_known_of_a_route_stays_while_others_change(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y")), namespace="red")
    await world.settle()
    chooser = world.state.choosers["red/chat"]
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.z"), name="other"), namespace="red")
    await world.settle()
    assert set(world.state.choosers) == {"red/chat", "red/other"}
    assert world.state.choosers["red/chat"] is chooser


async def test_an_azure_source_is_the_address_that_its_type_means(world: World) -> None:
    def source(**spec: Any) -> dict[str, Any]:
        return {"spec": {"subscriptionID": "s", "region": "eastus", **spec}}

    foundry = {"metadata": {"name": "east"}, **source(sourceType="foundry", foundryEndpoint="https://x.azure.com/")}
    world.api.seed(LLM_ROUTES, route(target(provider="azure", azureGPUSource="east")), namespace="red")
    await world.settle()
    assert world.upstream().unreachable == "AzureGPUSource east does not exist"
    world.api.seed(AZURE_GPU_SOURCES, foundry)
    await world.settle()
    assert world.urls() == ["https://x.azure.com"]
    world.api.change(AZURE_GPU_SOURCES, "east", {"spec": {"enabled": False}})
    await world.settle()
    assert world.upstream().unreachable == "AzureGPUSource east is not enabled"
    aks = source(sourceType="aks", aksClusterName="burst", enabled=True)
    world.api.change(AZURE_GPU_SOURCES, "east", aks)
    await world.settle()
    assert world.urls() == ["http://burst-vgpu-service:8000"]
    service = {"metadata": {"name": "burst-vgpu-service"}, "spec": {"ports": [{"port": 8000}]}}
    world.api.seed(SERVICES, service, namespace="red")
    world.api.seed(ENDPOINT_SLICES, behind("burst-vgpu-service", "10.0.0.1", "10.0.0.2"), namespace="red")
    await world.settle()
    assert world.urls() == ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]
    world.api.change(AZURE_GPU_SOURCES, "east", source(sourceType="vm"))
    await world.settle()
    assert world.upstream().unreachable == (
        "AzureGPUSource east is of type vm and brings nodes to a pool, no address: wanted foundry or aks, "
        "or gpuPool in the target"
    )


async def test_what_nobody_refers_to_any_more_is_not_watched_any_more(world: World) -> None:
    world.api.seed(SECRETS, secret("a", "one"), namespace="red")
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://x.y", apiKeySecret=credential("a"))), namespace="red")
    await world.settle()
    assert len(world.source.followed) == 1
    world.api.change(LLM_ROUTES, "chat", {"spec": {"targets": [target(endpoint="http://x.y")]}}, namespace="red")
    await world.settle()
    assert len(world.source.followed) == 0


async def test_everything_stays_while_the_api_is_away(world: World) -> None:
    world.api.seed(LLM_ROUTES, route(target(endpoint="http://10.0.0.1")), namespace="red")
    await world.settle()
    world.api.fail(times=-1)
    world.api.drop_watches()
    await world.clock.advance(60)
    assert world.urls() == ["http://10.0.0.1"]
    world.api.recover()
    world.api.change(LLM_ROUTES, "chat", route(target(endpoint="http://10.0.0.2")), namespace="red")
    await world.clock.advance(30)
    assert world.urls() == ["http://10.0.0.2"]
