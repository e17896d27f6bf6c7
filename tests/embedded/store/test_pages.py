"""Chunked lists: order, continuing under writes, and the state of the first page to the last."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorfusion.embedded.store import HistoryLimits, ObjectKey, Page, Record, Store
from tensorfusion.embedded.store_tables import Table
from tensorfusion.errors import Gone
from tensorfusion.testing.records import pod, record_maker


async def toggle(store: Store, key: ObjectKey) -> None:
    """Create what is missing, change or remove what is there."""
    current = store.latest(key)
    if current is None:
        await store.put(key, expected=0, make=record_maker(key))
    elif current.revision % 2:
        await store.remove(key, expected=current.revision, make=record_maker(key))
    else:
        await store.put(key, expected=current.revision, make=record_maker(key))


def names(page: Page) -> list[str]:
    return [record.key.name for record in page.records]


async def test_lists_are_sorted_by_namespace_and_name(store: Store) -> None:
    for key in (pod("b", "two"), pod("a", "two"), pod("z", "one"), pod("a-b", "one"), pod("a", "one-more")):
        await store.put(key, expected=0, make=record_maker(key))
    found = [f"{record.key.namespace}/{record.key.name}" for record in store.scan("pods")]
    assert found == ["one/a-b", "one/z", "one-more/a", "two/a", "two/b"]
    assert [record.key.name for record in store.scan("pods", "one")] == ["a-b", "z"]
    assert (store.count("pods"), store.count("pods", "two"), store.count("nodes")) == (5, 2, 0)


async def test_a_page_says_what_is_left_and_where_to_go_on(store: Store) -> None:
    for name in "abcde":
        await store.put(pod(name), expected=0, make=record_maker(pod(name)))
    first = store.page("pods", limit=2)
    assert (names(first), first.last, first.remaining) == (["a", "b"], pod("b"), 3)
    last = store.page("pods", limit=3, after_key=first.last, at_revision=first.revision)
    assert (names(last), last.last, last.remaining) == (["c", "d", "e"], None, None)


async def test_later_pages_show_the_state_of_the_first(store: Store) -> None:
    for name in "abcdef":
        await store.put(pod(name), expected=0, make=record_maker(pod(name), "old"))
    first = store.page("pods", limit=2)
    await store.put(pod("bb"), expected=0, make=record_maker(pod("bb")))
    for name in "de":
        current = store.get(pod(name))
        assert current is not None
        await store.remove(pod(name), expected=current.revision, make=record_maker(pod(name)))
    await store.put(pod("d"), expected=0, make=record_maker(pod("d"), "new"))
    second = store.page("pods", limit=2, after_key=first.last, at_revision=first.revision)
    assert (names(second), second.remaining, second.revision) == (["c", "d"], 2, first.revision)
    assert b"old" in second.records[1].data
    third = store.page("pods", limit=2, after_key=second.last, at_revision=second.revision)
    assert names(third) == ["e", "f"]
    assert names(store.page("pods")) == ["a", "b", "bb", "c", "d", "f"]


async def test_a_filter_counts_what_it_lets_through(store: Store) -> None:
    for number in range(9):
        key = pod(f"p{number}")
        await store.put(key, expected=0, make=record_maker(key, labels={"odd": str(number % 2)}))

    def odd(record: Record) -> bool:
        return record.labels["odd"] == "1"

    page = store.page("pods", limit=2, keep=odd)
    assert (names(page), page.remaining) == (["p1", "p3"], None)
    rest = store.page("pods", limit=2, keep=odd, after_key=page.last, at_revision=page.revision)
    assert (names(rest), rest.last) == (["p5", "p7"], None)


async def test_continuing_a_list_that_fell_out_of_the_window_is_gone(path: Path) -> None:
    async with Store.open(path, history=HistoryLimits(events=3)) as store:
        for name in "abc":
            await store.put(pod(name), expected=0, make=record_maker(pod(name)))
        page = store.page("pods", limit=1)
        for name in "defg":
            await store.put(pod(name), expected=0, make=record_maker(pod(name)))
        with pytest.raises(Gone, match="continue parameter is too old"):
            store.page("pods", limit=1, after_key=page.last, at_revision=page.revision)


KEYS = [pod(name, namespace) for namespace in ("m", "n") for name in "abcdefgh"]


@settings(max_examples=40, deadline=None)
@given(
    before=st.lists(st.sampled_from(KEYS), max_size=20),
    between=st.lists(st.lists(st.sampled_from(KEYS), max_size=8), min_size=8, max_size=8),
    limit=st.integers(1, 5),
    namespace=st.sampled_from(["", "m", "n"]),
)
async def test_pages_put_together_are_the_list_of_the_first_page(
    before: list[ObjectKey], between: list[list[ObjectKey]], limit: int, namespace: str
) -> None:
    with TemporaryDirectory() as folder:
        async with Store.open(Path(folder) / "store.db") as store:
            for key in before:
                await toggle(store, key)
            wanted = list(store.scan("pods", namespace))
            page = store.page("pods", namespace=namespace, limit=limit)
            found = list(page.records)
            for writes in between:
                if page.last is None:
                    break
                assert page.remaining == len(wanted) - len(found)
                for key in writes:
                    await toggle(store, key)
                page = store.page(
                    "pods", namespace=namespace, limit=limit, after_key=page.last, at_revision=page.revision
                )
                found += page.records
            assert found == wanted[: len(found)]
            assert page.last is not None or len(found) == len(wanted)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=120))
def test_keys_are_in_order_however_they_came_and_went(steps: list[tuple[int, bool]]) -> None:
    table = Table()
    for number, read in steps:
        key = pod(str(number))
        if key in table.records:
            table.drop(key)
        else:
            table.put(record_maker(key)(1))
        if read:
            assert table.keys() == sorted(table.records)
    assert table.keys() == sorted(table.records)


def test_objects_that_come_and_go_where_nobody_lists_leave_nothing() -> None:
    table = Table()
    before = resident_objects(table)
    for number in range(1000):
        key = pod(str(number))
        table.put(record_maker(key)(1))
        table.drop(key)
    assert resident_objects(table) == before


def resident_objects(table: Table) -> int:
    return sum(len(value) for value in vars(table).values())
