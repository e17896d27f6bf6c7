"""The calls that components make, as a Protocol: the real client and the tests' fake API both satisfy it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

from tensorfusion.model.resources import Resource

T = TypeVar("T")

Body = Mapping[str, Any] | Sequence[Any] | msgspec.Struct
"""What is sent: JSON. A struct is encoded by its wire names."""


class PatchKind(StrEnum):
    """Content type of a patch."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """A whole collection at one resource version."""

    items: list[T]
    resource_version: str


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """One change. ``BOOKMARK`` carries only a resource version, in ``resource_version``; its object is None."""

    type: str
    object: T
    resource_version: str


class Api(Protocol):
    """Typed access to a Kubernetes API. Every call raises the ``ApiError`` tree and has a timeout."""

    async def get(self, resource: Resource, type_: type[T], name: str, *, namespace: str = "") -> T: ...

    async def list(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        page_size: int = 500,
    ) -> Listing[T]: ...

    @overload
    async def create(
        self, resource: Resource, body: Body, *, namespace: str = "", dry_run: bool = False
    ) -> dict[str, Any]: ...

    @overload
    async def create(
        self, resource: Resource, body: Body, *, namespace: str = "", dry_run: bool = False, type_: type[T]
    ) -> T: ...

    @overload
    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Body,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = PatchKind.MERGE,
    ) -> dict[str, Any]: ...

    @overload
    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Body,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = PatchKind.MERGE,
        type_: type[T],
    ) -> T: ...

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
    ) -> None: ...

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None: ...

    def watch(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[WatchEvent[T]]: ...

    def watch_batches(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]: ...
