"""Keys for the tests: records of known texts."""

from collections.abc import Callable
from typing import Any

import pytest

from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.gateway.keys.secret import digest_of
from tensorfusion.model.llm_key import LLMKeySpec
from tensorfusion.testing.clock import VirtualClock

Make = Callable[..., KeyRecord]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def book(clock: VirtualClock) -> KeyBook:
    return KeyBook(clock)


@pytest.fixture
def make() -> Make:
    """A record by the text of its key and the fields of its spec."""

    def record(text: str, name: str = "app", namespace: str = "red", created_at: Any = None, **spec: Any) -> KeyRecord:
        return record_of(
            LLMKeySpec(hash=digest_of(text.encode()).hex(), **spec),
            name=name,
            namespace=namespace,
            at="spec",
            created_at=created_at,
        )

    return record
