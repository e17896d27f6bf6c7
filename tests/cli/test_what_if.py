"""``tensorfusion what-if`` and ``record`` as a user types them: a recording on disk, tables, JSON, and mistakes."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tensorfusion.cli.main import program
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.recording import events as e
from tensorfusion.scheduler.recording.events import Frame
from tensorfusion.scheduler.recording.segments import Journal, packed
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts, PoolFacts
from tensorfusion.scheduling.profile import Profiles
from tensorfusion.testing.traces import read_nodes, read_pods

GIB = 1 << 30
START = 1_767_225_600_000
SECOND = 1000
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two hours: an L4 that four pods want, half an hour each, and a spot A100 that one pod has for 1.5 hours."""
    folder = tmp_path / "history"
    begin: list[Any] = [
        e.Opened(0, "0123abcd", names=True, cluster_wide=False, domains=(), patience=300.0, profiles=Profiles()),
        e.PoolSet(0, PoolFacts("default")),
        e.NodeSet(0, 0, NodeFacts("l4-0", labels={ZONE: "a"}, cpu=32_000, memory=128 * GIB)),
        e.NodeSet(
            0, 1, NodeFacts("a100-0", labels={"karpenter.sh/capacity-type": "spot"}, cpu=64_000, memory=512 * GIB)
        ),
        e.DeviceSet(0, 0, _device("l4-0", "NVIDIA L4", 121_000, 24), -1, 430_000),
        e.DeviceSet(0, 1, _device("a100-0", "NVIDIA A100-SXM4-80GB", 312_000, 80), -1, 1_890_000),
        e.Told(0),
    ]
    later: list[Any] = [
        e.Shape(0, 0, _asks("L4", 121_000, 24)),
        e.Shape(0, 1, _asks("A100", 100_000, 20)),
        *(e.Arrived(n, n, 100 + n, 0, "team-a", name=f"job-{n}") for n in range(4)),
        e.Arrived(9, 9, 109, 1, "team-b", name="server"),
        e.Bound(10, 9, 1, (1,)),
    ]
    for number in range(4):
        at = 10 + number * 1800 * SECOND
        later += [e.Bound(at, number, 0, (0,)), e.Ended(at + 1800 * SECOND - 1, number, e.Ending.FINISHED)]
    later.append(e.Ended(5400 * SECOND, 9, e.Ending.FINISHED))
    later.append(e.Closed(7200 * SECOND))
    journal = Journal(folder, series="0123abcd", limit=1 << 20)
    journal.prepare()
    journal.begin(START, packed(Frame(START, tuple(begin))))
    journal.append(packed(Frame(START, tuple(sorted(later, key=lambda one: one.at)))))
    journal.end()
    return folder


def _device(node: str, model: str, compute: int, gib: int) -> DeviceFacts:
    return DeviceFacts(
        f"{node}-gpu", node, "default", vendor="NVIDIA", model=model, index=0, compute=compute, vram=gib * GIB
    )


def _asks(model: str, compute: int, gib: int) -> PodFacts:
    request = GpuRequest("default", model=model, compute=compute, vram=gib * GIB)
    return PodFacts("", "", "", request=request, cpu=1000, memory=GIB)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words])


def answer(recording: Path, *words: str) -> dict[str, Any]:
    result = run("what-if", recording, *words, "-o", "json")
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_two_more_l4_nodes(recording: Path) -> None:
    result = run("what-if", recording, "--add-nodes", "2xL4")
    assert result.exit_code == 0, result.exception
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "2026-01-01T00:00:00Z to 2026-01-01T02:00:00Z (2h00m): 5 pods arrived, 0 were there already"
    assert lines[2] == "SIZE ARRIVED PLACED NEVER PLACED WAIT P50 P90 P99"
    assert lines[3] == "part of a GPU 1 1 0 0s 0s 0s"
    assert lines[4] == "1 GPU 4 4 0 30m00s -> 0s 1h30m -> 30m00s 1h30m -> 30m00s"
    assert "GPUs (mean) 2.0 4.0" in lines
    assert "cost $4.64 for 4.0 GPU hours $6.36 for 8.0 GPU hours" in lines
    assert "100.0 % of the pods waited as long as recorded, to within a second" in lines


def test_machines_that_came_later_have_their_price_and_their_likes(tmp_path: Path) -> None:
    journal = Journal(tmp_path, series="0123abcd", limit=1 << 20)
    opening = e.Opened(0, "0123abcd", names=True, cluster_wide=False, domains=(), patience=300.0, profiles=Profiles())
    journal.begin(START, packed(Frame(START, (opening, e.PoolSet(0, PoolFacts("default")), e.Told(0)))))
    late = [
        e.NodeSet(0, 0, NodeFacts("l4-0", cpu=32_000, memory=128 * GIB)),
        e.DeviceSet(0, 0, _device("l4-0", "NVIDIA L4", 121_000, 24), -1, 430_000),
        e.Closed(3600 * SECOND),
    ]
    journal.append(packed(Frame(START, tuple(late))))
    journal.end()
    found = answer(tmp_path, "--add-nodes", "2xL4")
    assert (found["baseline"]["gpus"], found["changed"]["gpus"]) == (1.0, 3.0)
    assert (found["baseline"]["costUsd"], found["changed"]["costUsd"]) == (0.43, 1.29)


def test_no_spot(recording: Path) -> None:
    found = answer(recording, "--without", "spot")
    assert found["changed"]["gpus"] == 1.0
    assert found["changed"]["sizes"]["part of a GPU"]["never"] == 1
    assert found["changed"]["sizes"]["part of a GPU"]["wait_p50"] is None
    assert answer(recording, "--without", f"{ZONE}=a")["changed"]["sizes"]["1 GPU"]["never"] == 4


def test_each_change_can_be_said(recording: Path, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    nodes = [{"name": "new-{i}", "count": 2, "cpu": 32, "memory": "128Gi", "gpus": {"model": "L4", "count": 1}}]
    fleet.write_text(yaml.safe_dump({"nodes": nodes}))
    by_file = answer(recording, "--add-nodes", str(fleet))["changed"]
    assert by_file == answer(recording, "--add-nodes", "gpus=L4:1,count=2,cpu=32,memory=128Gi")["changed"]
    assert by_file == answer(recording, "--add-nodes", "2xL4")["changed"]
    assert answer(recording, "--quota", "team-a:gpus=0")["changed"]["sizes"]["1 GPU"]["placed"] == 0
    assert (
        answer(recording, "--quota", "team-a:none")["changed"] == answer(recording, "--mode", "CompactFirst")["changed"]
    )
    halved = answer(recording, "--oversubscription", "2")
    assert halved["changed"]["sizes"]["1 GPU"] == halved["baseline"]["sizes"]["1 GPU"]  # their memory does not fit
    part = answer(recording, "--mode", "default=LowLoadFirst", "--to", "2026-01-01T00:45:00Z")
    assert part["period"]["seconds"] == 2700
    assert part["baseline"]["sizes"]["1 GPU"]["placed"] == 2
    later = answer(recording, "--mode", "LowLoadFirst", "--from", "2026-01-01T00:45:00")
    assert later["pods"] == {
        "there": 2,
        "arrived": 2,
        "placedByOthers": 0,
        "runningAtTheEnd": 0,
        "neverPlaced": 0,
    }


def test_the_same_seed_gives_the_same_bytes(recording: Path) -> None:
    words = ("what-if", recording, "--add-nodes", "1xL4", "--seed", "3", "-o", "yaml")
    assert run(*words).stdout == run(*words).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "wanted something to change: --mode"),
        (("--mode", "Compact"), "--mode: wanted one of CompactFirst"),
        (("--mode", "defalt=CompactFirst"), "no pool 'defalt' is in the recording: did you mean default?"),
        (("--without", "x y"), "--without: wanted spot or a label selector"),
        (("--without", "zone=mars"), "--without zone=mars: wanted nodes that are in the recording, found none"),
        (
            ("--add-nodes", "2xA100_SXM_80"),
            "no model 'A100_SXM_80' is in the recording or the catalogue: did you mean A100_",
        ),
        (("--add-nodes", "gpus=L4:x"), "--add-nodes gpus=L4:x: node shape"),
        (("--add-nodes", "gpus=L4,pool=x"), "no pool 'x' is in the recording"),
        (("--add-nodes", "5000xL4"), "wanted at most 1000 nodes, found 5000"),
        (("--add-nodes", "fleet.yaml"), "--add-nodes fleet.yaml: fleet file fleet.yaml: cannot be read"),
        (
            ("--add-nodes", "gpus=L4,name=x", "--add-nodes", "gpus=L4,name=x"),
            "wanted names that differ, found x-0 twice",
        ),
        (("--quota", "team-a"), "wanted NAMESPACE:KEY=AMOUNT"),
        (("--quota", "team-x:gpus=1"), "no namespace 'team-x' is in the recording: did you mean team-"),
        (("--quota", "team-a:gpu=1"), "no ceiling is named 'gpu': did you mean gpus"),
        (("--quota", "team-a:gpus=-1"), "--quota: gpus: wanted a whole number, found '-1'"),
        (("--quota", "team-a:vram=much"), "--quota: vram: "),
        (("--oversubscription", "-2"), "wanted a ratio from 1 to 100 such as 1.5, found '-2'"),
        (("--oversubscription", "0.5"), "wanted a ratio from 1 to 100"),
        (("--oversubscription", "1/0"), "wanted a ratio from 1 to 100"),
        (("--mode", "CompactFirst", "--from", "yesterday"), "--from: wanted a time such as 2026-03-01T00:00:00Z"),
        (("--mode", "CompactFirst", "--to", "2025-01-01"), "wanted a part of the recorded period 2026-01-01T00:00:00Z"),
    ],
)
def test_a_mistake_is_one_line(recording: Path, words: tuple[str, ...], message: str) -> None:
    result = run("what-if", recording, *words)
    assert result.exit_code == 1
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_what_is_in_a_recording(recording: Path, tmp_path: Path) -> None:
    result = run("record", "info", recording)
    assert result.exit_code == 0, result.exception
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "2026-01-01T00:00:00Z to 2026-01-01T02:00:00Z, with names"
    assert lines[1] == "5 pods: 0 were there already, 5 got a place; ended: 5 finished"
    assert "team-a 4" in lines
    assert "1 1 NVIDIA L4" in lines
    found = json.loads(run("record", "info", recording, "-o", "json").stdout)
    assert found["sizes"] == {"part of a GPU": 1, "1 GPU": 4}
    assert run("record", "info", tmp_path / "nothing").exit_code == 1


def test_a_recording_becomes_a_trace_that_policies_are_compared_on(recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trace"
    result = run("record", "export", recording, folder)
    assert result.exit_code == 0, result.exception
    nodes, pods = read_nodes(folder / "nodes.csv"), read_pods(folder / "pods.csv")
    assert [(one.name, one.gpus, one.model) for one in nodes] == [
        ("l4-0", 1, "NVIDIA L4"),
        ("a100-0", 1, "NVIDIA A100-SXM4-80GB"),
    ]
    assert [(one.name, one.gpus, one.gpu_milli, one.models) for one in pods] == [
        *((f"job-{n}", 1, 1000, ("NVIDIA L4",)) for n in range(4)),
        ("server", 1, 321, ("NVIDIA A100-SXM4-80GB",)),
    ]
    rows = list(csv.DictReader((folder / "pods.csv").open()))
    assert [row["scheduled_time"] for row in rows] == ["0", "1800", "3600", "5400", "0"]
    assert rows[4]["deletion_time"] == "5400"
    words = ("--policies", "fgd,bestfit", "--shuffles", "1")
    by_files = run("bench", "packing", "--nodes", folder / "nodes.csv", "--pods", folder / "pods.csv", *words)
    directly = run("bench", "packing", "--recorded", recording, *words)
    assert directly.exit_code == 0, directly.exception
    assert directly.stdout == by_files.stdout
    both = run("bench", "packing", "--recorded", recording, "--pods", folder / "pods.csv")
    assert "wanted --nodes and --pods, or --recorded alone" in str(both.exception)
