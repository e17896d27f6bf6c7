"""What definitions may say, and what comes of it: names, versions, formats, selection, deletion. Numbers 425 to 434
and 487 to 499."""

from typing import Any

from asking import MERGE, Answer, Api, query
from behaviours import behaviour
from customs import DEFINITIONS, NUMBER, TEXT, definition, messages, rules, served, thing, version

CRDS = "CustomResourceDefinitions"
STRUCTURAL = f"{CRDS}: Specifying a structural schema"
OBSERVED = "observed on 1.34.2"
OTHER = {"storage": False}


def tried(api: Api, *versions: Any, annotations: Any = None, **spec: Any) -> Answer:
    """A definition as a dry run."""
    obj = definition(api, *versions, **spec)
    obj["metadata"]["name"] = f"things.{obj['spec']['group']}"
    if annotations:
        obj["metadata"]["annotations"] = annotations
    return api("POST", f"{DEFINITIONS}?dryRun=All", obj)


def wrong(api: Api, *versions: Any, **spec: Any) -> set[tuple[str, str]]:
    """Field and reason of what is wrong with a definition."""
    return tried(api, *versions, **spec).refused(422, "Invalid").causes()


def invalid(*fields: str) -> set[tuple[str, str]]:
    return {(field, "FieldValueInvalid") for field in fields}


def required(*fields: str) -> set[tuple[str, str]]:
    return {(field, "FieldValueRequired") for field in fields}


@behaviour(433, "Versions have names of their own, and one of them is what objects are stored as", source=OBSERVED)
def test_versions(api: Api) -> None:
    schema = thing(n=NUMBER)
    stored = "status.storedVersions"
    assert wrong(api, version(schema), version(schema, **OTHER)) == invalid("spec.versions")
    assert wrong(api, version(schema), version(schema, "v2")) == invalid("spec.versions", stored)
    assert wrong(api, version(schema, **OTHER)) == invalid("spec.versions", stored)
    assert wrong(api, version(schema, "V1")) == invalid("spec.versions[0].name", "spec.version")
    made = tried(api, version(schema, **OTHER), version(schema, "v2"))
    assert (made.status, made.body["status"]["storedVersions"]) == (201, ["v2"])


@behaviour(434, "A conversion by webhook says where it is called and by which reviews; none says neither", source=CRDS)
def test_conversion(api: Api) -> None:
    one = version(thing(n=NUMBER))
    client, reviews = "spec.conversion.webhookClientConfig", "spec.conversion.conversionReviewVersions"

    def of(**webhook: Any) -> set[tuple[str, str]]:
        return wrong(api, one, conversion={"strategy": "Webhook", **({"webhook": webhook} if webhook else {})})

    url = {"url": "https://example.com/convert"}
    assert of() == required(client, reviews)
    assert of(conversionReviewVersions=["v1"], clientConfig={}) == required(client)
    assert of(conversionReviewVersions=["v9"], clientConfig=url) == invalid(reviews)
    assert of(conversionReviewVersions=["v1"], clientConfig={"url": "http://a.b"}) == invalid(f"{client}.url")
    none = {"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}
    assert wrong(api, one, conversion=none) == {(reviews, "FieldValueForbidden")}


@behaviour(
    487, "Types that a schema's root, keys, atomic maps and the server's own fields cannot have", source=STRUCTURAL
)
def test_types(api: Api) -> None:
    def at(schema: Any) -> set[tuple[str, str]]:
        found = wrong(api, version(schema))
        return {(field.removeprefix("spec.validation.openAPIV3Schema."), reason) for field, reason in found}

    forbidden = "FieldValueForbidden"
    assert at({"type": "object", "nullable": True}) == {("nullable", forbidden)}
    own = {"type": "object", "properties": {"apiVersion": NUMBER, "metadata": {"type": "object", "default": {}}}}
    assert at(own) == {
        ("properties[apiVersion].type", "FieldValueInvalid"),
        ("properties[metadata].default", forbidden),
    }
    place = "properties[spec].properties[a]"
    assert at(thing(a={"type": "null"})) == {(f"{place}.type", forbidden), (f"{place}.type", "FieldValueNotSupported")}
    assert at(thing(a={**TEXT, "x-kubernetes-map-type": "atomic"})) == invalid(f"{place}.type")
    items = {"type": "object", "required": ["n"], "properties": {"n": TEXT}}
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "n"], "items": items}
    assert at(thing(a=keyed)) == invalid(f"{place}.x-kubernetes-list-map-keys")


@behaviour(488, "Kinds in Kubernetes' own groups say who approved them", source="KEP-1111")
def test_approval(api: Api) -> None:
    approval, group = "api-approved.kubernetes.io", f"{api.namespace}.k8s.io"
    field = f"metadata.annotations[{approval}]"
    one = version(thing(n=NUMBER))
    assert wrong(api, one, group=group) == required(field)
    assert wrong(api, one, group=group, annotations={approval: "yes"}) == invalid(field)
    for text in ("unapproved, a test", "https://example.com/approval"):
        assert tried(api, one, group=group, annotations={approval: text}).status == 201


@behaviour(
    489, "Fields to select by are plain fields of the schema, each named once", source=f"{CRDS}: Field selectors"
)
def test_selectable(api: Api) -> None:
    schema = thing(t=TEXT, many={"type": "array", "items": TEXT})

    def of(*paths: str) -> list[str]:
        fields = [{"jsonPath": path} for path in paths]
        return messages(tried(api, version(schema, selectableFields=fields)).refused(422, "Invalid"))

    at = "spec.selectableFields[0].jsonPath: "
    assert of("") == [f"{at}Required value"]
    assert of("spec.t") == [f'{at}Invalid value: "spec.t": is an invalid path: expected [ or . but got: spec']
    assert of(".spec.x")[0].endswith("is an invalid path: does not refer to a valid field")
    assert "must point to a field of type string, boolean or integer" in of(".spec.many")[0]
    assert of(".spec.t", ".spec.t") == ['spec.selectableFields[1].jsonPath: Duplicate value: ".spec.t"']


@behaviour(
    490, "A scale says where its numbers are; only deprecated versions warn", source=f"{CRDS}: Scale subresource"
)
def test_parts(api: Api) -> None:
    schema = thing(n=NUMBER)
    scale = "spec.subresources.scale"
    assert wrong(api, version(schema, subresources={"scale": {}})) == required(
        f"{scale}.specReplicasPath", f"{scale}.statusReplicasPath"
    )
    warned = version(schema, deprecationWarning="goes away")
    assert wrong(api, warned) == invalid("spec.versions[0].deprecationWarning")


@behaviour(491, "A format that nothing checks is warned of, once for each field that has it", source=OBSERVED)
def test_unknown_formats(api: Api) -> None:
    schema = thing(a={**TEXT, "format": "sonnet"}, b={**TEXT, "format": "uuid4"})
    answer = tried(api, version(schema))
    assert (answer.status, answer.warnings) == (201, ['unrecognized format \\"sonnet\\"'])


FORMATS = {
    "uuid4": ({"a987fbc9-4bed-4078-8f07-9141ba07c9f3"}, {"a987fbc9-4bed-3078-8f07-9141ba07c9f3", "x"}),
    "hostname": ({"host", "a-b", "www.example.com", "1µs"}, {"1.2.3.4", "a-b-c", "a..b", "a.b1", "x" * 64}),
    "email": ({"a@b.c", "Jane <jane@example.com>", '"a b"@c.d'}, {"a@b@c", "a b", "a@"}),
    "cidr": ({"10.0.0.0/8", "::/0"}, {"10.0.0.0", "::1"}),
    "ipv4": ({"1.2.3.4", "::ffff:1.2.3.4"}, {"1.2.3", "::1"}),
    "mac": ({"01:23:45:67:89:ab", "0123.4567.89ab"}, {"01:23:45:67:89", "x"}),
    "date": ({"2024-01-31"}, {"20240131", "2024-02-30", "2024-1-1"}),
    "date-time": ({"2024-01-31T10:00:00Z", "2024-01-31t10:00:00z"}, {"2024-01-31", "2024-01-31T25:00:00Z"}),
    "duration": ({"1h30m", "3d", "1 hour", "P1D"}, {"5", "soon"}),
    "creditcard": ({"4111 1111 1111 1111"}, {"4111111111111112"}),
    "isbn": ({"0-321-75104-3", "978-0321751041"}, {"978-0321751042"}),
    "ssn": ({"123-45-6789"}, {"123456789"}),
    "rgbcolor": ({"rgb(1, 2, 3)"}, {"rgb(256,2,3)"}),
    "hexcolor": ({"#fff", "a0b1c2"}, {"#ffff"}),
    "byte": ({"aGk="}, {"", "aGk"}),
    "uri": ({"http://example.com/a b", "/a"}, {"http://a b/", "ftp://x/%zz", "a"}),
}


@behaviour(492, "Texts of a known format are what it says", source=f"{CRDS}: Validation, formats")
def test_formats(api: Api) -> None:
    fields = {name.replace("-", "_"): {**TEXT, "format": name} for name in FORMATS}
    with served(api, version(thing(**fields))) as kind:
        path = f"{kind.path()}?dryRun=All"
        for name, (good, bad) in FORMATS.items():
            field = name.replace("-", "_")
            for text in good:
                assert api("POST", path, kind.body(**{field: text})).status == 201, (name, text)
            for text in bad:
                answer = api("POST", path, kind.body(**{field: text}))
                assert answer.status == 422, (name, text)
                assert answer.causes() == {(f"spec.{field}", "FieldValueTypeInvalid")}, (name, text)


@behaviour(493, "An embedded object is named and labelled as objects are", source=f"{CRDS}: RawExtension")
def test_embedded_metadata(api: Api) -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    with served(api, version(thing(inner=inner))) as kind:

        def causes(**more: Any) -> set[tuple[str, str]]:
            obj = {"apiVersion": "v1", "kind": "A", **more}
            return api("POST", kind.path(), kind.body(inner=obj)).refused(422, "Invalid").causes()

        assert causes(apiVersion="a/b/c", kind="A b") == invalid("spec.inner.apiVersion", "spec.inner.kind")
        assert causes(metadata={"labels": {"a b": "c"}}) == invalid("spec.inner.metadata.labels")
        assert causes(metadata={"namespace": "X Y"}) == invalid("spec.inner.metadata.namespace")
        body = kind.body(inner={"apiVersion": "v1", "kind": "A", "metadata": 5})
        answer = api("POST", kind.path(), body).refused(400, "BadRequest")
        assert "spec.inner.metadata: Invalid value: 5: json: cannot unmarshal number" in answer.body["message"]


@behaviour(
    494,
    "What an update leaves alone may stay wrong: items by their keys, other lists as a whole, rules with a warning",
    source="KEP-4008",
)
def test_ratcheting(api: Api) -> None:
    item = {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": TEXT}}
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item}
    with served(api, version(thing(t=TEXT, plain={"type": "array", "items": TEXT}, keyed=keyed))) as kind:
        kind.create(t="old", plain=["A", "b"], keyed=[{"k": "1", "v": "LONG"}])
        obj = api.get(kind.definition)
        spec = obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"]["plain"]["items"]["pattern"] = "^[a-z]$"
        spec["properties"]["keyed"]["items"]["properties"]["v"]["maxLength"] = 2
        spec["x-kubernetes-validations"] = rules("self.t != 'old'")
        api.put(kind.definition, obj)
        api.eventually(lambda: api("POST", f"{kind.path()}?dryRun=All", kind.body("x", t="old")).status == 422)

        def changed(**fields: Any) -> Answer:
            return kind.change({"spec": fields})

        answer = kind.change({"metadata": {"labels": {"a": "b"}}})
        (warning,) = answer.warnings
        assert warning.startswith("spec: Invalid value: ")
        assert warning.endswith("failed rule: self.t != 'old'")
        fields = {field for field, _ in changed(t="new", plain=["A", "c"]).refused(422, "Invalid").causes()}
        assert fields == {"spec.plain[0]"}
        assert changed(t="new", keyed=[{"k": "0"}, {"k": "1", "v": "LONG"}]).status == 200
        answer = changed(keyed=[{"k": "1", "v": "LONGER"}]).refused(422, "Invalid")
        assert ("spec.keyed[0].v", "FieldValueTooLong") in answer.causes()


@behaviour(495, "A version's fields may be selected by, whichever version objects are stored in", source=CRDS)
def test_selection_by_version(api: Api) -> None:
    fields = [{"jsonPath": ".spec.t"}]
    first = version(thing(t=TEXT), selectableFields=fields, **OTHER)
    with served(api, first, version(thing(t=TEXT, n=NUMBER), "v2")) as kind:
        kind.create("a", t="x")
        api.create(kind.path(version="v2"), kind.body("b", version="v2", t="x"))
        kind.create("c", t="y")
        chosen = query(fieldSelector="spec.t=x")
        api.eventually(lambda: api("GET", f"{kind.path()}?{chosen}").status == 200)
        found = api.get(f"{kind.path()}?{chosen}")
        assert [one["metadata"]["name"] for one in found["items"]] == ["a", "b"]
        answer = api("GET", f"{kind.path(version='v2')}?{chosen}")
        answer.refused(400, "BadRequest", "field label not supported: spec.t")


@behaviour(
    496, "Which name of a definition is taken is said by the name; those that are free are accepted", source=CRDS
)
def test_taken_names(api: Api) -> None:
    one = version(thing(n=NUMBER))
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList", "shortNames": ["th"]}
    with served(api, one, names=names) as kind:
        others = {"plural": "others", "singular": "other", "kind": "Other", "listKind": "OtherList"}

        def said(**more: Any) -> tuple[str, str]:
            obj = definition(api, one, names={**others, **more})
            obj["metadata"]["name"] = f"others.{kind.group}"
            with api.made(DEFINITIONS, obj):
                path = f"{DEFINITIONS}/others.{kind.group}"

                def conditions() -> Any:
                    found = api.get(path)["status"].get("conditions") or ()
                    return next((one for one in found if one["type"] == "NamesAccepted"), None)

                condition = api.eventually(conditions)
                assert condition["status"] == "False"
                assert api.get(path)["status"]["acceptedNames"]["plural"] == "others"
            api.eventually(lambda: api("GET", path).status == 404)
            return condition["reason"], condition["message"]

        assert said(shortNames=["th"]) == ("ShortNamesConflict", '"th" is already in use')
        assert said(listKind="ThingList") == ("ListKindConflict", '"ThingList" is already in use')
        assert said(singular="thing") == ("SingularConflict", '"thing" is already in use')


@behaviour(497, "A definition that is being deleted says so, and its kind takes nothing new", source=CRDS)
def test_deletion(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        held = kind.body("held")
        held["metadata"]["finalizers"] = ["example.com/held"]
        api.create(kind.path(), held)
        gone = api.delete(kind.definition)
        assert "deletionGracePeriodSeconds" not in gone["metadata"]
        assert gone["metadata"]["generation"] == 1

        def ending() -> Any:
            found = api.get(kind.definition)["status"]["conditions"]
            return any(
                (one["type"], one["status"], one["reason"]) == ("Terminating", "True", "InstanceDeletionInProgress")
                for one in found
            )

        api.eventually(ending)
        api.eventually(lambda: api("POST", kind.path(), kind.body("late")).status == 403)
        why = "create not allowed while custom resource definition is terminating"
        text = f'things.{kind.group} "late" is forbidden: {why}'
        answer = api("POST", kind.path(), kind.body("late"))
        answer.refused(403, "Forbidden", text, name="late", kind="things", group=kind.group)
        kind.change({"metadata": {"finalizers": None}}, "held")
        api.eventually(lambda: api("GET", kind.definition).status == 404)


@behaviour(498, "Who is refused by a deprecated version is warned of it, too", source=OBSERVED)
def test_warned_refusals(api: Api) -> None:
    old = version(thing(n=NUMBER), deprecated=True)
    with served(api, old) as kind:
        warning = [f"{kind.group}/v1 Thing is deprecated"]
        assert api("GET", kind.path("missing")).warnings == warning
        assert api("POST", kind.path(), kind.body(n="x")).warnings == warning


@behaviour(499, "A column without a description says where its values come from", source=OBSERVED)
def test_columns(api: Api) -> None:
    columns = [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}]
    with served(api, version(thing(n=NUMBER), additionalPrinterColumns=columns)) as kind:
        found = api.get(kind.path(), accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        text = "Custom resource definition column (in JSONPath format): .spec.n"
        assert found["columnDefinitions"][1]["description"] == text


@behaviour(425, "Whole numbers are multiples of the whole part of a factor", source=OBSERVED)
def test_multiples(api: Api) -> None:
    schema = thing(half={"type": "number", "multipleOf": 0.5}, five={"type": "integer", "multipleOf": 5, "maximum": 9})
    with served(api, version(schema)) as kind:
        assert api("POST", f"{kind.path()}?dryRun=All", kind.body(half=1.5)).status == 201
        text = "spec.half: Invalid value: 0: factor MultipleOf declared for spec.half must be positive: 0"
        assert kind.refused(half=2) == [text]
        assert kind.refused(five=11) == [
            "spec.five: Invalid value: 11: spec.five in body should be a multiple of 5",
            "spec.five: Invalid value: 11: spec.five in body should be less than or equal to 9",
        ]


@behaviour(426, "A rule of the whole object names no field", source=OBSERVED)
def test_whole_object(api: Api) -> None:
    schema = {**thing(n=NUMBER), "x-kubernetes-validations": rules("self.metadata.name != 'bad'")}
    with served(api, version(schema)) as kind:
        answer = api("POST", kind.path(), kind.body("bad", n=1)).refused(422, "Invalid")
        (message,) = messages(answer)
        assert message.startswith("<nil>: Invalid value: ")
        assert message.endswith("failed rule: self.metadata.name != 'bad'")


@behaviour(427, "What a custom kind's subresources do not do is said with the kind", source=OBSERVED)
def test_subresource_methods(api: Api) -> None:
    both = {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}
    with served(api, version(thing(n=NUMBER), subresources=both)) as kind:
        kind.create(n=1)
        for name in both:
            answer = api("DELETE", kind.path("a", name))
            text = f'delete is not supported on resources of kind "things.{kind.group}"'
            answer.refused(405, "MethodNotAllowed", text, kind="things", group=kind.group)
        answer = api("PATCH", kind.path("a", "scale"), {"spec": {"replicas": -1}}, content_type=MERGE)
        answer.refused(422, "Invalid", kind="Thing", group=kind.group)
        assert messages(answer) == [".spec.n: Invalid value: -1: should be a non-negative integer"]


@behaviour(428, "A patch cannot give a custom object another version", source=OBSERVED)
def test_patched_version(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        kind.create(n=1)
        answer = kind.change({"apiVersion": "v1"}).refused(422, "Invalid", kind="Thing", group="")
        assert messages(answer) == [f'apiVersion: Invalid value: "v1": must be {kind.group}/v1']


@behaviour(429, "A list of custom objects always says whether it goes on, a Table does not", source=OBSERVED)
def test_continue(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        kind.create(n=1)
        assert api.get(kind.path())["metadata"]["continue"] == ""
        assert "continue" not in api.get(kind.path(), accept="application/json;as=Table;v=v1;g=meta.k8s.io")["metadata"]
        assert api.delete(kind.path())["metadata"]["continue"] == ""


@behaviour(430, "What a compiler says of a rule keeps its lines", source=OBSERVED)
def test_lines(api: Api) -> None:
    schema = thing(t={**TEXT, "x-kubernetes-validations": rules("self.foo()")})
    answer = tried(api, version(schema)).refused(422, "Invalid")
    assert answer.body["message"].endswith("\n | self.foo()\n | ........^")


@behaviour(431, "A null in an enum is kept, and a version that does not say so is not served", source=OBSERVED)
def test_shown(api: Api) -> None:
    one = version(thing(t={**TEXT, "nullable": True, "enum": ["a", None]}))
    del one["served"]
    found = tried(api, one)
    assert (found.status, found.body["spec"]["versions"][0]["served"]) == (201, False)
    spec = found.body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["t"]["enum"] == ["a", None]


@behaviour(432, "A finalizer of a custom object need not say whose it is, but its author is told so", source=OBSERVED)
def test_plain_finalizers(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        obj = kind.body()
        obj["metadata"]["finalizers"] = ["mine", "example.com/mine"]
        answer = api("POST", f"{kind.path()}?dryRun=All", obj)
        advice = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
        assert (answer.status, answer.warnings) == (201, [f'metadata.finalizers: \\"mine\\": {advice}'])
    plain = {"metadata": {"name": "a", "finalizers": ["mine"]}}
    lease = api("POST", f"{api.path('coordination.k8s.io/v1', 'leases')}?dryRun=All", {**plain, "spec": {}})
    assert (lease.status, lease.warnings) == (201, [])
    answer = api("POST", f"{api.core('configmaps')}?dryRun=All", plain).refused(422, "Invalid")
    assert answer.causes() == invalid("metadata.finalizers[0]")
