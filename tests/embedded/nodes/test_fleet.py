"""Fleet files: what they may say, and how their mistakes are told."""

from pathlib import Path

import pytest

from tensorfusion.embedded.fleet import demo_fleet, load_fleet, parse_fleet
from tensorfusion.errors import ConfigError
from tensorfusion.model.interconnects import LinkLayout

GIB = 1 << 30
ISSUE = """
nodes:
- {name: "a100-{i}", count: 3, cpu: 64, memory: 512Gi, labels: {zone: a}, gpus: {model: A100_SXM_80G, count: 4}}
- {name: openb-node-0000, cpu: 64, memory: 262144Mi, gpus: {model: P100, count: 2, tflops: 100, vram: 16Gi}}
- {name: cpu-0, cpu: 96, memory: 384Gi}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(text)
    return path


def test_a_fleet_file_expands_into_machines(tmp_path: Path) -> None:
    nodes = load_fleet(write(tmp_path, ISSUE))
    assert [node.name for node in nodes] == ["a100-0", "a100-1", "a100-2", "openb-node-0000", "cpu-0"]
    first, openb, plain = nodes[0], nodes[3], nodes[4]
    assert (first.cpu, first.memory, first.pods, first.labels) == (64_000, 512 * GIB, 110, {"zone": "a"})
    assert first.devices is not None
    assert (first.devices.full_name, first.devices.count) == ("NVIDIA A100-SXM4-80GB", 4)
    assert (first.devices.compute, first.devices.vram) == (312_000, 80 * GIB)
    assert openb.devices is not None
    assert (openb.devices.full_name, openb.devices.compute, openb.devices.vram) == ("P100", 100_000, 16 * GIB)
    assert plain.devices is None


def test_stated_figures_win_over_the_catalogue() -> None:
    (node,) = parse_fleet(
        {
            "nodes": [
                {"name": "x", "cpu": "500m", "memory": 1024, "gpus": {"model": "T4", "tflops": "1.5", "vram": "1Gi"}}
            ]
        },
        source="f",
    )
    assert node.devices is not None
    assert (node.cpu, node.memory, node.devices.compute, node.devices.vram) == (500, 1024, 1500, GIB)
    assert node.devices.vendor == "NVIDIA"


def test_taints_and_pods_are_optional_parts() -> None:
    taint = {"key": "gpu", "value": "only", "effect": "NoSchedule"}
    (node,) = parse_fleet({"nodes": [{"name": "x", "cpu": 1, "memory": 1, "pods": 7, "taints": [taint]}]}, source="f")
    assert (node.pods, node.taints) == (7, (("gpu", "only", "NoSchedule"),))


def test_the_demo_has_ten_devices_on_three_machines() -> None:
    devices = [(node.name, node.devices.model, node.devices.count) for node in demo_fleet() if node.devices is not None]
    assert devices == [("a100-0", "A100_SXM_80G", 4), ("h100-0", "H100_SXM", 4), ("l4-0", "L4", 2)]


NODE = "{name: a, cpu: 1, memory: 1Gi"
MISTAKES = {
    "[]": "wanted one key `nodes` with a list, found list",
    "nodes: {}": "wanted one key `nodes`",
    "machines: []": "found ['machines']",
    "nodes: [a]": "nodes[0]: wanted an object, found str",
    "nodes: [{cpu: 1, memory: 1Gi}]": "nodes[0]: name: wanted text",
    f"nodes: [{NODE}, gpu: {{}}}}]": "unknown key 'gpu': known are",
    "nodes: [{name: a, memory: 1Gi}]": "nodes[0] (a): cpu: wanted a quantity such as 64 or 512Gi, found None",
    "nodes: [{name: a, cpu: yes, memory: 1Gi}]": "cpu: wanted a quantity",
    "nodes: [{name: a, cpu: 0, memory: 1Gi}]": "cpu: wanted more than 0, found 0",
    "nodes: [{name: a, cpu: .nan, memory: 1Gi}]": "cpu: 'nan' is not a quantity",
    "nodes: [{name: a, cpu: 1, memory: 1GB}]": "memory: '1GB' is not a quantity",
    "nodes: [{name: a, cpu: 1, memory: -1}]": "memory: '-1' is negative",
    f"nodes: [{NODE}}}, {NODE}}}]": "the node name 'a' appears twice",
    f"nodes: [{NODE}, count: 2}}]": "name: wanted {i} in the name of 2 nodes, found 'a'",
    f"nodes: [{NODE}, count: 0}}]": "count: wanted a whole number from 1 to 20000, found 0",
    f"nodes: [{NODE}, count: 1.5}}]": "count: wanted a whole number",
    "nodes: [{name: Node_1, cpu: 1, memory: 1Gi}]": "name: wanted at most 63 lower-case letters",
    f"nodes: [{{name: {'a' * 64}, cpu: 1, memory: 1Gi}}]": "name: wanted at most 63",
    f"nodes: [{NODE}, labels: {{gpu: true}}}}]": "quote numbers and booleans",
    f"nodes: [{NODE}, labels: {{a b: c}}}}]": "labels: wanted a Kubernetes label, found 'a b'",
    f"nodes: [{NODE}, taints: [{{key: a}}]}}]": "effect of NoSchedule, PreferNoSchedule or NoExecute",
    f"nodes: [{NODE}, taints: a}}]": "taints: wanted a list",
    f"nodes: [{NODE}, gpus: {{count: 1}}}}]": "gpus: model: wanted a model name",
    f"nodes: [{NODE}, gpus: {{model: P100}}}}]": "'P100' is not in the catalogue: state its tflops and vram",
    f"nodes: [{NODE}, gpus: {{model: P100, vram: 1Gi}}}}]": "'P100' is not in the catalogue",
    f"nodes: [{NODE}, gpus: {{model: M1}}}}]": "does not know the memory of 'M1': state its vram",
    f"nodes: [{NODE}, gpus: {{model: L4, count: 65}}}}]": "gpus: count: wanted a whole number from 1 to 64, found 65",
    f"nodes: [{NODE}, gpus: {{model: L4, tflops: lots}}}}]": "gpus: tflops: 'lots' is not a quantity",
    f"nodes: [{NODE}, gpus: {{model: L4, memory: 1}}}}]": "gpus: unknown key 'memory'",
    "nodes: [": "is not YAML",
    "nodes: !!python/object/apply:os.system [ls]": "is not YAML",
    "[" * 5000: "is not YAML",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_each_mistake_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_fleet(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"fleet file {path}: ")
    assert "\n" not in str(caught.value)


def test_a_mistake_is_found_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 4: nodes\[1\] \(openb-node-0000\): gpus: vram: "):
        load_fleet(write(tmp_path, ISSUE.replace("vram: 16Gi", "vram: 16GB")))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fleet(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fleet(tmp_path / "binary.yaml")


def test_a_machine_has_a_disk_of_a_hundred_gibibytes_unless_it_says_otherwise() -> None:
    machine = {"cpu": 1, "memory": "1Gi"}
    usual, large = parse_fleet(
        {"nodes": [{"name": "a", **machine}, {"name": "b", "disk": "2Ti", **machine}]}, source="f"
    )
    assert (usual.disk, large.disk) == (100 * GIB, 2048 * GIB)


def test_a_fleet_may_say_how_devices_hang_together() -> None:
    def spec(**gpus: object) -> tuple[object, object]:
        entry = {"name": "x", "cpu": 1, "memory": "1Gi", "gpus": {"model": "L4", "count": 4, **gpus}}
        (node,) = parse_fleet({"nodes": [entry]}, source="f")
        assert node.devices is not None
        return node.devices.numa, node.devices.links

    assert spec() == (None, None)
    assert spec(numa=4, nvlink="pairs") == (4, LinkLayout.PAIRS)
    assert spec(numa=0) == (0, None)
    with pytest.raises(ConfigError, match=r"gpus: numa: wanted a whole number from 0 to 4, found 5"):
        spec(numa=5)
    with pytest.raises(ConfigError, match=r"gpus: nvlink: wanted one of all, pairs, none, found 'pair'.*pairs"):
        spec(nvlink="pair")
