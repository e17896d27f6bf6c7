"""Everything at once, in any order: nothing is oversold, nothing is left behind, and nobody waits in vain."""

import asyncio
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from mixed_actions import MOST, NAMES, story
from mixed_play import kill_again_and_again, tell
from mixed_world import CHANGING, MixedWorld
from tensorfusion.model import keys

NUMBER = st.integers(0, MOST)
STORIES = st.lists(st.tuples(st.sampled_from(NAMES), NUMBER, NUMBER, NUMBER), min_size=5, max_size=40)


@settings(max_examples=part_of(12))  # long stories are told by the thousand below
@given(STORIES)
def test_no_story_breaks_a_promise(steps) -> None:
    tell(steps)


@pytest.mark.parametrize("seed", range(3))
def test_schedulers_that_share_the_pools_break_no_promise(seed: int) -> None:
    tell(story(random.Random(seed), 30), seed=seed, shared=True)


@pytest.mark.timeout(60)  # it was a search for ever, at one moment
def test_a_gang_has_its_turn_before_the_pod_whose_kept_place_it_takes() -> None:
    tell(story(random.Random(346), 60), seed=346)


@pytest.mark.parametrize("shared", [False, True])
def test_quotas_that_are_lent_break_no_promise(shared: bool) -> None:
    counts = [tell(story(random.Random(seed), 40), seed=seed, shared=shared, lent=True) for seed in range(2)]
    assert any(one.get("evictions that may be reclaims") for one in counts)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(STORIES, st.booleans())
def test_no_story_with_quotas_that_are_lent_breaks_a_promise(steps, shared: bool) -> None:
    tell(steps, shared=shared, lent=True)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(STORIES)
def test_no_story_of_schedulers_that_share_the_pools_breaks_a_promise(steps) -> None:
    tell(steps, shared=True)


@pytest.mark.long
def test_long_stories_of_schedulers_that_share_break_no_promise() -> None:
    first = int(os.environ.get("TENSORFUSION_SEED", "0"))
    for seed in range(first, first + int(os.environ.get("TENSORFUSION_STORIES", "300"))):
        tell(story(random.Random(seed), 60), seed=seed, shared=True)


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


@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize("asks", ["tflops-request", "compute-percent-request"])
def test_a_share_of_a_device_that_is_gone_counts_for_what_it_was(asks: str, alive: bool) -> None:
    """Also by the books of a scheduler that never saw the device."""

    async def scenario() -> None:
        world = MixedWorld(0)
        try:
            await world.start()
            await world.settle(0.3)
            world.worker(CHANGING, {asks: "100", "vram-request": "1Gi"})
            await world.settle(1)
            world.lose_device(world.pods()[0]["metadata"]["annotations"][keys.GPU_IDS])
            await world.settle(1)
            if not alive:
                await world.kill(world.replicas[0])
                await world.start()
                await world.settle(1)
            for _ in range(2):
                world.worker(CHANGING, {"tflops-request": "100", "vram-request": "1Gi"})
            await world.settle(1)
            world.check()
            bound = [pod for pod in world.pods() if pod["spec"].get("nodeName")]
            assert len(bound) == 2
        finally:
            await world.stop()

    asyncio.run(scenario())
