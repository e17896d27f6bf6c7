"""CEL as Kubernetes uses it: rules of custom resources and match conditions of webhooks.

A thin face on cel-cpp (``cel_expr_python``): compile once, with type check and a cache; evaluate on plain JSON dicts,
which the library reads lazily (about 15 us on a fresh pod). Objects are dynamic to the library; ``cel_fields`` adds the
check of field names against a schema. Missing against Kubernetes: cost limits, the url, ip, cidr, format and semver
libraries, and strings of format date-time or duration as their own types (wrap them: ``timestamp(self.at)``).

Source: kubernetes.io "Common Expression Language in Kubernetes".
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

from tensorfusion.embedded.cel_library import kubernetes_functions
from tensorfusion.errors import InvalidRequest

RULE_VARIABLES = ("self", "oldSelf")
CONDITION_VARIABLES = ("object", "oldObject", "request")
LONGEST_EXPRESSION = 65_536

_KINDS = {"BOOL": "bool", "STRING": "string"}
_CODE = re.compile(r"^[A-Z_]+: ")
_TAIL = re.compile(r" \[[A-Z_]+\]$")
_MISSING_KEY = re.compile(r'Key not found in map : "(.*)"')
_INDEX = re.compile(r"Index error: index=(-?\d+) size=\d+")
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)[^']*'")


class CelError(InvalidRequest):
    """An expression that does not compile, or failed on the object it was given. One line."""


class Program:
    """A compiled, checked expression. ``evaluate`` may be called from any thread."""

    __slots__ = ("_expression", "source")

    def __init__(self, source: str, expression: cel.Expression) -> None:
        self.source = source
        self._expression = expression

    def evaluate(self, variables: Mapping[str, Any]) -> bool | str:
        """The value for these variables.

        Raises:
            CelError: a key is missing, an index is out of bounds, types do not fit.
        """
        try:
            result = self._expression.eval(data=variables)
            kind, value = result.type().name(), result.value()
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise CelError(_reworded(str(error))) from None
        if kind not in _KINDS:
            wanted = "a boolean or a string"
            raise CelError(
                _reworded(str(value)) if kind == "ERROR" else f"the expression gave {kind.lower()}, wanted {wanted}"
            )
        found: bool | str = value
        return found

    def serialized(self) -> bytes:
        """The checked syntax tree, as ``cel_fields`` reads it."""
        tree: bytes = self._expression.serialize()
        return tree


@lru_cache(maxsize=4096)
def compile_expression(source: str, variables: tuple[str, ...], wanted: str = "bool") -> Program:
    """Compile and type-check; ``wanted`` is ``bool`` or ``string``.

    Raises:
        CelError: syntax, an unknown name, no matching overload, or a result of another type.
    """
    if len(source) > LONGEST_EXPRESSION:
        raise CelError(f"compilation failed: the expression is longer than {LONGEST_EXPRESSION} characters")
    try:
        expression = _environment(variables).compile(source)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CelError(f"compilation failed: {_reworded(str(error))}") from None
    kind = _KINDS.get(expression.return_type().name(), expression.return_type().name().lower())
    if kind not in (wanted, "dyn"):
        raise CelError(f"must evaluate to {wanted}, found {kind}")
    return Program(source, expression)


class Condition:
    """A webhook's match condition."""

    __slots__ = ("_program", "name")

    def __init__(self, name: str, expression: str) -> None:
        """Raises: CelError."""
        self.name = name
        self._program = compile_expression(expression, CONDITION_VARIABLES)

    def test(self, *, object: object, old_object: object, request: Mapping[str, Any]) -> bool:
        """Whether the webhook wants to see this request.

        Raises:
            CelError: the expression failed; the webhook's failurePolicy decides.
        """
        found = self._program.evaluate({"object": object, "oldObject": old_object, "request": request})
        if not isinstance(found, bool):
            raise CelError(f"match condition {self.name} gave {found!r}, wanted true or false")
        return found


@lru_cache(maxsize=8)
def _environment(variables: tuple[str, ...]) -> cel.Env:
    return cel.NewEnv(
        variables=dict.fromkeys(variables, cel.Type.DYN),
        extensions=[
            ext_strings.ExtStrings(),
            ext_optional.ExtOptional(),
            ext_bindings.ExtBindings(),
            kubernetes_functions(),
        ],
    )


def _reworded(text: str) -> str:
    """The library's error as one line in the words of the Go implementation."""
    text = _TAIL.sub("", _CODE.sub("", text.split("\n", 1)[0].strip()))
    text = _MISSING_KEY.sub(r"no such key: \1", text)
    text = _INDEX.sub(r"index out of bounds: \1", text)
    return _UNDECLARED.sub(r"undeclared reference to '\1'", text)
