"""The way between one component and the fake API, and everything that can happen on it.

Apart from ``testing.api`` because that is the server: what it takes is done, for everybody. Here requests and answers
travel, and each component has a way of its own: one may hear of nothing for a minute while the other hears it all. A
call takes a time there and a time back, drawn from ``delays``. With ``fail`` the next calls of a verb meet a ``Fate``:
the request is lost, or arrives long after its sender gave up, or only the answer is lost. ``lag`` holds back what
watches bring. ``cut`` is ``kill -9``: nobody hears from the component any more, but what it sent may still arrive.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, ServerError
from tensorfusion.kube.api import PAGE_SIZE, Body, Listing, PatchKind, WatchEvent
from tensorfusion.model.resources import Resource
from tensorfusion.testing.api import FakeApi

T = TypeVar("T")

LATEST = 55.0
"""Seconds after which a late request arrives at most: API servers cut requests off at 60 s."""


class Fate(StrEnum):
    """What becomes of a call whose sender gets no answer."""

    REQUEST_LOST = "request-lost"
    ANSWER_LOST = "answer-lost"
    LATE = "late"
    """The sender gives up, and the request arrives up to a minute later all the same."""


@dataclass(slots=True)
class _Accident:
    verb: str
    fate: Fate | ApiError
    times: int


class Network:
    """A client of ``api`` (``kube.api.Api``) behind a bad network. The same dice give the same accidents."""

    def __init__(self, api: FakeApi, *, clock: Clock, dice: random.Random) -> None:
        self._api = api
        self._clock = clock
        self._dice = dice
        self.delays: tuple[float, float] = (0.0, 0.0)
        """Seconds that a way takes, at least and at most."""
        self._accidents: list[_Accident] = []
        self._lagging: set[str] = set()
        self._news = asyncio.Event()
        self._cut = False
        self._going = asyncio.Event()
        self._going.set()
        self._under_way: set[asyncio.Task[Any]] = set()

    # --- what a test does ---

    def fail(self, verb: str, fate: Fate | ApiError, *, times: int = 1) -> None:
        """The next calls of a verb meet a fate, or are answered with an error without any effect."""
        self._accidents.append(_Accident(verb, fate, times))

    def recover(self) -> None:
        """Calls pass again. What is late stays late."""
        self._accidents.clear()

    def lag(self, resource: Resource | None = None) -> None:
        """Watches (of one resource, or all) bring nothing from now on."""
        self._lagging.add(resource.id if resource is not None else "")

    def catch_up(self) -> None:
        """Watches bring what they held back."""
        self._lagging.clear()
        self._news.set()
        self._news = asyncio.Event()

    @property
    def lags(self) -> bool:
        return bool(self._lagging)

    def stop(self) -> None:
        """The component is stopped, as by ``SIGSTOP``: it sends and hears nothing until ``go_on``."""
        self._going.clear()

    def go_on(self) -> None:
        """What it was about to send goes out, and it hears what it missed."""
        self._going.set()

    def cut(self, *, arrives: float = 0.5) -> None:
        """Dead to the world: each request on its way arrives with this probability, and no other is sent."""
        self._cut = True
        for task in list(self._under_way):
            if self._dice.random() >= arrives:
                task.cancel()

    # --- the client's Protocol ---

    async def get(self, resource: Resource, type_: type[T], name: str, *, namespace: str = "") -> T:
        return await self._travel("get", lambda: self._api.get(resource, type_, name, namespace=namespace))

    async def list(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        page_size: int = PAGE_SIZE,
    ) -> Listing[T]:
        return await self._travel(
            "list", lambda: self._api.list(resource, type_, namespace=namespace, labels=labels, fields=fields)
        )

    async def create(
        self, resource: Resource, body: Body, *, namespace: str = "", dry_run: bool = False, type_: Any = dict
    ) -> Any:  # Any: see Api's overloads
        return await self._travel(
            "create", lambda: self._api.create(resource, body, namespace=namespace, dry_run=dry_run, type_=type_)
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Body,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = PatchKind.MERGE,
        type_: Any = dict,
    ) -> Any:  # Any: see Api's overloads
        return await self._travel(
            "patch",
            lambda: self._api.patch(
                resource, name, patch, namespace=namespace, subresource=subresource, kind=kind, type_=type_
            ),
        )

    async def replace(
        self,
        resource: Resource,
        name: str,
        body: Body,
        *,
        namespace: str = "",
        subresource: str = "",
        type_: Any = dict,
    ) -> Any:  # Any: see Api's overloads
        return await self._travel(
            "replace",
            lambda: self._api.replace(resource, name, body, namespace=namespace, subresource=subresource, type_=type_),
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        await self._travel(
            "delete",
            lambda: self._api.delete(
                resource,
                name,
                namespace=namespace,
                uid=uid,
                resource_version=resource_version,
                grace_seconds=grace_seconds,
                propagation=propagation,
            ),
        )

    async def delete_collection(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        await self._travel(
            "deletecollection",
            lambda: self._api.delete_collection(
                resource,
                namespace=namespace,
                labels=labels,
                fields=fields,
                grace_seconds=grace_seconds,
                propagation=propagation,
            ),
        )

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        await self._travel("bind", lambda: self._api.bind(namespace, name, uid=uid, node=node, annotations=annotations))

    async def evict(self, namespace: str, name: str, *, uid: str) -> None:
        await self._travel("evict", lambda: self._api.evict(namespace, name, uid=uid))

    async def token_request(self, namespace: str, account: str, *, seconds: int) -> str:
        return await self._travel("token", lambda: self._api.token_request(namespace, account, seconds=seconds))

    async def watch(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        batches = self.watch_batches(
            resource,
            type_,
            namespace=namespace,
            resource_version=resource_version,
            labels=labels,
            fields=fields,
            bookmarks=bookmarks,
        )
        async for batch in batches:
            for event in batch:
                yield event

    async def watch_batches(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncGenerator[Sequence[WatchEvent[T]], None]:
        batches = self._api.watch_batches(
            resource,
            type_,
            namespace=namespace,
            resource_version=resource_version,
            labels=labels,
            fields=fields,
            bookmarks=bookmarks,
        )
        async for batch in batches:
            await self._going.wait()
            while self._cut or not self._lagging.isdisjoint({"", resource.id}):
                await self._news.wait()
            yield batch

    # --- inside ---

    async def _travel(self, verb: str, request: Callable[[], Awaitable[T]]) -> T:
        await self._going.wait()
        if self._cut:  # whoever was killed tidies nothing up
            raise ServerError(f"{verb}: the component is dead", code=503, reason="ConnectionBroken")
        fate = self._fate(verb)
        if isinstance(fate, ApiError):
            await asyncio.sleep(0)
            raise fate
        least, most = self.delays
        if fate is None and not most:
            return await request()
        there, back = self._dice.uniform(least, most), self._dice.uniform(least, most)
        if fate is Fate.LATE:
            there = self._dice.uniform(0.0, LATEST)
        if fate is not Fate.REQUEST_LOST:
            arriving = asyncio.ensure_future(self._arrive(there, request))
            self._under_way.add(arriving)
            arriving.add_done_callback(self._arrived)
            if fate is not Fate.LATE:
                await asyncio.wait({arriving})
        await self._clock.sleep(back)
        await self._silence()
        if fate is not None:
            raise ServerError(f"{verb}: the connection broke", code=503, reason="ConnectionBroken")
        return arriving.result()

    async def _silence(self) -> None:
        """After ``cut`` nobody is heard, and nobody hears."""
        if self._cut:
            await asyncio.get_running_loop().create_future()

    async def _arrive(self, delay: float, request: Callable[[], Awaitable[T]]) -> T:
        await self._clock.sleep(delay)
        return await request()

    def _arrived(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its sender may be gone

    def _fate(self, verb: str) -> Fate | ApiError | None:
        for accident in self._accidents:
            if accident.verb in ("", verb):
                accident.times -= 1
                if not accident.times:
                    self._accidents.remove(accident)
                return accident.fate
        return None
