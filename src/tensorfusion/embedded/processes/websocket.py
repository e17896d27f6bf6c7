"""The server's side of WebSocket: handshake, frames, pings. No extensions.

Apart from a library because it is small, and because everything here is one connection between our own API process and
us; what the frames carry is in ``remote`` and ``spdy``.

Source: RFC 6455.
"""

import asyncio
import base64
import binascii
import hashlib
import struct
from collections.abc import AsyncIterator

from tensorfusion.errors import BadRequest

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_LONGEST = 16 << 20
_LONGEST_CONTROL = 125
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009


def accept_key(key: str) -> str:
    """What the server answers to a client's ``Sec-WebSocket-Key``.

    Raises:
        BadRequest: it is no key.
    """
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise BadRequest("Sec-WebSocket-Key: wanted 16 bytes in base64")
    except (binascii.Error, ValueError) as error:
        raise BadRequest("Sec-WebSocket-Key: wanted 16 bytes in base64") from error
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


class WebSocket:
    """A connection after its handshake. One task reads, any may send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closing = False

    async def messages(self) -> AsyncIterator[bytes]:
        """Whole messages, texts as UTF-8 bytes, until the connection ends. Pings are answered on the way."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                final, kind, payload = await self._frame()
                if kind == _PING:
                    await self._send(_PONG, payload)
                elif kind == _CLOSE:
                    await self.close(NORMAL)
                    return
                elif kind in (_TEXT, _BINARY, _CONTINUATION):
                    if (kind == _CONTINUATION) is not bool(parts):
                        raise _ProtocolError(PROTOCOL_ERROR)
                    parts.append(payload)
                    size += len(payload)
                    if size > _LONGEST:
                        raise _ProtocolError(TOO_BIG)
                    if final:
                        message, parts, size = b"".join(parts), [], 0
                        yield message
                elif kind != _PONG:
                    raise _ProtocolError(PROTOCOL_ERROR)
        except _ProtocolError as error:
            await self.close(error.code)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def send(self, payload: bytes) -> None:
        """Send a binary message; a connection that is gone loses it."""
        await self._send(_BINARY, payload)

    async def close(self, code: int = NORMAL) -> None:
        """Say goodbye; reading ends when the client answers."""
        if not self._closing:
            await self._send(_CLOSE, struct.pack(">H", code))
            self._closing = True

    async def _send(self, kind: int, payload: bytes) -> None:
        if self._closing:
            return
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | kind, length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", 0x80 | kind, 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, 127, length)
        try:
            self._writer.write(head + payload)
            await self._writer.drain()
        except ConnectionError:
            self._closing = True

    async def _frame(self) -> tuple[bool, int, bytes]:
        first, second = await self._reader.readexactly(2)
        kind, length = first & 0x0F, second & 0x7F
        if first & 0x70 or not second & 0x80:
            raise _ProtocolError(PROTOCOL_ERROR)  # extensions were not agreed on; clients mask
        if kind >= _CLOSE and (length > _LONGEST_CONTROL or not first & 0x80):
            raise _ProtocolError(PROTOCOL_ERROR)
        if length == 126:
            (length,) = struct.unpack(">H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
        if length > _LONGEST:
            raise _ProtocolError(TOO_BIG)
        mask = await self._reader.readexactly(4)
        return bool(first & 0x80), kind, _unmasked(await self._reader.readexactly(length), mask)


class _ProtocolError(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """XOR with the mask, as one large number."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
