"""Start informers, wait until they have synced, then run controllers and tasks; end together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from tensorfusion.clock import Clock
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Object
from tensorfusion.model.resources import Resource
from tensorfusion.runtime.controller import Controller
from tensorfusion.runtime.informer import Informer
from tensorfusion.telemetry.logs import get_logger

T = TypeVar("T", bound=Object)

log = get_logger(__name__)


class Manager:
    """Owns what one process runs. One failing task ends all of it, with that task's error."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        # Any: informers of many types; the key holds the type
        self._informers: dict[tuple[Resource, type[Any], str, str, str], Informer[Any]] = {}
        self._controllers: list[Controller] = []
        self._tasks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._stop = asyncio.Event()
        self.synced = asyncio.Event()

    def informer(
        self, resource: Resource, type_: type[T], *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> Informer[T]:
        """The informer of these arguments: made on the first call, shared afterwards."""
        key = (resource, type_, namespace, labels, fields)
        found = self._informers.get(key)
        if found is None:
            found = Informer(
                self.client, resource, type_, clock=self.clock, namespace=namespace, labels=labels, fields=fields
            )
            self._informers[key] = found
        return cast("Informer[T]", found)  # the key holds the type

    def add_controller(self, controller: Controller) -> None:
        self._controllers.append(controller)

    def add_task(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        """Run ``function`` once everything has synced. It may return; raising ends the process."""
        self._tasks.append((name, function))

    async def run(self) -> None:
        """Run until ``stop``."""
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(found.run(), name="informer") for found in self._informers.values()]
            waiting = group.create_task(self._start_when_synced(group, running))
            await self._stop.wait()
            for task in (waiting, *running):
                task.cancel()

    def stop(self) -> None:
        """End ``run``."""
        self._stop.set()

    async def _start_when_synced(self, group: asyncio.TaskGroup, running: list[asyncio.Task[None]]) -> None:
        for found in self._informers.values():
            await found.synced()
        log.info("caches are filled", kinds=len(self._informers))
        running += [group.create_task(found.run(), name=found.name) for found in self._controllers]
        running += [group.create_task(_as_coroutine(function), name=name) for name, function in self._tasks]
        self.synced.set()


async def _as_coroutine(function: Callable[[], Awaitable[None]]) -> None:
    await function()
