"""Whatever is sent, it is answered or refused: the simulated server has no errors of its own."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.testing.llm.ask import answer
from tensorfusion.testing.llm.chat import Chat
from tensorfusion.testing.llm.completions import Completion
from tensorfusion.testing.llm.messages import Messages
from tensorfusion.testing.llm.refusals import Refusal
from tensorfusion.testing.llm.responses import Responses
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.testing.llm.vectors import embed, rerank
from tensorfusion.testing.llm.wire import Talk, Ticket

SETTINGS = Settings(models={"m": "m"}, context_length=500)
TICKET = Ticket("x", 0)
TALKS = [Chat, Completion, Messages, Responses]

SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 50) | st.sampled_from(["", "m", "x y", "user", "text", "auto", "a"])
)
_WORDS = """
model messages prompt input role content type text tools function name parameters input_schema tool_choice stop
stop_sequences max_tokens max_completion_tokens max_output_tokens n seed stream stream_options response_format
json_schema schema format system query documents top_n dimensions encoding_format prefix continue_final_message
properties required items enum anyOf tool_calls arguments instructions output thinking
"""
WORDS = st.sampled_from(_WORDS.split())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=20
)
HI = [{"role": "user", "content": "call a"}]


def bodies() -> st.SearchStrategy[bytes]:
    """Mostly right, with something strange in it."""
    right = {
        "model": "m",
        "messages": HI,
        "prompt": "x",
        "input": "x",
        "query": "x",
        "documents": ["x"],
        "max_tokens": 5,
    }
    mixed = st.dictionaries(WORDS, VALUES, max_size=4).map(lambda strange: json.dumps(right | strange).encode())
    return st.one_of(mixed, VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=20))


@pytest.mark.parametrize("talk", TALKS)
@given(body=bodies())
def test_any_body_is_answered_or_refused(talk: Callable[[bytes], Talk], body: bytes) -> None:
    try:
        asked = talk(body)
        found = answer(asked.ask, SETTINGS)
    except Refusal as refusal:
        assert 400 <= refusal.status < 500
        assert json.loads(refusal.openai())["error"]["message"]
        return
    json.loads(asked.whole(found, TICKET))
    events = list(asked.events(found, TICKET))
    assert events[-1][0].startswith(asked.last)
    assert sum(step >= 0 for _, step in events) == found.tokens
    for event, _ in events[: -1 if talk in (Chat, Completion) else None]:
        json.loads(event.partition(b"data: ")[2])


@given(body=bodies())
def test_numbers_are_answered_or_refused(body: bytes) -> None:
    for ask in (lambda: embed(body, SETTINGS), lambda: rerank(body, SETTINGS, TICKET)):
        try:
            json.loads(ask()[0])
        except Refusal as refusal:
            assert 400 <= refusal.status < 500


@pytest.mark.parametrize("talk", TALKS)
def test_what_is_nested_too_deep_is_refused(talk: Callable[[bytes], Talk]) -> None:
    with pytest.raises(Refusal):
        talk(b'{"model":"m","messages":' + b"[" * 100_000)
    deep = b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(Refusal):
        talk(deep)
