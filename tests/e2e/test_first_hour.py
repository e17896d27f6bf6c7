"""What somebody types in the first hour: status, top, explain, completion."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from typing import Any

from cluster import Cluster, eventually
from tensorfusion.model.resources import GPU_RESOURCE_QUOTAS, NODES
from test_road import create, gpu_pod, running

QUOTA = {
    "apiVersion": "tensor-fusion.ai/v1",
    "kind": "GPUResourceQuota",
    "metadata": {"name": "team"},
    "spec": {"total": {"requests": {"tflops": "100", "vram": "8Gi"}, "maxGPUCount": 4}},
}


def story(cluster: Cluster, *words: str) -> dict[str, Any]:
    return json.loads(cluster.program("explain", *words, "-o", "json").stdout)


def test_explain_pool_says_who_holds_it_and_who_waits(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("holder", tflops_request="100", vram_request="1Gi", gpu_model="H100"))
    create(cluster, namespace, gpu_pod("waiter", tflops_request="900000", vram_request="1Gi"))
    running(cluster, namespace, "holder")

    def told() -> dict[str, Any]:
        return story(cluster, "pool", "default")

    found = eventually(
        told,
        until=lambda it: (
            any(f"{namespace}/waiter: " in line and "not looked" not in line for line in it["waiting"])
            and any(f"{namespace}/holder: 100 TFLOPS, 1Gi on h100-0" in line for line in it["holders"])
        ),
    )
    assert "8 NVIDIA A100-SXM4-80GB" in found["devices"]
    eventually(told, until=lambda it: it["nodes"] == "3 of 3 ready")
    assert "TFLOPS and " in found["largestFreeShare"]
    text = cluster.program("explain", "pool", "default").stdout.splitlines()
    assert text[0] == "pool default"
    assert any(line.strip() == "waiting:" for line in text)


def test_explain_node_says_what_keeps_work_away(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("guest", tflops_request="10", vram_request="1Gi", gpu_model="L4"))
    running(cluster, namespace, "guest")
    open_node = eventually(lambda: story(cluster, "node", "l4-0"), until=lambda it: f"{namespace}/guest" in it["pods"])
    assert open_node["takesWork"] is True
    assert open_node["pool"] == "default"
    assert open_node["devices"][0].startswith("0 NVIDIA L4: Running; ")
    cluster.run(lambda client: client.patch(NODES, "l4-0", {"spec": {"unschedulable": True}}))
    try:
        closed = story(cluster, "node", "l4-0")
        assert closed["takesWork"] is False
        assert "it is cordoned" in closed["obstacles"][0]
    finally:
        cluster.run(lambda client: client.patch(NODES, "l4-0", {"spec": {"unschedulable": None}}))
    wrong = cluster.program("explain", "node", "l4-1", check=False)
    assert "node l4-1: there is none: did you mean l4-0?" in wrong.stderr


def test_explain_quota_says_what_is_left_and_who_waits_for_it(cluster: Cluster, namespace: str) -> None:
    cluster.run(lambda client: client.create(GPU_RESOURCE_QUOTAS, QUOTA, namespace=namespace))
    create(cluster, namespace, gpu_pod("big", tflops_request="80", vram_request="2Gi"))
    running(cluster, namespace, "big")
    create(cluster, namespace, gpu_pod("more", tflops_request="40", vram_request="1Gi"))

    def told() -> dict[str, Any]:
        return story(cluster, "quota", "-n", namespace)

    found = eventually(told, until=lambda it: bool(it["waiting"]) and "80 TFLOPS of" in it["used"][0])
    assert found["used"] == [
        "requests.tflops: 80 TFLOPS of 100 TFLOPS, 20 left",
        "requests.vram: 2Gi of 8Gi, 6Gi left",
        "pods: 1 of 32768, 32767 left",
        "shares: 1 of 4, 3 left",
    ]
    assert found["waiting"][0].startswith(f"{namespace}/more: ")
    assert found["holders"][0].startswith(f"{namespace}/big: 80 TFLOPS, 2Gi on ")
    none = cluster.program("explain", "quota", "-n", "kube-public", check=False)
    assert "has no GPUResourceQuota" in none.stderr


def test_status_says_what_waits(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("patient", tflops_request="900000", vram_request="1Gi"))

    def waiting() -> dict[str, str]:
        rows = json.loads(cluster.program("status", "-o", "json").stdout)["waiting"]
        return {f"{row['namespace']}/{row['name']}": row["reason"] for row in rows}

    found = eventually(waiting, until=lambda rows: "not enough compute" in rows.get(f"{namespace}/patient", ""))
    assert found
    text = eventually(lambda: cluster.program("status").stdout, until=lambda shown: "14 of 14 take work" in shown)
    if not cluster.real:
        assert f"cluster  {cluster.folder.root}, up for " in text


def test_top_is_live_in_a_terminal_and_leaves_on_q(cluster: Cluster) -> None:
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "TERM": "xterm",
        "COLUMNS": "100",
        "LINES": "12",
    }
    command = [sys.executable, "-m", "tensorfusion", "top", "--every", "0.3"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        seen = read_until(master, lambda text: text.count("q leaves") >= 2)
        os.write(master, b"q")
        rest = read_until(master, lambda text: "\x1b[?1049l" in text)
        assert process.wait(20) == 0
    os.close(master)
    assert "\x1b[?1049h" in seen
    assert " devices, " in seen
    assert "more: `tensorfusion top --once` prints all" in seen
    assert "\x1b[?25h" in rest  # the cursor is back


def read_until(terminal: int, done: Any) -> str:
    text, deadline = "", time.monotonic() + 60
    while not done(text):
        assert time.monotonic() < deadline, text[-2000:]
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                text += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
    return text


def test_top_sorts_by_what_is_asked_for(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("heaviest", tflops_request="980", vram_request="70Gi", gpu_model="H100"))
    running(cluster, namespace, "heaviest")

    def first() -> dict[str, Any]:
        return json.loads(cluster.program("top", "--sort", "vram", "-o", "json").stdout)[0]

    eventually(first, until=lambda row: f"{namespace}/heaviest" in row["pods"])


def test_the_shell_completes_commands_and_names_of_objects(cluster: Cluster) -> None:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        environment = {
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "_TENSORFUSION_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        code = "from tensorfusion.cli.main import program; program(prog_name='tensorfusion')"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert done.stderr == ""
        return [entry.partition(",")[2] for entry in done.stdout.split()]

    assert complete("tensorfusion exp") == ["explain"]
    assert complete("tensorfusion explain node a1") == ["a100-0"]
    assert complete("tensorfusion explain pool ") == ["default"]
    assert complete("tensorfusion explain pod --kubeconfig /nonexistent x") == []
