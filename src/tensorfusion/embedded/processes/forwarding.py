"""Port forwarding: connections of a client to ports of a pod.

A pod's ports are those on which its own programs listen, at whatever address; nothing else of this machine is reached.

Source: the port forwarding protocols ``portforward.k8s.io`` (SPDY) and ``v4.channel.k8s.io`` (WebSocket).
"""

import asyncio
import contextlib
import errno
import os
import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tensorfusion.embedded.processes.spdy import Link, Spdy, Stream
from tensorfusion.embedded.processes.websocket import WebSocket

_CHUNK = 30 << 10

Find: TypeAlias = Callable[[int], Sequence[str]]
"""The addresses at which the pod listens on a port."""


async def forward_spdy(link: Link, find: Find) -> None:
    """Serve pairs of data and error streams until the client leaves."""
    waiting: dict[str, dict[str, Stream]] = {}
    async with asyncio.TaskGroup() as group:

        async def opened(stream: Stream) -> None:
            request = stream.headers.get("requestid", "")
            pair = waiting.setdefault(request, {})
            pair[stream.headers.get("streamtype", "")] = stream
            if pair.keys() >= {"data", "error"}:
                del waiting[request]
                tasks.append(group.create_task(_forward(connection, pair["data"], pair["error"], find)))

        tasks: list[asyncio.Task[None]] = []
        connection = Spdy(link, opened)
        await connection.run()
        for task in tasks:
            task.cancel()


async def forward_channels(socket: WebSocket, ports: Sequence[int], find: Find) -> None:
    """Serve two channels for each port: data, and an error that ends it."""
    writers: dict[int, asyncio.StreamWriter] = {}
    pumps: list[asyncio.Task[None]] = []
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send(bytes((channel,)) + struct.pack("<H", port))
        try:
            reader, writers[2 * index] = await _connect(find, port)
        except OSError as error:
            await socket.send(bytes((2 * index + 1,)) + _refused(port, error))
            continue
        pumps.append(asyncio.create_task(_to_channel(reader, socket, 2 * index)))
    closer = asyncio.create_task(_close_after(pumps, socket))
    try:
        async for message in socket.messages():
            writer = writers.get(message[0]) if message else None
            if writer is not None and len(message) > 1:
                with contextlib.suppress(ConnectionError):
                    writer.write(message[1:])
                    await writer.drain()
    finally:
        for task in (*pumps, closer):
            task.cancel()
        await asyncio.gather(*pumps, closer, return_exceptions=True)
        for writer in writers.values():
            writer.close()


async def _close_after(pumps: Sequence[asyncio.Task[None]], socket: WebSocket) -> None:
    """Nothing comes out of any port any more, or never did."""
    if pumps:
        await asyncio.wait(pumps)
    await socket.close()


async def _to_channel(reader: asyncio.StreamReader, socket: WebSocket, channel: int) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            await socket.send(bytes((channel,)) + chunk)


async def _forward(connection: Spdy, data: Stream, error: Stream, find: Find) -> None:
    """One connection from its opening to its end."""
    port = data.headers.get("port", "")
    try:
        if not (port.isdecimal() and 0 < int(port) < 65536):
            await error.send(f"port: wanted 1 to 65535, found {port[:32]!r}".encode())
            return
        try:
            reader, writer = await _connect(find, int(port))
        except OSError as problem:
            await error.send(_refused(int(port), problem))
            return
        outward = asyncio.create_task(_to_program(data, writer))
        try:
            while chunk := await reader.read(_CHUNK):
                await data.send(chunk)
        except ConnectionError:
            pass
        finally:
            outward.cancel()
            await asyncio.gather(outward, return_exceptions=True)
            writer.close()
    finally:
        await data.end()
        await error.end()
        connection.forget(data)
        connection.forget(error)


async def _to_program(data: Stream, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        async for chunk in data.chunks():
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


async def _connect(find: Find, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    problem = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    for address in await asyncio.to_thread(find, port):
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            problem = error
    raise problem


def _refused(port: int, error: OSError) -> bytes:
    return f"error forwarding port {port}: {error.strerror or error}: does the pod listen on it?".encode()
