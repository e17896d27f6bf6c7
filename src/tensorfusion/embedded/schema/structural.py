"""Prune and default custom resources by their structural schema, compiled into closures.

Unlike built-in objects nothing is refused here but broken ``metadata``: a value of the wrong type is left for
validation, which says so with 422. Nulls that a field does not allow are dropped, or replaced by the field's default.

Source: apiextensions-apiserver pkg/apiserver/schema/{pruning,defaulting,objectmeta}.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tensorfusion.embedded.schema.decode import Decoder, fresh, limit_depth
from tensorfusion.embedded.schema.path import Member, Path, plain_text_of
from tensorfusion.embedded.schema.scalars import json_word, whole
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw

# Any: a JSON value. Changes it in place; the list collects the paths of unknown fields.
Pruner = Callable[[Any, Path, list[str]], None]

OBJECT_FIELDS = ("apiVersion", "kind", "metadata")
_NOTHING = object()
_CONTAINERS = frozenset({dict, list})
_TOP: Path = (None, "metadata")


def compile_structural(schema: Raw, decode_metadata: Decoder, *, nulls: bool = False) -> Pruner:
    """Prune and default whole objects of one version of a custom resource.

    With ``nulls`` those that are not allowed, and have no default in their place, are left for validation.
    """
    return _Compiler(decode_metadata, nulls=nulls).object(schema, top=True)


def compile_pruner(schema: Raw) -> Pruner:
    """Prune objects of another version, without defaults: what a version shows of them."""
    return _Compiler(_keep, defaults=False).object(schema, top=True)


def default_of(schema: Raw) -> Any:
    """A schema's default with the defaults inside it applied; ``_NOTHING`` when it has none."""
    if schema.get("default") is None:
        return _NOTHING
    value = fresh(schema["default"])
    pruner = _Compiler(_keep).node(schema)
    if pruner is not None:
        pruner(value, None, [])
    return value


def _strip(value: Any, path: Path, unknown: list[str]) -> None:
    """Where no object is wanted, nothing of one is known."""
    if type(value) is dict:
        unknown.extend(plain_text_of((path, name)) for name in value)
        value.clear()
    elif type(value) is list:
        limit_depth(value, path)
        for index, item in enumerate(value):
            _strip(item, (path, index), unknown)


def _keep(value: Any, path: Path, unknown: list[str]) -> Any:
    return value


class _Compiler:
    def __init__(self, decode_metadata: Decoder, *, defaults: bool = True, nulls: bool = False) -> None:
        self._decode_metadata = decode_metadata
        self._defaults = defaults
        self._nulls = nulls

    def node(self, schema: Raw) -> Pruner | None:
        """The pruner of a value; None for leaves, of which ``_strip`` takes care."""
        if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
            item = self.node(schema["items"])
            return _array(item)
        if schema.get("type") == "object" or "properties" in schema or "additionalProperties" in schema:
            return self.object(schema)
        return _free if schema.get("x-kubernetes-preserve-unknown-fields") else None

    def object(self, schema: Raw, *, top: bool = False) -> Pruner:
        properties: Raw = schema.get("properties", {})
        known: dict[str, tuple[Pruner | None, bool]] = {
            name: (self.node(inner), bool(inner.get("nullable"))) for name, inner in properties.items()
        }
        embedded = top or bool(schema.get("x-kubernetes-embedded-resource"))
        if embedded:
            known |= dict.fromkeys(OBJECT_FIELDS, (_leave, False))
        additional = schema.get("additionalProperties")
        members: tuple[Pruner | None, bool] | None = None
        if isinstance(additional, dict):
            members = (self.node(additional), bool(additional.get("nullable")))
        elif additional or schema.get("x-kubernetes-preserve-unknown-fields"):
            members = (_free, True)
        defaults = {name: default_of(inner) for name, inner in properties.items()} if self._defaults else {}
        return _object(
            known,
            members,
            tuple((name, value) for name, value in defaults.items() if value is not _NOTHING),
            self._decode_metadata if embedded else None,
            nulls=self._nulls,
        )


def _object(
    known: Mapping[str, tuple[Pruner | None, bool]],
    members: tuple[Pruner | None, bool] | None,
    defaults: tuple[tuple[str, Any], ...],
    decode_metadata: Decoder | None,
    *,
    nulls: bool,
) -> Pruner:
    strip = _strip if members is None or members[0] is not _free else _leave
    replaced = frozenset(name for name, _ in defaults) if nulls else None

    def prune(obj: Any, path: Path, unknown: list[str]) -> None:
        if type(obj) is not dict:
            strip(obj, path, unknown)
            return
        dropped: list[str] = []
        for name, value in obj.items():
            entry = known.get(name, members)
            if entry is None:
                unknown.append(plain_text_of((path, name)))
                dropped.append(name)
                continue
            pruner, nullable = entry
            if value is None:
                if not nullable and (replaced is None or name in replaced):
                    dropped.append(name)
            elif type(value) is float:
                obj[name] = whole(value)
            elif pruner is not None:
                pruner(value, (path, name if name in known else Member(name)), unknown)
            elif type(value) in _CONTAINERS:
                _strip(value, (path, name if name in known else Member(name)), unknown)
        for name in dropped:
            del obj[name]
        if decode_metadata is not None and obj.get("metadata") is not None:
            _decode_metadata(obj["metadata"], (path, "metadata"), unknown, decode_metadata)
        for name, value in defaults:
            if name not in obj:
                obj[name] = fresh(value)

    return prune


def _decode_metadata(metadata: Any, path: Path, unknown: list[str], decode: Decoder) -> None:
    """Metadata is decoded as built-in objects are, apart from the object around it."""
    inside: list[str] = []
    stated = None if path == _TOP else fresh(metadata)
    try:
        _metadata_only(metadata)
        for field, value in metadata.items():
            if type(value) is float:  # it comes to the decoder as it is written, as a whole one if it is whole
                metadata[field] = whole(value)
        decode(metadata, None, inside)
    except BadRequest as error:
        if path == _TOP:
            raise
        shown = json.dumps(stated, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        raise BadRequest(f"{plain_text_of(path)}: Invalid value: {shown}: {error}") from error
    unknown += [f"{plain_text_of(path)}.{field}" for field in inside]


def _metadata_only(metadata: Any) -> None:
    if type(metadata) is not dict:
        raise BadRequest(f"json: cannot unmarshal {json_word(metadata)} into Go value of type v1.ObjectMeta")


def _array(item: Pruner | None) -> Pruner:
    def prune(values: Any, path: Path, unknown: list[str]) -> None:
        if type(values) is not list:
            _strip(values, path, unknown)
            return
        for index, value in enumerate(values):
            if type(value) is float:
                values[index] = whole(value)
            elif item is not None:
                item(value, (path, index), unknown)
            elif type(value) in _CONTAINERS:
                _strip(value, (path, index), unknown)

    return prune


def _leave(value: Any, path: Path, unknown: list[str]) -> None:
    """What is looked at elsewhere."""


def _free(value: Any, path: Path, unknown: list[str]) -> None:
    if type(value) is dict or type(value) is list:
        limit_depth(value, path)
        _make_whole(value)


def _make_whole(value: Any) -> None:
    """Write the whole numbers in free JSON as such, without recursion."""
    left = [value]
    while left:
        holder = left.pop()
        for key, item in holder.items() if type(holder) is dict else enumerate(holder):
            if type(item) is float:
                holder[key] = whole(item)
            elif type(item) is dict or type(item) is list:
                left.append(item)
