"""A record as a row of the file and back: its columns, its checksum, the statement that writes many."""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, Final, TypeAlias

import msgspec

from tensorfusion.embedded.store_records import ObjectKey, Record

CHUNK: Final = 64
"""The most rows of one statement."""

COLUMNS: Final = ("slot", "revision", "resource", "namespace", "name", "uid", "attributes", "data", "checksum")
"""Those of the first format."""
MANAGED: Final = "managed"
ALL_COLUMNS: Final = ", ".join((*COLUMNS, MANAGED))

Row: TypeAlias = tuple[int, int, Record | None, ObjectKey]
"""Slot, revision, what it holds from now on (None leaves it empty), and whose it is or was."""

_Parameters: TypeAlias = tuple[int | str | bytes | None, ...]
_ROW_OVERHEAD, _ATTRIBUTE = 100, 32

LAST_REVISION: Final = 1 << 62
_LAST_SLOT: Final = 1 << 26
"""Far above what a store that is all in memory comes to. A damaged number that is larger would cost the memory, or not
fit into SQLite's integers once revisions are reserved behind it."""

_LIVE: Final = (int, int, str, str, str, str, bytes, bytes, int, bytes)
_EMPTY: Final = (int, int, *[NoneType] * 8)
"""The types of an object's row, whose ``managed`` may be missing (format 1 had none), and of an empty place's."""
_DATA: Final = COLUMNS.index("data")
_TYPE_NAMES: Final = {int: "a whole number", float: "a fraction", str: "text", bytes: "bytes", NoneType: "nothing"}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[dict[str, str], dict[str, str], tuple[str, ...]])


class RowReader:
    """Turns rows into records; equal strings and equal managed fields become one object: less memory to fill."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._entries: dict[bytes, bytes] = {}

    def read(self, row: tuple[Any, ...]) -> tuple[int, int, Record | None]:
        """Slot, revision and record of a row. Any: SQLite columns hold any type once the file is damaged.

        Raises:
            ValueError: the row is damaged.
        """
        slot, revision, resource, namespace, name, uid, attributes, data, checksum, managed = row
        if not 0 < slot <= _LAST_SLOT:
            raise ValueError(f"slot: wanted 1 to {_LAST_SLOT}, found {slot}")
        if data is None:
            if fault := _misfit(row):
                raise ValueError(fault)
            if not 0 < revision <= LAST_REVISION:  # that of an object is in its checksum
                raise ValueError(f"revision: wanted 1 to {LAST_REVISION}, found {revision}")
            return slot, revision, None
        names = self._names
        key = ObjectKey(names.setdefault(resource, resource), names.setdefault(namespace, namespace), name)
        managed = b"" if managed is None else self._entries.setdefault(managed, managed)
        try:
            found = _checksum(key, revision, uid, attributes, data, managed)
        except TypeError as error:
            raise ValueError(_misfit(row)) from error
        if checksum != found:  # only now, as looking at every value's type costs a microsecond a row
            raise ValueError(_misfit(row) or f"{key} does not match its checksum")
        labels, fields, owners = _decoder.decode(attributes)
        return slot, revision, Record(key, revision, uid, data, labels, fields, owners, managed)


def type_name(value: object) -> str:
    """What SQLite holds, for people."""
    return _TYPE_NAMES.get(type(value), "something else")


def _misfit(row: tuple[Any, ...]) -> str:
    """The first value of a row that is not of its column's type; empty where each one is."""
    empty = row[_DATA] is None and row[_DATA - 1] is None
    place = " in a row without data" if empty else ""
    for column, kind, value in zip((*COLUMNS, MANAGED), _EMPTY if empty else _LIVE, row, strict=True):
        if type(value) is not kind and (column, value) != (MANAGED, None):
            return f"{column}: wanted {_TYPE_NAMES[kind]}{place}, found {type_name(value)}"
    return ""


def row_size(record: Record) -> int:
    """About how many bytes of the file a record needs, packed tightly."""
    attributes = len(record.labels) + len(record.fields) + len(record.owners)
    return _ROW_OVERHEAD + len(record.data) + len(record.managed) + len(record.key[2]) + _ATTRIBUTE * attributes


def _checksum(key: ObjectKey, revision: int, uid: str, attributes: bytes, data: bytes, managed: bytes) -> int:
    """Of everything in a row; without managed fields it is the one that format 1 wrote."""
    return zlib.crc32(managed, zlib.crc32(data, zlib.crc32(attributes, zlib.crc32(f"{key} {revision} {uid}".encode()))))


@lru_cache(maxsize=CHUNK)
def statement(rows: int) -> str:
    """Writes so many rows, in the place of what their slots held."""
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT OR REPLACE INTO objects ({ALL_COLUMNS}) VALUES {values}"  # noqa: S608 - only placeholders


def parameters(rows: Sequence[Row]) -> _Parameters:
    """What goes into the statement's places."""
    values: list[int | str | bytes | None] = []
    for slot, revision, record, _ in rows:
        if record is None:
            values += (slot, revision, None, None, None, None, None, None, None, None)
        else:
            resource, namespace, name = record.key
            attributes = _encoder.encode((record.labels, record.fields, record.owners))
            data, managed = record.data, record.managed
            checksum = _checksum(record.key, revision, record.uid, attributes, data, managed)
            values += (slot, revision, resource, namespace, name, record.uid, attributes, data, checksum, managed)
    return tuple(values)
