"""Files that hold secrets: readable by their owner alone, and replaced whole or not at all.

Apart, because commands and the gateway write such files, and neither of them imports the other.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tensorfusion.errors import ConfigError

PATIENCE: Final = 10.0
"""Seconds. A change takes a few milliseconds: whoever takes longer hangs, and threads wait for nobody for ever."""
_PAUSE: Final = 0.005


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone can read. Whoever reads it meanwhile finds the old or the new one.

    Raises:
        ConfigError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Inside, nobody else who asks for this changes the file. Blocks while somebody else does.

    Raises:
        ConfigError: its folder cannot be used, or somebody else did not end in time.
    """
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: its folder cannot be used: {error.strerror}") from error
    try:
        _lock(folder, path)  # of the folder: the file itself is replaced
        yield
    finally:
        os.close(folder)


def _lock(folder: int, path: Path) -> None:
    """Raises ConfigError."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise ConfigError(f"{path}: somebody else has been changing it for {PATIENCE:g} s: try again") from None
            time.sleep(_PAUSE)
        else:
            return
