"""Values that say nothing: zeros, empty texts, lists and maps. Numbers 1060 to 1079."""

from typing import Any

from asking import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api, config_map, deployment, pod
from behaviours import behaviour

OBSERVED = "observed on 1.34.2"
OPTIONAL = "API conventions: Optional vs. Required, Nullable"
POLICIES = "networking.k8s.io/v1"


def _policy(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": POLICIES,
        "kind": "NetworkPolicy",
        "metadata": {"name": "x"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], **spec},
    }


@behaviour(
    1060, "A false, a 0 or an empty text of a field that is no pointer is left out, and is no change", source=OPTIONAL
)
def test_zeros(api: Api) -> None:
    zeros = {"hostNetwork": False, "hostPID": False, "hostname": "", "nodeName": "", "priorityClassName": ""}
    container = {
        "name": "c",
        "image": "i",
        "tty": False,
        "stdin": False,
        "workingDir": "",
        "terminationMessagePath": "",
    }
    spec = {**pod()["spec"], **zeros, "containers": [container]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    head = {"metadata": {"name": "d"}}
    suspended = {"suspend": True, "template": {**template, "spec": {**spec, "restartPolicy": "Never"}}}
    for version, plural, made in (
        ("apps/v1", "deployments", deployment("d", minReadySeconds=0, paused=False, template=template)),
        ("batch/v1", "jobs", {**head, "apiVersion": "batch/v1", "kind": "Job", "spec": suspended}),
        ("v1", "podtemplates", {**head, "apiVersion": "v1", "kind": "PodTemplate", "template": template}),
    ):
        stored = api.create(api.path(version, plural), made)
        kept = stored.get("spec", stored)
        assert not {"minReadySeconds", "paused"} & kept.keys()
        assert not zeros.keys() & kept["template"]["spec"].keys()
        found = kept["template"]["spec"]["containers"][0]
        assert not {"tty", "stdin", "workingDir"} & found.keys()
        assert found["terminationMessagePath"] == "/dev/termination-log"
    place = api.path("v1", "podtemplates", "d")
    before = api.get(place)
    same = api.merge(place, {"template": {"spec": {"hostIPC": False, "subdomain": ""}}})
    assert same == before
    api(
        "PATCH", place, [{"op": "test", "path": "/template/spec/hostIPC", "value": False}], content_type=JSON_PATCH
    ).refused(422, "Invalid")


@behaviour(
    1061, "A false, a 0 or an empty text of a pointer is kept, and so is one of an element or an entry", source=OPTIONAL
)
def test_kept_zeros(api: Api) -> None:
    made = pod("p", schedulerName="nobody", terminationGracePeriodSeconds=0, enableServiceLinks=False)
    made["spec"]["containers"][0] |= {
        "securityContext": {"runAsUser": 0, "privileged": False},
        "command": ["", "a"],
        "env": [{"name": "A", "value": ""}],
    }
    found = api.create(api.core("pods"), {**made, "metadata": {"name": "p", "labels": {"l": ""}}})
    spec, container = found["spec"], found["spec"]["containers"][0]
    assert found["metadata"]["labels"] == {"l": ""}
    assert spec["terminationGracePeriodSeconds"] == 0
    assert spec["enableServiceLinks"] is False
    assert container["securityContext"] == {"runAsUser": 0, "privileged": False}
    assert container["command"] == ["", "a"]
    assert container["env"] == [{"name": "A"}]
    frozen = api.create(api.core("configmaps"), {**config_map("c", a=""), "immutable": False})
    assert frozen["immutable"] is False
    assert frozen["data"] == {"a": ""}


@behaviour(
    1062, "Who applies a zero that is left out owns it all the same", source="Server-Side Apply: Field management"
)
def test_applied_zeros(api: Api) -> None:
    wanted = {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": "x"},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {**pod()["spec"], "hostNetwork": False}},
    }
    place = api.path("v1", "podtemplates", "x")
    made = api("PATCH", f"{place}?fieldManager=m", wanted, content_type=APPLY).body
    assert "hostNetwork" not in made["template"]["spec"]
    (entry,) = made["metadata"]["managedFields"]
    assert "f:hostNetwork" in entry["fieldsV1"]["f:template"]["f:spec"]
    again = api("PATCH", f"{place}?fieldManager=m", wanted, content_type=APPLY).body
    assert again["metadata"]["generation"] == 1


@behaviour(
    1063, "Each write of an empty list or map into a network policy counts, though none is kept", source=OBSERVED
)
def test_empty_parts_of_a_policy(api: Api) -> None:
    place = api.path(POLICIES, "networkpolicies", "x")
    api.create(api.path(POLICIES, "networkpolicies"), _policy(ingress=[{}]))
    for generation, spec in (
        (2, {"ingress": [{"ports": [], "nope": []}]}),
        (3, {"ingress": [{"ports": []}]}),
        (4, {"podSelector": {"matchLabels": {}}}),
        (5, {"egress": []}),
        (5, {"ingress": [{"nope": [], "ports": None}], "policyTypes": []}),
    ):
        found = api.merge(place, {"spec": spec})
        assert found["metadata"]["generation"] == generation
        assert found["spec"] == _policy(ingress=[{}])["spec"]
    found = api.put(place, _policy(ingress=[{"from": []}]))
    assert found["metadata"]["generation"] == 6
    applied = _policy(ingress=[{"from": []}])
    found = api("PATCH", f"{place}?fieldManager=m&force=true", applied, content_type=APPLY).body
    assert found["metadata"]["generation"] == 7
    assert api.merge(place, {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 7


@behaviour(1064, "Each write of an empty list or map into webhooks counts, though none is kept", source=OBSERVED)
def test_empty_parts_of_webhooks(api: Api) -> None:
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        version, name = "admissionregistration.k8s.io/v1", api.other_name("hooks")
        hook = {
            "name": "a.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        made = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "webhooks": [hook]}
        with api.made(f"/apis/{version}/{kind.lower()}s", made) as stored:
            place = f"/apis/{version}/{kind.lower()}s/{name}"
            assert stored["metadata"]["generation"] == 1
            assert api.put(place, stored)["metadata"]["generation"] == 1
            stored["webhooks"][0]["rules"] = []
            found = api.put(place, stored)
            assert found["metadata"]["generation"] == 2
            assert "rules" not in found["webhooks"][0]
            found["webhooks"][0]["namespaceSelector"] = {"matchLabels": {}}
            assert api.put(place, found)["metadata"]["generation"] == 3


@behaviour(1065, "An empty text of a pointer is no default, and wrong where only some texts are right", source=OPTIONAL)
def test_empty_pointers(api: Api) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    ports = [{"port": 1, "protocol": ""}]
    for version, plural, made in (
        ("v1", "services", {**service, "spec": {**service["spec"], "internalTrafficPolicy": ""}}),
        ("policy/v1", "poddisruptionbudgets", {**budget, "spec": {"unhealthyPodEvictionPolicy": ""}}),
        ("v1", "services", {**service, "spec": {**service["spec"], "ipFamilyPolicy": ""}}),
        (POLICIES, "networkpolicies", _policy(ingress=[{"ports": ports}])),
    ):
        answer = api("POST", api.path(version, plural), made)
        answer.refused(422, "Invalid")
        assert {reason for _, reason in answer.causes()} == {"FieldValueNotSupported"}
    template = {"spec": {**pod()["spec"], "runtimeClassName": ""}}
    bare = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t"}, "template": template}
    answer = api("POST", api.path("v1", "podtemplates"), bare)
    assert answer.refused(422, "Invalid").causes() == {("template.spec.runtimeClassName", "FieldValueInvalid")}
    named = api.create(api.core("services"), {**service, "spec": {"ports": [{"port": 1, "name": "", "protocol": ""}]}})
    assert named["spec"]["ports"][0] == {"port": 1, "protocol": "TCP", "targetPort": 1}


@behaviour(1066, "The answer to a pod's deletion that is at once shows the marks of it", source=OBSERVED)
def test_marks_of_a_pod(api: Api) -> None:
    api.create_pod("p", schedulerName="nobody")
    gone = api.delete(api.core("pods", "p"))["metadata"]
    assert gone["deletionGracePeriodSeconds"] == 0
    assert gone["deletionTimestamp"]
    assert gone["generation"] == 2


@behaviour(
    1067,
    "A strategic patch may direct the version and the kind away: they stay as they are",
    source="Strategic Merge Patch: directives",
)
def test_directed_version(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("c"))
    patch = {"apiVersion": {"a": "b", "$patch": "-"}, "kind": {"$patch": "delete"}, "data": {"a": "1"}}
    found = api("PATCH", f"{api.core('configmaps', 'c')}?fieldValidation=Strict", patch, content_type=STRATEGIC)
    assert found.status == 200
    assert (found.body["apiVersion"], found.body["kind"], found.body["data"]) == ("v1", "ConfigMap", {"a": "1"})


@behaviour(
    1068,
    "Of a number that is applied or strategically patched, the bits that have no room are cut off",
    source=OBSERVED,
)
def test_cut_numbers(api: Api) -> None:
    head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}}
    place, name = api.path("coordination.k8s.io/v1", "leases", "x"), "leaseDurationSeconds"
    api.create(api.path("coordination.k8s.io/v1", "leases"), {**head, "spec": {name: 5}})
    for content_type in (APPLY, STRATEGIC):
        query = "?fieldManager=m&force=true" if content_type == APPLY else ""
        answer = api("PATCH", place + query, {**head, "spec": {name: 1 << 31}}, content_type=content_type)
        answer.refused(422, "Invalid")
        assert "-2147483648: must be greater than 0" in answer.body["message"]
        cut = api("PATCH", place + query, {**head, "spec": {name: (1 << 62) + 7}}, content_type=content_type)
        assert cut.body["spec"][name] == 7
    api("PATCH", place, {"spec": {name: 1 << 31}}, content_type=MERGE).refused(422, "Invalid")
    version = api.get(place)["metadata"]["resourceVersion"]
    stated = {**head, "metadata": {"name": "x", "resourceVersion": version}, "spec": {name: 1 << 31}}
    api("PUT", place, stated).refused(400, "BadRequest")
