"""The committed state in memory: records by key, keys in order, dependents by owner.

A write only touches dicts. Order is restored when somebody reads in order: few changes are put in place one by one,
many by one merge. Keeping a tree in order on every write was rejected: most resources are written far more often than
they are listed.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge

from tensorfusion.embedded.store_records import ObjectKey, Page, Record

_FEW = 64
_AFTER_ANY_NAME = "\U0010ffff"

Overrides = Mapping[ObjectKey, Record | None]
"""What was different at an earlier revision: the record of that time, or None where there was none."""


class Table:
    """The records of one resource."""

    def __init__(self) -> None:
        self.records: dict[ObjectKey, Record] = {}
        self._order: list[ObjectKey] = []
        self._moved: dict[ObjectKey, bool] = {}
        """Keys that came or went since the order was right, and whether they are in it. One that came and went is
        neither: objects that come and go for ever in a table that nobody lists leave nothing here."""

    def put(self, record: Record) -> None:
        if record.key not in self.records:
            self._move(record.key, listed=False)
        self.records[record.key] = record

    def drop(self, key: ObjectKey) -> None:
        if self.records.pop(key, None) is not None:
            self._move(key, listed=True)

    def _move(self, key: ObjectKey, *, listed: bool) -> None:
        """The key comes or goes; ``listed`` is where it is in the order if it did not move before."""
        if self._moved.pop(key, None) is None:
            self._moved[key] = listed

    def keys(self) -> list[ObjectKey]:
        """All keys, sorted. The list is the table's own: read it before the next write."""
        if self._moved:
            if len(self._moved) <= _FEW:
                self._place(self._moved)
            else:
                moved, records = self._moved, self.records
                self._order = [key for key in self._order if key not in moved]
                self._order += sorted(key for key in moved if key in records)
                self._order.sort()  # two sorted runs: one merge
            self._moved = {}
        return self._order

    def _place(self, moved: Iterable[ObjectKey]) -> None:
        order = self._order
        for key in moved:
            at = bisect_left(order, key)
            present = at < len(order) and order[at] == key
            if key in self.records:
                if not present:
                    insort(order, key)
            elif present:
                del order[at]

    def span(self, resource: str, namespace: str, after: ObjectKey | None) -> tuple[int, int]:
        """Where in ``keys()`` a namespace (``""`` = all) lies, from behind ``after`` on."""
        order = self.keys()
        low, high = 0, len(order)
        if namespace:
            low = bisect_left(order, ObjectKey(resource, namespace, ""))
            high = bisect_right(order, ObjectKey(resource, namespace, _AFTER_ANY_NAME))
        if after is not None:
            low = max(low, bisect_right(order, after))
        return low, max(low, high)


class Tables:
    """Every table, and the index of dependents."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._dependents: dict[str, dict[ObjectKey, None]] = {}

    def get(self, key: ObjectKey) -> Record | None:
        table = self._tables.get(key[0])
        return table.records.get(key) if table is not None else None

    def put(self, record: Record, previous: Record | None) -> None:
        key = record.key
        table = self._tables.get(key[0])
        if table is None:
            table = self._tables[key[0]] = Table()
        table.put(record)
        owners_before = previous.owners if previous is not None else ()
        if record.owners != owners_before:
            self._index(key, owners_before, record.owners)

    def drop(self, key: ObjectKey, previous: Record | None) -> None:
        table = self._tables.get(key[0])
        if table is not None:
            table.drop(key)
        if previous is not None and previous.owners:
            self._index(key, previous.owners, ())

    def _index(self, key: ObjectKey, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        for uid in before:
            if uid not in after:
                dependents = self._dependents.get(uid, {})
                dependents.pop(key, None)
                if not dependents:
                    self._dependents.pop(uid, None)
        for uid in after:
            self._dependents.setdefault(uid, {})[key] = None

    def by_owner(self, uid: str) -> tuple[ObjectKey, ...]:
        return tuple(self._dependents.get(uid, ()))

    def owners(self) -> list[str]:
        """Every uid that some record names as an owner."""
        return list(self._dependents)

    def resources(self) -> list[str]:
        """Ids of the resources that have objects, sorted."""
        return sorted(resource for resource, table in self._tables.items() if table.records)

    def count(self, resource: str, namespace: str) -> int:
        table = self._tables.get(resource)
        if table is None:
            return 0
        if not namespace:
            return len(table.records)
        low, high = table.span(resource, namespace, None)
        return high - low

    def scan(self, resource: str, namespace: str) -> Iterator[Record]:
        """Records in key order, as they are now: writes during the iteration do not show."""
        table = self._tables.get(resource)
        if table is None:
            return iter(())
        low, high = table.span(resource, namespace, None)
        records = table.records
        return iter([records[key] for key in table.keys()[low:high]])

    def page(
        self,
        resource: str,
        *,
        namespace: str,
        limit: int,
        after: ObjectKey | None,
        overrides: Overrides,
        revision: int,
        keep: Callable[[Record], bool] | None,
    ) -> Page:
        """The next ``limit`` records (0 = all) behind ``after`` in the state that ``overrides`` bring back."""
        table = self._tables.get(resource) or Table()
        low, high = table.span(resource, namespace, after)
        order, live = table.keys(), table.records
        changed = [
            key for key in overrides if (not namespace or key.namespace == namespace) and (after is None or key > after)
        ]
        gone = sorted(key for key in changed if overrides[key] is not None and key not in live)
        keys: Iterator[ObjectKey] = (order[at] for at in range(low, high))
        if gone:
            keys = merge(keys, gone)
        found: list[Record] = []
        for key in keys:
            record = overrides[key] if key in overrides else live[key]
            if record is None or (keep is not None and not keep(record)):
                continue
            if limit and len(found) == limit:
                last = found[-1].key
                if keep is not None:
                    return Page(found, revision, last)
                came_later = sum(1 for key in changed if key > last and overrides[key] is None and key in live)
                left_later = len(gone) - bisect_right(gone, last)
                rest = high - bisect_right(order, last) - came_later + left_later
                return Page(found, revision, last, rest)
            found.append(record)
        return Page(found, revision)
