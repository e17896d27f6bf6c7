"""The public trace through the whole road: 1,213 nodes, 6,212 GPUs, 8,152 pods, HTTPS webhook and RBAC on.

Goal: at least 300 pods a second from the first create to the last Running, and at most 600 MiB for all processes of the
cluster together. Peer: a real kube-apiserver with etcd creates 824 pods a second on two such cores, and binds 1,051 and
patches 792; the three writes of a pod one after another come to 286 pods a second, with nobody deciding anything.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from _report import Row, report
from tensorfusion.cli.replay_driver import replay
from tensorfusion.testing.traces import generate, read_nodes, read_pods

PEER_WRITES_PER_SECOND = (824, 1051, 792)


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
        figures = asyncio.run(replay(nodes, pods, root=Path(root)))
    peer = 1 / sum(1 / rate for rate in PEER_WRITES_PER_SECOND)
    parameters = {"nodes": figures.nodes, "gpus": figures.gpus, "pods": figures.pods, "placed": figures.placed}
    report(
        [
            Row(
                "pods_per_second",
                figures.pods_per_second,
                "1/s",
                "kube-apiserver + etcd, writes alone",
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
