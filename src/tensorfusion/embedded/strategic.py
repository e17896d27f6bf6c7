"""Strategic merge patch: merge patch that knows which lists are merged by key.

kubectl sends it for built-in kinds (``apply``, ``edit``), and does not fall back on anything else. Which lists
merge, and by which key, is schema knowledge and comes in as a ``PatchShape``. Pure. Behaves as the reference
implementation does, including the order of merged lists: what the patch names comes in the patch's order, the
server's own items stay where they are relative to it.

Source: apimachinery strategicpatch (behaviour); "Strategic Merge Patch" in the Kubernetes API conventions.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tensorfusion.errors import BadRequest

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_NOT_RETAINED = "invalid patch format of retainKeys"
_REMOVE = "$deleteFromPrimitiveList/"


class PatchShape(Protocol):
    """What a patch must know of one place in a schema."""

    @property
    def strategies(self) -> frozenset[str]:
        """``merge``, ``replace``, ``retainKeys``."""
        ...

    @property
    def merge_key(self) -> str:
        """For a list with strategy ``merge``: the field that its elements are known by; ``""`` for plain values."""
        ...

    @property
    def items(self) -> "PatchShape | None":
        """The elements of a list."""
        ...

    def child(self, name: str) -> "PatchShape | None":
        """A field of an object, or the values of a map. None where nothing is known."""
        ...


# Any in this module: JSON values of every type are patched.
def strategic_patch(target: Any, patch: Any, shape: PatchShape | None) -> Any:
    """Apply a patch to an object. ``target`` is changed in place; the result is returned.

    Raises:
        BadRequest: the patch is no object, or a directive in it is unknown or malformed.
    """
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch is a JSON object")
    return _merge_map(target, patch, shape, path="")


def _merge_map(target: dict[str, Any], patch: dict[str, Any], shape: PatchShape | None, *, path: str) -> Any:
    if _DIRECTIVE in patch:
        directive = patch[_DIRECTIVE]
        if directive == "replace":
            return {key: value for key, value in patch.items() if key != _DIRECTIVE}
        if directive == "delete":
            return {}
        raise BadRequest(f"unknown patch type: {directive} at {path or '/'}: wanted replace or delete")
    _retain_keys(target, patch)
    ordered = _set_orders(target, patch, shape, path=path)
    for key, value in patch.items():
        if key in ordered or key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_REMOVE):
            _remove_plain(target, key.removeprefix(_REMOVE), value, path=path)
        elif value is None or (_is_directed(value) and not isinstance(target.get(key), dict)):
            target.pop(key, None)
        else:
            of_key = shape.child(key) if shape else None
            target[key] = _merge_value(target.get(key), value, of_key, path=f"{path}/{key}")
    return target


def _merge_value(target: Any, value: Any, shape: PatchShape | None, *, path: str) -> Any:
    strategies = shape.strategies if shape else frozenset[str]()
    if isinstance(target, dict) and isinstance(value, dict):
        return value if "replace" in strategies else _merge_map(target, value, shape, path=path)
    if isinstance(target, list) and isinstance(value, list):
        return _merge_list(target, value, shape, path=path) if shape and "merge" in strategies else value
    return _taken(value)


def _retain_keys(target: dict[str, Any], patch: dict[str, Any]) -> None:
    if _RETAIN not in patch:
        return
    keys = patch[_RETAIN]
    if not isinstance(keys, list):
        raise BadRequest(_NOT_RETAINED)
    for key, value in patch.items():
        if not key.startswith("$") and key not in keys and value is not None:
            raise BadRequest(_NOT_RETAINED)
    for key in [key for key in target if key not in keys]:
        del target[key]


def _set_orders(target: dict[str, Any], patch: dict[str, Any], shape: PatchShape | None, *, path: str) -> set[str]:
    """Merge the lists whose order the patch states; returns their names."""
    done: set[str] = set()
    for directive, order in patch.items():
        if not directive.startswith(_ORDER):
            continue
        name = directive.removeprefix(_ORDER)
        if not isinstance(order, list):
            raise BadRequest(f"{path}/{directive}: wanted a list")
        if name not in target and name not in patch:
            continue
        of_list = shape.child(name) if shape else None
        if of_list is None or "merge" not in of_list.strategies:
            raise BadRequest(f"{path}/{directive}: {name} is not a list that merges")
        done.add(name)
        before, change = target.get(name), patch.get(name)
        if name in patch and change is None:
            target.pop(name, None)
            continue
        if isinstance(change, list):
            _check_order(change, order, of_list.merge_key, path=f"{path}/{directive}")
        if not isinstance(before, list):
            if isinstance(change, list):
                target[name] = _in_order(_taken(change), order, [], key=of_list.merge_key, path=f"{path}/{name}")
            continue
        server_order = list(before)
        merged = _merge_list(before, change, of_list, path=f"{path}/{name}") if isinstance(change, list) else before
        removed = patch.get(_REMOVE + name)
        if isinstance(removed, list):
            merged = [item for item in merged if item not in removed]
        target[name] = _in_order(merged, order, server_order, key=of_list.merge_key, path=f"{path}/{name}")
    return done


def _check_order(change: list[Any], order: Sequence[Any], key: str, *, path: str) -> None:
    """What a patch sets must come in the order that it states; an empty one states none."""
    if not order:
        return
    rest = iter([_key_of(item, key, path=path) for item in order] if key else order)
    for item in change:
        if isinstance(item, dict) and _DIRECTIVE in item:
            continue
        if (_key_of(item, key, path=path) if key else item) not in rest:
            raise BadRequest(f"{path}: the order in the patch list doesn't match the order that this list states")


def _merge_list(target: list[Any], patch: list[Any], shape: PatchShape, *, path: str) -> list[Any]:
    if not any(isinstance(item, dict) for item in (*target, *patch)):
        merged = list(target) + [
            item for number, item in enumerate(patch) if item not in target and item not in patch[:number]
        ]
        return _in_order(merged, patch, target, key="", path=path)
    key = shape.merge_key
    if not key:
        raise BadRequest(f"{path}: cannot merge a list of objects without a merge key; use a JSON or merge patch")
    kept, changes = _special_items(target, patch, key=key, path=path)
    if changes is None:
        return kept
    merged = list(kept)
    places = {_key_of(item, key, path=path): number for number, item in enumerate(merged)}
    for change in changes:
        value = _key_of(change, key, path=path)
        if value in places:
            merged[places[value]] = _merge_map(merged[places[value]], change, shape.items, path=f"{path}/{value}")
        else:
            places[value] = len(merged)
            merged.append(change)
    return _in_order(merged, changes, kept, key=key, path=path)


def _special_items(
    target: list[Any], patch: list[Any], *, key: str, path: str
) -> tuple[list[Any], list[dict[str, Any]] | None]:
    """Carry out ``$patch`` elements. The rest of the patch is None when it replaces the list."""
    changes: list[dict[str, Any]] = []
    replace = False
    gone: list[Any] = []
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequest(f"{path}: wanted objects, found {item!r}")
        match item.get(_DIRECTIVE):
            case None:
                changes.append(item)
            case "delete":
                gone.append(_key_of(item, key, path=path))
            case "replace":
                replace = True
            case other:
                raise BadRequest(f"unknown patch type: {other} at {path}: wanted delete or replace")
    if replace:
        return list(changes), None
    return [item for item in target if _key_of(item, key, path=path) not in gone], changes


def _in_order(items: list[Any], order: Sequence[Any], before: Sequence[Any], *, key: str, path: str) -> list[Any]:
    """Items that ``order`` names come in its order; the others keep their place among them as it was ``before``."""

    def identity(item: Any) -> Any:
        return _key_of(item, key, path=path) if key else item

    wanted = [identity(item) for item in order]
    server = [identity(item) for item in before]
    named = sorted((item for item in items if identity(item) in wanted), key=_place(wanted, identity))
    others = sorted((item for item in items if identity(item) not in wanted), key=_place(server, identity))
    merged: list[Any] = []
    for item in named:
        here = identity(item)
        while others and here in server and _before(server, identity(others[0]), here):
            merged.append(others.pop(0))
        merged.append(item)
    return merged + others


def _place(order: list[Any], identity: Callable[[Any], Any]) -> Callable[[Any], int]:
    def place(item: Any) -> int:
        value = identity(item)
        return order.index(value) if value in order else len(order)

    return place


def _before(server: list[Any], left: Any, right: Any) -> bool:
    return left in server and server.index(left) < server.index(right)


def _remove_plain(target: dict[str, Any], name: str, values: Any, *, path: str) -> None:
    before = target.get(name)
    if isinstance(before, list) and isinstance(values, list):
        if {type(item) for item in before} != {type(item) for item in values} and before and values:
            raise BadRequest(f"{path}/{_REMOVE}{name}: list element types are not identical")
        target[name] = [item for item in target[name] if item not in values]


def _key_of(item: Any, key: str, *, path: str) -> Any:
    """What an element is known by; only plain values can be."""
    if not isinstance(item, dict) or key not in item:
        raise BadRequest(f"{path}: map does not contain declared merge key: {key}")
    value = item[key]
    if isinstance(value, dict | list):
        raise BadRequest(f"{path}: merge key {key} is not a plain value")
    return value


def _taken(value: Any) -> Any:
    """What is taken of a patch where there is nothing to merge it with: fields that are null are nothing, and so are
    objects that say how they are to be merged. Other directives stay: they are fields that nobody knows."""
    if isinstance(value, dict):
        return {key: _taken(item) for key, item in value.items() if item is not None and not _is_directed(item)}
    if isinstance(value, list):
        return [_taken(item) for item in value if not _is_directed(item)]
    return value


def _is_directed(value: Any) -> bool:
    """Whether a value says how it is to be merged; one that is null says nothing."""
    return isinstance(value, dict) and value.get(_DIRECTIVE) is not None
