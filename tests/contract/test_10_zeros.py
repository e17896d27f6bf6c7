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


BARE: tuple[tuple[str, str, str, dict[str, Any], tuple[str, ...]], ...] = (
    ("rbac.authorization.k8s.io/v1", "roles", "Role", {}, ("rules",)),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", {"addressType": "IPv4"}, ("endpoints",)),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", {"addressType": "IPv4"}, ("ports",)),
    ("v1", "limitranges", "LimitRange", {}, ("spec", "limits")),
    ("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", {"spec": {}}, ("spec", "devices", "requests")),
)
"""Kinds without anything in a list that is always shown, and where the list is."""


def _within(value: Any, path: tuple[str, ...]) -> dict[str, Any]:
    for step in reversed(path):
        value = {step: value}
    found: dict[str, Any] = value
    return found


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        obj = obj[step]
    return obj


def _owns(obj: dict[str, Any], manager: str, path: tuple[str, ...]) -> bool:
    entries = [one for one in obj["metadata"].get("managedFields", ()) if one["manager"] == manager]
    fields = entries[0]["fieldsV1"] if entries else {}
    for step in path:
        fields = fields.get(f"f:{step}", None) if fields is not None else None
    return fields is not None


@behaviour(
    1069,
    "A list that is always shown is null when nothing was written, and so is an empty one, which has an owner",
    source=OBSERVED,
)
def test_lists_that_are_always_shown(api: Api) -> None:
    for number, (version, plural, kind, rest, path) in enumerate(BARE):
        head = {"apiVersion": version, "kind": kind, "metadata": {"name": f"x{number}", "labels": {"a": "b"}}, **rest}
        place = api.path(version, plural)
        for name, written, owned in (("none", {}, False), ("null", _within(None, path), False)):
            made = api.create(
                f"{place}?fieldManager=m", {**head, **written, "metadata": {**head["metadata"], "name": name}}
            )
            assert _at(made, path) is None
            assert _owns(made, "m", path) is owned
            api.delete(f"{place}/{name}")
        made = api.create(f"{place}?fieldManager=m", {**head, **_within([], path)})
        assert _at(made, path) is None
        assert _owns(made, "m", path)
        place = f"{place}/x{number}"
        assert api.get(place) == made
        for content_type in (MERGE, STRATEGIC):
            found = api("PATCH", f"{place}?fieldManager=n", _within([], path), content_type=content_type).body
            assert _at(found, path) is None
            assert _owns(found, "n", path)
            assert not _owns(found, "m", path)  # it changed hands
            assert found["metadata"].get("generation") == made["metadata"].get("generation")
            made = api.merge(f"{place}?fieldManager=m", {"metadata": {"labels": {"a": content_type[-9:-5]}}})
            assert _owns(made, "n", path)


@behaviour(1070, "A text that is always shown is nobody's before it is written", source=OBSERVED)
def test_texts_that_are_always_shown(api: Api) -> None:
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}}
    event["involvedObject"] = {"namespace": api.namespace}
    bare = deployment("s")["spec"]
    del bare["replicas"]
    sets = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": bare}
    for version, plural, obj, paths in (
        ("v1", "events", event, (("reportingComponent",), ("reportingInstance",))),
        ("apps/v1", "statefulsets", sets, (("spec", "serviceName"),)),
    ):
        for written, owned in ((None, False), ("", False), ("a", True)):
            place = api.path(version, plural)
            stated: dict[str, Any] = {**obj}
            for path in paths if written is not None else ():
                inner = stated[path[0]] = {**obj[path[0]], path[1]: written} if len(path) > 1 else written
                assert inner is not None
            made = api.create(f"{place}?fieldManager=m", stated)
            for path in paths:
                assert _at(made, path) == (written or "")
                assert _owns(made, "m", path) is owned
            api.delete(f"{place}/{obj['metadata']['name']}", {"propagationPolicy": "Background"})
            name = obj["metadata"]["name"]
            api.eventually(lambda place=place, name=name: api("GET", f"{place}/{name}").status == 404)


@behaviour(
    1071,
    "A backend that names no group is of none; an empty name of a group is no name",
    source="Ingress: IngressBackend",
)
def test_groups_of_backends(api: Api) -> None:
    place = api.path(POLICIES, "ingresses")

    def ingress(**group: Any) -> dict[str, Any]:
        backend = {"resource": {"kind": "A", "name": "b", **group}}
        head = {"apiVersion": POLICIES, "kind": "Ingress", "metadata": {"name": "x"}}
        return {**head, "spec": {"defaultBackend": backend}}

    made = api.create(place, ingress())
    assert made["spec"]["defaultBackend"]["resource"]["apiGroup"] is None
    assert api.put(f"{place}/x", ingress(apiGroup=None))["metadata"]["generation"] == 1
    answer = api("PUT", f"{place}/x", ingress(apiGroup=""))
    answer.refused(422, "Invalid")
    assert answer.causes() == {("spec.defaultBackend.resource.apiGroup", "FieldValueInvalid")}
    assert api.put(f"{place}/x", ingress(apiGroup="a.b"))["metadata"]["generation"] == 2
