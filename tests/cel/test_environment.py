"""Environments and programs: what they are given, what they give, and how they fail."""

import threading
from typing import Any

import pytest

from tensorfusion.cel import (
    BINDINGS,
    DYN,
    INT,
    NEW,
    STRING,
    CompileError,
    CostExceeded,
    Dialect,
    Environment,
    EvaluationError,
    list_of,
    object_of,
)

LOOSE = Environment({"self": DYN})
TYPED = Environment({"self": object_of("thing", {"count": INT, "names": list_of(STRING)})})


def test_a_program_knows_its_type_and_the_variables_it_uses() -> None:
    program = Environment({"self": DYN, "oldSelf": DYN}).compile("self.a > 1 && [1].all(oldSelf, oldSelf > 0)")
    assert str(program.type) == "bool"
    assert program.variables == {"self"}


def test_values_stay_as_they_are() -> None:
    value = {"list": [1, 2], "map": {"a": 1}}
    program = LOOSE.compile("self.list + [3] == [1, 2, 3] && self.map.a == 1")
    assert program.evaluate({"self": value}) is True
    assert value == {"list": [1, 2], "map": {"a": 1}}


def test_a_variable_that_is_not_given_is_null() -> None:
    assert LOOSE.compile("self == null").evaluate({}) is True


def test_all_problems_are_shown_with_their_places() -> None:
    with pytest.raises(CompileError) as caught:
        TYPED.compile("self.cuont > 1 &&\n  self.names == 3")
    assert str(caught.value).splitlines() == [
        "compilation failed: ERROR: <input>:1:5: undefined field 'cuont'",
        " | self.cuont > 1 &&",
        " | ....^",
        "ERROR: <input>:2:14: found no matching overload for '_==_' applied to '(list(string), int)'",
        " |   self.names == 3",
        " | .............^",
    ]


def test_an_evaluation_ends_at_its_limit() -> None:
    program = LOOSE.compile("self.all(x, self.all(y, x + y > 0))")
    value = {"self": list(range(1, 101))}
    found, cost = program.measured(value)
    assert found is True
    assert cost > 50_000
    with pytest.raises(CostExceeded, match="actual cost limit exceeded"):
        program.evaluate(value, limit=cost - 1)
    assert program.evaluate(value, limit=cost) is True


def test_an_error_is_outvoted_but_never_the_limit() -> None:
    assert LOOSE.compile("self.missing == 1 || true").evaluate({"self": {}}) is True
    with pytest.raises(CostExceeded):
        LOOSE.compile("self.all(x, x > 0) || true").evaluate({"self": [1] * 1000}, limit=100)


@pytest.mark.parametrize(
    "source",
    ["(" * 5000 + "true" + ")" * 5000, "!" * 3 + "(" * 300 + "true" + ")" * 300, "[" * 2000 + "]" * 2000],
    ids=["far too deep", "too deep", "lists"],
)
def test_what_is_nested_too_deeply_is_refused(source: str) -> None:
    with pytest.raises(CompileError, match="recursion limit exceeded"):
        LOOSE.compile(source)


def test_long_chains_are_not_deep() -> None:
    source = " && ".join(f"self.a > {number}" for number in range(400))
    assert LOOSE.compile(source).evaluate({"self": {"a": 1000}}) is True


def test_bindings_are_there_for_those_who_ask() -> None:
    source = "cel.bind(v, self.a + 1, v * v)"
    with pytest.raises(CompileError, match="undeclared reference"):
        LOOSE.compile(source)
    with_bindings = Dialect(NEW.functions, {**NEW.macros, **BINDINGS})
    assert Environment({"self": DYN}, dialect=with_bindings).compile(source).evaluate({"self": {"a": 2}}) == 9


def test_a_bound_value_is_evaluated_once_and_only_when_it_is_needed() -> None:
    assert LOOSE.compile("optional.of(1).optMap(x, 'fixed').value() == 'fixed'").evaluate({}) is True
    with pytest.raises(EvaluationError, match="no such key: a"):
        LOOSE.compile("optional.of(self.a).optMap(x, x + x).value() == 2").evaluate({"self": {}})


def test_a_program_may_be_used_from_many_threads() -> None:
    program = LOOSE.compile("self.l.all(i, self.l.exists(j, j == i)) && self.l.map(i, i * 2)[0] == self.l[0] * 2")
    results: list[Any] = []

    def work(offset: int) -> None:
        results.extend(
            program.evaluate({"self": {"l": [number, offset, number + 1]}}) for number in range(offset, offset + 50)
        )

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4 * 50
