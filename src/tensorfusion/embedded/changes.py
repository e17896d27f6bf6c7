"""What a write asks to become of an object that is there: a change of it, or a configuration to be applied to it.

Who writes gives one of these, whichever verb it came by: a replacement, a patch in one of its types, the server's own
edits. Apart from the updates because nothing is read or written here: a change makes an object of an object.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object, encode_object
from tensorfusion.embedded.restored_words import restored
from tensorfusion.embedded.schema.schema import Schema
from tensorfusion.embedded.statuses import invalid
from tensorfusion.embedded.views import View
from tensorfusion.errors import BadRequest, FieldCause

Change = Callable[[JsonObject], JsonObject]
"""Makes the wanted object of a current one that it may change."""
Track = Callable[[JsonObject, JsonObject, bytes], bytes]
"""The managed fields of a changed object, from its old and new version and what they were."""

_WITH_STATUS = frozenset({"apiVersion", "kind", "metadata", "status"})


@dataclass(frozen=True, slots=True)
class Patch:
    """A change that a client wrote as a patch.

    ``sees_managed``: it may speak of managed fields, and must be shown them. ``repeated`` are complaints of keys that
    it holds twice. ``shown`` is how an error quotes it; without it the patched object is quoted. ``touched`` are the
    fields of the object that it speaks of, None where that is not known; it leaves the others as they are.
    """

    change: Change
    sees_managed: bool = False
    repeated: tuple[str, ...] = ()
    shown: Callable[[], str] | None = None
    touched: frozenset[str] | None = None

    def __call__(self, current: JsonObject) -> JsonObject:
        return self.change(current)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What server-side apply is given: the fields that its author wants, and whether to take them from others."""

    obj: JsonObject
    force: bool = False


def prepare_patched(
    schema: Schema, obj: JsonObject, change: Change, current: Callable[[], JsonObject], call: Call
) -> list[str]:
    """Decode an object that a change has made; ``current`` gives what it was made of once more. Returns warnings.

    Raises:
        Invalid: as a real API server says of patches whose result cannot be decoded.
    """
    try:
        return schema.prepare(
            obj,
            strict=call.validation,
            repeated=call.repeated,
            sort=True,
            applied=isinstance(change, Patch) and change.shown is not None,
            patched=isinstance(change, Patch),
        )
    except BadRequest as error:
        if not isinstance(change, Patch):
            raise
        what = str(error)
        if "cannot be handled as a" in what:
            what = what.partition(": ")[2]
        what = what if change.shown is None else restored(what)
        shown = change.shown() if change.shown is not None else encode_object(change(current())).decode()
        cause = FieldCause("patch", f"Invalid value: {json.dumps(shown, ensure_ascii=False)}: {what}")
        raise invalid("", "", "", causes=(cause,)) from error


def beside_status(new: JsonObject, change: Change) -> JsonObject:
    """Take out of a patched object what a status write leaves alone and its patch does not speak of: as it is stored,
    there is nothing to decode in it, and most of an object is that."""
    if not isinstance(change, Patch) or change.touched is None or "metadata" in change.touched:
        return {}  # what metadata lacks may follow from the rest: labels of jobs do
    fields = [field for field in new if field not in _WITH_STATUS and field not in change.touched]
    return {field: new.pop(field) for field in fields}


def through_view(kind: Kind, view: View, change: Change, call: Call, *, prepared: bool) -> Change:
    """A change that a view's client asks for, as a change of the stored object."""

    def changed(current: JsonObject) -> JsonObject:
        old = view.to_shown(current)
        new = change(decode_object(encode_object(old)))
        if not prepared:
            call.warnings += kind.schema.prepare(new, strict=call.validation, repeated=call.repeated)
        stored = view.to_stored(new)
        view.check_change(stored, current)
        return stored

    return changed
