"""Who asks: the ways in which GreptimeDB's clients say it, and accounts of our own that answer.

Of a secret only its SHA-256 is held, and digests are compared in constant time. Accounts are for machines: a component
that writes, a dashboard that reads. Whoever composes the listener may put its own check in their place (``Authorize``).

Source: GreptimeDB HTTP API (Basic, also as x-greptime-auth) and InfluxDB line protocol (``token USER:PASSWORD``, u and
p); the bearer token is ours.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from starlette.requests import Request

from tensorfusion.errors import Forbidden, Unauthorized


class Access(StrEnum):
    """What a request does."""

    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or a bearer token (then ``user`` is empty)."""

    user: str
    secret: str


Authorize: TypeAlias = Callable[[Credentials, Access], Awaitable[None]]
"""Raises the ``ApiError`` that the sender gets: Unauthorized or Forbidden."""


def digest_of(secret: str) -> bytes:
    """What is kept of a secret. Secrets are random and long, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class Account:
    """One machine's account."""

    user: str
    digest: bytes
    access: frozenset[Access]


class Accounts:
    """A fixed set of them."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._accounts = tuple(accounts)

    async def check(self, credentials: Credentials, access: Access) -> None:
        """An ``Authorize``.

        Raises:
            Unauthorized: no account has this secret, under this name.
            Forbidden: it has not this access.
        """
        digest = digest_of(credentials.secret)
        found = None
        for account in self._accounts:  # all of them: the time must not tell which one was near
            same = hmac.compare_digest(account.digest, digest)
            if same and credentials.user in ("", account.user):
                found = account
        if found is None:
            raise Unauthorized("metrics store: wanted a known user and password, or bearer token, found another")
        if access not in found.access:
            raise Forbidden(f"metrics store: user {found.user} may not {access}")


def credentials_of(request: Request) -> Credentials:
    """What a request says of its sender.

    Raises:
        Unauthorized: nothing, or nothing that can be read.
    """
    header = request.headers.get("x-greptime-auth") or request.headers.get("authorization")
    if header is None:
        query = request.query_params
        if request.url.path.startswith("/v1/influxdb/") and "u" in query and "p" in query:
            return Credentials(query["u"], query["p"])
        raise Unauthorized("metrics store: wanted `Authorization: Bearer TOKEN` or Basic USER:PASSWORD, found nothing")
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "bearer" if value:
            return Credentials("", value)
        case "basic":
            return _pair(_decoded(value))
        case "token":
            return _pair(value) if ":" in value else Credentials("", value)
    raise Unauthorized(f"metrics store: wanted Bearer, Basic or Token in Authorization, found {scheme[:20]!r}")


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthorized("metrics store: wanted Basic with USER:PASSWORD in base64, found another") from error


def _pair(text: str) -> Credentials:
    user, colon, secret = text.partition(":")
    if not (user and colon):
        raise Unauthorized("metrics store: wanted USER:PASSWORD, found no user")
    return Credentials(user, secret)
