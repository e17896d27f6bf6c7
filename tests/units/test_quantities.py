"""Quantities: exact, rounded in the stated direction, and never anything but InvalidQuantity for nonsense."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidQuantity
from tensorfusion.units import (
    Rounding,
    format_bytes,
    format_gflops,
    humanize_bytes,
    humanize_gflops,
    parse_quantity,
    to_bytes,
    to_gflops,
    to_milli,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("16Gi", 16 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("100m", Fraction(1, 10)),
        ("1e3", 1000),
        ("1E", 10**18),
        ("12E2", 1200),
        (".5", Fraction(1, 2)),
        ("-1", -1),
        ("5k", 5000),
    ],
)
def test_a_quantity_is_exact(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "x", "1 Gi", "1Gb", "1ki", "Gi", "--1", "1\n", "\u0661", "0x10", "1" * 100, "nan"]
)
def test_nonsense_is_refused_with_the_text_in_the_message(text: str) -> None:
    with pytest.raises(InvalidQuantity, match="is not a quantity"):
        parse_quantity(text)


def test_requests_round_up_and_capacities_down() -> None:
    assert to_gflops("0.0001") == 1
    assert to_gflops("0.0009", Rounding.DOWN) == 0
    assert to_bytes("1m") == 1
    assert to_milli("0.25") == 250


def test_negative_and_huge_values_are_refused() -> None:
    with pytest.raises(InvalidQuantity, match="negative"):
        to_bytes("-1Gi")
    with pytest.raises(InvalidQuantity, match="too large"):
        to_bytes("9000E")


@given(st.integers(0, 2**62))
def test_bytes_survive_the_wire(value: int) -> None:
    assert to_bytes(format_bytes(value)) == value


@given(st.integers(0, 2**52))
def test_gflops_survive_the_wire(value: int) -> None:
    assert to_gflops(format_gflops(value)) == value


@given(st.text(max_size=80))
def test_any_text_is_a_quantity_or_one_clear_error(text: str) -> None:
    try:
        parse_quantity(text)
    except InvalidQuantity as error:
        assert "\n" not in str(error)


def test_amounts_for_people() -> None:
    assert humanize_gflops(149_700) == "149.7"
    assert humanize_gflops(0) == "0"
    assert humanize_bytes(3 * 2**29) == "1.5Gi"
    assert humanize_bytes(512) == "512"
