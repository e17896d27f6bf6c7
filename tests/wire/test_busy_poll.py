"""Looking for what comes next instead of sleeping."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from tensorfusion.wire import busy_poll
from tensorfusion.wire.busy_poll import BusyPoll
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


def test_no_round_sleeps_for_a_while_behind_each_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr(busy_poll, "monotonic", lambda: now)
    rounds = Rounds()
    polling = BusyPoll(cast("asyncio.AbstractEventLoop", rounds), 0.5)
    for _ in range(3):
        polling.stir()
    rounds.take()
    now = 10.2
    rounds.take()
    assert len(rounds.due) == 1  # however often something came
    polling.stir()
    now = 10.6
    rounds.take()
    assert rounds.due
    now = 10.7
    rounds.take()
    assert not rounds.due
    polling.stir()
    assert len(rounds.due) == 1


def test_a_server_polls_only_where_it_is_told_to() -> None:
    async def made(**more: float) -> bool:
        async def handle(request: object, reply: object) -> None: ...

        return Server(handle, **more).busy_poll is not None

    assert not asyncio.run(made())
    assert asyncio.run(made(busy_poll_seconds=0.001))
