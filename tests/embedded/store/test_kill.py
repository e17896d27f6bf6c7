"""kill -9 in the middle of writes, against a journal kept outside; and the data sync before the reply.

Objects are of any size up to several pages of the file and say in full what they should be, so that one that is torn,
of two writes, or made up is found.
"""

import asyncio
import hashlib
import inspect
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tensorfusion.embedded.store import Store
from tensorfusion.testing.records import record_maker, value_of

WRITERS = 8
KILLS = int(os.environ.get("TENSORFUSION_STORE_KILLS", "1000"))
"""How often the long run kills."""
WRITES_PER_SECOND = 200
"""How many writes a second have to be under way at the moments of the kills."""
STEPS = ("create", "update", "update", "remove", "create")
"""What a writer does to each of its objects, in turn."""


def value_at(number: int) -> str:
    """What a writer's step leaves: up to 16 kB that say in full what they should be."""
    text = hashlib.sha256(str(number).encode()).hexdigest()
    return f"{number}-" + text * (number * 7919 % 250)


WRITER_PROCESS = """
import asyncio, hashlib, os, sys
from pathlib import Path
from tensorfusion.embedded.store import Store
from tensorfusion.testing.records import pod, record_maker

STEPS = sys.argv[3].split(",")

VALUE_AT

async def write(store, writer, generation):
    number = 0
    while True:
        key = pod(f"g{generation}-w{writer}-{number // len(STEPS)}")
        step = STEPS[number % len(STEPS)]
        current = store.latest(key)
        operation = store.remove if step == "remove" else store.put
        expected = current.revision if current else 0
        record = await operation(key, expected=expected, make=record_maker(key, value_at(number)))
        number += 1
        os.write(1, f"{writer} {number} {record.revision}\\n".encode())

async def main():
    store = Store.open(Path(sys.argv[1]))
    await asyncio.gather(*(write(store, writer, sys.argv[2]) for writer in range(int(sys.argv[4]))))

asyncio.run(main())
""".replace("VALUE_AT", inspect.getsource(value_at))


def state_after(generation: int, writer: int, steps: int) -> dict[str, str]:
    """What a writer's objects look like after so many of its steps."""
    state: dict[str, str] = {}
    for number in range(steps):
        name = f"g{generation}-w{writer}-{number // len(STEPS)}"
        step = STEPS[number % len(STEPS)]
        if step == "remove":
            del state[name]
        else:
            state[name] = value_at(number)
    return state


async def run_until_killed(path: Path, generation: int, *, acknowledged: int) -> tuple[list[bytes], float]:
    """Let the writers work, kill them behind so many acknowledged writes, return the journal and how long it took."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER_PROCESS,
        str(path),
        str(generation),
        ",".join(STEPS),
        str(WRITERS),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    journal = [await process.stdout.readline()]
    started = time.monotonic()
    while len(journal) < acknowledged:
        journal.append(await process.stdout.readline())
    process.kill()
    seconds = time.monotonic() - started
    journal += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return [line for line in journal if line.endswith(b"\n")], seconds


async def kill_rounds(path: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    newest, writes, seconds = 0, 0, 0.0
    before: dict[str, str | None] = {}
    for generation in range(rounds):
        journal, took = await run_until_killed(path, generation, acknowledged=chance.randint(30, 400))
        entries = [tuple(map(int, line.split())) for line in journal]
        revisions = [revision for _, _, revision in entries]
        assert len(set(revisions)) == len(revisions)
        assert min(revisions) > newest, "a revision came again after a crash"
        newest = max(revisions)
        writes, seconds = writes + len(entries), seconds + took
        done = Counter(dict.fromkeys(range(WRITERS), 0))
        for writer, steps, _ in entries:
            done[writer] = max(done[writer], steps)
        async with Store.open(path) as store:
            assert store.revision >= newest
            all_found = {record.key.name: value_of(record) for record in store.scan("pods")}
            assert before.items() <= all_found.items(), "what an earlier round left has changed"
            await remove_all(store, before)
            newest = store.revision
            before = {name: value for name, value in all_found.items() if name not in before}
            for writer, steps in done.items():
                prefix = f"g{generation}-w{writer}-"
                found = {name: value for name, value in before.items() if name.startswith(prefix)}
                acceptable = [state_after(generation, writer, steps), state_after(generation, writer, steps + 1)]
                assert found in acceptable, f"writer {writer} lost or made up a write behind step {steps}"
    assert writes / seconds >= WRITES_PER_SECOND
    print(f"{rounds} kills of the store: {writes} acknowledged writes, {writes / seconds:.0f}/s before a kill")


async def remove_all(store: Store, names: Mapping[str, object]) -> None:
    """So that what lives stays bounded, and space is given back between the kills."""
    records = [record for record in store.scan("pods") if record.key.name in names]
    removals = (store.remove(one.key, expected=one.revision, make=record_maker(one.key)) for one in records)
    await asyncio.gather(*removals)


async def test_no_acknowledged_write_is_lost_when_the_process_is_killed(path: Path) -> None:
    await kill_rounds(path, 12, seed=1)


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_a_thousand_kills_lose_nothing(path: Path) -> None:
    await kill_rounds(path, KILLS, seed=2)


TRACED_PROCESS = """
import asyncio, os, sys
from pathlib import Path
from tensorfusion.embedded.store import Store
from tensorfusion.testing.records import pod, record_maker

async def main():
    store = Store.open(Path(sys.argv[1]))
    for number in range(5):
        os.write(2, f"REQUEST {number}".encode())
        await store.put(pod(f"p{number}"), expected=0, make=record_maker(pod(f"p{number}"), "x" * 3000))
        os.write(2, f"REPLY {number}".encode())
    os._exit(0)

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
async def test_the_data_is_synced_before_the_reply(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    process = await asyncio.create_subprocess_exec(
        "strace",
        *("-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", str(trace)),
        *(sys.executable, "-c", TRACED_PROCESS, str(path)),
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0 and b"ptrace" in errors:
        pytest.skip("tracing is not permitted here")
    lines = trace.read_text().splitlines()
    for number in range(5):
        (begin,) = (at for at, line in enumerate(lines) if f'"REQUEST {number}"' in line)
        (end,) = (at for at, line in enumerate(lines) if f'"REPLY {number}"' in line)
        between = lines[begin:end]
        written = max(at for at, line in enumerate(between) if re.search(r"pwrite64\(.*store\.db-wal", line))
        synced = [at for at, line in enumerate(between) if re.search(r"(fdatasync|fsync)\(.*store\.db-wal.*= 0", line)]
        resumed = [at for at, line in enumerate(between) if re.search(r"(fdatasync|fsync) resumed>.*= 0", line)]
        assert any(at > written for at in synced + resumed), f"reply {number} before its data was synced"
