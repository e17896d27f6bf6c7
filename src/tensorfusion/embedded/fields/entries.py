"""The managers of one object: who wrote which fields, when, and through what.

An ``Entry`` is one element of ``metadata.managedFields``. Entries are values: what a write makes of them is a new list.

Source: ManagedFieldsEntry of meta/v1; apimachinery util/managedfields, by behaviour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from tensorfusion.embedded.fields.sets import Fields, parse_fields, union

MOST_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"
_FORM: Final = "FieldsV1"


class Verb(StrEnum):
    """Wire values of an entry's operation."""

    APPLY = "Apply"
    UPDATE = "Update"


class Entry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One manager's fields. ``time`` is None only where a client left it out."""

    manager: str
    operation: str
    api_version: str
    fields_type: str
    fields_v1: Fields
    time: str | None = None
    subresource: str = ""

    @property
    def fields(self) -> Fields:
        return self.fields_v1

    @property
    def applied(self) -> bool:
        return self.operation == Verb.APPLY

    @property
    def identity(self) -> "Identity":
        """Entries of one identity are one manager: an applier is the same in every version."""
        version = "" if self.applied else self.api_version
        return Identity(self.manager, self.operation, version, self.subresource)


class Identity(NamedTuple):
    """What tells managers of one object apart."""

    manager: str
    operation: str
    version: str
    subresource: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes now: through which version of the kind, which subresource, and when."""

    manager: str
    verb: Verb
    api_version: str
    time: str
    subresource: str = ""

    def entry(self, fields: Fields) -> Entry:
        return Entry(self.manager, self.verb.value, self.api_version, _FORM, fields, self.time, self.subresource)


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(list[Entry])


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """The JSON of ``metadata.managedFields``; empty for no entries."""
    return _encoder.encode(in_order(entries)) if entries else b""


def decode_entries(data: bytes) -> list[Entry]:
    """What ``encode_entries`` wrote."""
    return _decoder.decode(data) if data else []


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Appliers before updaters, older before newer."""
    return sorted(
        entries,
        key=lambda entry: (entry.operation, entry.time or "", entry.manager, entry.api_version, entry.subresource),
    )


def same_but_time(left: Sequence[Entry], right: Sequence[Entry]) -> bool:
    """Whether two lists of entries, in order, say the same of who owns what."""
    if len(left) != len(right):
        return False
    mine = {entry.identity: (entry.api_version, entry.fields) for entry in left}
    return mine == {entry.identity: (entry.api_version, entry.fields) for entry in right}


def parse_entries(value: Any) -> list[Entry] | None:  # Any: JSON
    """Entries as a client sent them; None where a real API server falls back on what it has: broken or none at all."""
    if not isinstance(value, list) or not value:
        return None
    try:
        found = [_parsed(item) for item in value]
    except (ValueError, TypeError, KeyError):
        return None
    return list({entry.identity: entry for entry in found}.values())


def _parsed(item: Any) -> Entry:
    if item.get("operation") not in set(Verb) or not item.get("apiVersion") or item.get("fieldsType") != _FORM:
        raise ValueError("an entry needs operation, apiVersion and fieldsType")
    return Entry(
        str(item.get("manager") or ""),
        item["operation"],
        str(item["apiVersion"]),
        _FORM,
        parse_fields(item.get("fieldsV1") or {}),
        item.get("time"),
        str(item.get("subresource") or ""),
    )


def resets(value: Any) -> bool:  # Any: JSON
    """Whether a client asks for all entries to be forgotten: by a list of nothing, or of one empty entry."""
    if not isinstance(value, list) or len(value) > 1:
        return False
    return not value or value[0] is None or (isinstance(value[0], dict) and not any(value[0].values()))


def capped(entries: Sequence[Entry]) -> list[Entry]:
    """At most ten updaters: the oldest of a version are merged into one entry of nobody in particular."""
    updaters = [entry for entry in entries if not entry.applied]
    excess = len(updaters) - MOST_UPDATERS
    if excess <= 0:
        return list(entries)
    kept = {entry.identity: entry for entry in entries}
    first: dict[str, Identity] = {}
    for entry in sorted(updaters, key=lambda entry: (entry.time or "", entry.manager, entry.subresource)):
        if excess <= 0:
            break
        version = entry.api_version
        if version not in first:
            first[version] = entry.identity
            continue
        bucket = Identity(ANCIENT, Verb.UPDATE.value, version, "")
        base = kept.get(bucket) or kept.pop(first[version])
        merged = union(entry.fields, base.fields)
        kept.pop(entry.identity, None)
        kept[bucket] = Entry(ANCIENT, Verb.UPDATE.value, version, _FORM, merged, entry.time)
        excess -= 1
    return list(kept.values())
