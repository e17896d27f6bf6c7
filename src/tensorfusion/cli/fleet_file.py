"""Change the fleet file: entries come and go, and what is written has been checked.

Apart from the command because it is all of what decides: documents in, documents out.
"""

import copy
import os
from pathlib import Path
from typing import Any

import yaml

from tensorfusion.embedded.fleet import NodeSpec, demo_document, parse_fleet
from tensorfusion.errors import ConfigError

Document = dict[str, Any]  # Any: YAML, checked by parse_fleet

HEADER = """\
# The simulated machines of this cluster. Changes count as soon as the file is saved.
# nodes:
#   - {name: "a100-{i}", count: 2, cpu: 64, memory: 512Gi, gpus: {model: A100_SXM_80G, count: 8}}
#   - {name: cpu-0, cpu: 32, memory: 128Gi, labels: {disk: ssd}}
"""


def read_document(path: Path) -> Document:
    """The file's document, or the demo's fleet where there is no file.

    Raises:
        ConfigError: the file is there and wrong.
    """
    if not path.exists():
        return demo_document()
    text = path.read_text()
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"fleet file {path}: is not YAML: {' '.join(str(error).split())}") from error
    parse_fleet(document, source=f"fleet file {path}", text=text)
    checked: Document = document
    return checked


def with_entry(document: Document, entry: Document) -> tuple[Document, list[NodeSpec]]:
    """The document with one entry more, and the machines that it adds.

    Raises:
        ConfigError: the entry is wrong, or a machine of that name is there.
    """
    fresh = {"nodes": [*document["nodes"], entry]}
    before = {node.name for node in parse_fleet(document, source="the fleet")}
    return fresh, [node for node in parse_fleet(fresh, source="the new entry") if node.name not in before]


def without_node(document: Document, name: str) -> Document:
    """The document without one machine; an entry that stands for several is taken apart.

    Raises:
        ConfigError: no entry makes a machine of that name.
    """
    fresh: list[Document] = []
    found = False
    for entry in document["nodes"]:
        names = [node.name for node in parse_fleet({"nodes": [entry]}, source="the fleet")]
        if name not in names:
            fresh.append(entry)
            continue
        found = True
        if name == names[-1] and len(names) > 1:
            fresh.append({**entry, "count": len(names) - 1})
            continue
        for other in names:
            if other != name:
                single = copy.deepcopy(entry)
                single.pop("count", None)
                fresh.append({**single, "name": other})
    if not found:
        raise ConfigError(f"node {name}: is in no entry of the fleet file")
    return {"nodes": fresh}


def to_text(document: Document) -> str:
    """The document as a fleet file."""
    lines = [yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=1000) for entry in document["nodes"]]
    return HEADER + ("nodes:\n" + "".join(f"  - {line}" for line in lines) if lines else "nodes: []\n")


def write(path: Path, text: str) -> None:
    """Put a new text in the file's place, so that whoever watches it sees the old or the new one.

    Raises:
        ConfigError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
