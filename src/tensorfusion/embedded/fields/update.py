"""What an ordinary write makes of the managers: it owns what it changed, and nobody owns what it removed.

Source: structured-merge-diff merge.Updater; apimachinery util/managedfields, by behaviour.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tensorfusion.embedded.fields.compare import Change
from tensorfusion.embedded.fields.entries import Entry, Writer, capped
from tensorfusion.embedded.fields.sets import (
    LEAF,
    Fields,
    difference,
    intersection,
    recursive_difference,
    union,
)

SERVER_OWNED: Fields = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {
        ".": LEAF,
        **{
            f"f:{name}": LEAF
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        },
    },
}
"""What nobody owns, whoever writes it."""

Versions = Callable[[str], "Seen | None"]
"""What a write changes as another version of the kind sees it; None where the version is not served (any more)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A change in one version of the kind, without the fields that the endpoint does not write."""

    changed: Fields
    removed: Fields

    @classmethod
    def of(cls, change: Change, ignored: Fields) -> "Seen":
        if not ignored:
            return cls(change.changed, change.removed)
        return cls(recursive_difference(change.changed, ignored), recursive_difference(change.removed, ignored))


def updated(entries: Sequence[Entry], writer: Writer, versions: Versions) -> list[Entry]:
    """The entries after a write.

    Others lose what the writer changed, all lose what it removed. The writer's time changes only if it changed
    something.
    """
    seen = versions(writer.api_version) or Seen({}, {})
    kept = without(entries, versions)
    mine = difference(seen.changed, SERVER_OWNED)
    if mine:
        entry = writer.entry(mine)
        for number, other in enumerate(kept):
            if other.identity == entry.identity:
                kept[number] = writer.entry(union(other.fields, mine))
                break
        else:
            kept.append(entry)
    return capped(kept)


def without(entries: Sequence[Entry], versions: Versions) -> list[Entry]:
    """The entries less everything that a change touches; those with nothing left, or of unknown versions, go."""
    kept = []
    for entry in entries:
        seen = versions(entry.api_version)
        if seen is None:
            continue
        left = difference(entry.fields, intersection(entry.fields, seen.changed)) if seen.changed else entry.fields
        left = difference(left, seen.removed)
        if left:
            kept.append(entry if left is entry.fields else replaced(entry, fields=left))
    return kept


def replaced(entry: Entry, *, fields: Fields, api_version: str = "", timeless: bool = False) -> Entry:
    """The entry with other fields, and maybe of another version, or without its time."""
    return Entry(
        entry.manager,
        entry.operation,
        api_version or entry.api_version,
        entry.fields_type,
        fields,
        None if timeless else entry.time,
        entry.subresource,
    )
