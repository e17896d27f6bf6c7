"""A fleet file that is followed: what is right counts, what is wrong changes nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tensorfusion.embedded.fleet import NodeSpec
from tensorfusion.embedded.fleet_watch import FleetWatch
from tensorfusion.testing.clock import VirtualClock


def text(*names: str) -> str:
    return "nodes:\n" + "".join(f"  - {{name: {name}, cpu: 1, memory: 1Gi}}\n" for name in names)


@pytest.fixture
def seen() -> list[list[str]]:
    return []


def watch(path: Path, seen: list[list[str]]) -> FleetWatch:
    def apply(nodes: Sequence[NodeSpec]) -> None:
        seen.append([node.name for node in nodes])

    return FleetWatch(path, apply, clock=VirtualClock())


async def test_each_new_version_is_applied_once(tmp_path: Path, seen: list[list[str]]) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text("a"))
    watching = watch(path, seen)
    await watching.look()
    assert seen == []
    path.write_text(text("a", "b"))
    await watching.look()
    await watching.look()
    assert seen == [["a", "b"]]


async def test_a_file_that_appears_counts_and_one_that_goes_does_not(tmp_path: Path, seen: list[list[str]]) -> None:
    path = tmp_path / "fleet.yaml"
    watching = watch(path, seen)
    await watching.look()
    path.write_text(text("new"))
    await watching.look()
    path.unlink()
    await watching.look()
    assert seen == [["new"]]


async def test_a_wrong_file_changes_nothing_and_is_said_once(
    tmp_path: Path, seen: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text("a"))
    watching = watch(path, seen)
    path.write_text("nodes: [{name: a}]\n")
    await watching.look()
    await watching.look()
    assert seen == []
    assert len([record for record in caplog.records if "the fleet stays as it is" in record.message]) == 1
    path.write_text(text("c", "d"))
    await watching.look()
    assert seen == [["c", "d"]]
