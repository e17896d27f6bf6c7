"""The counts of a class are those of its codes, whichever way the codes change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling.codes import FITS, NOT_ASKED
from tensorfusion.scheduling.reasons import DEVICE_REASONS, NODE_REASONS
from tensorfusion.scheduling.tally import Tally

SLOTS, ROWS = 3, 5
FIRST = 2
device_codes = st.sampled_from([*range(FIRST - 1, len(DEVICE_REASONS)), FITS])
node_codes = st.sampled_from([*range(len(NODE_REASONS)), NOT_ASKED, FITS])
rows = st.integers(0, ROWS - 1)


@given(st.lists(st.tuples(rows, st.lists(device_codes, min_size=SLOTS, max_size=SLOTS), st.booleans()), max_size=20))
def test_what_removes_devices_is_counted_after_every_change(changes: list[tuple[int, list[int], bool]]) -> None:
    tally = Tally(np.full((SLOTS, ROWS), FITS, np.uint8), DEVICE_REASONS, first=FIRST)
    for row, codes, by_columns in changes:
        if by_columns:
            tally.put(np.array([row], np.intp), np.array(codes, np.uint8)[:, None])
        else:
            before = tally.slots(row)
            assert tally.put_slots(row, codes) == (before != codes)
        assert tally.slots(row) == codes
        found = tally.codes.ravel().tolist()
        assert tally.fitting == found.count(FITS)
        assert tally.removed == tuple(
            (DEVICE_REASONS[code], found.count(code)) for code in range(FIRST, len(DEVICE_REASONS)) if code in found
        )


@given(st.lists(st.tuples(rows, node_codes), max_size=20))
def test_what_removes_nodes_is_counted_after_every_change(changes: list[tuple[int, int]]) -> None:
    tally = Tally(np.full(ROWS, FITS, np.uint8), NODE_REASONS)
    for row, code in changes:
        tally.put_one(row, code)
        found = tally.codes.tolist()
        assert tally.fitting == found.count(FITS)
        assert tally.removed == tuple(
            (reason, found.count(code)) for code, reason in enumerate(NODE_REASONS) if code in found
        )
