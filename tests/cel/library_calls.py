"""Evaluates expressions without variables, for tests of the libraries."""

from functools import cache
from typing import Any

from tensorfusion.cel import STORED, EvaluationError
from tensorfusion.cel.environment import Environment, Program
from tensorfusion.cel.values import Value

_ENVIRONMENT = Environment({}, dialect=STORED)


def value_of(expression: str) -> Value:
    """What the expression evaluates to."""
    return _compiled(expression).evaluate({})


def cost_of(expression: str) -> int:
    """What the evaluation costs."""
    return _compiled(expression).measured({})[1]


def problem_of(expression: str) -> str:
    """The text of the error that the evaluation ends in."""
    try:
        found: Any = value_of(expression)
    except EvaluationError as error:
        return str(error)
    raise AssertionError(f"{expression} is {found!r}, no error")


@cache
def _compiled(expression: str) -> Program:
    return _ENVIRONMENT.compile(expression)
