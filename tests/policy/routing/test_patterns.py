"""An expression means what RE2 says, and cannot hold anybody up."""

import re
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.routing.expressions import DEEPEST, read
from tensorfusion.policy.routing.linear import LinearPattern
from tensorfusion.policy.routing.patterns import LONGEST_MESSAGE, LONGEST_MODEL, BoundedPattern
from tensorfusion.re2.patterns import compile_pattern

atoms = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        ".",
        "[ab]",
        "[^a]",
        r"\d",
        r"\w",
        "^",
        "$",
        r"\b",
        r"\B",
        r"\A",
        r"\z",
        "_",
        r"\.",
        "(?i)A",
        "(?s).",
        "(?m)^",
        "(?m)$",
        "é",
        "",
    ]
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=8,
)
texts = st.text(alphabet="abAB1_ \n.é", max_size=12)


@given(expressions, st.lists(texts, min_size=1, max_size=5))
def test_both_ways_to_match_agree(source: str, found: list[str]) -> None:
    compiled = compile_pattern(source)
    linear = LinearPattern(read(compiled.pattern))
    for text in found:
        assert linear.search(text) == (compiled.search(text) is not None), (source, text)


@pytest.mark.parametrize(
    "source",
    [
        "(a+)+$",
        "(a|a)*$",
        "(a|aa)+$",
        "(.*)(.*)(.*)(.*)x",
        "(?:a?){400}",
        r"(\w+\s?)*:",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(a*)*b",
        "^(a?){25}a{25}$",
    ],
)
def test_nothing_that_would_go_back_for_ever_takes_long(source: str) -> None:
    pattern = BoundedPattern(source, LONGEST_MESSAGE)
    assert pattern.linear
    started = process_time()
    for text in ("a" * 100_000 + "!", "ab " * 30_000):
        pattern.found_in(text)
    assert process_time() - started < 20  # minutes to centuries where it goes back


@pytest.mark.parametrize(
    "source",
    [
        "^chat$",
        "^llama-3.*",
        "(?i)gpt-4o(-mini)?",
        r"^claude-[a-z]+-\d",
        "^(gpt|claude|o[134])-",
        "mini.*2025",
    ],
)
def test_usual_expressions_over_model_names_are_matched_by_re(source: str) -> None:
    assert not BoundedPattern(source, LONGEST_MODEL).linear


def test_usual_expressions_over_messages_are_matched_by_re() -> None:
    assert not BoundedPattern(r"(?i)\b(sql|select|join|query)\b", LONGEST_MESSAGE).linear
    assert BoundedPattern(r"select.*from", LONGEST_MESSAGE).linear


def test_only_the_beginning_of_a_text_counts() -> None:
    pattern = BoundedPattern("x$", 10)
    assert pattern.found_in("a" * 9 + "x")
    assert pattern.found_in("a" * 9 + "xa")
    assert not pattern.found_in("a" * 10 + "x")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("(", "'(' is no regular expression: error parsing regexp: missing closing ): `(`"),
        ("(?=a)", "'(?=a)' is no regular expression: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
        ("a" * 1025, "wanted an expression of at most 1024 characters, found 1025"),
        ("(?:a{30}b*){31}", "wanted an expression of at most 1000 steps, counted repetitions written out"),
        ("(" * 60 + "a" + ")" * 60, f"wanted groups at most {DEEPEST} deep in each other"),
    ],
)
def test_what_is_no_expression_is_named(source: str, error: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        BoundedPattern(source, LONGEST_MESSAGE)
    assert str(caught.value) == error


@given(st.text(alphabet="ab(|)*+?{1,}[^-]\\.dwbBpL$i:s", max_size=20))
def test_whatever_is_written_is_read_or_refused(source: str) -> None:
    try:
        compiled = compile_pattern(source)
    except re.error:
        with pytest.raises(InvalidRequest):
            BoundedPattern(source, LONGEST_MODEL)
        return
    found = LinearPattern(read(compiled.pattern))
    for text in ("", "ab", "a1 b", "(a)"):
        assert found.search(text) == (compiled.search(text) is not None)
