"""What goes back over the wire: status, headers, one body or a stream of chunks."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import yaml

from tensorfusion.embedded.negotiation import JSON, YAML
from tensorfusion.embedded.objects import decode
from tensorfusion.embedded.statuses import status_body
from tensorfusion.errors import ApiError

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]  # Any: an ASGI message

_GZIP_FROM = 128 << 10
_IN_THREAD_FROM = 1 << 20
PART = 256 << 10
"""Bytes handed to the transport at once: encrypting a large list in one piece costs several times as much."""
_JSON_HEADER = (b"content-type", b"application/json")
_NO_CACHE = b"no-cache, private"
_MOST_WARNINGS = 20
_WARNING_LETTERS, _LETTERS_OF_EACH = 4096, 256
"""What all warnings of an answer may have; where they have more, what each of them may.

Source: apiserver pkg/endpoints/filters/warning.go.
"""
TEXT = "text/plain; charset=utf-8"
NOSNIFF = ((b"x-content-type-options", b"nosniff"),)


@dataclass(slots=True)
class Response:
    """A whole answer. ``media_type`` says what ``body`` is, if anything; ``wanted`` what the client accepts of JSON and
    YAML. A ``pretty`` one has a line for each field."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    wanted: str = JSON
    warnings: Sequence[str] = ()
    headers: Sequence[tuple[bytes, bytes]] = ()
    cache: bytes = _NO_CACHE
    pretty: bool = False


PAGE_NOT_FOUND = Response(b"404 page not found\n", 404, TEXT, headers=NOSNIFF)
"""For paths that nothing is known about; a resource that is not there is a Status."""


def error_response(error: ApiError, *, wanted: str = JSON) -> Response:
    """A Status object with the error's code; 401 and 429 carry what clients look for in headers."""
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    return Response(msgspec.json.encode(status_body(error)) + b"\n", error.status_code, wanted=wanted, headers=headers)


async def send_response(send: Send, response: Response, *, gzipped: bool) -> None:
    """Send a whole answer, compressed when it is large and the client takes that."""
    body, media_type = response.body, response.media_type
    if response.wanted == YAML and media_type == JSON:
        body, media_type = to_yaml(body), YAML
    elif response.pretty and media_type == JSON and body:
        body = await _indented(body)
    headers = [
        _JSON_HEADER if media_type == JSON else (b"content-type", media_type.encode("latin-1")),
        (b"cache-control", response.cache),
        *response.headers,
        *_warning_headers(response.warnings),
    ]
    if not media_type:
        del headers[0]
    if gzipped and len(body) >= _GZIP_FROM:
        if len(body) >= _IN_THREAD_FROM:
            body = await asyncio.to_thread(gzip.compress, body, 1)
        else:
            body = gzip.compress(body, 1)
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    sent = 0
    while len(body) - sent > PART:
        await send({"type": "http.response.body", "body": body[sent : sent + PART], "more_body": True})
        sent += PART
    await send({"type": "http.response.body", "body": body[sent:] if sent else body})


async def send_stream(send: Send, chunks: AsyncIterator[bytes], *, media_type: str = JSON) -> None:
    """Send chunks as they come; each is on the wire before the next is asked for."""
    header = _JSON_HEADER if media_type == JSON else (b"content-type", media_type.encode("latin-1"))
    await send({"type": "http.response.start", "status": 200, "headers": [header, (b"cache-control", _NO_CACHE)]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _indented(body: bytes) -> bytes:
    if len(body) >= _IN_THREAD_FROM:
        return await asyncio.to_thread(msgspec.json.format, body)
    return msgspec.json.format(body)


def to_yaml(body: bytes) -> bytes:
    """A JSON body as YAML."""
    text: str = yaml.dump(decode(body), Dumper=yaml.CSafeDumper, default_flow_style=False, allow_unicode=True)
    return text.encode()


def _warning_headers(warnings: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """RFC 7234 warnings with code 299, each once."""
    found = []
    distinct = list(dict.fromkeys(warnings))[:_MOST_WARNINGS]
    if sum(map(len, distinct)) > _WARNING_LETTERS:
        distinct = [warning[:_LETTERS_OF_EACH] for warning in distinct[: _WARNING_LETTERS // _LETTERS_OF_EACH]]
    for warning in distinct:
        shown = "".join(letter if letter.isprintable() else " " for letter in warning)
        text = " ".join(shown.split()).replace("\\", "\\\\").replace('"', '\\"')
        found.append((b"warning", b'299 - "' + text.encode("latin-1", "replace") + b'"'))
    return found
