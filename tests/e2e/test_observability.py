"""What a running cluster says of itself: metrics of both processes, the state in memory, events, log levels."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster import Cluster, eventually
from tensorfusion.errors import Forbidden
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import CONFIG_MAPS, EVENTS
from test_road import create, gpu_pod, running, waiting

REFERENCE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "metrics.md"


def scraped(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def of_control(cluster: Cluster) -> str:
    with urllib.request.urlopen(f"{cluster.http}/metrics", timeout=30) as answer:
        return answer.read().decode()


def of_api(cluster: Cluster) -> str:
    return cluster.run(lambda client: client.get_raw("/metrics", accept="text/plain")).decode()


def labels_documented() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*)\|", REFERENCE.read_text(), flags=re.MULTILINE)
    return {name: {label.strip() for label in labels.split(",") if label.strip()} for name, labels in rows}


def test_labels_are_those_of_the_reference_and_never_a_pods_name(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("a-very-special-name", tflops_request="10", vram_request="1Gi"))
    running(cluster, namespace, "a-very-special-name")
    documented = labels_documented()
    texts = [of_control(cluster)] + ([] if cluster.real else [of_api(cluster)])
    for text in texts:
        assert "a-very-special-name" not in text
        assert namespace not in text
        for family in text_string_to_metric_families(text):
            if family.name.startswith("process_"):
                continue
            name = f"{family.name}_total" if family.type == "counter" else family.name
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    assert set(sample.labels) - {"le"} == documented[name], sample


def test_allocations_and_failures_are_counted_by_pool_and_told_as_events(cluster: Cluster, namespace: str) -> None:
    label = (("pool", "default"),)

    def counted(name: str) -> float:
        return scraped(of_control(cluster)).get(f"tensorfusion_scheduler_{name}_total", {}).get(label, 0)

    got, failed = counted("allocations"), counted("allocation_failures")
    create(cluster, namespace, gpu_pod("fits", tflops_request="10", vram_request="1Gi"))
    create(cluster, namespace, gpu_pod("too-big", tflops_request="900000", vram_request="1Gi"))
    running(cluster, namespace, "fits")
    waiting(cluster, namespace, "too-big")
    eventually(lambda: counted("allocations"), until=lambda now: now > got)
    eventually(lambda: counted("allocation_failures"), until=lambda now: now > failed)

    def reasons() -> set[str]:
        events = cluster.run(lambda client: client.list(EVENTS, dict, namespace=namespace)).items
        return {event["reason"] for event in events if event["involvedObject"]["name"] == "too-big"}

    assert eventually(reasons) == {"GPUQuotaOrCapacityNotEnough"}


def test_queues_and_watches_of_the_control_process_are_measured(cluster: Cluster) -> None:
    found = scraped(of_control(cluster))
    queues = {dict(labels)["queue"] for labels in found["tensorfusion_queue_depth"]}
    assert {"simulated-kubelet", "node-agent", "simulated-node", "binder-reads"} <= queues
    assert {"scheduler", "status-writer", "event-recorder"} <= queues
    assert found["tensorfusion_queue_work_seconds_count"][(("queue", "simulated-kubelet"),)] >= 0
    assert found["tensorfusion_cached_objects"][(("resource", "gpus.tensor-fusion.ai"),)] >= 14
    assert found["tensorfusion_watch_age_seconds"][(("resource", "pods"),)] >= 0
    assert found["tensorfusion_leader"]


def test_the_api_process_counts_its_requests_as_a_kube_apiserver_does(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    if cluster.real:
        pytest.skip("a kube-apiserver has its own")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counted"}}
    cluster.run(lambda client: client.create(CONFIG_MAPS, body, namespace=namespace))
    found = scraped(of_api(cluster))
    created = {"verb": "POST", "group": "", "version": "v1", "resource": "configmaps", "subresource": ""}
    assert found["apiserver_request_total"][tuple(sorted({**created, "code": "201"}.items()))] >= 1
    assert found["apiserver_request_duration_seconds_count"][tuple(sorted(created.items()))] >= 1
    watches = [
        value for labels, value in found["apiserver_longrunning_requests"].items() if ("verb", "WATCH") in labels
    ]
    assert sum(watches) > 5
    hooks = {dict(labels)["name"] for labels in found["apiserver_admission_webhook_admission_duration_seconds_count"]}
    assert "mpod.tensor-fusion.ai" in hooks
    assert found["apiserver_storage_objects"][(("resource", "nodes"),)] == 4
    file = tmp_path / "eve.kubeconfig"
    cluster.program("user", "add", "eve", "-n", namespace, "-o", str(file))

    async def ask() -> bytes:
        async with Client(load_kubeconfig(file)) as client:
            return await client.get_raw("/metrics")

    import asyncio

    with pytest.raises(Forbidden, match="/metrics"):
        asyncio.run(ask())


def state(cluster: Cluster, token: str | None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{cluster.http}/debug/state", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_state_in_memory_is_for_administrators(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    create(cluster, namespace, gpu_pod("held", tflops_request="10", vram_request="1Gi"))
    running(cluster, namespace, "held")
    status, found = state(cluster, load_kubeconfig(cluster.kubeconfig).token)
    assert status == 200
    assert found["scheduler"]["deciding"] is True
    assert found["scheduler"]["ledger"]["devices"] == 14
    assert found["scheduler"]["ledger"]["allocations"] >= 1
    assert found["scheduler"]["ledger"]["overcommittedDevices"] == []
    assert any(entry["leading"] for entry in found["leadership"].values())
    assert found["caches"]["pods"]["objects"] >= 1
    assert found["queues"]["node-agent"]["adds"] > 0
    assert isinstance(found["recentErrors"], list)
    assert state(cluster, None)[0] == 401
    file = tmp_path / "eve.kubeconfig"
    cluster.program("user", "add", "eve", "-n", namespace, "-o", str(file))
    refused, text = state(cluster, load_kubeconfig(file).token)
    assert refused == 403
    assert "/debug/state" in text["error"]


@pytest.mark.parametrize("command", [["status"], ["control", "--data", "/nonexistent"]], ids=lambda words: words[0])
def test_a_wrong_log_level_is_one_clear_error(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tensorfusion", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TF_LOG_LEVEL": "loud"},
    )
    assert done.returncode == 1
    assert done.stderr == "error: TF_LOG_LEVEL: wanted one of trace, debug, info, warn, error, found 'loud'\n"


def test_a_command_at_trace_says_what_it_asks(cluster: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tensorfusion", "top", "--once"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "TF_LOG_LEVEL": "trace", "KUBECONFIG": str(cluster.kubeconfig)},
    )
    assert "trace cli request method=GET path=/apis/tensor-fusion.ai/v1/gpus" in done.stderr
    assert "Bearer" not in done.stderr
