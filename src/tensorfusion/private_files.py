"""Files that hold secrets: readable by their owner alone, and replaced whole or not at all.

Apart, because commands and the gateway write such files, and neither of them imports the other.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tensorfusion.errors import ConfigError


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
    """Inside, nobody else who asks for this changes the file. Waits as long as it takes.

    Raises:
        ConfigError: its folder cannot be used.
    """
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: its folder cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # of the folder: the file itself is replaced
        yield
    finally:
        os.close(folder)
