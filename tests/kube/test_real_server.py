"""The client, the informer, Bindings and Leases against a real kube-apiserver.

Skipped where ``make kube-assets`` has not been run: the control plane is found through KUBEBUILDER_ASSETS.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Unauthorized
from tensorfusion.kube.api import PatchKind
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import Connection, load_kubeconfig
from tensorfusion.model.core import Lease, Node, Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import CONFIG_MAPS, EVENTS, LEASES, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS
from tensorfusion.runtime.events import EventRecorder, EventType, ObjectReference, reference_to
from tensorfusion.runtime.informer import ChangeKind, Informer
from tensorfusion.runtime.lease import LeaderElector
from tensorfusion.testing.control_plane import ControlPlane, control_plane

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-apiserver").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]

NAMESPACE = "default"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(ASSETS, tmp_path_factory.mktemp("plane")) as found:
        yield found


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    async with Client(load_kubeconfig(plane.kubeconfig)) as found:
        yield found


def pod(name: str = "", **metadata: Any) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata} if name else metadata,
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(*functions: Callable[[], Any]) -> AsyncIterator[list[asyncio.Task[None]]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(function()) for function in functions]
        yield tasks
        for task in tasks:
            task.cancel()


async def test_an_object_is_created_read_changed_and_deleted(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, {"metadata": {"name": "life"}, "data": {"a": "1"}}, namespace=NAMESPACE)
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, {"metadata": {"name": "life"}}, namespace=NAMESPACE)
    merged = await client.patch(CONFIG_MAPS, "life", {"data": {"b": "2", "a": None}}, namespace=NAMESPACE)
    assert merged["data"] == {"b": "2"}
    operations = [{"op": "replace", "path": "/data/b", "value": "3"}]
    changed = await client.patch(CONFIG_MAPS, "life", operations, namespace=NAMESPACE, kind=PatchKind.JSON)
    assert changed["data"] == {"b": "3"}
    with pytest.raises(Conflict):
        await client.replace(CONFIG_MAPS, "life", made, namespace=NAMESPACE)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "life", namespace=NAMESPACE, uid="another")
    with pytest.raises(Conflict):
        await client.replace(CONFIG_MAPS, "life", {"metadata": {"name": "life", "uid": "another"}}, namespace=NAMESPACE)
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "life", {"metadata": {"resourceVersion": "1"}, "data": {}}, namespace=NAMESPACE)
    with pytest.raises(Invalid, match=r"metadata\.uid: Invalid value"):
        await client.patch(CONFIG_MAPS, "life", {"metadata": {"uid": "another"}}, namespace=NAMESPACE)
    await client.delete(CONFIG_MAPS, "life", namespace=NAMESPACE, uid=made["metadata"]["uid"])
    with pytest.raises(NotFound) as caught:
        await client.get(CONFIG_MAPS, dict, "life", namespace=NAMESPACE)
    assert (caught.value.kind, caught.value.name) == ("configmaps", "life")


async def test_a_dry_run_leaves_nothing_behind(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, {"metadata": {"name": "dry"}}, namespace=NAMESPACE, dry_run=True)
    assert made["metadata"]["uid"]
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, dict, "dry", namespace=NAMESPACE)


async def test_a_broken_object_is_invalid_with_its_causes(client: Client) -> None:
    broken = pod("Broken_Name")
    broken["spec"]["containers"] = []
    with pytest.raises(Invalid) as caught:
        await client.create(PODS, broken, namespace=NAMESPACE)
    assert {cause.field for cause in caught.value.causes} >= {"metadata.name", "spec.containers"}


async def test_pages_and_selectors(client: Client) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(25):
            body = {"metadata": {"name": f"page-{number}", "labels": {"paged": "yes", "odd": str(number % 2)}}}
            group.create_task(client.create(CONFIG_MAPS, body, namespace=NAMESPACE))
    listing = await client.list(CONFIG_MAPS, dict, namespace=NAMESPACE, labels="paged=yes", page_size=10)
    assert len({found["metadata"]["name"] for found in listing.items}) == 25
    odd = await client.list(CONFIG_MAPS, dict, labels="paged,odd in (1)")
    assert len(odd.items) == 12
    named = await client.list(CONFIG_MAPS, dict, namespace=NAMESPACE, fields="metadata.name=page-7")
    assert len(named.items) == 1
    await client.delete_collection(CONFIG_MAPS, namespace=NAMESPACE, labels="paged=yes")
    assert not (await client.list(CONFIG_MAPS, dict, labels="paged=yes")).items


async def test_a_binding_writes_node_and_annotations_at_once_and_only_once(client: Client) -> None:
    made = await client.create(PODS, pod("bound", annotations={"mine": "1"}), namespace=NAMESPACE, type_=Pod)
    uid = made.metadata.uid
    with pytest.raises(Conflict):
        await client.bind(NAMESPACE, "bound", uid="another", node="n1", annotations={})
    watch = client.watch(PODS, Pod, namespace=NAMESPACE, resource_version=made.metadata.resource_version)
    await client.bind(NAMESPACE, "bound", uid=uid, node="n1", annotations={"gpu-ids": "g1"})
    async for event in watch:
        assert event.object is not None
        assert event.object.spec.node_name == "n1"
        assert event.object.metadata.annotations == {"mine": "1", "gpu-ids": "g1"}
        break
    with pytest.raises(Conflict):
        await client.bind(NAMESPACE, "bound", uid=uid, node="n2", annotations={"gpu-ids": "g2"})
    found = await client.get(PODS, Pod, "bound", namespace=NAMESPACE)
    assert (found.spec.node_name, found.metadata.annotations["gpu-ids"]) == ("n1", "g1")
    with pytest.raises(NotFound):
        await client.bind(NAMESPACE, "not-there", uid=uid, node="n1", annotations={})
    await client.delete(PODS, "bound", namespace=NAMESPACE, grace_seconds=0)


async def test_status_is_written_apart_and_guarded_by_uid(client: Client) -> None:
    await client.create(NODES, {"metadata": {"name": "status-node"}})
    ready = {"type": "Ready", "status": "True", "reason": "ok", "message": "ok"}
    await client.patch(NODES, "status-node", {"status": {"conditions": [ready]}}, subresource="status")
    node = await client.get(NODES, Node, "status-node")
    assert [condition.type for condition in node.status.conditions] == ["Ready"]
    stale = {"metadata": {"uid": "another"}, "status": {"conditions": []}}
    with pytest.raises(Invalid, match=r"metadata\.uid: Invalid value"):
        await client.patch(NODES, "status-node", stale, subresource="status")
    await client.delete(NODES, "status-node")


async def test_client_certificates_authenticate(plane: ControlPlane) -> None:
    async with Client(load_kubeconfig(plane.certificate_kubeconfig)) as admin:
        assert (await admin.get(NAMESPACES, dict, "default"))["metadata"]["name"] == "default"
    async with Client(load_kubeconfig(plane.user_kubeconfig("joe"))) as joe:
        with pytest.raises(Forbidden, match='User "joe" cannot get resource "namespaces"'):
            await joe.get(NAMESPACES, dict, "default")


async def test_a_wrong_token_is_unauthorized(plane: ControlPlane) -> None:
    admin = load_kubeconfig(plane.kubeconfig)
    async with Client(Connection(admin.server, ca_data=admin.ca_data, token="wrong")) as nobody:
        with pytest.raises(Unauthorized):
            await nobody.get(NAMESPACES, dict, "default")


async def test_a_service_accounts_token_can_be_asked_for_and_used(client: Client) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, namespace=NAMESPACE)
    token = await client.token_request(NAMESPACE, "robot", seconds=600)
    admin = client.connection
    async with Client(Connection(admin.server, ca_data=admin.ca_data, token=token)) as robot:
        with pytest.raises(Forbidden, match="system:serviceaccount:default:robot"):
            await robot.list(PODS, Pod)


async def test_an_informer_follows_creations_changes_and_deletions(client: Client) -> None:
    await client.create(CONFIG_MAPS, {"metadata": {"name": "before", "labels": {"seen": "yes"}}}, namespace=NAMESPACE)
    informer = Informer(client, CONFIG_MAPS, Lease, clock=SystemClock(), labels="seen=yes")
    told: list[tuple[ChangeKind, str]] = []
    informer.subscribe(lambda change: told.append((change.kind, change.key.name)))
    async with running(informer.run):
        await informer.synced()
        labels = {"seen": "yes"}
        await client.create(CONFIG_MAPS, {"metadata": {"name": "during", "labels": labels}}, namespace=NAMESPACE)
        await client.patch(CONFIG_MAPS, "before", {"data": {"a": "b"}}, namespace=NAMESPACE)
        await client.patch(CONFIG_MAPS, "during", {"metadata": {"labels": {"seen": "no"}}}, namespace=NAMESPACE)
        await client.delete(CONFIG_MAPS, "before", namespace=NAMESPACE)
        await eventually(lambda: len(told) >= 5)
    assert told == [
        (ChangeKind.ADDED, "before"),
        (ChangeKind.ADDED, "during"),
        (ChangeKind.UPDATED, "before"),
        (ChangeKind.DELETED, "during"),
        (ChangeKind.DELETED, "before"),
    ]
    assert len(informer.cache) == 0


async def test_two_electors_hand_the_lease_over(client: Client) -> None:
    def elector(identity: str) -> LeaderElector:
        return LeaderElector(
            client,
            namespace=NAMESPACE,
            name="leader",
            identity=identity,
            clock=SystemClock(),
            duration=60,
            renew_every=0.2,
            retry_every=0.1,
        )

    one, two = elector("one"), elector("two")
    async with running(one.run) as (first,):
        await eventually(one.is_leader)
        async with running(two.run):
            await eventually(lambda: two._seen is not None)  # it has asked whether it may
            assert (one.is_leader(), two.is_leader()) == (True, False)
            lease = await client.get(LEASES, Lease, "leader", namespace=NAMESPACE)
            assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("one", 0)
            first.cancel()
            await eventually(two.is_leader)
            assert (one.is_leader(), two.epoch) == (False, 1)
    lease = await client.get(LEASES, Lease, "leader", namespace=NAMESPACE)
    assert not lease.spec.holder_identity
    assert lease.spec.lease_transitions == 1


async def test_events_are_accepted_and_counted(client: Client) -> None:
    node = await client.create(NODES, {"metadata": {"name": "event-node"}}, type_=Node)
    about_pod = ObjectReference("v1", "Pod", NAMESPACE, "some-pod", "some-uid")

    async def ours() -> dict[str, int]:
        events = (await client.list(EVENTS, dict, namespace=NAMESPACE)).items
        return {
            event["reason"]: event["count"] for event in events if event.get("source", {}).get("component") == "test"
        }

    for times in (1, 2):  # as after a restart
        recorder = EventRecorder(client, component="test", clock=SystemClock())
        async with running(recorder.run):
            recorder.record(reference_to(NODES, node), type_=EventType.NORMAL, reason="Seen", message="node")
            recorder.record(about_pod, type_=EventType.WARNING, reason="Refused", message="pod")
            async with asyncio.timeout(20):
                while await ours() != {"Seen": times, "Refused": times}:
                    await asyncio.sleep(0.02)


async def test_projections_read_what_a_server_really_sends(client: Client) -> None:
    made = await client.create(PODS, pod(generateName="projected-"), namespace=NAMESPACE)
    typed = msgspec.convert(made, Pod)
    assert typed.key == Key(NAMESPACE, made["metadata"]["name"])
    assert (typed.status.phase, typed.spec.scheduler_name) == ("Pending", "default-scheduler")
    listed = await client.list(PODS, Pod, namespace=NAMESPACE)
    assert typed.key in {found.key for found in listed.items}
    await client.delete(PODS, made["metadata"]["name"], namespace=NAMESPACE, grace_seconds=0)
