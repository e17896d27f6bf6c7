"""Looking for what comes next instead of sleeping."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from tensorfusion.wire import busy_poll
from tensorfusion.wire.busy_poll import STREAK_SECONDS, BusyPoll
from tensorfusion.wire.server import Server

BOUND = 2**-12
"""Seconds, so that sums of it are exact."""
SEVERAL = int(STREAK_SECONDS / BOUND) + 2
"""Waits that are as long as they may be, and the first, which is none."""


class Rounds:
    """A loop of which each round is taken by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_soon(self, what: Callable[[], None]) -> None:
        self.due.append(what)

    def take(self) -> None:
        due, self.due = self.due, []
        for what in due:
            what()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [10.0]
    monkeypatch.setattr(busy_poll, "monotonic", lambda: now[0])
    return now


def stirred(polling: BusyPoll, clock: list[float], *waits: float) -> None:
    for wait in waits:
        clock[0] += wait
        polling.stir()


def test_no_round_sleeps_for_a_while_once_things_keep_coming(clock: list[float]) -> None:
    rounds = Rounds()
    polling = BusyPoll(cast("asyncio.AbstractEventLoop", rounds), BOUND)
    stirred(polling, clock, *[BOUND] * (SEVERAL - 1))
    assert not rounds.due
    stirred(polling, clock, BOUND)
    stirred(polling, clock, 0.0)
    rounds.take()
    clock[0] += BOUND * 0.5
    rounds.take()
    assert len(rounds.due) == 1  # however often something came
    stirred(polling, clock, 0.0)
    clock[0] += BOUND * 0.9
    rounds.take()
    assert rounds.due
    clock[0] += BOUND * 0.2
    rounds.take()
    assert not rounds.due
    stirred(polling, clock, -BOUND * 0.5)
    assert len(rounds.due) == 1


def test_a_long_wait_ends_it_until_things_have_kept_coming_again(clock: list[float]) -> None:
    rounds = Rounds()
    polling = BusyPoll(cast("asyncio.AbstractEventLoop", rounds), BOUND)
    for _ in range(3):
        stirred(polling, clock, BOUND * 2, *[BOUND] * (SEVERAL - 2))
        assert not rounds.due
    stirred(polling, clock, *[BOUND] * 2)
    assert rounds.due


def test_what_comes_all_at_once_is_not_followed_by_looking(clock: list[float]) -> None:
    rounds = Rounds()
    polling = BusyPoll(cast("asyncio.AbstractEventLoop", rounds), BOUND)
    for _ in range(5):
        stirred(polling, clock, 0.02, *[STREAK_SECONDS / 100] * 99)
    assert not rounds.due


def test_a_server_polls_only_where_it_is_told_to() -> None:
    async def made(**more: float) -> bool:
        async def handle(request: object, reply: object) -> None: ...

        return Server(handle, **more).busy_poll is not None

    assert not asyncio.run(made())
    assert asyncio.run(made(busy_poll_seconds=0.001))
