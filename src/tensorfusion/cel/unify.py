"""Whether one type may stand where another is wanted, and what type parameters become by it.

Source: CEL language definition, "Gradual Type Checking"; the same answers as cel-go's checker.
"""

from collections.abc import Sequence

from tensorfusion.cel.types import DYN, Kind, Type

# What parameters were found to be.
Bindings = dict[Type, Type]

_COMPOUND = frozenset({Kind.LIST, Kind.MAP, Kind.OPAQUE})
_OPEN = frozenset({Kind.DYN, Kind.PARAMETER})
_NULLABLE = frozenset({Kind.OPAQUE, Kind.OBJECT, Kind.TIMESTAMP, Kind.DURATION, Kind.NULL})


def substituted(bindings: Bindings, found: Type, *, open_as_dyn: bool = False) -> Type:
    """A type with its bound parameters replaced; open ones become ``dyn`` if asked."""
    if found.kind is Kind.PARAMETER:
        bound = bindings.get(found)
        if bound is not None:
            return substituted(bindings, bound, open_as_dyn=open_as_dyn)
        return DYN if open_as_dyn else found
    if not found.parameters:
        return found
    inner = tuple(substituted(bindings, one, open_as_dyn=open_as_dyn) for one in found.parameters)
    return found if inner == found.parameters else Type(found.kind, found.name, inner, found.fields)


def assignable(bindings: Bindings, pairs: Sequence[tuple[Type, Type]]) -> Bindings | None:
    """The bindings under which each first type may stand for its second; None if there are none."""
    trial = dict(bindings)
    return trial if all(_assignable(trial, one, other) for one, other in pairs) else None


def most_general(one: Type, other: Type) -> Type:
    """Of two types that fit, the one that says less."""
    return one if _no_more_specific(one, other) else other


def _assignable(bindings: Bindings, one: Type, other: Type) -> bool:
    if other.kind is Kind.PARAMETER:
        valid, bound = _bind(bindings, other, one)
        if valid or bound:
            return valid
    if one.kind is Kind.PARAMETER:
        return _bind(bindings, one, other)[0]
    if one.is_dynamic or other.is_dynamic:
        return True
    if one.kind is Kind.NULL:
        return other.kind in _NULLABLE
    if other.kind is Kind.NULL:
        return one.kind in _NULLABLE
    if one.kind is Kind.TYPE:
        return other.kind is Kind.TYPE
    if one.kind is not other.kind or one.name != other.name:
        return False
    if one.kind in _COMPOUND:
        return len(one.parameters) == len(other.parameters) and all(
            _assignable(bindings, inner, wanted) for inner, wanted in zip(one.parameters, other.parameters, strict=True)
        )
    return True


def _bind(bindings: Bindings, parameter: Type, found: Type) -> tuple[bool, bool]:
    """Whether a parameter can be ``found``, and whether it was bound before."""
    if parameter == found:
        return True, True
    bound = bindings.get(parameter)
    if bound is not None:
        if bound == found:
            return True, True
        if not _assignable(bindings, found, bound):
            return False, True
        general = most_general(found, bound)
        if not _occurs(bindings, parameter, general):
            bindings[parameter] = general
        return True, True
    if _occurs(bindings, parameter, found):
        return False, False
    bindings[parameter] = found
    return True, False


def _occurs(bindings: Bindings, parameter: Type, within: Type) -> bool:
    if parameter == within:
        return True
    if within.kind is Kind.PARAMETER:
        bound = bindings.get(within)
        return bound is not None and _occurs(bindings, parameter, bound)
    return any(_occurs(bindings, parameter, one) for one in within.parameters)


def _no_more_specific(one: Type, other: Type) -> bool:
    if one.kind in _OPEN:
        return True
    if other.kind in _OPEN:
        return False
    if one.kind is not other.kind:
        return False
    if one.kind is Kind.TYPE:
        return True
    if one.kind in _COMPOUND:
        return (
            one.name == other.name
            and len(one.parameters) == len(other.parameters)
            and all(map(_no_more_specific, one.parameters, other.parameters))
        )
    return one == other
