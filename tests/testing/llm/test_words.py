"""What the simulated model says: the same to the same, in tokens that anybody can count, and going on from any cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.testing.llm import words
from tensorfusion.testing.llm.ask import Ask, answer
from tensorfusion.testing.llm.refusals import Refusal
from tensorfusion.testing.llm.settings import Settings

SETTINGS = Settings(models={"one": "weights", "two": "weights", "other": "else"})
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1, max_size=4)


def said(ask: Ask) -> str:
    return "".join(answer(ask, SETTINGS).choices[0].pieces)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 300))
def test_tokens_are_the_words_of_the_text(key: bytes, length: int) -> None:
    pieces = words.say(key, length)
    text = "".join(pieces)
    assert len(pieces) == length == words.count(text)
    assert words.pieces_of(text) == pieces
    assert words.say(key, length // 2) == pieces[: length // 2]


@given(st.text())
def test_the_pieces_of_any_text_are_the_text(text: str) -> None:
    assert "".join(words.pieces_of(text)) == text
    assert len(words.pieces_of(text)) == max(words.count(text), 1 if text else 0)


@given(TURNS, st.integers(0, 9), st.data())
def test_an_answer_that_was_cut_anywhere_goes_on_to_the_same_end(
    turns: list[tuple[str, str]], seed: int, data: st.DataObject
) -> None:
    whole = said(Ask("one", turns, seed=seed))
    cut = data.draw(st.integers(0, len(whole)))
    begun = Ask("two", turns, seed=seed, begun=whole[:cut])
    assert whole[:cut] + said(begun) == whole


@given(TURNS, st.integers(1, 80), st.data())
def test_a_bound_on_tokens_holds_over_the_cut(turns: list[tuple[str, str]], most: int, data: st.DataObject) -> None:
    found = answer(Ask("one", turns, most=most), SETTINGS).choices[0]
    cut = data.draw(st.integers(0, found.tokens - 1))
    rest = Ask("one", turns, begun="".join(found.pieces[:cut]), most=most - cut)
    left = answer(rest, SETTINGS).choices[0]
    assert found.pieces[:cut] + left.pieces == found.pieces
    assert left.stop == found.stop


@given(TURNS, st.data())
def test_a_stop_string_holds_over_the_cut(turns: list[tuple[str, str]], data: st.DataObject) -> None:
    text = said(Ask("one", turns))
    at = data.draw(st.integers(1, len(text) - 1))
    stop = text[at : at + data.draw(st.integers(1, 5))]
    found = said(Ask("one", turns, stops=[stop]))
    assert stop not in found
    assert text.startswith(found + stop)
    cut = data.draw(st.integers(0, len(found)))
    assert found[:cut] + said(Ask("one", turns, begun=found[:cut], stops=[stop])) == found


@given(st.text(min_size=1).filter(str.strip), st.integers(1, 20))
def test_it_goes_on_behind_somebody_elses_words_too(begun: str, most: int) -> None:
    found = answer(Ask("one", [("user", "hi")], begun=begun, most=most), SETTINGS).choices[0]
    assert 1 <= found.tokens <= most
    assert "".join(found.pieces).strip()


def test_seed_weights_and_turns_change_what_is_said() -> None:
    turns = [("user", "hi")]
    plain = said(Ask("one", turns))
    assert plain == said(Ask("two", turns))
    others = [Ask("other", turns), Ask("one", turns, seed=1), Ask("one", [("system", "hi")]), Ask("one", turns * 2)]
    assert len({plain, *map(said, others)}) == 5
    first, second = answer(Ask("one", turns, choices=2), SETTINGS).choices
    assert "".join(first.pieces) == plain != "".join(second.pieces)


def test_the_length_is_as_asked() -> None:
    turns = [("user", "hi")]
    assert answer(Ask("one", turns, most=200, endless=True), SETTINGS).tokens == 200
    assert answer(Ask("one", turns, most=300, least=150), SETTINGS).tokens == 150
    assert answer(Ask("one", turns), Settings(models={"one": "one"}, answer_tokens=7)).tokens == 7
    natural = answer(Ask("one", turns), SETTINGS)
    assert 8 <= natural.tokens <= 64
    assert natural.choices[0].stop.reason == "stop"


def test_beyond_the_context_nothing_is_said() -> None:
    short = Settings(models={"one": "one"}, context_length=10)
    turns = [("user", "a b c d e")]
    assert answer(Ask("one", turns, most=4), short).prompt_tokens == 6
    assert answer(Ask("one", turns), short).choices[0].stop.reason == "length"
    with pytest.raises(Refusal, match=r"you requested 11 tokens \(6 in the messages, 5 in the completion\)") as caught:
        answer(Ask("one", turns, most=5), short)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    with pytest.raises(Refusal, match="your messages resulted in 11 tokens"):
        answer(Ask("one", [("user", "a " * 10)]), short)
    with pytest.raises(Refusal, match="`three` does not exist"):
        answer(Ask("three", turns), short)
