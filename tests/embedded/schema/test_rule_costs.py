"""What rules of a definition may cost: sizes of places, limits, and what an update keeps.

The texts of a real server for many schemas stand in ``answers.json``.
"""

import copy
from typing import Any

import pytest

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.schema.definitions import check_definition
from tensorfusion.embedded.schema.path import Problem, text_of
from tensorfusion.embedded.schema.rule_costs import DEFINITION_LIMIT, RULE_LIMIT, RuleCosts, copies_below
from tensorfusion.embedded.schema.sizes import REQUEST, sized

CHEAP = {"rule": "self.size() < 7"}
COSTLY = {"rule": "self.contains('a long part of a text, long enough')"}
NEWER = {"rule": "self.sort() == self"}  # a function that new expressions may not use yet


def definition(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
    names = {"plural": "foos", "kind": "Foo"}
    spec = {"group": "x.io", "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": "foos.x.io"}, "spec": spec}


def texts(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "x-kubernetes-validations": list(rules)}, **more}


def problems(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    found: list[Problem] = []
    check_definition(new, old, found)
    return [f"{text_of(problem.path)}: {problem.message}" for problem in found]


def test_a_costly_rule_is_refused_with_its_factor_and_what_to_do() -> None:
    found = problems(definition(list=texts(COSTLY, maxItems=100)))
    where = "spec.validation.openAPIV3Schema.properties[list].items.x-kubernetes-validations[0].rule"
    assert found[0] == (
        f"{where}: Forbidden: estimated rule cost exceeds budget by factor of 12.6x (try simplifying the rule, or "
        "adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert problems(definition(list=texts(COSTLY, maxItems=5))) == []


def test_a_schema_that_stays_as_it_was_is_not_refused_for_one_rule() -> None:
    old = definition(list=texts(COSTLY, maxItems=50))
    assert len(problems(old)) == 1
    assert problems(copy.deepcopy(old), old) == []
    assert len(problems(definition(list=texts(COSTLY, maxItems=51)), old)) == 1


def test_the_rules_of_a_schema_that_stays_still_have_to_fit_together() -> None:
    old = definition(list=texts(COSTLY, COSTLY, COSTLY))
    found = problems(copy.deepcopy(old), old)
    each = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    total = "estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x"
    said = [line.split(": ")[-1].split(" (")[0] for line in found]
    assert said == [each, each, each, f"x-kubernetes-validations {total}"]


def test_an_expression_in_use_may_stay_and_move_but_not_come() -> None:
    numbers = {"type": "array", "maxItems": 9, "items": {"type": "integer"}, "x-kubernetes-validations": [NEWER]}
    old = definition(list=numbers)
    assert "undeclared reference to 'sort'" in problems(old)[0]
    assert problems(definition(list=numbers, other=numbers, more={"type": "string"}), old) == []
    changed = {**numbers, "x-kubernetes-validations": [{"rule": "self.sort() != self"}]}
    assert "undeclared reference to 'sort'" in problems(definition(list=changed), old)[0]


def test_the_dearest_four_rules_are_named() -> None:
    costs, found = RuleCosts(unchanged=False), []
    for number in range(1, 8):
        costs.add("rule", number * 5_000_000, (None, str(number)), found)
    found.clear()
    costs.check_total((None, "schema"), found)
    assert [text_of(problem.path) for problem in found] == ["7", "6", "5", "4", "schema"]


def test_rules_below_a_hundredth_of_the_limit_are_not_named() -> None:
    costs, found = RuleCosts(unchanged=False), []
    for _ in range(200):
        costs.add("rule", DEFINITION_LIMIT // 100 - 1, None, found)
    costs.check_total((None, "schema"), found)
    assert [text_of(problem.path) for problem in found] == ["schema"]


@pytest.mark.parametrize(
    ("times", "said"),
    [(1, ""), (1.0000001, "1.000000x"), (1.25, "1.250000x"), (1.5, "1.5x"), (100, "100.0x"), (101, "more than 100x")],
)
def test_how_much_too_much_is_said_in_a_few_digits(times: float, said: str) -> None:
    found: list[Problem] = []
    RuleCosts(unchanged=False).add("rule", int(RULE_LIMIT * times), None, found)
    assert (said in found[0].message) if said else not found


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "most", "fewest_bytes"),
    [
        (TEXT, REQUEST - 2, 2),
        ({**TEXT, "maxLength": 5}, 20, 2),
        ({**TEXT, "maxLength": -5}, 0, 2),
        ({**TEXT, "enum": ["a", "é", "abc"]}, 3, 2),
        ({**TEXT, "format": "byte", "maxLength": 5}, 5, 2),
        ({**TEXT, "format": "date", "maxLength": 5}, 12, 12),
        ({**TEXT, "format": "date-time"}, 32, 21),
        ({**TEXT, "format": "duration"}, 32, 3),
        ({"x-kubernetes-int-or-string": True}, REQUEST - 2, 1),
        ({"x-kubernetes-int-or-string": True, "maxLength": 3}, 12, 1),
        (NUMBER, 0, 1),
        ({"type": "boolean"}, 0, 4),
        ({"type": "array", "items": TEXT}, (REQUEST - 2) // 3, 2),
        ({"type": "array", "items": TEXT, "maxItems": 7}, 7, 2),
        ({"type": "object", "additionalProperties": NUMBER}, (REQUEST - 2) // 7, 2),
        ({"type": "object", "additionalProperties": NUMBER, "maxProperties": 7}, 7, 2),
        ({"type": "object", "properties": {"ab": TEXT, "c": NUMBER}, "required": ["ab"]}, 0, 2 + 2 + 2 + 4),
        ({"type": "object", "properties": {"c": {**NUMBER, "default": 1}}, "required": ["c"]}, 0, 2),
    ],
    ids=str,
)
def test_how_large_a_place_can_be(schema: dict[str, Any], most: int, fewest_bytes: int) -> None:
    place = sized(schema)
    assert place is not None
    assert (place.most, place.fewest_bytes) == (most, fewest_bytes)


def test_a_place_without_a_usable_type_has_no_size() -> None:
    assert sized({"x-kubernetes-preserve-unknown-fields": True}) is None
    assert sized({"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": True}}) is None


def test_values_below_lists_and_maps_are_counted_until_there_is_no_limit() -> None:
    limited = {"type": "array", "maxItems": 6}
    assert copies_below(limited, 7) == 42
    assert copies_below({"type": "object", "additionalProperties": TEXT, "maxProperties": 3}, 7) == 21
    assert copies_below({"type": "object", "properties": {}}, 7) == 7
    assert copies_below({"type": "array"}, 7) is None
    assert copies_below(limited, None) is None


@pytest.mark.parametrize(
    "place",
    [texts(COSTLY, maxItems=50), {**texts(maxItems=3), "x-kubernetes-validations": [NEWER]}],
    ids=["costly", "newer"],
)
def test_a_definition_that_is_stored_is_served_though_it_could_not_be_made_anew(place: dict[str, Any]) -> None:
    stored = definition(list=place)
    assert problems(stored), "it could be made anew"
    kinds = Kinds.builtin()
    kinds.install_crd(stored)
    assert kinds.find("x.io", "v1", "foos").is_custom
