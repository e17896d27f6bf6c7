"""The audit log's file: private, bounded, and never in the way."""

import asyncio
import contextlib
import stat
from pathlib import Path

from tensorfusion.embedded.audit.journal import KEPT, Journal


async def write(journal: Journal, *lines: bytes) -> None:
    """Run the journal over these lines until it is told to end."""
    running = asyncio.ensure_future(journal.run())
    await asyncio.sleep(0)
    for line in lines:
        journal.append(line)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_was_taken_is_written_when_the_server_ends(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    await write(Journal(path), b"one", b"two")
    await write(Journal(path), b"three")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_large_file_is_turned_over_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for number in range(KEPT + 3):
        await write(Journal(path, largest=10), f"line-{number:03}".encode())
    kept = sorted(file.name for file in tmp_path.iterdir())
    assert kept == ["audit.log", *(f"audit.log.{number}" for number in range(1, KEPT + 1))]
    assert path.read_bytes() == b"line-006\n"
    assert (tmp_path / "audit.log.1").read_bytes() == b"line-005\n"


async def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    await write(Journal(tmp_path / "missing" / "audit.log"), b"lost")
