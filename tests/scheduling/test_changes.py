"""The log of changed rows: every reader hears of every change since it last looked, or that it is too far behind."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling.changes import KEPT, ChangeLog

steps = st.lists(st.one_of(st.integers(0, 4), st.sampled_from(("a reads", "b reads", "reset"))), max_size=60)


@given(steps)
def test_each_reader_hears_of_what_changed_since_it_last_looked(story: list[int | str]) -> None:
    log = ChangeLog()
    at = {"a reads": log.mark(), "b reads": log.mark()}
    unseen: dict[str, set[int] | None] = {"a reads": set(), "b reads": set()}
    for step in story:
        if isinstance(step, int):
            log.add(step)
            for rows in unseen.values():
                if rows is not None:
                    rows.add(step)
        elif step == "reset":
            log.reset()
            unseen = dict.fromkeys(unseen)
        else:
            heard = log.since(at[step])
            assert (None if heard is None else sorted(heard)) == (
                None if unseen[step] is None else sorted(unseen[step] or ())
            )
            at[step] = log.mark()
            unseen[step] = set()


def test_a_row_that_changes_again_and_again_is_written_down_once() -> None:
    log = ChangeLog()
    start = log.mark()
    for _ in range(10 * KEPT):
        log.add(3)
    assert log.since(start) == [3]


def test_a_reader_that_is_far_behind_is_told_so() -> None:
    log = ChangeLog()
    start = log.mark()
    for row in range(2 * KEPT):
        log.add(row)
    assert log.since(start) is None
    late = log.mark()
    log.add(7)
    assert log.since(late) == [7]
