"""Several processes on one port: all serve, any may die, all can be replaced under load, and none is left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from raw import Client, until

from tensorfusion.wire.errors import WireError
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool

PROGRAM = Path(__file__).with_name("worker_program.py")
SECONDS = 60


class Running:
    """A supervisor, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(process.stdout,))
        self._reader.start()

    def _read(self, lines: Iterator[str]) -> None:
        self.lines.extend(lines)

    def said(self, word: str) -> int:
        return sum(word in line for line in self.lines)

    def join(self) -> int:
        status = self.process.wait(SECONDS)
        self._reader.join()
        return status


@contextlib.contextmanager
def supervised(folder: Path, *, count: int = 2, port: int = 0) -> Iterator[Running]:
    command = [sys.executable, str(PROGRAM), str(folder), str(count), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        yield Running(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS)


async def ask(port: int, target: bytes = b"/") -> int:
    async with Client(port) as client:
        client.get(target)
        return int((await client.response()).body)


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def pids_of(port: int, *, count: int) -> set[int]:
    """The processes that answer."""
    found: set[int] = set()
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            found.add(await ask(port))
    return found


@contextlib.asynccontextmanager
async def load(port: int) -> AsyncIterator[list[WireError]]:
    """Clients that keep their connections, and clients that do not; what failed."""
    failures: list[WireError] = []
    stop = asyncio.Event()
    answered = 0

    async def client(pool: Pool, *, keep: bool) -> None:
        nonlocal answered
        fields = () if keep else ((b"X-Once", b"1"),)
        while not stop.is_set():
            try:
                async with pool.exchange(b"GET", b"/", fields) as answer:
                    await answer.whole(100)
                    answered += 1
            except WireError as error:
                failures.append(error)
            if not keep:
                await pool.close()

    kept = Pool(Origin(host="127.0.0.1", port=port))
    once = [Pool(Origin(host="127.0.0.1", port=port)) for _ in range(4)]
    clients = [asyncio.ensure_future(client(kept, keep=True)) for _ in range(8)]
    clients += [asyncio.ensure_future(client(pool, keep=False)) for pool in once]
    await until(lambda: answered > 50)
    yield failures
    before = answered
    await until(lambda: answered > before + 50)
    stop.set()
    await asyncio.gather(*clients)
    for pool in (kept, *once):
        await pool.close()


async def test_all_workers_serve_the_port_that_the_first_one_got(tmp_path: Path) -> None:
    with supervised(tmp_path, count=3) as running:
        assert running.port > 0
        assert len(await pids_of(running.port, count=3)) == 3
        running.process.terminate()
        assert running.join() == 0


async def test_a_worker_that_was_killed_is_followed_by_another_and_nobody_is_turned_away(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        first = await pids_of(running.port, count=2)
        os.kill(victim := min(first), signal.SIGKILL)
        found = {await ask(running.port) for _ in range(40)}  # some of them wait at the listener of the dead one
        assert victim not in found
        second = await pids_of(running.port, count=2)
        assert len(second - first) == 1
        await until(lambda: running.said("was ended by signal 9"))


async def test_workers_are_replaced_under_load_without_a_failed_request(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        first = await pids_of(running.port, count=2)
        async with load(running.port) as failures:
            running.process.send_signal(signal.SIGHUP)
            await until(lambda: not any(alive(pid) for pid in first), seconds=SECONDS)
        second = await pids_of(running.port, count=2)
        assert not first & second
        assert failures == []


async def test_a_successor_that_does_not_become_ready_replaces_nobody(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        first = await pids_of(running.port, count=2)
        (tmp_path / "broken").touch()
        async with load(running.port) as failures:
            running.process.send_signal(signal.SIGHUP)
            await until(lambda: running.said("the old ones stay"), seconds=SECONDS)
        assert failures == []
        assert await pids_of(running.port, count=2) == first


async def test_workers_that_cannot_be_started_end_nobody(tmp_path: Path) -> None:
    """As when memory is short, or the program is being replaced."""
    with supervised(tmp_path) as running:
        first = await pids_of(running.port, count=2)
        (tmp_path / "missing").touch()
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: running.said("cannot be started"), seconds=SECONDS)
        assert await pids_of(running.port, count=2) == first
        os.kill(min(first), signal.SIGKILL)
        await until(lambda: running.said("the next one starts in") >= 2, seconds=SECONDS)
        (tmp_path / "missing").unlink()
        second = await pids_of(running.port, count=2)
        assert len(second & first) == 1


async def test_a_supervisor_that_nobody_listens_to_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path), "2", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        first = await pids_of(port, count=2)
        process.stdout.close()
        os.kill(min(first), signal.SIGKILL)
        await until(lambda: not alive(min(first)), seconds=SECONDS)
        assert len(await pids_of(port, count=2) & first) == 1
    finally:
        process.terminate()
        process.wait(SECONDS)


async def test_workers_that_die_while_they_are_replaced_are_followed_by_their_successors(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        first = await pids_of(running.port, count=2)
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: running.said("replacing"))
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        assert not first & await pids_of(running.port, count=2)
        await until(lambda: running.said("its successor is on its way"))
        assert not running.said("stay")


async def test_what_runs_is_finished_when_all_end(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        pids = await pids_of(running.port, count=2)
        slow = [asyncio.ensure_future(ask(running.port, b"/slow")) for _ in range(20)]
        await until(lambda: len(list(tmp_path.glob("slow-*"))) == len(slow), seconds=SECONDS)
        running.process.terminate()
        assert set(await asyncio.gather(*slow)) <= pids
        status = await asyncio.to_thread(running.join)
        assert status == 0
        assert not any(alive(pid) for pid in pids)


async def test_no_worker_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        pids = await pids_of(running.port, count=2)
        running.process.kill()
        await asyncio.to_thread(running.process.wait, SECONDS)
        await until(lambda: not any(alive(pid) for pid in pids), seconds=SECONDS)


async def test_a_port_that_another_serves_is_not_shared_with_it(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        await pids_of(running.port, count=2)
        command = [sys.executable, str(PROGRAM), str(tmp_path), "2", str(running.port)]
        second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=SECONDS)
        assert "Address already in use" in second.stderr


async def test_workers_that_end_at_once_are_started_less_and_less_often(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with supervised(tmp_path, count=1) as running:
        await until(lambda: running.said("the next one starts in") >= 3, seconds=SECONDS)
        pauses = [line.rpartition(" in ")[2] for line in running.lines if "the next one" in line]
        assert pauses[:3] == ["0.1 s\n", "0.2 s\n", "0.4 s\n"]
        (tmp_path / "broken").unlink()
        assert await pids_of(running.port, count=1)
