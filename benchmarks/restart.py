"""The embedded API with 50,000 pods and 10,000 GPUs in its store, from exec to /readyz. Goal: at most 5 s.

One pod and one GPU are made through the API, with status, placement and managed fields; the rest are theirs under other
names, put in through the store. Started again after a clean end, and after ``kill -9`` with writes in the WAL.

Peer: a process that reads the same file and keeps the objects whole, decoded, as a store without records would; it
serves nothing. The other peer, where KUBEBUILDER_ASSETS names them: a real etcd and kube-apiserver, started empty.
"""

import argparse
import asyncio
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from _report import Row, report
from startup import UnixConnection, real_start, start, stop
from sync import gpu, pod, pss_mib
from tensorfusion.embedded.store import ObjectKey, Record, Store
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.crd import all_crds
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS, GPUS, NAMESPACES, PODS

SECONDS = 5.0
BATCH = 1000
TAIL = 500
"""Writes that are only in the WAL when the process is killed."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def bare(obj: Raw, api_version: str, kind: str) -> Raw:
    """A body as a client sends it: what the server sets is left to the server."""
    dropped = ("uid", "resourceVersion", "creationTimestamp", "managedFields")
    metadata = {name: value for name, value in obj["metadata"].items() if name not in dropped}
    return {**obj, "apiVersion": api_version, "kind": kind, "metadata": metadata}


async def make_first(kubeconfig: Path) -> None:
    """The kinds, the namespaces, and one object of either kind, as their controllers leave them."""
    async with Client(load_kubeconfig(kubeconfig)) as client:
        for crd in all_crds():
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
        for number in range(40):
            name = f"team-{number}"
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        device = bare(gpu(0), "tensor-fusion.ai/v1", "GPU")
        while True:
            try:
                await client.create(GPUS, {**device, "status": {}})
                break
            except Exception as error:  # the kind is served a moment after its definition is accepted
                if "404" not in repr(error) and "not find" not in str(error):
                    raise
                await asyncio.sleep(0.1)
        await client.patch(GPUS, "gpu-0", {"status": device["status"]}, subresource="status")
        body = bare(pod(1, 1), "v1", "Pod")
        namespace = body["metadata"]["namespace"]
        await client.create(PODS, {**body, "status": {}}, namespace=namespace)
        await client.patch(
            PODS, body["metadata"]["name"], {"status": body["status"]}, namespace=namespace, subresource="status"
        )


def renamed(record: Record, obj: Raw, number: int, revision: int) -> Record:
    """The record under the names, labels and annotations of another object, written at another time."""
    stored = msgspec.json.decode(record.data)
    wanted = obj["metadata"]
    uid = f"{number:08x}-0000-4000-8000-{number:012x}"
    when = (BEGAN + timedelta(seconds=number // 100)).isoformat().replace("+00:00", "Z")
    stored["metadata"] |= {"name": wanted["name"], "uid": uid, "resourceVersion": str(revision)}
    stored["metadata"] |= {name: wanted[name] for name in ("namespace", "labels", "annotations") if name in wanted}
    stored["metadata"]["creationTimestamp"] = when
    if "nodeName" in stored.get("spec", {}):
        stored["spec"]["nodeName"] = obj["spec"]["nodeName"]
    managed = msgspec.json.decode(record.managed) if record.managed else []
    for entry in managed:
        entry["time"] = when
    fields = {
        name: {"metadata.name": wanted["name"], "metadata.namespace": wanted.get("namespace", "")}.get(name, value)
        for name, value in record.fields.items()
    }
    return Record(
        ObjectKey(record.key.resource, wanted.get("namespace", ""), wanted["name"]),
        revision,
        uid,
        msgspec.json.encode(stored),
        wanted.get("labels", {}),
        fields,
        record.owners,
        msgspec.json.encode(managed) if managed else b"",
    )


async def multiply(path: Path, pods: int, gpus: int) -> int:
    """Fill the store up; returns the bytes of all objects."""
    async with Store.open(path) as store:
        for resource, count, make in ((GPUS, gpus, gpu), (PODS, pods, lambda number: pod(number, gpus))):
            first = next(store.scan(resource.id))
            await fill(store, first, count, make)
        return sum(len(record.data) + len(record.managed) for name in store.resources() for record in store.scan(name))


async def fill(store: Store, first: Record, count: int, make: Callable[[int], Raw]) -> None:
    for begin in range(0, count, BATCH):
        writes = []
        for number in range(begin, min(begin + BATCH, count)):
            obj = make(number)
            key = ObjectKey(first.key.resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            if store.latest(key) is None:

                def build(revision: int, obj: Raw = obj, number: int = number) -> Record:
                    return renamed(first, obj, number, revision)

                writes.append(store.put(key, expected=0, make=build))
        await asyncio.gather(*writes)


async def touch(kubeconfig: Path) -> None:
    """Some writes that nobody folds into the file before the kill."""
    async with Client(load_kubeconfig(kubeconfig)) as client:
        for number in range(TAIL):
            await client.patch(GPUS, f"gpu-{number}", {"metadata": {"labels": {"touched": str(number)}}})


def list_all(folder: Path) -> tuple[int, float]:
    """How many bytes the list of all pods has, and how long it takes to come whole."""
    token = (folder / "tokens.csv").read_text().split(",")[0]
    connection = UnixConnection(folder / "run" / "api.sock")
    connection.timeout = 60
    started = time.perf_counter()
    connection.request("GET", "/api/v1/pods", headers={"Authorization": f"Bearer {token}"})
    size = 0
    with connection.getresponse() as answer:
        while chunk := answer.read(1 << 20):
            size += len(chunk)
    return size, time.perf_counter() - started


def cpu_seconds(pid: int) -> float:
    """Seconds of processor that a process took so far: what a restart costs whatever else the machine does."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


WHOLE = """
import sqlite3, sys
import json
rows = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT data, managed FROM objects")
objects = {}
for data, managed in rows:
    if data is not None:
        obj = json.loads(data)
        obj["metadata"]["managedFields"] = json.loads(managed) if managed else []
        objects[obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]] = obj
print(len(objects), flush=True)
sys.stdin.read()
"""


def whole_objects(path: Path) -> tuple[float, float, float]:
    """Seconds, seconds of processor and MiB of the peer that keeps everything decoded."""
    started = time.perf_counter()
    command = [sys.executable, "-c", WHOLE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - started
        busy, memory = cpu_seconds(process.pid), pss_mib(process.pid)
        process.communicate()
    return seconds, busy, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="restart-") as root:
        folder = Path(root) / "data"
        process, _ = start(folder, 0)
        asyncio.run(make_first(folder / "kubeconfig"))
        stop(process)
        size = asyncio.run(multiply(folder / "store.db", arguments.pods, arguments.gpus))
        clean, busy = [], []
        for _ in range(arguments.runs):
            process, seconds = start(folder, 0)
            clean.append(seconds)
            busy.append(cpu_seconds(process.pid))
            memory = pss_mib(process.pid)
            stop(process)
        process, _ = start(folder, 0)
        asyncio.run(touch(folder / "kubeconfig"))
        process.send_signal(signal.SIGKILL)
        process.wait()
        wal = (folder / "store.db-wal").stat().st_size
        process, killed = start(folder, 0)
        listed, list_seconds = list_all(folder)
        stop(process)
        on_disk = (folder / "store.db").stat().st_size
        peer_seconds, peer_cpu, peer_memory = whole_objects(folder / "store.db")
        real = real_start(Path(root) / "real")
        (objects,) = sqlite3.connect(folder / "store.db").execute("SELECT count(data) FROM objects").fetchone()
    parameters = {"objects": objects, "object_mb": round(size / 1e6), "load": round(os.getloadavg()[0], 1)}
    whole = "whole objects, serves nothing"
    report(
        [
            Row("restart", statistics.median(clean), "s", whole, peer_seconds, parameters),
            Row("restart_worst", max(clean), "s", "goal", SECONDS, {**parameters, "runs": len(clean)}),
            Row("restart_after_kill", killed, "s", "goal", SECONDS, {**parameters, "wal_kb": wal >> 10}),
            Row("restart_empty_peer", statistics.median(clean), "s", "etcd + kube-apiserver, empty", real, parameters),
            Row("restart_cpu", statistics.median(busy), "s", whole, peer_cpu, parameters),
            Row("restart_pss", memory, "MiB", whole, peer_memory, parameters),
            Row("restart_file", on_disk / 1e6, "MB", "live bytes", size / 1e6, parameters),
            Row("restart_first_list", list_seconds, "s", "", None, {**parameters, "listed_mb": round(listed / 1e6)}),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
