"""Workers that die: between any two stores, by kill -9 under load, stopped with the lock in hand."""

import fcntl
import itertools
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from limits_support import Open, Ticking, charge

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.limits.page import BUSY, ENTRIES_AT, RECORDS_AT, Page
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.gateway.limits.table import COUNT, RESERVED, Table
from tensorfusion.gateway.limits.verdict import RateLimited

HAMMER = Path(__file__).parent / "hammer.py"


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """Words of a page that kill who writes after so many stores."""

    def __init__(self, words: memoryview, lives: int) -> None:
        self.words = words
        self.lives = lives

    def __getitem__(self, at: int) -> int:
        return int(self.words[at])

    def __setitem__(self, at: int, value: int) -> None:
        if self.lives == 0:
            raise Killed
        self.lives -= 1
        self.words[at] = value


def die_after(table: Table, stores: int) -> None:
    table._words = Mortal(table.page.words, stores)  # type: ignore[assignment]


def bury(table: Table) -> None:
    """Its process is gone, and its locks with it."""
    table._words = memoryview(b"")
    table.page.close()


def sums_agree(table: Table) -> bool:
    """What the records say is what the entries of all workers say together."""
    words = table.page.words
    held: dict[int, list[int]] = {}
    for entry in range(ENTRIES_AT, RECORDS_AT, 4):
        if words[entry]:
            total = held.setdefault(words[entry], [0, 0])
            total[0] += words[entry + 1]
            total[1] += words[entry + 2]
    found = {
        at: [words[at + COUNT], words[at + RESERVED]]
        for at in range(RECORDS_AT, len(words), 8)
        if words[at + COUNT] or words[at + RESERVED]
    }
    return found == held


def test_whoever_dies_between_two_stores_leaves_no_more_room_than_there_was(tmp_path: Path, ticking: Ticking) -> None:
    for stores in itertools.count():
        path = tmp_path / f"limits-{stores}"
        survivor, mortal = (Table(Page(path, records=256, clock=ticking)) for _ in range(2))
        key = charge(rpm=10, tpm=100, concurrent=4)
        survivor.take((key,), 5)
        admitted, used, died = 1, 0, False
        die_after(mortal, stores)
        other = charge(rpm=10, tpm=100, concurrent=4)
        try:
            for _ in range(2):
                mortal.take((other, charge("more", rpm=10, concurrent=2)), 20)
                admitted += 1
            mortal.give_back((other, charge("more", rpm=10, concurrent=2)), 20, 15)
            used += 15
        except Killed:
            died = True
        bury(mortal)
        survivor.tend()
        assert sums_agree(survivor), stores
        assert survivor.page.words[BUSY] == 0
        survivor.give_back((key,), 5, 5)
        used += 5
        for _ in range(20):
            try:
                survivor.take((key,), 0)
            except RateLimited:
                break
            admitted += 1
            survivor.give_back((key,), 0, 0)
        assert 9 <= admitted <= 10, stores
        ticking.advance(6)  # one more request
        room = next(tokens for tokens in range(100, -1, -1) if fits(survivor, key, tokens))
        assert room <= 100 - used + 10, stores
        ticking.advance(120)
        assert fits(survivor, key, 100), "something was never given back"
        survivor.close()
        if not died:
            assert stores > 20
            return


def fits(table: Table, key: object, tokens: int) -> bool:
    try:
        table.take((key,), tokens)  # type: ignore[arg-type]
    except RateLimited:
        return False
    table.give_back((key,), tokens, 0)  # type: ignore[arg-type]
    return True


def test_who_dies_while_giving_back_for_the_dead_leaves_the_rest_to_the_next(tmp_path: Path, ticking: Ticking) -> None:
    for stores in itertools.count():
        path = tmp_path / f"limits-{stores}"
        dead, mortal = (Table(Page(path, records=256, clock=ticking)) for _ in range(2))
        keys = [charge(str(number), tpm=100, concurrent=2) for number in range(3)]
        for key in keys:
            dead.take((key,), 30)
        bury(dead)
        die_after(mortal, stores)
        died = False
        try:
            mortal.tend()
        except Killed:
            died = True
        bury(mortal)
        last = Table(Page(path, records=256, clock=ticking))
        last.tend()
        assert sums_agree(last), stores
        assert last.page.workers() == [(os.getpid(), last.page.workers()[0][1])]
        for key in keys:
            assert not fits(last, key, 71)  # counted as used, once or, of him who died in between, twice
            assert fits(last, key, 40)
        ticking.advance(120)
        assert all(fits(last, key, 100) for key in keys)
        last.close()
        if not died:
            return


def test_the_requests_of_a_dead_worker_are_given_back_with_the_first_refusal(
    open_table: Open, ticking: Ticking
) -> None:
    dead, living, key = open_table(), open_table(), charge(concurrent=2)
    ticking.advance(1)
    dead.take((key,), 0)
    dead.take((key,), 0)
    with pytest.raises(RateLimited):
        living.take((key,), 0)
    bury(dead)
    with pytest.raises(RateLimited):
        living.take((key,), 0)  # it has looked a moment ago
    ticking.advance(0.06)
    living.take((key,), 0)


def test_tokens_of_a_dead_worker_count_as_used(open_table: Open, ticking: Ticking) -> None:
    dead, living, key = open_table(), open_table(), charge(tpm=60)
    dead.take((key,), 50)
    bury(dead)
    assert living.tend() == 1
    assert not fits(living, key, 11)
    ticking.advance(10)
    assert fits(living, key, 20)


def test_a_place_of_a_dead_worker_goes_to_the_next(open_table: Open) -> None:
    key = charge(concurrent=100)
    for _ in range(70):  # more than there are places
        worker = open_table()
        worker.take((key,), 0)
        bury(worker)
    last = open_table()
    assert sums_agree(last)
    assert len(last.page.workers()) == 1


def test_more_workers_than_there_are_places_for_are_refused(open_table: Open) -> None:
    workers = [open_table() for _ in range(64)]
    with pytest.raises(ConfigError, match="is used by 64 workers, the most there can be"):
        open_table()
    workers[0].close()
    open_table().take((charge(concurrent=1),), 0)


def test_a_child_that_was_forked_does_not_keep_its_parent_alive(tmp_path: Path) -> None:
    script = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(HAMMER.parent)!r})
from limits_support import charge
from tensorfusion.gateway.limits.page import Page
from tensorfusion.gateway.limits.table import Table
table = Table(Page(Path({str(tmp_path / "limits")!r}), records=256))
table.take((charge(concurrent=1),), 0)
if os.fork() == 0:
    os.write(1, b"r")  # from here on it is a process of its own
    os.read(0, 1)  # outlives the parent
    os._exit(0)
os.kill(os.getpid(), 9)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(1) == b"r"
        assert parent.wait() == -signal.SIGKILL
        living = Table(Page(tmp_path / "limits", records=256))
        assert living.tend() == 0  # its place went to this one, and what it held was given back
        living.take((charge(concurrent=1),), 0)
        living.close()
        assert parent.stdin is not None
        parent.stdin.close()


def test_a_holder_that_is_stopped_makes_each_worker_count_by_itself_for_a_while(
    tmp_path: Path, ticking: Ticking
) -> None:
    path = tmp_path / "limits"
    limits = SharedLimits(path, records=256, clock=ticking, wait_seconds=0.005)
    key = charge(rpm=4, concurrent=3)
    early = limits.take((key,), 0)
    stopped = os.open(path, os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        early.settle(0)  # cannot be given back now
        apart = [limits.take((key,), 0) for _ in range(3)]
        with pytest.raises(RateLimited):
            limits.take((key,), 0)
    finally:
        os.close(stopped)
    limits.tend()
    for one in apart:
        assert one.settle(0)
    assert [limits.take((key,), 0) for _ in range(3)]  # 4 a minute, one of them was before
    with pytest.raises(RateLimited, match="4 requests a minute"):
        limits.take((key,), 0)
    limits.close()


@pytest.mark.parametrize("rounds", [3, pytest.param(150, marks=pytest.mark.long)])
def test_several_workers_that_are_killed_and_started_again_let_in_no_more_than_the_bound(
    tmp_path: Path, rounds: int
) -> None:
    """Four processes ask as fast as they can; two are killed at a time, in the middle of whatever they do."""
    path = tmp_path / "limits"
    SharedLimits(path, records=1024).close()
    logs: list[Path] = []

    def start() -> subprocess.Popen[bytes]:
        log = tmp_path / f"log-{len(logs)}"
        logs.append(log)
        return subprocess.Popen([sys.executable, str(HAMMER), str(path), str(log), "4000"], stdout=subprocess.PIPE)

    workers = [start() for _ in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.read(1) == b"r"  # ready: all of them ask at once
    for round_ in range(rounds):
        for victim in workers[:2]:
            assert victim.stdout is not None
            victim.stdout.read(1 + round_ % 5)  # some hundreds of requests
            victim.kill()
            victim.wait()
            victim.stdout.close()
        workers = [*workers[2:], start(), start()]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.read()
        assert worker.wait() == 0
        worker.stdout.close()

    from hammer import BURST, CONCURRENT, PER_MINUTE, TOKENS_PER_MINUTE

    starts, ends, used = [], [], []
    for log in logs:
        data = log.read_bytes()
        open_since = None
        for kind, moment, tokens in struct.iter_unpack("qqq", data[: len(data) // 24 * 24]):
            if kind == 1:
                starts.append(moment)
                open_since = moment
            else:
                ends.append((moment, open_since))
                used.append((moment, tokens))
    assert len(starts) > BURST
    within_bound(sorted((moment, 1) for moment in starts), depth=BURST, per_minute=PER_MINUTE)
    within_bound(sorted(used), depth=TOKENS_PER_MINUTE, per_minute=TOKENS_PER_MINUTE)
    # A request is in flight at least from its line in the log to its second one; of the killed the second is missing.
    moments = sorted([(begin, 1) for _, begin in ends if begin is not None] + [(end, -1) for end, _ in ends])
    assert max(itertools.accumulate(step for _, step in moments)) <= CONCURRENT

    after = Table(Page(path, records=1024))
    after.tend()
    assert sums_agree(after)
    assert not any(after.page.words[at + COUNT] for at in range(RECORDS_AT, len(after.page.words), 8))
    after.close()


def within_bound(events: list[tuple[int, int]], *, depth: int, per_minute: int) -> None:
    """No stretch of time has more than ``depth`` and what the rate brings in it; logs are late by some microseconds."""
    level, last = float(depth), events[0][0]
    for moment, amount in events:
        level = min(depth, level + (moment - last) * per_minute / 60e9)
        last = moment
        level -= amount
        assert level >= -0.01 * depth - 1
