"""What a definition's creator is warned of: formats that nothing checks.

Source: apiextensions-apiserver pkg/registry/customresourcedefinition/strategy.go, by behaviour.
"""

from collections.abc import Iterator

from tensorfusion.embedded.schema.formats import FORMATS, UNCHECKED
from tensorfusion.model.meta import Raw


def format_warnings(crd: Raw) -> list[str]:
    """A warning for each text whose format is not known."""
    return [
        f'unrecognized format "{form}"'
        for version in crd["spec"]["versions"]
        for form in _formats(version["schema"]["openAPIV3Schema"])
        if form not in FORMATS and form.replace("-", "") not in FORMATS and form not in UNCHECKED
    ]


def _formats(schema: Raw) -> Iterator[str]:
    """The formats of texts, where values are described."""
    if schema.get("type") == "string" and schema.get("format"):
        yield schema["format"]
    for inner in (schema.get("properties") or {}).values():
        yield from _formats(inner)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from _formats(schema[keyword])
