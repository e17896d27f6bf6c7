"""Which mistake is said first, what a status says of the object's own metadata, who owns what. Numbers 1040 to 1059."""

import json
from typing import Any

from asking import APPLY, JSON_PATCH, MERGE, STRATEGIC, Answer, Api, config_map, deployment
from behaviours import behaviour
from customs import NUMBER, Custom, messages, served, thing, version

OBSERVED = "observed on 1.34.2 and 1.36.3"
OF_STATUS = {"status": {"type": "object", "properties": {"n": NUMBER}}}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
CLAIM = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaim",
    "metadata": {"name": "a"},
    "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
}


def with_status() -> dict[str, Any]:
    schema = thing(n=NUMBER)
    return version({**schema, "properties": {**schema["properties"], **OF_STATUS}}, subresources={"status": {}})


def other(kind: Custom, **metadata: Any) -> dict[str, Any]:
    """An object that says that it is of another kind."""
    body = kind.body("a", n=1)
    return {**body, "kind": "Other", "metadata": {**body["metadata"], **metadata}}


@behaviour(1040, "That a custom object is of another kind is said behind all that is wrong with it", source=OBSERVED)
def test_kind_is_last(api: Api) -> None:
    with served(api, with_status()) as kind:
        made = kind.create("a", n=1)
        fresh = {"resourceVersion": made["metadata"]["resourceVersion"]}
        for method, path in (("PUT", kind.path("a")), ("POST", kind.path())):
            answer = api(method, path, other(kind, labels={"a": 5}))
            answer.refused(400, "BadRequest")
            assert answer.body["message"].startswith('Other in version "v1" cannot be handled as a Thing: json: cannot')
            strict = api(method, f"{path}?fieldValidation=Strict", other(kind, nope=1))
            strict.refused(400, "BadRequest")
            assert strict.body["message"].startswith('Other in version "v1" cannot be handled as a Other: strict dec')
            api(method, path, other(kind, namespace="other")).refused(400, "BadRequest")
            body = {**other(kind, **fresh), "spec": {"n": "text", "nope": 1}}
            if method == "POST":
                del body["metadata"]["resourceVersion"]
            answer = api(method, f"{path}?fieldValidation=Strict", body)
            answer.refused(422, "Invalid", name="a", kind="Other")
            assert messages(answer) == ['kind: Invalid value: "Other": must be Thing']
        api("PUT", kind.path("a"), other(kind, name="b")).refused(400, "BadRequest")
        api("PUT", kind.path("a"), other(kind, uid="x", **fresh)).refused(409, "Conflict")
        api("PUT", kind.path("b"), other(kind, name="b")).refused(404, "NotFound")


@behaviour(1041, "A patch to another kind and version of a custom object has both as causes", source=OBSERVED)
def test_patched_kind(api: Api) -> None:
    with served(api, with_status()) as kind:
        kind.create("a", n=1)
        answer = kind.change({"kind": "Other", "apiVersion": "v1"})
        answer.refused(422, "Invalid", kind="Other", group="")
        assert messages(answer) == [
            'kind: Invalid value: "Other": must be Thing',
            f'apiVersion: Invalid value: "v1": must be {kind.group}/v1',
        ]
        kind.change({"kind": "Other", "metadata": {"name": "b"}}).refused(400, "BadRequest")
        kind.change({"apiVersion": "v1", "metadata": {"resourceVersion": "1"}}).refused(409, "Conflict")
        for value in (3, ["v1"]):
            for field in ("kind", "apiVersion"):
                kind.change({field: value, "metadata": {"name": "b"}}).refused(422, "Invalid")
        nothing = [{"op": "add", "path": "/apiVersion", "value": None}]
        api("PATCH", kind.path("a"), nothing, content_type=JSON_PATCH).refused(422, "Invalid")


@behaviour(1042, "Of a status nothing else is read: it may be of any kind, nobody owns anything then", source=OBSERVED)
def test_status_of_any_kind(api: Api) -> None:
    with served(api, with_status()) as kind:
        kind.create("a", n=1)
        path = kind.path("a", "status")
        said = {"status": {"n": 1}, "kind": "Other", "apiVersion": "v1", "metadata": {"uid": "x"}}
        found = api.merge(path, said)
        assert (found["kind"], found["status"]) == ("Thing", {"n": 1})
        assert "managedFields" not in found["metadata"]
        api.merge(path, {"kind": "Other", "status": {"n": 2, "nope": 1}})
        assert api.get(kind.path("a"))["status"] == {"n": 2}
        api("PATCH", path, {"kind": 5}, content_type=MERGE).refused(422, "Invalid")


def stated(api: Api, path: str, metadata: Any) -> Answer:
    return api("PATCH", f"{path}/status", {"metadata": metadata}, content_type=MERGE)


@behaviour(1043, "Owners may be written with a status, and are looked at; a pod's stay as they are", source=OBSERVED)
def test_owners_of_a_status(api: Api) -> None:
    services, deployments = api.core("services"), api.path("apps/v1", "deployments")
    owner = api.create(api.core("configmaps"), config_map("o"))["metadata"]
    good = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner["uid"]}
    api.create(services, SERVICE)
    api.create(deployments, deployment("a"))
    api.create_pod("a", schedulerName="nobody")
    fields = [
        (f"metadata.ownerReferences.{name}", "FieldValueInvalid") for name in ("apiVersion", "kind", "name", "uid")
    ]
    for path in (f"{services}/a", f"{deployments}/a"):
        for broken in ([None], [{}]):
            answer = stated(api, path, {"ownerReferences": broken})
            answer.refused(422, "Invalid")
            assert answer.causes() == set(fields)
        two = [{**good, "controller": True}, {**good, "uid": "x", "controller": True}]
        stated(api, path, {"ownerReferences": two}).refused(422, "Invalid")
        answer = stated(api, path, {"ownerReferences": [good, good]})
        assert answer.body["metadata"]["ownerReferences"] == [good]
    answer = stated(
        api, api.core("pods", "a"), {"ownerReferences": [None], "deletionTimestamp": "2024-01-01T00:00:00Z"}
    )
    assert answer.status == 200, answer.body
    assert not {"ownerReferences", "deletionTimestamp"} & answer.body["metadata"].keys()


@behaviour(1044, "A status of a claim for devices keeps labels and finalizers, not what made its name", source=OBSERVED)
def test_status_of_a_claim(api: Api) -> None:
    claims = api.path("resource.k8s.io/v1", "resourceclaims")
    api.create(claims, CLAIM)
    said = {"labels": {"a": "b"}, "finalizers": ["x"], "annotations": {"a": "b"}, "generateName": "A B"}
    answer = stated(api, f"{claims}/a", said)
    assert answer.status == 200, answer.body
    metadata = answer.body["metadata"]
    assert (metadata["generateName"], said.keys() & metadata.keys()) == ("A B", {"generateName"})
    stated(api, f"{claims}/a", {"deletionGracePeriodSeconds": 3}).refused(422, "Invalid")


@behaviour(1045, "A changed generateName may be anything that can stand in a URL", source=OBSERVED)
def test_changed_generate_name(api: Api) -> None:
    roles, deployments = api.path("rbac.authorization.k8s.io/v1", "roles"), api.path("apps/v1", "deployments")
    api.create(roles, {"metadata": {"name": "a"}, "rules": []})
    api.create(deployments, deployment("a"))
    api.create(api.core("services"), SERVICE)
    api.create(api.core("configmaps"), config_map("a"))
    changed = (
        f"{deployments}/a",
        f"{deployments}/a/status",
        api.core("services", "a"),
        api.core("services", "a", "status"),
    )
    for path in (*changed, f"{roles}/a"):
        for name, status in (("A B", 200), ("a/b", 422), ("a%b", 422)):
            answer = api("PATCH", path, {"metadata": {"generateName": name}}, content_type=MERGE)
            assert answer.status == status, (path, answer.body)
    api("PATCH", f"{roles}/a", {"metadata": {"generateName": ".."}}, content_type=MERGE).refused(422, "Invalid")
    wrong = {"metadata": {"generateName": "A B"}}
    api("PATCH", api.core("configmaps", "a"), wrong, content_type=MERGE).refused(422, "Invalid")


@behaviour(1046, "That an object is not there is said before all that is wrong with a patch of it", source=OBSERVED)
def test_patches_of_nothing(api: Api) -> None:
    deployments, wrong = api.path("apps/v1", "deployments"), [{"op": "nope", "path": "/a"}]
    for subresource in ("", "/status", "/scale"):
        for kind, bodies in ((MERGE, ("x", "[]", "")), (STRATEGIC, ("x", "5")), (JSON_PATCH, ("{}", wrong))):
            for body in bodies:
                answer = api("PATCH", f"{deployments}/a{subresource}", body, content_type=kind)
                answer.refused(404, "NotFound", name="a", group="apps")
        applied = api("PATCH", f"{deployments}/a{subresource}?fieldManager=m", "[]", content_type=APPLY)
        if subresource:
            applied.refused(404, "NotFound", name="a")
        else:
            applied.refused(400, "BadRequest")


@behaviour(1047, "Traffic from outside may take any node, unless a service's author says otherwise", source=OBSERVED)
def test_traffic_from_outside(api: Api) -> None:
    services = api.core("services")

    def policy(**spec: Any) -> Any:
        body = {**SERVICE, "spec": {**SERVICE["spec"], **spec}}
        return api.create(f"{services}?dryRun=All", body)["spec"].get("externalTrafficPolicy")

    assert policy(externalIPs=["1.2.3.4"]) == "Cluster"
    assert policy(externalIPs=["1.2.3.4"], externalTrafficPolicy="Local") == "Local"
    assert policy(type="NodePort", externalTrafficPolicy="") == "Cluster"
    assert policy() is None
    name = {"type": "ExternalName", "externalName": "a.example.com"}
    assert policy(**name) is None
    wrong = {**SERVICE, "spec": {**SERVICE["spec"], **name, "externalTrafficPolicy": "Local"}}
    answer = api("POST", f"{services}?dryRun=All", wrong).refused(422, "Invalid")
    assert answer.causes() == {("spec.externalTrafficPolicy", "FieldValueInvalid")}
    api.create(services, SERVICE)
    assert (
        api.merge(f"{services}/a", {"spec": {"externalIPs": ["1.2.3.4"]}})["spec"]["externalTrafficPolicy"] == "Cluster"
    )
    assert "externalTrafficPolicy" not in api.merge(f"{services}/a", {"spec": {"externalIPs": None}})["spec"]


@behaviour(1048, "A watch for less than no time is over at once", source=OBSERVED)
def test_watch_for_no_time(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    with api.watch(api.core("configmaps"), "timeoutSeconds=-1") as stream:
        assert stream.status == 200
        assert all(event["type"] == "ERROR" for event in stream.rest())
    assert api.get(f"{api.core('configmaps')}?timeoutSeconds=-1")["items"]


@behaviour(
    1049, "A service is made by what is put or applied to its status; who did it owns the status", source=OBSERVED
)
def test_made_through_a_status(api: Api) -> None:
    status, balancer = api.core("services", "a", "status"), {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}
    api("PUT", status, {**SERVICE, "spec": None}).refused(422, "Invalid")
    answer = api("PUT", status, {**SERVICE, "status": balancer})
    assert (answer.status, answer.body["status"]) == (201, {"loadBalancer": {}})
    (entry,) = answer.body["metadata"]["managedFields"]
    assert (entry["subresource"], list(entry["fieldsV1"])) == ("status", ["f:status"])
    api.delete(api.core("services", "a"))
    api("PATCH", status, {"metadata": {}}, content_type=MERGE).refused(404, "NotFound")
    assert api("PATCH", f"{status}?fieldManager=m", SERVICE, content_type=APPLY).status == 201
    api("PUT", api.path("apps/v1", "deployments", "a", "status"), deployment("a")).refused(404, "NotFound")


@behaviour(1050, "What is wrong with a Scale by itself is said before that its object is not there", source=OBSERVED)
def test_scale_of_nothing(api: Api) -> None:
    path = api.path("apps/v1", "deployments", "a", "scale")
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 1}}
    api("PUT", path, scale).refused(404, "NotFound")
    for wrong in ({"spec": {"replicas": "3"}}, {"metadata": {"name": "b"}}, {"metadata": {}}):
        api("PUT", path, {**scale, **wrong}).refused(400, "BadRequest")
    api("PUT", f"{path}?fieldValidation=Strict", {**scale, "nope": 1}).refused(400, "BadRequest")
    api("PUT", path, {**scale, "spec": {"replicas": -1}}).refused(404, "NotFound")


@behaviour(
    1051,
    "A whole number in a custom object's metadata may be written with a point or an exponent; in others' it may not",
    source=OBSERVED,
)
def test_whole_numbers_of_metadata(api: Api) -> None:
    def written(obj: Any, field: str, number: str) -> str:
        stated = {**obj, "metadata": {**obj["metadata"], field: "@"}}
        return json.dumps(stated).replace('"@"', number)

    maps = api.core("configmaps")
    with served(api, with_status()) as kind:
        kind.create("a", n=1)
        for field in ("generation", "deletionGracePeriodSeconds"):
            for number in ("1000.0", "1e3", "0.0", "-0.0"):
                body = kind.body("b", n=1)
                assert api("POST", f"{kind.path()}?dryRun=All", written(body, field, number)).status == 201
                answer = api("PUT", kind.path("a"), written(kind.body("a"), field, number))
                answer.refused(422, "Invalid")
                assert answer.causes() >= {("metadata.resourceVersion", "FieldValueInvalid")}
                merge = json.dumps({"metadata": {field: "@"}}).replace('"@"', number)
                if field == "generation":
                    assert api("PATCH", kind.path("a"), merge, content_type=MERGE).status == 200
                api("POST", maps, written(config_map("c"), field, number)).refused(400, "BadRequest")
            for number in ("1.5", "1e19", "9223372036854775808", "true"):
                body = written(kind.body("c", n=1), field, number)
                api("POST", kind.path(), body).refused(400, "BadRequest")
                api("POST", maps, written(config_map("c"), field, number)).refused(400, "BadRequest")


@behaviour(1052, "The number that a scale shows has to be written as a whole one", source=OBSERVED)
def test_counts_with_a_point(api: Api) -> None:
    scale = {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}
    counted = with_status()
    counted["subresources"]["scale"] = scale
    with served(api, counted) as kind:
        body = json.dumps(kind.body("a", n="@"))
        answer = api("POST", kind.path(), body.replace('"@"', "2.0"))
        assert messages(answer.refused(422, "Invalid")) == [
            ".spec.n: Invalid value: 0: .spec.n accessor error: 2 is of the type float64, expected int64"
        ]
        assert api("POST", kind.path(), body.replace('"@"', "2")).status == 201
        api("PATCH", kind.path("a"), '{"spec":{"n":3.0}}', content_type=MERGE).refused(422, "Invalid")
        api("PATCH", kind.path("a", "status"), '{"status":{"n":3.0}}', content_type=MERGE).refused(422, "Invalid")
        applied = json.dumps(kind.body("a", n="@")).replace('"@"', "3.0")
        api("PATCH", f"{kind.path('a')}?fieldManager=m&force=true", applied, content_type=APPLY)
        assert api.get(kind.path("a"))["spec"]["n"] == 3


@behaviour(1053, "Numbers that are whole are stored and shown as such, however they were written", source=OBSERVED)
def test_whole_numbers(api: Api) -> None:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    with served(api, version(thing(free=free, n={"type": "number"}))) as kind:
        spec = '{"n": 1.0, "free": {"a": 1000.0, "b": [1e3, {"c": -2.0}], "d": 0.5}}'
        body = json.dumps(kind.body("a", n="@")).replace('{"n": "@"}', spec)
        assert api("POST", kind.path(), body).status == 201
        raw = api("GET", kind.path("a")).raw.decode()
        for text in ('"n":1', '"a":1000', '[1000,{"c":-2}]', '"d":0.5'):
            assert text in raw
        assert ".0" not in raw
        for number, holds in (("1000", True), ("1000.0", False)):
            test = f'[{{"op": "test", "path": "/spec/free/a", "value": {number}}}]'
            assert (api("PATCH", kind.path("a"), test, content_type=JSON_PATCH).status == 200) is holds


@behaviour(1054, "An object of another kind inside a built-in one is owned as one value", source=OBSERVED)
def test_owned_whole(api: Api) -> None:
    place = api.path("apps/v1", "controllerrevisions")
    revision = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}}
    made = api.create(f"{place}?fieldManager=m", {**revision, "data": {"a": 1, "b": {"c": [2]}}, "revision": 1})
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {}, "f:revision": {}}


@behaviour(
    1055,
    "A JSON patch may replace the whole object; by no object nothing changes, until 1.35; nothing else is done to it",
    source=OBSERVED,
)
def test_whole_objects(api: Api) -> None:
    keeps = int(api.get("/version")["minor"]) < 36
    with served(api, with_status()) as kind:
        api.create(api.core("configmaps"), config_map("a", a="1"))
        kind.create("a", n=1)
        for place in (api.core("configmaps", "a"), kind.path("a")):
            made = api.get(place)
            patch: list[Any] = []
            for value in (None, 1, "a", True):
                by_none = {"op": "replace", "path": "", "value": value}
                answer = api("PATCH", place, [by_none], content_type=JSON_PATCH)
                if keeps:
                    assert answer.body == made
                    patch = [by_none]
                else:
                    answer.refused(422, "Invalid")
            patch += [{"op": "add", "path": "/metadata/labels", "value": {"l": "m"}}]
            found = api("PATCH", place, patch, content_type=JSON_PATCH).body
            assert found["metadata"]["labels"] == {"l": "m"}
            for op in (
                {"op": "add", "path": "", "value": {}},
                {"op": "add", "path": "", "value": None},
                {"op": "copy", "from": "/metadata", "path": ""},
                {"op": "copy", "from": "", "path": "/metadata/labels"},
                {"op": "move", "from": "/metadata", "path": ""},
                {"op": "remove", "path": ""},
                {"op": "replace", "path": "", "value": []},
            ):
                api("PATCH", place, [op], content_type=JSON_PATCH).refused(422, "Invalid")
            found["metadata"]["labels"] = {"l": "n"}
            whole = api("PATCH", place, [{"op": "replace", "path": "", "value": found}], content_type=JSON_PATCH).body
            assert whole["metadata"]["labels"] == {"l": "n"}


@behaviour(1056, "A template of claims that says nothing is one of claims for nothing", source=OBSERVED)
def test_empty_claim_templates(api: Api) -> None:
    place = api.path("resource.k8s.io/v1", "resourceclaimtemplates")
    shown = {"metadata": {}, "spec": {"devices": {"requests": None}}}
    for name, spec in (("a", None), ("b", {}), ("c", {"spec": {}}), ("d", {"spec": {"devices": {}}})):
        head = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": name}}
        assert api.create(place, {**head, "spec": spec})["spec"] == shown
        assert api.merge(f"{place}/{name}", {"spec": None})["spec"] == shown


@behaviour(1090, "Replicas beyond 32 bits that are applied to a scale are cut to them", source=OBSERVED)
def test_cut_scale(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d"))
    path = f"{api.path('apps/v1', 'deployments', 'd', 'scale')}?fieldManager=a&force=true"

    def scaled(replicas: int) -> Answer:
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}}
        return api("PATCH", path, {**scale, "spec": {"replicas": replicas}}, content_type=APPLY)

    assert scaled((1 << 32) + 3).body["spec"]["replicas"] == 3
    scaled(1 << 31).refused(422, "Invalid")
