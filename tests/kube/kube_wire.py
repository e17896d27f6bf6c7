"""A scripted HTTP server on loopback, for what an API server does wrong on the wire."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from tensorfusion.kube.client import Client
from tensorfusion.kube.config import Connection

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Script:
    """Answers requests in turn; the last answer repeats. ``seen`` are (method, path with query, headers, body)."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.path_qs, dict(request.headers), body))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return await answer(request)


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(text=text, status=status, headers=headers, content_type="application/json")

    return answer


def status(code: int, reason: str, message: str = "no", **details: Any) -> Answer:
    return reply({"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}, code)


def cut_off() -> Answer:
    """The connection closes without an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    return answer


def stream(*chunks: bytes, abort: bool = False) -> Answer:
    """A chunked answer; ``abort`` closes the connection before its end."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if abort:
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write_eof()
        return response

    return answer


@contextlib.asynccontextmanager
async def serving(script: Answer, *, tls: ssl.SSLContext | None = None, path: str = "") -> AsyncIterator[str]:
    """Serve on a free port, or a Unix socket; the server's address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await script(request)

    application = web.Application(client_max_size=16 << 20)
    application.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    if path:
        await web.UnixSite(runner, path).start()
        address = f"unix://{path}"
    else:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield address
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def client_of(script: Answer, *, timeout: float = 5.0, **connection: Any) -> AsyncIterator[Client]:
    async with serving(script) as address, Client(Connection(address, **connection), timeout=timeout) as client:
        yield client
