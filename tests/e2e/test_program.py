"""The program's own commands against a running cluster."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster import Cluster, eventually
from tensorfusion.model.resources import CONFIG_MAPS
from tensorfusion.testing.traces import generate, write_trace
from test_road import create, gpu_pod, running


def test_get_prints_the_servers_columns_json_and_yaml(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("seen", tflops_request="10", vram_request="1Gi"))
    running(cluster, namespace, "seen")
    table = cluster.program("get", "pods", "-n", namespace).stdout.splitlines()
    assert table[0].split()[:3] == ["NAME", "READY", "STATUS"]
    assert table[1].split()[:3] == ["seen", "1/1", "Running"]
    listed = json.loads(cluster.program("get", "pods", "-n", namespace, "-o", "json").stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["seen"]
    shown = yaml.safe_load(cluster.program("get", "pod", "seen", "-n", namespace, "-o", "yaml").stdout)
    assert shown["metadata"]["name"] == "seen"


def test_get_of_an_unknown_kind_names_the_known_ones(cluster: Cluster) -> None:
    done = cluster.program("get", "unicorns", check=False)
    assert done.returncode == 1
    assert "no kind 'unicorns'" in done.stderr
    assert "gpupools" in done.stderr


def test_explain_says_where_and_how_it_was_decided(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("placed", tflops_request="10", vram_request="1Gi", gpu_model="H100"))
    running(cluster, namespace, "placed")
    text = cluster.program("explain", "pod", "placed", "-n", namespace, "--address", cluster.http).stdout
    assert "h100-0" in text


def test_explain_of_an_unknown_pod_is_one_line(cluster: Cluster, namespace: str) -> None:
    done = cluster.program("explain", "pod", "nobody", "-n", namespace, "--address", cluster.http, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_top_shows_who_holds_what(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("heavy", tflops_request="500", vram_request="40Gi", gpu_model="H100"))
    running(cluster, namespace, "heavy")
    line = eventually(
        lambda: next((row for row in cluster.program("top").stdout.splitlines() if f"{namespace}/heavy" in row), "")
    )
    assert line.startswith("h100-0")


def test_status_counts_nodes_and_pools(cluster: Cluster) -> None:
    def rolled_up() -> bool:
        value = json.loads(cluster.program("status", "-o", "json").stdout)
        return value["nodes"] == {"total": 4, "ready": 4} and any(pool["gpus"] == 14 for pool in value["pools"])

    eventually(rolled_up)


def test_apply_of_a_broken_file_names_it_and_goes_on(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fine}\n"
    text = f"kind: Pod\n---\n{good}---\napiVersion: x/v1\nkind: Nope\nmetadata: {{name: a}}\n"
    file = tmp_path / "mixed.yaml"
    file.write_text(text)
    done = cluster.program("apply", "-f", str(file), "-n", namespace, check=False)
    assert done.returncode == 1
    assert "configmaps/fine created" in done.stdout
    assert "document 1" in done.stderr
    assert 'no kind "Nope"' in done.stderr


def test_apply_says_of_what_is_being_deleted_that_it_goes_all_the_same(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "held.yaml"
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    file.write_text(yaml.safe_dump(held))
    assert cluster.program("apply", "-f", str(file), "-n", namespace).stdout == "configmaps/held created\n"
    cluster.run(lambda client: client.delete(CONFIG_MAPS, "held", namespace=namespace))
    done = cluster.program("apply", "-f", str(file), "-n", namespace)
    assert done.stdout == "configmaps/held unchanged\n"
    assert done.stderr == f"warning: {file}: configmaps/held is being deleted: apply it again once it has gone\n"
    cluster.run(
        lambda client: client.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, namespace=namespace)
    )


def test_metrics_are_served(cluster: Cluster) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{cluster.http}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    assert "tensorfusion_" in text


def test_what_is_said_of_pods_takes_a_token_and_is_compressed_where_wanted(cluster: Cluster) -> None:
    import gzip
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.http}/api/explain?name=x", timeout=30)
    assert refused.value.code == 401
    asked = urllib.request.Request(f"{cluster.http}/api/allocation", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "gpuStore" in json.loads(gzip.decompress(answer.read()))


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program without a cluster of its own."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=150, check=False, env={**os.environ, **environment}
    )


def test_a_replay_accounts_for_every_arrival(tmp_path: Path) -> None:
    nodes, pods = generate(nodes=12, pods=60, seed=3)
    machines, arrivals = write_trace(tmp_path, nodes, pods)
    files = ["--nodes", str(machines), "--pods", str(arrivals)]
    done = program("-m", "tensorfusion", "replay", *files, "--json", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["nodes"], figures["pods"]) == (12, 60)
    assert figures["placed"] > 0
    assert figures["placed"] + sum(figures["pending"].values()) + sum(figures["refused"].values()) == 60
    assert f"placed      {figures['placed']} of 60 pods" in done.stdout


def test_the_demo_shows_what_happened_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = program(str(Path(__file__).parents[2] / "tools" / "demo.py"), DEMO_FOLDER=str(folder))
    assert done.returncode == 0, done.stderr
    for part in (
        "Placed: 16 pods",
        "Waiting: 2 pods",
        "Evicted: 1 pod",
        "quota exceeded in namespace team-a",
        "Devices",
        "both run: 6 of 6 answered",
        "replica-1 was killed: 6 of 6 answered",
        "export KUBECONFIG",
    ):
        assert part in done.stdout
    assert not folder.exists()
    running = [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _text(entry)]
    assert running == []


def _text(entry: Path) -> str:
    try:
        return entry.read_text(errors="replace")
    except OSError:  # ended meanwhile
        return ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_and_version_answer_at_once(shell: str) -> None:
    script = program("-m", "tensorfusion", "completion", shell)
    assert script.returncode == 0, script.stderr
    assert "tensorfusion" in script.stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", program("-m", "tensorfusion", "version").stdout)
