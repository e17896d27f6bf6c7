"""How large what a schema allows can get, and how often: what the cost of a rule is estimated from.

Sizes are letters (bytes where a schema counts letters), items, or members. Where a schema sets no limit, the largest
request does.

Source: apiserver pkg/cel/common/schemas.go; apiextensions-apiserver pkg/apiserver/schema/cel/compilation.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorfusion.cel import Range
from tensorfusion.embedded.schema.typed import escaped, with_metadata
from tensorfusion.model.meta import Raw

# The largest request, in bytes.
REQUEST = 3 * 1024 * 1024
_LONGEST_TEXT = REQUEST - len('""')
# Of formats: the longest text, and the shortest with its quotes.
_FORMATS = {"duration": (32, 3), "date": (12, 12), "date-time": (32, 21)}
_LETTER_BYTES = 4
_SHORTEST = {"boolean": 4, "integer": 1, "number": 1}


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a schema: the most elements it holds, and the fewest bytes it takes when it is written."""

    most: int = 0
    fewest_bytes: int = 2
    properties: Mapping[str, "Place"] = field(default_factory=dict)
    items: "Place | None" = None
    # Members of a map, whose keys are texts of no size of their own.
    members: "Place | None" = None

    def size(self, path: Sequence[str]) -> Range | None:
        """The sizes of what lies below at a path whose first step is the variable; None where nothing is declared."""
        place: Place | None = self
        for step in path[1:]:
            if place is None:
                return None
            place = place._below(step)
        return None if place is None else Range(0, place.most)

    def _below(self, step: str) -> "Place | None":
        if step in ("@items", "@values"):
            return self.items or self.members
        if step == "@keys":
            return _KEY if self.members else None
        return self.properties.get(step)

    @property
    def most_copies(self) -> int:
        """How often it can stand in one request."""
        return REQUEST // (self.fewest_bytes + len(","))


_KEY = Place()


def sized(schema: Raw, *, whole_object: bool = False) -> Place | None:
    """The sizes of a schema; None where rules cannot use it."""
    if schema.get("x-kubernetes-int-or-string"):
        limit = schema.get("maxLength")
        return Place(_LONGEST_TEXT if limit is None else _natural(limit) * _LETTER_BYTES, 1)
    if whole_object or schema.get("x-kubernetes-embedded-resource"):
        schema = with_metadata(schema)
    kind = schema.get("type")
    if kind == "array":
        return _sized_list(schema)
    if kind == "object":
        additional = schema.get("additionalProperties")
        return _sized_map(schema, additional) if isinstance(additional, dict) else _sized_object(schema)
    if kind == "string":
        return _sized_text(schema)
    return Place(0, _SHORTEST[kind]) if kind in _SHORTEST else None


def _natural(limit: int) -> int:
    return max(int(limit), 0)


def _sized_list(schema: Raw) -> Place | None:
    inner = schema.get("items")
    items = sized(inner) if isinstance(inner, dict) else None
    if items is None:
        return None
    limit = schema.get("maxItems")
    most = (REQUEST - len("[]")) // (items.fewest_bytes + len(",")) if limit is None else _natural(limit)
    return Place(most, items=items)


def _sized_map(schema: Raw, additional: Raw) -> Place | None:
    members = sized(additional)
    if members is None:
        return None
    limit = schema.get("maxProperties")
    around = len('"":,') + 2  # a key of two bytes
    most = (REQUEST - len("{}")) // (members.fewest_bytes + around) if limit is None else _natural(limit)
    return Place(most, members=members)


def _sized_object(schema: Raw) -> Place:
    required = set(schema.get("required") or ())
    properties: dict[str, Place] = {}
    fewest_bytes = len("{}")
    for name, inner in schema.get("properties", {}).items():
        place = sized(inner)
        if place is None:
            continue
        written = escaped(name)
        if written:
            properties[written] = place
        if name in required and inner.get("default") is None:
            fewest_bytes += len(name.encode()) + place.fewest_bytes + len('"":,')
    return Place(0, fewest_bytes, properties)


def _sized_text(schema: Raw) -> Place:
    form, limit = schema.get("format"), schema.get("maxLength")
    if form in _FORMATS:
        return Place(*_FORMATS[form])
    if form == "byte":
        return Place(_LONGEST_TEXT if limit is None else _natural(limit))
    if limit is not None:
        return Place(_natural(limit) * _LETTER_BYTES)
    choices = schema.get("enum")
    if choices:
        return Place(max((len(one.encode()) for one in choices if isinstance(one, str)), default=0))
    return Place(_LONGEST_TEXT)
