"""One GreptimeDB, or the embedded store that answers like one: a request at a time, and what its answers mean.

Nothing is repeated here; whether that makes sense, the two kinds of error say. A server's refusal of what was sent is
``DatabaseRefused``; everything that may be otherwise in a moment - no connection, no answer, a server in trouble, an
account that is not there yet - is ``DatabaseFailed``.

Source: GreptimeDB documentation, HTTP API (``/v1/sql``, greptimedb_v1) and InfluxDB line protocol; its status codes and
their HTTP statuses (common-error, servers).
"""

import asyncio
import base64
import gzip
import ssl
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.timeseries.errors import DatabaseFailed, DatabaseRefused
from tensorfusion.timeseries.results import Named, Result
from tensorfusion.wire.errors import WireError
from tensorfusion.wire.messages import Answer, origin_of
from tensorfusion.wire.pool import Pool

MOST_ANSWER: Final = 256 << 20
_REFUSED_LINES: Final = frozenset({400, 413, 422})
"""It is the lines that are wrong. A path that is not there, or a proxy that gave up, says nothing of them."""
_REFUSED_QUERY: Final = frozenset({400, 404, 405, 408, 413, 415, 422, 504})
"""504 is GreptimeDB's word for a query that took too long, and 408 was."""
_PASSING: Final = frozenset({4000, 4003, 4004, 4005, 4006, 5001})
"""Codes that GreptimeDB answers with HTTP 400, of what may be otherwise in a moment: another writer has just made the
table or the column, the database is not there yet, a region moves to another node, the table was changed meanwhile."""
_LONGEST_TEXT: Final = 300


class _ColumnSchema(msgspec.Struct, frozen=True):
    name: str
    data_type: str


class _Schema(msgspec.Struct, frozen=True):
    column_schemas: tuple[_ColumnSchema, ...]


class _Records(msgspec.Struct, frozen=True):
    schema: _Schema
    rows: list[tuple[Any, ...]]  # Any: see Result


class _Output(msgspec.Struct, frozen=True):
    records: _Records | None = None


class _Answered(msgspec.Struct, frozen=True):
    output: tuple[_Output, ...] = ()


class _Complaint(msgspec.Struct, frozen=True):
    error: str = ""
    code: int = 0


class Database:
    """From one event loop; close it at the end.

    ``password`` goes with ``user``: to line protocol in Influx's form, the one that GreptimeDB takes there, where it is
    plain ASCII; without a user it is a bearer token. ``compress`` packs what is written, for a
    server that is far away.

    Raises:
        ConfigError: no such URL.
    """

    def __init__(
        self,
        url: str,
        *,
        database: str = "public",
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        seconds: float = 30.0,
        compress: bool = False,
    ) -> None:
        try:
            origin = origin_of(url, tls=tls)
        except ValueError as error:
            raise ConfigError(f"metrics database: {error}") from error
        self._name = str(origin)
        self._pool = Pool(origin)
        self._database = database
        self._seconds = seconds
        self._compress = compress
        self._fields = {"X-Greptime-Timezone": "UTC"}
        self._writing = self._fields
        if user:
            pair = f"{user}:{password}"
            self._fields["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            if pair.isascii() and pair.isprintable():
                self._writing = {**self._fields, "Authorization": f"Token {pair}"}
        elif password:
            self._fields["Authorization"] = f"Bearer {password}"

    async def close(self) -> None:
        """Close its connections."""
        await self._pool.close()

    async def write(self, lines: bytes, *, batch: str = "") -> None:
        """Write line protocol with times in ns; it is kept when this returns. See ``store`` for ``batch``.

        Raises:
            DatabaseRefused, DatabaseFailed: see the module. After the latter it may have been kept all the same.
        """
        fields = {**self._writing, "Content-Type": "text/plain; charset=utf-8"}
        if batch:
            fields["x-tensorfusion-batch"] = batch
        if self._compress:
            lines = await asyncio.to_thread(gzip.compress, lines, 1)
            fields["Content-Encoding"] = "gzip"
        query = urlencode({"db": self._database, "precision": "ns"})
        target = f"/v1/influxdb/write?{query}"
        await self._ask("write", target, fields, lines, seconds=self._seconds, refused=_REFUSED_LINES)

    async def sql(self, text: str, *, seconds: float | None = None) -> Result:
        """Answer a query; see ``reader`` for parameters.

        Raises:
            DatabaseRefused, DatabaseFailed: see the module.
        """
        patience = self._seconds if seconds is None else seconds
        fields = {
            **self._fields,
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Greptime-Timeout": f"{max(int(patience * 1000), 1)}ms",
        }
        query = urlencode({"db": self._database})
        body = urlencode({"sql": text}).encode()
        target = f"/v1/sql?{query}"
        answer = await self._ask("query", target, fields, body, seconds=patience + 1.0, refused=_REFUSED_QUERY)
        try:
            outputs = msgspec.json.decode(answer.body, type=_Answered).output
        except msgspec.DecodeError as error:
            raise DatabaseFailed(f"metrics database {self._name}: query: the answer cannot be read: {error}") from error
        if len(outputs) != 1 or outputs[0].records is None:
            return Result((), [])
        records = outputs[0].records
        columns = tuple(Named(column.name, column.data_type) for column in records.schema.column_schemas)
        return Result(columns, records.rows)

    async def _ask(
        self,
        what: str,
        target: str,
        fields: dict[str, str],
        body: bytes,
        *,
        seconds: float,
        refused: frozenset[int],
    ) -> Answer:
        try:
            answer = await self._pool.request(
                "POST", target, fields=fields, body=body, seconds=seconds, most=MOST_ANSWER
            )
        except ValueError as error:
            raise ConfigError(f"metrics database {self._name}: {error}") from error
        except (WireError, TimeoutError) as error:
            why = str(error) or f"no answer within {seconds:g} s"
            raise DatabaseFailed(f"metrics database {self._name}: {what}: {why}") from error
        if answer.status < 300:
            return answer
        said = _complaint(answer.body)
        text = f"metrics database {self._name}: {what}: HTTP {answer.status}: {said.error}"
        if answer.status in refused and said.code not in _PASSING:
            raise DatabaseRefused(text, status=answer.status, code=said.code)
        after = answer.field(b"retry-after")
        pause = float(after) if after is not None and after.isdecimal() else 0.0
        raise DatabaseFailed(text, status=answer.status, code=said.code, retry_after=pause)


def _complaint(body: bytes) -> _Complaint:
    try:
        said = msgspec.json.decode(body, type=_Complaint)
    except msgspec.DecodeError:
        return _Complaint(" ".join(body.decode("utf-8", "replace").split())[:_LONGEST_TEXT])
    return _Complaint(" ".join(said.error.split())[:_LONGEST_TEXT], said.code)
