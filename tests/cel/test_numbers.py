"""Numbers as text and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.cel.moments import duration_text
from tensorfusion.cel.numbers import double_text, fixed_text, parse_double, plain_text, scientific_text
from tensorfusion.cel.values import Duration


@pytest.mark.parametrize(
    ("value", "short", "plain"),
    [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (1.5, "1.5", "1.5"),
        (100000.0, "100000", "100000"),
        (1e6, "1e+06", "1000000"),
        (1234567.0, "1.234567e+06", "1234567"),
        (1e21, "1e+21", "1000000000000000000000"),
        (1e-4, "0.0001", "0.0001"),
        (1.25e-5, "1.25e-05", "0.0000125"),
        (5e-324, "5e-324", "0." + "0" * 323 + "5"),
        (math.inf, "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf"),
        (math.nan, "NaN", "NaN"),
    ],
)
def test_a_number_is_written_as_briefly_as_it_can_be(value: float, short: str, plain: str) -> None:
    assert (double_text(value), plain_text(value)) == (short, plain)


@given(st.floats(allow_nan=False))
def test_every_number_reads_back_as_it_was(value: float) -> None:
    for text in (double_text(value), plain_text(value)):
        found = parse_double(text)
        assert found is not None
        assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1e3", 1000.0),
        ("-1E-2", -0.01),
        ("0x1p-2", 0.25),
        ("0X.8P1", 1.0),
        ("Infinity", math.inf),
        ("-iNf", -math.inf),
        ("", None),
        (".", None),
        ("1_000", None),
        (" 1", None),
        ("1e", None),
        ("0x1", None),
        ("1e400", None),
        ("0x1p99999", None),
        ("infinit", None),
        ("-nan", None),
        ("١", None),
    ],
)
def test_what_is_read_as_a_number(text: str, wanted: float | None) -> None:
    assert parse_double(text) == wanted


def test_numbers_for_people_have_commas_and_small_powers_of_ten() -> None:
    assert fixed_text(-1234567.891, 2) == "-1,234,567.89"
    assert fixed_text(math.inf, 2) == "∞"
    assert scientific_text(1052.032911275) == "1.052033\N{MULTIPLICATION SIGN}10⁰³"
    assert scientific_text(1e-300) == "1.000000\N{MULTIPLICATION SIGN}10⁻³⁰⁰"


@pytest.mark.parametrize(
    ("nanoseconds", "wanted"),
    [
        (0, "0s"),
        (5_400_000_000_001, "5400.000000001s"),
        (-1_500_000_000, "-1.5s"),
        (9_007_199_254_740_993, "9007199.254740993s"),
        (1, "0.000000001s"),
    ],
)
def test_durations_are_written_in_seconds(nanoseconds: int, wanted: str) -> None:
    assert duration_text(Duration(nanoseconds)) == wanted
