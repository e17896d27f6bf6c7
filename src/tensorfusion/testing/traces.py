"""Cluster traces in the columns of the public openb trace: read, generate, and turn into nodes and pods of ours.

The trace names GPU milli (1,000 = one whole device) and no GPU memory, so a device is taken as 100 TFLOPS and 16 Gi.

Source: Alibaba's GPU-sharing cluster trace "openb" (Weng et al., USENIX ATC '23), column descriptions.
"""

import csv
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorfusion.errors import ConfigError
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw

DEVICE_TFLOPS = 100
DEVICE_VRAM_MIB = 16_384
MOST_DEVICES = 256
"""Of one machine: more is a slip in a list, and would cost memory for every other machine."""
MODEL_LABEL = f"{keys.DOMAIN}/gpu-model"
_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One machine of a trace. ``memory`` is MiB, ``cpu`` is milli-CPU."""

    name: str
    cpu: int
    memory: int
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class TracePod:
    """One arrival of a trace. ``gpu_milli`` is the share of each of ``gpus`` devices; ``models`` empty = any."""

    name: str
    cpu: int
    memory: int
    gpus: int
    gpu_milli: int
    models: tuple[str, ...] = ()


def read_nodes(path: Path) -> list[TraceNode]:
    """The machines of a node list.

    Raises:
        ConfigError: unreadable, a column is missing, or a value is not a whole number of the right size.
    """
    nodes = []
    for where, row in _rows(path, _NODE_COLUMNS):
        cpu, memory, gpus = (_whole(row, column, where) for column in ("cpu_milli", "memory_mib", "gpu"))
        if gpus > MOST_DEVICES:
            raise ConfigError(f"{where}: gpu: wanted at most {MOST_DEVICES} devices of a machine, found {gpus}")
        nodes.append(TraceNode(row["sn"], cpu, memory, gpus, row["model"]))
    return nodes


def read_pods(path: Path) -> list[TracePod]:
    """The arrivals of a pod list, in the order of the file.

    Raises:
        ConfigError: unreadable, a column is missing, or a value is not a whole number of the right size.
    """
    pods = []
    for where, row in _rows(path, _POD_COLUMNS):
        models = tuple(model for model in (row.get("gpu_spec") or "").split("|") if model)
        pod = TracePod(
            row["name"],
            _whole(row, "cpu_milli", where),
            _whole(row, "memory_mib", where),
            _whole(row, "num_gpu", where),
            _whole(row, "gpu_milli", where),
            models,
        )
        if pod.gpus and not 1 <= pod.gpu_milli <= 1000:
            raise ConfigError(f"{where}: gpu_milli: wanted 1 to 1000 for a pod with GPUs, found {pod.gpu_milli}")
        pods.append(pod)
    return pods


def fleet_document(nodes: Iterable[TraceNode]) -> Raw:
    """The machines as a fleet document (what ``tensorfusion up --fleet`` reads)."""
    entries = []
    for node in nodes:
        entry: Raw = {"name": node.name, "cpu": f"{node.cpu}m", "memory": f"{node.memory}Mi"}
        if node.gpus:
            entry["labels"] = {MODEL_LABEL: node.model}
            entry["gpus"] = {
                "model": node.model,
                "count": node.gpus,
                "tflops": DEVICE_TFLOPS,
                "vram": f"{DEVICE_VRAM_MIB}Mi",
            }
        entries.append(entry)
    return {"nodes": entries}


def pod_manifest(pod: TracePod, *, namespace: str) -> Raw:
    """The arrival as a Pod: a GPU share as annotations, or a plain pod of CPU and memory."""
    manifest: Raw = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": namespace},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "trace",
                    "resources": {"requests": {"cpu": f"{pod.cpu}m", "memory": f"{pod.memory}Mi"}},
                }
            ]
        },
    }
    if not pod.gpus:
        return manifest
    annotations = {
        keys.TFLOPS_REQUEST: _decimal(pod.gpu_milli * DEVICE_TFLOPS, 1000),
        keys.VRAM_REQUEST: f"{DEVICE_VRAM_MIB * pod.gpu_milli // 1000}Mi",
        keys.GPU_COUNT: str(pod.gpus),
    }
    manifest["metadata"]["labels"] = {keys.ENABLED: "true"}
    manifest["metadata"]["annotations"] = annotations
    if len(pod.models) == 1:
        annotations[keys.GPU_MODEL] = pod.models[0]
    elif pod.models:
        expression = {"key": MODEL_LABEL, "operator": "In", "values": list(pod.models)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        manifest["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return manifest


def generate(*, nodes: int, pods: int, seed: int) -> tuple[list[TraceNode], list[TracePod]]:
    """A small made-up trace of the same shape: mixed nodes; shared, whole-device, multi-device and CPU-only pods."""
    dice = random.Random(seed)
    shapes = ((8, "G2", 96_000), (2, "T4", 104_000), (2, "P100", 16_000), (4, "V100M16", 32_000), (0, "", 32_000))
    machines = []
    for number in range(nodes):
        gpus, model, cpu = dice.choice(shapes) if number else shapes[0]
        machines.append(TraceNode(f"trace-node-{number:04}", cpu, 262_144, gpus, model))
    arrivals = []
    for number in range(pods):
        kind = dice.random()
        gpus, milli = (0, 0) if kind < 0.13 else (1, dice.choice((140, 230, 320, 470, 810)))
        if kind >= 0.5:
            gpus, milli = (dice.choice((2, 4, 8)), 1000) if kind > 0.97 else (1, 1000)
        arrivals.append(TracePod(f"trace-pod-{number:04}", dice.choice((1000, 4000, 8000)), 4096, gpus, milli))
    return machines, arrivals


def write_trace(folder: Path, machines: Iterable[TraceNode], arrivals: Iterable[TracePod]) -> tuple[Path, Path]:
    """Write both lists as CSV files of the trace's columns; returns their paths."""
    node_file, pod_file = folder / "nodes.csv", folder / "pods.csv"
    with node_file.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_NODE_COLUMNS)
        writer.writerows((node.name, node.cpu, node.memory, node.gpus, node.model) for node in machines)
    with pod_file.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*_POD_COLUMNS, "gpu_spec"))
        writer.writerows(
            (pod.name, pod.cpu, pod.memory, pod.gpus, pod.gpu_milli, "|".join(pod.models)) for pod in arrivals
        )
    return node_file, pod_file


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path}: wanted the columns {', '.join(columns)}, found no {', '.join(missing)}")
            for row in reader:
                where = f"{path} line {reader.line_num}"
                if any(row[column] is None for column in columns):
                    raise ConfigError(f"{where}: wanted {len(columns)} columns, found fewer")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _whole(row: dict[str, str], column: str, where: str) -> int:
    text = row[column]
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise ConfigError(f"{where}: {column}: wanted a whole number of 0 or more, found {text!r}")
    return int(text)


def _decimal(numerator: int, denominator: int) -> str:
    whole, rest = divmod(numerator, denominator)
    digits = len(str(denominator)) - 1
    return f"{whole}.{rest:0{digits}}".rstrip("0").rstrip(".") if rest else str(whole)
