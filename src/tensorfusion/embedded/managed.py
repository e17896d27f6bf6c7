"""Managed fields at work: which entries a write leaves behind, from the objects before and after it.

The entries stand beside the object (``Record.managed``), encoded as clients see them, and only writes decode them. An
object that nobody tracks (stored before there was tracking, or reset by its owner) stays so until it is applied to.

Source: the field managers of a real API server, by behaviour.
"""

from collections.abc import Sequence
from typing import Any

from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.endpoints import Endpoint, of_kind, of_scale, to_parent, to_scale
from tensorfusion.embedded.fields.apply import Conflicts, apply, owner_text
from tensorfusion.embedded.fields.compare import compare
from tensorfusion.embedded.fields.entries import (
    Entry,
    Verb,
    Writer,
    decode_entries,
    encode_entries,
    parse_entries,
    resets,
    same_but_time,
)
from tensorfusion.embedded.fields.keys import BadElement
from tensorfusion.embedded.fields.reconcile import fitted
from tensorfusion.embedded.fields.sets import path_text
from tensorfusion.embedded.fields.typed import type_problems
from tensorfusion.embedded.fields.update import Seen, replaced, updated
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.last_applied import CLIENT_SIDE, still_client_side, with_last_applied
from tensorfusion.embedded.objects import JsonObject, text_of
from tensorfusion.embedded.options import manager_problem
from tensorfusion.embedded.statuses import ApplyConflict, NotTyped, invalid_object
from tensorfusion.errors import BadRequest, FieldCause

_MOST_RECENT = 1024
_BEFORE = "before-first-apply"


class Managers:
    """Tracks the managers of every object. One instance per server; pure but for the registry that it reads."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._recent: dict[bytes, bytes] = {}

    def _shared(self, managed: bytes) -> bytes:
        """One object for equal entries: those of like objects written in the same second are equal."""
        if len(self._recent) > _MOST_RECENT:
            self._recent.clear()
        return self._recent.setdefault(managed, managed)

    def created(
        self,
        kind: Kind,
        obj: JsonObject,
        stated: Any,  # Any: JSON
        call: Call,
        now: str,
        *,
        subresource: str = "",
    ) -> bytes:
        """The entries of a new object, as its creator sent it. ``stated`` are entries that came with it."""
        endpoint = of_kind(self._kinds, kind, subresource)
        if kind.is_custom and _is_mistyped(endpoint, {}, obj, ""):
            return b""
        given = [] if stated is None or resets(stated) else _given(kind, obj, stated)
        return self._shared(encode_entries(_updated(endpoint, endpoint.zero, obj, given, call.manager, now)))

    def changed(
        self,
        kind: Kind,
        old: JsonObject,
        new: JsonObject,
        managed: bytes,
        call: Call,
        now: str,
        *,
        stated: Any = None,  # Any: JSON
        subresource: str = "",
    ) -> bytes:
        """The entries after an update or a patch; ``stated`` are those that its author sent.

        Raises:
            Invalid: an entry that was sent has a manager that is none.
        """
        entries: Sequence[Entry] = ()
        if stated is not None and not subresource:
            if resets(stated):
                return b""
            entries = _given(kind, new, stated)
        entries = entries or decode_entries(managed)
        if not entries:
            return b""
        endpoint = of_kind(self._kinds, kind, subresource)
        if kind.is_custom:
            if _is_another(kind, new) or _is_mistyped(endpoint, old, new, subresource):
                return b""
            entries = _fitted(endpoint, entries)
        return self._shared(encode_entries(_updated(endpoint, old, new, entries, call.manager, now)))

    def applied(
        self,
        kind: Kind,
        live: JsonObject | None,
        managed: bytes,
        config: JsonObject,
        call: Call,
        now: str,
        *,
        force: bool,
        subresource: str = "",
    ) -> tuple[JsonObject, bytes]:
        """The object, not yet decoded and defaulted, and the entries after an apply; ``live`` is None for a new one.

        Raises:
            BadRequest: the configuration is of another kind, or not of the schema's types.
            Conflict: it changes what others own, and is not forced.
        """
        endpoint = of_kind(self._kinds, kind, subresource)
        _check_config(endpoint, config)
        entries: Sequence[Entry] = decode_entries(managed)
        if kind.is_custom:
            entries = _fitted(endpoint, entries)
        if live is None:
            live = endpoint.zero
        obj, entries = _applied(endpoint, live, config, entries, call.manager, now, force=force)
        if call.manager == CLIENT_SIDE:
            obj = with_last_applied(obj, config)
        return obj, encode_entries(entries)

    def scaled(self, kind: Kind, old: JsonObject, new: JsonObject, managed: bytes, call: Call, now: str) -> bytes:
        """The entries of an object whose Scale was changed; ``old`` and ``new`` are Scales."""
        entries = decode_entries(managed)
        if not entries:
            return b""
        endpoint = of_scale(kind)
        left = _updated(endpoint, old, new, to_scale(self._kinds, kind, entries), call.manager, now)
        return encode_entries(to_parent(self._kinds, kind, entries, left))

    def scale_applied(
        self, kind: Kind, live: JsonObject, managed: bytes, config: JsonObject, call: Call, now: str, *, force: bool
    ) -> tuple[JsonObject, bytes]:
        """A Scale after an apply, and the entries of its object; see ``applied``."""
        endpoint = of_scale(kind)
        _check_config(endpoint, config)
        entries = decode_entries(managed)
        obj, left = _applied(
            endpoint, live, config, to_scale(self._kinds, kind, entries), call.manager, now, force=force
        )
        return obj, encode_entries(to_parent(self._kinds, kind, entries, left))

    def settled(self, managed: bytes, before: bytes) -> bytes:
        """The entries of a write that did not change its object: as they were, unless somebody's fields changed."""
        if managed != before and same_but_time(decode_entries(managed), decode_entries(before)):
            return before
        return managed


def _is_another(kind: Kind, obj: JsonObject) -> bool:
    """Whether it says that it is of another kind, as a status may: nobody owns anything then, either."""
    return (obj.get("kind"), obj.get("apiVersion")) != (kind.resource.kind, kind.resource.api_version)


def _is_mistyped(endpoint: Endpoint, old: JsonObject, new: JsonObject, subresource: str) -> bool:
    """Whether what the endpoint does not keep has wrong types: nobody owns anything then, as of all that is wrong."""
    dropped: JsonObject = {}
    for name, value in new.items():
        if (name == "status") is not bool(subresource) and name != "metadata" and value != old.get(name):
            dropped[name] = value
    return bool(dropped) and bool(type_problems(dropped, endpoint.type))


def _updated(
    endpoint: Endpoint, old: JsonObject, new: JsonObject, entries: Sequence[Entry], manager: str, now: str
) -> list[Entry]:
    """The entries after an ordinary write through an endpoint."""
    found: dict[str, Seen | None] = {}

    def seen(api_version: str) -> Seen | None:
        if api_version not in found:
            version = endpoint.version_of(api_version)
            found[api_version] = None if version is None else Seen.of(compare(old, new, version.kind), version.ignored)
        return found[api_version]

    writer = Writer(manager, Verb.UPDATE, endpoint.api_version, now, endpoint.subresource)
    try:
        return updated(entries, writer, seen)
    except BadElement:  # validation refuses the object later, unless it forgives what was there before
        return []


def _applied(
    endpoint: Endpoint,
    live: JsonObject,
    config: JsonObject,
    entries: Sequence[Entry],
    manager: str,
    now: str,
    *,
    force: bool,
) -> tuple[JsonObject, list[Entry]]:
    if not entries:
        entries = _updated(endpoint, endpoint.zero, live, (), _BEFORE, now)
    writer = Writer(manager, Verb.APPLY, endpoint.api_version, now, endpoint.subresource)
    try:
        try:
            result = apply(live, config, entries, writer, endpoint.version_of, force=force)
        except Conflicts as conflicts:
            allowed = still_client_side(endpoint, live, conflicts.collisions) if manager == CLIENT_SIDE else ()
            left = [item for item in conflicts.collisions if item not in allowed]
            if left:
                raise _conflict(Conflicts(left)) from conflicts
            result = apply(live, config, entries, writer, endpoint.version_of, force=True)
    except BadElement as error:
        raise BadRequest(str(error)) from error
    return result.obj, result.entries


def _fitted(endpoint: Endpoint, entries: Sequence[Entry]) -> list[Entry]:
    """Entries of a custom kind under its definition as it is now."""
    found = []
    for entry in entries:
        version = endpoint.version_of(entry.api_version)
        fields = entry.fields if version is None else fitted(entry.fields, version.kind)
        found.append(entry if fields is entry.fields else replaced(entry, fields=fields))
    return found


def _given(kind: Kind, obj: JsonObject, stated: Any) -> list[Entry]:  # Any: JSON
    """Entries as a client sent them; none where they are broken.

    Raises:
        Invalid: one has a manager that is none.
    """
    entries = parse_entries(stated) or []
    causes = []
    for number, entry in enumerate(entries):
        problem = manager_problem(entry.manager)
        if problem is not None:
            causes.append(FieldCause(f"metadata.managedFields[{number}].manager", *problem))
    if causes:
        raise invalid_object(kind.resource, text_of(obj["metadata"], "name"), *causes)
    return entries


def _check_config(endpoint: Endpoint, config: JsonObject) -> None:
    """Raises:
    BadRequest: a configuration of another kind, with managed fields of its own, or not of the schema's types.
    """
    found = _kind_text(config.get("apiVersion"), config.get("kind"))
    if found != _kind_text(endpoint.api_version, endpoint.kind):
        raise BadRequest(f"invalid object type: {found}")
    metadata = config.get("metadata")
    name = namespace = ""
    if isinstance(metadata, dict):
        if metadata.get("managedFields") is not None:
            raise BadRequest("metadata.managedFields must be nil")
        name, namespace = metadata.get("name") or "", metadata.get("namespace") or ""
    problems = type_problems(config, endpoint.type)
    if problems:
        text = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
        raise NotTyped(f"failed to create typed patch object ({namespace}/{name}; {found}): {text}")


def _kind_text(api_version: object, kind: object) -> str:
    group, _, version = (api_version if isinstance(api_version, str) else "").rpartition("/")
    return f"{group}/{version}, Kind={kind if isinstance(kind, str) else ''}"


def _conflict(conflicts: Conflicts) -> ApplyConflict:
    """The error of a configuration that is in conflict with others."""
    causes = [
        FieldCause(path_text(item.path), f"conflict with {owner_text(item.owner)}", "FieldManagerConflict")
        for item in conflicts.collisions
    ]
    return ApplyConflict(str(conflicts), causes=causes)
