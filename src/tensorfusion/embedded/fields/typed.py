"""What an applied configuration must be before it can be merged: of the types of its schema, and of nothing else.

Texts as a real API server writes them, values in the notation of Go included.

Source: structured-merge-diff typed (validation), by behaviour.
"""

from collections.abc import Iterator
from typing import Any

from tensorfusion.embedded.fields.keys import BadElement, element_key
from tensorfusion.embedded.fields.sets import path_text
from tensorfusion.embedded.fields.types import FieldType, ListType, MapType
from tensorfusion.model.meta import Raw


# Any in this module: JSON values.
def type_problems(config: Raw, kind: FieldType) -> list[str]:
    """What is wrong, one line each; empty when nothing is."""
    return sorted(f"{where}: {what}" if where else what for where, what in _problems(config, kind, ""))


def _problems(value: Any, kind: FieldType, where: str) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if type(value) is dict:
        if kind.map is not None:
            yield from _map_problems(value, kind.map, where)
            return
    elif type(value) is list:
        if kind.list is not None:
            yield from _list_problems(value, kind.list, where)
            return
    elif kind.scalar:
        yield from _scalar_problems(value, kind.scalar, where)
        return
    yield where, _mismatch(value, kind)


def _mismatch(value: Any, kind: FieldType) -> str:
    if kind.map is not None:
        return f"expected map, got &{{{go_text(value)}}}"
    if kind.list is not None:
        return f"expected list, got &{{{go_text(value)}}}"
    return _wrong_scalar(value, kind.scalar)


def _map_problems(value: Raw, kind: MapType, where: str) -> Iterator[tuple[str, str]]:
    unknown = [key for key in value if key not in kind.fields] if kind.element is None else []
    if unknown:
        yield f"{where}.{min(unknown)}", "field not declared in schema"
    for key, inner in value.items():
        inner_kind = kind.fields.get(key, kind.element)
        if inner_kind is not None:
            yield from _problems(inner, inner_kind, f"{where}.{key}")


def _list_problems(values: list[Any], kind: ListType, where: str) -> Iterator[tuple[str, str]]:
    if kind.atomic:
        for number, value in enumerate(values):
            yield from _problems(value, kind.element, f"{where}[{number}]")
        return
    seen: set[str] = set()
    for number, value in enumerate(values):
        try:
            key = element_key(value, kind)
        except BadElement as error:
            yield where, f"element {number}: {error}"
            return
        if key in seen:
            yield where, f"duplicate entries for key {path_text((key,))}"
            continue
        seen.add(key)
        yield from _problems(value, kind.element, where + path_text((key,)))


def _scalar_problems(value: Any, scalar: str, where: str) -> Iterator[tuple[str, str]]:
    found = "boolean" if type(value) is bool else "string" if type(value) is str else "numeric"
    if scalar not in ("untyped", found):
        yield where, _wrong_scalar(value, scalar)


def _wrong_scalar(value: Any, scalar: str) -> str:
    if scalar == "numeric":
        return f"expected numeric (int or float), got {_go_type(value)}"
    if scalar == "boolean":
        return f"expected boolean, got &{{{go_text(value)}}}"
    return f"expected {scalar}, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"


def _go_type(value: Any) -> str:
    names = {
        dict: "map[string]interface {}",
        list: "[]interface {}",
        str: "string",
        bool: "bool",
        int: "int64",
        float: "float64",
    }
    return names.get(type(value), "nil")


def go_text(value: Any) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<nil>"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is dict:
        return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
    if type(value) is list:
        return f"[{' '.join(go_text(item) for item in value)}]"
    return str(value)


def _go_syntax(value: Any) -> str:
    """A value as Go would have it in source code."""
    if type(value) is str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if type(value) is dict:
        inner = ", ".join(f"{_go_syntax(key)}:{_go_syntax(value[key])}" for key in sorted(value))
        return f"map[string]interface {{}}{{{inner}}}"
    if type(value) is list:
        return f"[]interface {{}}{{{', '.join(_go_syntax(item) for item in value)}}}"
    return "interface {}(nil)" if value is None else go_text(value)
