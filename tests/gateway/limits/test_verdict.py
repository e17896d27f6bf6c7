"""What callers are told of their limits."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.gateway.limits.rules import Rule
from tensorfusion.gateway.limits.verdict import Step, Verdict
from tensorfusion.wire.fields import field_lines

_numbers = st.integers(0, 10**12)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    unit, token_unit = draw(st.sampled_from((0, 3, 10**9))), draw(st.sampled_from((0, 7, 10**6)))
    rule = Rule(
        "r",
        requests_per_minute=draw(_numbers),
        request_unit=unit,
        request_depth=unit * draw(st.integers(0, 1000)),
        tokens_per_minute=draw(_numbers),
        token_unit=token_unit,
        token_depth=token_unit * draw(st.integers(0, 1000)),
    )
    return 0, rule, draw(_numbers), draw(_numbers)


@given(st.lists(steps(), max_size=3))
def test_an_answer_is_told_the_same_as_a_refusal(found: list[Step]) -> None:
    verdict = Verdict(found)
    assert verdict.lines() == field_lines(verdict.fields())
