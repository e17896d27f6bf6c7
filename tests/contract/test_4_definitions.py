"""Custom kinds: definitions, their versions, what they serve. Numbers 465 to 499."""

from asking import APPLY, JSON_PATCH, MERGE, Answer, Api, query
from behaviours import behaviour
from customs import DEFINITIONS, NUMBER, TEXT, Custom, definition, messages, served, thing, version

CRDS = "CustomResourceDefinitions"
VERSIONS = "Versions in CustomResourceDefinitions"
OBSERVED = "observed on 1.34.2"
OTHER = {"storage": False}


@behaviour(465, "A definition is established, its names accepted, and then served", source=CRDS)
def test_established(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        status = api.get(kind.definition)["status"]
        assert {one["type"]: one["status"] for one in status["conditions"]}.items() >= {
            ("NamesAccepted", "True"),
            ("Established", "True"),
        }
        assert status["acceptedNames"]["plural"] == "things"
        assert status["storedVersions"] == ["v1"]


@behaviour(466, "A definition's name is plural and group", source=CRDS)
def test_name(api: Api) -> None:
    obj = definition(api, version(thing(n=NUMBER)))
    obj["metadata"]["name"] = f"other.{obj['spec']['group']}"
    answer = api("POST", DEFINITIONS, obj).refused(422, "Invalid")
    assert any(one.startswith("metadata.name: ") and "must be spec.names.plural" in one for one in messages(answer))


@behaviour(467, "Exactly one version is the storage version", source=VERSIONS)
def test_one_storage_version(api: Api) -> None:
    schema = thing(n=NUMBER)
    for versions in ([version(schema), version(schema, "v2")], [version(schema, **OTHER)]):
        answer = api("POST", DEFINITIONS, definition(api, *versions)).refused(422, "Invalid")
        assert any("must have exactly one version marked as storage version" in one for one in messages(answer))


@behaviour(468, "A definition whose names another kind of the group has is not served", source=CRDS)
def test_names_taken(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        names = {"plural": "others", "singular": "other", "kind": "Thing", "listKind": "OtherList"}
        obj = definition(api, version(thing(n=NUMBER)), names=names)
        obj["metadata"]["name"] = f"others.{kind.group}"
        with api.made(DEFINITIONS, obj):

            def refused() -> bool:
                found = api.get(f"{DEFINITIONS}/others.{kind.group}")["status"].get("conditions") or ()
                return any(one["type"] == "NamesAccepted" and one["status"] == "False" for one in found)

            api.eventually(refused)
            assert api("GET", api.path(f"{kind.group}/v1", "others")).status == 404


@behaviour(469, "An object written in one version is read in every other that is served", source=VERSIONS)
def test_versions(api: Api) -> None:
    with served(api, version(thing(n=NUMBER, m=NUMBER)), version(thing(n=NUMBER), "v2", **OTHER)) as kind:
        api.create(kind.path(version="v2"), kind.body(version="v2", n=1))
        assert api.get(kind.path("a"))["apiVersion"] == f"{kind.group}/v1"
        assert api.get(kind.path("a", version="v2"))["apiVersion"] == f"{kind.group}/v2"
        kind.create("b", n=1, m=2)
        assert api.get(kind.path("b", version="v2"))["spec"] == {"n": 1}
        assert api.get(kind.path("b"))["spec"] == {"n": 1, "m": 2}


@behaviour(470, "A version that is not served is not found", source=VERSIONS)
def test_not_served(api: Api) -> None:
    with served(api, version(thing(n=NUMBER)), version(thing(n=NUMBER), "v2", served=False, **OTHER)) as kind:
        assert api("GET", kind.path(version="v2")).status == 404


@behaviour(
    471, "A new storage version joins storedVersions, and an old one stays until it is taken out", source=VERSIONS
)
def test_stored_versions(api: Api) -> None:
    with served(api, version(thing(n=NUMBER)), version(thing(n=NUMBER), "v2", **OTHER)) as kind:
        obj = api.get(kind.definition)
        for one in obj["spec"]["versions"]:
            one["storage"] = one["name"] == "v2"
        api.put(kind.definition, obj)
        api.eventually(lambda: api.get(kind.definition)["status"]["storedVersions"] == ["v1", "v2"])
        obj = api.get(kind.definition)
        obj["spec"]["versions"] = [one for one in obj["spec"]["versions"] if one["name"] == "v2"]
        answer = api("PUT", kind.definition, obj).refused(422, "Invalid")
        assert any(
            "status.storedVersions[0]" in one and "missing from spec.versions" in one for one in messages(answer)
        )


@behaviour(472, "A deprecated version warns whoever uses it", source=f"{VERSIONS}: Version deprecation")
def test_deprecation(api: Api) -> None:
    own = version(thing(n=NUMBER), "v2", deprecated=True, deprecationWarning="v2 goes away", **OTHER)
    fine = [version(thing(n=NUMBER)), version(thing(n=NUMBER), "v4", **OTHER)]
    with served(api, *fine, version(thing(n=NUMBER), "v3", deprecated=True, **OTHER), own) as kind:
        assert api("GET", kind.path(version="v2")).warnings == ["v2 goes away"]
        assert api("GET", kind.path(version="v3")).warnings == [
            f"{kind.group}/v3 Thing is deprecated; use {kind.group}/v4 Thing"
        ]
        assert api("GET", kind.path()).warnings == []


@behaviour(
    473,
    "With a status subresource, spec and status are written apart, and only spec raises the generation",
    source=f"{CRDS}: Status subresource",
)
def test_status(api: Api) -> None:
    schema = thing(n=NUMBER)
    schema["properties"]["status"] = {"type": "object", "properties": {"word": TEXT}}
    with served(api, version(schema, subresources={"status": {}})) as kind:
        body = {**kind.body(n=1), "status": {"word": "early"}}
        assert "status" not in api.create(kind.path(), body)
        written = api.merge(kind.path("a", "status"), {"spec": {"n": 9}, "status": {"word": "x"}})
        assert (written["spec"], written["status"], written["metadata"]["generation"]) == ({"n": 1}, {"word": "x"}, 1)
        changed = api.merge(kind.path("a"), {"spec": {"n": 2}, "status": {"word": "y"}})
        assert (changed["spec"], changed["status"], changed["metadata"]["generation"]) == ({"n": 2}, {"word": "x"}, 2)


@behaviour(474, "Without a status subresource, any change raises the generation", source=f"{CRDS}: Status subresource")
def test_no_status(api: Api) -> None:
    schema = thing(n=NUMBER)
    schema["properties"]["status"] = {"type": "object", "properties": {"word": TEXT}}
    with served(api, version(schema)) as kind:
        kind.create(n=1)
        changed = api.merge(kind.path("a"), {"status": {"word": "x"}})
        assert (changed["status"], changed["metadata"]["generation"]) == ({"word": "x"}, 2)


@behaviour(
    475,
    "With a scale subresource, autoscaling/v1 Scale reads and writes the replicas",
    source=f"{CRDS}: Scale subresource",
)
def test_scale(api: Api) -> None:
    schema = thing(replicas={**NUMBER, "minimum": 0})
    schema["properties"]["status"] = {"type": "object", "properties": {"replicas": NUMBER, "selector": TEXT}}
    paths = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    with served(api, version(schema, subresources={"status": {}, "scale": paths})) as kind:
        kind.create(replicas=2)
        api.merge(kind.path("a", "status"), {"status": {"replicas": 1, "selector": "a=b"}})
        scale = api.get(kind.path("a", "scale"))
        assert (scale["kind"], scale["spec"], scale["status"]) == (
            "Scale",
            {"replicas": 2},
            {"replicas": 1, "selector": "a=b"},
        )
        api.merge(kind.path("a", "scale"), {"spec": {"replicas": 5}})
        assert api.get(kind.path("a"))["spec"] == {"replicas": 5}


@behaviour(
    476,
    "Printer columns show fields in tables, in the order and with the types that were given",
    source=f"{CRDS}: Additional printer columns",
)
def test_columns(api: Api) -> None:
    columns = [
        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "description": "how many"},
        {"name": "Word", "type": "string", "jsonPath": ".spec.s", "priority": 1},
    ]
    with served(api, version(thing(n=NUMBER, s=TEXT), additionalPrinterColumns=columns)) as kind:
        kind.create(n=4, s="w")
        table = api.get(kind.path(), accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert [(one["name"], one["type"], one["priority"]) for one in table["columnDefinitions"]][1:] == [
        ("N", "integer", 0),
        ("Word", "string", 1),
    ]
    assert table["rows"][0]["cells"] == ["a", 4, "w"]


@behaviour(477, "Selectable fields may be selected by, other fields may not", source=f"{CRDS}: Field selectors")
def test_selectable_fields(api: Api) -> None:
    with served(api, version(thing(s=TEXT, n=NUMBER), selectableFields=[{"jsonPath": ".spec.s"}])) as kind:
        kind.create("a", s="x", n=1)
        kind.create("b", s="y", n=1)
        found = api.get(f"{kind.path()}?{query(fieldSelector='spec.s=y')}")["items"]
        assert [one["metadata"]["name"] for one in found] == ["b"]
        api("GET", f"{kind.path()}?{query(fieldSelector='spec.n=1')}").refused(
            400, "BadRequest", "field label not supported: spec.n"
        )


@behaviour(478, "Objects outside of namespaces are served at the group's own path", source=CRDS)
def test_cluster_scope(api: Api) -> None:
    obj = definition(api, version(thing(n=NUMBER)), scope="Cluster")
    group = obj["spec"]["group"]
    with api.made(DEFINITIONS, obj):
        path = f"/apis/{group}/v1/things"
        api.eventually(lambda: api("GET", path).status == 200)
        made = api.create(
            path, {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"n": 1}}
        )
        assert "namespace" not in made["metadata"]
        api.delete(f"{path}/a")


@behaviour(479, "Discovery tells the kind with its verbs, short names and categories", source=CRDS)
def test_discovery(api: Api) -> None:
    names = {
        "plural": "things",
        "singular": "thing",
        "kind": "Thing",
        "listKind": "ThingList",
        "shortNames": ["tg"],
        "categories": ["all"],
    }
    with served(api, version(thing(n=NUMBER), subresources={"status": {}}), names=names) as kind:
        found = {one["name"]: one for one in api.get(f"/apis/{kind.group}/v1")["resources"]}
    assert (found["things"]["shortNames"], found["things"]["categories"], found["things"]["kind"]) == (
        ["tg"],
        ["all"],
        "Thing",
    )
    assert sorted(found["things"]["verbs"]) == [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ]
    assert sorted(found["things/status"]["verbs"]) == ["get", "patch", "update"]


@behaviour(
    480,
    "With its definition go all objects of a kind, and the kind is no longer found",
    source=f"{CRDS}: Delete a CustomResourceDefinition",
)
def test_deletion(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        kind.create(n=1)
        api.delete(kind.definition)
        api.eventually(lambda: api("GET", kind.definition).status == 404)
        api.eventually(lambda: api("GET", kind.path()).status == 404)
        api.create(DEFINITIONS, definition(api, version(thing(n=NUMBER))))
        api.eventually(lambda: api("GET", kind.path()).status == 200)
        assert api.get(kind.path())["items"] == []


@behaviour(481, "Group and scope of a definition cannot be changed", source=OBSERVED)
def test_immutable(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        obj = api.get(kind.definition)
        obj["spec"]["scope"] = "Cluster"
        answer = api("PUT", kind.definition, obj).refused(422, "Invalid")
        assert any(one.startswith("spec.scope: ") and "field is immutable" in one for one in messages(answer))


@behaviour(482, "A list kind and a singular that were not given are derived from the kind", source=CRDS)
def test_derived_names(api: Api) -> None:
    with served(api, version(thing(n=NUMBER)), names={"plural": "things", "kind": "Thing"}) as kind:
        names = api.get(kind.definition)["spec"]["names"]
        assert (names["singular"], names["listKind"]) == ("thing", "ThingList")
        assert api.get(kind.path())["kind"] == "ThingList"


@behaviour(483, "A body of another kind or version than the path is refused", source=OBSERVED)
def test_other_kinds(api: Api) -> None:
    with served(api, version(thing(n=NUMBER))) as kind:
        other = {**kind.body(n=1), "kind": "Other"}
        answer = api("POST", kind.path(), other).refused(422, "Invalid", name="a", kind="Other", group=kind.group)
        assert messages(answer) == ['kind: Invalid value: "Other": must be Thing']
        older = {**kind.body(n=1), "apiVersion": f"{kind.group}/v9"}
        api("POST", kind.path(), older).refused(400, "BadRequest")


@behaviour(484, "A version name has to be one that clients can order", source=VERSIONS)
def test_version_names(api: Api) -> None:
    answer = api("POST", DEFINITIONS, definition(api, version(thing(n=NUMBER), "V1!"))).refused(422, "Invalid")
    assert any(one.startswith("spec.versions[0].name: ") for one in messages(answer))


@behaviour(485, "No patch and no apply of a custom object may leave it without a version", source=OBSERVED)
def test_changes_without_a_version(api: Api) -> None:
    with served(api, version(thing(n=NUMBER), subresources={"status": {}})) as kind:
        kind.create(n=1)
        applied = {**kind.body("a", n=1), "metadata": {"name": "a", "resourceVersion": None}}
        for place in (kind.path("a"), kind.path("a", "status")):
            for stated in (None, "", "0"):
                patch = {"metadata": {"resourceVersion": stated}}
                _without_version(kind, api("PATCH", place, patch, content_type=MERGE))
            removal = [{"op": "remove", "path": "/metadata/resourceVersion"}]
            _without_version(kind, api("PATCH", place, removal, content_type=JSON_PATCH))
        _without_version(kind, api("PATCH", f"{kind.path('a')}?fieldManager=m", applied, content_type=APPLY))
        kind.change({"metadata": {"resourceVersion": None, "name": "b"}}).refused(400, "BadRequest")


def _without_version(kind: Custom, answer: Answer) -> None:
    answer.refused(422, "Invalid", name="a", kind="things", group=kind.group)
    assert answer.causes() == {("metadata.resourceVersion", "FieldValueInvalid")}
    assert "must be specified for an update" in answer.body["message"]


@behaviour(
    486, "A number that a Scale writes is held to the schema of the object, which the refusal names", source=OBSERVED
)
def test_bad_scale(api: Api) -> None:
    schema = thing(replicas={**NUMBER, "maximum": 5})
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    with served(api, version(schema, subresources={"scale": paths})) as kind:
        kind.create(replicas=2)
        place = kind.path("a", "scale")
        for wrong, field in ((6, "spec.replicas"), (-1, ".spec.replicas")):
            answer = api("PATCH", place, {"spec": {"replicas": wrong}}, content_type=MERGE)
            answer.refused(422, "Invalid", name="a", kind="Thing", group=kind.group)
            assert answer.causes() == {(field, "FieldValueInvalid")}
        _without_version(kind, api("PATCH", place, {"metadata": {"resourceVersion": "0"}}, content_type=MERGE))
        api.merge(place, {"metadata": {"resourceVersion": None, "labels": {"a": "-"}, "uid": "x"}})
        scale = api.get(place)
        scale["metadata"]["uid"] = "other"
        api("PUT", place, scale).refused(409, "Conflict", name="a")
