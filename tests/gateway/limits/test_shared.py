"""The counters of a host as the gateway uses them: let in, given back exactly once, closed."""

import stat
from pathlib import Path

import pytest
from limits_support import Ticking, charge

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.limits.page import Page
from tensorfusion.gateway.limits.shared import SharedLimits, default_path
from tensorfusion.gateway.limits.verdict import RateLimited


async def test_a_request_holds_its_place_until_its_block_is_left(tmp_path: Path, ticking: Ticking) -> None:
    limits = SharedLimits(tmp_path / "limits", records=64, clock=ticking)
    key = (charge(concurrent=1, tpm=100),)
    with await limits.reserve(key, 60) as held:
        with pytest.raises(RateLimited):
            await limits.reserve(key, 0)
        assert held.is_open
    assert not held.is_open
    assert not held.settle(0)
    with await limits.reserve(key, 40) as second:  # the first was not told what it took: 60, as it said
        assert second.settle(10)
        assert not second.settle(10)
    with pytest.raises(RuntimeError, match="upstream"), await limits.reserve(key, 30):
        raise RuntimeError("upstream")
    with pytest.raises(RateLimited):
        await limits.reserve(key, 1)
    limits.close()


async def test_without_limits_everybody_is_let_in(tmp_path: Path) -> None:
    limits = SharedLimits(tmp_path / "limits", records=64)
    with await limits.reserve((), 1_000_000) as held:
        assert held.verdict.fields() == []
    limits.close()


async def test_tokens_that_make_no_sense_do_no_harm(tmp_path: Path, ticking: Ticking) -> None:
    limits = SharedLimits(tmp_path / "limits", records=64, clock=ticking)
    key = (charge(tpm=1 << 40),)
    (await limits.reserve(key, -5)).settle(-7)
    (await limits.reserve(key, 1 << 80)).settle(1 << 80)
    (await limits.reserve(key, 1)).settle(1)
    limits.close()


def test_what_is_settled_behind_the_end_is_not_counted(tmp_path: Path) -> None:
    limits = SharedLimits(tmp_path / "limits", records=64)
    held = limits.take((charge(concurrent=1),), 0)
    limits.close()
    assert held.settle(0)
    limits.tend()
    limits.close()
    again = SharedLimits(tmp_path / "limits", records=64)
    again.take((charge(concurrent=1),), 0)
    again.close()


def test_the_file_is_ours_alone(tmp_path: Path) -> None:
    used = SharedLimits(tmp_path / "limits", records=64)
    assert stat.S_IMODE((tmp_path / "limits").stat().st_mode) == 0o600
    (tmp_path / "open").write_bytes(b"")
    (tmp_path / "open").chmod(0o666)
    with pytest.raises(ConfigError, match="wanted a file of this user that no other can write"):
        SharedLimits(tmp_path / "open", records=64)
    (tmp_path / "link").symlink_to(tmp_path / "limits")
    with pytest.raises(ConfigError, match="cannot be opened"):
        SharedLimits(tmp_path / "link", records=64)
    used.close()
    with pytest.raises(ConfigError, match="cannot be opened: No such file"):
        SharedLimits(tmp_path / "no" / "limits", records=64)
    assert default_path("main").name.endswith("-main.limits")


def test_a_file_of_another_size_is_begun_anew_unless_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    used = SharedLimits(path, records=64)
    with pytest.raises(ConfigError, match="is used by gateways of another version or size"):
        SharedLimits(path, records=128)
    used.take((charge(concurrent=1),), 0)
    used.close()
    SharedLimits(path, records=128).close()
    path.write_bytes(b"something else")
    SharedLimits(path, records=64).close()


@pytest.mark.parametrize("records", [0, 16, 48, 100])
def test_only_a_power_of_two_of_counters_can_be_had(tmp_path: Path, records: int) -> None:
    with pytest.raises(ConfigError, match="wanted a power of two, 32 or more"):
        SharedLimits(tmp_path / "limits", records=records)


def test_a_file_in_which_nothing_is_owed_goes_with_its_last_worker(tmp_path: Path, ticking: Ticking) -> None:
    path, key = tmp_path / "limits", (charge(rpm=60, tpm=60, concurrent=9),)
    one, two = (SharedLimits(path, records=64, clock=ticking) for _ in range(2))
    one.take(key, 5).settle(5)
    one.close()
    assert path.exists()
    two.close()
    assert path.exists()  # a minute's worth is remembered over a restart
    three = SharedLimits(path, records=64, clock=ticking)
    ticking.advance(60)
    three.close()
    assert not path.exists()


def test_whoever_opens_a_file_that_goes_gets_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "limits"
    last = SharedLimits(path, records=64)
    taking = Page._take

    def slowly(page: Page) -> None:
        """Between its opening and its lock, the last worker leaves."""
        monkeypatch.setattr(Page, "_take", taking)
        last.close()
        taking(page)

    monkeypatch.setattr(Page, "_take", slowly)
    late = SharedLimits(path, records=64)
    late.take((charge(concurrent=1),), 0)
    beside = SharedLimits(path, records=64)
    with pytest.raises(RateLimited):
        beside.take((charge(concurrent=1),), 0)
    late.close()
    beside.close()
