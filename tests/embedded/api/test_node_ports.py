"""Node ports are never given twice, also to writes that come at once."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.embedded import node_ports
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.calls import Call, DeleteOptions
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.deletion import delete
from tensorfusion.embedded.objects import decode_object
from tensorfusion.embedded.server import Server, Settings
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import AlreadyExists, BadRequest, Invalid

PORT = 30080
TAKEN = f"nodePort: Invalid value: {PORT}: provided port is already allocated"


async def started(folder: Path) -> Server:
    server = Server(Settings(folder, 0), clock=SystemClock())
    await server._namespaces.prepare()
    await server._bootstrap()
    return server


def admin() -> Call:
    return Call(User("admin", ("system:masters",)))


def service(name: str, kind: str = "NodePort", node_port: int = PORT, **spec: Any) -> dict[str, Any]:
    port = {"port": 80, **({"nodePort": node_port} if node_port else {})}
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [port], **spec}}


def creation(server: Server, obj: dict[str, Any], call: Call | None = None) -> Coroutine[Any, Any, Any]:
    return create(server.operations, server.kinds.by_id("services"), "default", obj, call or admin())


def change(server: Server, name: str, edit: Callable[[Any], None]) -> Coroutine[Any, Any, Any]:
    def changed(obj: dict[str, Any]) -> dict[str, Any]:
        edit(obj)
        return obj

    return modify(server.operations, server.kinds.by_id("services"), "default", name, changed, admin())


async def errors_of(*writes: Coroutine[Any, Any, Any]) -> list[BaseException]:
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def test_of_two_creations_at_once_one_gets_the_port(tmp_path: Path) -> None:
    server = await started(tmp_path)
    (error,) = await errors_of(creation(server, service("a")), creation(server, service("b")))
    assert isinstance(error, Invalid)
    assert TAKEN in str(error)
    await server.store.close()


async def test_of_two_changes_at_once_one_gets_the_port(tmp_path: Path) -> None:
    server = await started(tmp_path)
    for name in ("a", "b"):
        await creation(server, service(name, node_port=0))

    def edit(obj: Any) -> None:
        obj["spec"]["ports"][0]["nodePort"] = PORT

    (error,) = await errors_of(change(server, "a", edit), change(server, "b", edit))
    assert TAKEN in str(error)
    await server.store.close()


async def test_of_two_creations_at_once_one_gets_the_port_for_its_health(tmp_path: Path) -> None:
    server = await started(tmp_path)
    asked = {"externalTrafficPolicy": "Local", "healthCheckNodePort": PORT}
    (error,) = await errors_of(
        *(creation(server, service(name, "LoadBalancer", 0, **asked)) for name in ("a", "b")),
    )
    assert isinstance(error, BadRequest)
    assert "provided port is already allocated" in str(error)
    await server.store.close()


async def test_a_new_port_of_a_service_is_none_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_ports, "_candidates", lambda: iter((PORT, PORT + 1)))
    server = await started(tmp_path)
    await creation(server, service("a", ports=[{"name": "a", "port": 80, "nodePort": PORT}]))
    record = await change(server, "a", lambda obj: obj["spec"]["ports"].append({"name": "b", "port": 81}))
    assert [port["nodePort"] for port in decode_object(record.data)["spec"]["ports"]] == [PORT, PORT + 1]
    await server.store.close()


async def test_a_write_that_fails_gives_its_port_back(tmp_path: Path) -> None:
    server = await started(tmp_path)
    await creation(server, service("a", "ClusterIP", 0))
    with pytest.raises(AlreadyExists):
        await creation(server, service("a"))
    with pytest.raises(Invalid, match="Unsupported value"):
        await creation(server, service("b", sessionAffinity="Never"))
    await creation(server, service("b"))
    await server.store.close()


async def test_a_dry_run_holds_nothing(tmp_path: Path) -> None:
    server = await started(tmp_path)
    await creation(server, service("a"), Call(User("admin", ("system:masters",)), dry_run=True))
    await creation(server, service("b"))
    await server.store.close()


async def test_a_write_that_nobody_waits_for_keeps_its_port_until_its_service_goes(tmp_path: Path) -> None:
    server = await started(tmp_path)
    async with asyncio.timeout(20):
        abandoned = asyncio.ensure_future(creation(server, service("a")))
        await asyncio.sleep(0)  # accepted, not durable yet
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        with pytest.raises(Invalid, match="already allocated"):
            await creation(server, service("b"))
        await creation(server, service("c", node_port=0))  # durable after it
        await delete(server.operations, server.kinds.by_id("services"), "default", "a", DeleteOptions(), admin())
        await creation(server, service("b"))
    await server.store.close()


async def test_a_port_that_two_services_share_is_free_when_both_are_gone(tmp_path: Path) -> None:
    server = await started(tmp_path)
    kind = server.kinds.by_id("services")
    for name in ("a", "b"):  # as an earlier version could store them
        await creation(server, service(name), Call.system())
    await delete(server.operations, kind, "default", "a", DeleteOptions(), admin())
    with pytest.raises(Invalid, match="already allocated"):
        await creation(server, service("c"))
    await delete(server.operations, kind, "default", "b", DeleteOptions(), admin())
    await creation(server, service("c"))
    await server.store.close()
