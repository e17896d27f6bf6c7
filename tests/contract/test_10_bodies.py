"""Bodies and patches that are not what they should be, in the words of the original. Numbers 1000 to 1019."""

from typing import Any

from asking import JSON_PATCH, MERGE, STRATEGIC, Answer, Api, config_map, deployment
from behaviours import behaviour
from customs import NUMBER, messages, served, thing, version

OBSERVED = "observed on 1.34.2"
STRATEGIC_MERGE = "Strategic Merge Patch"
MALFORMED = {
    "x": "invalid character 'x' looking for beginning of value",
    "{": "unexpected end of JSON input",
    '{"a":}': "invalid character '}' looking for beginning of value",
    '{"a":1,}': "invalid character '}' looking for beginning of object key string",
    '{"a" 1}': "invalid character '1' after object key",
    '{"a":01}': "invalid character '1' after object key:value pair",
    '{"a":1}}': "invalid character '}' after top-level value",
    "[1 2]": "invalid character '2' after array element",
    '{"a":1.}': "invalid character '}' after decimal point in numeric literal",
    '{"a":1e}': "invalid character '}' in exponent of numeric literal",
    '{"a":-}': "invalid character '}' in numeric literal",
    '{"a":"\x01"}': r"invalid character '\x01' in string literal",
    r'{"a":"\q"}': "invalid character 'q' in string escape code",
    r'{"a":"\u12G4"}': r"invalid character 'G' in \u hexadecimal character escape",
    "nul": "invalid character ' ' in literal null (expecting 'l')",
    "": "unexpected end of JSON input",
}
OF_AN_ENVELOPE = (
    "into Go value of type "
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


@behaviour(1000, "Of a body that is no JSON it is said where it ceases to be", source=OBSERVED)
def test_malformed(api: Api) -> None:
    unread = (
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error"
    )
    for text, why in MALFORMED.items():
        shown = "<empty>" if not text else text if text[0] == "{" else text.encode().hex()
        answer = api("POST", api.core("configmaps"), text.encode())
        answer.refused(400, "BadRequest")
        if text.isprintable():
            assert answer.body["message"] == f"{unread}: {why} ({shown})"
        else:
            assert answer.body["message"].startswith(f"{unread}: {why} (")


@behaviour(1001, "Of a patch that is no JSON it is said where it ceases to be", source=OBSERVED)
def test_malformed_patches(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), config_map("a"))
    for text, why in MALFORMED.items():
        api("PATCH", path, text.encode(), content_type=STRATEGIC).refused(400, "BadRequest", why)
        for kind in (MERGE, JSON_PATCH):
            api("PATCH", path, text.encode(), content_type=kind).refused(
                400, "BadRequest", f"error decoding patch: {why}"
            )


@behaviour(1002, "A body or patch of another type of JSON is refused with the types", source=OBSERVED)
def test_other_types(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), config_map("a"))
    for text, kind in (('"x"', "string"), ("5", "number"), ("[]", "array")):
        why = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        api("PATCH", path, text, content_type=STRATEGIC).refused(400, "BadRequest", why)
        api("PATCH", path, text, content_type=MERGE).refused(400, "BadRequest", f"error decoding patch: {why}")
        answer = api("POST", api.core("configmaps"), text).refused(400, "BadRequest")
        why = f"json parse error: json: cannot unmarshal {kind} {OF_AN_ENVELOPE} ({text.encode().hex()})"
        assert answer.body["message"].endswith(why)
    why = "error decoding patch: json: cannot unmarshal string into Go value of type []handlers.jsonPatchOp"
    api("PATCH", path, '"x"', content_type=JSON_PATCH).refused(400, "BadRequest", why)


def patched(api: Api, **spec: Any) -> Answer:
    """A strategic patch of a deployment's spec, as a dry run."""
    api("POST", api.path("apps/v1", "deployments"), deployment("d"))
    path = f"{api.path('apps/v1', 'deployments', 'd')}?dryRun=All"
    return api("PATCH", path, {"spec": spec}, content_type=STRATEGIC)


@behaviour(1003, "A strategic patch to a wrong type is refused as its result is restored", source=STRATEGIC_MERGE)
def test_restored(api: Api) -> None:
    def why(**spec: Any) -> str:
        (cause,) = messages(patched(api, **spec).refused(422, "Invalid"))
        return cause.rpartition('": ')[2]

    assert why(replicas="3") == "unrecognized type: int32"
    assert why(replicas=1.5) == "cannot convert float64 to int32"
    assert why(template={"spec": {"containers": "x"}}) == "cannot restore slice from string"
    assert why(template={"spec": {"containers": {}}}) == "cannot restore slice from map"
    assert patched(api, replicas=2.0).body["spec"]["replicas"] == 2


@behaviour(1004, "What a strategic patch sets has to be among the keys that it retains", source=STRATEGIC_MERGE)
def test_retained(api: Api) -> None:
    for strategy in ({"$retainKeys": ["rollingUpdate"], "type": "Recreate"}, {"$retainKeys": "type"}):
        answer = patched(api, strategy=strategy)
        answer.refused(400, "BadRequest", "invalid patch format of retainKeys")


@behaviour(1005, "A removal from a list of plain values that is no list removes nothing", source=OBSERVED)
def test_no_removal(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/a"]
    path = f"{api.core('configmaps', 'a')}"
    api.create(api.core("configmaps"), obj)
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": "example.com/a"}}
    answer = api("PATCH", path, patch, content_type=STRATEGIC)
    assert (answer.status, answer.body["metadata"]["finalizers"]) == (200, ["example.com/a"])


@behaviour(1019, "A custom object is created at a path with a name, too; the name in the body counts", source=OBSERVED)
def test_creation_at_a_name(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        assert api.create(kind.path("b"), kind.body("a", n=1))["metadata"]["name"] == "a"
        api("POST", kind.path("a"), kind.body("a", n=1)).refused(409, "AlreadyExists", name="a")
        api("POST", api.core("configmaps", "a"), {"metadata": {"name": "a"}}).refused(405, "MethodNotAllowed")
