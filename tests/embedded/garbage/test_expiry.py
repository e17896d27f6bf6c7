"""Events go an hour after they were last written, and nothing else does."""

from typing import Any

import pytest

from tensorfusion.embedded import expiry as module
from tensorfusion.embedded.expiry import KEPT_SECONDS, PASS_SECONDS, EventExpiry
from tensorfusion.embedded.store import EventKind
from tensorfusion.testing.clock import VirtualClock

ABOUT: dict[str, Any] = {
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    "reason": "Scheduled",
    "message": "said",
    "type": "Normal",
}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def expiry(server: Any, clock: VirtualClock) -> EventExpiry:
    return EventExpiry(server.store, server.operations.kinds, clock=clock)


async def passes(expiry: EventExpiry, clock: VirtualClock, seconds: float) -> None:
    """As ``run`` would look within that time."""
    for _ in range(int(seconds // PASS_SECONDS)):
        await clock.advance(PASS_SECONDS)
        await expiry.look()


async def test_an_event_goes_an_hour_after_it_was_written(
    server: Any, expiry: EventExpiry, clock: VirtualClock
) -> None:
    await expiry.look()
    await server.create("events", "first", **ABOUT)
    await passes(expiry, clock, KEPT_SECONDS - PASS_SECONDS)
    await server.create("events", "second", **ABOUT)
    assert server.names("events") == ["first", "second"]
    await passes(expiry, clock, 2 * PASS_SECONDS)
    assert server.names("events") == ["second"]
    await passes(expiry, clock, KEPT_SECONDS)
    assert server.names("events") == []


async def test_an_event_that_happens_again_stays_another_hour(
    server: Any, expiry: EventExpiry, clock: VirtualClock
) -> None:
    await server.create("events", "again", **ABOUT)
    await passes(expiry, clock, KEPT_SECONDS / 2)
    await server.edit("events", "again", lambda obj: obj.update(message="once more"))
    await passes(expiry, clock, KEPT_SECONDS)
    assert server.names("events") == ["again"]
    await passes(expiry, clock, 2 * PASS_SECONDS)
    assert server.names("events") == []


async def test_other_objects_stay_and_watchers_are_told_of_each_event_that_goes(
    server: Any, expiry: EventExpiry, clock: VirtualClock
) -> None:
    for number in range(150):
        await server.create("events", f"e{number:03}", **ABOUT)
    await server.create("configmaps", "stays")
    watch = server.store.watch("events", since=server.store.revision)
    await passes(expiry, clock, 3 * KEPT_SECONDS)
    assert server.names("events") == []
    assert server.names() == ["stays"]
    told = await watch.next()
    assert [event.kind for event in told] == [EventKind.DELETED] * len(told)
    assert f'"resourceVersion":"{told[0].revision}"'.encode() in told[0].record.data
    watch.close()


async def test_of_too_many_events_the_ones_written_last_stay(
    server: Any, expiry: EventExpiry, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    for number in range(14):
        await server.create("events", f"e{number:02}", **ABOUT)
    await server.edit("events", "e00", lambda obj: obj.update(message="once more"))
    await expiry.look()
    assert server.names("events") == ["e00", *(f"e{number:02}" for number in range(5, 14))]


async def test_what_was_there_before_a_restart_goes_an_hour_later(server: Any, clock: VirtualClock) -> None:
    await server.create("events", "old", **ABOUT)
    expiry = EventExpiry(server.store, server.operations.kinds, clock=clock)
    await expiry.look()
    await passes(expiry, clock, KEPT_SECONDS - PASS_SECONDS)
    assert server.names("events") == ["old"]
    await passes(expiry, clock, PASS_SECONDS)
    assert server.names("events") == []
