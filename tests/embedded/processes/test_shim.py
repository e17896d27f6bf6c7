"""One program under its shim: what it writes, how it ends, and that nothing of it is left."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from tensorfusion.embedded.processes import shim
from tensorfusion.embedded.processes.attempts import Attempt, Ending, Input, Program, attempts_in, drop_unstarted, start
from tensorfusion.embedded.processes.logs import LogOptions, read_log

SHELL = "/bin/sh"


def shell(script: str, **options: object) -> Program:
    env = {"PATH": os.environ["PATH"]}
    return Program(SHELL, [SHELL, "-c", script], env, "/", None, **options)  # type: ignore[arg-type]


async def finished(tmp_path: Path, program: Program) -> tuple[Ending, str]:
    attempt = await start(tmp_path / "0", program, tmp_path / "log")
    ended = await asyncio.wait_for(attempt.wait(), 30)
    chunks = [chunk async for chunk in read_log(tmp_path / "log", LogOptions(), running=lambda: False)]
    return ended, b"".join(chunks).decode()


async def test_the_exit_code_and_both_streams_are_kept(tmp_path: Path) -> None:
    ended, log = await finished(tmp_path, shell("echo out; echo err >&2; exit 3"))
    assert (ended.code, ended.signal, ended.reason) == (3, 0, "Error")
    assert sorted(log.splitlines()) == ["err", "out"]
    assert ended.started_at <= ended.finished_at


async def test_long_lines_and_unfinished_ones_come_out_whole(tmp_path: Path) -> None:
    ended, log = await finished(tmp_path, shell("head -c 40000 /dev/zero | tr '\\0' x; echo; printf end"))
    assert ended.code == 0
    assert log == "x" * 40000 + "\nend"


async def test_output_beyond_ten_mebibytes_rotates(tmp_path: Path) -> None:
    line = "x" * 1000
    ended, log = await finished(tmp_path, shell(f"yes {line} | head -n 12000; echo last"))
    assert ended.code == 0
    assert (tmp_path / "log.1").stat().st_size >= 10 << 20
    assert log.count("\n") == 12001
    assert log.endswith("\nlast\n")


async def test_a_program_that_cannot_be_executed_says_why(tmp_path: Path) -> None:
    ended, _ = await finished(tmp_path, Program("/etc/passwd", ["x"], {}, "/", None))
    assert (ended.code, ended.reason) == (128, "StartError")
    assert ended.message == "/etc/passwd: Permission denied"


async def test_what_the_program_leaves_behind_is_killed(tmp_path: Path) -> None:
    script = "setsid sleep 600 & echo $!; (setsid sh -c 'echo $$; exec sleep 600' &); sleep 0.2"
    ended, log = await finished(tmp_path, shell(script))
    assert ended.code == 0
    for pid in log.split():
        assert not Path(f"/proc/{pid}").exists()


async def test_kill_ends_even_what_ignores_signals(tmp_path: Path) -> None:
    script = "trap '' TERM INT; echo deaf; while :; do sleep 0.05; done"
    attempt = await start(tmp_path / "0", shell(script), tmp_path / "log")
    assert attempt.running
    async with asyncio.timeout(30):
        while not (tmp_path / "log").stat().st_size:
            await asyncio.sleep(0.01)
    attempt.terminate()
    attempt.kill()
    ended = await asyncio.wait_for(attempt.wait(), 30)
    assert (ended.code, ended.signal) == (137, 9)
    assert not attempt.running


async def test_a_program_may_name_itself_by_any_bytes_and_is_killed_all_the_same(tmp_path: Path) -> None:
    """What it leaves behind bears such a name, too, and hears no signal that it can refuse."""
    name = "import ctypes, os, signal; ctypes.CDLL(None).prctl(15, b') Z \\xff\\xc3', 0, 0, 0)"
    deaf = "signal.signal(15, signal.SIG_IGN); os.fork(); print(os.getpid(), flush=True); signal.pause()"
    program = Program(sys.executable, [sys.executable, "-I", "-c", f"{name}; {deaf}"], {}, "/", None)
    attempt = await start(tmp_path / "0", program, tmp_path / "log")
    async with asyncio.timeout(30):
        while (tmp_path / "log").read_bytes().count(b"\n") < 2:
            await asyncio.sleep(0.01)
    pids = [int(line.split()[-1]) for line in (tmp_path / "log").read_text().splitlines()]
    try:
        assert Path(f"/proc/{pids[0]}/comm").read_bytes() == b") Z \xff\xc3\n"
        assert attempt.pid in pids
        attempt.kill()
        ended = await asyncio.wait_for(attempt.wait(), 30)
        assert (ended.code, ended.signal) == (137, 9)
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_another_process_can_follow_what_we_started(tmp_path: Path) -> None:
    """As a node process does that was restarted: it has the folder alone."""
    await start(tmp_path / "0", shell("sleep 0.3; exit 9"), tmp_path / "log")
    adopted = Attempt(tmp_path / "0")
    assert adopted.running
    assert adopted.ending() is None
    assert (await asyncio.wait_for(adopted.wait(), 30)).code == 9


async def test_a_folder_without_a_known_end_is_said_to_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "shim.json").write_text('{"pid": 1, "start": 1, "boot": "another"}')
    ended = Attempt(tmp_path / "0").ending()
    assert ended is not None
    assert ended.unknown
    assert ended.reason == "ContainerStatusUnknown"


async def test_memory_beyond_the_limit_kills_the_whole_tree(tmp_path: Path) -> None:
    script = "sh -c 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done' & wait"
    ended, _ = await finished(tmp_path, shell(script, memory=32 << 20))
    assert ended.reason == "OOMKilled"


async def test_input_reaches_the_program_and_ends(tmp_path: Path) -> None:
    attempt = await start(tmp_path / "0", shell("wc -c", stdin=True), tmp_path / "log")
    entry = Input(attempt.input)
    await entry.write(b"x" * 300_000)
    await entry.end()
    await asyncio.wait_for(attempt.wait(), 30)
    entry.close()
    chunks = [chunk async for chunk in read_log(tmp_path / "log", LogOptions(), running=lambda: False)]
    assert b"".join(chunks).strip() == b"300000"


@pytest.mark.parametrize("tty", [True, False])
async def test_a_terminal_is_one_only_if_asked_for(tmp_path: Path, tty: bool) -> None:
    _, log = await finished(tmp_path, shell("test -t 1 && echo terminal || echo pipe", tty=tty))
    assert log.split() == ["terminal" if tty else "pipe"]


async def test_an_attempt_whose_shim_never_began_is_forgotten(tmp_path: Path) -> None:
    """The node process was killed in between; nothing has run, so nothing has failed."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "shim.json").write_text('{"pid": 1, "start": 1, "boot": "another"}')
    (tmp_path / "1").mkdir()
    drop_unstarted(tmp_path)
    assert [attempt.number for attempt in attempts_in(tmp_path)] == [0]


async def test_programs_yield_to_the_cluster(tmp_path: Path) -> None:
    _, log = await finished(tmp_path, shell("cat /proc/self/oom_score_adj; nice; umask", nice=5))
    score, priority, mask = log.split()
    assert int(score) >= 500
    assert int(priority) == min(os.nice(0) + 5, 19)
    assert mask == "0022"


def test_a_process_that_goes_while_it_is_looked_at_is_none_any_more() -> None:
    assert shim.fields_after_name(b"7 (a) b) S 1 2\n") == [b"S", b"1", b"2"]
    for left in (b"", b"\n"):
        with pytest.raises(ProcessLookupError):
            shim.fields_after_name(left)
