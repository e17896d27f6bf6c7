"""Addresses of Services are never given twice, also to writes that come at once."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.objects import decode_object
from tensorfusion.embedded.server import Server, Settings
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import AlreadyExists, Invalid

ADDRESS = "10.96.3.4"
TAKEN = "provided IP is already allocated"


async def started(folder: Path) -> Server:
    server = Server(Settings(folder, 0), clock=SystemClock())
    await server._namespaces.prepare()
    await server._bootstrap()
    return server


def creation(server: Server, name: str, *, dry_run: bool = False, **spec: Any) -> Coroutine[Any, Any, Any]:
    obj = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}
    call = Call(User("admin", ("system:masters",)), dry_run=dry_run)
    return create(server.operations, server.kinds.by_id("services"), "default", obj, call)


def change(server: Server, name: str, **changes: Any) -> Coroutine[Any, Any, Any]:
    def changed(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "spec": {**obj["spec"], **changes}}

    call = Call(User("admin", ("system:masters",)))
    return modify(server.operations, server.kinds.by_id("services"), "default", name, changed, call)


async def errors_of(*writes: Coroutine[Any, Any, Any]) -> list[BaseException]:
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def test_of_two_creations_at_once_one_gets_the_address(tmp_path: Path) -> None:
    server = await started(tmp_path)
    (error,) = await errors_of(*(creation(server, name, clusterIP=ADDRESS) for name in ("a", "b")))
    assert isinstance(error, Invalid)
    assert TAKEN in str(error)
    await server.store.close()


async def test_of_two_names_that_become_addresses_at_once_one_gets_it(tmp_path: Path) -> None:
    server = await started(tmp_path)
    for name in ("a", "b"):
        await creation(server, name, type="ExternalName", externalName="a.example.com")
    (error,) = await errors_of(*(change(server, name, type="ClusterIP", clusterIP=ADDRESS) for name in ("a", "b")))
    assert TAKEN in str(error)
    await server.store.close()


async def test_a_write_that_fails_or_is_dry_gives_its_address_back(tmp_path: Path) -> None:
    server = await started(tmp_path)
    await creation(server, "a", clusterIP=ADDRESS, dry_run=True)
    await creation(server, "a")
    with pytest.raises(AlreadyExists):
        await creation(server, "a", clusterIP=ADDRESS)
    record = await creation(server, "b", clusterIP=ADDRESS)
    assert decode_object(record.data)["spec"]["clusterIP"] == ADDRESS
    await server.store.close()


async def test_a_service_that_becomes_a_name_gives_its_address_back(tmp_path: Path) -> None:
    server = await started(tmp_path)
    await creation(server, "a", clusterIP=ADDRESS)
    await change(server, "a", type="ExternalName", externalName="a.example.com")
    await creation(server, "b", clusterIP=ADDRESS)
    await server.store.close()
