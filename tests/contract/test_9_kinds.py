"""Kinds: what some do and others do not. Numbers 900 to 999."""

from asking import Api, deployment
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


@behaviour(907, "Counts in a quota are whole numbers", source="Concepts: Resource quotas, object count")
def test_whole_counts(api: Api) -> None:
    answer = api(
        "POST", api.core("resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": {"count/things": "1.5"}}}
    )
    answer.refused(422, "Invalid", kind="ResourceQuota", name="q")
    assert answer.causes() == {("spec.hard[count/things]", "FieldValueInvalid")}
