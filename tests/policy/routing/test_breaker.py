"""A circuit opens on what the contract names, asks once to see, and cannot be wedged."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.breaker import Breaker


@dataclass
class Reference:
    """The rules as they are written, over a list of everything that happened."""

    opened_at: float | None = None
    cooldown: float = 5.0
    history: list[tuple[float, bool]] = field(default_factory=list)
    probe_until: float = 0.0

    def allows(self, now: float) -> bool:
        return self.opened_at is None or (now >= self.opened_at + self.cooldown and now >= self.probe_until)

    def began(self, now: float) -> bool:
        if self.opened_at is None or now < self.opened_at + self.cooldown:
            return False
        self.probe_until = now + self.cooldown
        return True

    def ended(self, now: float, *, ok: bool, probe: bool) -> None:
        if ok:
            if self.opened_at is None:
                self.history.append((now, True))
            else:
                self.history.clear()
            self.opened_at, self.cooldown, self.probe_until = None, 5.0, 0.0
            return
        if self.opened_at is not None:
            if probe and now >= self.opened_at + self.cooldown:
                self.cooldown = min(2 * self.cooldown, 60.0)
                self.opened_at, self.probe_until = now, 0.0
            return
        self.history.append((now, False))
        recent = [good for at, good in self.history if int(at) > int(now) - 30]
        in_a_row = len(self.history) >= 5 and not any(good for _, good in self.history[-5:])
        if in_a_row or (len(recent) >= 20 and recent.count(False) * 2 > len(recent)):
            self.opened_at, self.probe_until = now, 0.0


events = st.lists(
    st.tuples(
        st.floats(0, 12), st.sampled_from(["begin", "ok", "bad", "bad", "gone"]), st.integers(0, 5), st.booleans()
    ),
    max_size=150,
)


@given(events)
def test_it_does_what_is_written(found: list[tuple[float, str, int, bool]]) -> None:
    breaker, reference, now = Breaker(), Reference(), 100.0
    under_way: list[bool] = []
    for pause, event, which, quick in found:
        now += pause / 100 if quick else pause
        assert breaker.allows(now) == reference.allows(now)
        assert breaker.closed == (reference.opened_at is None)
        assert breaker.allows(breaker.allowed_at(now))
        if event == "begin":
            if breaker.allows(now):
                probe = breaker.began(now)
                assert probe == reference.began(now)
                under_way.append(probe)
        elif under_way:
            probe = under_way.pop(which % len(under_way))
            if event == "gone":
                breaker.undecided(probe=probe)
                reference.probe_until = 0.0 if probe and reference.opened_at is not None else reference.probe_until
            elif event == "ok":
                breaker.succeeded(now)
                reference.ended(now, ok=True, probe=probe)
            else:
                breaker.failed(now, probe=probe)
                reference.ended(now, ok=False, probe=probe)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(now)
    return breaker


def test_the_cooldown_doubles_up_to_a_minute() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(6):
        waits.append(breaker.allowed_at(now) - now)
        now = breaker.allowed_at(now)
        assert breaker.began(now)
        breaker.failed(now, probe=True)
    assert waits == [5, 10, 20, 40, 60, 60]
    breaker.succeeded(now)
    for _ in range(5):
        breaker.failed(now)
    assert breaker.allowed_at(now) == now + 5


def test_one_probe_at_a_time() -> None:
    breaker = opened()
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)
    assert breaker.began(5.0)
    assert not breaker.allows(5.0)


def test_a_probe_that_never_reports_back_wedges_nothing() -> None:
    breaker = opened()
    breaker.began(5.0)
    assert not breaker.allows(9.9)
    assert breaker.allows(10.0)


def test_a_probe_whose_client_left_makes_room_for_the_next() -> None:
    breaker = opened()
    probe = breaker.began(5.0)
    breaker.undecided(probe=probe)
    assert breaker.allows(5.0)


def test_what_began_before_the_circuit_opened_says_nothing_new_when_it_fails() -> None:
    breaker = opened()
    breaker.began(5.0)
    breaker.failed(5.1)
    assert breaker.allowed_at(5.1) == 10.0
    breaker.failed(9.0, probe=True)
    assert breaker.allowed_at(9.0) == 19.0


def test_failures_that_began_before_a_success_are_none_in_a_row() -> None:
    """One in a hundred stalls for 15 s: when the others have ended, those that stalled end one after the other."""
    breaker = Breaker()
    breaker.succeeded(10.0, began=9.9)
    for began in range(9):
        breaker.failed(15.0 + began, began=float(began))
    assert breaker.closed
    assert breaker.spotless
    assert breaker.rates(24.0) == (10, 9)
    for _ in range(5):
        breaker.failed(25.0, began=9.9)
    assert not breaker.closed


def test_many_failures_among_few_attempts_open_it_whenever_they_began() -> None:
    breaker = Breaker()
    breaker.succeeded(10.0, began=10.0)
    for began in range(19):
        breaker.failed(15.0, began=began / 10)
    assert not breaker.closed


def test_a_check_from_outside_ends_the_wait_and_closes_nothing() -> None:
    breaker = opened()
    breaker.due(1.0)
    assert breaker.allows(1.0)
    assert not breaker.closed
    assert breaker.began(1.0)
    assert not breaker.allows(2.0)  # still one at a time
    breaker.due(2.0)
    assert breaker.allows(2.0)  # the one under way may be lost
    breaker.failed(2.0, probe=True)
    assert breaker.allowed_at(2.0) == 12.0
    closed = Breaker()
    closed.due(1.0)
    assert closed.rates(1.0) == (0, 0)


def after(outcomes: str) -> Breaker:
    """A breaker that saw these, one each tenth of a second: + a success, - a failure."""
    breaker = Breaker()
    for at, outcome in enumerate(outcomes):
        breaker.succeeded(at / 10) if outcome == "+" else breaker.failed(at / 10)
    return breaker


def test_more_than_half_of_twenty_open_it_and_half_or_fewer_attempts_do_not() -> None:
    assert after("+-" * 10).closed
    assert after("-+" * 9 + "+-").closed  # the twentieth fails: ten of twenty
    assert not after("-+" * 9 + "--").closed  # eleven of twenty
    assert after("-+" * 9 + "-").closed  # ten of nineteen
    assert not after("+-" * 10 + "-").closed


def test_the_window_is_thirty_seconds_by_whole_seconds() -> None:
    breaker = Breaker()
    breaker.failed(0.9)
    assert breaker.rates(29.9) == (1, 1)
    assert breaker.rates(30.0) == (0, 0)


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(0.0)
    breaker.succeeded(0.0)
    for _ in range(16):
        breaker.succeeded(31.0)
    for _ in range(4):
        breaker.failed(31.0)
    assert breaker.rates(31.0) == (20, 4)
    assert breaker.closed
