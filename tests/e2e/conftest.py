"""One cluster for all end-to-end tests of a run; each test works in a namespace of its own."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, await_empty, embedded_cluster, kubectl_program, real_cluster
from tensorfusion.model.resources import NAMESPACES


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root: Path = tmp_path_factory.mktemp("cluster")
    make = real_cluster if request.config.getoption("--real") else embedded_cluster
    with make(root) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    yield from _fresh_namespace(cluster)


@pytest.fixture
def other_namespace(cluster: Cluster) -> Iterator[str]:
    yield from _fresh_namespace(cluster)


def _fresh_namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.run(
        lambda client: client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    )
    yield name
    cluster.run(lambda client: client.delete(NAMESPACES, name))
    await_empty(cluster, name)


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Cluster:
    if kubectl_program() is None:
        pytest.skip("no kubectl: run make kube-assets")
    return cluster
