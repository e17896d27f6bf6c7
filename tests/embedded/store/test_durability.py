"""The store against a model: writes in batches, failing disks, restarts and crashes in any order."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from example_counts import part_of
from tensorfusion.embedded import store_space
from tensorfusion.embedded.store import HistoryLimits, ObjectKey, Record, RevisionMismatch, Store, StoreEvent
from tensorfusion.embedded.store_file import Row, StoreFile
from tensorfusion.errors import StoreUnwritable
from tensorfusion.testing.records import pod, record_maker

KEYS = [pod(name, namespace) for namespace in ("m", "n") for name in "abc"] + [ObjectKey("nodes", "", "x")]
OWNERS = st.lists(st.sampled_from(["o1", "o2"]), unique=True)


class FlakyLog:
    """A file that can be told to fail its next commits."""

    def __init__(self, file: StoreFile) -> None:
        self.file = file
        self.failures = 0

    @property
    def reserved(self) -> int:
        return self.file.reserved

    @property
    def due(self) -> bool:
        return self.file.due

    def tidy(self) -> None:
        self.file.tidy()

    def commit(self, rows: Sequence[Row], last: int) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnwritable("the disk is full")
        self.file.commit(rows, last)

    def backup(self, target: Path) -> None:
        self.file.backup(target)

    def close(self, last: int) -> None:
        self.file.close(last)


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.generation = 0
        self.path = Path(self.folder.name) / "store-0.db"
        self.runner = asyncio.Runner()
        self.model: dict[ObjectKey, Record] = {}
        self.used: set[int] = {1}  # every revision ever handed to a writer
        self.acknowledged = 1
        self.open()

    def open(self) -> None:
        self.log = FlakyLog(StoreFile.open(self.path))
        self.store = Store(self.log, self.log.file.load(), history=HistoryLimits())
        self.watch = self.store.watch("", since=self.acknowledged)
        self.heard: list[StoreEvent] = []
        self.told = dict(self.model)

    async def write(self, key: ObjectKey, value: str, owners: Sequence[str], *, remove: bool) -> tuple[bool, Record]:
        """One write on top of the newest accepted version; what does not exist is created instead of removed."""
        current = self.store.latest(key)
        remove = remove and current is not None
        build = record_maker(key, value, owners=owners)

        def make(revision: int) -> Record:
            assert revision not in self.used, "a revision was handed out twice"
            assert revision > max(self.used)
            self.used.add(revision)
            return build(revision)

        operation = self.store.remove if remove else self.store.put
        expected = current.revision if current else 0
        return remove, await operation(key, expected=expected, make=make)

    @rule(
        writes=st.lists(
            st.tuples(st.sampled_from(KEYS), st.text(max_size=3), OWNERS, st.booleans()), min_size=1, max_size=12
        ),
        failures=st.sampled_from([0, 0, 0, 1, 2]),
        wait_after=st.integers(0, 12),
    )
    def write_many(self, writes: list[tuple[ObjectKey, str, list[str], bool]], failures: int, wait_after: int) -> None:
        """Some writes go into one commit, the rest queue up behind it."""

        async def run() -> None:
            self.log.failures = failures
            pending: list[asyncio.Future[tuple[bool, Record]]] = []
            for number, (key, value, owners, remove) in enumerate(writes):
                pending.append(asyncio.ensure_future(self.write(key, value, owners, remove=remove)))
                await asyncio.sleep(0)  # accepted, so that the next one sees it
                if number == wait_after:
                    await asyncio.wait([pending[0]])
            for outcome in await asyncio.gather(*pending, return_exceptions=True):
                if isinstance(outcome, StoreUnwritable):
                    continue
                assert isinstance(outcome, tuple), outcome
                removed, record = outcome
                self.acknowledged = max(self.acknowledged, record.revision)
                if removed:
                    del self.model[record.key]
                else:
                    self.model[record.key] = record
            self.log.failures = 0

        self.runner.run(run())

    @rule(key=st.sampled_from(KEYS), off=st.integers(1, 3))
    def write_on_the_wrong_revision(self, key: ObjectKey, off: int) -> None:
        current = self.store.latest(key)
        expected = (current.revision if current else 0) + off
        try:
            self.runner.run(self.store.put(key, expected=expected, make=record_maker(key)))
        except RevisionMismatch as error:
            assert error.current == current
        else:
            raise AssertionError("a write on the wrong revision went through")

    @rule(steps=st.integers(1, 4))
    def tidy(self, steps: int) -> None:
        """Rows are written anew and pages given back, as between the commits of a store that has much to give."""
        with mock.patch.multiple(store_space, _FEW_PAGES=0, _SPARSE=0.0, _REWRITE_SLOTS=2):
            for _ in range(steps):
                self.runner.run(self.in_worker(self.log.tidy))

    async def in_worker(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self.store._worker, work)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.open()

    @rule()
    def crash(self) -> None:
        """What a killed process leaves is what is on disk at that moment: go on from a copy of it."""
        self.generation += 1
        crashed = Path(self.folder.name) / f"store-{self.generation}.db"
        for suffix in ("", "-wal", ".mark"):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                shutil.copyfile(source, crashed.with_name(crashed.name + suffix))
        self.runner.run(self.store.close())
        self.path = crashed
        self.open()

    @invariant()
    def the_store_holds_exactly_the_acknowledged_writes(self) -> None:
        for key in KEYS:
            assert self.store.get(key) == self.model.get(key)
            assert self.store.latest(key) == self.model.get(key)
        for resource in ("pods", "nodes"):
            wanted = sorted(key for key in self.model if key.resource == resource)
            assert [record.key for record in self.store.scan(resource)] == wanted
        for uid in ("o1", "o2"):
            assert sorted(self.store.by_owner(uid)) == sorted(k for k, r in self.model.items() if uid in r.owners)

    @invariant()
    def no_revision_runs_behind(self) -> None:
        assert self.store.revision >= self.acknowledged

    @invariant()
    def a_watcher_that_applies_every_event_ends_at_the_same_state(self) -> None:
        async def drain() -> list[StoreEvent]:
            try:
                async with asyncio.timeout(0):
                    return await self.watch.next()
            except TimeoutError:
                return []

        for event in self.runner.run(drain()):
            assert not self.heard or self.heard[-1].revision < event.revision
            assert event.previous == self.told.get(event.record.key)
            self.heard.append(event)
            if event.kind == "DELETED":
                del self.told[event.record.key]
            else:
                self.told[event.record.key] = event.record
        assert self.told == self.model

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            self.runner.close()
            self.folder.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=part_of(60), stateful_step_count=15, deadline=None)
