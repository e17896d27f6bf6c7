"""Everything at once, in any order: nothing is oversold, nothing is left behind, and nobody waits in vain."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixed_actions import MOST, NAMES, story
from mixed_play import kill_again_and_again, tell

NUMBER = st.integers(0, MOST)
STORIES = st.lists(st.tuples(st.sampled_from(NAMES), NUMBER, NUMBER, NUMBER), min_size=5, max_size=40)


@settings(max_examples=30)
@given(STORIES)
def test_no_story_breaks_a_promise(steps) -> None:
    tell(steps)


@pytest.mark.long
def test_long_stories_break_no_promise() -> None:
    first = int(os.environ.get("TENSORFUSION_SEED", "0"))
    for seed in range(first, first + int(os.environ.get("TENSORFUSION_STORIES", "2000"))):
        tell(story(random.Random(seed), 60), seed=seed)


@pytest.mark.parametrize(
    ("worlds", "kills"), [(2, 20), pytest.param(200, 50, marks=pytest.mark.long)], ids=["40", "10000"]
)
def test_a_scheduler_may_be_killed_at_any_moment(worlds: int, kills: int) -> None:
    first = int(os.environ.get("TENSORFUSION_SEED", "0"))
    for seed in range(first, first + worlds):
        kill_again_and_again(seed, kills)
