"""What can be wrong with an expression."""

from tensorfusion.errors import InvalidRequest


class CelError(InvalidRequest):
    """An expression that does not compile, or failed on the values it was given."""


class CompileError(CelError):
    """Syntax, an unknown name or field, types that do not fit. The text shows the place, on several lines."""


class EvaluationError(CelError):
    """A missing key, an index out of bounds, an overflow: what only the values show."""

    # What had been spent until then.
    cost = 0


class CostExceeded(CelError):
    """The evaluation was stopped because it did more work than allowed."""


class NoSuchOverload(EvaluationError):
    """An operation on values of types it is not defined for."""

    def __init__(self, message: str = "no such overload") -> None:
        super().__init__(message)
