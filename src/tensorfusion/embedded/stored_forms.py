"""What an older version stored, as this one would store it: once, when its store is opened.

Updates compare what is stored with what is asked for, which comes out of this version's decoder. An object that an
older decoder let through, with zeros and empty lists that this one leaves out, would differ in fields that nobody
touched: pods could not be updated any more, and workloads would roll out.
"""

from collections.abc import Callable

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import JsonObject, decode_object, in_order, make_record
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.embedded.store import Record
from tensorfusion.errors import ApiError
from tensorfusion.model.resources import CONTROLLER_REVISIONS


def as_stored_now(kinds: Kinds) -> Callable[[Record], Record]:
    """Brings a stored object of a built-in kind into this version's form, at the revision it has.

    Objects of other kinds, and those that this version would refuse, stay as they are.
    """

    def renew(record: Record) -> Record:
        try:
            kind = kinds.by_id(record.key.resource)
            obj = decode_object(record.data)
            kind.schema.prepare(obj, strict=FieldValidation.IGNORE)
            kind.schema.settle(obj)
            if kind.resource.id == CONTROLLER_REVISIONS.id:
                _renew_template(kinds, obj)
            found = make_record(record.key, in_order(obj, kind.resource), record.revision, kind.fields, record.managed)
        except (ApiError, KeyError, TypeError, ValueError, AttributeError):
            return record
        return record if found.data == record.data else found

    return renew


def _renew_template(kinds: Kinds, revision: JsonObject) -> None:
    """A revision keeps its owner's pod template as free JSON, and is found by it: it has to follow the owner's form."""
    owner = next((owner for owner in revision["metadata"].get("ownerReferences", ()) if owner.get("controller")), None)
    kind = kinds.of_kind(owner["apiVersion"], owner["kind"]) if owner is not None else None
    template = ((revision.get("data") or {}).get("spec") or {}).get("template")
    if kind is None or kind.is_custom or type(template) is not dict:
        return
    directive = template.pop("$patch", None)
    whole: JsonObject = {"metadata": {}, "spec": {"template": template}}
    kind.schema.prepare(whole, strict=FieldValidation.IGNORE)
    found = whole["spec"].get("template", {})
    revision["data"]["spec"]["template"] = found if directive is None else {**found, "$patch": directive}
