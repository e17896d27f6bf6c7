"""What a write holds of a quota until it is durable, also when its author has gone away."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.server import Server, Settings
from tensorfusion.errors import Forbidden


def creation(server: Server, plural: str, obj: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    user = User("admin", ("system:masters",))
    return create(server.operations, server.kinds.by_id(plural), "default", obj, Call(user))


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


async def started(folder: Path) -> Server:
    server = Server(Settings(folder, 0), clock=SystemClock())
    await server._namespaces.prepare()
    await server._bootstrap()
    await creation(server, "resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
    return server


async def test_a_write_that_nobody_waits_for_keeps_its_room(tmp_path: Path) -> None:
    server = await started(tmp_path)
    async with asyncio.timeout(20):
        abandoned = asyncio.ensure_future(creation(server, "pods", pod("a")))
        await asyncio.sleep(0)  # accepted, not durable yet
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        with pytest.raises(Forbidden, match="exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"):
            await creation(server, "pods", pod("b"))
    await server.store.close()
    account = server.operations.admission.quotas.account("default", "q")
    assert account is not None
    assert account.status()["used"] == {"pods": "1"}


async def test_a_write_that_fails_gives_its_room_back(tmp_path: Path) -> None:
    server = await started(tmp_path)
    async with asyncio.timeout(20):
        await creation(server, "pods", pod("a"))
        account = server.operations.admission.quotas.account("default", "q")
        assert account is not None
        account.count(next(server.store.scan("pods")).uid, {})
        with pytest.raises(Exception, match='pods "a" already exists'):
            await creation(server, "pods", pod("a"))
        await creation(server, "pods", pod("b"))
    await server.store.close()
