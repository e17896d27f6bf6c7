"""Keeping the file in proportion to what lives in it, a bounded step at a time.

SQLite uses space again, but gives none back. Three things make the file larger than its rows, and each has an answer:

* free pages: given back to the file system once they are more than an eighth of all;
* pages that are mostly empty, because rows shrank or their objects are gone: once the pages in use are 2.25 times what
  they hold, all rows are taken out and put in again in order, some at a time. Rows just over half a page need twice
  their size at best. Should a pass not help all the same, the next one waits until a quarter of that came and went;
* the WAL: folded into the file sooner where the file is small.

So file and WAL stay within three times the live bytes (and some room for a small store), at the price of writing each
byte again at most about once for every byte of churn. A whole ``VACUUM`` was rejected: it stops the writers for as long
as the store is large, and needs the space twice.

All of it runs in the worker thread, between commits. Failing is no failure: the disk may be full.
"""

import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tensorfusion.embedded.store_reading import Loaded
from tensorfusion.embedded.store_rows import ALL_COLUMNS, Row, row_size
from tensorfusion.embedded.store_sqlite import BUSY_TIMEOUT, beside

ROOM: Final = 3 << 20
"""Bytes that a store may take beyond three times what lives in it."""

_PAGE = 4096
_FEW_PAGES = 64
_SPARSE = 2.25
_GIVE_BACK = 256
_REWRITE_BYTES, _REWRITE_SLOTS = 512 << 10, 4096
_LOOK_AFTER = 256 << 10
_SMALLEST_WAL, _LARGEST_WAL = 256, 2000  # pages: 1 to 8 MB

_TAKE_OUT = (
    f"INSERT INTO temp.moving SELECT {ALL_COLUMNS} FROM objects "  # noqa: S608 - a constant
    "WHERE slot BETWEEN ? AND ? AND (data IS NOT NULL OR revision >= ?)"
)
_PUT_IN = f"INSERT INTO objects ({ALL_COLUMNS}) SELECT {ALL_COLUMNS} FROM temp.moving ORDER BY slot"  # noqa: S608


class Space:
    """The account of one opened file: ``note`` what was committed; while ``due``, take a ``step`` when idle."""

    def __init__(self, path: Path, connection: sqlite3.Connection, loaded: Loaded) -> None:
        """For a file with this in it, as it was just opened."""
        self.due = True
        self._wal_path = beside(path, "-wal")
        self._connection = connection
        self._sizes = array("I", bytes(4 * (len(loaded.slots) + len(loaded.free) + 1)))  # by slot; 0 holds nothing
        for record in loaded.records:
            self._sizes[loaded.slots[record.key]] = row_size(record)
        self._live = sum(self._sizes)
        self._newest = loaded.floor  # the revision whose row has to stay, also if it is empty
        self._turnover = 0  # bytes written and removed, ever
        self._look_at = 0  # the turnover from which on it is worth looking again
        self._at = 0  # the first slot to rewrite next; 0 between passes
        self._began_at = -self._live  # the turnover at which the last pass began: the first one need not wait
        self._gave = False  # the step before gave something back
        self._wal = 0
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"CREATE TEMP TABLE moving AS SELECT {ALL_COLUMNS} FROM objects LIMIT 0")  # noqa: S608
        self._fit_wal()

    def note(self, rows: Sequence[Row]) -> None:
        """These rows are in the file now."""
        sizes = self._sizes
        highest = max(row[0] for row in rows)
        if highest >= len(sizes):
            sizes.frombytes(bytes(sizes.itemsize * (highest + 1 - len(sizes))))
        for slot, revision, record, _ in rows:
            size = row_size(record) if record is not None else 0
            self._live += size - sizes[slot]
            self._turnover += size + sizes[slot]
            sizes[slot] = size
            self._newest = max(self._newest, revision)
        if self._turnover >= self._look_at:
            self.due = True

    def step(self) -> None:
        """Do some of what is due; ``due`` says whether there is more."""
        self._look_at = self._turnover + max(_LOOK_AFTER, self._live // 16)
        self.due = False
        try:
            self._fit_wal()
            more = self._rewrite()
            more |= self._give_back()
            if not more:
                self._fold()
            self._gave = self.due = more
        except (sqlite3.Error, OSError):
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            with suppress(sqlite3.Error):
                self._connection.execute("DELETE FROM temp.moving")

    def _pages(self) -> tuple[int, int]:
        """All pages, and those that hold nothing."""
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return pages, free

    def _is_sparse(self) -> bool:
        pages, free = self._pages()
        used = (pages - free) * _PAGE
        return used > max(_SPARSE * self._live, _FEW_PAGES * _PAGE)

    def _may_rewrite(self) -> bool:
        """Whether the pages are sparse, and enough came and went since the last pass began for another to help."""
        return self._turnover - self._began_at >= self._live // 4 and self._is_sparse()

    def _rewrite(self) -> bool:
        """Take some rows out and put them in again: what was half empty comes back full. True until the pass ends."""
        if not self._at:
            if not self._may_rewrite():
                return False
            self._began_at = self._turnover
        first = last = max(self._at, 1)
        total = self._sizes[first] if first < len(self._sizes) else 0
        while last + 1 < len(self._sizes) and total < _REWRITE_BYTES and last - first < _REWRITE_SLOTS:
            last += 1
            total += self._sizes[last]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(_TAKE_OUT, (first, last, self._newest))
        self._connection.execute("DELETE FROM objects WHERE slot BETWEEN ? AND ?", (first, last))
        self._connection.execute(_PUT_IN)
        self._connection.execute("DELETE FROM temp.moving")
        self._connection.execute("COMMIT")
        self._at = last + 1
        if self._at < len(self._sizes):
            return True
        self._at = 0
        return self._may_rewrite()

    def _give_back(self) -> bool:
        """Give some of the free pages back. True while there are many."""
        pages, free = self._pages()
        if free <= max(pages // 8, _FEW_PAGES):
            return False
        # a script, because execute() would step it once and give back one page
        self._connection.executescript(f"PRAGMA incremental_vacuum({max(_GIVE_BACK, free // 8)})")
        return True

    def _fold(self) -> None:
        """Behind giving back, put the WAL into the file, which only that shortens; cut off what a large commit left."""
        large = self._wal_path.stat().st_size > (self._wal + _FEW_PAGES) * _PAGE
        if not large and not self._gave:
            return
        if large:  # it would wait for readers: a backup that takes its time
            self._connection.execute("PRAGMA busy_timeout = 0").fetchall()
        self._connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if large else 'PASSIVE'})").fetchall()
        if large:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000:.0f}").fetchall()

    def _fit_wal(self) -> None:
        """A WAL of at most two fifths of the live bytes; what it once took beyond that is cut off when it is reused."""
        wal = min(max(self._live * 2 // 5 // _PAGE, _SMALLEST_WAL), _LARGEST_WAL)
        if not self._wal * 3 // 4 <= wal <= self._wal:
            self._wal = wal
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {wal}")
            self._connection.execute(f"PRAGMA journal_size_limit = {wal * _PAGE}")
