"""The server under test, and what a behaviour may ask for."""

from collections.abc import Iterator

import pytest

from asking import Address, Api, Kubectl, kubectl_of, kubectl_program
from servers import EMBEDDED, REAL, server


@pytest.fixture(scope="session")
def server_name(request: pytest.FixtureRequest) -> str:
    chosen = request.config.getoption("--server")
    return str(chosen or (REAL if request.config.getoption("--real") else EMBEDDED))


@pytest.fixture(scope="session")
def address(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """One server for all behaviours of a run."""
    with server(server_name, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def api(address: Address) -> Iterator[Api]:
    found = Api(address)
    yield found
    found.close()


@pytest.fixture
def kubectl(api: Api) -> Kubectl:
    """kubectl in the namespace of ``api``; see ``kubectl_of``."""
    if not kubectl_program().exists():
        pytest.skip("no kubectl: run make kube-assets")
    return kubectl_of(api)
