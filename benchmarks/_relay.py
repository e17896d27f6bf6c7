"""A relay that knows nothing: each arrival goes on as it came. What the way through any process costs at least.

python _relay.py PORT        # of whom it stands in front; tells its own on standard output
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Inner(asyncio.Protocol):
    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)


class _Outer(asyncio.Protocol):
    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting: list[bytes] = []
        self._there: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connecting = asyncio.ensure_future(self._connect(cast("asyncio.Transport", transport)))

    def data_received(self, data: bytes) -> None:
        if self._there is None:
            self._waiting.append(data)
        else:
            self._there.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._there is not None:
            self._there.close()

    async def _connect(self, client: asyncio.Transport) -> None:
        made = await asyncio.get_running_loop().create_connection(lambda: _Inner(client), "127.0.0.1", self._port)
        self._there = made[0]
        self._there.writelines(self._waiting)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Outer(port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
