"""A cluster that records: the guide's example as a person types it, and what a killed scheduler had written down."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import Cluster, embedded_cluster, eventually
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduler.recording.reader import read
from test_readme import Shell, pattern, shell, steps  # noqa: F401 - the shell is a fixture
from test_road import gpu_pod

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "what-if.md"
LOOKS = re.compile(r"(tensorfusion (record info|what-if)|kubectl get)\b")
PATIENCE = 60.0


def test_the_guides_example(shell: Shell) -> None:  # noqa: F811 - the fixture
    for step in steps(GUIDE.read_text()):
        wanted = pattern(step.expected)
        deadline = time.monotonic() + PATIENCE
        while True:
            shown = shell.type(step.command)
            if not step.expected or wanted.fullmatch(shown):
                break
            assert LOOKS.match(step.command) and time.monotonic() < deadline, f"$ {step.command}\n{shown}"
            time.sleep(1.5)  # each look is a process of a second


@pytest.fixture
def without_real(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--real"):
        pytest.skip("kills the control process of an embedded cluster")


def test_a_killed_scheduler_has_written_all_but_the_last_seconds(tmp_path: Path, without_real: None) -> None:
    history = tmp_path / "history"
    with embedded_cluster(tmp_path, options=("--record", str(history), "--record-names")) as cluster:
        eventually(lambda: len(list(history.iterdir())))
        names = [f"p{number}" for number in range(8)]
        for name in names:
            create(cluster, name)
        eventually(lambda: phases(cluster), until=lambda found: list(found) == ["Running"] * len(names))
        bound_by = time.time()
        eventually(lambda: knows(history, names, bound_by))
        create(cluster, "late")
        os.kill(cluster.folder.processes()["control"], signal.SIGKILL)
        assert knows(history, names, bound_by)
        eventually(
            lambda: phases(cluster), until=lambda found: len(found) == len(names) + 1 and set(found) == {"Running"}
        )
        eventually(lambda: read(history).series, until=lambda series: series == 2, patience=60.0)
        for name in [*names, "late"]:
            cluster.run(lambda client, name=name: client.delete(PODS, name, namespace="default"))
        eventually(ended(history), until=lambda count: count == len(names) + 1)
    found = read(history)
    assert sorted(pod.name for pod in found.history.pods) == sorted([*names, "late"])
    assert all(pod.how is Ending.DELETED for pod in found.history.pods)
    shown = cluster.program("what-if", str(history), "--without", "kubernetes.io/hostname=a100-0").stdout
    assert "AS IT WAS" in shown


def create(cluster: Cluster, name: str) -> None:
    cluster.run(lambda client: client.create(PODS, gpu_pod(name, tflops_request="10"), namespace="default"))


def knows(history: Path, names: list[str], until: float) -> bool:
    """These pods were bound and came to run, and it goes on to that moment (Unix seconds)."""
    found = read(history).history
    seen = {pod.name: pod for pod in found.pods}
    return (
        set(names) <= set(seen)
        and all(seen[name].bound is not None and seen[name].running is not None for name in names)
        and found.end / 1000 >= until - 1
    )


def phases(cluster: Cluster) -> list[str]:
    found = cluster.run(lambda client: client.list(PODS, dict, namespace="default")).items
    return [pod.get("status", {}).get("phase", "") for pod in found]


def ended(history: Path) -> Callable[[], int]:
    return lambda: sum(pod.ended is not None for pod in read(history).history.pods)
