"""Puts this folder on the path of its tests, for their worlds; API servers for those that want kubectl.

The same scenarios run with our controllers on the embedded API and on a real kube-apiserver; with ``--real`` on that
one with kube-controller-manager.
"""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis  # noqa: F401 - else its plugin loads it at the very end, where Python 3.11 may fail to compile it
import pytest

from tensorfusion.testing.control_plane import control_plane, free_ports

sys.path.insert(0, str(Path(__file__).parent))

from real_world import ASSETS, Kubectl, Plane, await_file, running_kubectl

EMBEDDED, REAL = "embedded", "kube-apiserver"


@pytest.fixture(scope="session", params=[EMBEDDED, REAL])
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    theirs = request.config.getoption("--real")
    folder = tmp_path_factory.mktemp("plane")
    if request.param == EMBEDDED:
        if theirs:
            pytest.skip("--real: kube-controller-manager runs on kube-apiserver only")
        with embedded_api(folder) as kubeconfig:
            yield Plane(kubeconfig, folder)
    else:
        with control_plane(ASSETS, folder, controller_manager=theirs) as found:
            yield Plane(found.kubeconfig, folder)


@contextlib.contextmanager
def embedded_api(folder: Path) -> Iterator[Path]:
    """The embedded API server alone, in a process of its own."""
    data = folder / "data"
    (data / "run").mkdir(parents=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tensorfusion.embedded.api", "--data", str(data), "--port", str(port)]
    with (folder / "api.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            await_file(data / "kubeconfig")
            await_file(data / "run" / "api.sock")
            yield data / "kubeconfig"
        finally:
            process.terminate()


@pytest.fixture
async def kubectl(request: pytest.FixtureRequest, plane: Plane) -> AsyncIterator[Kubectl]:
    """kubectl in a namespace of its own, while a kubelet and the controllers run: ours, or with ``--real`` theirs."""
    async with running_kubectl(plane, ours=not request.config.getoption("--real")) as found:
        yield found
