"""A store of an older version, with zeros that this one leaves out, is served as if this version had written it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import decode_object, encode_object
from tensorfusion.embedded.store import ObjectKey, Record, Store
from tensorfusion.embedded.store_schema import FORMAT
from tensorfusion.embedded.stored_forms import as_stored_now

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ZEROS: dict[str, Any] = {"hostNetwork": False, "hostname": "", "nodeName": ""}
CONTAINER_ZEROS: dict[str, Any] = {"tty": False, "env": [{"name": "A", "value": ""}], "command": []}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def with_zeros(spec: dict[str, Any]) -> None:
    spec.update(ZEROS)
    for container in spec["containers"]:
        container.update(CONTAINER_ZEROS)


def make_older(path: Path, format_: int = 2) -> dict[ObjectKey, Record]:
    """Put zeros into every pod and template of a store, as of an older format; what is in it then."""

    async def change() -> dict[ObjectKey, Record]:
        found = {}
        async with Store.open(path) as store:
            for resource in ("pods", "jobs.batch", "deployments.apps"):
                for record in list(store.scan(resource)):
                    obj = decode_object(record.data)
                    spec = obj["spec"]
                    with_zeros(spec if resource == "pods" else spec["template"]["spec"])

                    def make(revision: int, record: Record = record, obj: dict[str, Any] = obj) -> Record:
                        obj["metadata"]["resourceVersion"] = str(revision)
                        return msgspec.structs.replace(record, revision=revision, data=encode_object(obj))

                    found[record.key] = await store.put(record.key, expected=record.revision, make=make)
        return found

    found = asyncio.run(change())
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {format_}")
    connection.close()
    return found


def format_of(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


@pytest.fixture
def filled(start_server, make_pod, make_deployment) -> Path:  # type: ignore[no-untyped-def]
    running = start_server()
    api = running.client
    api.create("/api/v1/namespaces", {"metadata": {"name": "old"}})
    api.namespace = "old"
    env = [{"name": "c", "image": "busybox:1", "env": [{"name": "A"}]}]
    api.create(api.core("pods"), make_pod("gated", schedulingGates=[{"name": "g"}], containers=env))
    ending = make_pod("ending")
    ending["metadata"]["finalizers"] = ["a.io/b"]
    api.create(api.core("pods"), ending)
    job = {"metadata": {"name": "j"}, "spec": {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}}
    api.create("/apis/batch/v1/namespaces/old/jobs", job)
    api.create(api.apps("deployments"), make_deployment())
    running.stop()
    return running.data / "store.db"


def test_what_an_older_version_stored_with_zeros_can_be_updated(start_server, filled: Path) -> None:  # type: ignore[no-untyped-def]
    older = make_older(filled)
    running = start_server()
    api = running.client
    api.namespace = "old"
    pod = api.get(api.core("pods", "gated"))
    assert pod["metadata"]["resourceVersion"] == str(older[ObjectKey("pods", "old", "gated")].revision)
    assert not ZEROS.keys() & pod["spec"].keys()
    assert [entry["manager"] for entry in pod["metadata"]["managedFields"]]
    labelled = {"metadata": {"labels": {"x": "y"}}}
    assert api.merge(api.core("pods", "gated"), labelled).status == 200
    assert api.merge(api.core("pods", "gated"), {"spec": {"schedulingGates": None}}).status == 200
    assert api("DELETE", api.core("pods", "ending")).status == 200
    assert api.merge(api.core("pods", "ending"), {"metadata": {"finalizers": None}}).status == 200
    assert api.merge("/apis/batch/v1/namespaces/old/jobs/j", labelled).status == 200
    found = api.merge(api.apps("deployments", "d"), labelled)
    assert found.status == 200
    assert found.body["metadata"]["generation"] == 1
    running.stop()
    assert format_of(filled) == FORMAT


def test_a_definition_that_an_older_version_took_can_lose_its_finalizers_and_goes(start_server) -> None:  # type: ignore[no-untyped-def]
    """Its schema breaks a newer rule: only who changes what it defines has to mend it."""
    running = start_server()
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    names = {"plural": "things", "kind": "Thing"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com", "finalizers": ["example.com/hold", "example.com/more"]},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    running.client.create(DEFINITIONS, definition)
    running.stop()
    asyncio.run(_close_specification(running.data / "store.db"))
    running = start_server()
    api, path = running.client, f"{DEFINITIONS}/things.example.com"
    changed = api.merge(path, {"spec": {"names": {"shortNames": ["th"]}}})
    assert changed.status == 422
    assert "additionalProperties and properties are mutual exclusive" in changed.body["message"]
    freed = api.merge(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    assert (freed.status, freed.body["metadata"]["finalizers"]) == (200, ["example.com/hold"])
    assert api("DELETE", path).status == 200
    assert api.merge(path, {"metadata": {"finalizers": None}}).status == 200
    deadline = time.monotonic() + 60
    while api("GET", path).status != 404:
        assert time.monotonic() < deadline


async def _close_specification(path: Path) -> None:
    """Forbid members beside fields in the one definition of a store, as a program allowed that knew fewer rules."""
    async with Store.open(path) as store:
        (record,) = store.scan("customresourcedefinitions.apiextensions.k8s.io")
        obj = decode_object(record.data)
        obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["additionalProperties"] = False

        def make(revision: int) -> Record:
            obj["metadata"]["resourceVersion"] = str(revision)
            return msgspec.structs.replace(record, revision=revision, data=encode_object(obj))

        await store.put(record.key, expected=record.revision, make=make)


def test_a_store_that_cannot_be_brought_up_stays_as_it_was(filled: Path) -> None:
    older = make_older(filled)
    renew = as_stored_now(Kinds.builtin())
    seen = []

    def breaks(record: Record) -> Record:
        seen.append(record)
        if len(seen) == len(older):
            raise MemoryError
        return renew(record)

    with pytest.raises(MemoryError):
        Store.open(filled, renew=breaks)
    assert format_of(filled) == 2
    asyncio.run(_same(filled, older, renew))
    assert format_of(filled) == FORMAT


async def _same(path: Path, older: dict[ObjectKey, Record], renew: Callable[[Record], Record]) -> None:
    async with Store.open(path, renew=renew) as store:
        for key, record in older.items():
            found = store.get(key)
            assert found is not None
            assert (found.revision, found.uid, found.managed) == (record.revision, record.uid, record.managed)
            assert b"hostNetwork" not in found.data
            assert renew(found) is found
    async with Store.open(path, renew=lambda _: pytest.fail("it is of this format")) as store:
        assert b"hostNetwork" not in store.get(next(iter(older))).data  # type: ignore[union-attr]


def test_the_revision_of_a_template_follows_it() -> None:
    """Else every StatefulSet and DaemonSet would start a rollout."""
    renew = as_stored_now(Kinds.builtin())
    template = msgspec.json.decode(msgspec.json.encode(TEMPLATE))
    with_zeros(template["spec"])
    meta = {"name": "s", "namespace": "old", "uid": "u", "resourceVersion": "7"}
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            **meta,
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "o", "controller": True}
            ],
        },
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": 1,
    }
    owner = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta,
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "", "template": template},
    }
    found = []
    for resource, obj in (("controllerrevisions.apps", revision), ("statefulsets.apps", owner)):
        data = encode_object(obj)
        record = renew(Record(ObjectKey(resource, "old", "s"), 7, "u", data, {}, {}, (), b""))
        found.append(decode_object(record.data))
    assert found[0]["data"]["spec"]["template"] == {**found[1]["spec"]["template"], "$patch": "replace"}
    assert "tty" not in found[1]["spec"]["template"]["spec"]["containers"][0]


def test_what_is_shown_empty_is_there_whoever_stored_it() -> None:
    """Else the spec of a claim, which is immutable, would differ from itself."""
    renew = as_stored_now(Kinds.builtin())
    meta = {"name": "x", "namespace": "old", "uid": "u", "resourceVersion": "7"}
    source = {"kind": "PersistentVolumeClaim", "name": "other"}
    for resource, version, kind, rest, shown in (
        ("limitranges", "v1", "LimitRange", {"spec": {}}, {"spec": {"limits": None}}),
        ("roles.rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1", "Role", {"rules": []}, {"rules": None}),
        (
            "persistentvolumeclaims",
            "v1",
            "PersistentVolumeClaim",
            {"spec": {"dataSource": source}},
            {"spec": {"dataSource": {**source, "apiGroup": None}, "volumeMode": "Filesystem"}},
        ),
    ):
        data = encode_object({"apiVersion": version, "kind": kind, "metadata": meta, **rest})
        found = decode_object(renew(Record(ObjectKey(resource, "old", "x"), 7, "u", data, {}, {}, (), b"")).data)
        assert {name: found[name] for name in shown} == shown
