"""The requests that a simulated model server has seen, and how each ended: so that a test can prove who was asked what,
that a request was cancelled, and how many tokens it was worth.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec

from tensorfusion.wire.fields import Fields

_SECRET: Final = (b"authorization", b"x-api-key", b"api-key", b"cookie", b"proxy-authorization")


class End(StrEnum):
    """How a request ended."""

    RUNNING = "running"
    WHOLE = "whole"
    """The answer, or a refusal, was sent."""
    BROKEN = "broken"
    """By a fault."""
    LEFT = "left"
    """The client went away."""


@dataclass(slots=True)
class Seen:
    """One request. Times are in seconds of the server's clock since it began."""

    number: int
    """From 1."""
    method: str
    path: str
    fields: Fields
    body_bytes: int
    body_sha256: str
    at: float
    model: str = ""
    stream: bool = False
    fault: str = ""
    status: int = 0
    """0 until an answer has begun."""
    prompt_tokens: int = 0
    tokens: int = 0
    """Of the answer, as far as it was produced."""
    first_at: float | None = None
    """When the first token was."""
    ended_at: float | None = None
    end: End = End.RUNNING

    @property
    def left(self) -> bool:
        """The client went away before all was sent."""
        return self.end is End.LEFT

    @property
    def headers(self) -> dict[str, str]:
        """By names in lower case, without credentials; repeated ones in one."""
        found: dict[str, str] = {}
        for name, value in self.fields:
            key = name.lower()
            if key not in _SECRET:
                text = value.decode("latin-1")
                spelled = key.decode("latin-1")
                found[spelled] = f"{found[spelled]}, {text}" if spelled in found else text
        return found

    @property
    def credential(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the key that was shown: enough to tell two apart."""
        for name, value in self.fields:
            if name.lower() in _SECRET[:3]:
                return digest(value.removeprefix(b"Bearer "))
        return ""

    def spelled(self) -> dict[str, object]:
        """For JSON."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "credential": self.credential,
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_sha256,
            "model": self.model,
            "stream": self.stream,
            "fault": self.fault,
            "status": self.status,
            "prompt_tokens": self.prompt_tokens,
            "tokens": self.tokens,
            "at": self.at,
            "first_at": self.first_at,
            "ended_at": self.ended_at,
            "end": str(self.end),
            "left": self.left,
        }


class Log:
    """The latest of them, oldest first."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Seen] = deque(maxlen=most)
        self._number = 0

    def add(self, method: str, path: str, fields: Fields, body: bytes, *, at: float) -> Seen:
        self._number += 1
        found = Seen(self._number, method, path, fields, len(body), sha256(body).hexdigest(), at)
        self._kept.append(found)
        return found

    def __len__(self) -> int:
        return len(self._kept)

    def since(self, number: int = 0) -> list[Seen]:
        """Those behind that number."""
        return [seen for seen in self._kept if seen.number > number]

    def clear(self) -> None:
        """Forget them; numbers go on."""
        self._kept.clear()

    def spelled(self, number: int = 0, *, faults: bool = False) -> bytes:
        """For JSON; with ``faults`` only those that met one."""
        found = [seen.spelled() for seen in self.since(number) if seen.fault or not faults]
        return msgspec.json.encode({"seen": found})


def digest(key: bytes) -> str:
    """What is told of a key."""
    return sha256(key).hexdigest()[:12]
