"""Counters on a clock that the test moves, and counters of a file that a test's processes share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tensorfusion.gateway.limits.page import Page
from tensorfusion.gateway.limits.rules import Charge, rule_of
from tensorfusion.gateway.limits.table import Table
from tensorfusion.model.llm_route import RateLimit

SECOND = 1_000_000_000


class Ticking:
    """A clock in nanoseconds."""

    def __init__(self) -> None:
        self.ns = 1000 * SECOND

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)


def charge(subject: str = "k", *, rpm: int = 0, tpm: int = 0, concurrent: int = 0, burst: int = 0) -> Charge:
    limit = RateLimit(requests_per_minute=rpm, tokens_per_minute=tpm, max_concurrent=concurrent, burst=burst)
    rule = rule_of("rule", limit)
    assert rule is not None
    return Charge(rule, subject)


Open = Callable[..., Table]


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


@pytest.fixture
def open_table(tmp_path: Path, ticking: Ticking) -> Iterator[Open]:
    """Tables of one file: each call is another worker."""
    tables: list[Table] = []

    def make(records: int = 256, wait_seconds: float = 0.25) -> Table:
        page = Page(tmp_path / "limits", records=records, clock=ticking, wait_seconds=wait_seconds)
        tables.append(Table(page))
        return tables[-1]

    yield make
    for table in tables:
        if table.page._fd >= 0:
            table.page.close()
