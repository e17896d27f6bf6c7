"""The writing half of the API server over a real store, without HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.embedded.access.rbac import Rbac
from tensorfusion.embedded.admission import Admission
from tensorfusion.embedded.calls import Call, DeleteOptions, Propagation
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.deletion import Deleted, delete
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.store import ObjectKey, Record, Store
from tensorfusion.embedded.updates import modify
from tensorfusion.embedded.webhooks import Webhooks

JsonObject = dict[str, Any]
PATIENCE = 20.0


@dataclass
class Server:
    """Objects by plural and name; ``default`` is the namespace unless another is named."""

    operations: Operations
    store: Store

    async def create(self, plural: str, name: str, *, namespace: str = "default", **parts: Any) -> Record:
        kind = self.operations.kinds.by_id(plural)
        metadata = {"name": name, **parts.pop("metadata", {})}
        obj = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind, "metadata": metadata, **parts}
        where = namespace if kind.namespaced else ""
        return await create(self.operations, kind, where, obj, Call.system())

    async def own(self, name: str, *owners: JsonObject, namespace: str = "default", **metadata: Any) -> Record:
        """A ConfigMap with owner references."""
        return await self.create(
            "configmaps", name, namespace=namespace, metadata={"ownerReferences": list(owners), **metadata}
        )

    async def delete(
        self, plural: str, name: str, *, namespace: str = "default", propagation: Propagation | None = None
    ) -> Deleted:
        kind = self.operations.kinds.by_id(plural)
        where = namespace if kind.namespaced else ""
        return await delete(self.operations, kind, where, name, DeleteOptions(propagation=propagation), Call.system())

    async def edit(
        self, plural: str, name: str, change: Callable[[JsonObject], None], *, namespace: str = "default"
    ) -> Record:
        kind = self.operations.kinds.by_id(plural)

        def apply(obj: JsonObject) -> JsonObject:
            change(obj)
            return obj

        where = namespace if kind.namespaced else ""
        return await modify(self.operations, kind, where, name, apply, Call.system())

    async def release(self, plural: str, name: str, *, namespace: str = "default") -> Record:
        """Take all finalizers away."""
        return await self.edit(plural, name, lambda obj: obj["metadata"].pop("finalizers"), namespace=namespace)

    def get(self, plural: str, name: str, *, namespace: str = "default") -> JsonObject | None:
        where = namespace if self.operations.kinds.by_id(plural).namespaced else ""
        record = self.store.get(ObjectKey(plural, where, name))
        return None if record is None else decode_object(record.data)

    def names(self, plural: str = "configmaps", *, namespace: str = "default") -> list[str]:
        return [record.key.name for record in self.store.scan(plural, namespace)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a commit that makes it true."""
        events = self.store.watch("", since=self.store.revision)
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    await events.next()
        finally:
            events.close()


def reference(owner: Record, kind: str = "ConfigMap", api_version: str = "v1", **more: Any) -> JsonObject:
    return {"apiVersion": api_version, "kind": kind, "name": owner.key.name, "uid": owner.uid, **more}


@pytest.fixture
def refer() -> Callable[..., JsonObject]:
    return reference


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Store.open(tmp_path / "store.db") as store:
        kinds = Kinds.builtin()
        admission = Admission(store, Rbac(store), Webhooks(store, kinds))
        made = Server(Operations(store, kinds, admission, clock=SystemClock()), store)
        for name in ("default", "other"):
            await made.create("namespaces", name)
        yield made
