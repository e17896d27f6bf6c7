"""Several nodes of real processes on one machine do not share users or addresses."""

import contextlib
from pathlib import Path

import pytest

from tensorfusion.embedded.processes.blocks import BLOCKS, claimed_block
from tensorfusion.embedded.processes.users import Users
from tensorfusion.errors import ConfigError


def state(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def test_each_node_has_a_block_and_too_many_are_refused(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        held: list[int] = []
        with contextlib.suppress(ConfigError):  # other tests of this machine may hold some
            for number in range(BLOCKS + 1):
                held.append(stack.enter_context(claimed_block(tmp_path / f"block-{number}")))
        assert len(set(held)) == len(held) <= BLOCKS
        with pytest.raises(ConfigError, match="end one with"), claimed_block(tmp_path / "more"):
            pass


def test_a_node_that_comes_back_has_its_block_again(tmp_path: Path) -> None:
    with claimed_block(tmp_path / "block") as first:
        pass
    with claimed_block(tmp_path / "block") as again:
        assert again == first
        with pytest.raises(ConfigError), claimed_block(tmp_path / "block"):
            pass


def test_blocks_share_no_user_and_no_address(tmp_path: Path) -> None:
    users = [Users(own=True, block=block) for block in range(BLOCKS)]
    given = [one.of(state(tmp_path, f"{number}-{at}")) for number, one in enumerate(users) for at in range(20)]
    assert len({user.uid for user in given}) == len({user.address for user in given}) == len(given)
