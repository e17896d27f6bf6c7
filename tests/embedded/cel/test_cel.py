"""CEL expressions: what compiles, what they give, what is said when they fail."""

import threading
from typing import Any

import pytest

from tensorfusion.embedded.cel import RULE_VARIABLES, CelError, Condition, compile_expression
from tensorfusion.embedded.cel_fields import escaped, wrong_fields

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "s": {"type": "string"},
        "n": {"type": "number"},
        "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "integer"}}}},
        "o": {"type": "object", "properties": {"z": {"type": "string"}}},
        "q": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
        "namespace": {"type": "string"},
    },
}


def evaluate(source: str, wanted: str = "bool", **variables: Any) -> bool | str:
    return compile_expression(source, RULE_VARIABLES, wanted).evaluate(variables)


@pytest.mark.parametrize(
    "source",
    [
        "self.a + 1 == 2",
        "has(self.s) && !has(self.missing)",
        "self.?missing.orValue(3) == 3",
        "self.l.all(i, i.x.startsWith('k')) && self.l.exists_one(i, i.x == 'k1')",
        "self.l.map(i, i.x) == ['k1', 'k2']",
        "cel.bind(v, self.a, v + v == 2)",
        "self.s.matches('^[a-z]+$') && self.s.lowerAscii() == 'text' && self.s.size() == 4",
        "'%s-%d'.format([self.s, self.a]) == 'text-1'",
        "quantity('1Gi').isGreaterThan(quantity('900Mi')) && quantity('1000m') == quantity('1')",
        "quantity('1').add(quantity('500m')).sub(1).compareTo(quantity('0.5')) == 0",
        "quantity('2').isInteger() && quantity('2k').asInteger() == 2000 && quantity('-1').sign() == -1",
        "isQuantity('1Gi') && !isQuantity('x')",
        "[3, 1, 2].sum() == 6 && [3, 1, 2].max() == 3 && [3, 1, 2].min() == 1 && [1, 2].isSorted()",
        "[3, 1, 3].indexOf(3) == 0 && [3, 1, 3].lastIndexOf(3) == 2 && [3].indexOf(4) == -1",
        "'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22']",
        "duration('90m') == duration('1h30m') && timestamp('2024-01-01T00:00:00Z').getFullYear() == 2024",
        "self.m['k'].y == 1 && 'k' in self.m",
        "type(self.s) == string",
    ],
)
def test_what_kubernetes_rules_use_works(source: str) -> None:
    value = {"a": 1, "s": "text", "l": [{"x": "k1"}, {"x": "k2"}], "m": {"k": {"y": 1}}}
    assert evaluate(source, self=value) is True


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("self.a >", "Syntax error"),
        ("nothing.a == 1", "undeclared reference to 'nothing'"),
        ("'a' + 1 == 'b'", "no matching overload"),
        ("quantity('1') < quantity('2')", "no matching overload"),
        ("1", "must evaluate to bool, found int"),
        ("(" * 5000 + "true" + ")" * 5000, "recursion"),
        ("true" + " " * 70_000, "longer than"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_compiled(source: str, complaint: str) -> None:
    with pytest.raises(CelError, match=complaint) as caught:
        compile_expression(source, RULE_VARIABLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "value", "complaint"),
    [
        ("self.b > 1", {}, "no such key: b"),
        ("[1][self.a] == 1", {"a": 9}, "index out of bounds: 9"),
        ("1 / self.a == 1", {"a": 0}, "divide by zero"),
        ("self.a", {"a": 1}, "gave int"),
        ("quantity(self.a).sign() == 1", {"a": "x"}, "is not a quantity"),
        ("self.a == 1", {"a": 1 << 80}, "out of range"),
    ],
)
def test_what_fails_on_an_object_says_why(source: str, value: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CelError, match=complaint):
        evaluate(source, self=value)


def test_a_message_is_a_string() -> None:
    assert evaluate("'was ' + string(oldSelf.a)", "string", self={}, oldSelf={"a": 1}) == "was 1"
    with pytest.raises(CelError, match="must evaluate to string"):
        compile_expression("1 == 1", RULE_VARIABLES, "string")


def test_a_condition_sees_object_old_object_and_request() -> None:
    source = "request.operation == 'CREATE' && oldObject == null && object.metadata.labels[?'on'].orValue('') == 'true'"
    condition = Condition("wanted", source)
    pod = {"metadata": {"labels": {"on": "true"}}}
    assert condition.test(object=pod, old_object=None, request={"operation": "CREATE"})
    assert not condition.test(object=pod, old_object=None, request={"operation": "UPDATE"})
    with pytest.raises(CelError, match="no such key: metadata"):
        condition.test(object={}, old_object=None, request={"operation": "CREATE"})


def test_a_program_is_compiled_once_and_may_be_used_from_many_threads() -> None:
    program = compile_expression("self.l.all(i, i > 0)", RULE_VARIABLES)
    assert compile_expression("self.l.all(i, i > 0)", RULE_VARIABLES) is program
    results: list[bool | str] = []

    def work() -> None:
        results.extend(program.evaluate({"self": {"l": [1, 2, number]}}) for number in range(1, 50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4 * 49


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        ("self.a > 1 && self.n > 1 && self.s in ['x']", []),
        ("self.b > 1", ["undefined field 'b'"]),
        ("has(self.b)", ["undefined field 'b'"]),
        ("self.?b.orValue(1) == 1", ["undefined field 'b'"]),
        ("self.l.all(i, i.x == 'k')", []),
        ("self.l.all(i, i.z == 'k')", ["undefined field 'z'"]),
        ("self.l[0].z == 'k'", ["undefined field 'z'"]),
        ("self.m['k'].y == 1 && self.m.k.y == 1 && self.m.all(k, k != '')", []),
        ("self.m.k.z == 1", ["undefined field 'z'"]),
        ("cel.bind(v, self.o, v.z == '' && v.w == '')", ["undefined field 'w'"]),
        ("self.a == 's'", ["found no matching overload for '_==_' applied to '(int, string)'"]),
        ("self.a == oldSelf.c", ["undefined field 'c'"]),
        ("self.q == 1 || self.q == 'a'", []),
        ("self.s.x == 1", ["type 'string' does not support field selection"]),
        ("self.emb.kind == 'X' && self.emb.metadata.name == 'y'", []),
        ("self.emb.metadata.labels.a == 'y'", ["undefined field 'labels'"]),
        ("self.__namespace__ == 'x'", []),
    ],
)
def test_rules_may_name_only_fields_of_the_schema(source: str, complaints: list[str]) -> None:
    tree = compile_expression(source, RULE_VARIABLES).serialized()
    assert wrong_fields(tree, {"self": SCHEMA, "oldSelf": SCHEMA}) == complaints


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ("a-b", "a__dash__b"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("for", "__for__"),
        ("a__b", "a__underscores__b"),
    ],
)
def test_field_names_that_cel_cannot_write_are_escaped(name: str, written: str) -> None:
    assert escaped(name) == written
