"""Kinds: what some do and others do not. Numbers 900 to 999."""

from typing import Any

from asking import APPLY, MERGE, Api, config_map, deployment, pod, query
from behaviours import behaviour

OBSERVED = "observed on 1.34.2"


@behaviour(
    900, "Some kinds are made by a replacement when they are missing, for those who may create them", source=OBSERVED
)
def test_replace_makes_some_kinds(api: Api) -> None:
    leases = api.path("coordination.k8s.io/v1", "leases")
    answer = api("PUT", f"{leases}/a", {"metadata": {"name": "a", "resourceVersion": "5"}})
    assert (answer.status, answer.body["metadata"]["name"]) == (201, "a")
    assert api("PUT", f"{leases}/a", answer.body).status == 200
    roles = api.path("rbac.authorization.k8s.io/v1", "roles")
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]}
    assert api("PUT", f"{roles}/updater", {"metadata": {"name": "updater"}, "rules": [rule]}).status == 201
    bindings = api.path("rbac.authorization.k8s.io/v1", "rolebindings")
    subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "updater", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "b"}, "roleRef": role, "subjects": [subject]}
    assert api("PUT", f"{bindings}/b", binding).status == 201
    jane = api.as_user(Impersonate_User="jane")
    api.eventually(lambda: jane("PUT", f"{leases}/a", {"metadata": {"name": "a"}}).status == 422)
    answer = jane("PUT", f"{leases}/c", {"metadata": {"name": "c"}}).refused(403, "Forbidden")
    assert 'User "jane" cannot create resource "leases"' in answer.body["message"]


@behaviour(
    901,
    "A pod with scheduling gates says from the start that it is not scheduled for them",
    source="Concepts: Pod scheduling readiness",
)
def test_gated_pod(api: Api) -> None:
    status = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])["status"]
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
    )


@behaviour(902, "A status of a custom kind without that endpoint is missing, by the object's name", source=OBSERVED)
def test_no_status_endpoint(api: Api) -> None:
    group = f"{api.namespace}.example.com"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    with api.made(definitions, {"metadata": {"name": f"things.{group}"}, "spec": spec}):
        things = api.path(f"{group}/v1", "things")
        api.eventually(lambda: api("GET", things).status == 200)
        api.create(things, {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a"}})
        answer = api("GET", f"{things}/a/status")
        answer.refused(404, "NotFound", f'things.{group} "a" not found', name="a", kind="things", group=group)


@behaviour(903, "A range of limits without a name gets one", source=OBSERVED)
def test_limit_range_without_a_name(api: Api) -> None:
    made = api.create(api.core("limitranges"), {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "900"}}]}})
    assert len(made["metadata"]["name"]) == 36


@behaviour(904, "Changes of a priority class do not raise its generation", source=OBSERVED)
def test_generation_of_a_priority_class(api: Api) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    name = api.other_name()
    with api.made(classes, {"metadata": {"name": name}, "value": 5}) as made:
        assert made["metadata"]["generation"] == 1
        assert api.merge(f"{classes}/{name}", {"description": "d"})["metadata"]["generation"] == 1


@behaviour(
    905, "The labels that a status write sends are kept of most built-in kinds, not of deployments", source=OBSERVED
)
def test_labels_of_status_writes(api: Api) -> None:
    patch = {"metadata": {"labels": {"x": "y"}}, "status": {"observedGeneration": 1}}
    for plural, kind, kept in (("replicasets", "ReplicaSet", True), ("deployments", "Deployment", False)):
        obj = {**deployment("d"), "kind": kind}
        api.create(api.path("apps/v1", plural), obj)
        changed = api.merge(api.path("apps/v1", plural, "d", "status"), patch)
        assert ("labels" in changed["metadata"]) is kept, plural


@behaviour(906, "A job without a name is refused for that alone", source=OBSERVED)
def test_job_without_a_name(api: Api) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    answer = api("POST", api.path("batch/v1", "jobs"), {"spec": {"suspend": True, "template": template}})
    answer.refused(422, "Invalid", kind="Job")
    assert answer.causes() == {("metadata.name", "FieldValueRequired")}


@behaviour(919, "A write of a job's status takes no label away for good that its template has", source=OBSERVED)
def test_labels_of_jobs(api: Api) -> None:
    container = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    spec = {"suspend": True, "template": {"metadata": {"labels": {"x": "y"}}, "spec": container}}
    for number, patch in enumerate(
        (
            {"metadata": {"labels": None}},
            {"metadata": {"labels": {}}},
            {"metadata": {"labels": None, "annotations": {"a": "b"}}, "status": {"active": 0}},
            {"metadata": {"labels": None}, "spec": None},
        )
    ):
        path = api.path("batch/v1", "jobs", f"j{number}")
        before = api.create(api.path("batch/v1", "jobs"), {"metadata": {"name": f"j{number}"}, "spec": spec})
        assert before["metadata"]["labels"]["x"] == "y"
        api.merge(f"{path}/status", patch)
        assert api.get(path)["metadata"]["labels"] == before["metadata"]["labels"], patch
        api.merge(f"{path}/status", {"metadata": {"labels": {"x": None}}})
        assert "x" not in api.get(path)["metadata"]["labels"]


@behaviour(907, "Counts in a quota are whole numbers", source="Concepts: Resource quotas, object count")
def test_whole_counts(api: Api) -> None:
    answer = api(
        "POST", api.core("resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": {"count/things": "1.5"}}}
    )
    answer.refused(422, "Invalid", kind="ResourceQuota", name="q")
    assert answer.causes() == {("spec.hard[count/things]", "FieldValueInvalid")}


# --- what a write has to say, and what it may ---


@behaviour(
    910, "A replacement says the object's name, as does what a patch makes", source="API reference: replace, patch"
)
def test_replacement_without_a_name(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    why = "the name of the object (a based on URL) was undeterminable: name must be provided"
    for body in ({"data": {"x": "y"}}, {"metadata": {"name": ""}}):
        api("PUT", api.core("configmaps", "a"), body).refused(400, "BadRequest", why)
    patch = {"metadata": {"name": None}}
    api("PATCH", api.core("configmaps", "a"), patch, content_type=MERGE).refused(400, "BadRequest", why)


@behaviour(911, "A written Scale says its name too", source="API reference: Scale")
def test_scale_without_a_name(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    answer = api("PUT", api.path("apps/v1", "deployments", "d", "scale"), {"spec": {"replicas": 0}})
    answer.refused(400, "BadRequest")
    assert "name must be provided" in answer.body["message"]


@behaviour(912, "A resourceVersion of a new object that is no version means nothing", source=OBSERVED)
def test_no_version_of_a_new_object(api: Api) -> None:
    for name, stated in (("a", "0"), ("b", "abc"), ("c", "-1")):
        obj = config_map(name)
        obj["metadata"]["resourceVersion"] = stated
        assert int(api.create(api.core("configmaps"), obj)["metadata"]["resourceVersion"]) > 0


@behaviour(913, "What else is wrong with a new object is said before its version", source=OBSERVED)
def test_order_of_complaints(api: Api) -> None:
    obj = config_map("Not_A_Name")
    obj["metadata"]["resourceVersion"] = "5"
    answer = api("POST", api.core("configmaps"), obj).refused(422, "Invalid")
    assert answer.causes() == {("metadata.name", "FieldValueInvalid")}


@behaviour(
    914, "A kind whose generation the server does not keep has its creator's, which cannot be negative", source=OBSERVED
)
def test_stated_generation(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["generation"] = 7
    assert api.create(api.core("configmaps"), obj)["metadata"]["generation"] == 7
    changed = api.merge(api.core("configmaps", "a"), {"metadata": {"generation": 9}})
    assert changed["metadata"]["generation"] == 7
    obj = config_map("b")
    obj["metadata"]["generation"] = -1
    answer = api("POST", api.core("configmaps"), obj).refused(422, "Invalid")
    assert answer.causes() == {("metadata.generation", "FieldValueInvalid")}


@behaviour(
    915, "Every wrong option of a write is a cause of its own", source="API reference: CreateOptions, PatchOptions"
)
def test_causes_of_options(api: Api) -> None:
    answer = api("POST", f"{api.core('configmaps')}?dryRun=Some&fieldValidation=Odd&fieldManager={'x' * 129}", {})
    answer.refused(422, "Invalid", kind="CreateOptions", group="meta.k8s.io")
    assert answer.causes() == {
        ("fieldManager", "FieldValueTooLong"),
        ("dryRun", "FieldValueNotSupported"),
        ("fieldValidation", "FieldValueNotSupported"),
    }
    path = f"{api.core('configmaps', 'a')}?dryRun=All&dryRun=Some&force=true"
    answer = api("PATCH", path, {}, content_type=MERGE).refused(422, "Invalid", kind="PatchOptions")
    assert answer.causes() == {("force", "FieldValueForbidden"), ("dryRun", "FieldValueNotSupported")}


@behaviour(916, "An option of a deletion that is stated has a value", source=OBSERVED)
def test_empty_options(api: Api) -> None:
    path = api.core("configmaps", "a")
    answer = api("DELETE", f"{path}?propagationPolicy=").refused(422, "Invalid", kind="DeleteOptions")
    assert answer.causes() == {("propagationPolicy", "FieldValueNotSupported")}
    api("DELETE", f"{path}?gracePeriodSeconds=").refused(400, "BadRequest")
    api("GET", f"{api.core('configmaps')}?limit=").refused(400, "BadRequest")


@behaviour(
    917,
    "A deletion's grace period cannot be written into an object",
    source="API reference: ObjectMeta, deletionGracePeriodSeconds",
)
def test_grace_is_the_server_s(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    patch = {"metadata": {"deletionGracePeriodSeconds": 5, "labels": {"-bad": "x"}}}
    answer = api("PATCH", api.core("configmaps", "a"), patch, content_type=MERGE).refused(422, "Invalid")
    assert answer.causes() == {
        ("metadata.deletionGracePeriodSeconds", "FieldValueInvalid"),
        ("metadata.labels", "FieldValueInvalid"),
    }


@behaviour(918, "A list's selectors are read before its other options are checked", source=OBSERVED)
def test_order_of_list_options(api: Api) -> None:
    path = api.core("configmaps")
    api("GET", f"{path}?{query(labelSelector='n in a', resourceVersionMatch='Odd')}").refused(400, "BadRequest")
    answer = api("GET", f"{path}?{query(resourceVersionMatch='Odd', sendInitialEvents='true')}")
    assert answer.refused(422, "Invalid", kind="ListOptions").causes() == {
        ("resourceVersionMatch", "FieldValueForbidden"),
        ("resourceVersionMatch", "FieldValueNotSupported"),
        ("sendInitialEvents", "FieldValueForbidden"),
    }


# --- what kinds have to have ---


def missing(api: Api, path: str, obj: Any, kind: str) -> set[tuple[str, str]]:
    """The causes of a refusal of an object."""
    answer = api("POST", path, {"metadata": {"name": "a"}, **obj})
    return answer.refused(422, "Invalid", kind=kind).causes()


@behaviour(930, "A workload without a spec lacks its selector and containers, and has its defaults", source=OBSERVED)
def test_workloads_without_a_spec(api: Api) -> None:
    lacking = {
        ("spec.selector", "FieldValueRequired"),
        ("spec.template.metadata.labels", "FieldValueInvalid"),
        ("spec.template.spec.containers", "FieldValueRequired"),
    }
    for plural, kind in (("deployments", "Deployment"), ("statefulsets", "StatefulSet")):
        for obj in ({}, {"spec": {}}):
            assert missing(api, api.path("apps/v1", plural), obj, kind) == lacking


@behaviour(931, "A job without a spec lacks containers, and a restart policy that ends", source=OBSERVED)
def test_job_without_a_spec(api: Api) -> None:
    assert missing(api, api.path("batch/v1", "jobs"), {}, "Job") == {
        ("spec.template.spec.containers", "FieldValueRequired"),
        ("spec.template.spec.restartPolicy", "FieldValueRequired"),
    }


@behaviour(932, "A rule of a role has verbs, groups and resources", source="API reference: PolicyRule")
def test_incomplete_rules(api: Api) -> None:
    roles = api.path("rbac.authorization.k8s.io/v1", "roles")
    assert missing(api, roles, {"rules": [{}]}, "Role") == {
        ("rules[0].verbs", "FieldValueRequired"),
        ("rules[0].apiGroups", "FieldValueRequired"),
        ("rules[0].resources", "FieldValueRequired"),
    }


@behaviour(
    933,
    "A rule about paths is about nothing else, and in cluster roles only",
    source="API reference: PolicyRule, nonResourceURLs",
)
def test_rules_about_paths(api: Api) -> None:
    paths = {"verbs": ["get"], "nonResourceURLs": ["/x"]}
    wrong = {("rules[0].nonResourceURLs", "FieldValueInvalid")}
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    assert missing(api, api.path("rbac.authorization.k8s.io/v1", "roles"), {"rules": [paths]}, "Role") == wrong
    both = {**paths, "apiGroups": [""], "resources": ["pods"]}
    assert missing(api, roles, {"rules": [both]}, "ClusterRole") == wrong
    with api.made(roles, {"metadata": {"name": api.other_name()}, "rules": [paths]}) as made:
        assert made["rules"] == [paths]


@behaviour(934, "An autoscaler names the group of what it scales", source="API reference: CrossVersionObjectReference")
def test_group_of_a_scaled_object(api: Api) -> None:
    autoscalers = api.path("autoscaling/v2", "horizontalpodautoscalers")
    for version in ("", "v1"):
        reference = {"kind": "Deployment", "name": "d", "apiVersion": version}
        spec = {"maxReplicas": 1, "scaleTargetRef": reference}
        wrong = missing(api, autoscalers, {"spec": spec}, "HorizontalPodAutoscaler")
        assert wrong == {("spec.scaleTargetRef.apiVersion", "FieldValueInvalid")}


@behaviour(935, "A request for devices has a name", source="API reference: DeviceRequest")
def test_device_request_without_a_name(api: Api) -> None:
    spec = {"devices": {"requests": [{"exactly": {"deviceClassName": "c"}}]}}
    wrong = missing(api, api.path("resource.k8s.io/v1", "resourceclaims"), {"spec": spec}, "ResourceClaim")
    assert wrong == {("spec.devices.requests[0].name", "FieldValueInvalid")}


@behaviour(936, "A runtime class has a handler", source="API reference: RuntimeClass, handler")
def test_no_handler(api: Api) -> None:
    wrong = missing(api, "/apis/node.k8s.io/v1/runtimeclasses", {"handler": ""}, "RuntimeClass")
    assert {field for field, _ in wrong} == {"handler"}  # 1.34 calls it invalid, 1.36 required


def pod_causes(api: Api, **spec: Any) -> set[tuple[str, str]]:
    """The causes of a refused pod; its account is there."""
    api.furnished()
    answer = api("POST", api.core("pods"), pod("p", **spec))
    return answer.refused(422, "Invalid", kind="Pod", name="p").causes()


@behaviour(940, "A probe knocks at a port that there can be", source="API reference: Probe")
def test_ports_of_probes(api: Api) -> None:
    at = "spec.containers[0].livenessProbe"
    for handler, probe in (
        ("httpGet", {"path": "/"}),
        ("httpGet", {"port": 70000}),
        ("tcpSocket", {"port": "No_Name"}),
        ("grpc", {"port": 0}),
    ):
        container = {"name": "c", "image": "i", "livenessProbe": {handler: probe}}
        assert pod_causes(api, containers=[container]) == {(f"{at}.{handler}.port", "FieldValueInvalid")}


@behaviour(941, "A hook of a container says what it does", source="API reference: LifecycleHandler")
def test_hooks_of_containers(api: Api) -> None:
    container = {"name": "c", "image": "i", "lifecycle": {"postStart": {}, "preStop": {"httpGet": {"path": "/"}}}}
    assert pod_causes(api, containers=[container]) == {
        ("spec.containers[0].lifecycle.postStart", "FieldValueRequired"),
        ("spec.containers[0].lifecycle.preStop.httpGet.port", "FieldValueInvalid"),
    }


@behaviour(942, "A null item of a list is an empty one", source=OBSERVED)
def test_null_items(api: Api) -> None:
    assert pod_causes(api, containers=[None]) == {
        ("spec.containers[0].name", "FieldValueRequired"),
        ("spec.containers[0].image", "FieldValueRequired"),
    }


@behaviour(
    943,
    "Keys and values of a required node affinity are ones of labels",
    source="API reference: NodeSelectorRequirement",
)
def test_node_affinity(api: Api) -> None:
    terms = [{"matchExpressions": [{"key": "a b", "operator": "In", "values": ["50%"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    at = (
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
        ".matchExpressions[0]"
    )
    assert pod_causes(api, affinity={"nodeAffinity": required}) == {
        (f"{at}.key", "FieldValueInvalid"),
        (f"{at}.values[0]", "FieldValueInvalid"),
    }


@behaviour(944, "A scheduling gate has a qualified name", source="API reference: PodSchedulingGate")
def test_name_of_a_gate(api: Api) -> None:
    wrong = pod_causes(api, schedulingGates=[{"name": "50%"}])
    assert wrong == {("spec.schedulingGates[0]", "FieldValueInvalid")}


@behaviour(967, "No patch may take the version away from a kind that cannot be replaced without one", source=OBSERVED)
def test_patches_without_a_version(api: Api) -> None:
    leases = api.path("coordination.k8s.io/v1", "leases")
    api.create(leases, {"metadata": {"name": "a"}})
    for stated in (None, "", "0"):
        answer = api("PATCH", f"{leases}/a", {"metadata": {"resourceVersion": stated}}, content_type=MERGE)
        answer.refused(422, "Invalid", name="a", kind="leases", group="coordination.k8s.io")
        assert answer.causes() == {("metadata.resourceVersion", "FieldValueInvalid")}
    api.create(api.core("configmaps"), config_map("c"))
    api.merge(api.core("configmaps", "c"), {"metadata": {"resourceVersion": None}, "data": {"x": "y"}})


@behaviour(968, "What a Scale says of itself has to be valid, and to be about the same object", source=OBSERVED)
def test_metadata_of_a_scale(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d", "scale")
    for metadata, field in (
        ({"labels": {"a": "-"}}, "metadata.labels"),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]},
            "metadata.ownerReferences.uid",
        ),
        ({"finalizers": ["x"]}, "metadata.finalizers[0]"),
        ({"generation": -1}, "metadata.generation"),
    ):
        for answer in (
            api("PATCH", path, {"metadata": metadata, "spec": {"replicas": 2}}, content_type=MERGE),
            api("PUT", path, {"metadata": {"name": "d", **metadata}, "spec": {"replicas": 2}}),
        ):
            answer.refused(422, "Invalid", name="d", kind="Scale", group="autoscaling")
            assert answer.causes() == {(field, "FieldValueInvalid")}
    other = {"metadata": {"name": "d", "uid": "other"}, "spec": {"replicas": 2}}
    api("PATCH", path, other, content_type=MERGE).refused(409, "Conflict", name="d")
    api("PUT", path, other).refused(409, "Conflict", name="d")
    assert api.get(path)["spec"] == {}
    assert api.merge(path, {"metadata": {"resourceVersion": "0"}, "spec": {"replicas": 1}})["spec"] == {"replicas": 1}


@behaviour(970, "Bytes may come as a list of numbers, and are kept as base64", source=OBSERVED)
def test_bytes_as_numbers(api: Api) -> None:
    made = api.create(api.core("secrets"), {"metadata": {"name": "s"}, "data": {"k": [104, 105], "n": [None], "e": []}})
    assert made["data"] == {"k": "aGk=", "n": "AA==", "e": ""}
    for wrong in ([256], [-1], [1.5], ["a"], [[]]):
        api("POST", api.core("secrets"), {"metadata": {"name": "t"}, "data": {"k": wrong}}).refused(400, "BadRequest")


@behaviour(
    971,
    "A prefix of generated names has to begin a name of the kind; some kinds only look when they are made",
    source=OBSERVED,
)
def test_prefixes(api: Api) -> None:
    for prefix in ("-", "-a", "é-", "A"):
        answer = api("POST", api.core("configmaps"), {"metadata": {"name": "x", "generateName": prefix}})
        answer.refused(422, "Invalid", name="x", kind="ConfigMap")
        assert answer.causes() == {("metadata.generateName", "FieldValueInvalid")}
    for name, prefix in (("x", "a--"), ("y", "A-"), ("z", "a.-")):
        made = api.create(api.core("configmaps"), {"metadata": {"name": name, "generateName": prefix}})
        assert made["metadata"]["generateName"] == prefix
    patch = {"metadata": {"generateName": "-"}}
    api.create(api.core("configmaps"), config_map("c"))
    api("PATCH", api.core("configmaps", "c"), patch, content_type=MERGE).refused(422, "Invalid")
    api.create(api.core("services"), {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    api.merge(api.core("services", "s"), patch)
    budgets = api.path("policy/v1", "poddisruptionbudgets")
    api.create(budgets, {"metadata": {"name": "b", **patch["metadata"]}, "spec": {"minAvailable": 1}})


@behaviour(972, "Finalizers of most kinds have a domain, those of some do not need one", source=OBSERVED)
def test_plain_finalizers(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("c"))
    patch = {"metadata": {"finalizers": ["plain"]}}
    answer = api("PATCH", api.core("configmaps", "c"), patch, content_type=MERGE).refused(422, "Invalid")
    assert answer.causes() == {("metadata.finalizers[0]", "FieldValueInvalid")}
    leases = api.path("coordination.k8s.io/v1", "leases")
    made = api.create(leases, {"metadata": {"name": "a", **patch["metadata"]}})
    assert made["metadata"]["finalizers"] == ["plain"]
    api.merge(f"{leases}/a", {"metadata": {"finalizers": None}})


@behaviour(
    973,
    "A deletion that is not over yet is 202 for those who said that dependents go, 200 for all others",
    source=OBSERVED,
)
def test_accepted_deletions(api: Api) -> None:
    held = config_map("a")
    held["metadata"]["finalizers"] = ["example.com/a"]
    api.create(api.core("configmaps"), held)
    path = api.core("configmaps", "a")
    for options, status in (
        (None, 200),
        ({"orphanDependents": False}, 202),
        ({"propagationPolicy": "Background"}, 200),
        ({"dryRun": ["All", "All"]}, 200),
    ):
        assert api("DELETE", path, options).status == status
    assert api("DELETE", f"{path}?orphanDependents=false").status == 202
    api.merge(path, {"metadata": {"finalizers": None}})
    api.create(api.core("configmaps"), config_map("b"))
    assert api("DELETE", api.core("configmaps", "b"), {"orphanDependents": False}).status == 200


@behaviour(974, "A collection is deleted in the order of its names until a precondition does not hold", source=OBSERVED)
def test_preconditions_of_a_collection(api: Api) -> None:
    leases = api.path("coordination.k8s.io/v1", "leases")
    uids = {name: api.create(leases, {"metadata": {"name": name}})["metadata"]["uid"] for name in "abc"}
    options = {"preconditions": {"uid": uids["b"]}}
    api("DELETE", leases, options).refused(409, "Conflict", name="a", kind="Lease")
    assert len(api.get(leases)["items"]) == 3
    options = {"preconditions": {"uid": uids["a"]}}
    api("DELETE", leases, options).refused(409, "Conflict", name="b", kind="Lease")
    assert [one["metadata"]["name"] for one in api.get(leases)["items"]] == ["b", "c"]


@behaviour(969, "A precondition of a deletion that is empty holds for no object", source=OBSERVED)
def test_empty_preconditions(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for stated in ({"uid": ""}, {"resourceVersion": ""}):
        answer = api("DELETE", api.core("configmaps", "a"), {"preconditions": stated})
        answer.refused(409, "Conflict", name="a", kind="ConfigMap")
    api.delete(api.core("configmaps", "a"), {"preconditions": {"uid": None, "resourceVersion": None}})


@behaviour(
    999, "Roles show and own their rules, policies their selector, even where there is nothing in it", source=OBSERVED
)
def test_fields_that_are_always_there(api: Api) -> None:
    roles = api.path("rbac.authorization.k8s.io/v1", "roles")
    made = api.create(roles, {"metadata": {"name": "bare"}})
    assert made["rules"] is None
    assert "managedFields" not in made["metadata"]
    wanted = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    api.create(f"{roles}?fieldManager=a", wanted)
    emptied = api.merge(f"{roles}/r?fieldManager=a", {"rules": None})
    assert emptied["rules"] is None
    assert emptied["metadata"]["managedFields"][0]["fieldsV1"] == {"f:rules": {}}
    answer = api("PATCH", f"{roles}/r?fieldManager=b", wanted, content_type=APPLY).refused(409, "Conflict")
    assert answer.causes() == {(".rules", "FieldManagerConflict")}
    policies = api.path("networking.k8s.io/v1", "networkpolicies")
    assert api.create(policies, {"metadata": {"name": "p"}})["spec"]["podSelector"] == {}
