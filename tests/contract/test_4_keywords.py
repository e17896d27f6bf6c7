"""What a schema may say at any of its places: keywords that are wrong as soon as they are there. Numbers 460 to 464."""

from typing import Any

from asking import Answer, Api
from behaviours import behaviour
from customs import DEFINITIONS, NUMBER, TEXT, definition, thing, version

OBSERVED = "observed on 1.34.2 and 1.36.3"
STRUCTURAL = "CustomResourceDefinitions: Specifying a structural schema"
AT = "spec.validation.openAPIV3Schema"
LIST = {"type": "array", "items": TEXT}
Schema = dict[str, Any]


def tried(api: Api, schema: Schema) -> Answer:
    return api("POST", f"{DEFINITIONS}?dryRun=All", definition(api, version(schema)))


def places(schema: Schema) -> dict[str, Schema]:
    """Schemas of whole objects with one in a field of the spec, in the branches that only narrow, and inside others."""
    spec = f"{AT}.properties[spec].properties[a]"
    return {
        spec: thing(a={**TEXT, **schema}),
        f"{spec}.items": thing(a={"type": "array", "items": {**TEXT, **schema}}),
        f"{spec}.additionalProperties": thing(a={"type": "object", "additionalProperties": {**TEXT, **schema}}),
        **{f"{spec}.{word}[0]": thing(a={**TEXT, word: [schema]}) for word in ("allOf", "anyOf", "oneOf")},
        f"{spec}.not": thing(a={**TEXT, "not": schema}),
    }


@behaviour(460, "Some keywords are wrong wherever they are, though they say nothing", source=OBSERVED)
def test_empty_keywords(api: Api) -> None:
    for keyword, value, reason in (
        ("$ref", "", "FieldValueForbidden"),
        ("additionalItems", False, "FieldValueForbidden"),
        ("additionalItems", {}, "FieldValueForbidden"),
        ("dependencies", {}, "FieldValueForbidden"),
        ("x-kubernetes-preserve-unknown-fields", False, "FieldValueInvalid"),
        ("x-kubernetes-list-type", "", "FieldValueNotSupported"),
        ("x-kubernetes-map-type", "", "FieldValueNotSupported"),
        ("uniqueItems", True, "FieldValueForbidden"),
        ("id", "a", "FieldValueForbidden"),
        ("definitions", {"a": {}}, "FieldValueForbidden"),
        ("patternProperties", {"a": {}}, "FieldValueForbidden"),
    ):
        for place, schema in places({keyword: value}).items():
            answer = tried(api, schema).refused(422, "Invalid")
            assert (f"{place}.{keyword}", reason) in answer.causes(), (place, keyword)
    for keyword, nothing in (("id", ""), ("uniqueItems", False), ("definitions", {}), ("patternProperties", {})):
        for schema in places({keyword: nothing}).values():
            assert tried(api, schema).status == 201, keyword
    for schema in places({"items": []}).values():
        assert tried(api, schema).status == 201


@behaviour(461, "A default, or members of any name, are for the schema itself, never for a branch", source=STRUCTURAL)
def test_keywords_of_branches(api: Api) -> None:
    for keyword, value, fine in (
        ("default", "", False),
        ("default", 0, False),
        ("additionalProperties", {}, False),
        ("additionalProperties", False, True),
        ("nullable", False, True),
        ("title", "", True),
    ):
        for place, schema in places({keyword: value}).items():
            if not place.endswith(("]", "not")) or place.endswith("[a]"):
                continue
            answer = tried(api, schema)
            assert (answer.status == 201) is fine, (place, keyword, value)
            if not fine:
                assert (f"{place}.{keyword}", "FieldValueForbidden") in answer.causes()


@behaviour(462, "Keys of a list's elements need the list type map, and a list type needs a list", source=STRUCTURAL)
def test_list_keys(api: Api) -> None:
    at = f"{AT}.properties[spec].properties[a]"
    element = {"type": "object", "properties": {"k": TEXT}, "required": ["k"]}
    keyed = {"type": "array", "items": element, "x-kubernetes-list-map-keys": ["k"]}
    for said, reason in (({}, "Required"), ({"x-kubernetes-list-type": "set"}, "Invalid")):
        answer = tried(api, thing(a={**keyed, **said})).refused(422, "Invalid")
        assert (f"{at}.x-kubernetes-list-type", f"FieldValue{reason}") in answer.causes()
    assert tried(api, thing(a={**keyed, "x-kubernetes-list-type": "map"})).status == 201
    answer = tried(api, thing(a={"type": "object", "x-kubernetes-list-type": "atomic"})).refused(422, "Invalid")
    assert answer.causes() == {(f"{at}.type", "FieldValueInvalid")}
    answer = tried(api, thing(a={**LIST, "x-kubernetes-validations": [{"rule": "true", "reason": ""}]}))
    assert answer.refused(422, "Invalid").causes() == {
        (f"{at}.x-kubernetes-validations[0].reason", "FieldValueNotSupported")
    }


@behaviour(
    463, "Members of any name have no place at the root, nor beside fields unless they are anything", source=OBSERVED
)
def test_members(api: Api) -> None:
    for members in (False, True, TEXT):
        answer = tried(api, {"type": "object", "additionalProperties": members}).refused(422, "Invalid")
        assert answer.causes() == {(f"{AT}.additionalProperties", "FieldValueForbidden")}
        whole = {"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
        answer = tried(api, thing(a={"type": "object", **whole, "additionalProperties": members}))
        at = f"{AT}.properties[spec].properties[a].additionalProperties"
        assert answer.refused(422, "Invalid").causes() == {(at, "FieldValueForbidden")}
        beside = thing(a={"type": "object", "properties": {"n": NUMBER}, "additionalProperties": members})
        answer = tried(api, beside)
        if members is True:
            assert answer.status == 201
        else:
            assert answer.refused(422, "Invalid").causes() == {(at, "FieldValueForbidden")}


@behaviour(
    464, "Items that are a list are schemas all the same, and are forbidden then; others are none", source=OBSERVED
)
def test_listed_items(api: Api) -> None:
    at = f"{AT}.properties[spec].properties[a]"
    for items in ([None], [{}], [TEXT, None]):
        for place, schema in places({"items": items}).items():
            answer = tried(api, schema).refused(422, "Invalid")
            assert (f"{place}.items", "FieldValueForbidden") in answer.causes(), (place, items)
    for items, word in (([1], "number"), (["x"], "string"), ([[]], "array"), ([True], "bool"), ([None, 1], "number")):
        for schema in places({"items": items}).values():
            answer = tried(api, schema).refused(400, "BadRequest")
            assert f"json: cannot unmarshal {word} into Go struct field JSONSchemaProps." in answer.body["message"]
            assert answer.body["message"].endswith(" of type v1.JSONSchemaProps")
    for nothing in (1, "x", True, None, []):
        answer = tried(api, thing(a={"type": "array", "items": nothing})).refused(422, "Invalid")
        assert answer.causes() == {(f"{at}.items", "FieldValueRequired")}
        assert tried(api, thing(a={**TEXT, "items": nothing})).status == 201
