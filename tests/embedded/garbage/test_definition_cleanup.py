"""Definitions that are being deleted: what happens to them meanwhile does not end the loop that cleans up."""

import asyncio
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.embedded import definitions
from tensorfusion.embedded.definitions import Definitions

NAME = "widgets.example.com"


async def define(server: Any) -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    await server.create("customresourcedefinitions.apiextensions.k8s.io", NAME, spec=spec)


def definition_of(server: Any) -> Any:
    return server.get("customresourcedefinitions.apiextensions.k8s.io", NAME)


class Impatient(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_a_definition_that_came_anew_while_the_old_one_was_cleaned_up_is_left_alone(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleanup = Definitions(server.operations)
    await define(server)
    await server.create(NAME, "held", metadata={"finalizers": ["example.com/held"]})
    real, anew = definitions.delete_collection, asyncio.Event()

    async def interrupted(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(definitions, "delete_collection", real)
        found = await real(*args, **options)
        await server.release("customresourcedefinitions.apiextensions.k8s.io", NAME)
        await define(server)
        anew.set()
        return found

    monkeypatch.setattr(definitions, "delete_collection", interrupted)
    await server.delete("customresourcedefinitions.apiextensions.k8s.io", NAME)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(cleanup.run())
        await anew.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    assert "Terminating" not in str(definition_of(server))


async def test_an_unexpected_error_of_one_definition_is_logged_and_tried_again(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.operations.clock = Impatient()
    cleanup = Definitions(server.operations)
    await define(server)
    real = definitions.delete_collection

    async def failing(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(definitions, "delete_collection", real)
        raise RuntimeError("a fault")

    monkeypatch.setattr(definitions, "delete_collection", failing)
    await server.delete("customresourcedefinitions.apiextensions.k8s.io", NAME)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(cleanup.run())
        await server.until(lambda: definition_of(server) is None)
        task.cancel()
