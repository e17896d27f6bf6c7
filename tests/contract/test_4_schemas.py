"""Custom kinds: values and their schemas. Numbers 400 to 434."""

from asking import Api
from behaviours import behaviour
from customs import DEFINITIONS, NUMBER, TEXT, definition, messages, served, thing, version

STRUCTURAL = "CustomResourceDefinitions: Structural schemas"
PRUNING = "CustomResourceDefinitions: Field pruning"
DEFAULTING = "CustomResourceDefinitions: Defaulting"
VALIDATION = "CustomResourceDefinitions: Validation"
OBSERVED = "observed on 1.34.2"
SET = {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT}
KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT, "value": NUMBER}},
}


@behaviour(400, "Fields that a schema does not name are dropped, at any depth", source=PRUNING)
def test_pruning(api: Api) -> None:
    inner = {"type": "object", "properties": {"known": TEXT}}
    with served(api, version(thing(inner=inner, list={"type": "array", "items": inner}))) as kind:
        made = kind.create(inner={"known": "x", "other": 1}, list=[{"other": 2}], more=3)
    assert made["spec"] == {"inner": {"known": "x"}, "list": [{}]}


@behaviour(
    401,
    "x-kubernetes-preserve-unknown-fields keeps what is not named there, and prunes again below named fields",
    source=f"{PRUNING}, Controlling pruning",
)
def test_preserved(api: Api) -> None:
    free = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"named": {"type": "object", "properties": {"known": TEXT}}},
    }
    with served(api, version(thing(free=free))) as kind:
        made = kind.create(free={"any": {"deep": [1]}, "named": {"known": "x", "other": 1}})
    assert made["spec"]["free"] == {"any": {"deep": [1]}, "named": {"known": "x"}}


@behaviour(402, "Defaults are filled in where a field is missing, also inside of defaults", source=DEFAULTING)
def test_defaults(api: Api) -> None:
    inner = {"type": "object", "default": {}, "properties": {"n": {**NUMBER, "default": 5}, "s": TEXT}}
    with served(api, version(thing(inner=inner, word={**TEXT, "default": "w"}))) as kind:
        assert kind.create("a", word="own")["spec"] == {"inner": {"n": 5}, "word": "own"}
        assert kind.create("b", inner={"s": "x"})["spec"] == {"inner": {"n": 5, "s": "x"}, "word": "w"}


@behaviour(403, "Null where null is not allowed is dropped if there is a default, which then counts", source=DEFAULTING)
def test_null_and_default(api: Api) -> None:
    fields = {"a": {**NUMBER, "default": 1}, "b": {**NUMBER, "nullable": True, "default": 2}, "c": NUMBER}
    with served(api, version(thing(**fields))) as kind:
        assert kind.create(a=None, b=None, c=None)["spec"] == {"a": 1, "b": None}


@behaviour(405, "A value of another type is refused, saying what was wanted and found", source=VALIDATION)
def test_types(api: Api) -> None:
    fields = {"s": TEXT, "i": NUMBER, "n": {"type": "number"}, "b": {"type": "boolean"}, "o": {"type": "object"}}
    with served(api, version(thing(**fields))) as kind:
        found = kind.refused(s=1, i="1", n=True, b="true", o=[])
    for field, wanted, got in (
        ("spec.s", "string", "integer"),
        ("spec.i", "integer", "string"),
        ("spec.n", "number", "boolean"),
        ("spec.b", "boolean", "string"),
        ("spec.o", "object", "array"),
    ):
        assert any(one.startswith(f"{field}: ") and f'must be of type {wanted}: "{got}"' in one for one in found), found


@behaviour(
    406, "A number with a fraction is no integer; a whole number is one, however it is written", source=VALIDATION
)
def test_integers(api: Api) -> None:
    with served(api, version(thing(i=NUMBER))) as kind:
        assert kind.create("a", i=3.0)["spec"] == {"i": 3}
        assert any("must be of type integer" in one for one in kind.refused(i=3.5))


@behaviour(407, "x-kubernetes-int-or-string takes integers and strings and nothing else", source=STRUCTURAL)
def test_int_or_string(api: Api) -> None:
    with served(api, version(thing(port={"x-kubernetes-int-or-string": True}))) as kind:
        assert kind.create("a", port=80)["spec"]["port"] == 80
        assert kind.create("b", port="http")["spec"]["port"] == "http"
        for wrong in (True, 1.5, {}):
            assert any("must be of type integer,string" in one for one in kind.refused(port=wrong))


@behaviour(408, "Bounds of numbers: minimum, maximum, exclusive ones, multipleOf", source=VALIDATION)
def test_number_bounds(api: Api) -> None:
    fields = {
        "least": {**NUMBER, "minimum": 2},
        "most": {**NUMBER, "maximum": 2, "exclusiveMaximum": True},
        "even": {**NUMBER, "multipleOf": 2},
    }
    with served(api, version(thing(**fields))) as kind:
        kind.create(least=2, most=1, even=4)
        found = " ".join(kind.refused(least=1, most=2, even=3))
    for wanted in ("greater than or equal to 2", "less than 2", "multiple of 2"):
        assert wanted in found, found


@behaviour(409, "Bounds of texts: length in characters, pattern, enum", source=VALIDATION)
def test_text_bounds(api: Api) -> None:
    fields = {
        "short": {**TEXT, "maxLength": 2},
        "word": {**TEXT, "pattern": "^[a-z]+$"},
        "one": {**TEXT, "enum": ["a", "b"]},
    }
    with served(api, version(thing(**fields))) as kind:
        kind.create(short="éé", word="abc", one="b")
        found = kind.refused(short="abc", word="ABC", one="c")
    assert any("Too long: may not be more than 2" in one for one in found), found
    assert any("should match '^[a-z]+$'" in one for one in found), found
    assert any('Unsupported value: "c": supported values: "a", "b"' in one for one in found), found


@behaviour(410, "Bounds of lists and maps: numbers of items and properties", source=VALIDATION)
def test_size_bounds(api: Api) -> None:
    fields = {
        "few": {"type": "array", "maxItems": 1, "items": TEXT},
        "some": {"type": "array", "minItems": 1, "items": TEXT},
        "map": {"type": "object", "maxProperties": 1, "additionalProperties": TEXT},
    }
    with served(api, version(thing(**fields))) as kind:
        kind.create(few=["a"], some=["a"], map={"a": "b"})
        found = " ".join(kind.refused(few=["a", "b"], some=[], map={"a": "b", "c": "d"}))
    for wanted in ("spec.few: Too many: 2: ", "should have at least 1 items", "spec.map: Too many: 2: "):
        assert wanted in found, found


@behaviour(411, "A required field that is missing is named with its place", source=VALIDATION)
def test_required(api: Api) -> None:
    inner = {"type": "object", "required": ["must"], "properties": {"must": TEXT}}
    with served(api, version(thing(list={"type": "array", "items": inner}))) as kind:
        answer = api("POST", kind.path(), kind.body(list=[{"must": "x"}, {}]))
        answer.refused(422, "Invalid")
    assert answer.causes() == {("spec.list[1].must", "FieldValueRequired")}


@behaviour(412, "Formats of texts are checked: date-time, date, duration, byte, uri, ipv4, email", source=VALIDATION)
def test_formats(api: Api) -> None:
    formats = ("date-time", "date", "duration", "byte", "ipv4", "email", "uuid")
    good = (
        "2024-01-01T00:00:00Z",
        "2024-01-01",
        "1h30m",
        "aGk=",
        "10.0.0.1",
        "a@b.c",
        "123e4567-e89b-12d3-a456-426614174000",
    )
    fields = {f"f{at}": {**TEXT, "format": one} for at, one in enumerate(formats)}
    with served(api, version(thing(**fields))) as kind:
        kind.create(**{f"f{at}": one for at, one in enumerate(good)})
        found = kind.refused(**{f"f{at}": "no such thing" for at in range(len(formats))})
    assert {one.partition(":")[0] for one in found} >= {f"spec.f{at}" for at in range(len(formats))}, found


@behaviour(413, "Formats that are not known are not checked", source=VALIDATION)
def test_unknown_formats(api: Api) -> None:
    with served(api, version(thing(s={**TEXT, "format": "nobody-knows"}))) as kind:
        assert kind.create(s="anything")["spec"] == {"s": "anything"}


@behaviour(414, "A list of list type set has no value twice", source="API reference: x-kubernetes-list-type")
def test_sets(api: Api) -> None:
    with served(api, version(thing(set=SET))) as kind:
        answer = api("POST", kind.path(), kind.body(set=["a", "b", "a"]))
        answer.refused(422, "Invalid")
    assert messages(answer) == ['spec.set[2]: Duplicate value: "a"']


@behaviour(415, "A list of list type map has no keys twice", source="API reference: x-kubernetes-list-map-keys")
def test_keyed_lists(api: Api) -> None:
    with served(api, version(thing(keyed=KEYED))) as kind:
        answer = api("POST", kind.path(), kind.body(keyed=[{"name": "a"}, {"name": "a", "value": 1}]))
        answer.refused(422, "Invalid")
    assert messages(answer) == ['spec.keyed[1]: Duplicate value: {"name":"a"}']


@behaviour(416, "anyOf, oneOf, not and allOf hold beside the structure", source=STRUCTURAL)
def test_combinators(api: Api) -> None:
    schema = thing(a=NUMBER, b=NUMBER)
    schema["properties"]["spec"]["oneOf"] = [{"required": ["a"]}, {"required": ["b"]}]
    with served(api, version(schema)) as kind:
        kind.create(a=1)
        assert any("must validate one and only one schema" in one for one in kind.refused(a=1, b=2))


@behaviour(417, "metadata of custom objects is checked as that of all others", source=VALIDATION)
def test_metadata(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        body = kind.body("UPPER", n=1)
        body["metadata"]["labels"] = {"a b": "c"}
        answer = api("POST", kind.path(), body).refused(422, "Invalid")
    assert answer.causes() >= {("metadata.name", "FieldValueInvalid"), ("metadata.labels", "FieldValueInvalid")}


@behaviour(418, "An embedded resource has to have kind, apiVersion and a name that is one", source=STRUCTURAL)
def test_embedded_resources(api: Api) -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    with served(api, version(thing(inner=inner))) as kind:
        kind.create(inner={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"any": 1}})
        answer = api("POST", kind.path(), kind.body("b", inner={"kind": "Pod"})).refused(422, "Invalid")
    assert ("spec.inner.apiVersion", "FieldValueRequired") in answer.causes()


@behaviour(
    419,
    "A value that was wrong before and is not touched does not stop an update",
    source="KEP-4008: CRD validation ratcheting",
)
def test_ratcheting(api: Api) -> None:
    with served(api, version(thing(n=NUMBER, s=TEXT))) as kind:
        kind.create(n=5, s="x")
        obj = api.get(kind.definition)
        obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["n"]["maximum"] = 3
        api.put(kind.definition, obj)
        api.eventually(lambda: api("POST", kind.path(), kind.body("b", n=5)).status == 422)
        assert kind.change({"spec": {"s": "y"}}).status == 200
        kind.change({"spec": {"n": 6}}).refused(422, "Invalid")


@behaviour(420, "A schema without a type at its root is refused", source=STRUCTURAL)
def test_root_type(api: Api) -> None:
    answer = api("POST", DEFINITIONS, definition(api, version({"properties": {}})))
    answer.refused(422, "Invalid")
    assert any("type: Required value: must not be empty at the root" in one for one in messages(answer)), messages(
        answer
    )


@behaviour(421, "A schema that is not structural is refused, with each place that is not", source=STRUCTURAL)
def test_not_structural(api: Api) -> None:
    schema = thing(untyped={"properties": {"a": TEXT}})
    schema["properties"]["spec"]["anyOf"] = [{"properties": {"b": {"type": "string"}}}]
    answer = api("POST", DEFINITIONS, definition(api, version(schema))).refused(422, "Invalid")
    found = " ".join(messages(answer))
    assert (
        "properties[spec].properties[untyped].type: Required value: must not be empty for specified object fields"
        in found
    )
    assert "must be empty to be structural" in found, found


@behaviour(422, "A default that its own schema refuses is refused", source=DEFAULTING)
def test_wrong_defaults(api: Api) -> None:
    answer = api("POST", DEFINITIONS, definition(api, version(thing(n={**NUMBER, "default": "x"}))))
    answer.refused(422, "Invalid")
    assert any("properties[n].default" in one for one in messages(answer)), messages(answer)


@behaviour(423, "List map keys have to be fields of the items that are required or have defaults", source=STRUCTURAL)
def test_wrong_keys(api: Api) -> None:
    keyed = {**KEYED, "items": {"type": "object", "properties": {"name": TEXT}}}
    answer = api("POST", DEFINITIONS, definition(api, version(thing(keyed=keyed)))).refused(422, "Invalid")
    assert any(
        "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property" in one
        for one in messages(answer)
    )


@behaviour(424, "Numbers stay as they were written: large integers and fractions", source=OBSERVED)
def test_numbers(api: Api) -> None:
    with served(api, version(thing(i={**NUMBER, "format": "int64"}, n={"type": "number"}))) as kind:
        made = kind.create(i=9007199254740993, n=0.1)
    assert made["spec"] == {"i": 9007199254740993, "n": 0.1}
