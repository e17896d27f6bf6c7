"""An API server in memory for unit tests of reconcilers: the client's Protocol, and its real failures on demand.

``FakeApi`` satisfies ``kube.api.Api``. Put objects in with ``seed``, look at them with ``objects`` and ``calls``. What
can go wrong is scripted: ``fail`` (a call is refused, or carried out but its reply lost), ``hold`` (calls wait until
released), ``lag`` and ``catch_up`` (watches fall behind), ``drop_watches`` (connections break), ``expire`` (410). Every
call gives way to other tasks once before and once after it takes effect, as a network does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, Gone, Invalid, ServerError
from tensorfusion.kube.api import PAGE_SIZE, Body, Listing, PatchKind, WatchEvent
from tensorfusion.kube.codec import WatchDecoder, decode, decode_page
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import PODS, SERVICE_ACCOUNTS, Resource
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.objects import Entry, Objects, Selection, json_patch, merge_conditions, merge_patch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was made. ``verb`` is get, list, create, patch, replace, delete, deletecollection, bind, evict,
    token or watch; ``body`` is what was sent."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    body: Any = None  # Any: JSON


@dataclass(slots=True)
class _Fault:
    verb: str
    resource: Resource | None
    error: ApiError
    times: int
    reply_lost: bool
    skip: int

    def strikes(self, call: Call) -> bool:
        if self.times == 0 or self.verb not in ("", call.verb):
            return False
        if self.resource is not None and self.resource.id != call.resource:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class _Watch:
    """Where one open watch is, and how it is to end."""

    version: int
    error: ApiError | None = None
    bookmark: bool = False
    closed: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class FakeApi:
    """A fake API server and a client of it in one. Deterministic; for one event loop."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._world = Objects(clock or VirtualClock())
        self._faults: list[_Fault] = []
        self._watches: list[_Watch] = []
        self._held: dict[str, asyncio.Event] = {}
        self._lagging: set[str] = set()
        """Resources whose watches lag; the empty one stands for all."""
        self.calls: list[Call] = []
        self.admission: Callable[[Call], None] | None = None
        """Looks at each call right before it takes effect, and may refuse it by raising an ``ApiError``."""

    # --- what a test does and sees ---

    def seed(self, resource: Resource, body: Raw, *, namespace: str = "") -> Raw:
        """Create an object at once, status included, unnoticed by ``calls`` and ``fail``."""
        made = self._world.create(resource, body, namespace)
        if body.get("status"):
            made = self._world.write(resource, made, {**made, "status": body["status"]}, subresource="status")
        self._stir()
        return made

    def change(self, resource: Resource, name: str, patch: Raw, *, namespace: str = "", subresource: str = "") -> Raw:
        """Merge-patch an object at once, as somebody else would."""
        old = self._world.get(resource, name, namespace)
        made = self._world.write(resource, old, merge_patch(old, patch), subresource=subresource)
        self._stir()
        return made

    def remove(self, resource: Resource, name: str, *, namespace: str = "") -> None:
        """Delete an object at once, whatever holds it."""
        self._world.drop(resource, self._world.get(resource, name, namespace))
        self._stir()

    def objects(self, resource: Resource, *, namespace: str = "", labels: str = "") -> list[Raw]:
        """The objects as stored, by namespace and name; not to be changed."""
        return self._world.list(resource, Selection(namespace, labels))

    def object(self, resource: Resource, name: str, *, namespace: str = "") -> Raw:
        """One object as stored; not to be changed."""
        return self._world.get(resource, name, namespace)

    @property
    def version(self) -> int:
        """The newest resource version: it stays the same while nobody writes."""
        return self._world.version

    def bindings(self) -> list[tuple[Raw, Raw]]:
        """Pods before and after each change of their node, as far back as the history goes."""
        return [
            (entry.old, entry.new)
            for entry in self._world.history
            if entry.resource == PODS.id
            and entry.old is not None
            and entry.old["spec"].get("nodeName") != entry.new["spec"].get("nodeName")
        ]

    def count(self, verb: str, resource: Resource | None = None) -> int:
        """How many calls of a verb were made."""
        return sum(call.verb == verb and (resource is None or call.resource == resource.id) for call in self.calls)

    def fail(
        self,
        verb: str = "",
        resource: Resource | None = None,
        *,
        error: ApiError | None = None,
        times: int = 1,
        reply_lost: bool = False,
        skip: int = 0,
    ) -> None:
        """The next ``times`` calls (of a verb, of a resource, after ``skip`` such calls) fail.

        With ``reply_lost`` the call takes effect and then fails: the caller cannot know. ``times=-1`` means always.
        """
        failure = error or ServerError("the connection broke", code=503, reason="ConnectionBroken")
        self._faults.append(_Fault(verb, resource, failure, times, reply_lost, skip))

    def recover(self) -> None:
        """No call fails any more."""
        self._faults.clear()

    def hold(self, verb: str) -> asyncio.Event:
        """Calls of a verb wait, before they take effect, until the returned event is set."""
        return self._held.setdefault(verb, asyncio.Event())

    def lag(self, resource: Resource | None = None) -> None:
        """Watches (of one resource, or all) bring nothing from now on; reads still see everything."""
        self._lagging.add(resource.id if resource is not None else "")

    def catch_up(self) -> None:
        """Watches bring what they missed while the API lagged."""
        self._lagging.clear()
        self._stir()

    def bookmark(self) -> None:
        """Send a bookmark to every watch that has nothing else to tell."""
        for watch in self._watches:
            watch.bookmark = True
        self._stir()

    def close_watches(self) -> None:
        """Every watch ends as a server ends it after its time."""
        for watch in self._watches:
            watch.closed = True
        self._stir()

    def drop_watches(self, error: ApiError | None = None) -> None:
        """Every watch breaks off."""
        for watch in self._watches:
            watch.error = error or ServerError("the watch broke", code=503, reason="ConnectionBroken")
        self._stir()

    def expire(self) -> None:
        """Forget the history and tell every watch that its version is too old."""
        self._world.compact()
        self.drop_watches(Gone("too old resource version"))

    # --- the client's Protocol ---

    async def get(self, resource: Resource, type_: type[T], name: str, *, namespace: str = "") -> T:
        fault = await self._enter(Call("get", resource.id, namespace, name))
        return await self._leave(fault, self._world.get(resource, name, namespace), type_)

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
        fault = await self._enter(Call("list", resource.id, namespace))
        found = self._world.list(resource, Selection(namespace, labels, fields))
        version = str(self._world.version)
        body = msgspec.json.encode({"metadata": {"resourceVersion": version}, "items": found})
        page = decode_page(body, type_, resource=resource.id)
        await _give_way(fault)
        return Listing(page.items or [], version)

    async def create(
        self, resource: Resource, body: Body, *, namespace: str = "", dry_run: bool = False, type_: Any = dict
    ) -> Any:  # Any: see Api's overloads
        sent = _json(body)
        fault = await self._enter(Call("create", resource.id, namespace, body=sent))
        if dry_run:
            return await self._leave(fault, Objects(VirtualClock()).create(resource, sent, namespace), type_)
        return await self._leave(fault, self._world.create(resource, sent, namespace), type_)

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
        sent = _json(patch)
        fault = await self._enter(Call("patch", resource.id, namespace, name, subresource, sent))
        old = self._world.get(resource, name, namespace)
        new = json_patch(old, sent) if kind is PatchKind.JSON else merge_patch(old, sent)
        if kind is PatchKind.STRATEGIC:
            merge_conditions(old, sent, new)
        if new["metadata"].get("uid") != old["metadata"]["uid"]:  # a conflict only in replacements and deletions
            raise Invalid(f'{resource.kind} "{name}" is invalid: metadata.uid: Invalid value: field is immutable')
        return await self._leave(fault, self._world.write(resource, old, new, subresource=subresource), type_)

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
        sent = _json(body)
        fault = await self._enter(Call("replace", resource.id, namespace, name, subresource, sent))
        old = self._world.get(resource, name, namespace)
        return await self._leave(fault, self._world.write(resource, old, sent, subresource=subresource), type_)

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
        sent = {"uid": uid, "resourceVersion": resource_version, "grace": grace_seconds, "propagation": propagation}
        fault = await self._enter(Call("delete", resource.id, namespace, name, body=sent))
        old = self._world.get(resource, name, namespace)
        conditions = {"uid": uid, "resourceVersion": resource_version}
        self._world.delete(resource, old, preconditions=conditions, grace=grace_seconds)
        await self._leave(fault, {}, dict)

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
        fault = await self._enter(Call("deletecollection", resource.id, namespace))
        for old in self._world.list(resource, Selection(namespace, labels, fields)):
            self._world.delete(resource, old, preconditions={}, grace=grace_seconds)
        await self._leave(fault, {}, dict)

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        sent = {"uid": uid, "node": node, "annotations": dict(annotations)}
        fault = await self._enter(Call("bind", PODS.id, namespace, name, "binding", sent))
        self._world.bind(self._world.get(PODS, name, namespace), uid=uid, node=node, annotations=annotations)
        await self._leave(fault, {}, dict)

    async def evict(self, namespace: str, name: str, *, uid: str) -> None:
        fault = await self._enter(Call("evict", PODS.id, namespace, name, "eviction", {"uid": uid}))
        self._world.evict(self._world.get(PODS, name, namespace), uid=uid)
        await self._leave(fault, {}, dict)

    async def token_request(self, namespace: str, account: str, *, seconds: int) -> str:
        fault = await self._enter(Call("token", SERVICE_ACCOUNTS.id, namespace, account))
        await _give_way(fault)
        return f"token-of-{namespace}-{account}"

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
        fault = await self._enter(Call("watch", resource.id, namespace))
        await _give_way(fault)
        decoder = WatchDecoder(type_, resource=resource.id)
        selection = Selection(namespace, labels, fields)
        watch = _Watch(int(resource_version))
        self._watches.append(watch)
        try:
            while True:
                watch.changed.clear()  # before it is looked: what comes while the batch is taken counts too
                batch, failure = decoder.events(self._news(resource, selection, watch, bookmarks=bookmarks))
                if batch:
                    yield batch
                if failure or watch.error:
                    raise failure or watch.error  # type: ignore[misc]  # one of them is an error
                if watch.closed:
                    return
                await watch.changed.wait()
        finally:
            self._watches.remove(watch)

    # --- inside ---

    def _news(self, resource: Resource, selection: Selection, watch: _Watch, *, bookmarks: bool) -> Sequence[bytes]:
        """The lines a watch has not seen yet, as a server would send them."""
        if not self._lagging.isdisjoint({"", resource.id}) or watch.error is not None:
            return []
        lines = []
        for entry in self._world.since(resource, watch.version):
            line = _line(entry, selection)
            if line is not None:
                lines.append(line)
        watch.version = self._world.version
        if watch.bookmark and bookmarks and not lines:
            version = {"kind": resource.kind, "metadata": {"resourceVersion": str(watch.version)}}
            lines.append(msgspec.json.encode({"type": "BOOKMARK", "object": version}))
        watch.bookmark = False
        return lines

    def _stir(self) -> None:
        for watch in self._watches:
            watch.changed.set()

    async def _enter(self, call: Call) -> _Fault | None:
        """The call reaches the server; a fault that strikes on the way in ends it here."""
        self.calls.append(call)
        await asyncio.sleep(0)
        held = self._held.get(call.verb)
        if held is not None:
            await held.wait()
        fault = next((fault for fault in self._faults if fault.strikes(call)), None)
        if fault is not None and not fault.reply_lost:
            raise fault.error
        if self.admission is not None:
            self.admission(call)
        return fault

    async def _leave(self, fault: _Fault | None, answer: Raw, type_: type[T]) -> T:
        """The effect is there; the answer goes back, unless it gets lost."""
        self._stir()
        body = msgspec.json.encode(answer)
        await _give_way(fault)
        return decode(body, type_)


async def _give_way(fault: _Fault | None) -> None:
    await asyncio.sleep(0)
    if fault is not None:
        raise fault.error


def _json(body: Body) -> Any:  # Any: JSON
    return msgspec.json.decode(msgspec.json.encode(body))


def _line(entry: Entry, selection: Selection) -> bytes | None:
    """A change as one watch sees it: an object that leaves the selection is deleted for it."""
    before = selection.matches(entry.old)
    after = not entry.deleted and selection.matches(entry.new)
    if not before and not after:
        return None
    kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
    return msgspec.json.encode({"type": kind, "object": entry.new})
