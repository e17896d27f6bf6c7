"""Traces: what an arrival becomes, and mistakes in the files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import ConfigError
from tensorfusion.model import keys
from tensorfusion.testing.traces import (
    TracePod,
    fleet_document,
    generate,
    pod_manifest,
    read_nodes,
    read_pods,
    write_trace,
)


@pytest.mark.parametrize(
    ("milli", "tflops", "vram"),
    [(1000, "100", "16384Mi"), (460, "46", "7536Mi"), (1, "0.1", "16Mi"), (15, "1.5", "245Mi")],
)
def test_a_share_in_milli_becomes_tflops_and_vram(milli: int, tflops: str, vram: str) -> None:
    annotations = pod_manifest(TracePod("p", 1000, 1024, 1, milli), namespace="n")["metadata"]["annotations"]
    assert annotations[keys.TFLOPS_REQUEST] == tflops
    assert annotations[keys.VRAM_REQUEST] == vram


def test_a_pod_without_gpus_is_plain() -> None:
    manifest = pod_manifest(TracePod("p", 1500, 1024, 0, 0), namespace="n")
    assert "labels" not in manifest["metadata"]
    assert manifest["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "1500m", "memory": "1024Mi"}}


def test_one_model_is_an_annotation_and_several_are_a_node_affinity() -> None:
    one = pod_manifest(TracePod("p", 1, 1, 1, 1000, ("T4",)), namespace="n")
    assert one["metadata"]["annotations"][keys.GPU_MODEL] == "T4"
    two = pod_manifest(TracePod("p", 1, 1, 1, 1000, ("T4", "A10")), namespace="n")
    assert "nodeAffinity" in two["spec"]["affinity"]


@given(st.integers(1, 30), st.integers(0, 60), st.integers(0, 10**6))
def test_a_generated_trace_survives_its_files(
    tmp_path_factory: pytest.TempPathFactory, nodes: int, pods: int, seed: int
) -> None:
    machines, arrivals = generate(nodes=nodes, pods=pods, seed=seed)
    node_file, pod_file = write_trace(tmp_path_factory.mktemp("trace"), machines, arrivals)
    assert read_nodes(node_file) == machines
    assert read_pods(pod_file) == arrivals
    assert len(fleet_document(machines)["nodes"]) == nodes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted the columns name"),
        ("name,cpu_milli\n", "found no memory_mib"),
        ("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,x,1,1,1\n", "line 2: cpu_milli: wanted a whole number"),
        ("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,2000\n", "gpu_milli: wanted 1 to 1000"),
        ("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1\n", "line 2: wanted 5 columns"),
    ],
)
def test_a_mistake_in_a_pod_list_names_file_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "pods.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_pods(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv"):
        read_nodes(tmp_path / "none.csv")
