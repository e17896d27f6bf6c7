"""Counters: let in up to the limit and no further, given back exactly, and what a caller is told."""

from pathlib import Path

import pytest
from limits_support import Open, Ticking, charge

from tensorfusion.gateway.limits.holding import MOST_TOKENS
from tensorfusion.gateway.limits.page import BUSY, Page
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.gateway.limits.table import Table
from tensorfusion.gateway.limits.verdict import RateLimited, What


def admitted(table: Table, one: object, *, tokens: int = 0, of: int = 100) -> int:
    count = 0
    for _ in range(of):
        try:
            table.take((one,), tokens)  # type: ignore[arg-type]
        except RateLimited:
            break
        count += 1
    return count


@pytest.mark.parametrize("rpm", [1, 2, 7, 60, 99, 1000])
def test_a_minutes_worth_comes_at_once_and_then_one_by_one(open_table: Open, ticking: Ticking, rpm: int) -> None:
    table, key = open_table(), charge(rpm=rpm)
    assert admitted(table, key, of=rpm + 5) == rpm
    ticking.advance(60 / rpm - 0.0001)
    assert admitted(table, key) == 0
    ticking.advance(0.0002)
    assert admitted(table, key) == 1
    ticking.advance(3600)
    assert admitted(table, key, of=rpm + 5) == rpm


def test_a_burst_is_how_many_come_at_once(open_table: Open, ticking: Ticking) -> None:
    table, key = open_table(), charge(rpm=60, burst=3)
    assert admitted(table, key) == 3
    ticking.advance(2)
    assert admitted(table, key) == 2


def test_a_burst_beyond_all_measure_is_no_fault(open_table: Open, ticking: Ticking) -> None:
    table, key = open_table(), charge(rpm=1, burst=(1 << 31) - 1)
    table.take((key,), 0)
    table.page.words[key.place + 2] += 1 << 60  # years of requests ahead of their time
    with pytest.raises(RateLimited):
        table.take((key,), 0)


def test_a_debt_beyond_all_measure_is_no_fault(open_table: Open) -> None:
    table, key = open_table(), charge(tpm=1, concurrent=2)
    for _ in range(2):
        table.take((key,), 0)
    for _ in range(2):
        table.give_back((key,), 0, MOST_TOKENS)  # sixteen years each, at one a minute
    with pytest.raises(RateLimited, match="more than 1 tokens a minute"):
        table.take((key,), 0)


def test_a_target_that_reports_nonsense_does_not_close_a_key_for_days(tmp_path: Path, ticking: Ticking) -> None:
    limits = SharedLimits(tmp_path / "limits", records=64, clock=ticking)
    key = (charge(tpm=60_000),)
    limits.take(key, 10).settle(1 << 60)
    ticking.advance(3 * 3600)
    limits.take(key, 10).settle(10)
    limits.close()


def test_a_refusal_says_when_to_come_again_and_what_is_left(open_table: Open, ticking: Ticking) -> None:
    table, key = open_table(), charge("red/ann", rpm=2, tpm=1000)
    left = table.take((key,), 100)
    assert dict(left.fields()) == {
        b"x-ratelimit-limit-requests": b"2",
        b"x-ratelimit-remaining-requests": b"1",
        b"x-ratelimit-reset-requests": b"30s",
        b"x-ratelimit-limit-tokens": b"1000",
        b"x-ratelimit-remaining-tokens": b"900",
        b"x-ratelimit-reset-tokens": b"6s",
    }
    ticking.advance(0.5)
    table.take((key,), 0)
    ticking.advance(0.2)
    with pytest.raises(RateLimited, match="more than 2 requests a minute for red/ann") as caught:
        table.take((key,), 0)
    refused = caught.value
    assert (refused.status, refused.type, refused.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert refused.what is What.REQUESTS
    assert refused.retry_after == 30  # 29.3 s, rounded up
    fields = dict(refused.fields())
    assert fields[b"Retry-After"] == b"30"
    assert fields[b"x-ratelimit-remaining-requests"] == b"0"
    assert fields[b"x-ratelimit-remaining-tokens"] == b"900"
    ticking.advance(29.2)
    assert admitted(table, key) == 0
    ticking.advance(0.101)
    assert admitted(table, key) == 1


def test_tokens_are_reserved_and_what_was_not_used_is_free_again(open_table: Open) -> None:
    table, key = open_table(), charge(tpm=1000)
    table.take((key,), 600)
    with pytest.raises(RateLimited, match="more than 1000 tokens a minute for k: the request asks for 500"):
        table.take((key,), 500)
    table.give_back((key,), 600, 100)
    assert table.take((key,), 900).tokens.remaining == 0  # type: ignore[union-attr]


def test_more_tokens_than_were_reserved_are_a_debt(open_table: Open, ticking: Ticking) -> None:
    table, key = open_table(), charge(tpm=60)
    table.take((key,), 10)
    table.give_back((key,), 10, 120)  # 60 more than there are: a minute's
    with pytest.raises(RateLimited) as caught:
        table.take((key,), 1)
    assert caught.value.retry_after == 61
    ticking.advance(61)
    table.take((key,), 1)


def test_a_request_that_is_larger_than_the_limit_is_told_that_waiting_does_not_help(open_table: Open) -> None:
    with pytest.raises(RateLimited, match="asks for 61 tokens, and 60 a minute is the limit") as caught:
        open_table().take((charge(tpm=60),), 61)
    assert caught.value.retry_after is None
    assert b"Retry-After" not in dict(caught.value.fields())


def test_only_so_many_requests_are_in_flight(open_table: Open) -> None:
    table, key = open_table(), charge(concurrent=3)
    assert admitted(table, key) == 3
    with pytest.raises(RateLimited, match="more than 3 requests at once") as caught:
        table.take((key,), 0)
    assert (caught.value.what, caught.value.retry_after) == (What.CONCURRENT, 1)
    table.give_back((key,), 0, 0)
    assert admitted(table, key) == 1


def test_all_limits_of_a_request_count_it_or_none(open_table: Open) -> None:
    table, roomy, tight = open_table(), charge("roomy", rpm=10, tpm=100, concurrent=9), charge("tight", concurrent=1)
    table.take((roomy, tight), 10)
    for _ in range(50):
        with pytest.raises(RateLimited):
            table.take((roomy, tight), 10)
    left = table.take((roomy,), 10)
    assert left.requests is not None
    assert left.tokens is not None
    assert (left.requests.remaining, left.tokens.remaining) == (8, 80)


def test_two_counters_of_one_request_never_get_one_place(open_table: Open) -> None:
    table = open_table(records=32)  # two sets: most names meet
    for number in range(200):
        pair = (charge(f"a{number}", concurrent=1), charge(f"b{number}", concurrent=1))
        table.take(pair, 0)
        assert pair[0].place != pair[1].place
        for one in pair:
            with pytest.raises(RateLimited):
                table.take((one,), 0)
        table.give_back(pair, 0, 0)


def test_the_verdict_is_that_of_the_tightest_limit(open_table: Open) -> None:
    left = open_table().take((charge("a", rpm=10, tpm=50), charge("b", rpm=5, tpm=100)), 1)
    assert left.requests is not None
    assert left.tokens is not None
    assert (left.requests.limit, left.tokens.limit) == (5, 50)


def test_counters_that_are_full_again_make_room_and_busy_ones_do_not(open_table: Open, ticking: Ticking) -> None:
    table = open_table(records=32)
    for number in range(32):
        table.take((charge(str(number), rpm=60, burst=1),), 0)
    with pytest.raises(RateLimited, match="more callers are busy than can be counted") as caught:
        for number in range(100, 140):
            table.take((charge(str(number), rpm=60, burst=1),), 0)
    assert caught.value.what is What.ROOM
    for number in range(32):
        assert admitted(table, charge(str(number), rpm=60, burst=1)) == 0
    ticking.advance(1)
    for number in range(1000, 1020):
        table.take((charge(str(number), rpm=60, burst=1),), 0)


def test_a_new_limit_goes_on_from_what_is_owed(open_table: Open, ticking: Ticking) -> None:
    table = open_table()
    assert admitted(table, charge(rpm=60)) == 60
    assert admitted(table, charge(rpm=600)) == 0
    ticking.advance(1)
    assert admitted(table, charge(rpm=600)) == 10


def test_workers_share_one_limit(open_table: Open) -> None:
    one, two, key, other = open_table(), open_table(), charge(rpm=10, concurrent=4), charge(rpm=10, concurrent=4)
    assert admitted(one, key, of=2) == 2
    assert admitted(two, other) == 2
    one.give_back((key,), 0, 0)
    assert admitted(two, other) == 1


def test_a_clock_that_jumps_back_does_no_harm(open_table: Open, ticking: Ticking) -> None:
    table, key = open_table(), charge(rpm=60, tpm=600)
    assert admitted(table, key) == 60
    ticking.advance(-86400)
    assert admitted(table, key) == 0
    ticking.advance(1)
    assert admitted(table, key) == 1
    for _ in range(100):
        ticking.advance(-0.001)  # readings that overtake each other
    assert admitted(table, key) == 0
    ticking.advance(1.2)
    assert admitted(table, key) == 1


def test_a_restart_forgets_nothing(open_table: Open) -> None:
    table, key = open_table(), charge(rpm=10, tpm=100)
    assert admitted(table, key, tokens=1) == 10
    table.close()
    with pytest.raises(RateLimited):
        open_table().take((charge(rpm=10, tpm=100),), 1)


def test_the_page_is_free_behind_every_answer(open_table: Open) -> None:
    table, key = open_table(), charge(rpm=1, concurrent=1)
    table.take((key,), 0)
    assert table.page.words[BUSY] == 0
    with pytest.raises(RateLimited):
        table.take((key,), 0)
    assert table.page.words[BUSY] == 0
    table.give_back((key,), 0, 0)
    assert table.page.words[BUSY] == 0


def test_a_table_of_no_file_is_this_processes_own() -> None:
    one, two = Table(Page(None, records=64)), Table(Page(None, records=64))
    one.take((charge(concurrent=1),), 0)
    two.take((charge(concurrent=1),), 0)
    one.close()
    two.close()
