"""``tensorfusion metrics`` as a program, and a gateway of two workers that writes to it."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from fronts import Client, ask, chat, said, target

from tensorfusion.gateway.keys.secret import new_secret
from test_program import program, until_ready, write, written

PATIENCE = 60


@contextlib.asynccontextmanager
async def metrics(folder: Path) -> AsyncIterator[str]:
    """The address of a store that is being served."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tensorfusion", "metrics", "serve", "--data", str(folder), "--port", "0"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            line = (await process.stderr.readline()).decode()
            assert "listening on http://127.0.0.1:" in line, line
            yield line.split("listening on ")[1].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


async def query(sql: str, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tensorfusion", "metrics", "query", sql, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_workers_write_to_one_store_and_each_tenant_asks_for_its_own(tmp_path: Path) -> None:
    folder, path = tmp_path / "store", tmp_path / "routes.yaml"
    secrets = {name: new_secret() for name in ("red", "blue", "ops")}
    keys = [
        {"name": "a", "namespace": "default", "hash": secrets["red"].digest().hex()},
        {"name": "a", "namespace": "blue", "hash": secrets["blue"].digest().hex()},
        {"name": "o", "namespace": "ops", "hash": secrets["ops"].digest().hex(), "scopes": ["admin"]},
    ]
    async with metrics(folder) as url, target(said("a")) as one:
        assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
        token = (folder / "token").read_text().strip()
        settings = {"keys": keys, "metrics": {"url": url, "file": str(folder / "token")}}
        write(path, settings, written(one.url), written(one.url, namespace="blue"))
        async with program(path, "--workers", "2") as running:
            await until_ready(running.port)
            for name, count in (("red", 12), ("blue", 3)):
                fields = f"Authorization: Bearer {secrets[name].reveal()}\r\n".encode()
                for _ in range(count):
                    assert (await ask(running.port, chat(), fields=fields)).status == 200
            assert await running.end() == 0  # what waits is written before the end
        where = ("--url", url, "--token-file", str(folder / "token"))
        sql = "SELECT namespace, key_id, count(*) AS n FROM llm_requests GROUP BY namespace, key_id ORDER BY n"
        assert json.loads((await query(sql, *where, "-o", "json"))[1]) == [
            {"namespace": "blue", "key_id": "blue/a", "n": 3},
            {"namespace": "default", "key_id": "default/a", "n": 12},
        ]
        async with program(path) as running:
            for name, count in (("red", 12), ("blue", 3), ("ops", 15)):
                async with Client(running.port) as client:
                    client.get("/v1/usage", fields=f"x-api-key: {secrets[name].reveal()}\r\n".encode())
                    assert (await client.response()).json["total_requests"] == count
            assert await running.end() == 0
        code, said_of_time = await query("SELECT ts, 0.5 AS half FROM llm_requests LIMIT 1", *where)
        assert (code, said_of_time.split()[:2]) == (0, ["TS", "HALF"])
        assert said_of_time.split()[2].endswith("Z")
        code, error = await query("DROP TABLE llm_requests", *where)
        assert code == 1
        assert error.startswith("error: metrics database")
        code, error = await query("SELECT 1", "--url", url, "--token-file", os.devnull)
        assert code == 1
        assert "401" in error
        assert token not in error
