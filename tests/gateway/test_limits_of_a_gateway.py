"""Limits of keys and routes on the road: 429 with what a client needs to know, and every request given back."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from fronts import DONE, ROLE, STOP, Client, ask, chat, said, streamed, target, word

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.keys.secret import new_secret
from tensorfusion.gateway.limits.gate import gate_of, redis_url
from tensorfusion.gateway.settings import RedisSource
from test_program import program, until_ready, write, written


def settings(tmp_path: Path, **limit: object) -> dict[str, object]:
    key = {"name": "ci", "keyFrom": {"env": "CI_KEY"}, "rateLimit": limit}
    return {"keys": [key], "limitsFile": str(tmp_path / "limits")}


async def test_a_key_gets_what_its_limit_says_and_is_told_so_with_every_answer(tmp_path: Path) -> None:
    path, key = tmp_path / "routes.yaml", new_secret().reveal()
    bearer = f"Authorization: Bearer {key}\r\n".encode()
    async with target(said("a", usage=(30, 20))) as one:
        write(path, settings(tmp_path, requestsPerMinute=2, tokensPerMinute=100), written(one.url))
        async with program(path, CI_KEY=key) as running:
            first = await ask(running.port, chat(max_tokens=50), fields=bearer)
            assert first.status == 200
            assert first.fields["x-ratelimit-limit-requests"] == "2"
            assert first.fields["x-ratelimit-remaining-requests"] == "1"
            second = await ask(running.port, chat(max_tokens=40), fields=bearer)
            assert second.status == 200  # the first one took 50 tokens, whatever it had asked for
            third = await ask(running.port, chat(max_tokens=1), fields=bearer)
            assert (third.status, third.error["type"], third.error["code"]) == (
                429,
                "rate_limit_error",
                "rate_limit_exceeded",
            )
            assert 1 <= int(third.fields["retry-after"]) <= 30
            assert third.fields["x-ratelimit-remaining-requests"] == "0"
            assert len(one.requests) == 2
            assert key[:12] not in str(running.told) + str(third)


async def test_workers_keep_one_limit_of_requests_in_flight_and_give_back_those_of_clients_that_left(
    tmp_path: Path,
) -> None:
    path, key = tmp_path / "routes.yaml", new_secret().reveal()
    bearer = f"Authorization: Bearer {key}\r\n".encode()
    go = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(streamed(ROLE, word("a"), STOP, DONE))

    async with target(slowly) as one:
        write(path, settings(tmp_path, maxConcurrent=3), written(one.url))
        async with program(path, "--workers", "2", CI_KEY=key) as running:
            await until_ready(running.port)
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(Client(running.port)) for _ in range(12)]
                for client in clients:
                    client.send(chat(stream=True), fields=bearer)
                while len(one.requests) < 3:
                    await asyncio.sleep(0.01)
                refused = await ask(running.port, chat(), fields=bearer)
                assert (refused.status, refused.fields["retry-after"]) == (429, "1")
            while (again := await asyncio.wait_for(_probe(running.port, bearer, go), 20)).status == 429:
                await asyncio.sleep(0.05)  # the clients have left: their places come back
            assert again.status == 200


async def _probe(port: int, bearer: bytes, go: asyncio.Event):
    go.set()
    return await ask(port, chat(stream=True), fields=bearer)


async def test_places_of_workers_that_were_killed_come_back_and_their_requests_stay_counted(tmp_path: Path) -> None:
    path, key = tmp_path / "routes.yaml", new_secret().reveal()
    bearer = f"Authorization: Bearer {key}\r\n".encode()
    go = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(said("a"))

    async with target(slowly) as one:
        write(path, settings(tmp_path, maxConcurrent=3, requestsPerMinute=5), written(one.url))
        async with program(path, "--workers", "2", CI_KEY=key) as running:
            await until_ready(running.port)
            began = asyncio.get_running_loop().time()
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(Client(running.port)) for _ in range(3)]
                for client in clients:
                    client.send(chat(), fields=bearer)
                while len(one.requests) < 3:
                    await asyncio.sleep(0.01)
                assert (await ask(running.port, chat(), fields=bearer)).status == 429
                for pid in {int(pid) for line in running.told for pid in re.findall(r"pid (\d+) is ready", line)}:
                    os.kill(pid, signal.SIGKILL)
            go.set()
            statuses: list[int] = []
            async with asyncio.timeout(60):
                while statuses.count(200) < 2 or statuses[-1] != 429:
                    with contextlib.suppress(OSError, EOFError, AssertionError):  # nobody listens for a moment
                        statuses.append((await ask(running.port, chat(), fields=bearer)).status)
                    await asyncio.sleep(0.02)
            # five a minute, three were the killed ones'; one comes every 12 s
            assert 2 <= statuses.count(200) <= 2 + (asyncio.get_running_loop().time() - began) / 12


async def test_answers_whose_length_nobody_said_are_reserved_by_what_is_usual(tmp_path: Path) -> None:
    path, key = tmp_path / "routes.yaml", new_secret().reveal()
    bearer = f"Authorization: Bearer {key}\r\n".encode()
    go = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(said("a", usage=(10, 200)))

    async with target(slowly) as one:
        write(path, settings(tmp_path, tokensPerMinute=1000), written(one.url))
        async with program(path, CI_KEY=key) as running, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(running.port)) for _ in range(12)]
            for client in clients:
                client.send(chat(), fields=bearer)
            while len(one.requests) < 3:
                await asyncio.sleep(0.01)
            refused = await ask(running.port, chat(), fields=bearer)
            assert (refused.status, len(one.requests)) == (429, 3)  # 256 are guessed before the first answer
            go.set()
            statuses = [(await client.response()).status for client in clients]
            assert (statuses.count(200), statuses.count(429)) == (3, 9)
            assert (await ask(running.port, chat(max_tokens=300), fields=bearer)).status == 200  # 630 were used


async def test_a_guess_is_never_why_a_request_is_larger_than_its_limit(tmp_path: Path) -> None:
    path, key = tmp_path / "routes.yaml", new_secret().reveal()
    bearer = f"Authorization: Bearer {key}\r\n".encode()
    async with target(said("a", usage=(10, 20))) as one:
        write(path, settings(tmp_path, tokensPerMinute=100), written(one.url))
        async with program(path, CI_KEY=key) as running:
            assert (await ask(running.port, chat(), fields=bearer)).status == 200
            assert (await ask(running.port, chat(max_tokens=200), fields=bearer)).status == 429


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this machine")
async def test_gateways_of_several_hosts_keep_one_limit_by_redis(tmp_path: Path) -> None:
    key = new_secret().reveal()
    bearer = f"Authorization: Bearer {key}\r\n".encode()
    socket = tmp_path / "redis.sock"
    redis = await asyncio.create_subprocess_exec(
        *("redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert redis.stdout is not None
    async for line in redis.stdout:
        if b"eady to accept" in line:
            break
    try:
        async with target(said("a")) as one, contextlib.AsyncExitStack() as stack:
            ports = []
            for number in range(2):
                path = tmp_path / f"{number}.yaml"
                here = {**settings(tmp_path, requestsPerMinute=4), "limitsFile": str(tmp_path / f"limits-{number}")}
                write(path, {**here, "limitsRedis": {"env": "WHERE"}}, written(one.url))
                running = await stack.enter_async_context(program(path, CI_KEY=key, WHERE=f"unix://{socket}"))
                ports.append(running.port)
            statuses = [(await ask(port, chat(), fields=bearer)).status for port in ports * 6]
            assert (
                3 <= statuses.count(200) <= 5
            )  # a quarter of a minute may pass; what was taken in advance may be lost
            assert set(statuses) == {200, 429}
    finally:
        redis.terminate()
        await redis.wait()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (RedisSource(), "wanted url or env, found neither"),
        (RedisSource(url="redis://x", env="Y"), "wanted url or env, found both"),
        (RedisSource(env="NOT_SET"), "environment variable NOT_SET is unset"),
    ],
)
def test_a_redis_that_is_not_named_is_refused(source: RedisSource, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        redis_url(source, {})
    assert redis_url(RedisSource(url="redis://x")) == "redis://x"
    assert redis_url(RedisSource(env="A"), {"A": "redis://y"}) == "redis://y"
    assert redis_url(None) == ""


def test_where_limits_cannot_be_counted_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"limits: .*/no/limits: cannot be opened: .*: limitsFile names another place"
    ):
        gate_of(tmp_path / "routes.yaml", file=str(tmp_path / "no" / "limits"))
