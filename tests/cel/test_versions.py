"""Semantic versions: values and errors as Kubernetes has them."""

import pytest
from library_calls import problem_of, value_of

VALUES = [
    ("semver('18446744073709551615.0.0').major()", -1),
    ("semver('9223372036854775808.0.0').major()", -9223372036854775808),
    ("isSemver('1.0.0')", True),
    ("isSemver('v1.0')", False),
    ("isSemver('v1.0', true)", True),
    ("isSemver('v1.0', false)", False),
    ("isSemver('hello')", False),
    ("semver('1.2.3').major()", 1),
    ("semver('1.2.3').minor()", 2),
    ("semver('1.2.3').patch()", 3),
    ("semver('1.2.3').compareTo(semver('1.2.3'))", 0),
    ("semver('1.2.3').compareTo(semver('2.0.0'))", -1),
    ("semver('1.2.3').compareTo(semver('0.1.2'))", 1),
    ("semver('1.2.3-a').compareTo(semver('1.2.3'))", -1),
    ("semver('1.2.3').compareTo(semver('1.2.3-a'))", 1),
    ("semver('1.2.3-a').compareTo(semver('1.2.3-b'))", -1),
    ("semver('1.2.3-1').compareTo(semver('1.2.3-a'))", -1),
    ("semver('1.2.3-2').compareTo(semver('1.2.3-10'))", -1),
    ("semver('1.2.3-a').compareTo(semver('1.2.3-a.1'))", -1),
    ("semver('1.2.3-a.1').compareTo(semver('1.2.3-a'))", 1),
    ("semver('1.2.3-a-b').compareTo(semver('1.2.3-aZ'))", -1),
    ("semver('1.2.3+a').compareTo(semver('1.2.3+b'))", 0),
    ("semver('1.2.3+a') == semver('1.2.3+b')", True),
    ("semver('1.2.3').isGreaterThan(semver('1.2.2'))", True),
    ("semver('1.2.3').isLessThan(semver('1.2.2'))", False),
    ("semver('1.2.3') in [semver('1.2.3')]", True),
]
PROBLEMS = [
    ("semver('200K')", "No Major.Minor.Patch elements found"),
    ("semver('Three')", "No Major.Minor.Patch elements found"),
    ("semver('')", "Version string empty"),
    ("semver('1')", "No Major.Minor.Patch elements found"),
    ("semver('1.2')", "No Major.Minor.Patch elements found"),
    ("semver('v1.0.0')", 'Invalid character(s) found in major number "v1"'),
    ("semver('1.0.0.0')", 'Invalid character(s) found in patch number "0.0"'),
    ("semver('01.0.0')", 'Major number must not contain leading zeroes "01"'),
    ("semver('1.01.0')", 'Minor number must not contain leading zeroes "01"'),
    ("semver('1.0.01')", 'Patch number must not contain leading zeroes "01"'),
    ("semver('1.0.')", 'strconv.ParseUint: parsing "": invalid syntax'),
    ("semver('1..0')", 'strconv.ParseUint: parsing "": invalid syntax'),
    ("semver('.1.0')", 'strconv.ParseUint: parsing "": invalid syntax'),
    ("semver('1.a.0')", 'Invalid character(s) found in minor number "a"'),
    ("semver('1.0.0-')", "Prerelease is empty"),
    ("semver('1.0.0-a..b')", "Prerelease is empty"),
    ("semver('1.0.0-01')", 'Numeric PreRelease version must not contain leading zeroes "01"'),
    ("semver('1.0.0-é')", 'Invalid character(s) found in prerelease "é"'),
    ("semver('1.0.0+')", "Build meta data is empty"),
    ("semver('1.0.0+a..b')", "Build meta data is empty"),
    ("semver('1.0.0+é')", 'Invalid character(s) found in build meta data "é"'),
    ("semver('1.0.0+a+b')", 'Invalid character(s) found in build meta data "a+b"'),
    ("semver('1.0.x')", 'Invalid character(s) found in patch number "x"'),
    ("semver('18446744073709551616.0.0')", 'strconv.ParseUint: parsing "18446744073709551616": value out of range'),
    ("semver('0.18446744073709551616.0')", 'strconv.ParseUint: parsing "18446744073709551616": value out of range'),
    ("semver('0.0.99999999999999999999')", 'strconv.ParseUint: parsing "99999999999999999999": value out of range'),
    (
        "semver('1.0.0-99999999999999999999')",
        'strconv.ParseUint: parsing "99999999999999999999": value out of range',
    ),
    ("semver('1.0-rc1', true)", "short version cannot contain PreRelease/Build meta data"),
    ("semver('1-rc1', true)", "short version cannot contain PreRelease/Build meta data"),
    ("semver('v', true)", 'strconv.ParseUint: parsing "": invalid syntax'),
    ("semver('', true)", 'strconv.ParseUint: parsing "": invalid syntax'),
    ("semver('0x.1', true)", 'Invalid character(s) found in major number "0x"'),
    ("semver('vv1.0.0', true)", 'Invalid character(s) found in major number "0v1"'),
    ("semver(' 1.0.0', true)", 'Invalid character(s) found in major number "0 1"'),
    ("semver('V1.0.0', true)", 'Invalid character(s) found in major number "0V1"'),
    ("semver('v1.0.0', false)", 'Invalid character(s) found in major number "v1"'),
    ("semver('1.2.3') == dyn(1)", "no such overload"),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem
