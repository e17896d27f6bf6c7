"""Admission webhooks: which are called, with what, in which order, and what their answers do. Numbers 600 to 629."""

from typing import Any

from asking import APPLY, Api, config_map, deployment, pod
from behaviours import behaviour
from hooks import (
    CONFIGURATIONS,
    MUTATING,
    VALIDATING,
    Json,
    Reply,
    adding,
    configured,
    denying,
    hooks,
    one,
    patching,
    path_of,
    rule,
    webhook,
)

CONTROL = "Reference: Dynamic admission control"
REVIEW = "API reference: admission.k8s.io/v1 AdmissionReview"
CONFIGURATION = "API reference: ValidatingWebhookConfiguration"
OBSERVED = "observed on 1.34.2"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def logging(log: list[tuple[str, list[str]]], name: str, reply: Reply | None = None) -> Reply:
    """A reply that notes who was asked, and which keys the object's data had."""

    def answer(request: Json) -> "Json | bytes | int":
        log.append((name, sorted((request["object"] or {}).get("data") or {})))
        return {} if reply is None else reply(request)

    return answer


def once(key: str) -> Reply:
    """Adds a key to the data of objects that do not have it."""
    return lambda request: {} if key in (request["object"].get("data") or {}) else adding(key)(request)


def brief(request: Json, *fields: str) -> dict[str, Any]:
    return {field: request.get(field) for field in fields}


@behaviour(600, "A mutating webhook is asked about a write, and its patch is what is stored", source=CONTROL)
def test_mutating(api: Api) -> None:
    with webhook(api, MUTATING, adding("added")) as asked:
        assert api.create(api.core("configmaps"), config_map("c", a="b"))["data"] == {"a": "b", "added": "x"}
    (request,) = asked
    assert api.get(api.core("configmaps", "c"))["data"] == {"a": "b", "added": "x"}
    assert request["object"]["data"] == {"a": "b"}


@behaviour(601, "A review says who does what to which resource, in the rule's and the request's words", source=REVIEW)
def test_review(api: Api) -> None:
    with webhook(api, VALIDATING) as asked:
        made = api.create(api.core("configmaps"), config_map("c", a="b"))
        review = hooks().reviews[path_of(asked)][0]
        assert hooks().queries[path_of(asked)] == ["timeout=10s"]
    assert (review["kind"], review["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    request = review["request"]
    user = request.pop("userInfo")
    assert (user["username"], "system:masters" in user["groups"]) == ("admin", True)
    assert request.pop("object")["metadata"]["uid"] == made["metadata"]["uid"]
    assert request.pop("uid")
    kind, resource = {"group": "", "version": "v1", "kind": "ConfigMap"}, "configmaps"
    assert request == {
        "kind": kind,
        "resource": {"group": "", "version": "v1", "resource": resource},
        "requestKind": kind,
        "requestResource": {"group": "", "version": "v1", "resource": resource},
        "name": "c",
        "namespace": api.namespace,
        "operation": "CREATE",
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }


@behaviour(602, "A review of an update has old and new object, one of a deletion only the old one", source=REVIEW)
def test_old_objects(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("c", a="1"))
    with webhook(api, VALIDATING, rules=[rule(operations="*")]) as asked:
        api.merge(api.core("configmaps", "c"), {"data": {"a": "2"}})
        api.delete(api.core("configmaps", "c"))
    update, deletion = asked
    assert (update["oldObject"]["data"], update["object"]["data"]) == ({"a": "1"}, {"a": "2"})
    assert (deletion["operation"], deletion["object"]) == ("DELETE", None)
    assert deletion["oldObject"]["data"] == {"a": "2"}


@behaviour(603, "A review tells the options that the request named", source=f"{REVIEW}, options")
def test_options(api: Api) -> None:
    path = api.core("configmaps", "c")
    with webhook(api, VALIDATING, rules=[rule(operations="*")]) as asked:
        api.create(f"{api.core('configmaps')}?fieldManager=me&fieldValidation=Strict", config_map("c", a="1"))
        api.merge(f"{path}?dryRun=All", {"data": {"a": "2"}})
        api("PATCH", f"{path}?fieldManager=me&force=true", config_map("c", a="3"), content_type=APPLY)
        api.delete(path, {"dryRun": ["All"], "gracePeriodSeconds": 3})
        api.delete(f"{path}?gracePeriodSeconds=0&propagationPolicy=Background")
    meta = {"apiVersion": "meta.k8s.io/v1"}
    assert [request["options"] for request in asked] == [
        {**meta, "kind": "CreateOptions", "fieldManager": "me", "fieldValidation": "Strict"},
        {**meta, "kind": "UpdateOptions", "dryRun": ["All"]},
        {**meta, "kind": "UpdateOptions", "fieldManager": "me"},
        {**meta, "kind": "DeleteOptions", "dryRun": ["All"], "gracePeriodSeconds": 3},
        {**meta, "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"},
    ]
    assert [request["dryRun"] for request in asked] == [False, True, False, True, False]


@behaviour(604, "Rules choose by operation, group, resource and subresource", source=f"{CONTROL}: Matching requests")
def test_rules(api: Api) -> None:
    api.create_pod("p")
    wanted = {
        "pods": rule("pods"),
        "bindings": rule("pods/binding"),
        "subresources": rule("pods/*", "*"),
        "everything": rule("*/*", "*", apiGroups=["*"], apiVersions=["*"]),
        "resources": rule("*", "*", apiGroups=["*"], apiVersions=["*"]),
        "updates": rule("pods", "UPDATE"),
        "status": rule("pods/status", "UPDATE"),
        "group": rule("pods", apiGroups=["apps"]),
        "version": rule("pods", apiVersions=["v2"]),
    }
    binding = {"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "n-1"}}
    only_mine = [{"name": "mine", "expression": "request.userInfo.username == 'admin' && request.name == 'q'"}]
    parts = [{"name": f"{name}.a.b", "rules": [found], "matchConditions": only_mine} for name, found in wanted.items()]
    with configured(api, VALIDATING, parts, [None] * len(parts)) as asked:
        api.create(api.core("pods"), pod("q"))
        api.create(api.core("pods", "q", "binding"), binding)
        api.merge(api.core("pods", "q", "status"), {"status": {"message": "x"}})
    counts = {name: len(found) for name, found in zip(wanted, asked, strict=True)}
    expected = {"pods": 1, "bindings": 1, "subresources": 3, "everything": 3, "resources": 1, "status": 1}
    assert counts == {**expected, "updates": 0, "group": 0, "version": 0}


@behaviour(605, "A review of a subresource names it, and its object is the subresource's own kind", source=REVIEW)
def test_subresources(api: Api) -> None:
    api.create_pod("p")
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    rules = [rule("pods/binding pods/eviction", "*"), rule("deployments/scale", "*", apiGroups=["apps"])]
    with webhook(api, VALIDATING, rules=rules) as asked:
        target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n-1"}}
        api.create(api.core("pods", "p", "binding"), target)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        api.create(api.core("pods", "p", "eviction"), eviction)
        api.merge(api.path("apps/v1", "deployments", "d", "scale"), {"spec": {"replicas": 0}})
    assert [brief(request, "operation", "subResource", "requestSubResource", "kind") for request in asked] == [
        {"operation": operation, "subResource": name, "requestSubResource": name, "kind": kind}
        for operation, name, kind in (
            ("CREATE", "binding", {"group": "", "version": "v1", "kind": "Binding"}),
            ("CREATE", "eviction", {"group": "policy", "version": "v1", "kind": "Eviction"}),
            ("UPDATE", "scale", {"group": "autoscaling", "version": "v1", "kind": "Scale"}),
        )
    ]


@behaviour(606, "An eviction is admitted as such, its pod's mark and deletion are not again", source=OBSERVED)
def test_parts_of_an_eviction(api: Api) -> None:
    api.create_pod("p", nodeName="n-1")
    with webhook(api, VALIDATING, rules=[rule("pods pods/status pods/eviction", "*")]) as asked:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        api.create(api.core("pods", "p", "eviction"), eviction)
        assert [request.get("subResource") for request in asked] == ["eviction"]
    assert api.get(api.core("pods", "p"))["metadata"]["deletionTimestamp"]


@behaviour(607, "A deleted collection is reviewed object by object, without names", source=OBSERVED)
def test_collections(api: Api) -> None:
    for name in ("a", "b"):
        api.create(api.core("configmaps"), config_map(name, labels={"x": "y"}))
    with webhook(api, VALIDATING, rules=[rule(operations="DELETE")]) as asked:
        api.delete(f"{api.core('configmaps')}?labelSelector=x")
    assert [(request.get("name"), request["oldObject"]["metadata"]["name"]) for request in asked] == [
        (None, "a"),
        (None, "b"),
    ]


@behaviour(608, "A denied object ends a collection's deletion: what comes after it stays", source=OBSERVED)
def test_denied_in_a_collection(api: Api) -> None:
    for name in ("a", "b", "c"):
        api.create(api.core("configmaps"), config_map(name, labels={"x": "y"}))

    def keep_b(request: Json) -> Json:
        return {"allowed": request["oldObject"]["metadata"]["name"] != "b", "status": {"code": 403, "message": "no"}}

    with webhook(api, VALIDATING, keep_b, rules=[rule(operations="DELETE")]):
        answer = api("DELETE", f"{api.core('configmaps')}?labelSelector=x")
    answer.refused(403, "", 'admission webhook "hook.example.com" denied the request: no')
    left = api.get(f"{api.core('configmaps')}?labelSelector=x")["items"]
    assert [item["metadata"]["name"] for item in left] == ["b", "c"]


@behaviour(609, "Webhooks of a generated name see the name that the object will have", source=OBSERVED)
def test_generated_names(api: Api) -> None:
    with webhook(api, VALIDATING) as asked:
        made = api.create(api.core("configmaps"), {"metadata": {"generateName": "cm-"}})
    assert [request["name"] for request in asked] == [made["metadata"]["name"]]


@behaviour(610, "Object selectors look at the old and at the new object", source=f"{CONTROL}: objectSelector")
def test_object_selectors(api: Api) -> None:
    with webhook(api, VALIDATING, objectSelector={"matchLabels": {"k": "v"}}) as asked:
        api.create(api.core("configmaps"), config_map("plain"))
        api.create(api.core("configmaps"), config_map("c", labels={"k": "v"}))
        api.merge(api.core("configmaps", "c"), {"metadata": {"labels": {"k": None}}})
        api.merge(api.core("configmaps", "c"), {"data": {"x": "y"}})
    assert [request["name"] for request in asked] == ["c", "c"]


@behaviour(
    611,
    "Namespace selectors look at the namespace's labels, for a namespace at its own",
    source=f"{CONTROL}: namespaceSelector",
)
def test_namespace_selectors(api: Api) -> None:
    name = api.other_name()
    wanted = {"matchLabels": {"marked": name}}
    rules = [rule("configmaps namespaces")]
    with webhook(api, VALIDATING, rules=rules, anywhere=True, namespaceSelector=wanted, timeoutSeconds=5) as asked:
        with api.made("/api/v1/namespaces", {"metadata": {"name": name, "labels": {"marked": name}}}):
            assert [brief(request, "name", "namespace") for request in asked] == [{"name": name, "namespace": name}]
        api.create(api.core("configmaps"), config_map("c"))
        api.merge(f"/api/v1/namespaces/{api.namespace}", {"metadata": {"labels": {"marked": name}}})

        def sees_it() -> bool:
            api("POST", f"{api.core('configmaps')}?dryRun=All", config_map("d"))
            return any(request["name"] == "d" for request in asked)

        api.eventually(sees_it)
        assert not any(request["name"] == "c" for request in asked)


@behaviour(
    612,
    "A namespace selector lets what is in no namespace through; a rule's scope can choose",
    source=f"{CONTROL}: namespaceSelector; rules, scope",
)
def test_cluster_scoped(api: Api) -> None:
    name = api.other_name()
    mine = {"objectSelector": {"matchLabels": {"marked": name}}}
    nowhere = {"namespaceSelector": {"matchLabels": {"marked": "nobody"}}}
    cluster, namespaced = ([rule("*", "CREATE", scope=scope)] for scope in ("Cluster", "Namespaced"))
    parts = [
        {"name": "a.a.b", "rules": [rule("nodes", "CREATE")], **mine, **nowhere},
        {"name": "b.a.b", "rules": cluster, **mine},
        {"name": "c.a.b", "rules": namespaced, **mine},
    ]
    with configured(api, VALIDATING, parts, [None] * 3, anywhere=True) as asked:
        api.create(api.core("configmaps"), config_map("c", labels={"marked": name}))
        with api.made("/api/v1/nodes", {"metadata": {"name": name, "labels": {"marked": name}}}):
            pass
    assert [[request["name"] for request in found] for found in asked] == [[name], [name], ["c"]]


@behaviour(613, "Match conditions choose by expressions on object, oldObject and request", source="KEP-3716")
def test_match_conditions(api: Api) -> None:
    def when(name: str, *expressions: str) -> Json:
        found = [{"name": f"c{index}", "expression": text} for index, text in enumerate(expressions)]
        return {"name": f"{name}.a.b", "matchConditions": found}

    parts = [
        when("a", "object.data.a == 'b'", "oldObject == null", "request.operation == 'CREATE'"),
        when("b", "request.requestKind.kind == 'ConfigMap' && request.name == 'c' && !request.dryRun"),
        when("c", "'system:masters' in request.userInfo.groups && request.options.kind == 'CreateOptions'"),
        when("d", "request.resource.resource == 'configmaps'", "request.operation == 'UPDATE'"),
        when("e", "object.data.a == 'z'"),
    ]
    with configured(api, VALIDATING, parts, [None] * len(parts)) as asked:
        api.create(api.core("configmaps"), config_map("c", a="b"))
    assert [len(found) for found in asked] == [1, 1, 1, 0, 0]


@behaviour(
    614, "A match condition that cannot be evaluated counts as the failure policy says", source="KEP-3716, failures"
)
def test_failing_conditions(api: Api) -> None:
    failing = [{"name": "broken", "expression": "object.data.missing == 'x'"}]
    with webhook(api, VALIDATING, failurePolicy="Ignore", matchConditions=failing) as asked:
        api.create(api.core("configmaps"), config_map("ignored", a="b"))
    with webhook(api, VALIDATING, failurePolicy="Fail", matchConditions=failing):
        answer = api("POST", api.core("configmaps"), config_map("c", a="b"))
    why = "expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
    answer.refused(403, "Forbidden", f'configmaps "c" is forbidden: {why}', name="c")
    false = [*failing, {"name": "no", "expression": "false"}]
    with webhook(api, VALIDATING, denying(), failurePolicy="Fail", matchConditions=false):
        api.create(api.core("configmaps"), config_map("d", a="b"))
    assert asked == []


@behaviour(615, "Match conditions are checked when a configuration is written", source="KEP-3716, validation")
def test_broken_conditions(api: Api) -> None:
    def refused(*conditions: Json) -> set[tuple[str, str]]:
        hook = one("/x", matchConditions=list(conditions))
        body = {"metadata": {"name": api.other_name()}, "webhooks": [hook]}
        answer = api("POST", f"{CONFIGURATIONS}/validatingwebhookconfigurations?dryRun=All", body)
        answer.refused(422, "Invalid", kind="ValidatingWebhookConfiguration")
        return {(field.removeprefix("webhooks[0]."), reason) for field, reason in answer.causes()}

    of_first = "matchConditions[0].expression"
    assert refused({"name": "a", "expression": "object.x =="}) == {(of_first, "FieldValueInvalid")}
    assert refused({"name": "a", "expression": "nobody == 1"}) == {(of_first, "FieldValueInvalid")}
    assert refused({"name": "a", "expression": "'text'"}) == {(of_first, "FieldValueInvalid")}
    assert refused({"name": "a", "expression": ""}) == {(of_first, "FieldValueRequired")}
    same = {"name": "a", "expression": "true"}
    assert refused(same, same) == {("matchConditions[1].name", "FieldValueDuplicate")}
    many = ({"name": f"a{number}", "expression": "true"} for number in range(65))
    assert refused(*many) == {("matchConditions", "FieldValueTooMany")}


def toys(group: str) -> Json:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": schema} for name in ("v1", "v2", "v3")
    ]
    names = {"plural": "toys", "singular": "toy", "kind": "Toy", "listKind": "ToyList"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": f"toys.{group}"}, "spec": spec}


@behaviour(
    616,
    "A write of another version is shown in the one that the rules name, unless these are to match exactly",
    source=f"{CONTROL}: matchPolicy",
)
def test_match_policy(api: Api) -> None:
    group = f"{api.other_name()}.example.com"
    with api.made(CRDS, toys(group)):
        for version in ("v2", "v3"):
            path = api.path(f"{group}/{version}", "toys")
            api.eventually(lambda path=path: api("GET", path).status == 200)
        rules = [rule("toys", "*", apiGroups=[group], apiVersions=["v2"])]
        added = patching({"op": "add", "path": "/added", "value": "x"})
        with (
            webhook(api, MUTATING, added, rules=[{**rules[0], "operations": ["CREATE"]}]) as mutating,
            webhook(api, VALIDATING, rules=rules, matchPolicy="Equivalent") as equivalent,
            webhook(api, VALIDATING, rules=rules, matchPolicy="Exact") as exact,
        ):
            toy = {"apiVersion": f"{group}/v3", "kind": "Toy", "metadata": {"name": "a"}}
            made = api.create(api.path(f"{group}/v3", "toys"), toy)
            api.delete(api.path(f"{group}/v3", "toys", "a"))
    assert (made["added"], made["apiVersion"]) == ("x", f"{group}/v3")
    assert exact == []
    assert [request["operation"] for request in mutating] == ["CREATE"]
    assert [request["operation"] for request in equivalent] == ["CREATE", "DELETE"]
    for request in equivalent:
        assert (request["kind"]["version"], request["resource"]["version"]) == ("v2", "v2")
        assert (request["requestKind"]["version"], request["requestResource"]["version"]) == ("v3", "v3")
        assert (request["object"] or request["oldObject"])["apiVersion"] == f"{group}/v2"


@behaviour(
    617, "Configurations are called in the order of their names, webhooks in the order within one", source=CONTROL
)
def test_order(api: Api) -> None:
    log: list[tuple[str, list[str]]] = []
    inner = [{"name": "z.a.b"}, {"name": "a.a.b"}]
    replies = [logging(log, "z", adding("z")), logging(log, "a", adding("a"))]
    with (
        webhook(api, MUTATING, logging(log, "last"), order=3),
        webhook(api, MUTATING, logging(log, "first", adding("first")), order=1),
        configured(api, MUTATING, inner, replies, order=2),
    ):
        api.create(api.core("configmaps"), config_map("c", x="1"))
    seen = {"first": ["x"], "z": ["first", "x"], "a": ["first", "x", "z"], "last": ["a", "first", "x", "z"]}
    assert log == list(seen.items())


@behaviour(
    618, "Validating webhooks see what all mutating ones have made, and are not asked if one denied", source=CONTROL
)
def test_mutating_before_validating(api: Api) -> None:
    log: list[tuple[str, list[str]]] = []
    with webhook(api, VALIDATING, logging(log, "v"), order=1):
        with webhook(api, MUTATING, logging(log, "m", adding("m")), order=2):
            api.create(api.core("configmaps"), config_map("c", x="1"))
        assert log == [("m", ["x"]), ("v", ["m", "x"])]
        with webhook(api, MUTATING, denying(message="no"), order=2):
            api("POST", api.core("configmaps"), config_map("d", x="1")).refused(400, "")
    assert len(log) == 2


def reinvoked(api: Api, *hooks_of: tuple[str, Reply | None, bool]) -> tuple[list[tuple[str, list[str]]], Json]:
    """Who was asked while a ConfigMap was created, by webhooks of name, reply and IfNeeded; and the object."""
    log: list[tuple[str, list[str]]] = []
    parts = [
        {"name": f"{name}.a.b", "reinvocationPolicy": "IfNeeded" if again else "Never"} for name, _, again in hooks_of
    ]
    with configured(api, MUTATING, parts, [logging(log, name, reply) for name, reply, _ in hooks_of]):
        made: Json = api.create(api.core("configmaps"), config_map("c", x="1"))
    return log, made


@behaviour(
    619,
    "A webhook that wants it is asked again when a later one changed the object, others are not",
    source=f"{CONTROL}: Reinvocation policy",
)
def test_reinvocation(api: Api) -> None:
    log, made = reinvoked(api, ("a", None, True), ("b", once("b"), False), ("c", once("c"), True))
    assert log == [("a", ["x"]), ("b", ["x"]), ("c", ["b", "x"]), ("a", ["b", "c", "x"])]
    assert made["data"] == {"b": "x", "c": "x", "x": "1"}


@behaviour(
    620,
    "A change while webhooks are asked again is shown to those after it, and that is the end",
    source=f"{CONTROL}: Reinvocation policy",
)
def test_reinvocation_ends(api: Api) -> None:
    log, made = reinvoked(api, ("a", adding("t", "1"), True), ("b", adding("t", "2"), True))
    assert [name for name, _ in log] == ["a", "b", "a", "b"]
    assert made["data"] == {"t": "2", "x": "1"}


@behaviour(
    621, "Webhooks are not asked again about a write that nobody changed", source=f"{CONTROL}: Reinvocation policy"
)
def test_no_reinvocation(api: Api) -> None:
    log, _ = reinvoked(api, ("a", None, True), ("b", None, True))
    assert [name for name, _ in log] == ["a", "b"]


@behaviour(622, "Selectors and conditions of a webhook look at what those before it made", source=OBSERVED)
def test_mutated_into_a_selector(api: Api) -> None:
    label = patching({"op": "add", "path": "/metadata/labels", "value": {"k": "v"}})
    chosen = {"objectSelector": {"matchLabels": {"k": "v"}}}
    with (
        webhook(api, MUTATING, label, order=1),
        webhook(api, MUTATING, order=2, **chosen) as later,
        webhook(api, VALIDATING, **chosen) as validating,
    ):
        api.create(api.core("configmaps"), config_map("c"))
    assert (len(later), len(validating)) == (1, 1)


@behaviour(623, "A patched object is completed and validated like a client's", source=CONTROL)
def test_patched_objects_are_checked(api: Api) -> None:
    extra = {"name": "side", "image": "s:1"}
    with webhook(
        api, MUTATING, patching({"op": "add", "path": "/spec/containers/-", "value": extra}), rules=[rule("pods")]
    ):
        api.create_pod("p")
    assert api.get(api.core("pods", "p"))["spec"]["containers"][1]["imagePullPolicy"] == "IfNotPresent"
    with webhook(api, MUTATING, patching({"op": "add", "path": "/metadata/labels", "value": {"bad key": "x"}})):
        api("POST", api.core("configmaps"), config_map("c")).refused(422, "Invalid", name="c")
    with webhook(api, MUTATING, patching({"op": "add", "path": "/nobodyKnows", "value": 1})):
        assert "nobodyKnows" not in api.create(api.core("configmaps"), config_map("c"))


@behaviour(624, "A webhook may name an object in the making anew, but not one that is there", source=OBSERVED)
def test_renaming(api: Api) -> None:
    rename = patching({"op": "replace", "path": "/metadata/name", "value": "other"})
    api.create(api.core("configmaps"), config_map("d"))  # a webhook that is gone is asked for a moment yet
    with webhook(api, MUTATING, rename):
        assert api.create(api.core("configmaps"), config_map("c"))["metadata"]["name"] == "other"
    with webhook(api, MUTATING, rename, rules=[rule(operations="UPDATE")]):
        patch = {"data": {"x": "y"}}
        answer = api("PATCH", api.core("configmaps", "d"), patch, content_type="application/merge-patch+json")
    why = 'ConfigMap "other" is invalid: metadata.name: Invalid value: "other": field is immutable'
    answer.refused(422, "Invalid", why)


@behaviour(625, "What a webhook adds to a Binding reaches the pod", source=OBSERVED)
def test_patched_bindings(api: Api) -> None:
    api.create_pod("p")
    note = patching({"op": "add", "path": "/metadata/annotations", "value": {"a": "x"}})
    with webhook(api, MUTATING, note, rules=[rule("pods/binding")]):
        target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n-1"}}
        api.create(api.core("pods", "p", "binding"), target)
    assert api.get(api.core("pods", "p"))["metadata"]["annotations"] == {"a": "x"}


@behaviour(
    626, "A write that changes nothing is still reviewed, one of an object that is not there is not", source=OBSERVED
)
def test_writes_without_effect(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("c", x="y"))
    with webhook(api, VALIDATING, rules=[rule(operations="*")]) as asked:
        api.merge(api.core("configmaps", "c"), {"data": {"x": "y"}})
        api.put(api.core("configmaps", "c"), config_map("c", x="y"))
        assert len(asked) == 2
        api("DELETE", api.core("configmaps", "nobody")).refused(404, "NotFound")
        api("PUT", api.core("configmaps", "nobody"), {**config_map("nobody"), "metadata": {"resourceVersion": "1"}})
        api("POST", api.core("configmaps"), config_map("BAD name")).refused(422, "Invalid")
        assert len(asked) == 2
        api("POST", api.core("configmaps"), config_map("c")).refused(409, "AlreadyExists")
        assert len(asked) == 3


@behaviour(
    627, "Warnings of webhooks reach the client, those of more than one line do not", source=f"{CONTROL}: Response"
)
def test_warnings(api: Api) -> None:
    said = {"warnings": ["one", "two\nlines", "x" * 300]}
    with webhook(api, MUTATING, lambda _: said, order=1), webhook(api, VALIDATING, lambda _: {"warnings": ["three"]}):
        answer = api("POST", api.core("configmaps"), config_map("c"))
    assert answer.status == 201
    assert answer.warnings == ["one", "x" * 300, "three"]
    denied = {"allowed": False, "warnings": ["mind"]}
    with webhook(api, VALIDATING, lambda _: denied):
        answer = api("POST", api.core("configmaps"), config_map("d"))
    assert (answer.status, answer.warnings) == (400, ["mind"])


@behaviour(628, "Exec, attach and port-forward are CONNECTs that webhooks can deny", source=f"{CONTROL}: CONNECT")
def test_connect(api: Api) -> None:
    api.create_pod("p")
    rules = [rule("pods/exec pods/attach pods/portforward", "CONNECT")]
    with webhook(api, VALIDATING, denying(message="no", code=403), rules=rules) as asked:
        for subresource, query in (("exec", "command=ls&stdout=true"), ("attach", "stdout=true"), ("portforward", "")):
            api("GET", f"{api.core('pods', 'p', subresource)}?{query}").refused(403, "")
    assert [(request["operation"], request["object"]["kind"]) for request in asked] == [
        ("CONNECT", "PodExecOptions"),
        ("CONNECT", "PodAttachOptions"),
        ("CONNECT", "PodPortForwardOptions"),
    ]
    assert (asked[0]["object"]["command"], asked[0].get("options")) == (["ls"], None)


@behaviour(629, "Questions about access and requests for tokens are reviewed like writes", source=OBSERVED)
def test_reviews_are_admitted(api: Api) -> None:
    api.eventually(lambda: api("GET", api.core("serviceaccounts", "default")).status == 200)
    rules = [rule("selfsubjectaccessreviews serviceaccounts/token", "*", apiGroups=["*"])]
    mine = [{"name": "mine", "expression": f"request.userInfo.username == '{api.namespace}'"}]
    user = api.as_user(Impersonate_User=api.namespace, Impersonate_Group="system:masters")
    with webhook(api, VALIDATING, rules=rules, matchConditions=mine, anywhere=True) as asked:
        user.create(api.core("serviceaccounts", "default", "token"), {"spec": {}})
        question = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
        user.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", question)
    user.close()
    kinds = [(request["operation"], request["kind"]["kind"], request.get("subResource")) for request in asked]
    assert kinds == [("CREATE", "TokenRequest", "token"), ("CREATE", "SelfSubjectAccessReview", None)]
