"""What is sent to a GreptimeDB, and what its answers mean, by its documentation: the embedded store forgives more.

Source: GreptimeDB documentation, "HTTP API" and "InfluxDB Line Protocol" (authentication, answers), and the mapping of
its status codes to those of HTTP.
"""

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.errors import DatabaseFailed, DatabaseRefused
from tensorfusion.timeseries.reader import Moment, Reader
from tensorfusion.timeseries.retention_bounds import Retention
from tensorfusion.timeseries.tables import TABLES, prepare
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server

USER, PASSWORD = "metrics", "p:ss word"
JSON = ((b"Content-Type", b"application/json"),)
ROWS = {
    "output": [
        {
            "records": {
                "schema": {"column_schemas": [{"name": "at", "data_type": "TimestampNanosecond"}]},
                "rows": [[1767225600000000001], [None]],
                "total_rows": 2,
                "metrics": {},
            }
        }
    ],
    "execution_time_ms": 3,
}
DONE = {"output": [{"affectedrows": 0}], "execution_time_ms": 1}


@dataclass
class Greptime:
    """Strict about what it is sent; answers as it is told."""

    port: int = 0
    lines: list[bytes] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    answer: tuple[int, dict[str, object] | None] = (200, ROWS)

    async def handle(self, request: Request, reply: Reply) -> None:
        body = await request.whole(1 << 24)
        url = urlsplit(request.target.decode())
        scheme, _, credential = (request.field(b"authorization") or b"").decode().partition(" ")
        assert request.method == b"POST"
        assert parse_qs(url.query)["db"] == ["public"]
        status, said = self.answer
        if url.path == "/v1/influxdb/write":
            if (scheme.lower(), credential) != ("token", f"{USER}:{PASSWORD}"):
                status, said = 401, {"code": 7004, "error": f"Unsupported http auth scheme, name: {scheme}"}
            elif status == 200:
                assert parse_qs(url.query)["precision"] == ["ns"]
                self.lines += body.splitlines()
                reply.send(204, ((b"x-greptime-execution-time", b"0"),), b"")
                return
        else:
            assert url.path == "/v1/sql"
            assert (scheme, base64.b64decode(credential).decode()) == ("Basic", f"{USER}:{PASSWORD}")
            assert request.field(b"content-type") == b"application/x-www-form-urlencoded"
            assert request.field(b"x-greptime-timezone") == b"UTC"
            assert (request.field(b"x-greptime-timeout") or b"").endswith(b"ms")
            self.queries.append(parse_qs(body.decode())["sql"][0])
        reply.send(status, JSON, b"" if said is None else json.dumps(said).encode())


@pytest.fixture
async def greptime() -> AsyncIterator[Greptime]:
    found = Greptime()
    server = Server(found.handle)
    found.port = await server.listen()
    yield found
    await server.drain(0)


@contextlib.asynccontextmanager
async def database(greptime: Greptime) -> AsyncIterator[Database]:
    found = Database(f"http://127.0.0.1:{greptime.port}", user=USER, password=PASSWORD)
    try:
        yield found
    finally:
        await found.close()


async def test_lines_go_with_the_credential_in_influxs_form_and_queries_in_that_of_http(greptime: Greptime) -> None:
    async with database(greptime) as found:
        await found.write(b"gpu,node=a load=1i 5\n", batch="b-1")
        assert greptime.lines == [b"gpu,node=a load=1i 5"]
        answer = await Reader(found).query("SELECT max(ts) AS at FROM t WHERE ts > :at", {"at": Moment(10**18 + 1)})
        assert answer.dicts() == [{"at": 1767225600000000001}, {"at": None}]
        assert greptime.queries == ["SELECT max(ts) AS at FROM t WHERE ts > '2001-09-09 01:46:40.000000001'"]
        greptime.answer = 200, DONE
        await prepare(found, TABLES, Retention())
        assert len(greptime.queries) == 1 + 2 * len(TABLES)


@pytest.mark.parametrize(
    ("status", "code", "write", "query"),
    [
        (400, 1001, DatabaseRefused, DatabaseRefused),  # not supported
        (400, 1004, DatabaseRefused, DatabaseRefused),  # arguments
        (400, 2000, DatabaseRefused, DatabaseRefused),  # syntax
        (400, 4001, DatabaseRefused, DatabaseRefused),  # no such table
        (400, 4002, DatabaseRefused, DatabaseRefused),  # no such column
        (400, 4000, DatabaseFailed, DatabaseFailed),  # another one has just made the table
        (400, 4003, DatabaseFailed, DatabaseFailed),  # or the column
        (400, 4004, DatabaseFailed, DatabaseFailed),  # no such database: it may come
        (400, 4005, DatabaseFailed, DatabaseFailed),  # a region is on its way to another node
        (400, 4006, DatabaseFailed, DatabaseFailed),
        (401, 4007, DatabaseFailed, DatabaseFailed),
        (503, 4008, DatabaseFailed, DatabaseFailed),
        (503, 4009, DatabaseFailed, DatabaseFailed),
        (503, 5000, DatabaseFailed, DatabaseFailed),
        (400, 5001, DatabaseFailed, DatabaseFailed),  # the table was changed meanwhile
        (500, 6000, DatabaseFailed, DatabaseFailed),
        (429, 6001, DatabaseFailed, DatabaseFailed),
        (401, 7002, DatabaseFailed, DatabaseFailed),
        (403, 7006, DatabaseFailed, DatabaseFailed),
        (500, 3001, DatabaseFailed, DatabaseFailed),
        (504, 1005, DatabaseFailed, DatabaseRefused),  # it took too long
        (408, None, DatabaseFailed, DatabaseRefused),  # as older ones say it
    ],
)
async def test_what_its_errors_mean(
    greptime: Greptime, status: int, code: int | None, write: type[Exception], query: type[Exception]
) -> None:
    """Lines that are refused are lost; those of a failure wait."""
    greptime.answer = status, None if code is None else {"code": code, "error": "why", "execution_time_ms": 0}
    async with database(greptime) as found:
        with pytest.raises(write):
            await found.write(b"gpu load=1i 5\n")
        with pytest.raises(query):
            await found.sql("SELECT 1")
