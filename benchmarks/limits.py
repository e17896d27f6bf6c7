"""Checks of a limit that processes keep together: ours in shared memory, a dict of multiprocessing's managers, Redis.

Every process asks for one key's requests, tokens and place in flight, and gives them back: what a request of the
gateway costs. The peers do less: they count one number up (the dict under the manager's lock; Redis by INCR over
loopback, and only where a redis-server is installed). A row is checks a second of all processes together.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import managers
from multiprocessing.managers import BaseManager, DictProxy
from pathlib import Path
from tempfile import TemporaryDirectory

from _report import Row, report
from tensorfusion.gateway.limits.rules import Charge, rule_of
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.model.llm_route import RateLimit

PROCESSES = (1, 2)
ROUNDS = 3
CHECKS = {"shared": 20_000, "manager": 2_000, "redis": 5_000}
MUCH = 1_000_000_000
_KEY = b"benchmark"


def shared(path: str) -> Callable[[], object]:
    limits = SharedLimits(Path(path))
    rule = rule_of("key", RateLimit(requests_per_minute=MUCH, tokens_per_minute=MUCH, max_concurrent=1000))
    assert rule is not None
    charges = (Charge(rule, "team-red/ci"),)
    return lambda: limits.take(charges, 500).settle(300)


class Manager(BaseManager):
    """The naive peer: a dict and a lock in a process of their own."""


_counts, _lock = {"key": 0}, threading.Lock()
Manager.register("counts", callable=lambda: _counts, proxytype=DictProxy)
Manager.register("lock", callable=lambda: _lock, proxytype=managers.AcquirerProxy)  # type: ignore[attr-defined]


def managed(address: str) -> Callable[[], object]:
    peer = Manager(address, authkey=_KEY)
    peer.connect()
    counts, lock = peer.counts(), peer.lock()  # type: ignore[attr-defined]  # by register

    def check() -> None:
        with lock:
            counts["key"] += 1

    return check


def over_redis(port: str) -> Callable[[], object]:
    """INCR by hand: a client library would only be slower."""
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def check() -> bytes:
        connection.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n")
        return connection.recv(64)

    return check


KINDS = {"shared": shared, "manager": managed, "redis": over_redis}


def ask(kind: str, where: str) -> None:
    """One process: ready, told to go, done."""
    check = KINDS[kind](where)
    for _ in range(100):
        check()
    print("ready", flush=True)
    for _ in sys.stdin:
        used = time.process_time()
        for _ in range(CHECKS[kind]):
            check()
        print(time.process_time() - used, flush=True)


def rate(kind: str, where: str, processes: int) -> tuple[float, float]:
    """Checks a second of all together, and microseconds of processor time that one costs its caller. The best round."""
    command = [sys.executable, __file__, "ask", kind, where]
    found = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    best, cost = 0.0, float("inf")
    try:
        for process in found:
            assert process.stdout is not None
            process.stdout.readline()
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for process in found:
                assert process.stdin is not None
                print("go", file=process.stdin, flush=True)
            used = [float(process.stdout.readline()) for process in found if process.stdout is not None]
            best = max(best, processes * CHECKS[kind] / (time.perf_counter() - began))
            cost = min(cost, sum(used) / processes / CHECKS[kind] * 1e6)
    finally:
        for process in found:
            process.communicate()
    return best, cost


@contextmanager
def manager() -> Iterator[str]:
    """The naive peer; where it is."""
    with TemporaryDirectory() as folder, Manager(f"{folder}/socket", authkey=_KEY) as running:
        yield str(running.address)


@contextmanager
def redis() -> Iterator[str | None]:
    """A server of its own that writes nothing down; None where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Ready to accept" in line:
                break
        yield port
    finally:
        process.terminate()
        process.communicate()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    with TemporaryDirectory(dir="/dev/shm") as folder, manager() as address, redis() as port:
        peers = [("Manager dict", "manager", address)]
        if port is not None:
            peers.append(("Redis INCR", "redis", port))
        for processes in PROCESSES:
            facts: dict[str, object] = {"processes": processes}
            ours, cost = rate("shared", f"{folder}/limits", processes)
            for name, kind, where in peers:
                theirs, _ = rate(kind, where, processes)
                rows.append(Row("checks", ours, "1/s", name, theirs, facts))
            rows.append(Row("processor_time", cost, "us", "", None, facts))
    report(rows, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        ask(sys.argv[2], sys.argv[3])
    else:
        main()
