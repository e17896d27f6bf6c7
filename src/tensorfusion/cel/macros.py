"""Macros: calls that are written out to loops and tests before types are checked.

Source: CEL language definition, "Macros"; cel-go ext: two-variable comprehensions, bindings, lists (sortBy).
"""

from collections.abc import Callable, Sequence

from tensorfusion.cel.lexer import SyntaxProblem
from tensorfusion.cel.syntax import (
    Call,
    Comprehension,
    CreateList,
    CreateMap,
    Identifier,
    Literal,
    Node,
    Select,
)

ACCUMULATOR = "@result"
_FORMER_ACCUMULATOR = "__result__"
UNUSED = "#unused"
MAP_INSERT = "cel.@mapInsert"
SORT_BY_KEYS = "@sortByAssociatedKeys"
_SORTED_INPUT = "@__sortBy_input__"

# What a macro makes of a call: the place, the receiver, the arguments. None: the call stands as it is.
Expand = Callable[[int, Node | None, Sequence[Node]], Node | None]
# Name, number of arguments, whether it has a receiver.
Signature = tuple[str, int, bool]
Macros = dict[Signature, Expand]


def _has(at: int, _: Node | None, arguments: Sequence[Node]) -> Node:
    (argument,) = arguments
    if not isinstance(argument, Select) or argument.test or argument.optional:
        raise SyntaxProblem("invalid argument to has() macro", argument.at)
    return Select(at, argument.operand, argument.field, test=True)


def _loop(names: int, build: Callable[["_Loop", Sequence[Node]], Comprehension], complaint: str) -> Expand:
    """A macro that walks over its receiver with one variable or two."""

    def expand(at: int, target: Node | None, arguments: Sequence[Node]) -> Node | None:
        if target is None:
            return None
        found = [_variable(argument, complaint) for argument in arguments[:names]]
        if names == 2 and found[0] == found[1]:
            raise SyntaxProblem(f"duplicate variable name: {found[0]}", arguments[1].at)
        for name, argument in zip(found, arguments, strict=False):
            if name in (ACCUMULATOR, _FORMER_ACCUMULATOR):
                raise SyntaxProblem("iteration variable overwrites accumulator variable", argument.at)
        return build(_Loop(at, target, found[0], found[1] if names == 2 else ""), arguments[names:])

    return expand


def _variable(argument: Node, complaint: str) -> str:
    if not isinstance(argument, Identifier):
        raise SyntaxProblem(complaint, argument.at)
    return argument.name


class _Loop:
    """Short ways to write the parts of a comprehension at one place."""

    def __init__(self, at: int, target: Node, variable: str, second: str) -> None:
        self.at, self._target, self.variable, self._second = at, target, variable, second

    def whole(self, start: Node, condition: Node, step: Node, result: Node | None = None) -> Comprehension:
        names = (self.variable, self._second, ACCUMULATOR)
        return Comprehension(self.at, self._target, *names, start, condition, step, result or self.so_far())

    def so_far(self) -> Identifier:
        return Identifier(self.at, ACCUMULATOR)

    def literal(self, value: object) -> Literal:
        return Literal(self.at, value)

    def call(self, function: str, *arguments: Node) -> Call:
        return Call(self.at, function, None, list(arguments))

    def list(self, *elements: Node) -> CreateList:
        return CreateList(self.at, list(elements))

    def every(self, step: Node, keep: Node | None, start: Node) -> Comprehension:
        """Walk to the end; elements that ``keep`` does not want change nothing."""
        if keep is not None:
            step = self.call("_?_:_", keep, step, self.so_far())
        return self.whole(start, self.literal(True), step)


def _all(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    go_on = loop.call("@not_strictly_false", loop.so_far())
    return loop.whole(loop.literal(True), go_on, loop.call("_&&_", loop.so_far(), rest[0]))


def _exists(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    go_on = loop.call("@not_strictly_false", loop.call("!_", loop.so_far()))
    return loop.whole(loop.literal(False), go_on, loop.call("_||_", loop.so_far(), rest[0]))


def _exists_one(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    counted = loop.call("_+_", loop.so_far(), loop.literal(1))
    step = loop.call("_?_:_", rest[0], counted, loop.so_far())
    return loop.whole(loop.literal(0), loop.literal(True), step, loop.call("_==_", loop.so_far(), loop.literal(1)))


def _map(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    *keep, transform = rest
    step = loop.call("_+_", loop.so_far(), loop.list(transform))
    return loop.every(step, keep[0] if keep else None, loop.list())


def _filter(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    step = loop.call("_+_", loop.so_far(), loop.list(Identifier(loop.at, loop.variable)))
    return loop.every(step, rest[0], loop.list())


def _transform_map(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    *keep, transform = rest
    step = loop.call(MAP_INSERT, loop.so_far(), Identifier(loop.at, loop.variable), transform)
    return loop.every(step, keep[0] if keep else None, CreateMap(loop.at, []))


def _transform_map_entry(loop: _Loop, rest: Sequence[Node]) -> Comprehension:
    *keep, entry = rest
    step = loop.call(MAP_INSERT, loop.so_far(), entry)
    return loop.every(step, keep[0] if keep else None, CreateMap(loop.at, []))


def bound(at: int, name: str, value: Node, result: Node) -> Comprehension:
    """``result`` with a name for a value: a loop over nothing whose accumulator is the name."""
    return Comprehension(
        at, CreateList(at, []), UNUSED, "", name, value, Literal(at, False), Identifier(at, name), result
    )


def _bind(at: int, target: Node | None, arguments: Sequence[Node]) -> Node | None:
    if not isinstance(target, Identifier) or target.name != "cel":
        return None
    name = _variable(arguments[0], "cel.bind() variable names must be simple identifiers")
    return bound(at, name, arguments[1], arguments[2])


def _optional_map(macro: str, *, flat: bool) -> Expand:
    def expand(at: int, target: Node | None, arguments: Sequence[Node]) -> Node:
        name = _variable(arguments[0], f"{macro}() variable name must be a simple identifier")
        inner: Node = bound(at, name, Call(at, "value", target, []), arguments[1])
        if not flat:
            inner = Call(at, "optional.of", None, [inner])
        present = Call(at, "hasValue", target, [])
        return Call(at, "_?_:_", None, [present, inner, Call(at, "optional.none", None, [])])

    return expand


_NOT_SORTED = "sortBy can only be applied to a list, identifier, comprehension, call or select expression"


def _sort_by(at: int, target: Node | None, arguments: Sequence[Node]) -> Node | None:
    if target is None:
        return None
    if isinstance(target, Literal | CreateMap):
        raise SyntaxProblem(_NOT_SORTED, target.at)
    name = _variable(arguments[0], _NOT_SORTED)
    items = Identifier(at, _SORTED_INPUT)
    keys = _map(_Loop(at, items, name, ""), [arguments[1]])
    return bound(at, _SORTED_INPUT, target, Call(at, SORT_BY_KEYS, items, [keys]))


_SIMPLE = "argument must be a simple name"
_ELEMENTS = "argument is not an identifier"
_ONE: Macros = {
    ("has", 1, False): _has,
    ("all", 2, True): _loop(1, _all, _SIMPLE),
    ("exists", 2, True): _loop(1, _exists, _SIMPLE),
    ("exists_one", 2, True): _loop(1, _exists_one, _SIMPLE),
    ("map", 2, True): _loop(1, _map, _ELEMENTS),
    ("map", 3, True): _loop(1, _map, _ELEMENTS),
    ("filter", 2, True): _loop(1, _filter, _ELEMENTS),
}
_TWO: Macros = {
    ("all", 3, True): _loop(2, _all, _SIMPLE),
    ("exists", 3, True): _loop(2, _exists, _SIMPLE),
    ("exists_one", 3, True): _loop(2, _exists_one, _SIMPLE),
    ("existsOne", 3, True): _loop(2, _exists_one, _SIMPLE),
    ("transformList", 3, True): _loop(2, _map, _SIMPLE),
    ("transformList", 4, True): _loop(2, _map, _SIMPLE),
    ("transformMap", 3, True): _loop(2, _transform_map, _SIMPLE),
    ("transformMap", 4, True): _loop(2, _transform_map, _SIMPLE),
    ("transformMapEntry", 3, True): _loop(2, _transform_map_entry, _SIMPLE),
    ("transformMapEntry", 4, True): _loop(2, _transform_map_entry, _SIMPLE),
}
_OPTIONAL: Macros = {
    ("optMap", 2, True): _optional_map("optMap", flat=False),
    ("optFlatMap", 2, True): _optional_map("optFlatMap", flat=True),
}
STANDARD: Macros = {**_ONE, **_TWO, **_OPTIONAL}
SORTING: Macros = {("sortBy", 2, True): _sort_by}
# Not in the rules of custom resources; selectors of devices have it.
BINDINGS: Macros = {("bind", 3, True): _bind}
