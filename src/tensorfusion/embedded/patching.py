"""A PATCH request's body as a change of an object. Which patch types are served is decided here."""

from enum import StrEnum

from tensorfusion.embedded.bodies import decode_json, repeated_keys, whole_numbers
from tensorfusion.embedded.changes import Patch
from tensorfusion.embedded.fields.typed import go_text
from tensorfusion.embedded.json_words import of_another_type
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.patch import json_patch, merge_patch, parse_json_patch
from tensorfusion.embedded.schema.schema import Schema
from tensorfusion.embedded.statuses import NoPatch
from tensorfusion.embedded.strategic import strategic_patch
from tensorfusion.errors import BadRequest, Invalid, UnsupportedMediaType


class PatchType(StrEnum):
    """Media types of patches that are served."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


_OPERATION = frozenset({"op", "path", "from", "value"})
_APPLY = "application/apply-patch+yaml"
_UNREADABLE = "error decoding patch: "
_OBJECT, _LIST = "map[string]interface {}", "[]handlers.jsonPatchOp"


def is_apply(content_type: str) -> bool:
    """Whether a patch is a configuration to be applied."""
    return _patch_format(content_type) == _APPLY


def _patch_format(content_type: str) -> str:
    """The media type of a patch, which alone of all is taken as it is written."""
    return content_type.partition(";")[0].strip()


def check_patch_type(kind: Kind, content_type: str) -> None:
    """Raises:
    UnsupportedMediaType: neither an apply nor a patch type that the kind has.
    """
    if not is_apply(content_type):
        _patch_type(kind, content_type)


def parse_patch(kind: Kind, content_type: str, body: bytes, *, schema: Schema | None = None) -> Patch:
    """A patch that is not applied. It is decoded anew for each use: what is patched may keep parts of it.

    ``schema`` is that of what is patched where that is not the kind's own object: a Scale.

    Raises:
        UnsupportedMediaType: strategic merge of a custom kind, or no patch type at all.
        BadRequest, Invalid: the patch does not parse.
    """
    patch_type = _patch_type(kind, content_type)
    if patch_type is PatchType.JSON:
        return _json_patch(body)
    begin = "" if patch_type is PatchType.STRATEGIC else _UNREADABLE
    value = decode_json(body, "", unreadable=begin)
    if value is None and patch_type is PatchType.STRATEGIC:
        body, value = b"{}", {}
    if not isinstance(value, dict):
        raise BadRequest(f"{begin}{of_another_type(value, _OBJECT)}")
    named = b"managedFields" in body or b"\\u" in body
    repeated = tuple(repeated_keys(body, value))
    if patch_type is PatchType.MERGE:
        fresh = [value]  # for the first use, hardly ever followed by another

        def merge(current: JsonObject) -> JsonObject:
            return _object(merge_patch(current, fresh.pop() if fresh else decode_json(body, "")))

        return Patch(
            merge,
            named,
            repeated,
            touched=frozenset(value),
        )
    shape = (schema or kind.schema).patch_shape

    def change(current: JsonObject) -> JsonObject:
        own = {field: current[field] for field in ("kind", "apiVersion")}
        patched = _object(strategic_patch(current, whole_numbers(decode_json(body, "")), shape))
        return {**patched, **{field: text for field, text in own.items() if isinstance(patched.get(field), str | None)}}

    return Patch(change, named, repeated, lambda: go_text(value))


def _json_patch(body: bytes) -> Patch:
    value = decode_json(body, "", unreadable=_UNREADABLE)
    if not isinstance(value, list):
        raise BadRequest(f"{_UNREADABLE}{of_another_type(value, _LIST)}")
    operations = parse_json_patch(value)
    complaints = [*repeated_keys(body, operations)]
    for number, operation in enumerate(operations):
        complaints += [f'unknown field "[{number}].{key}"' for key in sorted(operation) if key not in _OPERATION]
    return Patch(
        lambda current: _patched(json_patch(current, decode_json(body, ""))),
        True,
        tuple(f"json patch {complaint}" for complaint in complaints),
    )


def _patch_type(kind: Kind, content_type: str) -> PatchType:
    media_type = _patch_format(content_type)
    served = [PatchType.JSON, PatchType.MERGE]
    if not kind.is_custom:
        served.append(PatchType.STRATEGIC)
    if media_type in served:
        return PatchType(media_type)
    if media_type in set(PatchType):
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{', '.join((*served, _APPLY))}"
        )
    raise NoPatch("415: Unsupported Media Type")


def _patched(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise Invalid("the server rejected our request due to an error in our request: no object is left")
    return value


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise BadRequest("the patch makes something that is no object")
    return value
