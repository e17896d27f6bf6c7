"""Questions to a simulation beyond one pod: how many of them, and on which nodes that do not exist.

Apart from the simulation because it reads what people write: ``gpus=H200:8,count=2,pool=default,cpu=64,memory=512Gi``.
A shape that cannot be read is refused with the word that is wrong.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tensorfusion.errors import BadRequest, InvalidQuantity, InvalidRequest
from tensorfusion.model.catalogue import lookup
from tensorfusion.model.keys import HOSTNAME_LABEL
from tensorfusion.model.partitions import profile_of
from tensorfusion.model.providers import Providers
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts
from tensorfusion.suggestions import did_you_mean
from tensorfusion.units import Rounding, to_bytes, to_gflops, to_milli

MOST_MEMBERS = 512
MOST_NODES = 1_000
_MOST_SHAPES = 16
_MOST_DEVICES = 32
_MOST_NAME = 40
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_WORDS = ("gpus", "count", "pool", "cpu", "memory", "pods", "name", "tflops", "vram")
_LABEL = "label."


@dataclass(frozen=True, slots=True)
class NodeShape:
    """``count`` equal nodes, each with ``devices`` equal devices; an empty ``pool`` is that of the pod."""

    name: str
    count: int = 1
    model: str = ""
    vendor: str = ""
    devices: int = 0
    compute: int = 0
    vram: int = 0
    pool: str = ""
    cpu: int = 64_000
    memory: int = 512 << 30
    pods: int = 110
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a simulation; ``gang`` 0 is the pod alone."""

    gang: int = 0
    nodes: tuple[NodeShape, ...] = ()


def parse_question(gang: str | None, shapes: Iterable[str]) -> Question:
    """The question of a query's parameters.

    Raises:
        BadRequest: one of them cannot be understood.
    """
    members = 0 if gang is None else _whole(gang, "query parameter gang", 2, MOST_MEMBERS)
    texts = list(shapes)
    if len(texts) > _MOST_SHAPES:
        raise BadRequest(f"query parameter addNode: wanted at most {_MOST_SHAPES} of them, found {len(texts)}")
    nodes = tuple(parse_shape(text, number) for number, text in enumerate(texts))
    if sum(shape.count for shape in nodes) > MOST_NODES:
        raise BadRequest(f"query parameter addNode: wanted at most {MOST_NODES} nodes together, found more")
    names = [shape.name for shape in nodes]
    if len(set(names)) < len(names):
        raise BadRequest(f"query parameter addNode: wanted names that differ, found {', '.join(names)}")
    return Question(members, nodes)


def parse_shape(text: str, number: int = 0) -> NodeShape:
    """One shape of nodes.

    Raises:
        BadRequest: it cannot be understood.
    """
    where = f"node shape {text[:120]!r}"
    said: dict[str, str] = {}
    labels: list[tuple[str, str]] = []
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not value:
            raise BadRequest(f"{where}: wanted KEY=VALUE parts such as gpus=H200:8, found {part.strip()[:60]!r}")
        if key.startswith(_LABEL):
            labels.append((key.removeprefix(_LABEL), value))
        elif key not in _WORDS:
            raise BadRequest(f"{where}: no part is named {key[:60]!r}{did_you_mean(key, _WORDS)}")
        elif key in said:
            raise BadRequest(f"{where}: {key} stands there twice")
        else:
            said[key] = value
    try:
        return _shape(said, tuple(labels), where, number)
    except (InvalidQuantity, InvalidRequest) as error:
        raise BadRequest(f"{where}: {error}") from error


def _shape(said: dict[str, str], labels: tuple[tuple[str, str], ...], where: str, number: int) -> NodeShape:
    name = said.get("name", f"added-{number}" if number else "added")
    if len(name) > _MOST_NAME or not _NAME.fullmatch(name):
        raise BadRequest(f"{where}: name: wanted at most {_MOST_NAME} of a-z, 0-9 and '-', found {name[:60]!r}")
    model, _, devices = said.get("gpus", "").partition(":")
    known = lookup(model) if model else None
    compute, vram = (known.compute, known.vram) if known is not None else (0, 0)
    if "tflops" in said:
        compute = to_gflops(said["tflops"], Rounding.DOWN)
    if "vram" in said:
        vram = to_bytes(said["vram"], Rounding.DOWN)
    if model and (compute <= 0 or vram <= 0):
        raise BadRequest(f"{where}: gpus: the catalogue does not know {model[:60]!r}: state tflops and vram")
    return NodeShape(
        name=name,
        count=_whole(said.get("count", "1"), f"{where}: count", 1, MOST_NODES),
        model=known.full_name if known is not None else model,
        vendor=known.vendor if known is not None else "NVIDIA",
        devices=_whole(devices or "1", f"{where}: gpus", 1, _MOST_DEVICES) if model else 0,
        compute=compute,
        vram=vram,
        pool=said.get("pool", ""),
        cpu=max(0, to_milli(said.get("cpu", "64"), Rounding.DOWN)),
        memory=max(0, to_bytes(said.get("memory", "512Gi"), Rounding.DOWN)),
        pods=_whole(said.get("pods", "110"), f"{where}: pods", 1, 10_000),
        labels=labels,
    )


def nodes_of(shapes: Iterable[NodeShape], taken: Iterable[str]) -> Iterator[tuple[NodeShape, NodeFacts]]:
    """The nodes of the shapes.

    Raises:
        BadRequest: a node of such a name is there.
    """
    there = frozenset(taken)
    for shape in shapes:
        for number in range(shape.count):
            name = f"{shape.name}-{number}"
            if name in there:
                raise BadRequest(f"query parameter addNode: node {name} is there already: choose another name")
            labels = {HOSTNAME_LABEL: name, **dict(shape.labels)}
            yield shape, NodeFacts(name, labels, cpu=shape.cpu, memory=shape.memory, pods=shape.pods)


def devices_of(shape: NodeShape, node: str, *, pool: str, providers: Providers) -> Iterator[DeviceFacts]:
    """The devices of one node of the shape; ``pool`` where it names none."""
    profile = profile_of(providers, vendor=shape.vendor, model=shape.model)
    for index in range(shape.devices):
        yield DeviceFacts(
            name=f"{node}-gpu-{index}",
            node=node,
            pool=shape.pool or pool,
            vendor=shape.vendor,
            model=shape.model,
            index=index,
            compute=shape.compute,
            vram=shape.vram,
            profile=profile,
        )


def _whole(text: str, where: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise BadRequest(f"{where}: wanted a whole number from {least} to {most}, found {text[:60]!r}")
    return int(text)
