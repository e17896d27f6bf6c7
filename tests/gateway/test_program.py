"""The gateway as a program: files that change under load, workers, keys, and an end without a lost request."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from fronts import DONE, ROLE, STOP, Client, Target, ask, chat, failed, said, streamed, target, until, word

from tensorfusion.gateway.keys.secret import new_secret

PATIENCE = 60


def in_time(seconds: float, answers: int) -> bool:
    """Whether something took less than a second, in which so many answers came before it. Where the machine stands still
    none is given either, so few of them will do: a quick one gives more than these in half of a second.
    """
    return seconds < 1 or answers < 250


@dataclass
class Program:
    port: int
    process: asyncio.subprocess.Process
    told: list[str]

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


def written(*urls: str, name: str = "r", namespace: str = "default", **spec: object) -> dict[str, object]:
    targets = [
        {"name": f"t{at}", "provider": "self-hosted", "model": "up", "endpoint": url, "priority": at}
        for at, url in enumerate(urls)
    ]
    return {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "LLMRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"strategy": "priority", "targets": targets, **spec},
    }


def write(path: Path, *documents: object) -> None:
    """With limits that are counted beside it."""
    if not any(isinstance(one, dict) and "kind" not in one for one in documents):
        documents = ({}, *documents)
    found = [
        {**one, "limitsFile": str(path.with_suffix(".limits"))} if isinstance(one, dict) and "kind" not in one else one
        for one in documents
    ]
    path.write_text(yaml.safe_dump_all(found))


@contextlib.asynccontextmanager
async def program(path: Path, *arguments: str, **environ: str) -> AsyncIterator[Program]:
    """It runs, and nothing of it is left at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tensorfusion", "gateway", "--config", str(path)),
        *("--listen", "127.0.0.1:0"),
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    told: list[str] = []
    assert process.stderr is not None
    stderr = process.stderr

    async def listen() -> None:
        async for line in stderr:
            told.append(line.decode().rstrip())

    listener = asyncio.ensure_future(listen())
    try:
        async with asyncio.timeout(PATIENCE):
            while not (ports := [line for line in told if "listening on" in line]):
                assert process.returncode is None, told
                await asyncio.sleep(0.02)
        yield Program(int(ports[0].split("127.0.0.1:")[1].split(" ")[0]), process, told)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                await process.wait()
        await listener


async def get(port: int, path: str, *, fields: bytes = b"") -> tuple[int, bytes]:
    async with Client(port) as client:
        client.get(path, fields=fields)
        found = await client.response()
        return found.status, found.body


async def until_ready(port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await get(port, "/ready"))[0] != 200:
            await asyncio.sleep(0.05)


async def test_a_hundred_changes_under_load_fail_no_request_and_each_takes_effect_in_time(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    async with target(said("a")) as one, target(said("b")) as two:
        write(path, written(one.url))
        async with program(path) as running:
            statuses: list[int] = []
            ended = False

            async def load() -> None:
                async with Client(running.port) as client:
                    while not ended:
                        client.send(chat())
                        statuses.append((await client.response()).status)

            loads = [asyncio.ensure_future(load()) for _ in range(4)]
            late = []
            loop = asyncio.get_running_loop()
            for change in range(100):
                wanted = (two if change % 2 == 0 else one).url
                write(path, written(wanted, timeout=f"{change + 1}s"))
                changed, before = loop.time(), 0
                async with Client(running.port) as client, asyncio.timeout(PATIENCE):
                    while True:
                        client.send(chat())
                        found = await client.response()
                        assert found.status == 200
                        if found.body == said("b" if change % 2 == 0 else "a").partition(b"\r\n\r\n")[2]:
                            break
                        before += 1
                took = loop.time() - changed
                if not in_time(took, before):
                    late.append((change, took, before))
            ended = True
            await asyncio.gather(*loads)
            assert set(statuses) == {200}
            assert len(statuses) > 100
            assert late == []
            assert (await running.end()) == 0


async def test_a_wrong_file_changes_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    async with target(said("a")) as one:
        write(path, written(one.url))
        async with program(path) as running:
            path.write_text("kind: LLMRoute\nspec: {targets: [{nme: x}]}\n")
            async with asyncio.timeout(PATIENCE):
                while not any("the old one stays in force" in line for line in running.told):
                    await asyncio.sleep(0.02)
            assert (await ask(running.port, chat())).status == 200
            path.unlink()
            async with asyncio.timeout(PATIENCE):
                while not any("cannot be read" in line for line in running.told):
                    await asyncio.sleep(0.02)
            assert (await ask(running.port, chat())).status == 200


async def test_workers_share_the_port_and_end_their_requests_before_themselves(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        writer.write(streamed(ROLE, word("a"), STOP, DONE))

    async with target(slowly) as one:
        write(path, written(one.url))
        async with program(path, "--workers", "2") as running:
            await until_ready(running.port)
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(Client(running.port)) for _ in range(16)]
                for client in clients:
                    client.send(chat(stream=True))
                await until(lambda: len(one.requests) == 16)
                running.process.send_signal(signal.SIGTERM)
                responses = [await client.response() for client in clients]
            assert {(found.status, found.body.endswith(DONE)) for found in responses} == {(200, True)}
            assert await running.process.wait() == 0


async def test_keys_credentials_and_records(tmp_path: Path) -> None:
    path, requests = tmp_path / "routes.yaml", tmp_path / "requests.jsonl"
    key = new_secret().reveal()
    async with target(said("a")) as one:
        route = written(one.url, namespace="team-red")
        spec = route["spec"]
        assert isinstance(spec, dict)
        spec["targets"][0]["apiKeySecret"] = {"name": "s", "namespace": "team-red", "key": "k"}
        settings = {
            "keys": [{"name": "ci", "namespace": "team-red", "keyFrom": {"env": "CI_KEY"}, "models": ["m*"]}],
            "secrets": [{"name": "s", "namespace": "team-red", "key": "k", "env": "UPSTREAM"}],
            "log": {"file": str(requests)},
        }
        write(path, settings, route)
        environ = {"CI_KEY": key, "UPSTREAM": "upstream-credential"}
        async with program(path, **environ) as running:
            bearer = f"Authorization: Bearer {key}\r\n".encode()
            refused = await ask(running.port, chat())
            assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
            assert (await ask(running.port, chat(model="other"), fields=bearer)).error["code"] == "model_not_allowed"
            answered = await ask(running.port, chat(), fields=bearer)
            assert answered.status == 200
            assert one.requests[0].fields["authorization"] == "Bearer upstream-credential"
            assert (await get(running.port, "/v1/models"))[0] == 401
            assert (await get(running.port, "/routes"))[0] == 401
            status, body = await get(running.port, "/routes", fields=bearer)
            assert (status, json.loads(body)["data"][0]["name"]) == (200, "r")
            status, metrics = await get(running.port, "/metrics")
            assert b'tensorfusion_gateway_requests_total{route="team-red/r",status="200"} 1.0' in metrics
            assert b'tensorfusion_gateway_requests_total{route="",status="401"} 3.0' in metrics
            async with Client(running.port) as client:
                client.writer.write(b"no request\r\n\r\n")
                assert (await client.response()).status == 400
            status, metrics = await get(running.port, "/metrics")
            assert b'tensorfusion_gateway_unreadable_total{status="400"} 1.0' in metrics
            assert (await running.end()) == 0
            lines = [json.loads(line) for line in requests.read_text().splitlines()]
            assert [(line["status"], line["key_id"], line["route"]) for line in lines] == [
                (401, "", ""),
                (403, "team-red/ci", ""),
                (200, "team-red/ci", "team-red/r"),
                (401, "", ""),
                (401, "", ""),
            ]
            everything = requests.read_text() + "\n".join(running.told) + metrics.decode() + body.decode()
            for hidden in (key, "upstream-credential", "hi"):
                assert f'"{hidden}"' not in everything
            assert key[:12] not in everything


async def test_whichever_worker_is_scraped_tells_what_all_have_counted(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    async with target(said("a")) as one:
        write(path, written(one.url))
        async with program(path, "--workers", "2") as running:
            await until_ready(running.port)
            for _ in range(20):
                assert (await ask(running.port, chat())).status == 200
            counted = b'tensorfusion_gateway_requests_total{route="default/r",status="200"} 20.0'
            async with asyncio.timeout(PATIENCE):
                for _ in range(8):
                    while counted not in (await get(running.port, "/metrics"))[1]:
                        await asyncio.sleep(0.1)
            running.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(PATIENCE):
                while sum("is ready" in line for line in running.told) < 4:
                    await asyncio.sleep(0.05)
                while counted not in (await get(running.port, "/metrics"))[1]:
                    await asyncio.sleep(0.1)


async def test_limits_are_those_of_all_workers_together(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    async with target(said("a")) as one:
        write(path, written(one.url, rateLimit={"requestsPerMinute": 20, "per": "route"}))
        async with program(path, "--workers", "2") as running:
            await until_ready(running.port)
            began = asyncio.get_running_loop().time()
            responses = [await ask(running.port, chat()) for _ in range(30)]
            took = asyncio.get_running_loop().time() - began
            answered = [found for found in responses if found.status == 200]
            refused = [found for found in responses if found.status == 429]
            assert 20 <= len(answered) <= 20 + took * 20 / 60  # it refills meanwhile
            assert len(answered) + len(refused) == 30
            assert answered[0].fields["x-ratelimit-limit-requests"] == "20"
            assert refused[0].error["type"] == "rate_limit_error"
            assert int(refused[0].fields["retry-after"]) >= 1


async def test_what_one_worker_rolls_back_no_other_goes_on_with(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    async with target(said("a")) as old, target(failed(500)) as new:
        rollout = {"target": "t1", "steps": [50], "minRequests": 4, "interval": "1h"}
        write(path, written(old.url, new.url, strategy="weighted", rollout=rollout, retry={"maxRetries": 0}))
        async with program(path, "--workers", "2") as running, contextlib.AsyncExitStack() as stack:
            await until_ready(running.port)
            clients = [await stack.enter_async_context(Client(running.port)) for _ in range(12)]

            async def asked(client: Client) -> None:
                client.send(chat())
                assert (await client.response()).status == 200

            for _ in range(10):  # of the one worker that has this connection
                await asked(clients[0])

            def asked_of(one: Target) -> int:
                """Without the looks whether it is well again."""
                return sum(each.body != b"" for each in one.requests)

            met = asked_of(new)
            assert met >= 4
            async with asyncio.timeout(PATIENCE):
                while sum("rolled back" in line for line in running.told) < 2:
                    await asyncio.sleep(0.05)
            for client in clients:
                for _ in range(4):
                    await asked(client)
            assert asked_of(new) == met


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "wanted at least one LLMRoute"),
        ("{", "is no YAML"),
        ("kind: Pod\n", "wanted LLMRoute, LLMKey, Secret or settings"),
        ("listne: 1\n", "listne"),
        ("listen: nowhere\n", "listen: wanted HOST:PORT"),
        ("secrets: [{name: a, key: b, env: NOT_SET_ANYWHERE}]\n", "NOT_SET_ANYWHERE is unset"),
        ("workers: 0\n", "workers: wanted at least 1"),
    ],
)
async def test_what_is_wrong_with_a_file_is_told_in_a_line_and_nothing_starts(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tensorfusion", "gateway", "--config", str(path)), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("error: ")
    assert why in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_without_keys_it_listens_to_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    write(path, written("http://127.0.0.1:1/v1"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tensorfusion", "gateway", "--config", str(path), "--listen", "0.0.0.0:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"no key is configured" in errors
