"""Server-side apply: what a configuration makes of an object and of its managers. Pure.

Source: structured-merge-diff merge.Updater; apimachinery util/managedfields, by behaviour.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tensorfusion.embedded.fields.compare import compare, owned
from tensorfusion.embedded.fields.entries import Entry, Verb, Writer, capped
from tensorfusion.embedded.fields.merge import merged
from tensorfusion.embedded.fields.prune import pruned
from tensorfusion.embedded.fields.sets import (
    Fields,
    Path,
    difference,
    intersection,
    path_text,
    paths,
    recursive_difference,
    union,
)
from tensorfusion.embedded.fields.types import FieldType
from tensorfusion.embedded.fields.update import SERVER_OWNED, Seen, replaced, without
from tensorfusion.model.meta import Raw


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a kind, as an endpoint writes it: ``ignored`` are the fields that it does not write."""

    kind: FieldType
    ignored: Fields


VersionOf = Callable[[str], Version | None]
"""The version of an ``apiVersion``, None where it is not served (any more)."""


@dataclass(frozen=True, slots=True)
class Collision:
    """A field that the configuration sets to something else than its owner."""

    owner: Entry
    path: Path


class Conflicts(Exception):
    """The configuration changes fields of others, and is not to be forced."""

    def __init__(self, collisions: Sequence[Collision]) -> None:
        self.collisions = tuple(collisions)
        super().__init__(conflict_text(self.collisions))


@dataclass(frozen=True, slots=True)
class Applied:
    """The object, not yet decoded and defaulted, and its entries. ``changed`` is false when the object stays."""

    obj: Raw
    entries: list[Entry]
    changed: bool


def apply(
    live: Raw, config: Raw, entries: Sequence[Entry], writer: Writer, version_of: VersionOf, *, force: bool
) -> Applied:
    """Apply a configuration of the right types.

    Raises:
        Conflicts: it changes what others own, and ``force`` is false.
        BadElement: an element of a list has no key.
        ValueError: the writer's version is not served.
    """
    version = version_of(writer.api_version)
    if version is None:
        raise ValueError(f"{writer.api_version} is not served")
    mine = writer.entry(recursive_difference(owned(config, version.kind), version.ignored))
    before = next((entry for entry in entries if entry.identity == mine.identity), None)
    others = [entry for entry in entries if entry.identity != mine.identity]
    result = merged(live, config, version.kind)
    if before is not None and _dropped(before, mine):
        result = _pruned(result, before, [*others, mine], version_of)
    versions = _versions(live, result, version_of)
    if not force:
        collisions = _collisions(others, versions)
        if collisions:
            raise Conflicts(collisions)
    kept = without(others, versions)
    changed = live != result
    fields = difference(mine.fields, SERVER_OWNED)
    if fields:
        kept.append(_dated(replaced(mine, fields=fields), before, changed=changed))
    return Applied(result, capped(kept), changed)


def _dated(mine: Entry, before: Entry | None, *, changed: bool) -> Entry:
    """An apply that leaves the object as it is leaves its time, too."""
    if changed:
        return mine
    time = before.time if before is not None else None
    return Entry(mine.manager, mine.operation, mine.api_version, mine.fields_type, mine.fields, time, mine.subresource)


def _dropped(before: Entry, mine: Entry) -> bool:
    """Whether something may have to go: mostly the same fields are applied again, and then nothing does."""
    return before.api_version != mine.api_version or bool(difference(before.fields, mine.fields))


def _pruned(result: Raw, before: Entry, entries: Sequence[Entry], version_of: VersionOf) -> Raw:
    version = version_of(before.api_version)
    if version is None:
        return result
    owners: dict[str, tuple[Fields, FieldType]] = {}
    for entry in sorted(entries, key=lambda entry: entry.api_version != before.api_version):
        of_entry = version_of(entry.api_version)
        if of_entry is not None:
            fields, _ = owners.get(entry.api_version, ({}, of_entry.kind))
            owners[entry.api_version] = (union(fields, entry.fields), of_entry.kind)
    return pruned(result, before.fields, list(owners.values()), version.kind)


def _versions(live: Raw, result: Raw, version_of: VersionOf) -> Callable[[str], Seen | None]:
    found: dict[str, Seen | None] = {}

    def seen(api_version: str) -> Seen | None:
        if api_version not in found:
            version = version_of(api_version)
            found[api_version] = (
                None if version is None else Seen.of(compare(live, result, version.kind), version.ignored)
            )
        return found[api_version]

    return seen


def _collisions(others: Sequence[Entry], versions: Callable[[str], Seen | None]) -> list[Collision]:
    found = []
    for entry in others:
        seen = versions(entry.api_version)
        if seen is not None:
            found += [Collision(entry, path) for path in paths(intersection(entry.fields, seen.changed))]
    return found


def conflict_text(collisions: Sequence[Collision]) -> str:
    """The message of a conflict: one line for one field, a list by manager for several."""
    if len(collisions) == 1:
        only = collisions[0]
        return f"Apply failed with 1 conflict: conflict with {owner_text(only.owner)}: {path_text(only.path)}"
    by_owner: dict[str, list[str]] = {}
    for collision in collisions:
        by_owner.setdefault(owner_text(collision.owner), []).append(path_text(collision.path))
    lines = []
    for owner in sorted(by_owner):
        lines += [f"conflicts with {owner}:", *(f"- {path}" for path in by_owner[owner])]
    return "\n".join([f"Apply failed with {len(collisions)} conflicts: {lines[0]}", *lines[1:]])


def owner_text(entry: Entry) -> str:
    """How a conflict names a manager."""
    shown = f'"{entry.manager}"'
    if entry.subresource:
        shown += f' with subresource "{entry.subresource}"'
    return shown if entry.operation == Verb.APPLY else f"{shown} using {entry.api_version}"
