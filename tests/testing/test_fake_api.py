"""The fake API behaves as a server does where reconcilers depend on it."""

import asyncio

import pytest

from tensorfusion.errors import AlreadyExists, Conflict, Gone, Invalid, NotFound, ServerError
from tensorfusion.kube.api import PatchKind
from tensorfusion.model.core import Pod
from tensorfusion.model.resources import DEPLOYMENTS, GPUS, NODES, PODS
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(VirtualClock())


async def test_a_created_object_gets_the_servers_metadata(api: FakeApi) -> None:
    made = await api.create(PODS, {"metadata": {"generateName": "a-"}, "spec": {}}, namespace="n")
    metadata = made["metadata"]
    assert metadata["name"].startswith("a-")
    assert (metadata["namespace"], metadata["generation"]) == ("n", 1)
    assert metadata["uid"] and metadata["resourceVersion"] and metadata["creationTimestamp"]
    with pytest.raises(AlreadyExists):
        await api.create(PODS, {"metadata": {"name": metadata["name"]}}, namespace="n")
    assert (await api.get(PODS, Pod, metadata["name"], namespace="n")).status.phase == "Pending"


async def test_a_write_that_changes_nothing_makes_no_version(api: FakeApi) -> None:
    api.seed(NODES, {"metadata": {"name": "a"}, "spec": {"unschedulable": True}})
    before = api.object(NODES, "a")["metadata"]["resourceVersion"]
    same = await api.patch(NODES, "a", {"spec": {"unschedulable": True}})
    assert same["metadata"]["resourceVersion"] == before
    changed = await api.patch(NODES, "a", {"spec": {"unschedulable": None}})
    assert changed["metadata"]["generation"] == 2


async def test_preconditions_are_checked(api: FakeApi) -> None:
    made = api.seed(NODES, {"metadata": {"name": "a"}})
    with pytest.raises(Conflict):
        await api.patch(NODES, "a", {"metadata": {"resourceVersion": "0"}, "spec": {"unschedulable": True}})
    with pytest.raises(Invalid):
        await api.patch(NODES, "a", {"metadata": {"uid": "another"}, "spec": {"unschedulable": True}})
    with pytest.raises(Conflict):
        await api.replace(NODES, "a", {"metadata": {"name": "a", "uid": "another"}})
    with pytest.raises(Conflict):
        await api.delete(NODES, "a", uid="another")
    await api.delete(NODES, "a", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await api.delete(NODES, "a")


async def test_status_and_the_rest_are_written_apart(api: FakeApi) -> None:
    api.seed(GPUS, {"metadata": {"name": "a"}})
    both = {"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Running"}}
    assert (await api.patch(GPUS, "a", both))["status"] == {}
    stored = await api.patch(
        GPUS, "a", {"metadata": {"labels": {"x": "z"}}, "status": {"phase": "Running"}}, subresource="status"
    )
    assert (stored["status"], stored["metadata"]["labels"]) == ({"phase": "Running"}, {"x": "y"})


async def test_the_scale_of_a_deployment(api: FakeApi) -> None:
    api.seed(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"replicas": 1}}, namespace="n")
    await api.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 3}}, namespace="n", subresource="scale")
    assert api.object(DEPLOYMENTS, "d", namespace="n")["spec"]["replicas"] == 3


async def test_json_patches(api: FakeApi) -> None:
    api.seed(NODES, {"metadata": {"name": "a"}, "spec": {"taints": [{"key": "x"}]}})
    operations = [
        {"op": "test", "path": "/spec/taints/0/key", "value": "x"},
        {"op": "add", "path": "/spec/taints/-", "value": {"key": "y"}},
        {"op": "remove", "path": "/spec/taints/0"},
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "1"}},
        {"op": "replace", "path": "/metadata/labels/a~1b", "value": "2"},
    ]
    changed = await api.patch(NODES, "a", operations, kind=PatchKind.JSON)
    assert (changed["spec"]["taints"], changed["metadata"]["labels"]) == ([{"key": "y"}], {"a/b": "2"})


async def test_a_running_pod_is_deleted_in_two_steps_and_a_pending_one_at_once(api: FakeApi) -> None:
    api.seed(PODS, {"metadata": {"name": "running"}, "spec": {"nodeName": "n1"}})
    api.seed(PODS, {"metadata": {"name": "pending"}})
    for name in ("running", "pending"):
        await api.delete(PODS, name, namespace="default")
    (left,) = api.objects(PODS)
    assert left["metadata"]["deletionTimestamp"]
    await api.delete(PODS, "running", namespace="default", grace_seconds=0)
    assert api.objects(PODS) == []


async def test_finalizers_hold_an_object_until_they_are_gone(api: FakeApi) -> None:
    api.seed(GPUS, {"metadata": {"name": "a", "finalizers": ["f"]}})
    await api.delete(GPUS, "a")
    assert api.object(GPUS, "a")["metadata"]["deletionTimestamp"]
    await api.patch(GPUS, "a", {"metadata": {"finalizers": None}})
    assert api.objects(GPUS) == []


async def test_a_binding_works_once_and_for_one_uid(api: FakeApi) -> None:
    uid = api.seed(PODS, {"metadata": {"name": "a"}})["metadata"]["uid"]
    with pytest.raises(Conflict):
        await api.bind("default", "a", uid="another", node="n", annotations={})
    await api.bind("default", "a", uid=uid, node="n", annotations={"k": "v"})
    with pytest.raises(Conflict):
        await api.bind("default", "a", uid=uid, node="m", annotations={})
    pod = await api.get(PODS, Pod, "a", namespace="default")
    assert (pod.spec.node_name, pod.metadata.annotations) == ("n", {"k": "v"})


async def test_a_lost_reply_leaves_its_effect(api: FakeApi) -> None:
    api.fail("create", PODS, reply_lost=True)
    with pytest.raises(ServerError):
        await api.create(PODS, {"metadata": {"name": "a"}}, namespace="n")
    assert len(api.objects(PODS)) == 1


async def test_a_fault_strikes_the_call_it_is_meant_for(api: FakeApi) -> None:
    api.fail("create", NODES, skip=1)
    await api.create(PODS, {"metadata": {"name": "a"}}, namespace="n")
    await api.create(NODES, {"metadata": {"name": "a"}})
    with pytest.raises(ServerError):
        await api.create(NODES, {"metadata": {"name": "b"}})
    await api.create(NODES, {"metadata": {"name": "b"}})
    assert (api.count("create"), api.count("create", NODES)) == (4, 3)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ("app=x", "a"),
        ("app!=x", "bc"),
        ("app", "ab"),
        ("!app", "c"),
        ("app in (x, y),tier", "b"),
        ("tier,app notin (x)", "b"),
        ("", "abc"),
    ],
)
async def test_label_selectors(api: FakeApi, labels: str, names: str) -> None:
    api.seed(PODS, {"metadata": {"name": "a", "labels": {"app": "x"}}})
    api.seed(PODS, {"metadata": {"name": "b", "labels": {"app": "y", "tier": "1"}}})
    api.seed(PODS, {"metadata": {"name": "c"}})
    assert "".join(pod.key.name for pod in (await api.list(PODS, Pod, labels=labels)).items) == names


async def test_field_selectors(api: FakeApi) -> None:
    api.seed(PODS, {"metadata": {"name": "a"}, "spec": {"nodeName": "n"}})
    api.seed(PODS, {"metadata": {"name": "b"}})
    assert [pod.key.name for pod in (await api.list(PODS, Pod, fields="spec.nodeName=n")).items] == ["a"]
    assert [pod.key.name for pod in (await api.list(PODS, Pod, fields="spec.nodeName!=n")).items] == ["b"]


async def test_a_watch_from_a_forgotten_version_is_gone(api: FakeApi) -> None:
    api.seed(NODES, {"metadata": {"name": "a"}})
    api.expire()
    with pytest.raises(Gone):
        async for _ in api.watch(NODES, dict, resource_version="1"):
            pass


async def test_held_calls_wait_before_they_take_effect(api: FakeApi) -> None:
    release = api.hold("create")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(api.create(NODES, {"metadata": {"name": "a"}}))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (task.done(), api.objects(NODES)) == (False, [])
        release.set()
    assert len(api.objects(NODES)) == 1
