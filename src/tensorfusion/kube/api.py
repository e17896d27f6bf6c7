"""The calls that components make, as a Protocol: the real client and the tests' fake API both satisfy it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

from tensorfusion.model.meta import Key
from tensorfusion.model.resources import Resource

T = TypeVar("T")

Body = Mapping[str, Any] | Sequence[Any] | msgspec.Struct
"""What is sent: JSON. A struct is encoded by its wire names."""

PAGE_SIZE = 500
"""Objects a chunk of a list, unless the caller knows better: the figure of kubectl and client-go."""


class PatchKind(StrEnum):
    """Content type of a patch."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


class Propagation(StrEnum):
    """What becomes of the objects that a deleted one owns."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """A whole collection at one resource version."""

    items: list[T]
    resource_version: str


class WatchEvent(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One change: type ADDED, MODIFIED, DELETED or BOOKMARK.

    ``resource_version`` is where a later watch goes on. A BOOKMARK is nothing but that: its object is None. So is the
    object of a DELETED event that does not have the form of the wanted type; ``key`` then says what was deleted.
    """

    type: str
    object: T | None
    resource_version: str
    key: Key | None = None


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
        page_size: int = PAGE_SIZE,
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

    @overload
    async def replace(
        self, resource: Resource, name: str, body: Body, *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]: ...

    @overload
    async def replace(
        self,
        resource: Resource,
        name: str,
        body: Body,
        *,
        namespace: str = "",
        subresource: str = "",
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

    async def delete_collection(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None: ...

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None: ...

    async def evict(self, namespace: str, name: str, *, uid: str) -> None: ...

    async def token_request(self, namespace: str, account: str, *, seconds: int) -> str: ...

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
