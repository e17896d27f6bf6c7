"""Copying a store while it runs, and putting a copy back.

Restoring is where revisions could come to be used twice: clients remember revisions that the backup never had. So a
restored store goes on far behind both, and serves no watch from before; they list again.
"""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from tensorfusion.embedded.store_lock import StoreLock
from tensorfusion.embedded.store_mark import read_mark
from tensorfusion.embedded.store_reading import has_content, load, read_counters
from tensorfusion.embedded.store_sqlite import (
    UNREADABLE,
    beside,
    corrupt,
    is_store,
    printable,
    raw_connection,
    reading_connection,
    refuse,
    sync,
)
from tensorfusion.errors import ConfigError, StoreCorrupt, StoreError

RESTORE_SKIP: Final = 1_000_000
"""How far a restored store's revisions start behind the newest one known."""

_SIDE_FILES: Final = ("-wal", "-shm")


def backup_file(path: Path, target: Path) -> None:
    """Write a consistent, compact copy of an open store, beside its commits, on a connection of its own.

    Raises:
        StoreError: the copy could not be written; a half-written one is removed.
        StoreCorrupt, ConfigError: the file was damaged since it was opened; SQLite would copy tables that no store has.
    """
    partial = beside(target, ".partial")
    if not has_content(path):
        raise StoreError(f"cannot write the backup {target}: {path} holds nothing yet")
    try:
        partial.unlink(missing_ok=True)
        with closing(reading_connection(path)) as source:
            _refuse_damage(path, source)
            source.execute("VACUUM INTO ?", (str(partial),))
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    except (*UNREADABLE, OSError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write the backup {target}: {printable(str(error))}; choose a writable place with space"
        ) from error


def _refuse_damage(path: Path, source: sqlite3.Connection) -> None:
    try:
        is_store(path, source)
    except UNREADABLE as error:
        refuse(path, error)


def restore_file(path: Path, backup: Path) -> None:
    """Put a backup in the place of the store, which must not be open. The replaced file stays as ``.replaced``.

    Raises:
        StoreLocked, StoreTooNew, StoreCorrupt, ConfigError: the store is as it was.
    """
    if not backup.is_file():
        raise ConfigError(f"no backup at {backup}; name the file that `backup` wrote")
    lock = StoreLock.acquire(path)
    partial = beside(path, ".partial")
    try:
        partial.unlink(missing_ok=True)
        _copy(backup, partial, newest_elsewhere=max(_reserved(path), read_mark(path)))
        _swap(path, partial)
    except UNREADABLE as error:
        refuse(backup, error)
    except OSError as error:
        raise ConfigError(f"cannot restore {backup} to {path}: {error}; make the folder writable") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        lock.release()


def _copy(backup: Path, partial: Path, *, newest_elsewhere: int) -> None:
    """Copy and check the backup, and move its revisions on."""
    with (
        closing(reading_connection(backup)) as source,
        closing(raw_connection(partial)) as copy,
    ):
        if not is_store(backup, source):
            raise StoreCorrupt(corrupt(backup, "it is empty"))
        source.backup(copy)
        newest = load(backup, copy).revision
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        copy.execute("UPDATE counters SET value = ?", (max(newest, newest_elsewhere) + RESTORE_SKIP,))
    sync(partial)


def _reserved(path: Path) -> int:
    """The reservation of the store that is replaced; 0 where it cannot be read."""
    with suppress(*UNREADABLE, StoreCorrupt):
        if has_content(path):
            with closing(reading_connection(path)) as connection:
                reserved, _ = read_counters(path, connection)
                return reserved
    return 0


def _swap(path: Path, partial: Path) -> None:
    """The old file's WAL must be gone before the new file takes the name: it would be replayed over it."""
    kept = beside(path, ".replaced")
    if path.exists():
        shutil.copyfile(path, kept)
        sync(kept)
    for suffix in _SIDE_FILES:
        side_file = beside(path, suffix)
        if side_file.exists():
            side_file.replace(beside(kept, suffix))
    sync(path.parent)
    partial.replace(path)
    sync(path.parent)
