"""Editing a fleet: what is written is always a fleet that loads, and differs by just what was asked for."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.cli.fleet_file import read_document, to_text, with_entry, without_node, write
from tensorfusion.embedded.fleet import load_fleet, parse_fleet
from tensorfusion.errors import ConfigError

ENTRY = {"name": "big-{i}", "count": 3, "cpu": 8, "memory": "64Gi", "labels": {"zone": "b"}, "gpus": {"model": "L4"}}


def names(document: dict[str, Any]) -> list[str]:
    return [node.name for node in parse_fleet(document, source="test")]


def test_without_a_file_the_demos_fleet_is_what_is_changed(tmp_path: Path) -> None:
    document, added = with_entry(read_document(tmp_path / "none.yaml"), ENTRY)
    assert [node.name for node in added] == ["big-0", "big-1", "big-2"]
    write(tmp_path / "fleet.yaml", to_text(document))
    assert [node.name for node in load_fleet(tmp_path / "fleet.yaml")] == [
        "a100-0",
        "h100-0",
        "l4-0",
        *names({"nodes": [ENTRY]}),
    ]


def test_a_machine_that_is_there_cannot_be_added_again() -> None:
    with pytest.raises(ConfigError, match="'big-0' appears twice"):
        with_entry({"nodes": [ENTRY]}, {**ENTRY, "name": "big-0", "count": 1})


@given(count=st.integers(1, 6), position=st.integers(0, 5), written=st.booleans())
def test_removing_one_machine_of_an_entry_leaves_all_others_as_they_were(
    count: int, position: int, written: bool
) -> None:
    position %= count
    document = {"nodes": [{"name": "cpu-0", "cpu": 1, "memory": "1Gi"}, {**ENTRY, "count": count}]}
    before = parse_fleet(document, source="test")
    changed = without_node(document, f"big-{position}")
    if written:
        import yaml

        changed = yaml.safe_load(to_text(changed))
    assert parse_fleet(changed, source="test") == [node for node in before if node.name != f"big-{position}"]


def test_removing_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="node big-7: is in no entry"):
        without_node({"nodes": [ENTRY]}, "big-7")


def test_a_fleet_may_become_empty(tmp_path: Path) -> None:
    document = without_node({"nodes": [{**ENTRY, "name": "only", "count": 1}]}, "only")
    write(tmp_path / "fleet.yaml", to_text(document))
    assert load_fleet(tmp_path / "fleet.yaml") == []


def test_a_wrong_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("nodes:\n  - name: a\n    cpu: 1\n    memory: 1Gi\n  - name: b\n    cpu: none\n    memory: 1Gi\n")
    with pytest.raises(ConfigError, match=r"fleet.yaml: line 5: .*cpu"):
        read_document(path)
