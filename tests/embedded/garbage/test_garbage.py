"""What is collected, when, and what is not: as seen on a real 1.34 control plane."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tensorfusion.embedded.calls import Propagation
from tensorfusion.embedded.garbage import GarbageCollector
from tensorfusion.embedded.store import EventKind

JsonObject = dict[str, Any]
Refer = Callable[..., JsonObject]
NEVER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "no-such-uid"}
FOREIGN = {"apiVersion": "nope.example.com/v1", "kind": "Nope", "name": "x", "uid": "foreign-uid"}


@asynccontextmanager
async def collecting(server: Any) -> AsyncIterator[None]:
    """The collector at work; its own errors fail the test."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(GarbageCollector(server.operations).run())
        yield
        running.cancel()


async def barrier(server: Any) -> None:
    """Something that the collector gets to only after everything before: by then the others would be gone."""
    await server.own("barrier", NEVER)
    await server.until(lambda: "barrier" not in server.names())


def owners_of(server: Any, name: str) -> list[str]:
    obj = server.get("configmaps", name)
    assert obj is not None
    return [reference["name"] for reference in obj["metadata"].get("ownerReferences", ())]


async def test_dependents_go_in_the_background_and_theirs_after_them(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        child = await server.own("child", refer(owner))
        await server.own("grandchild", refer(child))
        await server.own("stranger")
        assert (await server.delete("configmaps", "owner")).gone
        await server.until(lambda: server.names() == ["stranger"])


async def test_with_an_owner_left_only_the_reference_to_the_deleted_one_goes(server: Any, refer: Refer) -> None:
    async with collecting(server):
        one, two = await server.own("one"), await server.own("two")
        await server.own("child", refer(one), refer(two))
        await server.delete("configmaps", "one")
        await server.until(lambda: owners_of(server, "child") == ["two"])
        await server.delete("configmaps", "two")
        await server.until(lambda: server.names() == [])


async def test_an_owner_that_never_existed_is_an_absent_one(server: Any, refer: Refer) -> None:
    async with collecting(server):
        solid = await server.own("solid")
        await server.own("both", NEVER, refer(solid))
        await server.own("child", NEVER)
        await server.until(lambda: "child" not in server.names() and owners_of(server, "both") == ["solid"])


@pytest.mark.parametrize(
    "wrong",
    [{"name": "other-name"}, {"kind": "Secret"}, {"uid": "recreated-since"}],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_a_reference_that_does_not_describe_its_owner_is_dangling(
    server: Any, refer: Refer, wrong: dict[str, str]
) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        await server.own("child", {**refer(owner), **wrong})
        await server.until(lambda: server.names() == ["owner"])


async def test_an_owner_in_another_namespace_is_an_absent_one(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        await server.own("child", refer(owner), namespace="other")
        await server.until(lambda: server.names(namespace="other") == [])


async def test_a_cluster_scoped_owner_of_a_namespaced_dependent_counts(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.create("clusterroles.rbac.authorization.k8s.io", "owner", rules=[])
        await server.own("child", refer(owner, "ClusterRole", "rbac.authorization.k8s.io/v1"))
        await barrier(server)
        assert server.names() == ["child"]
        await server.delete("clusterroles.rbac.authorization.k8s.io", "owner")
        await server.until(lambda: server.names() == [])


async def test_what_cannot_be_decided_is_left_alone(server: Any, refer: Refer) -> None:
    """A kind that is not served, whatever else dangles; and a namespaced owner of a cluster-scoped object."""
    async with collecting(server):
        owner = await server.own("owner")
        roles = "clusterroles.rbac.authorization.k8s.io"
        await server.create(roles, "cluster-child", rules=[], metadata={"ownerReferences": [refer(owner)]})
        await server.own("foreign", FOREIGN, NEVER)
        await server.delete("configmaps", "owner")
        await barrier(server)
        assert server.names() == ["foreign"]
        assert server.get(roles, "cluster-child") is not None


async def test_events_are_not_collected(server: Any) -> None:
    async with collecting(server):
        involved = {"involvedObject": {"namespace": "default"}, "metadata": {"ownerReferences": [NEVER]}}
        await server.create("events", "event", **involved)
        await barrier(server)
        assert server.names("events") == ["event"]


async def test_foreground_deletion_waits_for_dependents_that_block_and_deletes_the_others_too(
    server: Any, refer: Refer
) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        await server.own("blocking", refer(owner, blockOwnerDeletion=True), finalizers=["example.com/hold"])
        await server.own("other", refer(owner))
        await server.delete("configmaps", "owner", propagation=Propagation.FOREGROUND)
        await server.until(lambda: server.names() == ["blocking", "owner"])
        held = server.get("configmaps", "owner")
        assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
        await server.until(lambda: "deletionTimestamp" in server.get("configmaps", "blocking")["metadata"])
        await barrier(server)
        assert server.names() == ["blocking", "owner"]
        await server.release("configmaps", "blocking")
        await server.until(lambda: server.names() == [])


async def test_foreground_deletion_does_not_wait_for_dependents_that_do_not_block(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        await server.own("slow", refer(owner), finalizers=["example.com/hold"])
        await server.delete("configmaps", "owner", propagation=Propagation.FOREGROUND)
        await server.until(lambda: server.names() == ["slow"])


async def test_a_dependent_that_stops_blocking_lets_the_owner_go(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        await server.own("child", refer(owner, blockOwnerDeletion=True), finalizers=["example.com/hold"])
        await server.delete("configmaps", "owner", propagation=Propagation.FOREGROUND)
        await server.until(lambda: "deletionTimestamp" in server.get("configmaps", "child")["metadata"])

        def unblock(obj: JsonObject) -> None:
            obj["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = False

        await server.edit("configmaps", "child", unblock)
        await server.until(lambda: server.names() == ["child"])


async def test_foreground_deletion_cuts_the_reference_of_dependents_with_another_owner(
    server: Any, refer: Refer
) -> None:
    async with collecting(server):
        owner, solid = await server.own("owner"), await server.own("solid")
        await server.own("block", refer(owner, blockOwnerDeletion=True), finalizers=["example.com/hold"])
        await server.own("both", refer(owner, blockOwnerDeletion=True), refer(solid))
        await server.delete("configmaps", "owner", propagation=Propagation.FOREGROUND)
        await server.until(lambda: owners_of(server, "both") == ["solid"])
        assert "owner" in server.names()


async def test_foreground_deletion_takes_a_tree_from_its_leaves(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.own("a-owner")
        child = await server.own("b-child", refer(owner, blockOwnerDeletion=True))
        await server.own("c-grandchild", refer(child, blockOwnerDeletion=True))
        events = server.store.watch("configmaps", since=server.store.revision)
        await server.delete("configmaps", "a-owner", propagation=Propagation.FOREGROUND)
        gone: list[str] = []
        while len(gone) < 3:
            gone += [event.record.key.name for event in await events.next() if event.kind is EventKind.DELETED]
        assert gone == ["c-grandchild", "b-child", "a-owner"]


async def test_owners_that_own_each_other_do_not_wait_for_each_other_for_ever(server: Any, refer: Refer) -> None:
    async with collecting(server):
        one = await server.own("one")
        two = await server.own("two", refer(one, blockOwnerDeletion=True))

        def close_the_circle(obj: JsonObject) -> None:
            obj["metadata"]["ownerReferences"] = [refer(two, blockOwnerDeletion=True)]

        await server.edit("configmaps", "one", close_the_circle)
        await server.delete("configmaps", "one", propagation=Propagation.FOREGROUND)
        await server.until(lambda: server.names() == [])


async def test_orphaning_frees_the_dependents_before_the_owner_goes(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner, other = await server.own("owner"), await server.own("other")
        await server.own("one", refer(owner))
        await server.own("two", refer(owner), refer(other))
        await server.delete("configmaps", "owner", propagation=Propagation.ORPHAN)
        await server.until(lambda: "owner" not in server.names())
        assert owners_of(server, "one") == []
        assert owners_of(server, "two") == ["other"]
        await barrier(server)
        assert server.names() == ["one", "other", "two"]


async def test_what_was_left_over_before_a_restart_is_found(server: Any, refer: Refer) -> None:
    owner, orphaning, waiting = [await server.own(name) for name in ("owner", "orphaning", "waiting")]
    await server.own("child", refer(owner))
    await server.own("free", refer(orphaning))
    await server.own("last", refer(waiting, blockOwnerDeletion=True))
    await server.delete("configmaps", "owner")
    await server.delete("configmaps", "orphaning", propagation=Propagation.ORPHAN)
    await server.delete("configmaps", "waiting", propagation=Propagation.FOREGROUND)
    async with collecting(server):
        await server.until(lambda: server.names() == ["free"])


async def test_a_dependent_with_a_finalizer_of_its_own_is_marked_once(server: Any, refer: Refer) -> None:
    async with collecting(server):
        owner = await server.own("owner")
        await server.own("child", refer(owner), finalizers=["example.com/hold"])
        await server.delete("configmaps", "owner")
        await server.until(lambda: "deletionTimestamp" in server.get("configmaps", "child")["metadata"])
        marked = server.get("configmaps", "child")
        await barrier(server)
        assert server.get("configmaps", "child") == marked


async def test_a_kind_that_comes_to_be_served_unblocks_the_collection(server: Any) -> None:
    async with collecting(server):
        await server.own("child", FOREIGN)
        await barrier(server)
        assert server.names() == ["child"]
        names = {"plural": "nopes", "singular": "nope", "kind": "Nope", "listKind": "NopeList"}
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        server.operations.kinds.install_crd(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": "nopes.nope.example.com"},
                "spec": {"group": "nope.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
            }
        )
        await server.until(lambda: server.names() == [])


async def test_requests_get_through_while_many_objects_are_collected(server: Any, refer: Refer) -> None:
    owner = await server.own("owner")
    await asyncio.gather(*(server.own(f"child-{number:03}", refer(owner)) for number in range(400)))
    async with collecting(server):
        await server.delete("configmaps", "owner")
        await server.own("request")
        waited_for = len(server.names())
        await server.until(lambda: server.names() == ["request"])
    assert waited_for > 300, "a request waited until most of the collection was over"
