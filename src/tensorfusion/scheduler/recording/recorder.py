"""Records what the scheduler of this process decides about, from when it begins to decide until it stops.

The loop notes; once a second the notes are turned into events and written, on a thread. So a process that is killed
loses the last second or two, and one whose machine loses power some ten. A disk that is full, slow or gone ends the
recording, with one line that says so; it never holds up a decision.

With several schedulers each records the pods that it serves, in a series of its own. What each of them knows of the
fleet is in all series, so that each can be read alone. Who comes to decide about a pool begins a segment with all pods
that are there then: from now on it tells how those end that the former owner placed, and who is not there is over.
"""

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Pod
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.pods import Pending, PodBook
from tensorfusion.scheduler.recording.events import Closed, Ending, Frame
from tensorfusion.scheduler.recording.notes import Note, Notebook, NotedState, Snapshot, Stage
from tensorfusion.scheduler.recording.pseudonyms import Pseudonyms
from tensorfusion.scheduler.recording.scribe import Scribe
from tensorfusion.scheduler.recording.segments import FullError, Journal, packed
from tensorfusion.scheduler.recording.surroundings import Surroundings
from tensorfusion.scheduler.waits import reason_of
from tensorfusion.scheduling.copies import facts_of
from tensorfusion.scheduling.profile import Profiles
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

WRITE_EVERY = 1.0
"""Seconds between two writes."""
BEGIN_EVERY = 0.25
"""Seconds between two looks whether it can begin."""
BEAT_EVERY = 10
"""Writes after which it is said that nothing happened."""
SYNC_EVERY = 10
"""Writes after which what was written has to survive a loss of power."""
LAST_WAIT = 5.0
"""Seconds that the end of the process waits for the disk."""
TOLD_AFTER = 60.0
"""Seconds after which it is told that the disk does not answer."""
DEFAULT_LIMIT = 256 << 20


Beside: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]


async def in_a_thread(work: Callable[[], None]) -> None:
    """Do it, which raises nothing, in a thread that the end of the process does not wait for as for the loop's own."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def tell() -> None:
        if not done.done():
            done.set_result(None)

    def run() -> None:
        try:
            work()
        finally:
            with suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(tell)

    threading.Thread(target=run, name="recording", daemon=True).start()
    await done


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Where to record, how many bytes in all, and whether things are called by their names.

    ``beside`` does what may block.
    """

    folder: Path
    limit: int = DEFAULT_LIMIT
    names: bool = False
    beside: Beside = in_a_thread


class Recorder:
    """``state`` is what the scheduler has to decide with, so that changes of the fleet are noted."""

    def __init__(self, options: RecordOptions, *, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._wall = int(clock.now().timestamp() * 1000)
        self._started = clock.monotonic()
        self._book_of_notes = Notebook(self._now)
        self.state = NotedState(self._book_of_notes)
        self.series = secrets.token_hex(4)
        self.failed = False
        """Nothing is recorded any more in this process."""
        self._stages: dict[str, Stage] = {}
        self._requests: dict[str, GpuRequest] = {}
        """What pods that have a place were said to hold."""
        self._pools: frozenset[str] = frozenset()
        """Those of several schedulers that are decided about here, when it was last looked."""
        self._work: asyncio.Future[None] | None = None

    def _now(self) -> int:
        """Milliseconds since 1970, which only grow."""
        return self._wall + int((self._clock.monotonic() - self._started) * 1000)

    def attach(
        self,
        around: Surroundings,
        book: PodBook,
        *,
        domains: Sequence[str],
        patience: float,
        cluster_wide: Callable[[], bool],
    ) -> None:
        """Make known whom to record. Before anything else."""
        self._around, self._book = around, book
        self._domains, self._patience, self._cluster_wide = domains, patience, cluster_wide
        self._held = self.state.allocations

    # --- noted in the loop ---

    def follow(self, old: Pod | None, new: Pod | None) -> None:
        """The watch brought another view of a pod, and the books have it already."""
        if not self._book_of_notes.open:
            return
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._end(old, gone=True)
        if new is None:
            return
        uid = new.metadata.uid
        stage = self._stages.get(uid)
        if new.finished:
            if stage is not None:
                self._end(new, gone=False)
            return
        held = self._held.get(uid)
        if held is None or not held.confirmed:
            if stage is None and (entry := self._book.queue.get(uid)) is not None and self._around.serves(new):
                self._stages[uid] = Stage.WAITING
                self._book_of_notes.add("arrived", uid, entry.facts, 0, False)
            return
        if stage is None:
            if not self._around.serves(new):
                return
            self._book_of_notes.add("arrived", uid, held.pod, 0, True)
            stage = Stage.WAITING
        request = held.pod.request
        if stage is Stage.WAITING:
            self._book_of_notes.add("bound", uid, held.placement)
            stage = self._stages[uid] = Stage.BOUND
            if request is not None:
                self._requests[uid] = request
        elif request is not None and (known := self._requests.get(uid)) is not request and known != request:
            self._requests[uid] = request
            self._book_of_notes.add("resized", uid, held.pod)
        if stage is Stage.BOUND and new.status.phase == "Running":
            self._stages[uid] = Stage.RUNNING
            self._book_of_notes.add("running", uid)

    def decided(self, pending: Pending, failure: NotFit | QuotaExceeded | None) -> None:
        """The first decision about a pod."""
        self._book_of_notes.add("decided", pending.uid, "" if failure is None else reason_of(failure))

    def configured(self, profiles: Profiles) -> None:
        self._book_of_notes.add("configured", profiles)

    def _end(self, pod: Pod, *, gone: bool) -> None:
        uid = pod.metadata.uid
        if self._stages.pop(uid, None) is not None:
            self._requests.pop(uid, None)
            self._book_of_notes.add("ended", uid, ending_of(pod, gone=gone))

    # --- beside the loop ---

    async def run(self) -> None:
        """Write until cancelled; then what is left."""
        writer = _Writer(self._options, self.series, price=self._around.price)
        try:
            while not self.failed:
                await self._clock.sleep(WRITE_EVERY if self._book_of_notes.open else BEGIN_EVERY)
                await self._turn(writer)
        finally:
            ending = asyncio.ensure_future(self._finish(writer))
            if not await self._is_done(ending, within=LAST_WAIT):
                ending.cancel()
                log.warning(
                    "recording ends without its last entries: the disk does not answer",
                    folder=str(self._options.folder),
                    seconds=LAST_WAIT,
                )
            self._book_of_notes.open = False

    async def _finish(self, writer: "_Writer") -> None:
        """Write what is left, after what is being written."""
        if self._work is not None and not self._work.done():
            await asyncio.wait([self._work])
        notes, now = [] if self.failed else self._book_of_notes.take(), self._now()

        def close() -> None:
            if not self.failed:
                self._guarded(lambda: writer.close(notes, now))
            writer.let_go()

        await self._options.beside(close)

    async def _is_done(self, work: asyncio.Future[None], *, within: float) -> bool:
        """Wait for it for so many seconds at most."""
        patience = asyncio.ensure_future(self._clock.sleep(within))
        try:
            await asyncio.wait([work, patience], return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()
        return work.done()

    async def _turn(self, writer: "_Writer") -> None:
        """Begin, go on, or stop, as the scheduler does."""
        notebook, now = self._book_of_notes, self._now()
        if notebook.overflowed:
            self._give_up(f"{len(notebook)} notes wait to be written: the disk does not keep up")
        elif not self._around.scheduler.deciding:
            if notebook.open:
                notebook.open = False
                notes = notebook.take()
                await self._beside(lambda: writer.close(notes, now))
        elif not notebook.open or self._has_won or writer.is_full:
            key = self._around.cluster_key()
            if not self._around.scheduler.synced or not key:
                return
            snapshot = self._snapshot(now, complete=not notebook.open or self._has_won)
            notes = notebook.take()
            notebook.open = True
            self._pools = frozenset(self._around.pools or ())
            await self._beside(lambda: writer.begin(notes, snapshot, now, key))
        else:
            self._pools &= frozenset(self._around.pools or ())
            notes = notebook.take()
            await self._beside(lambda: writer.write(notes, now))

    @property
    def _has_won(self) -> bool:
        """It is decided here about a pool that somebody else decided about before."""
        return not self._pools.issuperset(self._around.pools or ())

    async def _beside(self, work: Callable[[], None]) -> None:
        self._work = asyncio.ensure_future(self._options.beside(lambda: self._guarded(work)))
        if not await self._is_done(self._work, within=TOLD_AFTER):
            log.warning(
                "recording waits: the disk has not answered",
                folder=str(self._options.folder),
                seconds=TOLD_AFTER,
            )
        await asyncio.shield(self._work)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, FullError) as error:
            self._give_up(error.strerror if isinstance(error, OSError) and error.strerror else str(error))
        except Exception as error:
            log.exception("recording failed unexpectedly")
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self.failed = True
        self._book_of_notes.open = False
        self._book_of_notes.take()
        log.warning(
            "recording has ended: start this process anew once it can go on",
            folder=str(self._options.folder),
            why=why,
        )

    def _snapshot(self, now: int, *, complete: bool) -> Snapshot:
        """The world now. On the loop, so that nothing is done for each pod that can be done elsewhere.

        ``complete``: with the pods that others placed. From now on they are recorded here, too.
        """
        stages, requests = self._stages, self._requests
        if not self._book_of_notes.open:
            stages.clear()
            requests.clear()
        if complete:
            held = [one for one in self._held.values() if one.confirmed and not one.nominated]
            held = [one for one in held if stages.setdefault(one.pod.uid, Stage.RUNNING) > Stage.WAITING]
            requests.update([(one.pod.uid, one.pod.request) for one in held if one.pod.request is not None])
        entries = [one for one in self._book.queue.entries() if stages.get(one.uid, Stage.WAITING) is Stage.WAITING]
        stages.update([(one.uid, Stage.WAITING) for one in entries])
        return Snapshot(
            now,
            facts_of(self.state, pods=False),
            list(self._held.values()),
            stages.copy(),
            [(one.facts, one.attempts > 0) for one in entries],
            self._cluster_wide(),
            self._domains,
            self._patience,
            complete,
            self._around.pools,
        )


class _Writer:
    """The thread's part: one call at a time."""

    def __init__(self, options: RecordOptions, series: str, *, price: Callable[[str], int]) -> None:
        self._options = options
        self._series = series
        self._price = price
        self._journal = Journal(options.folder, series=series, limit=options.limit)
        self._scribe: Scribe | None = None
        self._quiet = self._unsynced = 0

    @property
    def is_full(self) -> bool:
        return self._journal.is_full

    def begin(self, notes: Sequence[Note], snapshot: Snapshot, now: int, key: bytes) -> None:
        """Begin a segment; ``notes`` are the last of the one before."""
        if self._scribe is None:
            self._journal.prepare()
            pseudonyms = Pseudonyms(key, shown=self._options.names)
            self._scribe = Scribe(self._series, pseudonyms, price=self._price)
            log.info("recording", folder=str(self._options.folder), limit=self._options.limit)
        elif notes:
            self.write(notes, now)
        self._journal.begin(now, packed(Frame(now, self._scribe.opening(snapshot))))

    def write(self, notes: Sequence[Note], now: int) -> None:
        """Write what there is; every now and then that there is nothing."""
        if self._scribe is None:
            return
        self._quiet += 1
        if notes or self._quiet >= BEAT_EVERY:
            base = notes[0][1] if notes else now
            self._journal.append(packed(Frame(base, self._scribe.events(notes, base=base))))
            self._quiet = 0
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            self._journal.sync()
            self._unsynced = 0

    def close(self, notes: Sequence[Note], now: int) -> None:
        """Write the rest, and that it is all."""
        if self._scribe is None:
            return
        if notes:
            self.write(notes, now)
        self._journal.append(packed(Frame(now, (Closed(0),))))
        self._journal.sync()
        self._journal.end()

    def let_go(self) -> None:
        """Nothing more is written."""
        with suppress(OSError):
            self._journal.end()


def ending_of(pod: Pod, *, gone: bool) -> Ending:
    """How a pod ended that ended or is gone, by its last view."""
    if any(one.type == "DisruptionTarget" and one.status == "True" for one in pod.status.conditions):
        return Ending.EVICTED
    if pod.status.reason == "Evicted":
        return Ending.EVICTED
    if pod.metadata.deleting or (gone and not pod.finished):
        return Ending.DELETED
    return Ending.FINISHED if pod.status.phase == "Succeeded" else Ending.FAILED
