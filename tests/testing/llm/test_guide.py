"""The guide shows what runs, and every fault."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from tensorfusion.testing.llm.faults import FAULTS, RuleList, spelled

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "llm-test-server.md").read_text()


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    whole, rest = json.loads(done.stdout)
    assert whole == 20
    assert 0 < rest < 20


def test_the_rules_that_it_shows_can_be_set() -> None:
    (rules,) = re.findall(r"-d '(\{.*?\})'", GUIDE, re.DOTALL)
    assert len(msgspec.json.decode(rules, type=RuleList).rules) == 3


def test_the_table_of_faults_is_the_programs() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (.*) \|$", GUIDE.partition("## How it fails")[2].partition("```")[0], re.MULTILINE
    )
    assert rows == [(name, spelled(name)) for name in FAULTS]
