"""Pieces of JSON that are moved about unread, and the account of what could not be moved.

Apart from the tables because they are the same for both directions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from tensorfusion.errors import InvalidRequest

Members: TypeAlias = dict[str, Raw]
"""An object whose values nobody has read yet."""
Built: TypeAlias = dict[str, object]
"""An object that is put together; pieces that nobody has read may be in it. It is spelled once, as a whole."""
T = TypeVar("T")

NULL: Final = Raw(b"null")
TRUE: Final = Raw(b"true")
FALSE: Final = Raw(b"false")
EMPTY_OBJECT: Final = Raw(b"{}")
_NOTHING: Final = (b"null", b"false", b"0", b"0.0", b"[]", b"{}", b'""')
_members: Final = msgspec.json.Decoder(Members)
_lists: Final = msgspec.json.Decoder(list[Members])
_raws: Final = msgspec.json.Decoder(list[Raw])
_encoder: Final = msgspec.json.Encoder()


class CannotTranslate(InvalidRequest):
    """What came cannot be said in the other's words without asking for something else; ``where`` is the member."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        super().__init__(f"{where}: {why}" if where else why)


@dataclass(frozen=True, slots=True)
class Translated:
    """``warnings`` name what was left out, each once, in the order in which it was met."""

    body: bytes
    warnings: tuple[str, ...]


class Warnings:
    """What is left out on the way."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def lost(self, what: str, why: str = "has no counterpart") -> None:
        """It is not said."""
        self._found[f"{what}: {why}"] = None

    def all_lost(self, where: str, members: Iterable[tuple[str, Raw]]) -> None:
        """None of these is said, unless they say nothing anyway."""
        for name, value in members:
            if not says_nothing(value):
                self.lost(f"{where}{name}")

    def taken_out(self, where: str, members: Members, names: Iterable[str]) -> None:
        """Those of the members that have these names are taken away, and not said."""
        self.all_lost(where, [(name, members.pop(name)) for name in names if name in members])

    def translated(self, rest: Members, said: Built) -> Translated:
        """What is said, as a body. What nobody knows goes on with it, but for what it says in other words already."""
        for name, value in rest.items():
            if name not in said:
                said[name] = value
            elif not is_null(value):
                self.lost(name, "is said already")
        return Translated(spell(said), self.told())

    def told(self) -> tuple[str, ...]:
        return tuple(self._found)


def members_of(value: bytes | Raw, where: str) -> Members:
    """An object. Raises CannotTranslate: it is none."""
    return _read(_members, value, where, "an object")


def objects_of(value: bytes | Raw, where: str) -> list[Members]:
    """A list of objects. Raises CannotTranslate: it is none."""
    return _read(_lists, value, where, "a list of objects")


def values_of(value: bytes | Raw, where: str) -> list[Raw]:
    """A list of anything. Raises CannotTranslate: it is none."""
    return _read(_raws, value, where, "a list")


def text_of(value: Raw, where: str) -> str:
    """A string, read. Raises CannotTranslate: it is none."""
    return _read(_texts, value, where, "a string")


_texts: Final = msgspec.json.Decoder(str)


def is_text(value: Raw) -> bool:
    """It is a string; it is not read."""
    return bytes(memoryview(value)[:1]) == b'"'


def is_null(value: Raw | None) -> bool:
    """It is absent, or null."""
    return value is None or value == NULL


def says_nothing(value: Raw | None) -> bool:
    """It is absent, null, or as good as."""
    return value is None or (len(memoryview(value)) <= 4 and bytes(value) in _NOTHING) or value == FALSE


def given(members: Members, name: str) -> Raw | None:
    """Take a member away; None where it is absent or null."""
    value = members.pop(name, None)
    return None if is_null(value) else value


def move(source: Members, target: Built, name: str, to: str = "") -> None:
    """Take a member into what is said, perhaps by another name, if it is there and not null."""
    value = given(source, name)
    if value is not None:
        target[to or name] = value


def raw(value: object) -> Raw:
    """A value, spelled; pieces within stay as they are."""
    return Raw(_encoder.encode(value))


def inside(text: Raw, where: str) -> memoryview:
    """A string as it is spelled, without its quotes: to be put into another string.

    Raises:
        CannotTranslate: it is no string.
    """
    if not is_text(text):
        raise CannotTranslate(where, "wanted a string")
    return memoryview(text)[1:-1]


def in_a_string(value: Raw, where: str) -> Raw:
    """A value as the string that holds its JSON. Raises CannotTranslate: it is no UTF-8."""
    try:
        return raw(bytes(value).decode())
    except UnicodeDecodeError as error:
        raise CannotTranslate(where, f"wanted UTF-8: {error}") from error


def quoted(*parts: bytes | memoryview) -> Raw:
    """A string of what is spelled already."""
    return Raw(b"".join((b'"', *parts, b'"')))


def event_of(decoder: "msgspec.json.Decoder[T]", data: bytes, wanted: str) -> T:
    """The data of an event. Raises CannotTranslate: it is none."""
    return _read(decoder, data, "", wanted)


def spell(value: object) -> bytes:
    return _encoder.encode(value)


def _read(decoder: "msgspec.json.Decoder[T]", value: bytes | Raw, where: str, wanted: str) -> T:
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CannotTranslate(where, f"wanted {wanted}: {error}") from error
