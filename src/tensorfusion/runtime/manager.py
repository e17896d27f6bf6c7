"""Start informers, wait until they have synced, then run controllers and tasks; end together.

A task that fails ends the whole process with its error: the supervisor (or Kubernetes) starts it again from a clean
state, which is simpler to reason about than a process that lives on without one of its parts.
"""

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
        self.synced = asyncio.Event()
        """Set when all caches are filled and controllers and tasks have been started."""
        # Any: informers of many types; the key holds the type
        self._informers: dict[tuple[Resource, type[Any], str, str, str], Informer[Any]] = {}
        self._tasks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._stopping = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._group: asyncio.TaskGroup | None = None

    def informer(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        client: Api | None = None,
    ) -> Informer[T]:
        """The informer of these arguments: made on the first call, shared afterwards. Later ones start at once.

        ``client`` is who reads where it is made; the manager's own by default.
        """
        key = (resource, type_, namespace, labels, fields)
        found = self._informers.get(key)
        if found is None:
            found = Informer(
                client or self.client,
                resource,
                type_,
                clock=self.clock,
                namespace=namespace,
                labels=labels,
                fields=fields,
            )
            self._informers[key] = found
            self._start(f"informer {resource.id}", found.run)
        return cast("Informer[T]", found)  # the key holds the type

    def add_controller(self, controller: Controller) -> None:
        """Run a controller once everything has synced."""
        self.add_task(controller.name, controller.run)

    def add_task(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        """Run ``function`` once everything has synced. It may return; raising ends the process."""
        self._tasks.append((name, function))
        if self.synced.is_set():
            self._start(name, function)

    async def run(self) -> None:
        """Run until ``stop``.

        Raises:
            ExceptionGroup: a task failed; the notes of its errors name the task.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            for (resource, *_), found in self._informers.items():
                self._start(f"informer {resource.id}", found.run)
            self._start("start", self._start_when_synced)
            await self._stopping.wait()
            self._group = None
            for task in self._running:
                task.cancel()

    def stop(self) -> None:
        """End ``run``: everything is cancelled, and gets the time that its own clean-up takes."""
        self._stopping.set()

    async def _start_when_synced(self) -> None:
        for found in list(self._informers.values()):
            await found.synced()
        log.info("caches are filled", kinds=len(self._informers))
        for name, function in self._tasks:
            self._start(name, function)
        self.synced.set()

    def _start(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        if self._group is not None:
            self._running.append(self._group.create_task(_named(name, function), name=name))


async def _named(name: str, function: Callable[[], Awaitable[None]]) -> None:
    try:
        await function()
    except Exception as error:
        error.add_note(f"in the task {name!r}")
        raise
