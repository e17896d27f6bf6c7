"""Server-side apply of 1,000 Deployments: new ones, the same once more, and a changed image. Goal: at least 150/s.

Peer: a real etcd and kube-apiserver, asked in the same run where KUBEBUILDER_ASSETS names them; etcd keeps its files
without fsync there, ours is durable. Both are reached over TLS by the same client, with the same requests in flight.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from _report import Row, report
from _servers import PEER, assets, embedded, real
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.kube.credentials import tls_context

OBJECTS = 1_000
IN_FLIGHT = 8
GOAL = 150.0
NAMESPACE = "apply"
HEADERS = {"Content-Type": "application/apply-patch+yaml", "User-Agent": "benchmark/1"}


def deployment(number: int, image: str) -> dict[str, Any]:
    """As people write them: a few labels, variables, ports and resources."""
    labels = {"app.kubernetes.io/name": f"app-{number}", "tier": "web"}
    container = {
        "name": "main",
        "image": image,
        "env": [{"name": f"VARIABLE_{place}", "value": f"value-{place}"} for place in range(6)],
        "ports": [{"containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"app-{number}", "namespace": NAMESPACE, "labels": labels},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


async def measure(kubeconfig: Path, count: int) -> dict[str, float]:
    """Applies a second in each phase."""
    connection = load_kubeconfig(kubeconfig)
    authorization = {"Authorization": f"Bearer {connection.token}"}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=tls_context(connection))
    async with aiohttp.ClientSession(connection.server, connector=connector, headers=authorization) as session:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        async with session.post("/api/v1/namespaces", json=body) as answer:
            answer.raise_for_status()
        phases = (("create", "image:1", 201), ("unchanged", "image:1", 200), ("changed", "image:2", 200))
        return {phase: await rate(session, count, image, status) for phase, image, status in phases}


async def rate(session: aiohttp.ClientSession, count: int, image: str, status: int) -> float:
    numbers = iter(range(count))

    async def applier() -> None:
        for number in numbers:
            path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/app-{number}?fieldManager=benchmark"
            async with session.patch(path, json=deployment(number, image), headers=HEADERS) as answer:
                if answer.status != status:
                    raise SystemExit(f"wanted {status}, found {answer.status}: {await answer.text()}")
                await answer.read()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(applier())
    return count / (time.perf_counter() - started)


def peer(folder: Path, count: int) -> dict[str, float]:
    programs = assets()
    if programs is None:
        return {}
    with real(folder, programs) as serving:
        return asyncio.run(measure(serving.kubeconfig, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=OBJECTS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tf-") as root:
        with embedded(Path(root) / "data") as serving:
            ours = asyncio.run(measure(serving.kubeconfig, arguments.objects))
        theirs = peer(Path(root) / "real", arguments.objects)
    parameters = {"objects": arguments.objects, "in_flight": IN_FLIGHT}
    rows = [Row(f"apply_{phase}", found, "/s", PEER, theirs.get(phase), parameters) for phase, found in ours.items()]
    rows.append(Row("apply_slowest", min(ours.values()), "/s", "goal", GOAL, parameters))
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
