"""The face of this room: an environment compiles expressions, a program evaluates them."""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.cel.checker import Checked, Problem, check
from tensorfusion.cel.complaints import complaints
from tensorfusion.cel.errors import CompileError, EvaluationError
from tensorfusion.cel.estimate import Sizes, estimate
from tensorfusion.cel.kubernetes import NEW, Dialect
from tensorfusion.cel.lexer import SyntaxProblem
from tensorfusion.cel.parser import TOO_DEEP, parse
from tensorfusion.cel.plan import Plan
from tensorfusion.cel.ranges import Range
from tensorfusion.cel.standard import TYPE_NAMES
from tensorfusion.cel.types import Type, type_of
from tensorfusion.cel.validation import invalid_literals
from tensorfusion.cel.values import Value

_CONSTANTS = {name: type_of(found) for name, found in TYPE_NAMES.items()}
# What one evaluation may cost.
CALL_LIMIT = 1_000_000
_LONGEST_LINE = 16_384
_MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled, checked expression. ``evaluate`` may be called from any thread."""

    source: str
    type: Type
    # The variables it uses.
    variables: frozenset[str]
    _checked: Checked
    _plan: Plan

    def evaluate(self, variables: Mapping[str, Value], *, limit: int = CALL_LIMIT) -> Value:
        """The value for these variables; variables not given are null.

        Raises:
            EvaluationError: a key is missing, an index is out of bounds, types do not fit.
            CostExceeded: it does more work than ``limit`` allows.
        """
        return self.measured(variables, limit=limit)[0]

    def measured(self, variables: Mapping[str, Value], *, limit: int = CALL_LIMIT) -> tuple[Value, int]:
        """The value, and what the evaluation cost.

        Raises:
            EvaluationError, CostExceeded: as ``evaluate``.
        """
        try:
            return self._plan.evaluate(variables, limit)
        except RecursionError:
            raise EvaluationError(TOO_DEEP) from None

    def estimated(self, sizes: Sizes) -> Range:
        """What an evaluation costs at least and at most if no variable holds more than ``sizes`` says."""
        return estimate(self._checked, sizes)


class Environment:
    """The variables, functions and macros that expressions may use."""

    def __init__(
        self,
        variables: Mapping[str, Type],
        *,
        dialect: Dialect = NEW,
    ) -> None:
        self._variables = dict(variables)
        self._dialect = dialect

    def compile(self, source: str) -> Program:
        """Parse, check and plan an expression.

        Raises:
            CompileError: with all problems that were found, each with a picture of its place; or of a constant that
                cannot be converted.
        """
        try:
            tree = parse(source, self._dialect.macros)
            checked = check(tree, self._variables, _CONSTANTS, self._dialect.functions)
            problems = checked.problems or invalid_literals(checked)
            if not problems:
                plan = Plan(checked, list(self._variables))
                return Program(source, checked.types[tree], frozenset(checked.variables), checked, plan)
        except SyntaxProblem as error:
            problems = [Problem(*found) for found in complaints(source)] or [Problem(error.message, error.at)]
        except RecursionError:
            problems = [Problem(TOO_DEEP, 0)]
        shown = sorted(problems[:_MOST_PROBLEMS], key=lambda problem: problem.at)
        texts = [pictured(source, problem) for problem in shown]
        if len(problems) > len(shown):
            texts.append(f"{len(problems) - len(shown)} more errors were truncated")
        raise CompileError("compilation failed: " + "\n".join(texts))


def pictured(source: str, problem: Problem) -> str:
    """A problem with its line of the source and a mark under its place."""
    if not source:
        return f"ERROR: <input>:1:0: {problem.message}"
    before = source[: problem.at]
    line = before.count("\n") + 1
    column = problem.at - (before.rfind("\n") + 1)
    head = f"ERROR: <input>:{line}:{column + 1}: {problem.message}"
    text = source.split("\n")[line - 1].replace("\t", " ")
    if len(text) > _LONGEST_LINE:
        return head
    dots = "".join("." if character.isascii() else "\uff0e" for character in text[:column])
    mark = "\uff3e" if column < len(text) and not text[column].isascii() else "^"
    return f"{head}\n | {text}\n | {dots}{mark}"
