"""Semantic versions, such as ``1.2.3-rc.1``.

Source: apiserver pkg/cel/library/semverlib.go; semver.org, version 2.0.0.
"""

import re
from dataclasses import dataclass

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Function, Implementation, Library, Overload
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.texts import quoted
from tensorfusion.cel.types import BOOL, INT, STRING, Type, opaque
from tensorfusion.cel.values import LARGEST_INT, LARGEST_UINT, Opaque, Value

SEMVER = opaque("kubernetes.Semver")
_NUMBER = re.compile(r"[0-9]*")
_WORD = re.compile(r"[0-9A-Za-z-]*")


@dataclass(frozen=True, slots=True, eq=False)
class Version(Opaque):
    """``numbers`` are major, minor and patch; ``before`` the parts of a prerelease, none for a release."""

    numbers: tuple[int, int, int]
    before: tuple[int | str, ...]
    build: tuple[str, ...]
    TYPE = SEMVER

    def __str__(self) -> str:
        before = "-" + ".".join(map(str, self.before)) if self.before else ""
        build = "+" + ".".join(self.build) if self.build else ""
        return ".".join(map(str, self.numbers)) + before + build

    def equals(self, other: Value) -> bool:
        """Equality, whatever the build."""
        if not isinstance(other, Version):
            raise NoSuchOverload
        return _compare(self, other) == 0

    @property
    def order(self) -> tuple[object, ...]:
        """What versions are compared by: a release comes after its prereleases, words come after numbers."""
        before = tuple((isinstance(part, str), part) for part in self.before)
        return (self.numbers, not before, before)


def _parse(text: str, normalize: bool = False) -> Version:
    if normalize:
        text = _normalized(text)
    if not text:
        raise EvaluationError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise EvaluationError("No Major.Minor.Patch elements found")
    major, minor = _core(parts[0], "major"), _core(parts[1], "minor")
    rest, plus, build = parts[2].partition("+")
    rest, minus, before = rest.partition("-")
    patch = _core(rest, "patch")
    prerelease = tuple(map(_prerelease, before.split("."))) if minus else ()
    return Version((major, minor, patch), prerelease, tuple(map(_build, build.split("."))) if plus else ())


def _core(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise EvaluationError(f"Invalid character(s) found in {name} number {quoted(text)}")
    if len(text) > 1 and text[0] == "0":
        raise EvaluationError(f"{name.capitalize()} number must not contain leading zeroes {quoted(text)}")
    return _number(text)


def _number(text: str) -> int:
    if not text or len(text) > 20 or int(text) > LARGEST_UINT:
        why = "value out of range" if text else "invalid syntax"
        raise EvaluationError(f"strconv.ParseUint: parsing {quoted(text)}: {why}")
    return int(text)


def _prerelease(text: str) -> int | str:
    if not text:
        raise EvaluationError("Prerelease is empty")
    if _NUMBER.fullmatch(text):
        if len(text) > 1 and text[0] == "0":
            raise EvaluationError(f"Numeric PreRelease version must not contain leading zeroes {quoted(text)}")
        return _number(text)
    if not _WORD.fullmatch(text):
        raise EvaluationError(f"Invalid character(s) found in prerelease {quoted(text)}")
    return text


def _build(text: str) -> str:
    if not text:
        raise EvaluationError("Build meta data is empty")
    if not _WORD.fullmatch(text):
        raise EvaluationError(f"Invalid character(s) found in build meta data {quoted(text)}")
    return text


def _normalized(text: str) -> str:
    """Without a leading ``v`` and leading zeros, and with the numbers that are missing."""
    parts = text.removeprefix("v").split(".", 2)
    for place, part in enumerate(parts):
        if len(part) > 1:
            rest = part.lstrip("0")
            parts[place] = rest if _NUMBER.fullmatch(rest[:1]) and rest else "0" + rest
    if len(parts) < 3 and re.search("[+-]", parts[-1]):
        raise EvaluationError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][:3])


def _is_version(text: str, normalize: bool = False) -> bool:
    try:
        _parse(text, normalize)
    except EvaluationError:
        return False
    return True


def _compare(left: Version, right: Version) -> int:
    one, other = left.order, right.order
    return int(one > other) - int(one < other)


def _part(place: int) -> Implementation:
    """One of the three numbers, which wraps around beyond 63 bits."""

    def read(version: Version) -> int:
        number = version.numbers[place]
        return number if number <= LARGEST_INT else number - LARGEST_UINT - 1

    return read


def _of_text(name: str, identifiers: tuple[str, str], result: Type, implementation: Implementation) -> Function:
    plain, normalizing = identifiers
    cost = costs.over_first()
    return Function(
        name,
        (
            Overload(plain, (STRING,), result, implementation, cost=cost),
            Overload(normalizing, (STRING, BOOL), result, implementation, cost=cost),
        ),
    )


def _member(name: str, identifier: str, others: int, result: Type, implementation: Implementation) -> Function:
    parameters = (SEMVER,) * (1 + others)
    return Function(name, (Overload(identifier, parameters, result, implementation, member=True),))


VERSIONS: Library = (
    _of_text("semver", ("string_to_semver", "string_bool_to_semver"), SEMVER, _parse),
    _of_text("isSemver", ("is_semver_string", "is_semver_string_bool"), BOOL, _is_version),
    _member("isGreaterThan", "semver_is_greater_than", 1, BOOL, lambda one, other: _compare(one, other) > 0),
    _member("isLessThan", "semver_is_less_than", 1, BOOL, lambda one, other: _compare(one, other) < 0),
    _member("compareTo", "semver_compare_to", 1, INT, _compare),
    *(_member(name, f"semver_{name}", 0, INT, _part(place)) for place, name in enumerate(("major", "minor", "patch"))),
)
