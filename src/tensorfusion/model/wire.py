"""Our typed parts back to JSON, and the smallest patch between two of them.

Writers own a part (usually a status) and write only a difference. Encoding a struct directly would drop every field
that equals its default, also the ones that the schema requires, and could never set a value back to its default.
"""

from functools import cache
from typing import Any

import msgspec

from tensorfusion.model.meta import Raw
from tensorfusion.model.schema import required_fields


def to_wire(part: msgspec.Struct) -> Raw:
    """One struct as JSON: what differs from the defaults, and always what the schema requires (unless it is unset).

    Fields that are ``None`` are left out.
    """
    required = required_fields(type(part))
    result: Raw = {}
    for field in _fields_of(type(part)):
        value = getattr(part, field.name)
        if value is None:
            continue
        if field.encode_name not in required and _is_default(value, field):
            continue
        result[field.encode_name] = _plain(value)
    return result


@cache
def _fields_of(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Reading them out of the annotations costs more than all the rest of ``to_wire``."""
    return msgspec.structs.fields(kind)


def merge_patch(old: Raw, new: Raw) -> Raw:
    """The JSON merge patch that turns ``old`` into ``new``; empty when they are equal. Lists are replaced whole."""
    patch: Raw = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


def status_patch(old: msgspec.Struct, new: msgspec.Struct) -> Raw | None:
    """The merge patch of ``status`` from one struct to the other; None when nothing differs."""
    patch = merge_patch(to_wire(old), to_wire(new))
    return {"status": patch} if patch else None


def _is_default(value: object, field: msgspec.structs.FieldInfo) -> bool:
    if field.default is not msgspec.NODEFAULT:
        return bool(value == field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(value == field.default_factory())
    return False


def _plain(value: Any) -> Any:  # Any: JSON of any shape
    if isinstance(value, msgspec.Struct):
        return to_wire(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return msgspec.to_builtins(value)
