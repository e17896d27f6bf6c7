"""The Kubernetes API client: typed calls over one pooled session, answers decoded straight into the caller's type.

About 0.3 ms of CPU a request. What is retried, and what is not, is the transport's decision; see there.

Source: Kubernetes API concepts (verbs, chunked lists, watches, subresources).
"""

import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from tensorfusion.errors import Gone, ServerError
from tensorfusion.kube.api import PAGE_SIZE, Body, Listing, PatchKind, WatchEvent
from tensorfusion.kube.codec import WatchDecoder, decode, decode_page
from tensorfusion.kube.config import Connection
from tensorfusion.kube.transport import JSON, Transport
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import PODS, SERVICE_ACCOUNTS, Resource

T = TypeVar("T")

_TIMEOUT = 30.0
_WATCH_SECONDS = (280, 320)
_LONGEST_LINE = 32 << 20


class IssuedToken(msgspec.Struct, frozen=True):
    """A bearer token and until when it is good, as RFC 3339."""

    token: str
    expires: str = msgspec.field(default="", name="expirationTimestamp")

    def __repr__(self) -> str:
        return f"IssuedToken(expires={self.expires!r})"


class _TokenRequest(msgspec.Struct, frozen=True):
    status: IssuedToken


class Client:
    """Satisfies ``Api``. Use as an async context manager, from one event loop."""

    def __init__(self, connection: Connection, *, user_agent: str = "tensorfusion", timeout: float = _TIMEOUT) -> None:
        self.connection = connection
        self._transport = Transport(connection, user_agent=user_agent, timeout=timeout)

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    async def get(self, resource: Resource, type_: type[T], name: str, *, namespace: str = "") -> T:
        """One object.

        Raises:
            NotFound: there is none of that name.
        """
        return decode(await self._transport.request("GET", _path(resource, namespace, name)), type_)

    async def get_raw(self, path: str, *, accept: str = JSON) -> bytes:
        """The body of any path, with its query, as it comes."""
        return await self._transport.request("GET", path, accept=accept)

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
        """The whole collection at one resource version, fetched in pages; ``page_size`` 0 asks for all at once.

        When the pages take longer than the server keeps history, the collection is fetched again in one piece.
        """
        try:
            return await self._pages(resource, type_, namespace, _selectors(labels, fields), page_size)
        except Gone:
            if page_size == 0:
                raise
            return await self._pages(resource, type_, namespace, _selectors(labels, fields), 0)

    async def _pages(
        self, resource: Resource, type_: type[T], namespace: str, selectors: Mapping[str, str], size: int
    ) -> Listing[T]:
        parameters = {**selectors, "limit": str(size)} if size else dict(selectors)
        items: list[T] = []
        while True:
            body = await self._transport.request("GET", _path(resource, namespace, query=parameters))
            page = decode_page(body, type_, resource=resource.id)
            items += page.items or ()
            if not page.metadata.continue_:
                return Listing(items, page.metadata.resource_version)
            parameters["continue"] = page.metadata.continue_

    async def create(
        self,
        resource: Resource,
        body: Body,
        *,
        namespace: str = "",
        dry_run: bool = False,
        strict: bool = False,
        type_: Any = dict,
    ) -> Any:  # Any: see Api's overloads
        """Create an object; the answer is the object as stored. ``strict`` refuses fields that the server lacks.

        Raises:
            AlreadyExists: the name is taken.
            Invalid, Forbidden: the schema or admission refused it.
        """
        query = {"dryRun": "All"} if dry_run else {}
        path = _path(resource, namespace, query=query | _validation(strict=strict))
        return decode(await self._write("POST", path, body), type_)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Body,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = PatchKind.MERGE,
        strict: bool = False,
        type_: Any = dict,
    ) -> Any:  # Any: see Api's overloads
        """Change an object; the answer is the object as stored. ``strict`` as for ``create``.

        Raises:
            NotFound: there is none of that name.
            Conflict: the resourceVersion inside the patch does not hold.
            Invalid: the uid inside the patch is not the object's, among other reasons.
        """
        path = _path(resource, namespace, name, subresource, query=_validation(strict=strict))
        return decode(await self._write("PATCH", path, patch, content_type=kind.value), type_)

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
        """Write a whole object, guarded by the resourceVersion inside it.

        Raises:
            Conflict: somebody wrote in between.
        """
        return decode(await self._write("PUT", _path(resource, namespace, name, subresource), body), type_)

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
        """Ask for deletion; finalizers and grace may keep the object for a while.

        Raises:
            NotFound: there is none of that name.
            Conflict: it is another object than ``uid`` or ``resource_version`` says.
        """
        conditions = {"uid": uid, "resourceVersion": resource_version}
        options = _delete_options(grace_seconds, propagation)
        preconditions = {key: value for key, value in conditions.items() if value is not None}
        if preconditions:
            options["preconditions"] = preconditions
        await self._write("DELETE", _path(resource, namespace, name), options)

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
        """Ask for deletion of everything the selectors match."""
        path = _path(resource, namespace, query=_selectors(labels, fields))
        await self._write("DELETE", path, _delete_options(grace_seconds, propagation))

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        """Bind the pod of this uid to a node; the annotations become the pod's in the same write.

        Raises:
            Conflict: the pod is another one, or has a node already.
            NotFound: the pod is gone.
            Forbidden: admission refused, for example an epoch that has passed.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "annotations": annotations},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._write("POST", _path(PODS, namespace, name, "binding"), body)

    async def evict(self, namespace: str, name: str, *, uid: str) -> None:
        """Delete the pod of this uid with its own grace, if the disruption budget that covers it allows that now.

        Raises:
            TooManyRequests: its budget allows no disruption.
            Conflict: another pod has the name now.
            NotFound: the pod is gone.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self._write("POST", _path(PODS, namespace, name, "eviction"), body)

    async def token_request(self, namespace: str, account: str, *, seconds: int) -> str:
        """A fresh token of a service account."""
        return (await self.issue_token(namespace, account, seconds=seconds)).token

    async def issue_token(self, namespace: str, account: str, *, seconds: int) -> IssuedToken:
        """A fresh token of a service account with its end, which a server may set earlier than asked for."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        answer = await self._write("POST", _path(SERVICE_ACCOUNTS, namespace, account, "token"), body)
        return decode(answer, _TokenRequest).status

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
        """The changes after a resource version, one by one; see ``watch_batches``."""
        batches = self.watch_batches(
            resource,
            type_,
            namespace=namespace,
            resource_version=resource_version,
            labels=labels,
            fields=fields,
            bookmarks=bookmarks,
        )
        async with aclosing(batches):
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
        """The changes after a resource version, as many at a time as arrived together.

        Ends when the server ends it: go on from the last event's version. Events before an error are delivered first.

        Raises:
            Gone: the version is too old; list again.
            ServerError: the connection broke, or has been silent for too long.
        """
        query = {
            **_selectors(labels, fields),
            "watch": "1",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),
        }
        if bookmarks:
            query["allowWatchBookmarks"] = "true"
        decoder = WatchDecoder(type_, resource=resource.id)
        rest = b""
        async with aclosing(self._transport.stream(_path(resource, namespace, query=query))) as chunks:
            async for chunk in chunks:
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                if len(rest) > _LONGEST_LINE:
                    raise ServerError(f"watch of {resource.id}: wanted lines of at most {_LONGEST_LINE} bytes")
                batch, failure = decoder.events(lines)
                if batch:
                    yield batch
                if failure is not None:
                    raise failure

    async def _write(self, method: str, path: str, body: Body, *, content_type: str = JSON) -> bytes:
        return await self._transport.request(method, path, body=msgspec.json.encode(body), content_type=content_type)


def _path(
    resource: Resource, namespace: str, name: str = "", subresource: str = "", *, query: Mapping[str, str] | None = None
) -> str:
    """The URL path of a request, with names that cannot leave their place in it."""
    path = resource.path(quote(namespace, safe=""), quote(name, safe=""), subresource)
    if not query:
        return path
    return path + "?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _delete_options(grace_seconds: int | None, propagation: str | None) -> Raw:
    options: Raw = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if propagation is not None:
        options["propagationPolicy"] = propagation
    return options


def _validation(*, strict: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict"} if strict else {}
