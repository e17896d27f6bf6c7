"""Puts this folder on the path of its tests, for their worlds; one real control plane for those that want one."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tensorfusion.testing.control_plane import ControlPlane, control_plane

sys.path.insert(0, str(Path(__file__).parent))

from real_world import ASSETS, Kubectl, running_kubectl


@pytest.fixture(scope="session")
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    theirs = request.config.getoption("--real")
    with control_plane(ASSETS, tmp_path_factory.mktemp("plane"), controller_manager=theirs) as found:
        yield found


@pytest.fixture
async def kubectl(request: pytest.FixtureRequest, plane: ControlPlane) -> AsyncIterator[Kubectl]:
    """kubectl in a namespace of its own, while a kubelet and the controllers run: ours, or with ``--real`` theirs."""
    async with running_kubectl(plane, ours=not request.config.getoption("--real")) as found:
        yield found
