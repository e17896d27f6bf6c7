"""Is this machine fit to run an embedded cluster, and is the cluster's folder in order?

Each check looks and says; none of them changes anything but a file of its own that it removes again.
"""

import os
import resource
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tensorfusion.cli.findings import Finding, fail, info, ok, warn
from tensorfusion.cli.folder import Folder

_PYTHON = (3, 11)
_DISK_WANTED, _DISK_NEEDED = 2 << 30, 200 << 20
_MEMORY_WANTED = 1 << 30
_FILES_WANTED = 4096
_SYNCS, _SLOW_SYNC = 15, 0.020
_CLOCK_SLACK = 5.0
_PORTS = {6443: "--port", 8080: "--http-port"}
_SOCKET_PATH = 100


def machine_findings(folder: Folder) -> Iterator[Finding]:
    """Everything about the machine, then everything about the folder."""
    yield _python()
    yield _kernel()
    yield _memory()
    yield _files()
    place = _existing(folder.root)
    yield _disk(place)
    yield _sync_speed(place)
    yield _clock(folder)
    yield _socket_path(folder)
    if folder.pid("up") is None:
        yield from (_port(port, option) for port, option in _PORTS.items())
    yield _processes(folder)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _PYTHON:
        return fail("python", found, "install Python 3.11 or newer")
    return ok("python", found)


def _kernel() -> Finding:
    from tensorfusion.scheduling import rollout, row_kernel

    if rollout.COMPILED and row_kernel.COMPILED:
        return ok("placement kernel", "compiled")
    return info(
        "placement kernel",
        "numpy",
        "install a C compiler and tensorfusion again: placing gets several times faster",
    )


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return info("memory", "cannot be told on this system")
    text = f"{available / 2**30:.1f} GiB available"
    if available < _MEMORY_WANTED:
        return warn("memory", text, "free some: a small cluster takes about 0.3 GiB, and 1 KiB for each pod")
    return ok("memory", text)


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES_WANTED:
        return warn(
            "open files",
            f"limit {soft}",
            f"raise it with `ulimit -n {min(hard, 65536)}`: each watching client takes one",
        )
    return ok("open files", f"limit {soft}")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    while not path.is_dir():
        path = path.parent
    return path


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free for {place}"
    if free < _DISK_NEEDED:
        return fail("disk", text, "free at least 0.2 GiB, or choose another folder with --data")
    if free < _DISK_WANTED:
        return warn("disk", text, "the store and the logs grow: free some, or choose another folder with --data")
    return ok("disk", text)


def _sync_speed(place: Path) -> Finding:
    """Every write of a cluster waits for one of these; several writes share one."""
    probe = place / f".doctor-{os.getpid()}"
    times = []
    try:
        with os.fdopen(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for _ in range(_SYNCS):
                file.write(b"x" * 4096)
                file.flush()
                started = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - started)
    except OSError as error:
        return fail("disk sync", f"{place}: cannot be written ({error.strerror})", "choose another folder with --data")
    finally:
        probe.unlink(missing_ok=True)
    typical = statistics.median(times)
    text = f"{typical * 1000:.1f} ms for a durable write"
    if typical > _SLOW_SYNC:
        return warn("disk sync", text, "every change of an object waits for it: choose a faster disk with --data")
    return ok("disk sync", text)


def _clock(folder: Folder) -> Finding:
    """A clock that was set back makes certificates and tokens not valid yet."""
    newest = 0.0
    for path in (folder.store, folder.kubeconfig, folder.root / "pki"):
        if path.exists():
            newest = max(newest, path.stat().st_mtime)
    ahead = newest - time.time()
    if ahead > _CLOCK_SLACK:
        return fail(
            "clock", f"{ahead:.0f} s behind the newest file of the cluster", "set it: certificates depend on it"
        )
    return ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _socket_path(folder: Folder) -> Finding:
    length = len(str(folder.api_socket.absolute()))
    if length > _SOCKET_PATH:
        return fail("folder", f"{folder.root}: {length} characters are too long", "choose a shorter --data")
    return ok("folder", str(folder.root))


def _port(port: int, option: str) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return warn(f"port {port}", f"is taken ({error.strerror})", f"`tensorfusion up {option} 0` chooses another")
    return ok(f"port {port}", "free")


def _processes(folder: Folder) -> Finding:
    """Leftovers of a supervisor that was killed, and a store that somebody else has open."""
    running = folder.processes()
    if "up" in running:
        missing = {"api", "control"} - running.keys()
        if missing:
            return warn("processes", f"{', '.join(sorted(missing))} does not run", f"see the logs in {folder.logs}")
        return ok("processes", ", ".join(f"{name} {pid}" for name, pid in sorted(running.items())))
    orphans = folder.orphans()
    if orphans:
        names = ", ".join(f"{name} {pid}" for name, pid in orphans)
        return fail(
            "processes",
            f"{names}: their supervisor was killed",
            f"`tensorfusion up` takes over, `tensorfusion down --data {folder.root}` stops them",
        )
    return info("processes", "no cluster runs from this folder", "`tensorfusion up --detach` starts one")
