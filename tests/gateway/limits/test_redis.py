"""The counters of a cluster, in a real Redis: one limit for workers on many hosts, whoever dies, with Redis or without."""

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fronts import steady
from limits_support import charge
from redis.asyncio import Redis

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.limits.redis import RedisLimits
from tensorfusion.gateway.limits.rules import Charge
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.gateway.limits.verdict import RateLimited

PROGRAM = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no redis-server on this machine: install it to run these tests"
)
HAMMER = Path(__file__).parent / "hammer_redis.py"


@contextlib.contextmanager
def server(folder: str = "") -> Iterator[str]:
    """A Redis of its own, on a socket file in the folder; its URL."""
    assert PROGRAM is not None
    with contextlib.ExitStack() as stack:
        folder = folder or stack.enter_context(tempfile.TemporaryDirectory())
        socket = f"{folder}/redis.sock"
        command = [PROGRAM, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                assert any("eady to accept connections" in line for line in process.stdout)
                yield f"unix://{socket}"
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as found:
        yield found


@pytest.fixture(autouse=True)
async def empty(url: str) -> None:
    async with Redis.from_url(url) as redis:
        await redis.flushall()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for half a second is no Redis that does not answer."""
    monkeypatch.setattr("tensorfusion.gateway.limits.redis._TIMEOUT_SECONDS", 20)


@contextlib.asynccontextmanager
async def worker(url: str, **options: float) -> AsyncIterator[RedisLimits]:
    host = SharedLimits(None, records=64)
    limits = RedisLimits(url, host=host, **options)
    running = asyncio.ensure_future(limits.run())
    try:
        yield limits
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        host.close()


async def admitted(limits: RedisLimits, key: Charge, *, of: int, tokens: int = 0) -> int:
    count = 0
    for _ in range(of):
        try:
            (await limits.reserve((key,), tokens)).settle(tokens)
        except RateLimited:
            break
        count += 1
    return count


async def calls(url: str) -> int:
    async with Redis.from_url(url) as redis:
        found = await redis.info("commandstats")
        return int(found.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_workers_of_several_hosts_share_one_limit(url: str) -> None:
    async with worker(url) as one, worker(url) as two:
        first = await admitted(one, charge(rpm=2, burst=12), of=5)
        second = await admitted(two, charge(rpm=2, burst=12), of=50)
        assert first == 5
        assert 5 <= second <= 7  # what the first took in advance is its own
        with pytest.raises(RateLimited, match="more than 2 requests a minute for k") as caught:
            await two.reserve((charge(rpm=2, burst=12),), 0)
        assert 20 <= caught.value.retry_after <= 30
        assert dict(caught.value.fields())[b"x-ratelimit-limit-requests"] == b"2"


async def test_tokens_are_reserved_and_settled_over_all_workers(url: str) -> None:
    key = charge(tpm=1000)
    async with worker(url) as one, worker(url) as two:
        held = await one.reserve((key,), 600)
        assert held.verdict.tokens is not None
        assert held.verdict.tokens.remaining == 400
        with pytest.raises(RateLimited, match="more than 1000 tokens a minute"):
            await two.reserve((charge(tpm=1000),), 500)
        held.settle(100)
        assert not held.settle(100)
        await one.beat()
        other = await two.reserve((charge(tpm=1000),), 890)
        other.settle(890)
        with pytest.raises(RateLimited, match="asks for 1001 tokens, and 1000 a minute is the limit") as caught:
            await one.reserve((key,), 1001)
        assert caught.value.retry_after is None


async def test_a_place_that_becomes_free_is_told_before_the_next_beat(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorfusion.gateway.limits.redis.BEAT_SECONDS", 3600)
    async with worker(url) as one, worker(url) as two:
        held = [await one.reserve((charge(concurrent=2),), 0) for _ in range(2)]
        with pytest.raises(RateLimited, match="more than 2 requests at once"):
            await two.reserve((charge(concurrent=2),), 0)
        held[0].settle(0)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(RateLimited):
                    (await two.reserve((charge(concurrent=2),), 0)).settle(0)
                    break
                await asyncio.sleep(0.01)
        held[1].settle(0)


async def test_all_limits_of_a_request_count_it_or_none(url: str) -> None:
    roomy, tight = charge("roomy", tpm=100), charge("tight", concurrent=1)
    async with worker(url) as one, worker(url) as two:
        held = await one.reserve((roomy, tight), 40)
        for _ in range(20):
            with pytest.raises(RateLimited):
                await two.reserve((charge("roomy", tpm=100), charge("tight", concurrent=1)), 10)
        (await two.reserve((charge("roomy", tpm=100),), 50)).settle(50)
        held.settle(40)


async def test_a_busy_key_is_decided_where_the_request_is(url: str) -> None:
    key = charge(rpm=60_000_000, tpm=600_000_000, concurrent=10_000)
    async with worker(url) as limits:
        before = await calls(url)
        for _ in range(2000):
            (await limits.reserve((key,), 10)).settle(10)
        assert await calls(url) - before < 200


async def test_a_client_that_leaves_while_redis_is_asked_holds_nothing(url: str) -> None:
    async with worker(url, hold_seconds=60) as one, worker(url) as two:
        (await one.reserve((charge("warm", rpm=100),), 0)).settle(0)  # the script and a connection are there
        for steps in range(12):
            asking = asyncio.ensure_future(one.reserve((charge(concurrent=1, tpm=100),), 60))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            found = await asyncio.gather(asking, return_exceptions=True)
            if not isinstance(found[0], BaseException):
                found[0].settle(0)
            async with asyncio.timeout(20):  # of the 60 seconds that a dead worker's place would be kept
                while True:
                    with contextlib.suppress(RateLimited):
                        (await two.reserve((charge(concurrent=1, tpm=100),), 60)).settle(0)
                        break
                    await asyncio.sleep(0.02)
            await two.beat()


async def test_what_a_dead_worker_held_comes_back_and_its_tokens_count(url: str) -> None:
    async with worker(url) as living:
        dead_host = SharedLimits(None, records=64)
        dead = RedisLimits(url, host=dead_host, hold_seconds=3)
        began = time.monotonic()
        await dead.reserve((charge(tpm=6000, concurrent=1),), 5000)
        with pytest.raises(RateLimited):
            await living.reserve((charge(tpm=6000, concurrent=1),), 0)
        await dead._redis.aclose()  # and never a word again
        dead_host.close()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(RateLimited):
                    held = await living.reserve((charge(tpm=6000, concurrent=1),), 0)
                    break
                await asyncio.sleep(0.02)
        assert held.verdict.tokens is not None
        assert 1000 <= held.verdict.tokens.remaining <= 1000 + (time.monotonic() - began) * 6000 / 60
        held.settle(0)


async def test_without_redis_a_host_counts_by_itself_and_with_it_again_together() -> None:
    now = 1000.0
    key = charge(rpm=1, burst=3)
    host = SharedLimits(None, records=64)
    with tempfile.TemporaryDirectory() as folder:
        with server(folder) as url:
            limits = RedisLimits(url, host=host, clock=lambda: now)
            assert await admitted(limits, key, of=2) == 2
        now += 10  # nothing that was taken in advance is left
        assert await admitted(limits, key, of=10) == 3
        with server(folder):
            with pytest.raises(RateLimited):
                await limits.reserve((key,), 0)  # not asked again at once
            now += 2
            assert await admitted(limits, key, of=10) == 3  # that Redis knows of nothing
            assert await calls(url) > 0
            await limits.close()
    host.close()


async def test_a_redis_that_hangs_is_waited_for_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorfusion.gateway.limits.redis._TIMEOUT_SECONDS", 0.5)
    now = 1000.0
    key = charge(rpm=1000)
    host = SharedLimits(None, records=64)
    with tempfile.TemporaryDirectory() as folder, server(folder) as url:
        limits = RedisLimits(url, host=host, clock=lambda: now)
        (await limits.reserve((key,), 0)).settle(0)
        pid = await server_pid(url)
        os.kill(pid, signal.SIGSTOP)
        try:
            for seconds in (0.0, 10.0):  # when it is not known yet, and when it is looked for again
                now += seconds
                async with steady() as passed:
                    for held in await asyncio.gather(*(limits.reserve((key,), 0) for _ in range(20))):
                        held.settle(0)
                    assert passed() < 3  # half a second each: ten seconds
            now += 10
            trying = asyncio.ensure_future(limits.reserve((key,), 0))
            await asyncio.sleep(0)
            (await limits.reserve((key,), 0)).settle(0)
            assert not trying.done()  # who comes while one tries need not wait to hear of it
        finally:
            os.kill(pid, signal.SIGCONT)
        (await trying).settle(0)
        await limits.close()
    host.close()


async def server_pid(url: str) -> int:
    async with Redis.from_url(url) as redis:
        return int((await redis.info("server"))["process_id"])


async def test_a_url_that_is_none_is_refused_without_being_shown() -> None:
    host = SharedLimits(None, records=64)
    with pytest.raises(ConfigError, match="wanted a URL redis://") as caught:
        RedisLimits("http://:hunter2@redis", host=host)
    assert "hunter2" not in str(caught.value)
    host.close()


def test_several_workers_that_are_killed_and_started_again_let_in_no_more_than_the_bound(
    url: str, tmp_path: Path
) -> None:
    logs: list[Path] = []

    def start() -> subprocess.Popen[bytes]:
        logs.append(tmp_path / f"log-{len(logs)}")
        return subprocess.Popen([sys.executable, str(HAMMER), url, str(logs[-1]), "3000"], stdout=subprocess.PIPE)

    workers = [start() for _ in range(3)]
    for one in workers:
        assert one.stdout is not None
        assert one.stdout.read(1) == b"r"
    for round_ in range(2):
        assert workers[0].stdout is not None
        workers[0].stdout.read(2 + round_)
        workers[0].kill()
        workers[0].wait()
        workers[0].stdout.close()
        workers = [*workers[1:], start()]
    for one in workers:
        assert one.stdout is not None
        one.stdout.read()
        assert one.wait() == 0
        one.stdout.close()

    from hammer_redis import BURST, PER_MINUTE

    starts = sorted(moment for log in logs for (moment,) in struct.iter_unpack("q", whole(log.read_bytes())))
    assert len(starts) > BURST
    level, last = BURST + PER_MINUTE / 60, starts[0]  # a second more: what is taken in advance
    for moment in starts:
        level = min(BURST + PER_MINUTE / 60, level + (moment - last) * PER_MINUTE / 60e9) - 1
        last = moment
        assert level >= -3  # each of three may be late to write down what it got


def whole(data: bytes) -> bytes:
    return data[: len(data) // 8 * 8]
