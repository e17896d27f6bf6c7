"""What a type says about its own CRD schema: descriptions, bounds, CEL rules and printer columns.

The rules stand beside the fields in ``Annotated``, so a type is the one source of both the decoder and the schema.
msgspec ignores them on purpose: the API server has checked an object before we read it, and one odd object must never
stop the list it came in. Rejected: ``msgspec.Meta``, which would check again while decoding.
"""

from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

import msgspec


@dataclass(frozen=True, slots=True)
class Cel:
    """One CEL validation rule of an object."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of one field. Several on one type add up; where two speak, the outer one wins.

    A default is not stated here: the field's own default is published where it is a value (not ``None``, not empty),
    and ``False`` or ``0`` only where ``defaulted`` says so or the field is required.
    """

    doc: str | None = None
    required: bool | None = None
    defaulted: bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    max_properties: int | None = None
    pattern: str | None = None
    format: str | None = None
    enum: tuple[str, ...] | None = None
    map_key: str | None = None
    """The list is a map by this field of its items."""
    atomic: bool | None = None
    """Server-side apply replaces the value as a whole."""
    int_or_string: bool | None = None
    cel: tuple[Cel, ...] | None = None
    """Rules over the fields of this value, in this place only; ``Part.cel`` holds in every place."""

    def under(self, outer: "Rules") -> "Rules":
        """These rules with those of ``outer`` on top."""
        spoken = {rule.name: getattr(outer, rule.name) for rule in fields(outer)}
        return replace(self, **{name: value for name, value in spoken.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column."""

    name: str
    path: str
    type: str = "string"


class Part(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Base of the parts of our own objects. ``cel`` holds the rules that span several fields of the part."""

    cel: ClassVar[tuple[Cel, ...]] = ()


class EmptyStatus(Part, frozen=True):
    """The kind has no status."""


_NUMBER = r"([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?$"

Int32 = Annotated[int, Rules(format="int32")]
Count = Annotated[int, Rules(format="int32", minimum=0)]
UInt32 = Annotated[int, Rules(format="int64", minimum=0, maximum=(1 << 32) - 1)]
Int64 = Annotated[int, Rules(format="int64")]
UInt64 = Annotated[int, Rules(format="int64", minimum=0)]
Percent = Annotated[int, Rules(format="int32", minimum=0, maximum=100)]
Time = Annotated[str, Rules(format="date-time")]
Duration = Annotated[str, Rules(pattern=r"^(0|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d|w))+)$", max_length=64)]
Quantity = Annotated[str | int, Rules(int_or_string=True, pattern=r"^\+?" + _NUMBER, minimum=0, max_length=64)]
SignedQuantity = Annotated[str | int, Rules(int_or_string=True, pattern="^[+-]?" + _NUMBER, max_length=64)]
Money = Annotated[str, Rules(pattern=r"^\$?[0-9]{1,12}(\.[0-9]{1,9})?$", max_length=24)]
"""Dollars as a decimal; a leading ``$`` is allowed in what people write."""
Decimal = Annotated[str, Rules(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", max_length=24)]
Fraction = Annotated[str, Rules(pattern=r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$", max_length=12)]
"""0 to 1 as a decimal string."""
Ratio = Annotated[float, Rules(minimum=0, maximum=1)]
"""0 to 1 as a number; only ever compared, never added up."""
Url = Annotated[str, Rules(pattern=r"^https?://[^\s]+$", max_length=2048)]
Regex = Annotated[str, Rules(max_length=1024)]
Cron = Annotated[str, Rules(pattern=r"^[^\s=]+(\s+[^\s=]+){4}$", max_length=128)]
"""Five fields."""
