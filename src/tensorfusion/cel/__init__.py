"""CEL, the language of Kubernetes' rules and conditions: parsed, type-checked, evaluated within a limit of cost.

A program is compiled once by an ``Environment`` and evaluated on plain JSON values, which stay as they are. It accepts
and refuses what a real API server does, in its words.

Source: github.com/google/cel-spec; kubernetes.io "Common Expression Language in Kubernetes".
"""

from tensorfusion.cel.comparison import equal
from tensorfusion.cel.environment import CALL_LIMIT, Environment, Program
from tensorfusion.cel.errors import CelError, CompileError, CostExceeded, EvaluationError
from tensorfusion.cel.kubernetes import NEW, STORED, Dialect
from tensorfusion.cel.macros import BINDINGS
from tensorfusion.cel.moments import parse_duration, parse_timestamp
from tensorfusion.cel.ranges import Range
from tensorfusion.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
    object_of,
    optional_of,
)
from tensorfusion.cel.values import NOTHING, ComparedList, Some

__all__ = [
    "BINDINGS",
    "BOOL",
    "BYTES",
    "CALL_LIMIT",
    "DOUBLE",
    "DURATION",
    "DYN",
    "INT",
    "NEW",
    "NOTHING",
    "STORED",
    "STRING",
    "TIMESTAMP",
    "CelError",
    "ComparedList",
    "CompileError",
    "CostExceeded",
    "Dialect",
    "Environment",
    "EvaluationError",
    "Program",
    "Range",
    "Some",
    "Type",
    "equal",
    "list_of",
    "map_of",
    "object_of",
    "optional_of",
    "parse_duration",
    "parse_timestamp",
]
