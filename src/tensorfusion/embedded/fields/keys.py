"""What an element of a list is known by, as a key of a field set."""

from collections.abc import Mapping, Sequence
from typing import Any

from tensorfusion.embedded.fields.sets import value_text
from tensorfusion.embedded.fields.types import ListType


class BadElement(Exception):
    """An element that its list cannot tell apart from others. The text is a real API server's."""


# Any in this module: JSON values.
def element_key(item: Any, kind: ListType) -> str:
    """The key of an element of a list that is not atomic.

    Raises:
        BadElement: it has none.
    """
    if kind.keys:
        return _by_keys(item, kind.keys, kind.defaults)
    if isinstance(item, dict):
        raise BadElement("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise BadElement("not supported: associative list with lists as elements")
    if item is None:
        raise BadElement("associative list without keys has an element that's an explicit null")
    return "v:" + value_text(item)


def element_keys(items: Sequence[Any], kind: ListType) -> list[str]:
    """The keys of all elements, in order.

    Raises:
        BadElement: names the element.
    """
    keys = []
    for number, item in enumerate(items):
        try:
            keys.append(element_key(item, kind))
        except BadElement as error:
            raise BadElement(f"element {number}: {error}") from None
    return keys


def _by_keys(item: Any, keys: tuple[str, ...], defaults: Mapping[str, Any]) -> str:
    if item is None:
        raise BadElement("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise BadElement("associative list with keys may not have non-map elements")
    if len(keys) == 1:
        value = item.get(keys[0])
        if type(value) is str:
            return f'k:{{"{keys[0]}":{value_text(value)}}}'
    found = {}
    for key in sorted(keys):
        if key in item:
            found[key] = item[key]
        elif key in defaults:
            found[key] = defaults[key]
    if not found:
        named = " ".join(f'"{key}"' for key in keys)
        raise BadElement(
            f"associative list with keys has an element that omits all key fields [{named}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:" + value_text(found)
