"""Same ordered events, byte-identical decisions: in one process, in another, under any hash seed."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.state import State


def transcript(seed: int) -> str:
    """Every decision and refusal of a fixed stream of events, in full."""
    rng = random.Random(seed)
    state = State()
    random_fleet(rng, state)
    lines = []
    for number in range(120):
        if state.allocations and rng.random() < 0.3:
            lines.append(repr(state.release(rng.choice(sorted(state.allocations)))))
        one = random_pod(rng, number)
        try:
            decision = decide(state, one)
            state.assume(one, decision.placement)
            lines.append(repr(decision))
        except (NotFit, QuotaExceeded) as error:
            lines.append(f"{error} {getattr(error, 'diagnosis', '')}")
    return "\n".join(lines)


def test_the_same_events_give_the_same_bytes_twice() -> None:
    assert transcript(3) == transcript(3)
    assert transcript(3) != transcript(4)


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_the_hash_seed_of_the_process_does_not_matter(hash_seed: str) -> None:
    here = Path(__file__).parent
    program = (
        f"import sys; sys.path.insert(0, {str(here)!r}); from test_determinism import transcript; print(transcript(3))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.rstrip("\n") == transcript(3)
