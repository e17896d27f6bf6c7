"""Watches: replay from the window, order, scopes, Gone, and slow subscribers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tensorfusion.embedded.store import EventKind, HistoryLimits, ObjectKey, Store, StoreEvent
from tensorfusion.errors import Gone
from tensorfusion.testing.records import pod, record_maker, value_of


async def write(store: Store, key: ObjectKey, value: str = "") -> int:
    current = store.latest(key)
    expected = current.revision if current else 0
    return (await store.put(key, expected=expected, make=record_maker(key, value))).revision


async def remove(store: Store, key: ObjectKey) -> int:
    current = store.latest(key)
    assert current is not None
    return (await store.remove(key, expected=current.revision, make=record_maker(key, "last"))).revision


def told(events: Sequence[StoreEvent]) -> list[tuple[str, str, str | None, str | None]]:
    return [
        (event.kind.value, event.record.key.name, value_of(event.record), value_of(event.previous)) for event in events
    ]


async def test_a_watch_tells_kind_new_and_previous_version_in_order(store: Store) -> None:
    watch = store.watch("pods", since=store.revision)
    await write(store, pod("a"), "1")
    await write(store, pod("a"), "2")
    await remove(store, pod("a"))
    events: list[StoreEvent] = []
    while len(events) < 3:
        events += await watch.next()
    assert told(events) == [
        ("ADDED", "a", "1", None),
        ("MODIFIED", "a", "2", "1"),
        ("DELETED", "a", "last", "2"),
    ]
    assert [event.revision for event in events] == [2, 3, 4]


async def test_a_watch_from_the_past_replays_only_what_came_behind_it(store: Store) -> None:
    await write(store, pod("a"))
    since = await write(store, pod("b"))
    await write(store, pod("c"))
    await write(store, pod("a"), "new")
    assert [event.record.key.name for event in await store.watch("pods", since=since).next()] == ["c", "a"]


async def test_a_watch_sees_its_resource_and_namespace_only(store: Store) -> None:
    everything = store.watch("", since=store.revision)
    pods = store.watch("pods", since=store.revision)
    here = store.watch("pods", namespace="here", since=store.revision)
    await write(store, pod("a", "here"))
    await write(store, pod("b", "there"))
    await write(store, ObjectKey("nodes", "", "n"))
    await write(store, pod("c", "here"))
    late = store.watch("pods", namespace="here", since=1)
    names = [[event.record.key.name for event in await watch.next()] for watch in (everything, pods, here, late)]
    assert names == [["a", "b", "n", "c"], ["a", "b", "c"], ["a", "c"], ["a", "c"]]


async def test_subscribers_share_one_event_object(store: Store) -> None:
    watches = [store.watch("pods", since=store.revision) for _ in range(3)]
    await write(store, pod("a"))
    first, *others = [(await watch.next())[0] for watch in watches]
    assert all(event is first for event in others)


async def test_watchers_hear_nothing_before_it_is_durable(store: Store) -> None:
    watch = store.watch("pods", since=store.revision)
    writing = asyncio.ensure_future(write(store, pod("a")))
    event = (await watch.next())[0]
    assert store.get(pod("a")) == event.record
    await writing


async def test_waiting_with_a_timeout_loses_no_event(store: Store) -> None:
    watch = store.watch("pods", since=store.revision)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await watch.next()
    await write(store, pod("a"))
    assert len(await watch.next()) == 1


async def test_a_bookmark_never_runs_ahead_of_what_was_handed_out(store: Store) -> None:
    watch = store.watch("pods", since=store.revision)
    first = await write(store, pod("a"))
    assert watch.revision < first
    await watch.next()
    assert watch.revision == first
    other = await write(store, ObjectKey("nodes", "", "n"))
    assert watch.revision == other


async def test_what_fell_out_of_the_window_is_gone(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(events=3)) as store:
        revisions = [await write(store, pod("a"), str(number)) for number in range(6)]
        assert store.compacted == revisions[2]
        assert len(await store.watch("pods", since=revisions[2]).next()) == 3
        with pytest.raises(Gone, match=f"too old resource version: {revisions[1]} \\({revisions[2]}\\)"):
            store.watch("pods", since=revisions[1])


async def test_the_window_is_bounded_by_the_bytes_of_replaced_versions(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(bytes=100_000)) as store:
        for number in range(50):
            await write(store, pod(f"p{number}"), "x" * 10_000)
        assert store.compacted == 1  # current versions cost the window nothing
        for number in range(50):
            await write(store, pod(f"p{number}"), "y" * 10_000)
        kept = store.revision - store.compacted
        assert 5 <= kept <= 10


async def test_a_revision_that_never_was_is_gone_too(store: Store) -> None:
    with pytest.raises(Gone, match="too large resource version: 99, current: 1"):
        store.watch("pods", since=99)


async def test_a_slow_watcher_is_closed_with_gone_and_the_others_go_on(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(subscriber_events=4)) as store:
        slow, quick = store.watch("pods", since=1), store.watch("pods", since=1)
        seen: list[StoreEvent] = []
        for number in range(6):
            await write(store, pod(f"p{number}"))
            seen += await quick.next()
        assert len(seen) == 6
        with pytest.raises(Gone, match="more than 4 events behind"):
            await slow.next()


async def test_a_watcher_that_keeps_too_many_bytes_alive_is_closed(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(subscriber_bytes=100_000)) as store:
        slow = store.watch("pods", since=1)
        for _ in range(3):
            await write(store, pod("a"), "x" * 40_000)
        assert len(await slow.next()) == 3
        for number in range(5):
            await write(store, pod("a"), str(number) + "x" * 40_000)
        with pytest.raises(Gone, match="behind"):
            await slow.next()


async def test_a_commit_that_is_larger_than_the_bound_closes_nobody(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(subscriber_events=4, subscriber_bytes=1_000)) as store:
        watch = store.watch("pods", since=1)
        await asyncio.gather(*(write(store, pod(f"p{number}"), "x" * 1_000) for number in range(20)))
        assert len(await watch.next()) == 20


async def test_what_others_do_counts_for_a_watcher_that_does_not_read_its_own(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(subscriber_events=4)) as store:
        slow, idle = store.watch("pods", since=1), store.watch("pods", namespace="empty", since=1)
        await write(store, pod("a"))
        assert store.lag == 1
        for number in range(5):
            await write(store, ObjectKey("nodes", "", f"n{number}"))
        with pytest.raises(Gone):
            await slow.next()
        assert store.lag == 0
        assert not idle.closed


async def test_a_watcher_gets_what_was_committed_meanwhile_in_order_and_once(store: Store) -> None:
    watch = store.watch("pods", since=store.revision)
    revisions = [await write(store, pod(f"p{number}")) for number in range(2_500)]
    sizes, seen = [], []
    while len(seen) < len(revisions):
        batch = await watch.next()
        sizes.append(len(batch))
        seen += [event.revision for event in batch]
    assert seen == revisions
    assert max(sizes) <= 1_000


async def test_a_poked_watch_returns_empty_once_and_loses_nothing(store: Store) -> None:
    watch = store.watch("pods", since=store.revision)
    watch.poke()
    assert await watch.next() == []
    await write(store, pod("a"))
    watch.poke()
    assert len(await watch.next()) == 1
    assert await watch.next() == []
    assert not watch.closed


async def test_a_long_replay_does_not_count_as_being_slow(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(subscriber_events=2)) as store:
        for number in range(5):
            await write(store, pod(f"p{number}"))
        watch = store.watch("pods", since=1)
        await write(store, pod("last"))
        assert len(await watch.next()) == 6


async def test_closing_a_watch_or_the_store_ends_the_iteration(path: Path) -> None:
    store = Store.open(path)
    watch, other = store.watch("pods", since=1), store.watch("pods", since=1)

    async def follow() -> list[EventKind]:
        return [event.kind async for batch in watch for event in batch]

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        await write(store, pod("a"))
        other.close()
        assert await other.next() == []
        await asyncio.sleep(0)
        await store.close()
    assert following.result() == [EventKind.ADDED]


async def test_after_a_restart_a_watch_from_the_last_revision_goes_on_and_an_older_one_is_gone(path: Path) -> None:
    async with Store.open(path) as store:
        before = await write(store, pod("a"))
        last = await write(store, pod("b"))
    async with Store.open(path) as store:
        watch = store.watch("pods", since=last)
        await write(store, pod("c"))
        assert [event.record.key.name for event in await watch.next()] == ["c"]
        with pytest.raises(Gone):
            store.watch("pods", since=before)
