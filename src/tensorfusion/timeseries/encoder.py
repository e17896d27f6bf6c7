"""Points as lines: one at a time for whoever has few, and compiled by table for whoever has many.

A compiled table is a function whose arguments are the columns, in the order of the table: a row then costs what its
digits cost. Its source is put together from the names of the columns, as namedtuple and dataclass do; measured against
closures that go over the columns it takes half the time (``benchmarks/timeseries.py``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from tensorfusion.timeseries import lines
from tensorfusion.timeseries.points import TIME_COLUMN, FieldValue, Kind, Point, Unsigned

Encode: TypeAlias = Callable[..., bytes]
"""``encode(*tags, *fields, time)``, by position in the table's order or by name; ``time`` in ns since 1970."""

_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]*")
_MOST_SPELLINGS: Final = 4096


@dataclass(frozen=True, slots=True)
class Field:
    """A column of numbers or texts. An ``optional`` one may be None: then the row has no value there."""

    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """What a table's rows are made of.

    ``time_column`` is its name where a store makes the table (see ``tables.py``).

    Raises:
        ValueError: a column with a name that is none of ours, or that occurs twice; or no field.
    """

    name: str
    tags: tuple[str, ...]
    fields: tuple[Field, ...]
    time_column: str = TIME_COLUMN

    def __post_init__(self) -> None:
        names = [*self.tags, *(field.name for field in self.fields), "time", self.time_column]
        for column in (self.name, *names):
            if not _IDENTIFIER.fullmatch(column):
                raise ValueError(f"table {self.name}: wanted a name like gpu_count, found {column!r}")
        if len(set(names)) != len(names):
            raise ValueError(f"table {self.name}: wanted columns of different names, found {sorted(names)}")
        if all(field.optional for field in self.fields):
            raise ValueError(f"table {self.name}: wanted a field that every row has, found none")

    @property
    def columns(self) -> tuple[str, ...]:
        """The arguments of its encoder but ``time``."""
        return (*self.tags, *(field.name for field in self.fields))


def encode(point: Point) -> bytes:
    """The line of a point, with its end; empty where no field can be written (only floats that are not finite)."""
    tags = (
        f",{lines.name(key)}={spelled}" for key, value in sorted(point.tags.items()) if (spelled := lines.name(value))
    )
    fields = ",".join(
        f"{lines.name(key)}={spelled}" for key, value in point.fields.items() if (spelled := _value(value))
    )
    if not fields:
        return b""
    time = "" if point.time is None else f" {point.time}"
    return f"{lines.name(point.table)}{''.join(tags)} {fields}{time}\n".encode("utf-8", "replace")


def compiled(table: Table) -> Encode:
    """The encoder of a table's rows; lines as ``encode`` makes them, but for the order of tags and fields.

    A float may be given as an int. An int that does not fit 64 bits makes a line that every database refuses.
    """
    scope: dict[str, object] = {"_number": lines.number}
    head = [table.name]
    for place, tag in enumerate(table.tags):
        scope[f"_tag{place}"] = _Spellings(tag)
        head.append(f"{{_tag{place}[{tag}]}}")
    # fields that every row has go first: then the line is whole without looking whether it has a field at all
    always = [field for field in table.fields if not field.optional and field.kind is not Kind.FLOAT]
    others = [field for field in table.fields if field not in always]
    body = f"{','.join(map(_written, always))}{''.join(f'{{_{field.name}}}' for field in others)}"
    source = [f"def encode({', '.join((*table.columns, 'time'))}):"]
    source.extend(f"    _{field.name} = {_escaped(field.name)}" for field in always if field.kind is Kind.STRING)
    source.extend(f"    _{field.name} = {_piece(field)}" for field in others)
    if not always:
        source += [f"    fields = f'{body}'", "    if not fields:", "        return b''"]
        body = "{fields[1:]}"
    source.append(f"    return f'''{''.join(head)} {body} {{time}}\\n'''.encode('utf-8', 'replace')")
    exec("\n".join(source), scope)  # noqa: S102 - names of columns only, and they are identifiers
    return cast("Encode", scope["encode"])


class _Spellings(dict[str | None, str]):
    """The values of one tag that came by, each as the piece of the line that it becomes."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = lines.name(key)

    def __missing__(self, value: str | None) -> str:
        spelled = lines.name(value) if value else ""
        piece = f",{self._key}={spelled}" if spelled else ""
        if len(self) >= _MOST_SPELLINGS:
            self.clear()  # cheaper than to keep the order of use, and as good where values come back
        self[value] = piece
        return piece


def _written(field: Field) -> str:
    """The part of an f-string that writes a field that every row has."""
    name = field.name
    match field.kind:
        case Kind.INT:
            return f"{name}={{{name}}}i"
        case Kind.UNSIGNED:
            return f"{name}={{{name}}}u"
        case Kind.BOOL:
            return f"{name}={{'true' if {name} else 'false'}}"
        case _:
            return f'{name}="{{_{name}}}"'


def _piece(field: Field) -> str:
    """The expression that writes a field with a comma before it, or nothing."""
    name = field.name
    match field.kind:
        case Kind.FLOAT:
            plain = f"{name}.__class__ is float and 1e-4 <= {name} < 1e16"
            piece = f"f',{name}={{{name}!r}}' if {plain} else _number({name}, ',{name}=')"
        case Kind.STRING:
            piece = f"""',{name}="' + {_escaped(name)} + '"'"""
        case _:
            piece = f'f""",{_written(field)}"""'
    return f"'' if {name} is None else ({piece})" if field.optional else piece


def _escaped(name: str) -> str:
    return f"{name}[:{lines.MOST_TEXT}]" + r""".replace('\\', '\\\\').replace('"', '\\"')"""


def _value(value: FieldValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Unsigned):
        return f"{int(value)}u"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return lines.number(value)
    return lines.quoted(value)
