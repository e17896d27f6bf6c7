"""JSON values of a configuration, held to what they must be: what they mean is no matter here.

What is something else raises InvalidConfig, which names the place, and shows what was found only where it is no secret.
"""

import re
from typing import Any

from tensorfusion.policy.routing.portkey.errors import InvalidConfig, kind_of
from tensorfusion.suggestions import did_you_mean

Json = Any  # Any: JSON of any shape


def object_of(found: Json, path: str) -> dict[str, Json]:
    """An object."""
    if not isinstance(found, dict):
        raise InvalidConfig(path, f"wanted an object, found {kind_of(found)}")
    return found


def plain(found: dict[str, Json]) -> dict[str, Json]:
    """The fields as they are written in one of the two ways that Portkey takes: ``on_status_codes``."""
    return {_snake(name): value for name, value in found.items()}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter[1].lower(), name)


def text_of(found: Json, path: str) -> str:
    """A string that is not empty, of a bounded length."""
    if not isinstance(found, str) or not found or len(found) > 2048:
        raise InvalidConfig(path, f"wanted a string of 1 to 2048 characters, found {kind_of(found)}")
    return found


def whole_of(found: Json, path: str, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``."""
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise InvalidConfig(path, f"wanted a whole number from {least} to {most}, found {shown(found)}")
    return found


def check_fields(found: dict[str, Json], path: str, names: tuple[str, ...]) -> None:
    """That an object has these fields only."""
    for name in found:
        if name not in names:
            refuse_field(name, path, names)


def refuse_field(name: str, path: str, names: tuple[str, ...]) -> None:
    """Say of a field that it is none of ``names``, and which of them may be meant."""
    raise InvalidConfig(under(path, name[:64]), f"there is no such field{did_you_mean(name[:64], names, listed=False)}")


def under(path: str, name: str) -> str:
    """The place of a field of what is at a place."""
    return f"{path}.{name}" if path else name


def shown(found: Json) -> str:
    """A value that is no secret."""
    return repr(found)[:64] if isinstance(found, str | int | float) else kind_of(found)
