"""Whatever workers do, die and come back, and whatever the clock does: never more is let in than the stated bound.

The reference is the textbook's bucket in exact fractions: it fills with time, and what was let in is taken out.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from limits_support import SECOND, Ticking, charge

from example_counts import part_of
from tensorfusion.gateway.limits.holding import Reservation
from tensorfusion.gateway.limits.page import Page
from tensorfusion.gateway.limits.rules import Charge
from tensorfusion.gateway.limits.table import Table
from tensorfusion.gateway.limits.verdict import RateLimited


class Bucket:
    """Exact. ``level`` may be below nothing only by debts that were allowed."""

    def __init__(self, depth: int, per_minute: int) -> None:
        self.depth = depth
        self.rate = Fraction(per_minute, 60 * SECOND)
        self.level = Fraction(depth)
        self.debts = 0

    def pass_time(self, ns: int) -> None:
        self.level = min(Fraction(self.depth), self.level + ns * self.rate)

    def take(self, amount: int, *, allowed_debt: int = 0) -> None:
        self.level -= amount
        self.debts += allowed_debt


class Worker:
    """One process: a table, and what it holds."""

    def __init__(self, table: Table) -> None:
        self.table: Table | None = table
        self.open: dict[int, tuple[Reservation, int]] = {}

    def settle(self, charges: tuple[Charge, ...], reserved: int, tokens: int) -> None:
        assert self.table is not None
        self.table.give_back(charges, reserved, tokens)


class Bounds(RuleBasedStateMachine):
    workers = Bundle("workers")
    held = Bundle("held")

    @initialize(
        rpm=st.integers(1, 90), burst=st.integers(1, 20), tpm=st.integers(1, 5000), concurrent=st.integers(1, 6)
    )
    def begin(self, rpm: int, burst: int, tpm: int, concurrent: int) -> None:
        self.path = Path(mkdtemp()) / "limits"
        self.ticking = Ticking()
        self.make: Callable[[], Charge] = lambda: charge(rpm=rpm, burst=burst, tpm=tpm, concurrent=concurrent)
        self.requests = Bucket(burst, rpm)
        self.tokens = Bucket(tpm, tpm)
        self.tpm, self.concurrent = tpm, concurrent
        self.alive: list[Worker] = []
        self.settled = 0

    @rule(target=workers)
    def start(self) -> Worker:
        worker = Worker(Table(Page(self.path, records=64, clock=self.ticking)))
        self.alive.append(worker)
        return worker

    @rule(target=held, worker=workers, tokens=st.integers(0, 6000))
    def ask(self, worker: Worker, tokens: int) -> tuple[Worker, Reservation, int] | None:
        if worker.table is None:
            return None
        key = self.make()
        in_flight = sum(len(one.open) for one in self.alive)
        try:
            verdict = worker.table.take((key,), tokens)
        except RateLimited as refused:
            assert refused.retry_after is None or 1 <= refused.retry_after <= 3 * 3600
            return None
        assert in_flight < self.concurrent
        assert tokens <= self.tpm
        self.requests.take(1)
        assert self.requests.level >= 0
        reservation = Reservation(worker, (key,), tokens, verdict)  # type: ignore[arg-type]
        worker.open[id(reservation)] = (reservation, tokens)
        return worker, reservation, tokens

    @rule(one=consumes(held), used=st.integers(0, 8000), twice=st.booleans())
    def settle(self, one: tuple[Worker, Reservation, int] | None, used: int, twice: bool) -> None:
        if one is None or one[0].table is None:
            return
        worker, reservation, tokens = one
        del worker.open[id(reservation)]
        assert reservation.settle(used)
        if twice:
            assert not reservation.settle(used)
            with reservation:
                pass
        self.tokens.take(used, allowed_debt=max(used - tokens, 0))

    @rule(worker=workers)
    def kill(self, worker: Worker) -> None:
        if worker.table is None:
            return
        for _, tokens in worker.open.values():
            self.tokens.take(tokens)  # nobody knows better
        worker.open.clear()
        worker.table.page.close()
        worker.table = None
        self.alive.remove(worker)
        for living in self.alive[:1]:
            assert living.table is not None
            living.table.tend()

    @rule(worker=workers)
    def end(self, worker: Worker) -> None:
        if worker.table is None:
            return
        for _, tokens in worker.open.values():
            self.tokens.take(tokens)
        worker.open.clear()
        worker.table.close()
        worker.table = None
        self.alive.remove(worker)

    @rule(ns=st.integers(0, 20 * SECOND))
    def wait(self, ns: int) -> None:
        self._see()
        self.ticking.ns += ns
        self.requests.pass_time(ns)
        self.tokens.pass_time(ns)
        self._see()

    @rule(ns=st.integers(2 * SECOND, 1_000_000 * SECOND))
    def jump_back(self, ns: int) -> None:
        self._see()
        self.ticking.ns -= min(ns, self.ticking.ns)
        self._see()

    def _see(self) -> None:
        """Somebody looks at the clock, as somebody does all the time."""
        for worker in self.alive[:1]:
            assert worker.table is not None
            worker.table.tend()

    @invariant()
    def tokens_are_never_over_but_by_debts(self) -> None:
        if hasattr(self, "tokens"):
            assert self.tokens.level >= -self.tokens.debts

    def teardown(self) -> None:
        """With everything given back and time to fill up, everything is there again."""
        if not hasattr(self, "path"):
            return
        for worker in list(self.alive):
            self.end(worker)  # type: ignore[call-arg]
        self.ticking.ns += 10**8 * SECOND
        last = Table(Page(self.path, records=64, clock=self.ticking))
        self.ticking.ns += 10**8 * SECOND  # what the dead had is counted as used when somebody finds them
        for _ in range(min(self.concurrent, self.requests.depth)):
            last.take((self.make(),), 0)
        for _ in range(min(self.concurrent, self.requests.depth)):
            last.give_back((self.make(),), 0, 0)
        self.ticking.ns += 6000 * SECOND
        last.take((self.make(),), self.tpm)
        last.close()
        self.path.unlink()


TestBounds = Bounds.TestCase
TestBounds.settings = settings(max_examples=part_of(60), stateful_step_count=40, deadline=None)
