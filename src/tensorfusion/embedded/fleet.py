"""Fleet files: which machines an embedded cluster simulates, and with which devices.

A fleet file is YAML (or JSON) with one key, ``nodes``; each entry stands for ``count`` equal machines. A known GPU
model takes its figures from the catalogue; any other states ``tflops`` and ``vram``. Everything is checked before
anything starts, and each mistake is one line that names the entry, the value wanted and the value found.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tensorfusion.errors import ConfigError, InvalidQuantity
from tensorfusion.model.catalogue import CATALOGUE, lookup
from tensorfusion.model.interconnects import LinkLayout
from tensorfusion.model.keys import SIMULATED_TAINT
from tensorfusion.suggestions import did_you_mean
from tensorfusion.units import Rounding, to_bytes, to_gflops, to_milli

_NODE_KEYS = frozenset({"name", "count", "cpu", "memory", "labels", "taints", "gpus", "pods", "disk"})
_GPU_KEYS = frozenset({"model", "count", "tflops", "vram", "vendor", "numa", "nvlink"})
_NODE_NAME = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY = re.compile(r"([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_DISK = "100Gi"
_MAX_NODES, _MAX_GPUS_PER_NODE = 20_000, 64


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """The equal devices of one machine. ``compute`` GFLOPS, ``vram`` bytes; ``full_name`` as the driver reports it.

    ``numa`` NUMA nodes (0: they do not say), and which of them are linked; None for what is usual with the model.
    """

    model: str
    full_name: str
    vendor: str
    compute: int
    vram: int
    count: int
    numa: int | None = None
    links: LinkLayout | None = None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One machine. ``cpu`` milli-CPU, ``memory`` and ``disk`` bytes; ``taints`` are (key, value, effect)."""

    name: str
    cpu: int
    memory: int
    pods: int
    labels: Mapping[str, str]
    taints: tuple[tuple[str, str, str], ...]
    devices: DeviceSpec | None
    disk: int = 100 << 30


def demo_document() -> dict[str, Any]:  # Any: YAML
    """The fleet document without a file: 4 A100-80G, 4 H100-80G and 2 L4 on three machines."""
    return {
        "nodes": [
            {"name": "a100-0", "cpu": 64, "memory": "512Gi", "gpus": {"model": "A100_SXM_80G", "count": 4}},
            {"name": "h100-0", "cpu": 64, "memory": "512Gi", "gpus": {"model": "H100_SXM", "count": 4}},
            {"name": "l4-0", "cpu": 32, "memory": "128Gi", "gpus": {"model": "L4", "count": 2}},
        ]
    }


def demo_fleet() -> list[NodeSpec]:
    """The machines of the fleet without a file."""
    return parse_fleet(demo_document(), source="the demo's fleet")


def beside_processes(nodes: Iterable[NodeSpec]) -> list[NodeSpec]:
    """The same machines where another node runs real programs: pods come here only if they tolerate simulation."""
    taint = (SIMULATED_TAINT, "true", "NoSchedule")
    return [replace(node, taints=(*node.taints, taint)) for node in nodes]


def load_fleet(path: Path) -> list[NodeSpec]:
    """The machines of a fleet file.

    Raises:
        ConfigError: unreadable, not YAML, or an entry that is wrong; the message names file and entry.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"fleet file {path}: cannot be read: {error}") from error
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"fleet file {path}: is not YAML: {' '.join(str(error).split())}") from error
    return parse_fleet(document, source=f"fleet file {path}", text=text)


def parse_fleet(document: object, *, source: str, text: str = "") -> list[NodeSpec]:
    """The machines of a fleet document. ``text`` is what it was read from, for the line numbers of its mistakes.

    Raises:
        ConfigError: an entry is wrong; the message begins with ``source`` and names the entry.
    """
    if not isinstance(document, dict) or set(document) != {"nodes"} or not isinstance(document["nodes"], list):
        found = sorted(map(str, document)) if isinstance(document, dict) else type(document).__name__
        raise ConfigError(f"{source}: wanted one key `nodes` with a list, found {found}")
    nodes: list[NodeSpec] = []
    for position, entry in enumerate(document["nodes"]):
        try:
            nodes += _expand(entry, where=f"nodes[{position}]")
        except ConfigError as error:
            raise ConfigError(f"{source}: {_line(text, position)}{error}") from error
        if len(nodes) > _MAX_NODES:
            raise ConfigError(f"{source}: wanted at most {_MAX_NODES} nodes, found more")
    seen: set[str] = set()
    for node in nodes:
        if node.name in seen:
            raise ConfigError(f"{source}: the node name {node.name!r} appears twice: give each entry its own pattern")
        seen.add(node.name)
    return nodes


def _line(text: str, position: int) -> str:
    """Where an entry stands in the text, as the start of a message; nothing when that cannot be told."""
    root = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    if not isinstance(root, yaml.MappingNode):
        return ""
    entries = root.value[0][1].value
    return f"line {entries[position].start_mark.line + 1}: "


def _expand(entry: object, *, where: str) -> list[NodeSpec]:
    fields = _mapping(entry, _NODE_KEYS, where=where)
    pattern = fields.get("name")
    if not isinstance(pattern, str):
        raise ConfigError(f'{where}: name: wanted text such as "a100-{{i}}", found {pattern!r}')
    count = _count(fields.get("count", 1), where=f"{where} ({pattern}): count", most=_MAX_NODES)
    where = f"{where} ({pattern})"
    if count > 1 and "{i}" not in pattern:
        raise ConfigError(f"{where}: name: wanted {{i}} in the name of {count} nodes, found {pattern!r}")
    cpu = _positive(fields.get("cpu"), to_milli, where=f"{where}: cpu")
    memory = _positive(fields.get("memory"), to_bytes, where=f"{where}: memory")
    disk = _positive(fields.get("disk", _DISK), to_bytes, where=f"{where}: disk")
    pods = _count(fields.get("pods", 110), where=f"{where}: pods", most=10_000)
    labels = _labels(fields.get("labels") or {}, where=f"{where}: labels")
    taints = _taints(fields.get("taints") or [], where=f"{where}: taints")
    devices = _devices(fields["gpus"], where=f"{where}: gpus") if fields.get("gpus") is not None else None
    nodes = []
    for index in range(count):
        name = pattern.replace("{i}", str(index))
        if not _NODE_NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: name: wanted at most 63 lower-case letters, digits, '-' and '.', found {name[:80]!r}"
            )
        nodes.append(NodeSpec(name, cpu, memory, pods, labels, taints, devices, disk))
    return nodes


def _devices(entry: object, *, where: str) -> DeviceSpec:
    fields = _mapping(entry, _GPU_KEYS, where=where)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise ConfigError(f"{where}: model: wanted a model name such as A100_SXM_80G, found {model!r}")
    count = _count(fields.get("count", 1), where=f"{where}: count", most=_MAX_GPUS_PER_NODE)
    known = lookup(model)
    stated = [key for key in ("tflops", "vram") if fields.get(key) is not None]
    if known is None and len(stated) < 2:
        raise ConfigError(
            f"{where}: {model!r} is not in the catalogue: state its tflops and vram, or use a known model"
            + did_you_mean(model, [known.model for known in CATALOGUE], listed=False)
        )
    compute = known.compute if known is not None else 0
    vram = known.vram if known is not None else 0
    if "tflops" in stated:
        compute = _positive(fields["tflops"], to_gflops, where=f"{where}: tflops")
    if "vram" in stated:
        vram = _positive(fields["vram"], to_bytes, where=f"{where}: vram")
    if vram == 0:
        raise ConfigError(f"{where}: the catalogue does not know the memory of {model!r}: state its vram")
    vendor = fields.get("vendor") or (known.vendor if known is not None else "NVIDIA")
    if not isinstance(vendor, str):
        raise ConfigError(f"{where}: vendor: wanted a name such as NVIDIA, found {vendor!r}")
    numa = fields.get("numa")
    if numa is not None:
        numa = _count(numa, where=f"{where}: numa", most=count, least=0)
    return DeviceSpec(
        model=model,
        full_name=known.full_name if known is not None else model,
        vendor=vendor,
        compute=compute,
        vram=vram,
        count=count,
        numa=numa,
        links=_layout(fields.get("nvlink"), where=f"{where}: nvlink"),
    )


def _layout(value: object, *, where: str) -> LinkLayout | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in LinkLayout.__members__.values():
        near = did_you_mean(str(value), tuple(LinkLayout), listed=False)
        raise ConfigError(f"{where}: wanted one of {', '.join(LinkLayout)}, found {value!r}{near}")
    return LinkLayout(value)


def _mapping(entry: object, allowed: frozenset[str], *, where: str) -> dict[str, Any]:  # Any: checked field by field
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: wanted an object, found {type(entry).__name__}")
    unknown = sorted(str(key) for key in entry if key not in allowed)
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}: known are {', '.join(sorted(allowed))}")
    return entry


def _count(value: object, *, where: str, most: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{where}: wanted a whole number from {least} to {most}, found {value!r}")
    return value


def _positive(value: object, parse: Callable[[str, Rounding], int], *, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"{where}: wanted a quantity such as 64 or 512Gi, found {value!r}")
    try:
        amount = parse(str(value), Rounding.DOWN)
    except InvalidQuantity as error:
        raise ConfigError(f"{where}: {error}") from error
    if amount == 0:
        raise ConfigError(f"{where}: wanted more than 0, found {value!r}")
    return amount


def _labels(value: object, *, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise ConfigError(f"{where}: wanted text keys and values (quote numbers and booleans), found {value!r}")
    for key, text in value.items():
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(text)):
            raise ConfigError(f"{where}: wanted a Kubernetes label, found {key!r}: {text!r}")
    return value


def _taints(value: object, *, where: str) -> tuple[tuple[str, str, str], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(f"{where}: wanted a list of {{key, value, effect}}, found {value!r}")
    taints = []
    for taint in value:
        fields = _mapping(taint, frozenset({"key", "value", "effect"}), where=where)
        if not _LABEL_KEY.fullmatch(str(fields.get("key") or "")) or fields.get("effect") not in (
            "NoSchedule",
            "PreferNoSchedule",
            "NoExecute",
        ):
            raise ConfigError(
                f"{where}: wanted a key and an effect of NoSchedule, PreferNoSchedule or NoExecute, found {taint!r}"
            )
        taints.append((str(fields["key"]), str(fields.get("value") or ""), str(fields["effect"])))
    return tuple(taints)
