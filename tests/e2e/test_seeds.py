"""The user's own documents: the objects of the DRA guide (seed 001) and the call of the deployment guide (seed 002).

The ``resource.k8s.io`` objects of seed 001 come with DRA; the others are applied as they are written. Only companions
that a document takes for granted (the pools ``default`` and ``production-pool``) are made here.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, embedded_cluster, eventually, real_cluster
from tensorfusion.model import keys
from tensorfusion.model.resources import EVENTS, GPU_POOLS, GPUS, PODS, SCHEDULING_CONFIG_TEMPLATES

SEED_001 = Path(__file__).with_name("seed_001")
SEED_002 = Path(__file__).with_name("seed_002")


@pytest.fixture(scope="module")
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without pools of the user's own: the documents bring theirs."""
    make = real_cluster if request.config.getoption("--real") else embedded_cluster
    with make(tmp_path_factory.mktemp("seeds")) as running:
        yield running


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of one block; those of resource.k8s.io are left out."""
    found = [document for document in yaml.safe_load_all((SEED_001 / name).read_text()) if document]
    return [document for document in found if not document["apiVersion"].startswith("resource.k8s.io/")]


def apply(cluster: Cluster, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("---\n".join(yaml.safe_dump(document) for document in documents(name)))
    cluster.program("apply", "-f", str(file))


def pod(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.run(lambda client: client.get(PODS, dict, name, namespace="default"))


def runs(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The devices of a pod once it is Running."""
    found = eventually(lambda: pod(cluster, name), until=lambda found: found["status"].get("phase") == "Running")
    ids = found["metadata"]["annotations"][keys.GPU_IDS].split(",")
    return [cluster.run(lambda client, name=device: client.get(GPUS, dict, name)) for device in ids]


def forget(cluster: Cluster, name: str, *pools: str) -> None:
    cluster.run(lambda client: client.delete(PODS, name, namespace="default", grace_seconds=0))
    eventually(lambda: name not in [p["metadata"]["name"] for p in cluster.run(lambda c: c.list(PODS, dict)).items])
    for pool in pools:
        cluster.run(lambda client, pool=pool: client.delete(GPU_POOLS, pool))


def test_the_simplest_pod_of_the_guide_runs(fresh: Cluster, tmp_path: Path) -> None:
    """It names no label, only dra-enabled; the pool `default` is the automatic one."""
    apply(fresh, tmp_path, "1.1-simplest-pod.yaml")
    (device,) = runs(fresh, "my-gpu-workload")
    assert device["metadata"]["labels"][keys.GPU_POOL] == "default"

    def told() -> bool:
        events = fresh.run(lambda client: client.list(EVENTS, dict, namespace="default")).items
        return any(
            event["involvedObject"]["name"] == "my-gpu-workload" and "dra" in event["message"].lower()
            for event in events
        )

    eventually(told)
    forget(fresh, "my-gpu-workload")


def test_the_template_keeps_its_dra_fields(fresh: Cluster, tmp_path: Path) -> None:
    apply(fresh, tmp_path, "3.1-scheduling-config-template.yaml")
    found = fresh.run(lambda client: client.get(SCHEDULING_CONFIG_TEMPLATES, dict, "default-scheduling-config"))
    assert found["spec"]["dra"] == {"enable": True, "resourceClaimTemplateName": "tensor-fusion-gpu-template"}
    assert found["spec"]["placement"]["mode"] == "CompactFirst"


def test_the_guides_pool_and_pod_run_on_two_a100s(fresh: Cluster, tmp_path: Path) -> None:
    """The pool states no nodes, so it takes over those of the automatic pool; the model is the bare family name."""
    apply(fresh, tmp_path, "3.1-scheduling-config-template.yaml")
    apply(fresh, tmp_path, "3.3-gpu-pool.yaml")
    apply(fresh, tmp_path, "3.4-pod.yaml")
    devices = runs(fresh, "my-workload")
    assert len(devices) == 2
    assert all("A100" in device["status"]["gpuModel"] for device in devices)
    assert {device["metadata"]["labels"][keys.GPU_POOL] for device in devices} == {"my-gpu-pool"}
    forget(fresh, "my-workload", "my-gpu-pool")


def test_the_complete_example_of_the_appendix_runs(fresh: Cluster, tmp_path: Path) -> None:
    apply(fresh, tmp_path, "appendix-1-complete.yaml")
    (device,) = runs(fresh, "my-workload")
    assert device["metadata"]["labels"][keys.GPU_POOL] == "default-pool"
    forget(fresh, "my-workload", "default-pool")


def test_the_multi_gpu_example_of_the_appendix_runs_on_four_devices(fresh: Cluster, tmp_path: Path) -> None:
    companion = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "GPUPool",
        "metadata": {"name": "production-pool"},
        "spec": {},
    }
    fresh.run(lambda client: client.create(GPU_POOLS, companion))
    apply(fresh, tmp_path, "appendix-2-multi-gpu.yaml")
    devices = runs(fresh, "multi-gpu-workload")
    assert len({device["metadata"]["name"] for device in devices}) == 4
    assert len({device["status"]["nodeSelector"]["kubernetes.io/hostname"] for device in devices}) == 1
    forget(fresh, "multi-gpu-workload", "production-pool")


def test_the_simulate_schedule_call_of_the_deployment_guide_answers_with_a_feasible_node(fresh: Cluster) -> None:
    """The shell command as written; only the address is that of the cluster under test."""
    command = (SEED_002 / "simulate-schedule.sh").read_text()
    assert "http://localhost:8080/" in command

    def pools() -> set[str]:
        found = fresh.run(lambda client: client.list(GPU_POOLS, dict)).items
        return {pool["metadata"]["name"] for pool in found if "Running" in pool.get("status", {}).get("phase", "")}

    eventually(pools, until=lambda names: names == {"default"})  # the automatic pool is back and has its nodes
    command = command.replace("http://localhost:8080", fresh.http)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    answer = yaml.safe_load(done.stdout)
    assert answer["error"] is None
    assert answer["scheduleResult"]["FeasibleNodes"] > 0
    assert re.match(r"(a100|h100|l4)-0", answer["scheduleResult"]["SuggestedHost"])
    assert [
        p for p in fresh.run(lambda client: client.list(PODS, dict)).items if p["metadata"]["name"] == "test-pod"
    ] == []
