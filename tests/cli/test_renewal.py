"""A renewal of tokens that fails is said and tried again; it never stops or delays anything else."""

import sys
import time
from pathlib import Path

from tensorfusion.cli.renewal import Renewal


def finish(renewal: Renewal, now: float) -> None:
    """Tend until the process that runs has been seen to end."""
    deadline = time.monotonic() + 30
    renewal.tend(now)
    while renewal.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        renewal.tend(now)


def test_a_failed_renewal_is_said_and_tried_again_after_a_minute(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    fails_once = (
        f"import pathlib, sys; runs = pathlib.Path({str(runs)!r}); first = not runs.exists(); runs.touch(); "
        "sys.exit('error: the API does not answer' if first else 0)"
    )
    said: list[str] = []
    renewal = Renewal([sys.executable, "-c", fails_once], say=said.append, every=1000.0)
    renewal.plan(0.0)
    renewal.tend(999.0)
    assert not renewal.running
    finish(renewal, 1000.0)
    assert said == ["tokens could not be renewed, trying again in 60 s: the API does not answer"]
    assert renewal.due == 1060.0
    finish(renewal, 1060.0)
    assert len(said) == 1
    assert renewal.due == 2060.0


def test_a_program_that_cannot_be_started_is_a_failure_like_any_other() -> None:
    said: list[str] = []
    renewal = Renewal(["/nonexistent/program"], say=said.append)
    renewal.plan(0.0)
    renewal.tend(10e6)
    assert len(said) == 1
    assert renewal.due == 10e6 + 60.0


def test_a_renewal_that_hangs_is_ended_and_holds_nobody_up() -> None:
    said: list[str] = []
    renewal = Renewal([sys.executable, "-c", "import time; time.sleep(600)"], say=said.append, every=0.0)
    renewal.plan(0.0)
    started = time.monotonic()
    renewal.tend(1.0)
    renewal.tend(2.0)
    assert renewal.running
    renewal.tend(500.0)
    assert not renewal.running
    assert "took more than" in said[0]
    assert time.monotonic() - started < 30


def test_stopping_ends_what_runs() -> None:
    renewal = Renewal([sys.executable, "-c", "import time; time.sleep(600)"], say=print, every=0.0)
    renewal.plan(0.0)
    renewal.tend(1.0)
    renewal.stop()
    assert not renewal.running
