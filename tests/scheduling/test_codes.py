"""Columns of codes and numbers: the single elements of one are its own."""

import numpy as np
import pytest

from tensorfusion.scheduling.codes import elements


def test_what_is_written_to_an_element_is_in_the_column() -> None:
    column = np.zeros((2, 3), np.int64)
    cells = elements(column)
    cells[1 * 3 + 2] = 7
    column[0, 1] = 5
    assert column.tolist() == [[0, 5, 0], [0, 0, 7]]
    assert cells.tolist() == [0, 5, 0, 0, 0, 7]
    assert cells[1::3].tolist() == [5, 0]


def test_elements_of_a_column_in_pieces_would_be_copies_and_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 2\) is not contiguous"):
        elements(np.zeros((2, 3), np.int64).T)
