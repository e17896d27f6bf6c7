"""Custom kinds: rules in CEL. Numbers 435 to 464."""

from typing import Any

from asking import Api
from behaviours import behaviour
from customs import DEFINITIONS, NUMBER, TEXT, Schema, definition, messages, rules, served, thing, version

RULES = "CustomResourceDefinitions: Validation rules"
TRANSITION = f"{RULES}, Transition rules"
COSTS = f"{RULES}, Resource use by validation functions"
OBSERVED = "observed on 1.34.2"


def ruled(*found: Any, **properties: Schema) -> Schema:
    """A schema whose spec has rules."""
    schema = thing(**properties)
    schema["properties"]["spec"]["x-kubernetes-validations"] = rules(*found)
    return schema


def wrong(api: Api, schema: Schema) -> list[str]:
    """What is said against a definition."""
    answer = api("POST", DEFINITIONS, definition(api, version(schema)))
    answer.refused(422, "Invalid")
    return messages(answer)


@behaviour(435, "An object that breaks a rule is refused with the rule itself, or with its message", source=RULES)
def test_rule(api: Api) -> None:
    schema = ruled(
        "self.least <= self.most",
        {"rule": "self.least > 0", "message": "least must be positive"},
        least=NUMBER,
        most=NUMBER,
    )
    with served(api, version(schema)) as kind:
        kind.create(least=1, most=2)
        found = kind.refused(least=0, most=-1)
    assert any(one.endswith("failed rule: self.least <= self.most") for one in found), found
    assert any(one.endswith("least must be positive") for one in found), found


@behaviour(436, "messageExpression makes the message of the object; if it fails, message stands in", source=RULES)
def test_message_expression(api: Api) -> None:
    schema = ruled(
        {"rule": "self.n < 5", "messageExpression": "'n is ' + (self.n > 6 ? 'large' : 'small')"},
        {"rule": "self.n < 5", "messageExpression": "[''][self.n]", "message": "in its stead"},
        n=NUMBER,
    )
    with served(api, version(schema)) as kind:
        found = kind.refused(n=7)
    assert any(one.endswith("n is large") for one in found), found
    assert any(one.endswith("in its stead") for one in found), found


@behaviour(437, "reason and fieldPath say what kind of problem it is and of which field", source=RULES)
def test_reason(api: Api) -> None:
    rule = {"rule": "self.n != 3", "reason": "FieldValueForbidden", "fieldPath": ".n", "message": "not three"}
    with served(api, version(ruled(rule, n=NUMBER))) as kind:
        answer = api("POST", kind.path(), kind.body(n=3)).refused(422, "Invalid")
    assert answer.body["details"]["causes"] == [
        {"reason": "FieldValueForbidden", "message": "Forbidden: not three", "field": "spec.n"}
    ]


@behaviour(438, "A rule about oldSelf is asked on updates only, and compares with what was", source=TRANSITION)
def test_transition(api: Api) -> None:
    with served(api, version(ruled({"rule": "self.n >= oldSelf.n", "message": "only up"}, n=NUMBER))) as kind:
        kind.create(n=3)
        assert kind.change({"spec": {"n": 4}}).status == 200
        answer = kind.change({"spec": {"n": 2}}).refused(422, "Invalid")
    (found,) = messages(answer)
    assert found.endswith("only up")


@behaviour(439, "optionalOldSelf lets a rule see creations, too", source=TRANSITION)
def test_optional_old_self(api: Api) -> None:
    rule = {"rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": True, "message": "begin with one"}
    with served(api, version(ruled(rule, n=NUMBER))) as kind:
        assert any("begin with one" in one for one in kind.refused(n=2))
        kind.create(n=1)
        assert kind.change({"spec": {"n": 2}}).status == 200


@behaviour(440, "oldSelf of an item is the item with the same keys, wherever it stood", source=TRANSITION)
def test_transition_of_items(api: Api) -> None:
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {**TEXT, "maxLength": 9}, "n": NUMBER},
        "x-kubernetes-validations": rules({"rule": "self.n >= oldSelf.n", "message": "only up"}),
    }
    keyed = {
        "type": "array",
        "maxItems": 9,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": item,
    }
    with served(api, version(thing(keyed=keyed))) as kind:
        kind.create(keyed=[{"name": "a", "n": 1}, {"name": "b", "n": 5}])
        assert (
            kind.change(
                {"spec": {"keyed": [{"name": "b", "n": 5}, {"name": "a", "n": 1}, {"name": "c", "n": 0}]}}
            ).status
            == 200
        )
        answer = kind.change({"spec": {"keyed": [{"name": "b", "n": 4}]}}).refused(422, "Invalid")
    assert answer.causes() == {("spec.keyed[0]", "FieldValueInvalid")}


@behaviour(441, "oldSelf in lists without keys is refused when the definition is written", source=TRANSITION)
def test_uncorrelatable(api: Api) -> None:
    item = {"type": "object", "properties": {"n": NUMBER}, "x-kubernetes-validations": rules("self.n >= oldSelf.n")}
    found = wrong(api, thing(list={"type": "array", "maxItems": 9, "items": item}))
    assert any("oldSelf cannot be used on the uncorrelatable portion of the schema" in one for one in found), found


@behaviour(442, "A rule with a syntax error is refused with a picture of its place", source=RULES)
def test_syntax_error(api: Api) -> None:
    (found,) = wrong(api, ruled("self.n >", n=NUMBER))
    assert "x-kubernetes-validations[0].rule: Invalid value" in found
    assert "compilation failed: ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>'" in found
    assert found.endswith(" | self.n >\n | ........^")


@behaviour(443, "A rule that names a field which the schema does not have is refused", source=RULES)
def test_unknown_field(api: Api) -> None:
    (found,) = wrong(api, ruled("self.m > 1", n=NUMBER))
    assert found.endswith("ERROR: <input>:1:5: undefined field 'm'\n | self.m > 1\n | ....^")


@behaviour(444, "A rule whose types do not fit is refused", source=RULES)
def test_wrong_types(api: Api) -> None:
    (found,) = wrong(api, ruled("self.n == 'x'", n=NUMBER))
    assert "found no matching overload for '_==_' applied to '(int, string)'" in found


@behaviour(445, "A rule has to give a boolean, a messageExpression a string", source=RULES)
def test_wrong_results(api: Api) -> None:
    (found,) = wrong(api, ruled("self.n + 1", n=NUMBER))
    assert found.endswith("cel expression must evaluate to a bool")
    (found,) = wrong(api, ruled({"rule": "self.n > 1", "messageExpression": "self.n"}, n=NUMBER))
    assert found.endswith("messageExpression must evaluate to a string")


@behaviour(446, "A rule that fails when it is evaluated refuses the object and says how it failed", source=RULES)
def test_failing_rule(api: Api) -> None:
    with served(api, version(ruled("self.n > 1", n=NUMBER, m=NUMBER))) as kind:
        found = kind.refused(m=1)
    assert any("no such key: n evaluating rule: self.n > 1" in one for one in found), found


@behaviour(447, "has() and optional selection tell fields that are not there", source=RULES)
def test_presence(api: Api) -> None:
    schema = ruled("!has(self.n) || self.n > 1", "self.?m.orValue(5) > 1", n=NUMBER, m=NUMBER)
    with served(api, version(schema)) as kind:
        kind.create("a", n=2)
        assert len(kind.refused(n=1, m=0)) == 2


@behaviour(448, "Rules see dates, durations and bytes as such, by the format of the field", source=f"{RULES}, types")
def test_typed_formats(api: Api) -> None:
    fields = {
        "when": {**TEXT, "format": "date-time"},
        "span": {**TEXT, "format": "duration"},
        "raw": {**TEXT, "format": "byte"},
    }
    schema = ruled(
        "self.when < timestamp('2024-06-01T00:00:00Z')", "self.span <= duration('1h')", "self.raw == b'hi'", **fields
    )
    with served(api, version(schema)) as kind:
        kind.create(when="2024-05-01T00:00:00Z", span="59m", raw="aGk=")
        assert len(kind.refused(when="2024-07-01T00:00:00Z", span="2h", raw="aG8=")) == 3


@behaviour(449, "Names that CEL cannot write are escaped in rules", source=f"{RULES}, escaping")
def test_escaped_names(api: Api) -> None:
    schema = ruled("self.a__dash__b > 1 && self.__for__ > 1", **{"a-b": NUMBER, "for": NUMBER})
    with served(api, version(schema)) as kind:
        kind.create(**{"a-b": 2, "for": 2})
        assert len(kind.refused(**{"a-b": 1, "for": 2})) == 1


@behaviour(450, "Rules at the root may speak of the object's kind and name", source=RULES)
def test_root_rules(api: Api) -> None:
    schema = thing(n=NUMBER)
    schema["x-kubernetes-validations"] = rules({"rule": "self.metadata.name.startsWith('good')", "message": "be good"})
    with served(api, version(schema)) as kind:
        kind.create("good-one", n=1)
        answer = api("POST", kind.path(), kind.body("bad", n=1)).refused(422, "Invalid")
    assert "be good" in messages(answer)[0]


@behaviour(451, "Sets are equal in any order, and are added to without doubles", source=RULES)
def test_sets(api: Api) -> None:
    tags = {"type": "array", "maxItems": 9, "x-kubernetes-list-type": "set", "items": {**TEXT, "maxLength": 9}}
    with served(api, version(ruled("self.a == self.b", "size(self.a + self.b) == 2", a=tags, b=tags))) as kind:
        kind.create(a=["x", "y"], b=["y", "x"])
        assert len(kind.refused(a=["x", "y"], b=["y", "z"])) == 2


@behaviour(
    452,
    "The libraries of Kubernetes are there: quantities, addresses, URLs, formats, lists, regular expressions",
    source="Reference: CEL in Kubernetes, libraries",
)
def test_libraries(api: Api) -> None:
    short = {**TEXT, "maxLength": 50}
    schema = ruled(
        "quantity(self.q).isLessThan(quantity('1Gi'))",
        "cidr('10.0.0.0/8').containsIP(self.ip)",
        "url(self.url).getScheme() == 'https'",
        "!format.dns1123Label().validate(self.label).hasValue()",
        "[1, 2, 3].sum() == 6 && self.label.find('[0-9]+') == '7'",
        q=short,
        ip=short,
        url=short,
        label=short,
    )
    with served(api, version(schema)) as kind:
        kind.create(q="100Mi", ip="10.1.2.3", url="https://a.b/", label="a7")
        assert len(kind.refused(q="2Gi", ip="192.168.0.1", url="http://a.b/", label="A7")) == 4


@behaviour(453, "A rule that may cost too much is refused when the definition is written", source=COSTS)
def test_estimated_cost(api: Api) -> None:
    lists = {"type": "array", "items": {"type": "array", "items": TEXT}}
    found = wrong(api, ruled("self.l.all(a, a.all(b, self.l.all(c, c.all(d, d != b))))", l=lists))
    assert any("estimated rule cost exceeds budget by factor of more than 100x" in one for one in found), found


@behaviour(454, "A rule that turns out to cost too much ends the evaluation, and the object is refused", source=COSTS)
def test_actual_cost(api: Api) -> None:
    numbers = {"type": "array", "maxItems": 400, "items": NUMBER}
    with served(api, version(ruled("self.l.all(a, self.l.all(b, a + b >= 0))", l=numbers))) as kind:
        kind.create(l=list(range(10)))
        found = kind.refused(l=list(range(400)))
    assert any("call cost exceeds limit for rule" in one for one in found), found


@behaviour(
    455,
    "A broken rule over values that an update leaves alone does not stop it",
    source="KEP-4008: CRD validation ratcheting",
)
def test_ratcheting(api: Api) -> None:
    with served(api, version(thing(n=NUMBER, inner={"type": "object", "properties": {"m": NUMBER}}))) as kind:
        kind.create(n=1, inner={"m": 5})
        obj = api.get(kind.definition)
        spec = obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"]["inner"]["x-kubernetes-validations"] = rules("self.m < 3")
        api.put(kind.definition, obj)
        api.eventually(lambda: api("POST", kind.path(), kind.body("b", inner={"m": 5})).status == 422)
        assert kind.change({"spec": {"n": 2}}).status == 200
        kind.change({"spec": {"inner": {"m": 6}}}).refused(422, "Invalid")


@behaviour(456, "Rules are not asked while the values are not what their schema wants", source=OBSERVED)
def test_rules_after_values(api: Api) -> None:
    with served(api, version(ruled("self.n > 1", n=NUMBER))) as kind:
        found = kind.refused(n="x")
    assert any("some validation rules were not checked because the object was invalid" in one for one in found), found
    assert not any("failed rule" in one for one in found), found


@behaviour(457, "A rule needs a text; its message must not be of several lines", source=RULES)
def test_rule_texts(api: Api) -> None:
    found = wrong(api, ruled({"rule": " "}, {"rule": "true", "message": "a\nb"}, n=NUMBER))
    assert any("rule is not specified" in one for one in found), found
    assert any("must not contain line breaks" in one for one in found), found


@behaviour(458, "fieldPath has to name a field of the schema", source=RULES)
def test_wrong_field_path(api: Api) -> None:
    found = wrong(api, ruled({"rule": "self.n > 1", "fieldPath": ".nope"}, n=NUMBER))
    assert any("fieldPath" in one and "must be a valid path" in one for one in found), found


@behaviour(459, "Rules of keys and values of maps, of items and of single fields hold at their places", source=RULES)
def test_rules_at_places(api: Api) -> None:
    fields = {
        "n": {**NUMBER, "x-kubernetes-validations": rules("self % 2 == 0")},
        "map": {
            "type": "object",
            "maxProperties": 9,
            "additionalProperties": {**NUMBER, "x-kubernetes-validations": rules("self > 0")},
        },
        "list": {"type": "array", "maxItems": 9, "items": {**NUMBER, "x-kubernetes-validations": rules("self < 5")}},
    }
    with served(api, version(thing(**fields))) as kind:
        kind.create(n=2, map={"a": 1}, list=[4])
        answer = api("POST", kind.path(), kind.body("b", n=1, map={"a": 1, "b": 0}, list=[4, 5])).refused(
            422, "Invalid"
        )
    assert {field for field, _ in answer.causes()} == {"spec.n", "spec.map[b]", "spec.list[1]"}
