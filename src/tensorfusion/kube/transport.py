"""HTTP to one API server: a pooled session, errors as ``ApiError``, and retries of what is safe to repeat.

Repeated, at most twice and after a jittered pause: a request that never reached the server (connection refused, as
while the server restarts), a GET whose answer broke off, any request that the server put off with 429 and Retry-After
(it was not carried out), and a request after a 401 when the token file has a new token. Everything else goes up: only
the caller knows whether doing it again is right. A broken write has an unknown fate and says so by its reason.

Answers are asked for without compression: next to the server, decompressing costs more than it saves.
"""

import asyncio
import io
import random
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import aiohttp
from yarl import URL

from tensorfusion import __version__
from tensorfusion.errors import ApiError, ServerError, TooManyRequests, Unauthorized
from tensorfusion.kube.codec import status_error
from tensorfusion.kube.config import Connection
from tensorfusion.kube.credentials import TokenSource, tls_context
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter

JSON: Final = "application/json"
LEAN: Final = "application/json;managedFields=omit"
"""JSON without managed fields, which nothing here reads. A server that cannot leave them out sends them."""
UNSENT: Final = "ConnectionFailed"
"""Reason of a ``ServerError``: the request never reached the server."""
BROKEN: Final = "ConnectionBroken"
"""Reason of a ``ServerError``: no (whole) answer came; the request may or may not have been carried out."""

log = get_logger(__name__)

RETRIES = counter("tensorfusion_api_retries_total", "Requests sent again by the client.", ("reason",))

_POOL = 64
_CONNECT_TIMEOUT = 10.0
_WATCH_SILENCE = 120.0
"""Seconds without a byte (bookmarks come every minute) after which a watch is taken for dead."""
_READ_BUFFER = 1 << 18
_ATTEMPTS = 3
_FIRST_PAUSE = 0.1
_LONGEST_PUT_OFF = 5
_LARGE_BODY = 1 << 19
"""Bytes beyond which a body is handed to the library as a file, which it sends in parts."""
_TOKEN_SECONDS = 1.0
"""How long a token is used without a look at its file; one that the server refuses is looked up at once."""
_UNIX = "unix://"


class Transport:
    """Bytes to and from one API server, from one event loop. Open before the first request."""

    def __init__(self, connection: Connection, *, user_agent: str, timeout: float) -> None:
        self._connection = connection
        self._agent = f"{user_agent}/{__version__}"
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_TIMEOUT)
        self._tokens = TokenSource(connection)
        self._token: str | None = None
        self._token_read = float("-inf")
        self._base = "http://localhost" if connection.server.startswith(_UNIX) else connection.server
        # watches hold a connection each for minutes, so the bound is on requests, not on connections
        self._gate = asyncio.Semaphore(_POOL)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session.

        Raises:
            ConfigError: certificates that cannot be used.
        """
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            headers={"User-Agent": self._agent},
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding",),
            read_bufsize=_READ_BUFFER,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            connector = self._session.connector
            if connector is not None:
                await connector.close(abort_ssl=True)  # a TLS goodbye that nobody waits for outlives the event loop
            await self._session.close()
            self._session = None

    def _connector(self) -> aiohttp.BaseConnector:
        server = self._connection.server
        if server.startswith(_UNIX):
            return aiohttp.UnixConnector(path=server.removeprefix(_UNIX), limit=0, keepalive_timeout=60)
        tls = tls_context(self._connection) if server.startswith("https://") else True
        return aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=60)

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, content_type: str = JSON, accept: str = LEAN
    ) -> bytes:
        """Send a request; the answer's body.

        Raises:
            ApiError: the server refused, failed or could not be reached.
        """
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        attempt = 0
        while True:
            attempt += 1
            authorization = self._authorize(headers)
            try:
                return await self._once(method, path, body, headers)
            except ApiError as error:
                reason, pause = self._again(method, error, authorization)
                if pause is None or attempt == _ATTEMPTS:
                    raise
                RETRIES.labels(reason).inc()
            await asyncio.sleep(pause * attempt * random.uniform(0.5, 1.0))

    async def stream(self, path: str) -> AsyncGenerator[bytes, None]:
        """Bytes of a watch as they arrive; ends when the server ends it.

        Raises:
            ApiError: the server refused.
            ServerError: the connection broke, or was silent for too long.
        """
        headers = {"Accept": LEAN}
        self._authorize(headers)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=_WATCH_SILENCE)
        try:
            async with self._send("GET", path, headers=headers, timeout=timeout) as answer:
                if answer.status != 200:
                    raise status_error(answer.status, await answer.read())
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise ServerError(f"GET {_short(path)}: the watch broke: {why}", code=503, reason=BROKEN) from error

    async def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        try:
            async with self._gate, self._send(method, path, headers=headers, body=body) as answer:
                content = await answer.read()
                log.trace("request", method=method, path=path, status=answer.status, bytes=len(content))
                if answer.status < 300:
                    return content
                raise status_error(answer.status, content, retry_after=answer.headers.get("Retry-After"))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            text = f"{method} {_short(path)}: {self._connection.server} cannot be reached: {error}"
            raise ServerError(text, code=503, reason=UNSENT) from error
        except TimeoutError as error:
            text = f"{method} {_short(path)}: no answer within {self._timeout.total} s"
            raise ServerError(text, code=504, reason=BROKEN) from error
        except (aiohttp.ClientError, OSError) as error:
            text = f"{method} {_short(path)}: the connection broke: {error or type(error).__name__}"
            raise ServerError(text, code=503, reason=BROKEN) from error

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("the client is used outside its async context")
        return self._session.request(
            method,
            URL(self._base + path, encoded=True),
            data=io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body,
            headers=headers,
            timeout=timeout or self._timeout,
            allow_redirects=False,
            server_hostname=self._connection.server_name,
        )

    def _authorize(self, headers: dict[str, str]) -> str | None:
        now = time.monotonic()
        if now - self._token_read >= _TOKEN_SECONDS:
            self._token, self._token_read = self._tokens.header(), now
        if self._token is not None:
            headers["Authorization"] = self._token
        return self._token

    def _again(self, method: str, error: ApiError, authorization: str | None) -> tuple[str, float | None]:
        """Why and after which pause a failed request is sent again; no pause means never."""
        if isinstance(error, TooManyRequests) and error.retry_after is not None:
            return "put-off", float(error.retry_after) if error.retry_after <= _LONGEST_PUT_OFF else None
        if isinstance(error, Unauthorized):
            self._token = self._tokens.header()
            return "token", 0.0 if self._token != authorization else None
        if error.status_reason == UNSENT:
            return "unsent", _FIRST_PAUSE
        if error.status_reason == BROKEN and method == "GET":
            return "broken", _FIRST_PAUSE
        return "", None


def _short(path: str) -> str:
    """A path for an error text: without its query."""
    return path.partition("?")[0]
