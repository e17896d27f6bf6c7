"""The best rows that are kept are the best rows, whatever changes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling.codes import LOWEST
from tensorfusion.scheduling.front import ASKED, Front

keys = st.one_of(st.sampled_from([LOWEST, -(1 << 40), 1 << 40]), st.integers(-2, 6))


@given(st.lists(keys, min_size=1, max_size=40), st.lists(st.tuples(st.integers(0, 39), keys), max_size=60))
def test_the_best_rows_are_known_after_every_change(first: list[int], changes: list[tuple[int, int]]) -> None:
    column = np.array(first, np.int64)
    front = Front(column)
    for row, key in changes:
        column[row % len(first)] = key
        front.put(row % len(first), key)
        found = front.best()
        if found is None:
            front = Front(column)
            found = front.best()
        fitting = [(row, key) for row, key in enumerate(column.tolist()) if key != LOWEST]
        assert found == sorted(fitting, key=lambda pair: (-pair[1], pair[0]))[:ASKED]


def test_a_few_losses_do_not_make_it_look_at_all_rows_again() -> None:
    front = Front(np.arange(100, dtype=np.int64))
    for row in range(99, 91, -1):
        front.put(row, LOWEST)
        assert front.best() is not None
    for row in range(91, 87, -1):
        front.put(row, LOWEST)
    assert front.best() is None
