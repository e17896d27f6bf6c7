"""Asks our own CEL what the oracle is asked, and writes its answer the same way."""

import math
from datetime import datetime
from fractions import Fraction
from typing import Any

from tensorfusion.cel import NEW, NOTHING, STORED, CelError, CompileError, Environment, Program, Some, optional_of
from tensorfusion.cel.library.quantities import Quantity
from tensorfusion.cel.types import BOOL, DYN, STRING, Type
from tensorfusion.cel.values import Duration, Key, Opaque, Timestamp, Uint
from tensorfusion.embedded import conditions
from tensorfusion.embedded.schema.sizes import Place, sized
from tensorfusion.embedded.schema.typed import converter, declared, with_metadata
from tensorfusion.units import parse_quantity

_WRONG = {"bool": "cel expression must evaluate to a bool", "string": "messageExpression must evaluate to a string"}
_WANTED = {"bool": BOOL, "string": STRING}
# As the protocol buffers that stand for them.
_PRINTED = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration", "null": "null_type"}


def ours(request: dict[str, Any]) -> dict[str, Any]:
    """The answer of our CEL to an oracle's request."""
    condition = request.get("environment") == "condition"
    declare = _condition if condition else _rule
    environment, values = declare(request)
    wanted = request.get("wanted", "any")
    try:
        program = environment.compile(request["expression"])
    except CompileError as error:
        return {"compile_error": str(error)}
    if wanted in _WANTED and program.type != _WANTED[wanted]:
        but = f"must evaluate to {wanted} but got {printed(program.type)}"
        return {"compile_error": but if condition else _WRONG[wanted]}
    answer: dict[str, Any] = {"type": printed(program.type)}
    if not condition and "oldSelf" in program.variables:
        answer["uses_old_self"] = True
    if not condition:
        answer["estimated"] = _estimated(program, request)
    try:
        value, answer["cost"] = program.measured(values)
    except CelError as error:
        return answer | {"error": str(error)}
    return answer | {"value": tagged(value)}


def _estimated(program: Program, request: dict[str, Any]) -> dict[str, int]:
    schema = request.get("variables", {}).get("self", {}).get("schema")
    place = Place() if schema is None else sized(schema, whole_object=request.get("root", False))
    assert place is not None
    found = program.estimated(place.size)
    return {"min": found.least, "max": found.most}


def _condition(request: dict[str, Any]) -> tuple[Environment, dict[str, Any]]:
    environment = conditions._NEW if request.get("mode") == "new" else conditions._STORED
    return environment, {name: variable["value"] for name, variable in request.get("variables", {}).items()}


def _rule(request: dict[str, Any]) -> tuple[Environment, dict[str, Any]]:
    types: dict[str, Type] = {}
    values: dict[str, Any] = {}
    optional = request.get("optionalOldSelf", False)
    for name, variable in request.get("variables", {}).items():
        schema, value = variable.get("schema"), variable.get("value")
        kind: Type | None = DYN
        if schema is not None:
            root = request.get("root", False)
            kind = declared(schema, "selfType0", whole_object=root)
            assert kind is not None, f"no type for {name}"
            convert = converter(with_metadata(schema) if root else schema)
            value = value if convert is None else convert(value)
        if name == "oldSelf" and optional:
            kind = optional_of(kind)
            value = NOTHING if variable.get("absent") else Some(value)
        types[name], values[name] = kind, value
    return Environment(types, dialect=NEW if request.get("mode") == "new" else STORED), values


def printed(kind: Type) -> str:
    """A type as an API server's program prints it (error texts have shorter names)."""
    if kind.parameters:
        return f"{kind.name or kind.kind.value}({', '.join(printed(inner) for inner in kind.parameters)})"
    return _PRINTED.get(str(kind), str(kind))


def tagged(value: Any) -> dict[str, Any]:
    """A value as {KIND: CONTENT}, like the oracle."""
    if isinstance(value, Key):
        value = value.value
    if value is None or isinstance(value, bool):
        return {"null": None} if value is None else {"bool": value}
    if isinstance(value, int):
        return {"uint" if isinstance(value, Uint) else "int": int(value)}
    if isinstance(value, float):
        return {"double": value}
    if isinstance(value, str):
        return {"string": value}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Timestamp):
        return {"timestamp": value.nanoseconds}
    if isinstance(value, Duration):
        return {"duration": value.nanoseconds}
    if value is NOTHING or isinstance(value, Some):
        return {"optional": None if value is NOTHING else tagged(value.value)}
    if isinstance(value, list):
        return {"list": [tagged(item) for item in value]}
    if isinstance(value, dict):
        return {"map": sorted(([tagged(key), tagged(item)] for key, item in value.items()), key=repr)}
    if isinstance(value, Type):
        return {"type": printed(value).split("(")[0]}
    if isinstance(value, Quantity):
        return {"opaque": [value.TYPE.name, value.unscaled * Fraction(10) ** value.scale]}
    if isinstance(value, Opaque):
        return {"opaque": [value.TYPE.name, str(value)]}
    return {"unknown": repr(value)}


def comparable(answer: dict[str, Any], *, costs: bool = True) -> dict[str, Any]:
    """The oracle's answer or ours with values that compare as they should, without what is not to be compared.

    That is the cost of an evaluation that ended in an error, or absorbed one (``costs``): we count what was done until
    then, Kubernetes also some of what was not.
    """
    costs = costs and "error" not in answer
    found = {name: item for name, item in answer.items() if costs or name != "cost"}
    if "value" in found:
        found["value"] = _number(found["value"])
    return found


def _number(item: Any) -> Any:
    """Doubles and moments as numbers, pairs in one order."""
    if isinstance(item, list):
        return [_number(inner) for inner in item]
    if not isinstance(item, dict):
        return item
    (kind, content), *_ = item.items()
    if kind == "double":
        found = float(content)
        return {"double": "NaN" if math.isnan(found) else repr(found)}
    if kind == "timestamp" and isinstance(content, str):
        return {"timestamp": _nanoseconds(content)}
    if kind == "map":
        return {"map": sorted(_number(content), key=repr)}
    if kind == "opaque" and content[0] == "kubernetes.Quantity":
        amount = content[1]
        return {"opaque": [content[0], parse_quantity(amount) if isinstance(amount, str) else amount]}
    return {kind: _number(content)}


def _nanoseconds(text: str) -> int:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    since = datetime.fromisoformat(f"{whole}Z") - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return (since.days * 86400 + since.seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
