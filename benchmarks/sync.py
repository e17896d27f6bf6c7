"""10,000 GPUs and 50,000 pods into a cold scheduler. Goal: at most 10 s, and at most 500 MiB PSS for its process.

This process plays the API server: it answers lists with objects as large as a real server's (status, managed fields),
in pages, over a Unix socket. A child process runs the real client, informers and scheduler, and leads. Measured from
exec of the child until it would take its first decision: everything applied, and caught up with its predecessor.

Peer, in the same run: a client that keeps the same objects whole, as generic clients do, and decides nothing.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from _report import Row, report
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import GPU_POOLS, GPUS, NODES, PODS

GPUS_A_NODE = 8
SECONDS, MEBIBYTES = 10.0, 500.0
VERSION = "1000000"


def managed(manager: str, fields: int) -> Raw:
    """Managed fields, as large as a real server's."""
    owned: dict[str, Raw] = {f"f:field-{number}": {".": {}, "f:name": {}} for number in range(fields)}
    return {"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": owned}


def meta(name: str, number: int, fields: int) -> Raw:
    return {
        "name": name,
        "uid": f"{number:08x}-0000-4000-8000-{abs(hash(name)) % (1 << 48):012x}",
        "resourceVersion": str(1000 + number),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [managed("kubectl", fields), managed("kubelet", fields)],
    }


def node(number: int) -> Raw:
    name = f"node-{number}"
    amounts = {"cpu": "256", "memory": "2Ti", "pods": "250", "ephemeral-storage": "1Ti"}
    conditions = [
        {"type": kind, "status": status, "reason": "KubeletIs", "message": "as it should be"}
        for kind, status in (("MemoryPressure", "False"), ("DiskPressure", "False"), ("Ready", "True"))
    ]
    return {
        "metadata": {**meta(name, number, 20), "labels": {keys.HOSTNAME_LABEL: name, "zone": f"z{number % 3}"}},
        "spec": {},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": conditions},
    }


def gpu(number: int) -> Raw:
    node_name = f"node-{number // GPUS_A_NODE}"
    capacity = {"tflops": "1000", "vram": "80Gi"}
    return {
        "metadata": {
            **meta(f"gpu-{number}", number, 10),
            "labels": {keys.GPU_POOL: "main", keys.MANAGED_BY: node_name},
        },
        "status": {
            "phase": "Running",
            "vendor": "NVIDIA",
            "gpuModel": "NVIDIA A100-SXM4-80GB",
            "uuid": f"GPU-{number}",
            "capacity": capacity,
            "available": capacity,
            "index": number % GPUS_A_NODE,
            "nodeSelector": {keys.HOSTNAME_LABEL: node_name},
            "message": "managed",
        },
    }


def pod(number: int, gpus: int) -> Raw:
    """Nine of ten take a share of a device; all are bound and running."""
    name = f"pod-{number:05d}"
    takes = number % 10 != 0
    device = number % gpus
    annotations = {"example.com/owner": f"team-{number % 40}"}
    labels = {"app": f"app-{number % 200}", "pod-template-hash": f"{number % 200:08x}"}
    if takes:
        labels |= {keys.COMPONENT: "worker", keys.ENABLED: "true", keys.GPU_POOL: "main"}
        annotations |= {
            keys.GPU_POOL: "main",
            keys.TFLOPS_REQUEST: str(10 * (1 + number % 9)),
            keys.TFLOPS_LIMIT: "200",
            keys.VRAM_REQUEST: f"{1 + number % 8}Gi",
            keys.VRAM_LIMIT: "16Gi",
            keys.GPU_COUNT: "1",
            keys.QOS: "medium",
            keys.ISOLATION: "soft",
            keys.INJECT_CONTAINER: "main",
            keys.GPU_IDS: f"gpu-{device}",
            keys.CONTAINER_GPUS: f'{{"main":["gpu-{device}"]}}',
            keys.SCHEDULER_EPOCH: "3",
        }
    environment = [{"name": f"VARIABLE_{place}", "value": f"value-{place}"} for place in range(12)]
    mounts = [{"name": f"volume-{place}", "mountPath": f"/mnt/{place}"} for place in range(4)]
    container = {
        "name": "main",
        "image": "registry.example.com/team/image:1",
        "env": environment,
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
    }
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    metadata = {
        **meta(name, number, 15),
        "namespace": f"team-{number % 40}",
        "labels": labels,
        "annotations": annotations,
    }
    return {
        "metadata": metadata,
        "spec": {
            "schedulerName": keys.SCHEDULER_NAME if takes else keys.DEFAULT_SCHEDULER_NAME,
            "nodeName": f"node-{device // GPUS_A_NODE}",
            "priority": 0,
            "containers": [container],
            "volumes": [{"name": f"volume-{place}", "emptyDir": {}} for place in range(4)],
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{key}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
                for key in ("not-ready", "unreachable")
            ],
        },
        "status": {"phase": "Running", "conditions": conditions, "hostIP": "10.0.0.1", "podIP": "10.1.0.1"},
    }


@dataclass(frozen=True, slots=True)
class Collection:
    """Objects that are encoded once, before anything is measured."""

    objects: list[bytes]

    @staticmethod
    def of(count: int, make: Callable[[int], Raw]) -> "Collection":
        return Collection([json.dumps(make(number), separators=(",", ":")).encode() for number in range(count)])

    def page(self, start: int, limit: int) -> bytes:
        end = start + limit
        more = f',"continue":"{end}"' if end < len(self.objects) else ""
        head = f'{{"metadata":{{"resourceVersion":"{VERSION}"{more}}},"items":['
        return head.encode() + b",".join(self.objects[start:end]) + b"]}"


class Server:
    """Lists from memory; watches that never bring anything."""

    def __init__(self, gpus: int, pods: int) -> None:
        pool = {"metadata": meta("main", 1, 5), "spec": {}}
        self._collections = {
            PODS.plural: Collection.of(pods, lambda number: pod(number, gpus)),
            GPUS.plural: Collection.of(gpus, gpu),
            NODES.plural: Collection.of(-(-gpus // GPUS_A_NODE), node),
            GPU_POOLS.plural: Collection.of(1, lambda _: pool),
        }

    @property
    def megabytes(self) -> float:
        return sum(len(found) for collection in self._collections.values() for found in collection.objects) / 1e6

    async def answer(self, request: web.Request) -> web.StreamResponse:
        collection = self._collections.get(request.path.rpartition("/")[2], Collection([]))
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(3600)
            return response
        start, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        return web.Response(body=collection.page(start, limit), content_type="application/json")

    async def serve(self, path: Path) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        return runner


def pss_mib(pid: int) -> float:
    """Proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no Pss")


async def measure(server: Server, pods: int, role: str) -> dict[str, float]:
    """What a child of that role came to."""
    with tempfile.TemporaryDirectory(prefix="sync-") as folder:
        socket = Path(folder) / "api.sock"
        runner = await server.serve(socket)
        started = time.perf_counter()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            "--child",
            role,
            "--socket",
            str(socket),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        peak = 0.0

        async def sample() -> None:
            nonlocal peak
            while True:
                peak = max(peak, pss_mib(child.pid))
                await asyncio.sleep(0.2)

        sampling = asyncio.create_task(sample())
        line = await child.stdout.readline()
        seconds = time.perf_counter() - started
        sampling.cancel()
        figures = json.loads(line)
        after = pss_mib(child.pid)
        child.stdin.close()
        await child.wait()
        await runner.cleanup()
    if figures["held"] != pods:
        raise SystemExit(f"the {role} knows {figures['held']} pods of {pods}")
    return {
        **figures,
        "seconds": seconds,
        "peak_mib": max(peak, after),
        "pss_mib": after,
        "megabytes": server.megabytes,
    }


class AlwaysLeading:
    epoch = 4

    def is_leader(self) -> bool:
        return True


class Silent:
    """Neither events nor conditions are written here."""

    def record(self, *_: object, **__: object) -> None:
        return None

    def submit(self, *_: object, **__: object) -> None:
        return None


async def scheduler(socket: Path) -> None:
    """The child: a scheduler as ``tensorfusion control`` runs it, until it is ready to decide."""
    from tensorfusion.clock import SystemClock
    from tensorfusion.kube.client import Client
    from tensorfusion.kube.config import Connection
    from tensorfusion.runtime.manager import Manager
    from tensorfusion.scheduler.service import Options, SchedulerService

    longest = 0.0

    async def feel_the_loop() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before - 0.005)

    async with Client(Connection(server=f"unix://{socket}")) as client:
        manager = Manager(client, clock=SystemClock())
        silent = Silent()
        service = SchedulerService(
            manager,
            AlwaysLeading(),
            recorder=silent,
            writer=silent,
            options=Options(scheduler_names=(keys.SCHEDULER_NAME, keys.DEFAULT_SCHEDULER_NAME)),
        )
        manager.add_task("scheduler", service.run)
        feeling = asyncio.create_task(feel_the_loop())
        running = asyncio.create_task(manager.run())
        cpu = time.process_time()
        while not (service.deciding and service.synced):
            await asyncio.sleep(0.02)
            if running.done():
                await running
        figures = {
            "held": len(service.state.allocations),
            "cpu_seconds": time.process_time() - cpu,
            "longest_block_ms": longest * 1000,
        }
        print(json.dumps(figures), flush=True)
        feeling.cancel()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        manager.stop()
        await running


async def whole_objects(socket: Path) -> None:
    """The peer: lists everything and keeps it as the dictionaries that JSON is."""
    from tensorfusion.kube.client import Client
    from tensorfusion.kube.config import Connection

    cpu = time.process_time()
    async with Client(Connection(server=f"unix://{socket}")) as client:
        cache = {}
        for resource in (NODES, GPU_POOLS, GPUS, PODS):
            listing = await client.list(resource, dict)
            cache[resource] = {
                (item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in listing.items
            }
        figures = {"held": len(cache[PODS]), "cpu_seconds": time.process_time() - cpu, "longest_block_ms": 0.0}
        print(json.dumps(figures), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


CHILDREN = {"scheduler": scheduler, "keeper of whole objects": whole_objects}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        import uvloop

        uvloop.run(CHILDREN[arguments.child](arguments.socket))
        return
    server = Server(arguments.gpus, arguments.pods)
    figures, peer = (asyncio.run(measure(server, arguments.pods, role)) for role in CHILDREN)
    whole = "whole objects, no decisions"
    parameters = {
        "gpus": arguments.gpus,
        "pods": arguments.pods,
        "listed_mb": round(figures["megabytes"]),
        "cpu_seconds": round(figures["cpu_seconds"], 1),
    }
    report(
        [
            Row("sync", figures["seconds"], "s", whole, peer["seconds"], parameters),
            Row("sync_pss", figures["pss_mib"], "MiB", whole, peer["pss_mib"], parameters),
            Row("sync_goal", figures["seconds"], "s", "goal", SECONDS, parameters),
            Row("sync_peak_pss", figures["peak_mib"], "MiB", "goal", MEBIBYTES, parameters),
            Row("sync_longest_block", figures["longest_block_ms"], "ms", "", None, parameters),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
