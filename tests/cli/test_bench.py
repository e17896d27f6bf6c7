"""``tensorfusion bench packing`` as a user types it: rows, table, and mistakes in files and options."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tensorfusion.cli.main import program
from tensorfusion.testing.packing.names import names
from tensorfusion.testing.traces import generate, write_trace


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_trace(tmp_path, *generate(nodes=5, pods=40, seed=7))


def bench(files: tuple[Path, Path], *words: str) -> Result:
    command = ["bench", "packing", "--nodes", str(files[0]), "--pods", str(files[1]), *words]
    return CliRunner().invoke(program, command)


@pytest.mark.parametrize("protocol", ["inflation", "churn"])
def test_rows_and_table_say_the_same(files: tuple[Path, Path], tmp_path: Path, protocol: str) -> None:
    report = tmp_path / "rows.json"
    options = ("--protocol", protocol, "--turnovers", "2", "--policies", "fgd, bestfit", "--shuffles", "2")
    result = bench(files, *options, "--json", str(report))
    assert result.exit_code == 0, result.output
    rows = json.loads(report.read_text())
    assert [(row["policy"], row["protocol"], row["shuffles"]) for row in rows] == [
        ("fgd", protocol, 2),
        ("bestfit", protocol, 2),
    ]
    assert all(
        list(row) == ["policy", "protocol", "allocation_percent", "lost_percent", "lost_8gpu_percent", "shuffles"]
        for row in rows
    )
    assert all(0 < row["allocation_percent"] <= 100 for row in rows)
    lines = result.stdout.splitlines()
    assert re.split(r"\s{3,}", lines[0])[:3] == ["POLICY", "ALLOCATION %", "DEMAND LOST %"]
    assert [line.split()[:3] for line in lines[1:]] == [
        [row["policy"], str(row["allocation_percent"]), str(row["lost_percent"])] for row in rows
    ]
    assert bench(files, *options).stdout == result.stdout


def test_arrivals_may_be_evenly_spaced(files: tuple[Path, Path]) -> None:
    options = ("--protocol", "churn", "--turnovers", "2", "--policies", "bestfit", "--shuffles", "1")
    random, even = bench(files, *options), bench(files, *options, "--spacing", "even")
    assert random.exit_code == even.exit_code == 0
    assert random.stdout != even.stdout
    refused = bench(files, *options, "--spacing", "odd")
    assert refused.exit_code == 2
    assert "'random', 'even'" in refused.output


def test_all_policies_are_compared_unless_some_are_named(files: tuple[Path, Path]) -> None:
    result = bench(files, "--shuffles", "1")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == names()
    assert {"random", "bestfit", "fgd", "compact-first", "low-load-first", "node-compact-gpu-low-load"} <= set(names())


@pytest.mark.parametrize(
    ("nodes", "pods", "words", "message"),
    [
        (
            "sn,cpu_milli,memory_mib,gpu,model\nn,x,1,1,A\n",
            None,
            (),
            "nodes.csv line 2: cpu_milli: wanted a whole number",
        ),
        ("sn,cpu_milli\n", None, (), "found no memory_mib, gpu, model"),
        (
            "sn,cpu_milli,memory_mib,gpu,model\nn,1,1,0,\n",
            None,
            (),
            "wanted machines with GPUs (gpu above 0), found none",
        ),
        ("sn,cpu_milli,memory_mib,gpu,model\nn,1,1,9999,\n", None, (), "line 2: gpu: wanted at most 256"),
        (
            None,
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,2000\n",
            (),
            "pods.csv line 2: gpu_milli: wanted 1",
        ),
        (None, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,0,0\n", (), "wanted arrivals that ask for GPUs"),
        (None, None, ("--policies", "best-fit"), "no policy 'best-fit': did you mean bestfit?"),
        (None, None, ("--json", "/nowhere/rows.json"), "/nowhere/rows.json: cannot be written: No such file"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    files: tuple[Path, Path], nodes: str | None, pods: str | None, words: tuple[str, ...], message: str
) -> None:
    for file, text in zip(files, (nodes, pods), strict=True):
        if text is not None:
            file.write_text(text)
    result = bench(files, *words)
    assert result.exit_code == 1
    assert message in str(result.exception)
    assert not result.stdout


@pytest.mark.parametrize("protocol", ["inflation", "churn"])
def test_pictures_are_drawn_into_a_folder(files: tuple[Path, Path], tmp_path: Path, protocol: str) -> None:
    folder = tmp_path / "deep" / "pictures"
    options = ("--protocol", protocol, "--turnovers", "2", "--policies", "fgd,random", "--shuffles", "2")
    result = bench(files, *options, "--plots", str(folder))
    assert result.exit_code == 0, result.exception
    assert sorted(file.name for file in folder.iterdir()) == [
        f"{protocol}-{name}.svg" for name in ("allocation", "lost", "stranded")
    ]
    for file in folder.iterdir():
        words = " ".join(ET.parse(file).getroot().itertext())
        assert "random" in words
    assert "CPU or memory used up" in (folder / f"{protocol}-stranded.svg").read_text()
    assert bench(files, "--plots", str(files[0])).exit_code == 1


def test_earlier_rows_stay_until_there_are_new_ones(files: tuple[Path, Path], tmp_path: Path) -> None:
    report = tmp_path / "rows.json"
    report.write_text("[]")
    result = bench(files, "--json", str(report), "--plots", str(files[0]))
    assert "cannot be made" in str(result.exception)
    assert report.read_text() == "[]"
