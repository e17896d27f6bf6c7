"""The public trace through the whole road: 1,213 nodes, 6,212 GPUs, 8,152 pods, HTTPS webhook and RBAC on.

Goal: at least 300 pods a second from the first create to the last Running, at most 600 MiB for all processes together.

Peer, in the same run where KUBEBUILDER_ASSETS names one: a real kube-apiserver with etcd that is given the same three
writes of each pod (create, Binding, status), with nobody deciding anything, no webhook, and an etcd that does not wait
for the disk.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from _report import Row, report
from tensorfusion.cli.replay_driver import replay
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import PODS
from tensorfusion.testing.traces import TracePod, generate, pod_manifest, read_nodes, read_pods

WRITERS = 32
PEER_PODS = 2000


async def write_pods(kubeconfig: Path, pods: Sequence[TracePod]) -> float:
    """The three writes of each pod, as many pods at a time as the replay has under way. Returns pods a second."""
    arrivals = iter(pods)

    async def writer(client: Client) -> None:
        for pod in arrivals:
            made = await client.create(PODS, pod_manifest(pod, namespace="default"), namespace="default")
            name, uid = made["metadata"]["name"], made["metadata"]["uid"]
            await client.bind("default", name, uid=uid, node="node-0", annotations={})
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            await client.patch(PODS, name, {"status": status}, namespace="default", subresource="status")

    async with Client(load_kubeconfig(kubeconfig)) as client:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(writer(client))
        return len(pods) / (time.perf_counter() - started)


def peer_rate(pods: Sequence[TracePod], root: Path) -> float | None:
    """Pods a second that a real API server takes the writes of; None where there is no such server."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    if not (assets / "kube-apiserver").exists():
        return None
    from tensorfusion.testing.control_plane import control_plane

    with control_plane(assets, root) as plane:
        return asyncio.run(write_pods(plane.kubeconfig, pods[:PEER_PODS]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=Path, help="CSV of machines; without it a small generated trace")
    parser.add_argument("--pods", type=Path, help="CSV of arrivals")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.nodes and arguments.pods:
        nodes, pods = read_nodes(arguments.nodes), read_pods(arguments.pods)[: arguments.limit]
    else:
        nodes, pods = generate(nodes=60, pods=arguments.limit or 400, seed=1)
    with tempfile.TemporaryDirectory(prefix="replay-") as root:
        figures = uvloop.run(replay(nodes, pods, root=Path(root)))
    with tempfile.TemporaryDirectory(prefix="peer-") as root:
        peer = peer_rate(pods, Path(root))
    parameters = {"nodes": figures.nodes, "gpus": figures.gpus, "pods": figures.pods, "placed": figures.placed}
    report(
        [
            Row(
                "pods_per_second",
                figures.pods_per_second,
                "1/s",
                "etcd + kube-apiserver, writes alone",
                peer,
                parameters,
            ),
            Row("peak_pss", figures.peak_pss_mib, "MiB", "goal", 600.0, parameters),
            Row("gpu_allocation", figures.gpu_allocation_percent, "%", "", None, parameters),
            Row("decision_p50", figures.decision_p50_us, "us", "", None, parameters),
            Row("decision_p99", figures.decision_p99_us, "us", "", None, parameters),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
