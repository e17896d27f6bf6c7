"""Quantities: values and errors as Kubernetes has them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_calls import problem_of, value_of

from tensorfusion.cel.library.quantities import parse
from tensorfusion.units import parse_quantity

VALUES = [
    ("quantity('1').isInteger()", True),
    ("quantity('1000m').isInteger()", False),
    ("quantity('1.0').isInteger()", False),
    ("quantity('1.5Gi').isInteger()", False),
    ("quantity('1.0Gi').isInteger()", False),
    ("quantity('1Gi').isInteger()", True),
    ("quantity('1Gi').asInteger()", 1073741824),
    ("quantity('1Ti').asInteger()", 1099511627776),
    ("quantity('1000Ti').isInteger()", False),
    ("quantity('9Pi').isInteger()", False),
    ("quantity('1Ei').isInteger()", False),
    ("quantity('1E').asInteger()", 1000000000000000000),
    ("quantity('10E').isInteger()", False),
    ("quantity('9223372036854775807').isInteger()", False),
    ("quantity('922337203685477580').isInteger()", True),
    ("quantity('1e3').asInteger()", 1000),
    ("quantity('1E3').asInteger()", 1000),
    ("quantity('1e-3').isInteger()", False),
    ("quantity('100e-2').isInteger()", False),
    ("quantity('0').isInteger()", True),
    ("quantity('0m').isInteger()", False),
    ("quantity('0.0').isInteger()", False),
    ("quantity('-5').asInteger()", -5),
    ("quantity('+5').asInteger()", 5),
    ("quantity('1.5k').asInteger()", 1500),
    ("quantity('1.5k').isInteger()", True),
    ("quantity('1e100').asApproximateFloat()", 1e100),
    ("quantity('1e100').isInteger()", False),
    ("quantity('0.0000000001').asApproximateFloat()", 1e-09),
    ("quantity('-0.0000000001').asApproximateFloat()", -1e-09),
    ("quantity('0.1n').asApproximateFloat()", 1e-09),
    ("quantity('1n').asApproximateFloat()", 1e-09),
    ("quantity('100m').asApproximateFloat()", 0.1),
    ("quantity('1.5Gi').asApproximateFloat()", 1610612736.0),
    ("quantity('1.1Gi').asApproximateFloat()", 1181116006.4),
    ("quantity('9Ei').asApproximateFloat()", 9.223372036854776e18),
    ("quantity('-9Ei').asApproximateFloat()", -9.223372036854776e18),
    ("quantity('0.3Ki').asApproximateFloat()", 307.20000000000005),
    ("quantity('0.0001Ki').asApproximateFloat()", 0.1024),
    ("quantity('123456789012345678901234567890').asApproximateFloat()", 1.234567890123457e29),
    ("quantity('3.14159').asApproximateFloat()", 3.1415900000000003),
    ("quantity('123456.789').asApproximateFloat()", 123456.789),
    ("quantity('1e-9').asApproximateFloat()", 1e-09),
    ("quantity('5u').asApproximateFloat()", 4.9999999999999996e-06),
    ("sign(quantity('-1'))", -1),
    ("sign(quantity('0'))", 0),
    ("sign(quantity('5n'))", 1),
    ("quantity('1Gi').isGreaterThan(quantity('1G'))", True),
    ("quantity('1G').isLessThan(quantity('1Gi'))", True),
    ("quantity('1').compareTo(quantity('1000m'))", 0),
    ("quantity('1').compareTo(quantity('2'))", -1),
    ("quantity('3').compareTo(quantity('2'))", 1),
    ("quantity('1') == quantity('1000m')", True),
    ("dyn(1) == quantity('1')", False),
    ("dyn(quantity('1')) == null", False),
    ("quantity('1').add(quantity('1')) == quantity('2')", True),
    ("quantity('1').add(1).asInteger()", 2),
    ("quantity('1').add(quantity('500m')).isInteger()", False),
    ("quantity('1500m').add(quantity('500m')).isInteger()", False),
    ("quantity('1').sub(quantity('1.5Gi')).asApproximateFloat()", -1610612735.0),
    ("quantity('9223372036854775807').add(1).isInteger()", False),
    ("quantity('922337203685477580').add(922337203685477580).isInteger()", True),
    ("quantity('900000000000000000').add(9000000000000000000).isInteger()", False),
    ("quantity('900000000000000000').add(9000000000000000000).asApproximateFloat()", 9.9e18),
    ("quantity('1').sub(5).asInteger()", -4),
    ("quantity('0m').add(5).isInteger()", True),
    ("quantity('5').add(quantity('0m')).isInteger()", True),
    ("quantity('1k').add(quantity('1')).asInteger()", 1001),
    ("quantity('1').add(quantity('1k')).asInteger()", 1001),
    ("quantity('1k').add(quantity('0')).asInteger()", 1000),
    ("quantity('1').sub(quantity('-9223372036854775808')).isInteger()", False),
    ("quantity('1').add(quantity('2')) in [quantity('3')]", True),
    ("quantity('3') in [quantity('1').add(quantity('2'))]", False),
    ("isQuantity('1.3Gi')", True),
    ("isQuantity('1.3GiB')", False),
    ("isQuantity('20Mi')", True),
    ("isQuantity('')", False),
    ("quantity('1.5Gi').add(quantity('1')).asApproximateFloat()", 1610612737.0),
    ("quantity('00012').asInteger()", 12),
    ("quantity('0012.50').asApproximateFloat()", 12.5),
    ("quantity('1234567890123Ki').isInteger()", False),
    ("quantity('123456789012Ki').isInteger()", False),
    ("quantity('12345678901Ki').isInteger()", True),
    ("quantity('12345678Mi').isInteger()", True),
    ("quantity('123456789Mi').isInteger()", False),
    ("quantity('12345Gi').isInteger()", True),
    ("quantity('123456Gi').isInteger()", False),
    ("quantity('12Ti').isInteger()", True),
    ("quantity('123Ti').isInteger()", False),
    ("quantity('1Pi').isInteger()", False),
]
PROBLEMS = [
    ("quantity('1.5').asInteger()", "cannot convert value to integer"),
    (
        "quantity('').isInteger()",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        "quantity('abc')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        "quantity('1x')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        "quantity('1 ')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    ("quantity('1kk')", "unable to parse quantity's suffix"),
    (
        "quantity('1KiB')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        "quantity('1.2.3')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    ("quantity('1e')", "unable to parse quantity's suffix"),
    ("quantity('1e+')", "unable to parse quantity's suffix"),
    (
        "quantity('1e3k')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    ("quantity('1ki')", "unable to parse quantity's suffix"),
    ("quantity('1K')", "unable to parse quantity's suffix"),
    ("quantity('--1')", "unable to parse quantity's suffix"),
    ("quantity('1') == dyn(1)", "no such overload"),
    ("quantity('2') == quantity('1').add(quantity('1'))", "no such overload"),
    ("quantity('1').add(1) == quantity('1').add(1)", "no such overload"),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem


@given(
    st.integers(-(10**15), 10**15), st.sampled_from(["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"])
)
def test_a_quantity_is_worth_what_units_say(number: int, suffix: str) -> None:
    found = parse(f"{number}{suffix}")
    exact = parse_quantity(f"{number}{suffix}")
    if abs(exact) < 1 << 63:
        assert Fraction(found.unscaled) * Fraction(10) ** found.scale == exact


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12), st.sampled_from(["", "m", "k", "Ki", "Gi"]))
def test_sums_and_differences_are_exact(left: int, right: int, suffix: str) -> None:
    one, other = f"quantity('{left}{suffix}')", f"quantity('{right}')"
    assert value_of(f"{one}.add({other}).sub({other}).compareTo({one})") == 0
