"""What becomes of an empty list or map when a built-in object is stored: where Go shows a null, it is one afterwards.

Apart from ``decode`` because owners, and who compares one write with another, still have to see what was written: an
empty list is another value than none, and whoever writes it owns the field.

Source: the objects of a real server go through protocol buffers, which have no empty lists.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorfusion.model.meta import Raw

Settle = Callable[[Any], None]  # Any: a JSON value that has been decoded. Changes it in place.


def compile_settling(definitions: Mapping[str, Raw], root: str) -> Settle | None:
    """For one kind's whole object; None where there is nothing to do in any."""
    return _Compiler(definitions).struct(root)


class _Compiler:
    def __init__(self, definitions: Mapping[str, Raw]) -> None:
        self._definitions = definitions
        self._structs: dict[str, Settle | None] = {}

    def struct(self, name: str) -> Settle | None:
        if name in self._structs:
            return self._structs[name]
        self._structs[name] = None  # a structure inside itself has nothing of this
        definition = self._definitions[name]
        nulls = [field for field, blank in definition.get("shown", {}).items() if blank is None]
        inner: list[tuple[str, Settle]] = []
        for field, schema in definition.get("properties", {}).items():
            settle = self._value(schema)
            if settle is not None:
                inner.append((field, settle))
        self._structs[name] = found = _in_struct(nulls, inner) if nulls or inner else None
        return found

    def _value(self, schema: Raw) -> Settle | None:
        if "$ref" in schema:
            return self.struct(schema["$ref"])
        if schema.get("type") == "array":
            item = self._value(schema["items"])
            return None if item is None else _in_list(item)
        if isinstance(schema.get("additionalProperties"), dict):
            item = self._value(schema["additionalProperties"])
            return None if item is None else _in_map(item)
        return None


def _in_struct(nulls: Sequence[str], inner: Sequence[tuple[str, Settle]]) -> Settle:
    def settle(obj: Any) -> None:
        for field in nulls:
            if obj.get(field) in ([], {}):
                obj[field] = None
        for field, inside in inner:
            value = obj.get(field)
            if value is not None:
                inside(value)

    return settle


def _in_list(item: Settle) -> Settle:
    def settle(values: Any) -> None:
        for value in values:
            item(value)

    return settle


def _in_map(item: Settle) -> Settle:
    def settle(values: Any) -> None:
        for value in values.values():
            item(value)

    return settle
