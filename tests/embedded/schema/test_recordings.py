"""What is recorded is what a real API server says today: everything of 1.34, and of a newer one what it says otherwise.

Asked by ``make test-real`` (``--real``): to ask it everything anew takes half a minute of two cores, and what it says is
another thing only with another server or another recorder. Skipped where there is none (``KUBEBUILDER_ASSETS``).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tensorfusion.embedded.facts import FILE
from tensorfusion.testing.control_plane import kubernetes_version

ROOT = Path(__file__).resolve().parents[3]
ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "nowhere"))
needs_server = pytest.mark.skipif(
    not (ASSETS / "kube-apiserver").exists(), reason="no kube-apiserver in KUBEBUILDER_ASSETS: run make kube-assets"
)


@pytest.fixture(autouse=True)
def _asked_for(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--real"):
        pytest.skip("asks a real server everything anew: run by make test-real")


def run(*command: str) -> None:
    command = (sys.executable, *command)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_server
def test_the_facts_are_current() -> None:
    version = "{}.{}".format(*kubernetes_version(ASSETS))
    if version not in FILE:
        pytest.skip(f"{FILE} is not about Kubernetes {version}")
    run("tools/schema_facts.py", "--check", "--assets", str(ASSETS))


@needs_server
@pytest.mark.parametrize(
    "script",
    [
        "tests/embedded/schema/record_answers.py",
        "tests/embedded/tables/record_rows.py",
        "tests/embedded/api/stories/record_stories.py",
        "tests/embedded/api/apply/record_answers.py",
    ],
    ids=["answers", "rows", "stories", "apply"],
)
def test_the_recorded_answers_are_current(script: str) -> None:
    run(script, "--check", "--assets", str(ASSETS))
