"""Plans of comprehensions: the loops that macros are written out to.

The common shapes - all, exists, map, filter - have plans of their own that spend the same cost: they append to one list
instead of adding lists, and leave as soon as the answer is settled.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tensorfusion.cel.calls import TOO_COSTLY, Frame, Step, spend
from tensorfusion.cel.errors import CostExceeded, EvaluationError, NoSuchOverload
from tensorfusion.cel.macros import ACCUMULATOR, UNUSED
from tensorfusion.cel.syntax import Call, Comprehension, CreateList, Identifier, Node
from tensorfusion.cel.texts import type_name
from tensorfusion.cel.types import Type
from tensorfusion.cel.values import NOTHING, Duration, Some, Timestamp, Uint, Value, keys_of, type_of_value

if TYPE_CHECKING:
    from tensorfusion.cel.plan import Planner

UNSET = object()
# What one round costs beside its predicate: the test whether to go on (of ``exists`` it negates first), and the name of
# what was found so far.
_ROUND = {"_&&_": (2, 1), "_||_": (3, 1)}
_LIST_COST = 10
_APPENDED = 2 + _LIST_COST
# What errors call the types of values that are no lists.
_NAMES = {
    int: "types.Int",
    Uint: "types.Uint",
    float: "types.Double",
    bool: "types.Bool",
    str: "types.String",
    bytes: "types.Bytes",
    type(None): "types.Null",
    Some: "*types.Optional",
    type(NOTHING): "*types.Optional",
    Type: "*types.Type",
    Duration: "types.Duration",
    Timestamp: "types.Timestamp",
}


def plan_loop(planner: "Planner", node: Comprehension) -> Step:
    """The step of a comprehension."""
    if node.variable == UNUSED:
        return _bound(planner, node)
    walked = planner.plan(node.range)
    start = planner.plan(node.start)
    (accumulator,) = planner.enter(node.accumulator)
    names = [node.variable, *([node.second] if node.second else [])]
    places = planner.enter(*names)
    step = _settling(planner, node, walked, places) or _appending(planner, node, walked, places)
    if step is None:
        condition, following = planner.plan(node.condition), planner.plan(node.step)
        planner.leave()
        step = _general(node, walked, start, (accumulator, places), (condition, following, planner.plan(node.result)))
    else:
        planner.leave()
    planner.leave()
    return step


def _bound(planner: "Planner", node: Comprehension) -> Step:
    """A name for a value, as ``cel.bind`` and ``optMap`` give it."""
    start = planner.plan(node.start)
    (place,) = planner.enter(node.accumulator)
    planner.lazy[place] = start
    result = planner.plan(node.result)
    planner.leave()

    def evaluate(frame: Frame) -> Value:
        frame[place] = UNSET
        return result(frame)

    return evaluate


def _rounds(walked: Value, count: int) -> Iterable[Sequence[Value]]:
    """What the loop's variables are in each round."""
    if isinstance(walked, list):
        return enumerate(walked) if count == 2 else ((item,) for item in walked)
    if isinstance(walked, dict):
        keys = keys_of(walked)
        return zip(keys, walked.values(), strict=True) if count == 2 else ((key,) for key in keys)
    name = _NAMES.get(type(walked)) or f"cel.{type_name(type_of_value(walked)).rpartition('.')[2]}"
    if count == 2:
        raise EvaluationError(f"unsupported comprehension range type: {name}")
    raise EvaluationError(f"got '{name}', expected iterable type")


def _is_so_far(node: Node) -> bool:
    return isinstance(node, Identifier) and node.name == ACCUMULATOR


def _settling(planner: "Planner", node: Comprehension, walked: Step, places: Sequence[int]) -> Step | None:
    """``all`` and ``exists``: one value of the predicate settles the answer; failures count only if none does."""
    step, condition = node.step, node.condition
    if not (isinstance(condition, Call) and condition.function == "@not_strictly_false"):
        return None
    if not (isinstance(step, Call) and step.function in _ROUND and _is_so_far(step.arguments[0])):
        return None
    going_on, so_far = _ROUND[step.function]
    settled = step.function == "_||_"
    predicate = planner.plan(step.arguments[1])

    def decide(frame: Frame) -> bool:
        failed: EvaluationError | None = None
        answer = not settled
        for values in _rounds(walked(frame), len(places)):
            frame[0] -= going_on
            if answer is settled:
                break
            for place, value in zip(places, values, strict=True):
                frame[place] = value
            frame[0] -= so_far
            if frame[0] < 0:
                raise CostExceeded(TOO_COSTLY)
            try:
                found = predicate(frame)
            except EvaluationError as error:
                failed = failed or error
                continue
            if found is settled:
                answer, failed = settled, None
            elif type(found) is not bool:
                failed = failed or NoSuchOverload()
        frame[0] -= 1
        if failed is not None:
            raise failed
        return answer

    return decide


def _appending(planner: "Planner", node: Comprehension, walked: Step, places: Sequence[int]) -> Step | None:
    """``map`` and ``filter``: each round adds one element, or none."""
    step: Node = node.step
    keep: Step | None = None
    if not (isinstance(node.start, CreateList) and not node.start.elements and _is_so_far(node.result)):
        return None
    if isinstance(step, Call) and step.function == "_?_:_" and _is_so_far(step.arguments[2]):
        keep, step = planner.plan(step.arguments[0]), step.arguments[1]
    if not (isinstance(step, Call) and step.function == "_+_" and _is_so_far(step.arguments[0])):
        return None
    added = step.arguments[1]
    if not (isinstance(added, CreateList) and len(added.elements) == 1):
        return None
    element = planner.plan(added.elements[0])
    cost = _APPENDED - (_LIST_COST if planner.is_constant(element) else 0)

    def collect(frame: Frame) -> list[Value]:
        found: list[Value] = []
        failed: EvaluationError | None = None
        for values in _rounds(walked(frame), len(places)):
            for place, value in zip(places, values, strict=True):
                frame[place] = value
            if keep is not None:
                try:
                    kept = keep(frame)
                except EvaluationError as error:
                    failed = error
                    continue
                if kept is False:
                    continue
                if kept is not True:
                    failed = NoSuchOverload()
                    continue
            try:
                found.append(element(frame))
            except EvaluationError as error:
                failed = failed or error
            spend(frame, cost)
        frame[0] -= 1
        if failed is not None:
            raise failed
        return found

    return collect


def _general(
    node: Comprehension,
    walked: Step,
    start: Step,
    places: tuple[int, Sequence[int]],
    steps: tuple[Step, Step, Step],
) -> Step:
    accumulator, variables = places
    condition, following, result = steps

    def fold(frame: Frame) -> Value:
        frame[accumulator] = start(frame)
        for values in _rounds(walked(frame), len(variables)):
            for place, value in zip(variables, values, strict=True):
                frame[place] = value
            if condition(frame) is False:
                break
            frame[accumulator] = following(frame)
            if frame[0] < 0:
                raise CostExceeded(TOO_COSTLY)
        return result(frame)

    return fold
