"""What a server takes from those who connect before it says no."""

from dataclasses import dataclass
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
