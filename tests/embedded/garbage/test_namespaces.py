"""Namespaces from birth to end: as seen on a real 1.34 control plane."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tensorfusion.embedded.namespaces import Namespaces
from tensorfusion.embedded.store import EventKind, ObjectKey
from tensorfusion.errors import Forbidden
from tensorfusion.testing.records import record_maker

JsonObject = dict[str, Any]
CA = "-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----\n"
POD_SPEC = {"containers": [{"name": "main", "image": "busybox"}]}


@asynccontextmanager
async def running(server: Any) -> AsyncIterator[Namespaces]:
    namespaces = Namespaces(server.operations, root_ca=CA)
    await namespaces.prepare()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(namespaces.run())
        yield namespaces
        task.cancel()


def furnished(server: Any, namespace: str) -> bool:
    certificate = server.get("configmaps", "kube-root-ca.crt", namespace=namespace)
    return (
        server.get("serviceaccounts", "default", namespace=namespace) is not None
        and certificate is not None
        and certificate["data"] == {"ca.crt": CA}
    )


def conditions_of(server: Any, namespace: str) -> dict[str, JsonObject]:
    obj = server.get("namespaces", namespace)
    return {condition["type"]: condition for condition in (obj or {}).get("status", {}).get("conditions", ())}


async def test_the_namespaces_of_the_system_are_there_and_furnished_before_serving(server: Any) -> None:
    await Namespaces(server.operations, root_ca=CA).prepare()
    names = server.names("namespaces", namespace="")
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system", "other"]
    assert all(furnished(server, name) for name in names)


async def test_preparing_again_writes_nothing(server: Any) -> None:
    await Namespaces(server.operations, root_ca=CA).prepare()
    before = server.store.revision
    await Namespaces(server.operations, root_ca=CA).prepare()
    assert server.store.revision == before


async def test_a_new_namespace_is_active_held_by_its_finalizer_and_furnished(server: Any) -> None:
    async with running(server):
        await server.create("namespaces", "new")
        await server.until(lambda: furnished(server, "new"))
        obj = server.get("namespaces", "new")
        assert (obj["status"]["phase"], obj["spec"]["finalizers"]) == ("Active", ["kubernetes"])
        description = server.get("configmaps", "kube-root-ca.crt", namespace="new")["metadata"]["annotations"]
        assert description["kubernetes.io/description"].startswith("Contains a CA bundle")


async def test_deleted_or_changed_furniture_comes_back(server: Any) -> None:
    async with running(server):
        account = server.get("serviceaccounts", "default")
        await server.delete("serviceaccounts", "default")
        await server.delete("configmaps", "kube-root-ca.crt")
        await server.until(lambda: furnished(server, "default"))
        assert server.get("serviceaccounts", "default")["metadata"]["uid"] != account["metadata"]["uid"]

        def spoil(obj: JsonObject) -> None:
            obj["data"] = {"ca.crt": "bogus", "more": "1"}
            obj["metadata"]["labels"] = {"mine": "kept"}

        await server.edit("configmaps", "kube-root-ca.crt", spoil)
        await server.until(lambda: furnished(server, "default"))
        assert server.get("configmaps", "kube-root-ca.crt")["metadata"]["labels"] == {"mine": "kept"}


async def test_a_deleted_namespace_takes_its_content_along(server: Any) -> None:
    async with running(server):
        for number in range(5):
            await server.create("configmaps", f"c{number}", namespace="other")
        await server.create("secrets", "s", namespace="other")
        await server.create("pods", "p", namespace="other", spec=POD_SPEC)
        deleted = await server.delete("namespaces", "other")
        assert not deleted.gone
        assert server.get("namespaces", "other")["status"]["phase"] == "Terminating"
        await server.until(lambda: server.get("namespaces", "other") is None)
        left = [record.key for kind in server.store.resources() for record in server.store.scan(kind, "other")]
        assert left == []
        assert server.names() == ["kube-root-ca.crt"]


async def test_a_terminating_namespace_takes_nothing_new(server: Any) -> None:
    async with running(server):
        await server.create("configmaps", "held", namespace="other", metadata={"finalizers": ["example.com/x"]})
        await server.delete("namespaces", "other")
        why = "unable to create new content in namespace other because it is being terminated"
        with pytest.raises(Forbidden, match=why):
            await server.create("configmaps", "late", namespace="other")
        await server.until(lambda: server.names(namespace="other") == ["held"])  # not even furniture


async def test_what_holds_a_namespace_is_said_in_its_conditions(server: Any) -> None:
    async with running(server):
        for name in ("x", "y"):
            await server.create("configmaps", name, namespace="other", metadata={"finalizers": ["example.com/x"]})
        await server.delete("namespaces", "other")
        await server.until(lambda: "NamespaceContentRemaining" in conditions_of(server, "other"))
        await server.until(lambda: conditions_of(server, "other")["NamespaceContentRemaining"]["status"] == "True")
        found = conditions_of(server, "other")
        assert list(found) == [
            "NamespaceDeletionDiscoveryFailure",
            "NamespaceDeletionGroupVersionParsingFailure",
            "NamespaceDeletionContentFailure",
            "NamespaceContentRemaining",
            "NamespaceFinalizersRemaining",
        ]
        told = [(found[name]["reason"], found[name]["message"]) for name in list(found)[3:]]
        assert told == [
            ("SomeResourcesRemain", "Some resources are remaining: configmaps. has 2 resource instances"),
            (
                "SomeFinalizersRemain",
                "Some content in the namespace has finalizers remaining: example.com/x in 2 resource instances",
            ),
        ]
        await server.release("configmaps", "x", namespace="other")
        await server.until(
            lambda: "has 1 resource" in conditions_of(server, "other")["NamespaceContentRemaining"]["message"]
        )
        await server.release("configmaps", "y", namespace="other")
        await server.until(lambda: server.get("namespaces", "other") is None)


async def test_pods_go_before_everything_else(server: Any) -> None:
    async with running(server):
        await server.create(
            "pods", "p", namespace="other", spec=POD_SPEC, metadata={"finalizers": ["example.com/hold"]}
        )
        await server.create("configmaps", "c", namespace="other")
        await server.delete("namespaces", "other")
        await server.until(lambda: "NamespaceContentRemaining" in conditions_of(server, "other"))
        assert "c" in server.names(namespace="other")
        events = server.store.watch("", since=server.store.revision)
        await server.release("pods", "p", namespace="other")
        gone: list[str] = []
        while "namespaces" not in gone:
            gone += [event.record.key.resource for event in await events.next() if event.kind is EventKind.DELETED]
        assert gone[0] == "pods"
        assert gone[-1] == "namespaces"


async def test_an_end_that_a_restart_interrupted_goes_on(server: Any) -> None:
    await server.create("configmaps", "c", namespace="other")
    await server.delete("namespaces", "other")
    async with running(server):
        await server.until(lambda: server.get("namespaces", "other") is None)
        assert server.names(namespace="other") == []


async def test_a_namespace_with_somebody_elses_finalizer_waits_for_it(server: Any) -> None:
    async with running(server):
        await server.edit("namespaces", "other", lambda obj: obj["metadata"].update(finalizers=["example.com/ns"]))
        await server.delete("namespaces", "other")
        await server.until(lambda: "finalizers" not in server.get("namespaces", "other")["spec"])
        await server.release("namespaces", "other")
        await server.until(lambda: server.get("namespaces", "other") is None)


async def test_a_namespace_of_the_system_comes_back(server: Any) -> None:
    async with running(server):
        await server.delete("namespaces", "kube-node-lease")
        before = server.get("namespaces", "kube-node-lease")["metadata"]["uid"]

        def is_new() -> bool:
            obj = server.get("namespaces", "kube-node-lease")
            return obj is not None and obj["metadata"]["uid"] != before and furnished(server, "kube-node-lease")

        await server.until(is_new)


async def test_an_object_that_slipped_in_behind_the_end_is_removed(server: Any) -> None:
    async with running(server):
        await server.delete("namespaces", "other")
        await server.until(lambda: server.get("namespaces", "other") is None)
        key = ObjectKey("configmaps", "other", "late")
        await server.store.put(key, expected=0, make=record_maker(key, uid="late-uid"))
        await server.until(lambda: server.names(namespace="other") == [])
