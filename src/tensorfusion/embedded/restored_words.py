"""What is said of a strategic patch whose result has values of wrong types: Go restores it from maps, not from JSON.

Source: apimachinery pkg/runtime/converter.go, by behaviour.
"""

import re

_MISMATCH = re.compile(r"json: cannot unmarshal (\w+)(?: (\S+))? into Go struct field \S+ of type (\S+)").fullmatch
_FOUND = {"object": "map", "array": "slice", "string": "string", "bool": "bool"}
_PLAIN = ("int32", "int64", "string", "bool", "float64")


def restored(text: str) -> str:
    """The words for a mismatch that JSON's decoder would tell so; any other text as it is."""
    match = _MISMATCH(text)
    if match is None:
        return text
    found, number, wanted = match.groups()
    kind = _FOUND.get(found) or ("float64" if any(letter in (number or "") for letter in ".eE") else "int64")
    if wanted.startswith("[]"):
        return f"cannot restore slice from {kind}"
    if wanted.startswith("map["):
        return f"cannot restore map from {kind}"
    if wanted not in _PLAIN:
        return f"cannot restore struct from: {kind}"
    convertible = (kind == "int64" and wanted != "bool") or (kind == "float64" and wanted.startswith("int"))
    return f"cannot convert {kind} to {wanted}" if convertible else f"unrecognized type: {wanted}"
