"""Every metric that a process has is in the reference, with its type and labels, and nothing else is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LISTED = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
getattr(module, "Meters", lambda: None)()  # a gateway makes its own when it is put together
from tensorfusion.telemetry.metrics import REGISTRY
found = [(m.name + ("_total" if m.type == "counter" else ""), m.type, m.documentation) for m in REGISTRY.collect()]
print(json.dumps(sorted(found)))
"""
SUFFIX = re.compile(
    r"_(total|seconds|bytes|gflops|info|pods|devices|objects|requests|depth|working|leader|valid|revision|in_doubt)$"
)


def documented(title: str) -> list[tuple[str, str, str]]:
    """The rows of one table of the reference: name, type, meaning."""
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    section = text.partition(f"### {title}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]*\| (.*) \|$", section, flags=re.MULTILINE)
    return sorted(rows)


@pytest.mark.parametrize(
    ("title", "module"),
    [
        ("Of the control process", "tensorfusion.cli.composition"),
        ("Of the api process", "tensorfusion.embedded.api"),
        ("Of a gateway process", "tensorfusion.gateway.process"),
    ],
)
def test_the_reference_lists_exactly_the_metrics_of_a_process(title: str, module: str) -> None:
    done = subprocess.run([sys.executable, "-c", LISTED, module], capture_output=True, text=True, check=True)
    found = [tuple(row) for row in json.loads(done.stdout) if not row[0].startswith("process_")]
    assert documented(title) == found
    for name, _, _ in found:
        assert re.match(r"(tensorfusion|apiserver)_[a-z_]+$", name)
        assert SUFFIX.search(name), f"{name} has no unit"
