"""The log of changed rows: every reader hears of every change since it last looked, or that all rows may have changed."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling.changes import ChangeLog

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


def test_rows_are_told_once_each_and_the_newest_first() -> None:
    log = ChangeLog()
    start = log.mark()
    for row in (3, 5, 3, 3, 7, 5):
        log.add(row)
        log.mark()
    assert log.since(start) == [5, 7, 3]


def test_a_reader_may_be_any_number_of_changes_behind() -> None:
    log = ChangeLog()
    start = log.mark()
    for row in range(10_000):
        log.add(row)
        log.add(0)
    assert sorted(log.since(start) or ()) == list(range(10_000))
    late = log.mark()
    log.add(7)
    assert log.since(late) == [7]
