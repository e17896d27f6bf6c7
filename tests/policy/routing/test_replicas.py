"""Which replica takes a request: the one with the least work, in turns, and whatever is told as it is told."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.replicas import LEAST_ROOM, Told, pick, told_by


def least(tokens: list[int], *, prompt: int = 10, turn: int = 0, allowed: int | None = None, **more: list[int]) -> int:
    count = len(tokens)
    found = pick(
        tokens,
        more.get("requests", [0] * count),
        others=more.get("others", [0] * count),
        full=[part / 100 for part in more.get("full", [0] * count)],
        allowed=(1 << count) - 1 if allowed is None else allowed,
        prompt=prompt,
        turn=turn,
        cached=more.get("cached"),
    )
    assert found is not None
    return found


def test_the_least_tokens_in_flight_win_then_the_least_requests() -> None:
    assert least([30, 10, 20]) == 1
    assert least([10, 10], requests=[2, 1]) == 1


def test_what_others_have_there_counts_like_requests_as_this_one() -> None:
    assert least([100, 0], others=[0, 9]) == 1
    assert least([100, 0], others=[0, 11]) == 0


def test_a_replica_that_is_nearly_full_gets_less_and_an_idle_one_that_is_not_alone_none() -> None:
    assert least([0, 10], full=[80, 0]) == 1
    assert least([0, 100], full=[80, 0]) == 0


def test_what_a_replica_need_not_compute_is_no_work() -> None:
    assert least([0, 5], prompt=100, cached=[0, 90]) == 1
    assert least([0, 5], prompt=100, cached=[0, 3]) == 0


def test_nobody_is_nobody() -> None:
    assert pick([0], [0], others=[0], full=[0.0], allowed=0, prompt=1, turn=0) is None
    assert pick([], [], others=[], full=[], allowed=0, prompt=1, turn=0) is None


@given(st.integers(1, 8), st.integers(0, 100), st.integers(1, 20))
def test_equal_replicas_take_turns_and_each_its_share(count: int, start: int, rounds: int) -> None:
    taken = Counter(least([0] * count, turn=start + step) for step in range(count * rounds))
    assert taken == dict.fromkeys(range(count), rounds)


@given(st.integers(2, 8), st.data())
def test_a_burst_spreads_however_old_the_figures_of_replicas_are(count: int, data: st.DataObject) -> None:
    """Figures stay as they are while a burst comes: the work that is known evens out, to one request."""
    others = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    tokens, requests = [0] * count, [0] * count
    for step in range(20 * count):
        index = least(tokens, others=others, requests=requests, turn=step)
        tokens[index] += 10
        requests[index] += 1
    work = [mine + 10 * theirs for mine, theirs in zip(tokens, others, strict=True)]
    assert max(work) - min(work) <= 10


@given(st.data())
def test_the_choice_is_allowed_and_nobody_allowed_has_less_work(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 10))

    def column(most: int) -> list[int]:
        return data.draw(st.lists(st.integers(0, most), min_size=count, max_size=count))

    tokens, requests, others, full = column(1000), column(10), column(10), column(100)
    allowed = data.draw(st.integers(1, (1 << count) - 1))
    prompt = data.draw(st.integers(0, 500))
    found = pick(
        tokens,
        requests,
        others=others,
        full=[part / 100 for part in full],
        allowed=allowed,
        prompt=prompt,
        turn=data.draw(st.integers(0, 1 << 20)),
    )
    assert found is not None
    assert allowed >> found & 1
    each = max(prompt, 1)
    work = [
        (tokens[at] + (others[at] + 1) * each) / max(1 - full[at] / 100, LEAST_ROOM)
        for at in range(count)
        if allowed >> at & 1
    ]
    assert (tokens[found] + (others[found] + 1) * each) / max(1 - full[found] / 100, LEAST_ROOM) == min(work)


VLLM = b"""# HELP vllm:num_requests_waiting Number of requests waiting.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="a",engine="0"} 3.0
vllm:num_requests_waiting{model_name="b"} 1
vllm:num_requests_running{model_name="a"} 2.0
vllm:kv_cache_usage_perc{model_name="a"} 0.25
vllm:kv_cache_usage_perc{model_name="b"} 0.5 1700000000000
vllm:num_requests_waiting_total{model_name="a"} 900
vllm:prompt_tokens_total{model_name="a"} 1e5
"""


def test_what_model_servers_say_is_understood() -> None:
    assert told_by(VLLM) == Told(6, 0.5)
    assert told_by(b"sglang:num_queue_reqs 2\nsglang:num_running_reqs 1\nsglang:token_usage 0.1\n") == Told(3, 0.1)
    assert told_by(b'vllm:gpu_cache_usage_perc{a="}"} 7\n') == Told(0, 1.0)
    assert told_by(b"process_cpu_seconds_total 1\n") is None
    assert told_by(b"") is None


@pytest.mark.parametrize("value", [b"NaN", b"-1", b"+Inf", b"x", b"", b"1e300"])
def test_what_is_no_number_says_nothing(value: bytes) -> None:
    assert told_by(b"vllm:num_requests_waiting{} " + value + b"\n") is None


@given(st.binary())
def test_anything_may_be_said(text: bytes) -> None:
    told_by(text)
    told_by(b"vllm:num_requests_waiting{" + text)
