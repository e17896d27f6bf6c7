"""Optimistic concurrency, revisions, and who sees a write when."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tensorfusion.embedded.store import EventKind, HistoryLimits, RevisionMismatch, Store, StoreEvent
from tensorfusion.embedded.store_file import Row, StoreFile
from tensorfusion.errors import StoreUnwritable
from tensorfusion.testing.records import pod, record_maker, value_of


async def test_a_write_returns_the_record_at_its_revision(store: Store) -> None:
    record = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "one"))
    assert (record.revision, store.revision, value_of(store.get(pod("a")))) == (2, 2, "one")


async def test_revisions_grow_by_one_over_all_resources_and_removals(store: Store) -> None:
    first = await store.put(pod("a"), expected=0, make=record_maker(pod("a")))
    other = pod("b", "elsewhere")._replace(resource="configmaps")
    second = await store.put(other, expected=0, make=record_maker(other))
    third = await store.remove(pod("a"), expected=first.revision, make=record_maker(pod("a")))
    assert [first.revision, second.revision, third.revision, store.revision] == [2, 3, 4, 4]
    assert store.get(pod("a")) is None


async def test_creating_what_exists_tells_the_writer_what_is_there(store: Store) -> None:
    there = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "first"))
    with pytest.raises(RevisionMismatch, match="wanted no such object, found revision 2") as caught:
        await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "second"))
    assert caught.value.current == there


async def test_writing_over_an_unseen_change_is_refused_and_changes_nothing(store: Store) -> None:
    old = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "1"))
    new = await store.put(pod("a"), expected=old.revision, make=record_maker(pod("a"), "2"))
    for write in (store.put, store.remove):
        with pytest.raises(RevisionMismatch) as caught:
            await write(pod("a"), expected=old.revision, make=record_maker(pod("a"), "3"))
        assert caught.value.current == new
    assert store.get(pod("a")) == new
    assert store.revision == new.revision


async def test_removing_what_does_not_exist_is_a_mismatch(store: Store) -> None:
    with pytest.raises(RevisionMismatch, match="found no such object"):
        await store.remove(pod("a"), expected=7, make=record_maker(pod("a")))


async def test_the_next_write_builds_on_an_accepted_one_that_readers_cannot_see_yet(store: Store) -> None:
    first = asyncio.ensure_future(store.put(pod("a"), expected=0, make=record_maker(pod("a"), "1")))
    await asyncio.sleep(0)  # accepted, its commit not even begun
    accepted = store.latest(pod("a"))
    assert value_of(accepted) == "1"
    assert store.get(pod("a")) is None
    assert list(store.scan("pods")) == []
    assert accepted is not None
    second = await store.put(pod("a"), expected=accepted.revision, make=record_maker(pod("a"), "2"))
    assert first.done()
    assert (await first).revision < second.revision
    assert value_of(store.get(pod("a"))) == "2"


async def test_an_accepted_removal_hides_the_object_from_the_next_writer_only(store: Store) -> None:
    record = await store.put(pod("a"), expected=0, make=record_maker(pod("a")))
    removal = asyncio.ensure_future(store.remove(pod("a"), expected=record.revision, make=record_maker(pod("a"))))
    await asyncio.sleep(0)
    assert store.latest(pod("a")) is None
    assert store.get(pod("a")) == record
    again = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "again"))
    assert (await removal).revision == again.revision - 1
    assert value_of(store.latest(pod("a"))) == "again"


class HeldLog:
    """A file whose commits wait until they are let go."""

    def __init__(self, file: StoreFile) -> None:
        self.file = file
        self.go = threading.Event()
        self.go.set()

    @property
    def reserved(self) -> int:
        return self.file.reserved

    @property
    def due(self) -> bool:
        return self.file.due

    def tidy(self) -> None:
        self.file.tidy()

    def commit(self, rows: Sequence[Row], last: int) -> None:
        assert self.go.wait(20)
        self.file.commit(rows, last)

    def backup(self, target: Path) -> None:
        self.file.backup(target)

    def close(self, last: int) -> None:
        self.file.close(last)


async def test_a_removal_that_waits_stays_hidden_while_an_earlier_one_of_the_same_object_is_committed(
    path: Path,
) -> None:
    log = HeldLog(StoreFile.open(path))
    seen: list[object] = []
    async with Store(log, log.file.load(), history=HistoryLimits()) as store:
        first = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "first"))
        log.go.clear()
        writes = [asyncio.ensure_future(store.remove(pod("a"), expected=first.revision, make=record_maker(pod("a"))))]
        writes.append(asyncio.ensure_future(store.put(pod("a"), expected=0, make=record_maker(pod("a"), "second"))))
        await asyncio.sleep(0.01)  # both are in one commit, which is under way
        second = store.latest(pod("a"))
        assert second is not None
        writes.append(
            asyncio.ensure_future(store.remove(pod("a"), expected=second.revision, make=record_maker(pod("a"))))
        )
        await asyncio.sleep(0)
        store.on_commit(lambda events: seen.append(store.latest(pod("a"))))
        log.go.set()
        await asyncio.gather(*writes)
    assert seen == [None, None]


async def test_writers_are_answered_in_revision_order(store: Store) -> None:
    answered: list[int] = []

    async def write(name: str) -> None:
        answered.append((await store.put(pod(name), expected=0, make=record_maker(pod(name)))).revision)

    await asyncio.gather(*(write(f"p{number}") for number in range(300)))
    assert answered == list(range(2, 302))


async def test_a_writer_that_goes_away_does_not_take_its_write_or_the_batch_with_it(store: Store) -> None:
    leaving = asyncio.ensure_future(store.put(pod("a"), expected=0, make=record_maker(pod("a"))))
    staying = asyncio.ensure_future(store.put(pod("b"), expected=0, make=record_maker(pod("b"))))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert store.get(pod("a")) is not None


async def test_a_record_that_cannot_be_built_leaves_no_trace(store: Store) -> None:
    def broken(revision: int) -> None:
        raise RuntimeError("no record")

    with pytest.raises(RuntimeError, match="no record"):
        await store.put(pod("a"), expected=0, make=broken)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the record built for it"):
        await store.put(pod("a"), expected=0, make=record_maker(pod("b")))
    assert store.latest(pod("a")) is None
    record = await store.put(pod("a"), expected=0, make=record_maker(pod("a")))
    assert store.get(pod("a")) == record


async def test_commit_listeners_see_the_new_state_before_the_writer_is_answered(store: Store) -> None:
    heard: list[tuple[EventKind, bool]] = []
    writing: list[asyncio.Future[object]] = []

    def listen(events: Sequence[StoreEvent]) -> None:
        assert not writing[0].done()
        heard.extend((event.kind, store.get(event.record.key) == event.record) for event in events)
        raise RuntimeError("a listener's fault is not the writer's")

    store.on_commit(listen)
    writing.append(asyncio.ensure_future(store.put(pod("a"), expected=0, make=record_maker(pod("a")))))
    await writing[0]
    assert heard == [(EventKind.ADDED, True)]


async def test_the_owner_index_follows_changes_of_the_references(store: Store) -> None:
    record = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), owners=("x", "y")))
    await store.put(pod("b"), expected=0, make=record_maker(pod("b"), owners=("x",)))
    assert store.by_owner("x") == (pod("a"), pod("b"))
    record = await store.put(pod("a"), expected=record.revision, make=record_maker(pod("a"), owners=("y", "z")))
    assert (store.by_owner("x"), store.by_owner("y"), store.by_owner("z")) == ((pod("b"),), (pod("a"),), (pod("a"),))
    await store.remove(pod("a"), expected=record.revision, make=record_maker(pod("a"), owners=("y", "z")))
    assert store.by_owner("y") == ()
    assert store.owners() == ["x"]


async def test_closing_finishes_what_was_accepted_and_refuses_the_rest(path: Path) -> None:
    store = Store.open(path)
    accepted = asyncio.ensure_future(store.put(pod("a"), expected=0, make=record_maker(pod("a"), "kept")))
    await asyncio.sleep(0)
    await store.close()
    assert (await accepted).revision == 2
    with pytest.raises(StoreUnwritable, match="closing"):
        await store.put(pod("b"), expected=0, make=record_maker(pod("b")))
    async with Store.open(path) as reopened:
        assert value_of(reopened.get(pod("a"))) == "kept"
