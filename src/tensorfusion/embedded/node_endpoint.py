"""Ask a node's endpoint for a log: one request on its Unix socket, the answer as it comes.

Source: the path layout of a kubelet (``/containerLogs``, ``/exec``, ``/attach``, ``/portForward``).
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from tensorfusion.errors import ApiError, ServerError, api_error_class
from tensorfusion.model.meta import Raw

_CHUNK = 1 << 16
_HEAD_SECONDS = 30.0


class LogStream:
    """A log that is being read. ``chunks`` ends with it, or on ``close``."""

    media_type = "text/plain"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._reader.read(_CHUNK):
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        self._writer.close()


async def open_log(socket: Path, target: str, *, node: str) -> LogStream:
    """Start to read a log.

    Raises:
        ApiError: the node says no, or does not answer.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError as error:
        raise silent(node) from error
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            writer.write(f"GET {target} HTTP/1.1\r\nHost: node\r\n\r\n".encode("ascii"))
            head = await reader.readuntil(b"\r\n\r\n")
            code = int(head.split(b" ", 2)[1])
            refusal = await reader.read(_CHUNK) if code != 200 else b""
    except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as error:
        writer.close()
        raise silent(node) from error
    except asyncio.CancelledError:
        writer.close()
        raise
    if code != 200:
        writer.close()
        raise _refusal(code, refusal)
    return LogStream(reader, writer)


def silent(node: str) -> ServerError:
    """The node process is not there."""
    return ServerError(
        f"node {node} does not answer: its node process is not running: see tensorfusion status, and start the cluster "
        "with --run-processes"
    )


def _refusal(code: int, body: bytes) -> ApiError:
    try:
        status: Raw = msgspec.json.decode(body, type=dict)
    except msgspec.MsgspecError:
        status = {}
    message, reason = str(status.get("message") or "the node refused"), str(status.get("reason") or "")
    return api_error_class(code, reason)(message, code=code, reason=reason or None)
