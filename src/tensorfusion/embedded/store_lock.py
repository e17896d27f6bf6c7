"""One opener at a time: a lock file beside the store that names its holder.

An advisory lock of the kernel, so it is gone with its process however that ends; the file itself may stay behind and
means nothing. SQLite's own locks do not serve: they are held per transaction and would let a second server in.
"""

import fcntl
import os
from pathlib import Path

from tensorfusion.errors import ConfigError, StoreLocked


class StoreLock:
    """The held lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, store: Path) -> "StoreLock":
        """Take the lock of a store, creating its folder where it is missing.

        Raises:
            StoreLocked: another process holds it; the message names its pid.
            ConfigError: the folder cannot be used.
        """
        path = store.with_name(store.name + ".lock")
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"cannot write the store's folder {store.parent}: {error.strerror}; make it writable or choose another"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreLocked(
                f"{store} is in use by process {holder}; stop it first or choose another folder"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(
                f"cannot lock {path}: {error.strerror}; free space, or choose a folder on a local file system"
            ) from error
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
