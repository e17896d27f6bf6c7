"""Check that a rule names only fields its schema has, and compares values of types that can be equal.

The CEL library sees objects as dynamic, so ``self.replcas > 0`` would compile and fail on every object. Here the
checked syntax tree is walked with the schema at hand. The tree arrives as protocol buffers; the few message fields
that matter are read by a small reader, which spares a runtime dependency on protobuf.

Source: cel.expr.CheckedExpr (google/cel-spec proto/cel/expr/{checked,syntax}.proto).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tensorfusion.model.meta import Raw

# Field numbers of the messages.
_ANY_VALUE, _CHECKED_EXPR = 2, 4
_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 4, 5, 6, 7, 8, 9
_CONST_TYPES = {2: "bool", 3: "int", 4: "uint", 5: "double", 6: "string", 7: "bytes"}
_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
_NUMBERS = frozenset({"int", "uint", "double"})
_TYPES = {"string": "string", "boolean": "bool", "integer": "int", "number": "double", "array": "list"}
_OBJECT_META: Raw = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
_IMPLIED: Raw = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _OBJECT_META}
_STRING: Raw = {"type": "string"}
# Names that cannot follow a dot in CEL; Kubernetes writes them __name__.
RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)


def escaped(name: str) -> str:
    """A field name as rules write it: ``a-b`` is ``a__dash__b``, ``namespace`` is ``__namespace__``."""
    if name in RESERVED:
        return f"__{name}__"
    for plain, written in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(plain, written)
    return name


def wrong_fields(tree: bytes, schemas: Mapping[str, Raw]) -> list[str]:
    """Complaints about a compiled rule; ``schemas`` are those of its variables."""
    checked = _first(_first(tree, _ANY_VALUE), _CHECKED_EXPR)
    walk = _Walk()
    walk.visit(checked, dict(schemas))
    return walk.complaints


@dataclass(frozen=True, slots=True)
class _Typed:
    """A value whose CEL type is known but that has no schema: a literal or the result of a comparison."""

    name: str


_Known = Raw | _Typed | None


class _Walk:
    def __init__(self) -> None:
        self.complaints: list[str] = []

    def visit(self, node: bytes, scope: dict[str, Raw]) -> _Known:
        """What is known of an expression's value; complaints are collected on the way."""
        for number, body in _fields(node):
            if not isinstance(body, bytes):
                continue
            match number:
                case 3:
                    return _constant(body)
                case 4:
                    return scope.get(_text(body, 1))
                case 5:
                    return self._select(body, scope)
                case 6:
                    return self._call(body, scope)
                case 7 | 8:
                    self._elements(body, scope)
                case 9:
                    return self._comprehension(body, scope)
        return None

    def _select(self, body: bytes, scope: dict[str, Raw]) -> _Known:
        return self._field(self.visit(_first(body, 1), scope), _text(body, 2))

    def _field(self, operand: _Known, name: str) -> _Known:
        if not isinstance(operand, dict):
            return None
        found, complaint = _member(operand, name)
        if complaint:
            self.complaints.append(complaint)
        return found

    def _call(self, body: bytes, scope: dict[str, Raw]) -> _Known:
        function = _text(body, 2)
        target = _first(body, 1)
        if target:
            self.visit(target, scope)
        arguments = [value for number, value in _fields(body) if number == 3 and isinstance(value, bytes)]
        if function == "_?._":
            self._field(self.visit(arguments[0], scope), _constant_text(arguments[1]))
            return None
        known = [self.visit(argument, scope) for argument in arguments]
        if function == "_[_]" and isinstance(known[0], dict):
            return _inside(known[0])
        if function in _COMPARISONS:
            self._compare(function, known)
            return _Typed("bool")
        return None

    def _compare(self, function: str, known: list[_Known]) -> None:
        left, right = (_type_name(item) for item in known)
        if not left or not right or left == right or "null" in (left, right):
            return
        if left in _NUMBERS and right in _NUMBERS and function not in ("_==_", "_!=_"):
            return
        self.complaints.append(f"found no matching overload for '{function}' applied to '({left}, {right})'")

    def _elements(self, body: bytes, scope: dict[str, Raw]) -> None:
        for _, element in _fields(body):
            if isinstance(element, bytes):
                self.visit(element, scope)

    def _comprehension(self, body: bytes, scope: dict[str, Raw]) -> _Known:
        """Macros: the loop variable is an element of what is walked over; ``cel.bind`` names its accumulator."""
        walked = self.visit(_first(body, 2), scope)
        start = self.visit(_first(body, 4), scope)
        inner = dict(scope)
        for number, name in ((1, _text(body, 1)), (3, _text(body, 3))):
            inner.pop(name, None)
            known = (_element(walked) if number == 1 else start) if name else None
            if isinstance(known, dict):
                inner[name] = known
        for number in (5, 6, 7):
            self.visit(_first(body, number), inner)
        return None


def _member(schema: Raw, name: str) -> tuple[_Known, str]:
    """The schema of a field, or why there is none. Maps and free JSON take any name."""
    properties: Raw = dict(schema.get("properties", {}))
    if schema.get("x-kubernetes-embedded-resource"):
        properties = {**properties, **_IMPLIED}
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        return additional, ""
    for field, inner in properties.items():
        if name in (field, escaped(field)):
            return inner, ""
    if schema.get("type") == "object" and (properties or not schema.get("x-kubernetes-preserve-unknown-fields")):
        return None, f"undefined field '{name}'"
    if schema.get("type") in ("string", "integer", "number", "boolean", "array"):
        return None, f"type '{_TYPES[schema['type']]}' does not support field selection"
    return None, ""


def _inside(schema: Raw) -> _Known:
    inner = schema.get("items") if schema.get("type") == "array" else schema.get("additionalProperties")
    return inner if isinstance(inner, dict) else None


def _element(walked: _Known) -> _Known:
    """What a loop variable stands for: a list's item, a map's key."""
    if not isinstance(walked, dict):
        return None
    return _inside(walked) if walked.get("type") == "array" else _STRING


def _type_name(known: _Known) -> str:
    if isinstance(known, _Typed):
        return known.name
    if known is None or known.get("x-kubernetes-int-or-string") or known.get("format") in ("date-time", "duration"):
        return ""
    return _TYPES.get(known.get("type", ""), "") if not known.get("nullable") else ""


def _constant(body: bytes) -> _Typed:
    for number, _ in _fields(body):
        return _Typed(_CONST_TYPES.get(number, "null"))
    return _Typed("null")


def _constant_text(node: bytes) -> str:
    return _text(_first(node, _CONST), 6)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message in order: length-delimited ones as bytes, all others as numbers."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
            case 1:
                yield tag >> 3, int.from_bytes(message[at : at + 8], "little")
                at += 8
            case 2:
                size, at = _varint(message, at)
                yield tag >> 3, message[at : at + size]
                at += size
            case _:
                yield tag >> 3, int.from_bytes(message[at : at + 4], "little")
                at += 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _first(message: bytes, wanted: int) -> bytes:
    return next((body for number, body in _fields(message) if number == wanted and isinstance(body, bytes)), b"")


def _text(message: bytes, wanted: int) -> str:
    return _first(message, wanted).decode()
