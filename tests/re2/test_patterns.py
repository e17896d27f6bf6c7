"""Patterns of RE2 on Python's engine. What they match is tested with ``find`` in ``test_regex``."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.re2.patterns import compile_pattern

# Each with what Kubernetes says of it.
WRONG = [
    ("(", "error parsing regexp: missing closing ): `(`"),
    ("[", "error parsing regexp: missing closing ]: `[`"),
    ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
    ("a++", "error parsing regexp: invalid nested repetition operator: `++`"),
    ("a**", "error parsing regexp: invalid nested repetition operator: `**`"),
    ("(?=b)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
    ("(a)b\\1", "error parsing regexp: invalid escape sequence: `\\1`"),
    ("\\C", "error parsing regexp: invalid escape sequence: `\\C`"),
    ("\\Z", "error parsing regexp: invalid escape sequence: `\\Z`"),
    ("\\y", "error parsing regexp: invalid escape sequence: `\\y`"),
    ("*a", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("a)", "error parsing regexp: unexpected ): `a)`"),
    ("[c-a]", "error parsing regexp: invalid character class range: `c-a`"),
    ("\\", "error parsing regexp: trailing backslash at end of expression: ``"),
    ("(?z)a", "error parsing regexp: invalid or unsupported Perl syntax: `(?z`"),
    ("[[:foo:]]", "error parsing regexp: invalid character class range: `[:foo:]`"),
    ("\\p{Foo}", "error parsing regexp: invalid character class range: `\\p{Foo}`"),
    ("(?", "error parsing regexp: invalid or unsupported Perl syntax: `(?`"),
    ("(?i", "error parsing regexp: invalid or unsupported Perl syntax: `(?i`"),
    ("(?i-", "error parsing regexp: invalid or unsupported Perl syntax: `(?i-`"),
    ("(?i-)", "error parsing regexp: invalid or unsupported Perl syntax: `(?i-)`"),
    ("(?-)", "error parsing regexp: invalid or unsupported Perl syntax: `(?-)`"),
    ("(?--i)", "error parsing regexp: invalid or unsupported Perl syntax: `(?--`"),
    ("(?i-s-m)", "error parsing regexp: invalid or unsupported Perl syntax: `(?i-s-`"),
    ("(?#x)", "error parsing regexp: invalid or unsupported Perl syntax: `(?#`"),
    ("(?!b)", "error parsing regexp: invalid or unsupported Perl syntax: `(?!`"),
    ("(?<!b)", "error parsing regexp: invalid named capture: `(?<!b)`"),
    ("(?<=b)", "error parsing regexp: invalid named capture: `(?<=b)`"),
    ("(?P=b)", "error parsing regexp: invalid or unsupported Perl syntax: `(?P`"),
    ("(?P<b", "error parsing regexp: invalid named capture: `(?P<b`"),
    ("(?P<>b)", "error parsing regexp: invalid named capture: `(?P<>`"),
    ("(?P<a-b>b)", "error parsing regexp: invalid named capture: `(?P<a-b>`"),
    ("(?<", "error parsing regexp: invalid or unsupported Perl syntax: `(?<`"),
    ("(?P<", "error parsing regexp: invalid or unsupported Perl syntax: `(?P`"),
    ("a{2,1}", "error parsing regexp: invalid repeat count: `{2,1}`"),
    ("(a{100}){11}", "error parsing regexp: invalid repeat count: `{11}`"),
    ("a{99999999999}", "error parsing regexp: invalid repeat count: `{99999999999}`"),
    ("a{2}{3}", "error parsing regexp: invalid nested repetition operator: `{2}{3}`"),
    ("a{2}?*", "error parsing regexp: invalid nested repetition operator: `{2}?*`"),
    ("a*?+", "error parsing regexp: invalid nested repetition operator: `*?+`"),
    ("|*", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("(*)", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("(?i)*", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("{2}", "error parsing regexp: missing argument to repetition operator: `{2}`"),
    ("\\8", "error parsing regexp: invalid escape sequence: `\\8`"),
    ("\\1", "error parsing regexp: invalid escape sequence: `\\1`"),
    ("\\x", "error parsing regexp: invalid escape sequence: `\\x`"),
    ("\\x4", "error parsing regexp: invalid escape sequence: `\\x4`"),
    ("\\xzz", "error parsing regexp: invalid escape sequence: `\\xzz`"),
    ("\\x{}", "error parsing regexp: invalid escape sequence: `\\x{}`"),
    ("\\x{110000}", "error parsing regexp: invalid escape sequence: `\\x{110000`"),
    ("\\x{zz}", "error parsing regexp: invalid escape sequence: `\\x{z`"),
    ("\\x{41", "error parsing regexp: invalid escape sequence: `\\x{41`"),
    ("\\é", "error parsing regexp: invalid escape sequence: `\\é`"),
    ("[a", "error parsing regexp: missing closing ]: `[a`"),
    ("[]", "error parsing regexp: missing closing ]: `[]`"),
    ("[^]", "error parsing regexp: missing closing ]: `[^]`"),
    ("[a-", "error parsing regexp: missing closing ]: `[a-`"),
    ("[\\", "error parsing regexp: trailing backslash at end of expression: ``"),
    ("[a-\\d]", "error parsing regexp: invalid escape sequence: `\\d`"),
    ("[b-a]", "error parsing regexp: invalid character class range: `b-a`"),
    ("[[:alpha:]", "error parsing regexp: missing closing ]: `[[:alpha:]`"),
    ("[[:Alpha:]]", "error parsing regexp: invalid character class range: `[:Alpha:]`"),
    ("\\p", "error parsing regexp: invalid character class range: `\\p`"),
    ("\\p{L", "error parsing regexp: invalid character class range: `\\p{L`"),
    ("\\p{}", "error parsing regexp: invalid character class range: `\\p{}`"),
    ("[\\p", "error parsing regexp: invalid character class range: `\\p`"),
    ("\\E", "error parsing regexp: invalid escape sequence: `\\E`"),
    ("\\Q\\E*", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("\\(x)", "error parsing regexp: unexpected ): `\\(x)`"),
    ("(?x) #", "error parsing regexp: invalid or unsupported Perl syntax: `(?x`"),
]


@pytest.mark.parametrize(("pattern", "problem"), WRONG)
def test_what_re2_refuses_is_refused_in_its_words(pattern: str, problem: str) -> None:
    with pytest.raises(re.error) as caught:
        compile_pattern(pattern)
    assert str(caught.value) == problem


@given(st.text(max_size=20))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        compile_pattern(text).search(text)
    except re.error as error:
        assert str(error).startswith("error parsing regexp: ")


@given(st.text(max_size=20), st.text(max_size=5), st.text(max_size=5))
def test_a_quoted_text_matches_itself_alone(text: str, before: str, after: str) -> None:
    quoted = "\\Q" + text.replace("\\E", "\\e") + "\\E" if not text.endswith("\\") else re.escape(text)
    wanted = text.replace("\\E", "\\e") if quoted.startswith("\\Q") else text
    match = compile_pattern(quoted).search(before + wanted + after)
    assert match is not None and match.group() == wanted


@given(st.text(alphabet="ab]^-\\[&~|:x", max_size=12), st.text(alphabet="ab]^-\\[&~|:x", max_size=12))
def test_a_set_of_escaped_characters_matches_just_those(members: str, text: str) -> None:
    if not members:
        return
    pattern = "[" + "".join(f"\\x{{{ord(letter):x}}}" for letter in members) + "]"
    found = compile_pattern(pattern).findall(text)
    assert found == [letter for letter in text if letter in members]


def test_a_pattern_that_is_too_long_or_nests_too_deeply_is_refused() -> None:
    for pattern in ("a" * 10_001, "(" * 5000 + ")" * 5000):
        with pytest.raises(re.error, match=r"error parsing regexp: expression (too large|nests too deeply)"):
            compile_pattern(pattern)
