"""Canaries when processes die and when somebody after us refuses pods: slow, for reservations have to expire."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from cluster import Cluster, embedded_cluster, eventually
from tensorfusion.model.resources import DEPLOYMENTS, NAMESPACES, RESOURCE_QUOTAS
from test_migration import Json, counts, deployment, pods, split

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
PATIENCE = 240.0
"""Seconds: a reservation ends after 90, and the controller tries again with growing pauses."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with embedded_cluster(tmp_path_factory.mktemp("alone")) as running:
        yield running


def start(cluster: Cluster, namespace: str, body: Json) -> None:
    cluster.run(lambda client: client.create(NAMESPACES, {"metadata": {"name": namespace}}))
    cluster.run(lambda client: client.create(DEPLOYMENTS, body, namespace=namespace))


def test_the_control_process_is_killed_again_and_again_while_pods_are_created(alone: Cluster) -> None:
    start(alone, "killed", deployment(30, enabled_replicas="12", tflops_request="1", vram_request="100Mi"))
    seen = []
    for pause in (0.3, 0.2, 0.5, 0.1):
        time.sleep(pause)
        pid = alone.folder.pid("control")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        seen.append(split(pods(alone, "killed")))
        eventually(lambda before=pid: alone.folder.pid("control") not in (None, before))

    def now() -> tuple[int, int]:
        seen.append(split(pods(alone, "killed")))
        return seen[-1]

    eventually(now, patience=PATIENCE, until=lambda found: found == (12, 18))
    assert max(enabled for enabled, _ in seen) == 12
    eventually(lambda: counts(alone, "killed"), patience=PATIENCE, until=lambda found: found == ["12"])


def test_pods_that_a_quota_refuses_give_their_places_back(alone: Cluster) -> None:
    alone.run(lambda client: client.create(NAMESPACES, {"metadata": {"name": "short"}}))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}}
    alone.run(lambda client: client.create(RESOURCE_QUOTAS, quota, namespace="short"))
    body = deployment(5, enabled_replicas="3", tflops_request="1", vram_request="100Mi")
    alone.run(lambda client: client.create(DEPLOYMENTS, body, namespace="short"))
    eventually(lambda: split(pods(alone, "short")), until=lambda found: found == (2, 0))
    time.sleep(3)
    more = {"spec": {"hard": {"pods": "10"}}}
    alone.run(lambda client: client.patch(RESOURCE_QUOTAS, "q", more, namespace="short"))
    eventually(lambda: split(pods(alone, "short")), patience=PATIENCE, until=lambda found: found == (3, 2))
    eventually(lambda: counts(alone, "short"), patience=PATIENCE, until=lambda found: found == ["3"])
