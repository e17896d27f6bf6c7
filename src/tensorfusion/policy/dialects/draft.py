"""A manifest while it is being rewritten, and the small steps that the tables of the kinds are made of.

Every change is one line in ``rewrites``; what cannot be said in the schema is a ``Refusal``, never dropped in silence.
A step does nothing where its field is absent, so a manifest in the schema passes through unchanged.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Json = Any  # Any: whatever a file holds
Path = tuple[str | int, ...]

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 60


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()
"""No such field; None is a value."""


class Untranslatable(Exception):
    """A value that has no meaning in the schema; ``wanted`` says what has."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        super().__init__(wanted)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that cannot be rewritten."""

    path: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: wanted {self.wanted}, found {self.found}"


def path_of(text: str | Path) -> Path:
    """``spec.vm.vmSizes`` as a path; a tuple is one already."""
    return tuple(text.split(".")) if isinstance(text, str) else text


def shown(path: str | Path) -> str:
    """A path as people write it."""
    result = ""
    for part in path_of(path):
        if isinstance(part, int):
            result += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            result += f".{part}" if result else part
        else:
            result += f"[{part}]"
    return result


def told(value: Json) -> str:
    """A value in one short line."""
    if isinstance(value, dict):
        return "{" + ", ".join(map(str, list(value)[:6])) + "}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if not text.isprintable():
        text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


@dataclass
class Draft:
    """A copy of a manifest, with what was done to it."""

    document: dict[str, Json]
    rewrites: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, document: Mapping[str, Json]) -> "Draft":
        return cls(deepcopy(dict(document)))

    def get(self, path: str | Path) -> Json:
        """The value at a path, or ``ABSENT``."""
        value: Json = self.document
        for part in path_of(path):
            if isinstance(part, int):
                if not isinstance(value, list) or part >= len(value):
                    return ABSENT
            elif not isinstance(value, dict) or part not in value:
                return ABSENT
            value = value[part]
        return value

    def has(self, path: str | Path) -> bool:
        return self.get(path) is not ABSENT

    def take(self, path: str | Path) -> Json:
        """Remove and return the value at a path; ``ABSENT`` where there is none."""
        *parents, last = path_of(path)
        parent = self.get(tuple(parents))
        if not isinstance(parent, dict) or last not in parent:
            return ABSENT
        return parent.pop(last)

    def put(self, path: str | Path, value: Json) -> bool:
        """Set the value at a path; False, with a refusal, where another value or no object stands in the way."""
        *parents, last = path_of(path)
        parent: Json = self.document
        for position, part in enumerate(parents):
            if isinstance(part, int):
                parent = parent[part]
                continue
            parent = parent.setdefault(part, {})
            if not isinstance(parent, dict | list):
                self.refuse(tuple(parents[: position + 1]), "an object", parent)
                return False
        if not isinstance(parent, dict):
            self.refuse(tuple(parents), "an object", parent)
            return False
        if last in parent and parent[last] != value:
            self.refuse(path, f"one value, another spelling of the field says {told(value)}", parent[last])
            return False
        parent[last] = value
        return True

    def note(self, line: str) -> None:
        self.rewrites.append(line)

    def refuse(self, path: str | Path, wanted: str, found: Json) -> None:
        self.refusals.append(Refusal(shown(path), wanted, told(found)))

    def move(self, old: str | Path, new: str | Path, to: Callable[[Json], Json] | None = None) -> None:
        """Say a field in the schema's words; ``to`` translates its value.

        An ``Untranslatable`` of ``to`` becomes a refusal.
        """
        before = self.get(old)
        if before is not ABSENT and path_of(old) == path_of(new):
            self._translate_in_place(old, before, to)
        elif before is not ABSENT and self.say(old, before, new, to):
            self.take(old)

    def say(self, old: str | Path, before: Json, new: str | Path, to: Callable[[Json], Json] | None = None) -> bool:
        """Say a value that stood at ``old`` in the schema's words; False with a refusal where that cannot be."""
        if before is ABSENT:
            return False
        try:
            after = to(before) if to is not None else before
        except Untranslatable as error:
            self.refuse(old, error.wanted, before)
            return False
        if self.has(new) and self.get(new) != after:
            self.refuse(new, f"one value, {shown(old)} says {told(after)}", self.get(new))
            return False
        if not self.put(new, after):
            return False
        value = f": {told(before)}" if not isinstance(before, dict | list) else ""
        self.note(f"{shown(old)}{value} -> {shown(new)}: {told(after)}")
        return True

    def _translate_in_place(self, path: str | Path, before: Json, to: Callable[[Json], Json] | None) -> None:
        try:
            after = to(before) if to is not None else before
        except Untranslatable as error:
            self.refuse(path, error.wanted, before)
            return
        if after != before or type(after) is not type(before):
            self.take(path)
            self.put(path, after)
            self.note(f"{shown(path)}: {told(before)} -> {told(after)}")

    def drop(self, path: str | Path, why: str) -> None:
        """Remove a field that changes nothing."""
        value = self.take(path)
        if value is not ABSENT:
            self.note(f"{shown(path)}: {told(value)} -> removed: {why}")

    def prune(self, path: str | Path) -> None:
        """Remove an object that has become empty."""
        if self.get(path) == {}:
            self.take(path)

    def rest(self, path: str | Path, wanted: str) -> None:
        """Refuse whatever is left of a loose block, field by field; an empty block goes."""
        left = self.get(path)
        if left is ABSENT:
            return
        if not isinstance(left, dict):
            self.refuse(path, wanted, left)
            return
        for key, value in left.items():
            self.refuse((*path_of(path), key), wanted, value)
        self.prune(path)


Step = Callable[[Draft], None]


def move(old: str, new: str, to: Callable[[Json], Json] | None = None) -> Step:
    """A field under another name."""
    return lambda draft: draft.move(old, new, to)


def same(path: str, to: Callable[[Json], Json]) -> Step:
    """A field whose value is written in another form."""
    return lambda draft: draft.move(path, path, to)


def drop(path: str, why: str) -> Step:
    """A field that changes nothing."""
    return lambda draft: draft.drop(path, why)


def refuse(path: str, wanted: str) -> Step:
    """A field that would change something and cannot be said."""

    def step(draft: Draft) -> None:
        value = draft.get(path)
        if value is not ABSENT:
            draft.refuse(path, wanted, value)

    return step


def run(draft: Draft, steps: Iterable[Step]) -> None:
    """Take every step in order."""
    for step in steps:
        step(draft)


def text(value: Json) -> str:
    """A number as the text that the schema wants; text stays.

    Raises:
        Untranslatable: neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Untranslatable("a number or text")
    return plain_number(value)


def plain_number(value: float) -> str:
    """A number without exponent and without trailing zeros."""
    exact = Decimal(str(value))
    written = f"{exact:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def number(value: Json) -> Decimal:
    """A number, also of text, also with a percent sign (``80%`` is 80).

    Raises:
        Untranslatable: it is none.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?%?", value):
        return Decimal(value.rstrip("%"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise Untranslatable("a number from 0")
    return Decimal(str(value))


def percent(value: Json) -> int:
    """A part as whole percent: 0.8, 80 and ``80%`` are 80; 1 is all of it.

    Raises:
        Untranslatable: not a number from 0 to 100.
    """
    found = number(value)
    whole = found * 100 if found <= 1 and not (isinstance(value, str) and value.endswith("%")) else found
    if whole > 100 or whole != int(whole):
        raise Untranslatable("a part from 0 to 1, or whole percent up to 100")
    return int(whole)


def ratio(value: Json) -> float | int:
    """A part as a number from 0 to 1: 80 and ``80%`` are 0.8. A number from 0 to 1 stays as it is.

    Raises:
        Untranslatable: not a number from 0 to 100.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return value
    found = number(value)
    part = found / 100 if found > 1 or (isinstance(value, str) and value.endswith("%")) else found
    if part > 1:
        raise Untranslatable("a part from 0 to 1, or percent up to 100")
    return float(part)


def one_of(words: Mapping[str, str], wanted: str) -> Callable[[Json], Json]:
    """A translation of words; a word that is already the schema's stays."""

    def to(value: Json) -> Json:
        if isinstance(value, str) and value in words:
            return words[value]
        if isinstance(value, str) and value in words.values():
            return value
        raise Untranslatable(wanted)

    return to
