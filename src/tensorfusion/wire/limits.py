"""What a server takes from those who connect before it says no."""

import contextlib
import resource
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, counts and seconds. Every one is a bound on what a client can hold here without being heard."""

    most_connections: int = 10_000
    """Further ones are answered 503 and closed, unless one that has been idle for a while can make room."""
    most_requests: int = 100_000
    """Of one connection; the answer to the last says that it closes."""
    most_head: int = 32 << 10
    """Bytes of request line and fields: 414 or 431 beyond."""
    most_fields: int = 128
    """431 beyond."""
    head_seconds: float = 10.0
    """From the first byte of a request (the first of a connection: from connecting) to the end of its head: 408."""
    idle_seconds: float = 75.0
    """Between two requests; then it closes without a word."""
    body_seconds: float = 20.0
    """Until the whole body is there, and a second more for every ``body_rate`` bytes: 408."""
    body_rate: int = 512
    """Bytes a second."""
    unread_seconds: float = 60.0
    """In which a client has to take a part of its answer once the buffers are full, or it is given up ..."""
    unread_rate: int = 512
    """... namely so many bytes for each of these seconds."""
    high_water: int = 128 << 10
    """Bytes of an answer that wait for the client before whoever writes it has to wait."""


LIMITS: Final = Limits()
_BESIDE: Final = 128
"""Descriptors for everything but connections."""
_EACH: Final = 2
"""Descriptors for a client: its own, and that of a server that is asked for it."""


def fitting(limits: Limits = LIMITS) -> Limits:
    """The limits with no more connections than this process has descriptors for.

    It is given as many as it needs, if the system lets it have them: many are started with 1024. Who comes beyond its
    limit is told so, or makes an idle one go; who comes when there is no descriptor is cut off without a word, and no
    server can be reached for anybody.
    """
    wanted = limits.most_connections * _EACH + _BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    return replace(limits, most_connections=max((soft - _BESIDE) // _EACH, 1))
