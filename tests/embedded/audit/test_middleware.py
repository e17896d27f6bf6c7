"""The names that requests are known by."""

import importlib.util
import os
import uuid
from types import ModuleType
from typing import Any

import pytest

from tensorfusion.embedded.audit import middleware


async def name_of_a_request(module: ModuleType = middleware) -> str:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await module.identified({}, {}, send)({"type": "http.response.start", "status": 200, "headers": []})
    return dict(sent[0]["headers"])[b"audit-id"].decode()


async def test_every_request_has_a_name_of_its_own() -> None:
    names = [await name_of_a_request() for _ in range(1000)]
    assert len(set(names)) == len(names)
    for name in names:
        assert str(uuid.UUID(name)) == name
        assert uuid.UUID(name).version == 4


async def test_naming_a_request_asks_the_system_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(size: int) -> bytes:
        raise AssertionError(f"asked for {size} random bytes")

    await name_of_a_request()
    monkeypatch.setattr(os, "urandom", refuse)
    await name_of_a_request()


async def test_names_do_not_come_again_after_a_restart() -> None:
    spec = importlib.util.spec_from_file_location("restarted", middleware.__file__)
    assert spec is not None
    assert spec.loader is not None
    restarted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(restarted)
    before = {await name_of_a_request() for _ in range(100)}
    assert before.isdisjoint({await name_of_a_request(restarted) for _ in range(100)})
