"""The state of the embedded API: durable writes, committed reads, watches and pinned lists.

How a write goes. ``put`` checks the expected revision against the newest *accepted* version, takes the next revision,
lets the caller build the record, and queues it. One worker thread commits everything that queued up during the commit
before (group commit). Only when that is on disk does the event loop put the records into the tables, hand the events
to the watchers and resolve the writers, in revision order. So nobody but the next write ever sees what is not durable.

If a commit fails, every write accepted so far fails with it, also those still queued: they were computed from state
that has just ceased to exist, if only from the existence of their namespace. The tables were never touched, so there
is nothing to undo, and the next write tries the disk anew.

Everything here runs on one event loop; only ``StoreFile.commit``, ``tidy`` and ``backup`` run elsewhere. There is at
most one commit under way, so the worker shares no mutable state with the loop.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from tensorfusion.embedded.store_backup import restore_file
from tensorfusion.embedded.store_file import Loaded, Renew, Row, StoreFile
from tensorfusion.embedded.store_history import History, HistoryLimits
from tensorfusion.embedded.store_records import EventKind, ObjectKey, Page, Record, RevisionMismatch, StoreEvent
from tensorfusion.embedded.store_subscriptions import Subscription
from tensorfusion.embedded.store_tables import Tables
from tensorfusion.errors import Gone, StoreUnwritable
from tensorfusion.telemetry.logs import get_logger

__all__ = [
    "EventKind",
    "HistoryLimits",
    "ObjectKey",
    "Page",
    "Record",
    "RevisionMismatch",
    "Store",
    "StoreEvent",
    "Subscription",
]

log = get_logger(__name__)

_TIDY_PAUSE = 0.01
"""Seconds between two steps of giving space back, for writers to come in."""

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)


class Log(Protocol):
    """Where commits become durable; the seam at which tests make a disk fail."""

    @property
    def reserved(self) -> int: ...

    @property
    def due(self) -> bool: ...

    def commit(self, rows: Sequence[Row], last: int) -> None: ...

    def tidy(self) -> None: ...

    def backup(self, target: Path) -> None: ...

    def close(self, last: int) -> None: ...


class _Write(NamedTuple):
    event: StoreEvent
    done: asyncio.Future[Record]


class _Plan(NamedTuple):
    rows: list[Row]
    taken: list[int]  # slots that were free before


class Store:
    """One opened store. Use ``Store.open``; close it with ``await close()`` or ``async with``."""

    def __init__(self, log: Log, loaded: Loaded, *, history: HistoryLimits) -> None:
        self._log = log
        self._tables = Tables()
        for record in loaded.records:
            self._tables.put(record, None)
        self._slots = loaded.slots
        self._free = loaded.free
        self._slot_count = len(loaded.slots) + len(loaded.free)
        self._history = History(history, compacted=loaded.floor, revision=loaded.revision)
        self._allocated = loaded.revision
        self._ahead: dict[ObjectKey, StoreEvent] = {}  # the newest accepted write of each object, while not durable
        self._queued: list[_Write] = []
        self._committing = False
        self._flush_scheduled = False
        self._tidying = False
        self._listeners: list[Callable[[Sequence[StoreEvent]], None]] = []
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-commit")
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, history: HistoryLimits | None = None, renew: Renew | None = None) -> "Store":
        """Open the store in ``path`` (a file), creating it where it is missing.

        A store of an older format is brought up to this one first; ``renew`` says what its records are now.

        Raises:
            StoreLocked, StoreTooNew, StoreCorrupt, ConfigError: each says which file and what to do next.
        """
        file = StoreFile.open(path, renew)
        try:
            return cls(file, file.load(), history=history or HistoryLimits())
        except BaseException:
            file.abandon()
            raise

    @staticmethod
    def restore(path: Path, backup: Path) -> None:
        """Replace a store that is not open by a backup; see ``restore_file``."""
        restore_file(path, backup)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was accepted, end all watches, fold the WAL in and release the lock."""
        if self._closed:
            return
        self._closed = True
        await self._quiet.wait()
        self._history.close()
        await asyncio.get_running_loop().run_in_executor(self._worker, self._log.close, self._allocated)
        self._worker.shutdown()

    async def backup(self, target: Path) -> None:
        """Write a consistent copy of the committed state while writes go on. Raises StoreError."""
        await asyncio.to_thread(self._log.backup, target)

    # --- reading ---

    @property
    def closed(self) -> bool:
        """Whether it is shut, or shutting: it takes no writes any more."""
        return self._closed

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        return self._history.revision

    @property
    def compacted(self) -> int:
        """The oldest revision that a watch or a pinned list can start from."""
        return self._history.compacted

    def get(self, key: ObjectKey) -> Record | None:
        """The committed version."""
        return self._tables.get(key)

    def latest(self, key: ObjectKey) -> Record | None:
        """The newest accepted version, maybe not durable yet: only for computing the next write."""
        ahead = self._ahead.get(key)
        if ahead is None:
            return self._tables.get(key)
        return None if ahead.kind is EventKind.DELETED else ahead.record

    def scan(self, resource: str, namespace: str = "") -> Iterator[Record]:
        """Committed records by namespace and name; a fixed copy, so writes may go on meanwhile."""
        return self._tables.scan(resource, namespace)

    def count(self, resource: str, namespace: str = "") -> int:
        return self._tables.count(resource, namespace)

    def resources(self) -> list[str]:
        """Ids of all resources that have objects."""
        return self._tables.resources()

    def by_owner(self, uid: str) -> tuple[ObjectKey, ...]:
        """Committed objects that name this uid in their owner references."""
        return self._tables.by_owner(uid)

    def owners(self) -> list[str]:
        """Every uid that committed objects name as an owner, existing or not."""
        return self._tables.owners()

    def page(
        self,
        resource: str,
        *,
        namespace: str = "",
        limit: int = 0,
        after_key: ObjectKey | None = None,
        at_revision: int = 0,
        keep: Callable[[Record], bool] | None = None,
    ) -> Page:
        """Up to ``limit`` records (0 = all) behind ``after_key``, as of ``at_revision`` (0 = now).

        The next page is asked for with ``after_key=page.last, at_revision=page.revision``. Writes in between do not
        show: what changed since is taken back with the history window. ``keep`` selects, and ``limit`` counts what it
        lets through.

        Raises:
            Gone: the window no longer reaches back to ``at_revision``.
        """
        revision = at_revision or self.revision
        overrides = {}
        if revision != self.revision:
            if revision < self.compacted:
                raise Gone(_CONTINUE_EXPIRED)
            self._history.check(revision)
            overrides = self._history.overrides(resource, revision)
        return self._tables.page(
            resource,
            namespace=namespace,
            limit=limit,
            after=after_key,
            overrides=overrides,
            revision=revision,
            keep=keep,
        )

    def watch(self, resource: str, *, namespace: str = "", since: int) -> Subscription:
        """Every event behind ``since``, in revision order. ``resource == ""`` watches everything.

        Raises:
            Gone: ``since`` is before ``compacted`` or was never reached.
        """
        return self._history.subscribe(resource, namespace, since)

    @property
    def lag(self) -> int:
        """How many events the slowest watch is behind; what it still has to see is kept for it."""
        return self._history.lag

    def on_commit(self, listener: Callable[[Sequence[StoreEvent]], None]) -> None:
        """Call ``listener`` with every commit's events, after reads show them and before their writers are answered.

        For indexes that must be right when the reply goes out. It runs on the event loop: it must be quick and not
        raise; an error is logged and the commit goes on.
        """
        self._listeners.append(listener)

    # --- writing ---

    async def put(self, key: ObjectKey, *, expected: int, make: Callable[[int], Record]) -> Record:
        """Create (``expected=0``) or replace an object; returns once it is on disk.

        ``make`` gets the revision of the write and returns the record. It is called at once, before any await, so what
        the caller read from ``latest`` just before still holds.

        Raises:
            RevisionMismatch: the object is not at ``expected``; carries what is there.
            StoreUnwritable: the disk refused; nothing changed.
        """
        return await self._accept(key, expected, make, removal=False)

    async def remove(self, key: ObjectKey, *, expected: int, make: Callable[[int], Record]) -> Record:
        """Remove an object; ``make`` returns its final version, at the revision of the removal. See ``put``."""
        return await self._accept(key, expected, make, removal=True)

    async def _accept(self, key: ObjectKey, expected: int, make: Callable[[int], Record], *, removal: bool) -> Record:
        if self._allocated >= self._log.reserved:
            self._schedule_flush()  # renews the reservation, with or without writes
            raise StoreUnwritable(f"{key}: too many writes wait for the disk; retry in a moment")
        if self._closed:
            raise StoreUnwritable(f"{key}: the store is closing; retry when the server is back")
        current = self.latest(key)
        if (current.revision if current is not None else 0) != expected:
            raise RevisionMismatch(key, expected, current)
        self._allocated = revision = self._allocated + 1
        record = make(revision)
        if record.revision != revision or record.key != key:
            raise ValueError(f"{key} at revision {revision}: the record built for it is {record.key} {record.revision}")
        if removal:
            event = StoreEvent(EventKind.DELETED, record, current)
        else:
            event = StoreEvent(EventKind.ADDED if current is None else EventKind.MODIFIED, record, current)
        self._ahead[key] = event
        done: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._queued.append(_Write(event, done))
        self._schedule_flush()
        return await done

    def _schedule_flush(self) -> None:
        """Commit at the end of this turn of the loop, so that writes of the same turn share one commit."""
        if not self._flush_scheduled and not self._committing:
            self._flush_scheduled = True
            self._quiet.clear()
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Hand everything queued to the worker; no commit is under way now."""
        self._flush_scheduled = False
        self._committing = True
        batch, self._queued = self._queued, []
        plan = self._plan(batch)
        loop = asyncio.get_running_loop()

        def settle(result: Future[None]) -> None:
            self._committing = False
            error = result.exception()
            if error is None:
                self._apply(batch, plan)
                self._tidy()
            else:
                self._fail(batch, plan, error)
            if self._queued:
                self._schedule_flush()
            else:
                self._quiet.set()

        commit = self._worker.submit(self._log.commit, plan.rows, self._allocated)
        commit.add_done_callback(lambda result: loop.call_soon_threadsafe(settle, result))

    def _tidy(self) -> None:
        """Let the worker give space back behind the answers. A step may delay the next commit by some milliseconds."""
        if self._tidying or self._closed or not self._log.due:
            return
        self._tidying = True
        loop = asyncio.get_running_loop()

        def settle(_: Future[None]) -> None:
            self._tidying = False
            loop.call_later(_TIDY_PAUSE, self._tidy)

        step = self._worker.submit(self._log.tidy)
        step.add_done_callback(lambda done: loop.call_soon_threadsafe(settle, done))

    def _plan(self, batch: Sequence[_Write]) -> _Plan:
        """Which slot each key's last version goes to. An object that comes and goes still leaves its revision."""
        newest = {write.event.record.key: write.event for write in batch}
        plan = _Plan([], [])
        for key, event in newest.items():
            slot = self._slots.get(key)
            if slot is None:
                slot = self._take_slot()
                plan.taken.append(slot)
            plan.rows.append((slot, event.revision, None if event.kind is EventKind.DELETED else event.record, key))
        return plan

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        self._slot_count += 1
        return self._slot_count

    def _apply(self, batch: Sequence[_Write], plan: _Plan) -> None:
        """The batch is on disk: show it to readers and watchers, then answer its writers."""
        if not batch:
            return
        for slot, _, record, key in plan.rows:
            if record is not None:
                self._slots[key] = slot
            else:
                self._slots.pop(key, None)
                self._free.append(slot)
        tables, ahead = self._tables, self._ahead
        for event, _ in batch:
            record = event.record
            key = record.key
            if event.kind is EventKind.DELETED:
                tables.drop(key, event.previous)
            else:
                tables.put(record, event.previous)
            if ahead.get(key) is event:
                del ahead[key]
        events = [write.event for write in batch]
        self._history.extend(events)
        for listener in self._listeners:
            try:
                listener(events)
            except Exception:  # one listener's fault must not leave the writers of the batch waiting
                log.exception("commit listener failed", revision=events[-1].revision)
        for event, done in batch:
            if not done.done():
                done.set_result(event.record)

    def _fail(self, batch: Sequence[_Write], plan: _Plan, error: BaseException) -> None:
        """The batch is not on disk: it fails, and everything accepted on top of it."""
        self._free += plan.taken
        failed = [*batch, *self._queued]
        self._queued = []
        self._ahead.clear()
        for event, done in failed:
            if not done.done():
                failure = StoreUnwritable(f"{event.record.key}: {error}")
                failure.__cause__ = error
                done.set_exception(failure)
