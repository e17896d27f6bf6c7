"""Worker pods of a fixed workload: their template, and how a step of keeping them looks."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.workload import TensorFusionWorkload
from tensorfusion.policy.recommendation import recommended
from tensorfusion.policy.worker import is_fixed, plan, wanted_workers, worker_template


def object_of(type_: type[Any], name: str, *, namespace: str = "", annotations: Any = None, **parts: Any) -> Any:
    meta = {"name": name, "namespace": namespace, "uid": "u1", "annotations": annotations or {}}
    return msgspec.convert({"metadata": meta, **parts}, type_)


AMOUNTS = {"requests": {"tflops": "10", "vram": "1Gi"}, "limits": {"tflops": "20", "vram": "2Gi"}}


def workload(*, mode: str = "", status: Any = None, **spec: Any) -> TensorFusionWorkload:
    annotations = {keys.WORKLOAD_MODE: mode} if mode else {}
    return object_of(
        TensorFusionWorkload, "model", namespace="team", annotations=annotations, spec=spec, status=status or {}
    )


def pool(**worker: Any) -> GPUPool:
    return object_of(GPUPool, "main", spec={"componentConfig": {"worker": worker}})


@pytest.mark.parametrize(
    ("found", "fixed", "workers"),
    [
        (workload(replicas=3), True, 3),
        (workload(mode="fixed"), True, 1),
        (workload(mode="dynamic", replicas=3), False, 3),
        (workload(), False, 1),
        (workload(replicas=0), True, 0),
    ],
)
def test_which_workloads_have_workers_of_ours(found: TensorFusionWorkload, fixed: bool, workers: int) -> None:
    assert (is_fixed(found), wanted_workers(found)) == (fixed, workers)


def test_a_worker_says_what_its_workload_wants() -> None:
    body, hash_ = worker_template(
        workload(replicas=1, poolName="main", resources=AMOUNTS, gpuCount=2, gpuModel="L4", qos="high"), None
    )
    annotations = {key.removeprefix(f"{keys.DOMAIN}/"): value for key, value in body["metadata"]["annotations"].items()}
    assert annotations == {
        "gpupool": "main",
        "qos": "high",
        "is-local-gpu": "true",
        "isolation": "soft",
        "gpu-model": "L4",
        "gpu-count": "2",
        "inject-container": "tensorfusion-worker",
        "tflops-request": "10",
        "tflops-limit": "20",
        "vram-request": "1Gi",
        "vram-limit": "2Gi",
    }
    assert body["metadata"]["generateName"] == "model-tf-worker-"
    assert body["metadata"]["finalizers"] == [keys.FINALIZER]
    assert body["metadata"]["labels"] == {
        keys.ENABLED: "true",
        keys.WORKLOAD: "model",
        keys.POD_TEMPLATE_HASH: hash_,
    }


def test_the_workloads_template_lies_over_the_pools() -> None:
    base = {
        "metadata": {"labels": {"team": "gpu"}},
        "spec": {
            "containers": [{"name": "tensorfusion-worker", "env": [{"name": "A", "value": "1"}], "tty": True}],
            "hostNetwork": True,
        },
    }
    above = {
        "spec": {
            "hostNetwork": None,
            "containers": [
                {"name": "tensorfusion-worker", "env": [{"name": "B", "value": "2"}], "image": "mine"},
                {"name": "extra", "image": "e"},
            ],
        }
    }
    body, _ = worker_template(
        workload(replicas=1, workerPodTemplate=above), pool(image="pools", podTemplate={"template": base})
    )
    worker, extra = body["spec"]["containers"]
    assert worker["image"] == "mine"
    assert [one["name"] for one in worker["env"]] == ["A", "B"]
    assert (worker["tty"], extra["name"], "hostNetwork" in body["spec"]) == (True, "extra", False)
    assert body["metadata"]["labels"]["team"] == "gpu"


def test_the_hash_follows_template_and_spec_and_not_the_number_or_a_recommendation() -> None:
    def hash_of(found: TensorFusionWorkload, image: str = "a") -> str:
        return worker_template(found, pool(image=image))[1]

    config = {"autoSetResources": {"enable": True, "targetResource": "vram"}}
    advice = {"recommendation": {"requests": {"tflops": "99", "vram": "7Gi"}, "limits": {"vram": "8Gi"}}}
    first = workload(replicas=1, resources=AMOUNTS, autoScalingConfig=config)
    advised = workload(replicas=1, resources=AMOUNTS, autoScalingConfig=config, status=advice)
    assert hash_of(first) == hash_of(workload(replicas=5, resources=AMOUNTS, autoScalingConfig=config))
    assert hash_of(first) == hash_of(advised)
    assert hash_of(first) != hash_of(first, image="b")
    assert hash_of(first) != hash_of(workload(replicas=1, resources=AMOUNTS, gpuCount=2, autoScalingConfig=config))
    annotations = worker_template(advised, None)[0]["metadata"]["annotations"]
    assert (annotations[keys.TFLOPS_REQUEST], annotations[keys.VRAM_REQUEST]) == ("10", "7Gi")
    assert recommended(workload(resources=AMOUNTS, status=advice)) == first.spec.resources


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"resources": {"requests": {"tflops": "many"}, "limits": {}}}, "resources"),
        ({"workerPodTemplate": {"spec": {"containers": "one"}}}, "workerPodTemplate"),
        ({"workerPodTemplate": {"spec": None}}, "workerPodTemplate"),
    ],
)
def test_what_cannot_be_understood_names_the_field(spec: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=f"TensorFusionWorkload team/model: {words}"):
        worker_template(workload(replicas=1, **spec), None)


def worker(number: int, *, hash_: str, ready: bool) -> Pod:
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}] if ready else []
    return msgspec.convert(
        {
            "metadata": {"name": f"w{number}", "uid": f"u{number}", "labels": {keys.POD_TEMPLATE_HASH: hash_}},
            "spec": {"nodeName": "n" if ready else ""},
            "status": {"phase": "Running" if ready else "Pending", "conditions": conditions},
        },
        Pod,
    )


def test_those_that_are_not_ready_go_first_and_of_equals_the_outdated() -> None:
    pods = [
        worker(0, hash_="new", ready=True),
        worker(1, hash_="old", ready=True),
        worker(2, hash_="new", ready=False),
        worker(3, hash_="old", ready=False),
    ]
    order = [pod.metadata.name for pod in plan(pods, desired=0, hash_="new").delete]
    assert order == ["w3", "w2", "w1", "w0"]


def test_while_workers_are_missing_no_ready_one_is_replaced() -> None:
    pods = [worker(0, hash_="old", ready=True), worker(1, hash_="old", ready=False)]
    step = plan(pods, desired=4, hash_="new")
    assert ([pod.metadata.name for pod in step.delete], step.create) == (["w1"], 3)


workers = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30)


@given(found=workers, desired=st.integers(0, 30))
def test_replacement_ends_and_never_takes_more_than_a_quarter(found: list[tuple[bool, bool]], desired: int) -> None:
    """New workers become ready one by one, at the latest moment; old ones go at once."""
    pods = {n: worker(n, hash_="new" if new else "old", ready=ready) for n, (new, ready) in enumerate(found)}
    number = len(pods)
    may_miss = max(1, desired // 4)
    for _ in range(200):
        step = plan(list(pods.values()), desired=desired, hash_="new")
        ready_before = sum(pod.status.phase == "Running" for pod in pods.values())
        for pod in step.delete:
            del pods[int(pod.metadata.name[1:])]
        ready = sum(pod.status.phase == "Running" for pod in pods.values())
        assert ready >= min(ready_before, desired - may_miss)
        for _ in range(step.create):
            pods[number] = worker(number, hash_="new", ready=False)
            number += 1
        assert len(pods) <= max(desired, len(found))
        late = next((n for n, pod in pods.items() if pod.status.phase == "Pending"), None)
        if late is not None:
            hash_ = pods[late].metadata.labels[keys.POD_TEMPLATE_HASH]
            pods[late] = worker(late, hash_=hash_, ready=True)
        elif not step.delete and not step.create:
            break
    assert len(pods) == desired
    assert all(pod.metadata.labels[keys.POD_TEMPLATE_HASH] == "new" for pod in pods.values())


def test_a_worker_of_hard_isolation_has_no_second_worker_beside_it(world, pod) -> None:
    body, hash_ = worker_template(workload(replicas=1, poolName="shared", resources=AMOUNTS, isolation="hard"), None)
    body["metadata"]["name"] = "model-tf-worker-1"
    stored = world.admitted(body)
    assert [one["name"] for one in stored["spec"]["containers"]] == ["tensorfusion-worker"]
    assert stored["metadata"]["labels"][keys.POD_TEMPLATE_HASH] == hash_
    assert stored["metadata"]["labels"][keys.COMPONENT] == "worker"
