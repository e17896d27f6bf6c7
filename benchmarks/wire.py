"""Processor time of one request through ``tensorfusion.wire``, as the components send them to the API server.

Peer in the same run: aiohttp, the same requests to the same server over a Unix socket. The server answers with ready
bytes in the same process, so both figures hold its few microseconds.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import aiohttp
import uvloop

from _report import Row, report
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool

IN_FLIGHT = 32
ROUNDS = 3
TARGET = "/api/v1/namespaces/default/pods/web-1/binding"
FIELDS = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer abc"}
BODY = b'{"apiVersion":"v1","kind":"Binding","metadata":{"name":"web-1"}}' * 6
ANSWER = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nCache-Control: no-cache, private\r\n"
    b"Date: Sat, 28 Nov 2026 19:38:29 GMT\r\nContent-Length: 120\r\n\r\n" + b"x" * 120
)


class Server(asyncio.Protocol):
    """Answers whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)


async def ours(path: str, count: int) -> None:
    pool = Pool(Origin(path=path))

    async def ask() -> None:
        for _ in range(count // IN_FLIGHT):
            await pool.request("POST", TARGET, fields=FIELDS, body=BODY, seconds=30)

    await asyncio.gather(*(ask() for _ in range(IN_FLIGHT)))
    await pool.close()


async def theirs(path: str, count: int) -> None:
    connector = aiohttp.UnixConnector(path=path, limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def ask() -> None:
            for _ in range(count // IN_FLIGHT):
                async with session.post(f"http://localhost{TARGET}", headers=FIELDS, data=BODY) as answer:
                    await answer.read()

        await asyncio.gather(*(ask() for _ in range(IN_FLIGHT)))


async def microseconds(client: Callable[[str, int], Awaitable[None]], path: str, count: int) -> float:
    started = time.process_time()
    await client(path, count)
    return (time.process_time() - started) / count * 1e6


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    count = arguments.requests // IN_FLIGHT * IN_FLIGHT
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        server = await asyncio.get_running_loop().create_unix_server(Server, path)
        figures = [
            (await microseconds(ours, path, count), await microseconds(theirs, path, count)) for _ in range(ROUNDS)
        ]
        server.close()
    mine, peer = (min(column) for column in zip(*figures, strict=True))
    report(
        [Row("request_cpu", mine, "us", "aiohttp", peer, {"requests": count, "in_flight": IN_FLIGHT})],
        arguments.json,
    )


if __name__ == "__main__":
    uvloop.run(main())
