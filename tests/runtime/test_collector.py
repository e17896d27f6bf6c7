"""The collector of a long-lived process: what is loaded stays out of it, and cycles made later are still found."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from tensorfusion.runtime import collector


class Ring:
    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_loaded_is_kept_out_of_later_collections() -> None:
    loaded = [Ring()]
    collector.settle()
    assert not any(found is loaded for found in gc.get_objects())


def test_cycles_made_later_are_freed_without_being_asked_for() -> None:
    collector.settle()
    first = weakref.ref(Ring())
    kept = [[] for _ in range(gc.get_threshold()[0] + 1)]  # that many allocations start a collection
    assert kept
    assert first() is None
