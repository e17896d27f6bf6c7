"""A worker's side of ``wire.workers``: serve from the listener that was handed down, and end when told to, or when
nobody is left to tell.
"""

import asyncio
import signal
import socket
import ssl

from tensorfusion.wire.server import Server


async def work(
    server: Server, listener: int, lifeline: int, *, drain_seconds: float, tls: ssl.SSLContext | None = None
) -> None:
    """Serve until SIGTERM, SIGINT or the supervisor's end, then drain.

    ``listener`` and ``lifeline`` are descriptors that ``Workers`` handed down.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's business
    with socket.socket(fileno=lifeline) as line:
        line.setblocking(False)
        await server.listen_on(socket.socket(fileno=listener), tls=tls)
        line.send(b"r")
        loop.add_reader(line, told.set)  # nothing is ever sent: it is the end
        await told.wait()
        loop.remove_reader(line)
        await server.drain(drain_seconds)
