"""HTTP to one API server: pooled connections, errors as ``ApiError``, and retries of what is safe to repeat.

Repeated, at most twice and after a jittered pause: a request that never reached the server (connection refused, as
while the server restarts), a GET whose answer broke off, any request that the server put off with 429 and Retry-After
(it was not carried out), and a request after a 401 when the token file has a new token. Everything else goes up: only
the caller knows whether doing it again is right. A broken write has an unknown fate and says so by its reason.

Answers are asked for without compression: next to the server, decompressing costs more than it saves.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from tensorfusion import __version__
from tensorfusion.errors import ApiError, ConfigError, ServerError, TooManyRequests, Unauthorized
from tensorfusion.kube.codec import status_error
from tensorfusion.kube.config import Connection
from tensorfusion.kube.credentials import TokenSource, tls_context
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter
from tensorfusion.wire.errors import NotReached, WireError
from tensorfusion.wire.messages import Origin, origin_of
from tensorfusion.wire.pool import Pool

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
_WATCH_SILENCE = 120.0
"""Seconds without a byte (bookmarks come every minute) after which a watch is taken for dead."""
_ATTEMPTS = 3
_FIRST_PAUSE = 0.1
_LONGEST_PUT_OFF = 5
_TOKEN_SECONDS = 1.0
"""How long a token is used without a look at its file; one that the server refuses is looked up at once."""


class Transport:
    """Bytes to and from one API server, from one event loop. Open before the first request."""

    def __init__(self, connection: Connection, *, user_agent: str, timeout: float) -> None:
        self._connection = connection
        self._agent = f"{user_agent}/{__version__}"
        self._timeout = timeout
        self._tokens = TokenSource(connection)
        self._token: str | None = None
        self._token_read = float("-inf")
        # watches hold a connection each for minutes, so the bound is on requests, not on connections
        self._gate = asyncio.Semaphore(_POOL)
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Be ready for requests; none is sent.

        Raises:
            ConfigError: an address or certificates that cannot be used.
        """
        self._pool = Pool(self._origin())

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def _origin(self) -> Origin:
        server = self._connection.server
        tls = tls_context(self._connection) if server.startswith("https://") else None
        try:
            return origin_of(server, tls=tls, server_name=self._connection.server_name)
        except ValueError as error:
            raise ConfigError(f"server: {error}") from error

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, content_type: str = JSON, accept: str = LEAN
    ) -> bytes:
        """Send a request; the answer's body.

        Raises:
            ApiError: the server refused, failed or could not be reached.
        """
        fields = {"Accept": accept, "User-Agent": self._agent}
        if body is not None:
            fields["Content-Type"] = content_type
        attempt = 0
        while True:
            attempt += 1
            authorization = self._authorize(fields)
            try:
                return await self._once(method, path, body, fields)
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
        fields = {"Accept": LEAN, "User-Agent": self._agent}
        self._authorize(fields)
        try:
            async with self._open_pool().stream(
                "GET", path, fields=fields, seconds=_WATCH_SILENCE, silence=_WATCH_SILENCE
            ) as answer:
                if answer.status != 200:
                    content = b""
                    while chunk := await answer.read():
                        content += chunk
                    raise status_error(answer.status, content)
                while chunk := await answer.read():
                    yield chunk
        except (WireError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise ServerError(f"GET {_short(path)}: the watch broke: {why}", code=503, reason=BROKEN) from error

    async def _once(self, method: str, path: str, body: bytes | None, fields: Mapping[str, str]) -> bytes:
        try:
            async with self._gate:
                answer = await self._open_pool().request(method, path, fields=fields, body=body, seconds=self._timeout)
        except NotReached as error:
            text = f"{method} {_short(path)}: {self._connection.server} cannot be reached: {error}"
            raise ServerError(text, code=503, reason=UNSENT) from error
        except TimeoutError as error:
            text = f"{method} {_short(path)}: no answer within {self._timeout:g} s"
            raise ServerError(text, code=504, reason=BROKEN) from error
        except ValueError as error:
            raise ConfigError(f"{self._connection.server}: {error}") from error
        except WireError as error:
            text = f"{method} {_short(path)}: the connection broke: {error}"
            raise ServerError(text, code=503, reason=BROKEN) from error
        log.trace("request", method=method, path=path, status=answer.status, bytes=len(answer.body))
        if answer.status < 300:
            return answer.body
        raise status_error(answer.status, answer.body, retry_after=answer.field(b"retry-after"))

    def _open_pool(self) -> Pool:
        if self._pool is None:
            raise RuntimeError("the client is used outside its async context")
        return self._pool

    def _authorize(self, fields: dict[str, str]) -> str | None:
        now = time.monotonic()
        if now - self._token_read >= _TOKEN_SECONDS:
            self._token, self._token_read = self._tokens.header(), now
        if self._token is not None:
            fields["Authorization"] = self._token
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
