"""The functions of strings: values and errors as Kubernetes has them."""

import pytest
from library_calls import problem_of, value_of

VALUES = [
    ("'tacocat'.charAt(3)", "o"),
    ("'tacocat'.charAt(7)", ""),
    ("'©αT'.charAt(1)", "α"),
    ("'tacocat'.indexOf('')", 0),
    ("'tacocat'.indexOf('', 99)", 99),
    ("'tacocat'.indexOf('', -1)", -1),
    ("'tacocat'.indexOf('a', 3)", 5),
    ("'tacocat'.indexOf('a', 30)", -1),
    ("'ta©o©αT'.indexOf('©', 3)", 4),
    ("'tacocat'.lastIndexOf('at')", 5),
    ("'tacocat'.lastIndexOf('')", 7),
    ("'tacocat'.lastIndexOf('', 3)", 3),
    ("'tacocat'.lastIndexOf('a', 4)", 1),
    ("'tacocat'.lastIndexOf('ac', 1)", 1),
    ("'tacocat'.lastIndexOf('at', 6)", 5),
    ("'tacocat'.lastIndexOf('a', 7)", -1),
    ("'a'.lastIndexOf('abc')", -1),
    ("''.lastIndexOf('a')", -1),
    ("''.lastIndexOf('a', 0)", -1),
    ("'ab'.lastIndexOf('abc', 1)", -1),
    ("'hello hello'.replace('he', 'we')", "wello wello"),
    ("'hello hello'.replace('he', 'we', 1)", "wello hello"),
    ("'hello hello'.replace('he', 'we', 0)", "hello hello"),
    ("'hello hello'.replace('he', 'we', -2)", "wello wello"),
    ("'abc'.replace('', '_')", "_a_b_c_"),
    ("'abc'.replace('', '_', 2)", "_a_bc"),
    ("''.replace('', '_')", "_"),
    ("'aé'.replace('', '_')", "_a_é_"),
    ("'hello hello hello'.split(' ')", ["hello", "hello", "hello"]),
    ("'hello hello hello'.split(' ', 0)", []),
    ("'hello hello hello'.split(' ', 1)", ["hello hello hello"]),
    ("'hello hello hello'.split(' ', 2)", ["hello", "hello hello"]),
    ("'hello hello hello'.split(' ', -5)", ["hello", "hello", "hello"]),
    ("'abc'.split('')", ["a", "b", "c"]),
    ("'abc'.split('', 2)", ["a", "bc"]),
    ("'abc'.split('', 9)", ["a", "b", "c"]),
    ("''.split('')", []),
    ("''.split('', 1)", []),
    ("''.split(',')", [""]),
    ("''.split(',', 1)", [""]),
    ("'tacocat'.substring(4)", "cat"),
    ("'tacocat'.substring(7)", ""),
    ("'tacocat'.substring(0, 4)", "taco"),
    ("' \\f\\n\\r\\t\\vtext\\u0085\\u00a0\\u1680\\u2000\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'.trim()", "text"),
    ("'\\u001ctrim\\u001f'.trim()", "\x1ctrim\x1f"),
    ("'TaÀé'.lowerAscii()", "taÀé"),
    ("'taàé'.upperAscii()", "TAàé"),
    ("['x', 'y'].join()", "xy"),
    ("['x', 'y'].join(', ')", "x, y"),
    ("[].join()", ""),
    ("'aaaaaaaaaaaaaaaaaaaaaaaaa'.replace('a', 'b')", "bbbbbbbbbbbbbbbbbbbbbbbbb"),
    ("'éééééééééééé'.indexOf('a')", -1),
    ("'éééééééééééé'.trim()", "éééééééééééé"),
]
PROBLEMS = [
    ("'tacocat'.charAt(8)", "index out of range: 8"),
    ("'tacocat'.charAt(-1)", "index out of range: -1"),
    ("'tacocat'.indexOf('a', -1)", "index out of range: -1"),
    ("'tacocat'.lastIndexOf('a', -1)", "index out of range: -1"),
    ("'tacocat'.substring(8)", "index out of range: 8"),
    ("'tacocat'.substring(-1)", "index out of range: -1"),
    ("'tacocat'.substring(4, 2)", "invalid substring range. start: 4, end: 2"),
    ("'tacocat'.substring(-1, 2)", "index out of range: -1"),
    ("'tacocat'.substring(4, 8)", "index out of range: 8"),
    ("'tacocat'.substring(9, 10)", "index out of range: 9"),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem
