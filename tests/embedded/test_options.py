"""What a request says beside its path and body."""

import sys

import pytest

from tensorfusion.embedded.options import manager_of_agent


@pytest.mark.parametrize(
    ("agent", "manager"),
    [("kubectl/v1.34", "kubectl"), ("a b", "a b"), ("\x00k\x07", "k"), ("/1", "unknown"), ("", "unknown")],
)
def test_a_client_that_names_no_manager_is_known_by_its_agent(agent: str, manager: str) -> None:
    assert manager_of_agent(agent) == manager


@pytest.mark.parametrize("letters", [257, 1 << 20])
def test_long_agents_are_answered_and_not_kept(letters: int) -> None:
    agent = "a" * letters
    before = sys.getrefcount(agent)
    assert manager_of_agent(agent) == "a" * 128
    assert sys.getrefcount(agent) == before
