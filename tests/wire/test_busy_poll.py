"""Looking for what comes next instead of sleeping."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from tensorfusion.wire import busy_poll
from tensorfusion.wire.busy_poll import RUN, BusyPoll
from tensorfusion.wire.server import Server


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


def test_no_round_sleeps_for_a_while_once_things_come_at_once(clock: list[float]) -> None:
    rounds = Rounds()
    polling = BusyPoll(cast("asyncio.AbstractEventLoop", rounds), 0.5)
    stirred(polling, clock, *[0.1] * RUN)
    assert not rounds.due  # the first wait was none
    stirred(polling, clock, 0.1)
    rounds.take()
    clock[0] += 0.2
    rounds.take()
    assert len(rounds.due) == 1  # however often something came
    stirred(polling, clock, 0.1)
    clock[0] += 0.4
    rounds.take()
    assert rounds.due
    clock[0] += 0.1
    rounds.take()
    assert not rounds.due
    stirred(polling, clock, 0.0)
    assert len(rounds.due) == 1


def test_a_long_wait_ends_it_until_there_were_enough_short_ones_again(clock: list[float]) -> None:
    rounds = Rounds()
    polling = BusyPoll(cast("asyncio.AbstractEventLoop", rounds), 0.5)
    for _ in range(3):
        stirred(polling, clock, 0.6, *[0.5] * (RUN - 1))
        assert not rounds.due
    stirred(polling, clock, 0.4)
    assert rounds.due


def test_a_server_polls_only_where_it_is_told_to() -> None:
    async def made(**more: float) -> bool:
        async def handle(request: object, reply: object) -> None: ...

        return Server(handle, **more).busy_poll is not None

    assert not asyncio.run(made())
    assert asyncio.run(made(busy_poll_seconds=0.001))
