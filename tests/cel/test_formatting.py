"""``format()``: values and errors as Kubernetes has them."""

import pytest
from library_calls import problem_of, value_of

VALUES = [
    ("'%e'.format([0.0])", "0.000000×10⁰⁰"),
    ("'%e'.format([-0.0])", "0.000000×10⁰⁰"),
    ("'%.2e'.format([1052.032911275])", "1.052033×10⁰³"),
    ("'%.20e'.format([1052.032911275])", "       1.052033×10⁰³"),
    ("'%.10e'.format([1e-300])", "1.000000×10⁻³⁰⁰"),
    ("'%e'.format([1e300])", "1.000000×10³⁰⁰"),
    ("'%e'.format([123456789.0])", "1.234568×10⁰⁸"),
    ("'%e'.format([-9.9999999])", "-1.000000×10⁰¹"),
    ("'%e'.format(['NaN'])", "   NaN"),
    ("'%e'.format(['Infinity'])", "     ∞"),
    ("'%f'.format(['-Infinity'])", "-∞"),
    ("'%f'.format([double('NaN')])", "NaN"),
    ("'%.2f'.format([2.675])", "2.67"),
    ("'%.1f'.format([0.25])", "0.2"),
    ("'%.0f'.format([0.5])", "0"),
    ("'%.0f'.format([1.5])", "2"),
    ("'%.0f'.format([2.5])", "2"),
    ("'%.30f'.format([0.1])", "0.100000000000000005551115123126"),
    ("'%.3f'.format([1e22])", "10,000,000,000,000,000,000,000.000"),
    ("'%.3f'.format([-1234.5678])", "-1,234.568"),
    ("'%f'.format([999999.9999999])", "1,000,000.000000"),
    ("'%f'.format([-0.0])", "0.000000"),
    ("'%f'.format([1.0e-7])", "0.000000"),
    ("'%s'.format([{1: 2.5, true: 'x', 'k': [1], 3u: null}])", '{"k":[1], 1:2.500000, 3:null, true:"x"}'),
    ("'%s'.format([1e100])", "1e+100"),
    ("'%s'.format([double('-inf')])", "-Inf"),
    ("'%s'.format([[double('inf'), double('nan')]])", '["+Inf", "NaN"]'),
    ("'%x %X %x %x %x'.format([-255, 255u, 'hello', b'\\x01\\xff', 'é'])", "-ff FF 68656c6c6f 01ff c3a9"),
    ("'%o %b %b %b'.format([8, -5, true, 5u])", "10 -101 1 101"),
    ("'100%% %s'.format(['ok'])", "100% ok"),
    ("'é%sé'.format(['ü'])", "éüé"),
    ("dyn('%s').format([1,2])", "1"),
    ("'%s'.format([0.1+0.2])", "0.30000000000000004"),
    ("'%s'.format([1e21])", "1e+21"),
    ("'%s'.format([100000.0])", "100000"),
    ("'%s'.format([0.00001])", "1e-05"),
    ("'%s'.format([[1000000.0, 0.1]])", "[1000000.000000, 0.100000]"),
    ("'%s'.format([int])", "int"),
    ("'%s'.format([[type(1), type([1]), type({})]])", "[int, list, map]"),
    ("'%.1000001f|'.format([1.5])", "1.50000000000000000000000000000000000000000000000000000000000000000|"),
    ("'%.0e|'.format([1.5])", "1.500000×10⁰⁰|"),
    ("'%.010e|'.format([1.5])", "1.500000×10⁰⁰|"),
    ("'%.02f|'.format([1.5])", "1.50|"),
    ("'%f'.format([-1e-7])", "-0.000000"),
    ("'%f'.format([-1e-17])", "-0.000000"),
    ("'%e'.format([-1e-7])", "-1.000000×10⁻⁰⁷"),
    ("'%e'.format([1.0000005])", "1.000001×10⁰⁰"),
    ("'%e'.format([1.0000015])", "1.000001×10⁰⁰"),
    ("'%e'.format([2.5e-5])", "2.500000×10⁻⁰⁵"),
    ("'%e'.format([9.9999995])", "9.999999×10⁰⁰"),
    ("'%s'.format([''])", ""),
    ("'%s'.format([null])", "null"),
    ("'%s'.format([[null, null]])", "[null, null]"),
    ("dyn('%s').format([{'a': null}])", '{"a":null}'),
    ("''.format([])", ""),
    ("'%%'.format([])", "%"),
    ("'%X'.format(['jk'])", "6A6B"),
    ("'%x'.format([-9223372036854775807])", "-7fffffffffffffff"),
    ("'%b'.format([18446744073709551615u])", "1111111111111111111111111111111111111111111111111111111111111111"),
    ("'%d %d'.format([1, 2u])", "1 2"),
    ("'%s'.format([[]])", "[]"),
    ("'%s'.format([{}])", "{}"),
    ("'%s'.format([[[]]])", "[[]]"),
    ("'%s'.format([{'é': 'ü\"'}])", '{"é":"ü\\""}'),
    ("'%s'.format([b'abc'])", "abc"),
    ("'%s'.format([[b'ab\\\"c\\n']])", '[b"ab\\"c\\n"]'),
]
PROBLEMS = [
    (
        "'%f'.format(['1'])",
        "error during formatting: fixed-point clause can only be used on doubles, was given string",
    ),
    (
        "'%s'.format([b'\\xff'])",
        'error during formatting: could not convert argument "invalid UTF-8 in bytes, cannot convert to string" to string',
    ),
    (
        "'%d'.format([dyn(1.5)])",
        "error during formatting: decimal clause can only be used on integers, was given double",
    ),
    (
        "'%b'.format([dyn('a')])",
        "error during formatting: only integers and bools can be formatted as binary, was given string",
    ),
    (
        "dyn('%f').format([dyn(1)])",
        "error during formatting: fixed-point clause can only be used on doubles, was given int",
    ),
    (
        "dyn('%e').format([dyn(1)])",
        "error during formatting: scientific clause can only be used on doubles, was given int",
    ),
    (
        "dyn('%f').format([dyn('x')])",
        "error during formatting: fixed-point clause can only be used on doubles, was given string",
    ),
    (
        "dyn('%x').format([dyn(1.0)])",
        "error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given double",
    ),
    (
        "dyn('%o').format([dyn('a')])",
        "error during formatting: octal clause can only be used on integers, was given string",
    ),
    (
        "dyn('%d').format([dyn('a')])",
        "error during formatting: decimal clause can only be used on integers, was given string",
    ),
    ("dyn('%é').format([dyn('a')])", 'could not parse formatting clause: unrecognized formatting clause "Ã"'),
    ("dyn('%s').format([])", "index 0 out of range"),
    ("dyn('%').format([1])", "unexpected end of string"),
    (
        "dyn('%.').format([1])",
        "could not parse formatting clause: error while parsing precision: could not find end of precision specifier",
    ),
    (
        "dyn('%.3').format([1])",
        "could not parse formatting clause: error while parsing precision: could not find end of precision specifier",
    ),
    ("dyn('%q').format([1])", 'could not parse formatting clause: unrecognized formatting clause "q"'),
    ("dyn('%s %s').format([1])", "index 1 out of range"),
    (
        "dyn('%x').format([dyn(true)])",
        "error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given bool",
    ),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem
