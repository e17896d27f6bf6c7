"""A record as a row of the file and back: its columns, its checksum, the statement that writes many."""

import zlib
from collections.abc import Sequence
from functools import lru_cache
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
            TypeError, ValueError, AttributeError: the row is damaged.
        """
        slot, revision, resource, namespace, name, uid, attributes, data, checksum, managed = row
        if data is None:
            return slot, int(revision), None
        names = self._names
        managed = self._entries.setdefault(managed, managed) if managed else b""
        key = ObjectKey(names.setdefault(resource, resource), names.setdefault(namespace, namespace), name)
        if checksum != _checksum(key, revision, uid, attributes, data, managed):
            raise ValueError(f"{key} does not match its checksum")
        labels, fields, owners = _decoder.decode(attributes)
        return slot, revision, Record(key, revision, uid, data, labels, fields, owners, managed)


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
