import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.durations import format_duration, parse_duration

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1h30m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        ("500ms", SECOND // 2),
        ("2us3ns", 2003),
        ("1w2d", 9 * 86400 * SECOND),
        ("0.1s", SECOND // 10),
    ],
)
def test_durations_are_exact_nanoseconds(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5s,", "1h 30m", "5x", "٣s", "9" * 30 + "s", "99999999w"])
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_duration(text)
    assert "\n" not in str(caught.value)


@given(st.integers(0, (1 << 63) - 1))
def test_a_written_duration_reads_back(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds
