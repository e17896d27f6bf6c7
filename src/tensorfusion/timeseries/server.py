"""The embedded store over HTTP, as a GreptimeDB: who speaks to the one can speak to the other.

Routes for the entry point's listener, which is on loopback unless it was told otherwise. ``/health`` and Influx's
``ping`` are open; everything else says who it is before a byte of its body is read.

Spoken: writing by line protocol in both of Influx's versions, SQL by form or query. Answers are GreptimeDB's
``greptimedb_v1``; not spoken are its other formats, its other databases than ``public``, and everything but SELECT.

Source: GreptimeDB documentation, HTTP API and InfluxDB line protocol.
"""

import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tensorfusion.errors import ApiError, TensorFusionError, TooLarge
from tensorfusion.timeseries.access import Access, Authorize, credentials_of
from tensorfusion.timeseries.errors import StoreBusy
from tensorfusion.timeseries.store import Store
from tensorfusion.timeseries.wire_codes import Code, code_of, status_of

LARGEST_WRITE: Final = 32 << 20
"""Bytes of one write, unpacked."""
LARGEST_QUERY: Final = 1 << 20
MOST_UNDER_WAY: Final = 128 << 20
"""Bytes of all bodies that are being read."""
BATCH_FIELD: Final = "x-tensorfusion-batch"
"""The id of a batch, so that one that is sent again is there once."""

_DATABASES: Final = ("", "public", "greptime-public")
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}

_encode = msgspec.json.Encoder().encode


def routes(store: Store, *, authorize: Authorize) -> list[Route]:
    """The routes of one store, for a Starlette application."""
    bodies = _Bodies()

    async def write(request: Request) -> Response:
        query = request.query_params
        _check_database(request, query.get("bucket") or query.get("db"))
        text = await bodies.text(request, LARGEST_WRITE)
        await store.write(text, precision=query.get("precision", "ns"), batch=request.headers.get(BATCH_FIELD, "")[:64])
        return Response(status_code=204)

    async def sql(request: Request) -> Response:
        began = time.perf_counter()
        query: Mapping[str, str] = request.query_params
        if request.method == "POST":
            form = parse_qs(await bodies.text(request, LARGEST_QUERY), keep_blank_values=True)
            query = {**{name: values[0] for name, values in form.items()}, **query}
        _check_database(request, query.get("db"))
        if "sql" not in query:
            raise ValueError("sql: wanted a query in the parameter sql, found nothing")
        found = await store.query(query["sql"], seconds=_patience(request.headers.get("x-greptime-timeout")))
        columns = [{"name": column.name, "data_type": column.kind} for column in found.columns]
        records = {"schema": {"column_schemas": columns}, "rows": found.rows, "total_rows": len(found.rows)}
        took = int((time.perf_counter() - began) * 1000)
        body = {"code": int(Code.SUCCESS), "output": [{"records": records}], "execution_time_ms": took}
        fields = {"x-greptime-format": "greptimedb_v1", "x-greptime-execution-time": str(took)}
        return Response(_encode(body), media_type="application/json", headers=fields)

    def route(path: str, methods: list[str], access: Access, answer: Callable[[Request], Awaitable[Response]]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                await authorize(credentials_of(request), access)
                return await answer(request)
            except (TensorFusionError, ValueError) as error:
                return _refused(error)

        return Route(path, endpoint, methods=methods)

    async def health(_: Request) -> Response:
        """503 while what is written cannot be kept, so that whoever supervises sees it."""
        return Response(b"{}", status_code=503 if store.failing else 200, media_type="application/json")

    async def ping(_: Request) -> Response:
        return Response(status_code=204)

    return [
        route("/v1/influxdb/write", ["POST"], Access.WRITE, write),
        route("/v1/influxdb/api/v2/write", ["POST"], Access.WRITE, write),
        route("/v1/sql", ["GET", "POST"], Access.READ, sql),
        Route("/health", health, methods=["GET"]),
        Route("/v1/influxdb/health", health, methods=["GET"]),
        Route("/v1/influxdb/ping", ping, methods=["GET"]),
    ]


class _Bodies:
    """Reads bodies whole, each within its bound and all within one."""

    def __init__(self) -> None:
        self._under_way = 0

    async def text(self, request: Request, most: int) -> str:
        """The body as text.

        Raises:
            TooLarge: it has more bytes than ``most``, packed or not; the rest is not read.
            StoreBusy: too much is being read.
            ValueError: it is packed in a way not known here, or no UTF-8.
        """
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            raise ValueError(f"Content-Encoding: wanted gzip or none, found {coding[:20]!r}")
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                self._under_way += len(part)
                if size > most:
                    raise TooLarge(f"body: wanted at most {most} bytes, found more: send it in parts")
                if self._under_way > MOST_UNDER_WAY:
                    raise StoreBusy(f"metrics store: {self._under_way} bytes are being read: send again later")
                parts.append(part)
            body = b"".join(parts)
            return _decoded(_unpacked(body, most) if coding == "gzip" else body)
        except ClientDisconnect as error:
            raise ValueError("body: its sender left before its end") from error
        finally:
            self._under_way -= size


def _unpacked(body: bytes, most: int) -> bytes:
    unpack = zlib.decompressobj(wbits=31)
    try:
        found = unpack.decompress(body, most + 1)
    except zlib.error as error:
        raise ValueError(f"body: wanted gzip, found another: {error}") from error
    if len(found) > most:
        raise TooLarge(f"body: wanted at most {most} bytes unpacked, found more: send it in parts")
    if not unpack.eof:
        raise ValueError("body: wanted gzip to its end, found a part of it")
    return found


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"body: wanted UTF-8, found another byte at {error.start}") from error


class _NoDatabase(ValueError):
    """A database that is not there."""


def _check_database(request: Request, asked: str | None) -> None:
    name = asked or request.headers.get("x-greptime-db-name", "")
    if name not in _DATABASES:
        raise _NoDatabase(f"database {name[:64]}: not found: this store has public")


def _patience(header: str | None) -> float | None:
    """Seconds that whoever asks would wait. Source: GreptimeDB, X-Greptime-Timeout, as 120s."""
    found = _DURATION.fullmatch(header.strip()) if header else None
    return int(found[1]) * _SECONDS[found[2]] if found else None


def _refused(error: TensorFusionError | ValueError) -> Response:
    code = Code.DATABASE_NOT_FOUND if isinstance(error, _NoDatabase) else code_of(error)
    status = error.status_code if isinstance(error, ApiError) else status_of(code)
    fields = {"x-greptime-err-code": str(int(code))}
    if status == 503:
        fields["retry-after"] = "1"
    body = {"code": int(code), "error": str(error), "execution_time_ms": 0}
    return Response(_encode(body), status_code=status, media_type="application/json", headers=fields)
