"""Objects: create, read, replace, their generation, status and scale. Numbers 100 to 139."""

import re
from typing import Any

from asking import MERGE, STRATEGIC, Api, config_map, deployment
from behaviours import behaviour

CONCEPTS = "API concepts"
CONVENTIONS = "API conventions"
OBSERVED = "observed on 1.34.2"
META = "API reference: ObjectMeta"


@behaviour(100, "A created object has a uid, a version, a time and its namespace", source=f"{CONVENTIONS}: Metadata")
def test_create_fills_metadata_in(api: Api) -> None:
    metadata = api.create(api.core("configmaps"), config_map("a", x="y"))["metadata"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["uid"])
    assert int(metadata["resourceVersion"]) > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert metadata["namespace"] == api.namespace
    assert "generation" not in metadata


@behaviour(
    101,
    "A create with a taken name is 409 AlreadyExists, naming the object",
    source=f"{CONVENTIONS}: HTTP status codes, 409",
)
def test_create_of_a_taken_name(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    answer = api("POST", api.core("configmaps"), config_map("a"))
    answer.refused(409, "AlreadyExists", 'configmaps "a" already exists', name="a", kind="configmaps")
    api.create(api.path("apps/v1", "deployments"), deployment("d"))
    again = api("POST", api.path("apps/v1", "deployments"), deployment("d"))
    again.refused(409, "AlreadyExists", 'deployments.apps "d" already exists', name="d", group="apps")


@behaviour(102, "A missing object is 404 NotFound, naming it", source=f"{CONVENTIONS}: HTTP status codes, 404")
def test_missing(api: Api) -> None:
    answer = api("GET", api.core("configmaps", "missing"))
    answer.refused(404, "NotFound", 'configmaps "missing" not found', name="missing", kind="configmaps", group="")
    answer = api("GET", api.path("apps/v1", "deployments", "missing"))
    answer.refused(404, "NotFound", 'deployments.apps "missing" not found', kind="deployments", group="apps")


@behaviour(
    103,
    "What only the server may say of a new object is not taken from its creator",
    source=f"{META}: read-only fields",
)
def test_create_ignores_server_fields(api: Api) -> None:
    obj = config_map("a")
    stated = {"uid": "u-1", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7, "selfLink": "/x"}
    stated |= {"deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
    obj["metadata"] |= stated
    made = api.create(api.core("configmaps"), obj)["metadata"]
    assert made["uid"] != "u-1"
    assert not made["creationTimestamp"].startswith("2001")
    assert not {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"} & made.keys()


@behaviour(104, "A new object must not carry a resourceVersion", source="API reference: ObjectMeta, resourceVersion")
def test_create_with_a_version(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["resourceVersion"] = "1"
    answer = api("POST", api.core("configmaps"), obj)
    assert answer.body["message"] == "resourceVersion should not be set on objects to be created"
    api("GET", api.core("configmaps", "a")).refused(404, "NotFound")


@behaviour(
    105,
    "generateName gets five random letters or digits, and the prefix stays in the object",
    source=f"{CONCEPTS}: Generated names",
)
def test_generate_name(api: Api) -> None:
    obj = {"metadata": {"generateName": "job-"}}
    made = [api.create(api.core("configmaps"), obj)["metadata"] for _ in range(3)]
    assert len({metadata["name"] for metadata in made}) == 3
    for metadata in made:
        assert re.fullmatch(r"job-[bcdfghjklmnpqrstvwxz2456789]{5}", metadata["name"])
        assert metadata["generateName"] == "job-"


@behaviour(106, "A name that is stated wins over generateName", source=f"{META}: generateName")
def test_name_and_generate_name(api: Api) -> None:
    made = api.create(api.core("configmaps"), {"metadata": {"name": "a", "generateName": "b-"}})
    assert (made["metadata"]["name"], made["metadata"]["generateName"]) == ("a", "b-")


@behaviour(107, "A long generateName is cut so that the name fits into 63 letters", source=OBSERVED)
def test_long_generate_name(api: Api) -> None:
    made = api.create(api.core("configmaps"), {"metadata": {"generateName": "x" * 80}})
    assert re.fullmatch(r"x{58}[a-z0-9]{5}", made["metadata"]["name"])


@behaviour(108, "An object without name and generateName is refused", source=f"{CONVENTIONS}: Metadata, name")
def test_no_name(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), {"metadata": {}})
    answer.refused(
        422,
        "Invalid",
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
        kind="ConfigMap",
        name="",
    )
    assert answer.causes() == {("metadata.name", "FieldValueRequired")}


@behaviour(109, "A replaced object keeps its uid and creation time and gets a later version", source=f"{META}: uid")
def test_replace(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1", y="2"))
    changed = api.put(api.core("configmaps", "a"), config_map("a", x="3"))
    assert changed["data"] == {"x": "3"}
    for field in ("uid", "creationTimestamp", "name", "namespace"):
        assert changed["metadata"][field] == made["metadata"][field]
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


@behaviour(
    110,
    "A replacement of an old version is 409 Conflict and changes nothing",
    source=f"{CONVENTIONS}: Concurrency control",
)
def test_replace_of_an_old_version(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1"))
    api.merge(api.core("configmaps", "a"), {"data": {"x": "2"}})
    answer = api("PUT", api.core("configmaps", "a"), {**made, "data": {"x": "3"}})
    answer.refused(
        409,
        "Conflict",
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to '
        "the latest version and try again",
        name="a",
        kind="configmaps",
    )
    assert api.get(api.core("configmaps", "a"))["data"] == {"x": "2"}


@behaviour(
    111,
    "A replacement that names no version overwrites, for kinds that allow it",
    source=f"{CONVENTIONS}: Concurrency control",
)
def test_replace_without_a_version(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    api.merge(api.core("configmaps", "a"), {"data": {"x": "2"}})
    assert api.put(api.core("configmaps", "a"), config_map("a", x="3"))["data"] == {"x": "3"}


@behaviour(112, "Kinds that do not allow unconditional replacement require the version", source=OBSERVED)
def test_replace_needs_a_version(api: Api) -> None:
    leases = api.path("coordination.k8s.io/v1", "leases")
    api.create(leases, {"metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}})
    answer = api("PUT", f"{leases}/a", {"metadata": {"name": "a"}, "spec": {"holderIdentity": "you"}})
    answer.refused(422, "Invalid", name="a", kind="leases", group="coordination.k8s.io")
    assert answer.causes() == {("metadata.resourceVersion", "FieldValueInvalid")}
    assert "must be specified for an update" in answer.body["message"]
    budgets = api.path("policy/v1", "poddisruptionbudgets")
    made = api.create(budgets, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1}})
    del made["metadata"]["resourceVersion"]
    api("PUT", f"{budgets}/b", made).refused(422, "Invalid", kind="poddisruptionbudgets")


@behaviour(113, "A replacement of another uid is 409 Conflict", source=f"{META}: uid")
def test_replace_of_another_uid(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a"))
    other = config_map("a", x="y")
    other["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    answer = api("PUT", api.core("configmaps", "a"), other)
    answer.refused(409, "Conflict", name="a", kind="configmaps")
    assert answer.body["message"].endswith(
        "Precondition failed: UID in precondition: 11111111-1111-1111-1111-111111111111, UID in object meta: "
        + made["metadata"]["uid"]
    )


@behaviour(114, "A write that changes nothing leaves the version as it was", source=OBSERVED)
def test_write_of_nothing(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1"))
    assert (
        api.put(api.core("configmaps", "a"), made)["metadata"]["resourceVersion"]
        == (made["metadata"]["resourceVersion"])
    )
    patched = api.merge(api.core("configmaps", "a"), {"data": {"x": "1"}})
    assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@behaviour(115, "Name and namespace of the body must be those of the URL", source=f"{CONVENTIONS}: Metadata")
def test_body_and_url_disagree(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    answer = api("PUT", api.core("configmaps", "a"), config_map("b"))
    answer.refused(400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")
    other = config_map("c")
    other["metadata"]["namespace"] = "elsewhere"
    answer = api("POST", api.core("configmaps"), other)
    why = "the namespace of the provided object does not match the namespace sent on the request"
    answer.refused(400, "BadRequest", why)


@behaviour(116, "A replacement of a missing object is 404 and makes none", source=f"{CONCEPTS}: Resource URIs")
def test_replace_of_a_missing_object(api: Api) -> None:
    answer = api("PUT", api.core("configmaps", "a"), config_map("a"))
    answer.refused(404, "NotFound", 'configmaps "a" not found')
    api("GET", api.core("configmaps", "a")).refused(404, "NotFound")


@behaviour(117, "A create in a namespace that is not there is 404 for the namespace", source=OBSERVED)
def test_create_in_no_namespace(api: Api) -> None:
    answer = api("POST", "/api/v1/namespaces/nowhere-at-all/configmaps", config_map("a"))
    answer.refused(404, "NotFound", 'namespaces "nowhere-at-all" not found', name="nowhere-at-all", kind="namespaces")


@behaviour(118, "A body of another kind or version than the URL's is refused", source=OBSERVED)
def test_body_of_another_kind(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}})
    answer.refused(400, "BadRequest")
    assert answer.body["message"].startswith('Secret in version "v1" cannot be handled as a ConfigMap: ')
    answer = api("POST", api.core("configmaps"), {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}})
    answer.refused(400, "BadRequest")


@behaviour(119, "apiVersion and kind may be left out of a body", source=OBSERVED)
def test_body_without_a_kind(api: Api) -> None:
    made = api.create(api.core("configmaps"), {"metadata": {"name": "a"}, "data": {"x": "y"}})
    assert (made["apiVersion"], made["kind"], made["data"]) == ("v1", "ConfigMap", {"x": "y"})


# --- generation, status, scale ---


@behaviour(
    120,
    "The generation starts at 1 and grows with changes of the spec only",
    source=f"{CONVENTIONS}: Metadata, generation",
)
def test_generation(api: Api) -> None:
    path = api.path("apps/v1", "deployments", "d")
    made = api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    assert made["metadata"]["generation"] == 1
    assert api.merge(path, {"metadata": {"labels": {"x": "y"}}})["metadata"]["generation"] == 1
    assert api.merge(path, {"spec": {"minReadySeconds": 3}})["metadata"]["generation"] == 2
    assert api.merge(f"{path}/status", {"status": {"replicas": 0}})["metadata"]["generation"] == 2


@behaviour(121, "A stated generation is not taken over", source=f"{META}: generation")
def test_generation_is_the_server_s(api: Api) -> None:
    made = api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    changed = api.merge(api.path("apps/v1", "deployments", "d"), {"metadata": {"generation": 50}})
    assert changed["metadata"]["generation"] == made["metadata"]["generation"] == 1


@behaviour(122, "A change of a deployment's annotations raises its generation", source=OBSERVED)
def test_generation_of_annotations(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d")
    assert api.merge(path, {"metadata": {"annotations": {"x": "y"}}})["metadata"]["generation"] == 2


@behaviour(
    123, "A new object of a kind with a status endpoint gets the server's status", source=f"{CONVENTIONS}: Status"
)
def test_status_of_a_new_object(api: Api) -> None:
    made = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    assert made["status"]["phase"] == "Pending"
    stated = deployment("d", paused=True)
    stated["status"] = {"replicas": 7}
    assert api.create(api.path("apps/v1", "deployments"), stated)["status"] == {}


@behaviour(124, "A write of the object does not change its status", source=f"{CONVENTIONS}: Spec and Status")
def test_a_write_leaves_the_status(api: Api) -> None:
    pod = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    changed = api.merge(
        api.core("pods", "p"), {"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Running", "message": "m"}}
    )
    assert changed["status"]["phase"] == pod["status"]["phase"] == "Pending"
    assert "message" not in changed["status"]


@behaviour(125, "A write of the status does not change the spec", source=f"{CONVENTIONS}: Spec and Status")
def test_a_status_write_leaves_the_spec(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    patch = {"spec": {"minReadySeconds": 9}, "status": {"observedGeneration": 1, "collisionCount": 3}}
    changed = api.merge(api.path("apps/v1", "deployments", "d", "status"), patch)
    assert "minReadySeconds" not in changed["spec"]
    assert changed["status"]["collisionCount"] == 3


@behaviour(126, "The status endpoint shows the whole object", source=f"{CONVENTIONS}: Spec and Status")
def test_get_status(api: Api) -> None:
    api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    found = api.get(api.core("pods", "p", "status"))
    assert (found["kind"], found["spec"]["containers"][0]["name"]) == ("Pod", "c")


@behaviour(
    127, "A status is replaced with a precondition on the version too", source=f"{CONVENTIONS}: Concurrency control"
)
def test_replace_of_an_old_status(api: Api) -> None:
    pod = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    api.merge(api.core("pods", "p", "status"), {"status": {"message": "one"}})
    answer = api("PUT", api.core("pods", "p", "status"), {**pod, "status": {"phase": "Pending", "message": "two"}})
    answer.refused(409, "Conflict", name="p", kind="pods")
    assert api.get(api.core("pods", "p"))["status"]["message"] == "one"


@behaviour(128, "Conditions of a pod are merged by their type", source="API reference: PodStatus, patchMergeKey")
def test_conditions_are_merged(api: Api) -> None:
    api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    path = api.core("pods", "p", "status")
    for kind in ("Ready", "ContainersReady"):
        patch = {"status": {"conditions": [{"type": kind, "status": "False"}]}}
        answer = api("PATCH", path, patch, content_type=STRATEGIC)
        assert answer.status == 200, answer.body
    found = {condition["type"] for condition in api.get(path)["status"]["conditions"]}
    assert {"Ready", "ContainersReady"} <= found


@behaviour(
    129, "A Scale has the object's name, uid and version, its replicas and its selector", source="API reference: Scale"
)
def test_scale(api: Api) -> None:
    made = api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True, replicas=2))
    scale = api.get(api.path("apps/v1", "deployments", "d", "scale"))
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["metadata"]["uid"] == made["metadata"]["uid"]
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"]["selector"] == "a=b"
    assert api.get(api.path("apps/v1", "deployments", "d"))["kind"] == "Deployment"


@behaviour(130, "A written Scale changes the object's replicas and generation", source="API reference: Scale")
def test_write_scale(api: Api) -> None:
    path = api.path("apps/v1", "deployments", "d")
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    scale = api.get(f"{path}/scale")
    changed = api.put(f"{path}/scale", {**scale, "metadata": {"name": "d"}, "spec": {"replicas": 3}})
    assert changed["spec"] == {"replicas": 3}
    found = api.get(path)
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)
    assert api.merge(f"{path}/scale", {"spec": {"replicas": 0}})["spec"] == {}


@behaviour(131, "A Scale of an old version is 409, a negative one 422", source="API reference: Scale")
def test_bad_scale(api: Api) -> None:
    path = api.path("apps/v1", "deployments", "d")
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    scale = api.get(f"{path}/scale")
    api.merge(path, {"metadata": {"labels": {"x": "y"}}})
    api("PUT", f"{path}/scale", {**scale, "spec": {"replicas": 1}}).refused(409, "Conflict", name="d")
    answer = api("PUT", f"{path}/scale", {"metadata": {"name": "d"}, "spec": {"replicas": -1}})
    answer.refused(422, "Invalid", kind="Scale", name="d")
    assert answer.causes() == {("spec.replicas", "FieldValueInvalid")}


@behaviour(132, "A subresource that a kind does not have is 404", source=f"{CONCEPTS}: Resource URIs")
def test_no_such_subresource(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for subresource in ("status", "scale", "nonsense"):
        answer = api("GET", api.core("configmaps", "a", subresource))
        answer.refused(404, "NotFound", "the server could not find the requested resource")


@behaviour(133, "An object keeps what its writer left out of an update's metadata away", source=f"{CONVENTIONS}: PUT")
def test_replace_removes_labels(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", labels={"x": "y"}))
    assert "labels" not in api.put(api.core("configmaps", "a"), config_map("a"))["metadata"]


@behaviour(134, "An immutable ConfigMap refuses changes of its data", source="API reference: ConfigMap, immutable")
def test_immutable(api: Api) -> None:
    api.create(api.core("configmaps"), {**config_map("a", x="1"), "immutable": True})
    path = api.core("configmaps", "a")
    answer = api("PATCH", path, {"data": {"x": "2"}}, content_type=MERGE)
    answer.refused(422, "Invalid", kind="ConfigMap", name="a")
    assert answer.causes() == {("data", "FieldValueForbidden")}
    api("PATCH", path, {"immutable": False}, content_type=MERGE).refused(422, "Invalid")
    api.merge(path, {"metadata": {"labels": {"x": "y"}}})


@behaviour(135, "A Secret's stringData is stored as data, and never shown", source="API reference: Secret, stringData")
def test_string_data(api: Api) -> None:
    made = api.create(api.core("secrets"), {"metadata": {"name": "s"}, "stringData": {"k": "v"}, "data": {"k": "eA=="}})
    assert made["data"] == {"k": "dg=="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


@behaviour(136, "Two owners that both are controllers are refused", source=f"{META}: ownerReferences")
def test_two_controllers(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": f"u-{name}", "controller": True}
        for name in ("x", "y")
    ]
    answer = api("POST", api.core("configmaps"), obj)
    answer.refused(422, "Invalid", kind="ConfigMap", name="a")
    assert answer.causes() == {("metadata.ownerReferences", "FieldValueInvalid")}


@behaviour(137, "An owner reference without a uid, name, kind or version is refused", source=f"{META}: ownerReferences")
def test_incomplete_owner(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["ownerReferences"] = [{"apiVersion": "", "kind": "", "name": "", "uid": ""}]
    answer = api("POST", api.core("configmaps"), obj)
    answer.refused(422, "Invalid")
    fields = {"apiVersion", "kind", "name", "uid"}
    assert {field.rpartition(".")[2] for field, _ in answer.causes()} == fields


# --- what a status may say ---


def status_refused(api: Api, path: str, status: Any) -> set[tuple[str, str]]:
    """The causes of a refused status."""
    answer = api("PATCH", f"{path}/status", {"status": status}, content_type=MERGE)
    return answer.refused(422, "Invalid").causes()


@behaviour(138, "A status counts nothing below zero, and no part above its whole", source=f"{CONVENTIONS}: Validation")
def test_counts_of_a_status(api: Api) -> None:
    deployments = api.path("apps/v1", "deployments")
    api.create(deployments, deployment("d", paused=True))
    path = f"{deployments}/d"
    assert status_refused(api, path, {"unavailableReplicas": -1}) == {
        ("status.unavailableReplicas", "FieldValueInvalid")
    }
    wrong = status_refused(api, path, {"replicas": 1, "readyReplicas": 2, "availableReplicas": 1})
    assert wrong == {("status.readyReplicas", "FieldValueInvalid")}
    wrong = status_refused(api, path, {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2})
    assert wrong == {("status.availableReplicas", "FieldValueInvalid")}


@behaviour(139, "A counter of collisions does not run backwards", source=OBSERVED)
def test_collisions(api: Api) -> None:
    path = api.path("apps/v1", "daemonsets", "d")
    obj = {**deployment("d"), "kind": "DaemonSet"}
    del obj["spec"]["replicas"]
    obj["spec"]["template"]["spec"]["nodeSelector"] = {"no": "node"}
    api.create(api.path("apps/v1", "daemonsets"), obj)
    api.merge(f"{path}/status", {"status": {"collisionCount": 5}})
    wrong = status_refused(api, path, {"collisionCount": 4})
    assert wrong == {("status.collisionCount", "FieldValueInvalid")}


@behaviour(
    166, "Addresses of a pod's status are addresses, one of each family", source="API reference: PodStatus, podIPs"
)
def test_addresses_of_a_pod(api: Api) -> None:
    api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    path = api.core("pods", "p")
    assert status_refused(api, path, {"podIP": "here"}) == {("status.podIPs[0]", "FieldValueInvalid")}
    two = {"podIPs": [{"ip": "10.1.2.3"}, {"ip": "10.1.2.4"}]}
    assert status_refused(api, path, two) == {("status.podIPs", "FieldValueInvalid")}
    both = {"podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}]}
    api.merge(f"{path}/status", {"status": both})


@behaviour(167, "A pod's quality of service does not change", source="API reference: PodStatus, qosClass")
def test_quality_of_service(api: Api) -> None:
    pod = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    assert pod["status"]["qosClass"] == "BestEffort"
    wrong = status_refused(api, api.core("pods", "p"), {"qosClass": "Guaranteed"})
    assert wrong == {("status.qosClass", "FieldValueInvalid")}


@behaviour(
    168, "A container that has ended for good does not run again", source="Concepts: Pod lifecycle, restart policy"
)
def test_ended_containers(api: Api) -> None:
    api.create_pod(nodeName="n-1", restartPolicy="Never")
    path = api.core("pods", "p")
    container = {"name": "c", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    ended = {**container, "state": {"terminated": {"exitCode": 1}}}
    api.merge(f"{path}/status", {"status": {"phase": "Running", "containerStatuses": [ended]}})
    again = {**container, "state": {"running": {}}}
    wrong = status_refused(api, path, {"containerStatuses": [again]})
    assert wrong == {("status.containerStatuses[0].state", "FieldValueForbidden")}
    api.delete(f"{path}?gracePeriodSeconds=0")


@behaviour(169, "A namespace's phase is Active until it is deleted", source="Concepts: Namespaces")
def test_phase_of_a_namespace(api: Api) -> None:
    path = f"/api/v1/namespaces/{api.namespace}"
    assert status_refused(api, path, {"phase": "Terminating"}) == {("status.Phase", "FieldValueInvalid")}


@behaviour(
    177,
    "Only services of type LoadBalancer have points of ingress",
    source="API reference: ServiceStatus, loadBalancer",
)
def test_ingress_of_a_service(api: Api) -> None:
    spec = {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}
    api.create(api.core("services"), {"metadata": {"name": "s"}, "spec": spec})
    status = {"loadBalancer": {"ingress": [{"ip": "10.1.2.3"}]}}
    wrong = status_refused(api, api.core("services", "s"), status)
    assert wrong == {("status.loadBalancer.ingress", "FieldValueForbidden")}


@behaviour(
    178,
    "Conditions of a disruption budget have a reason and a time",
    source=f"{CONVENTIONS}: Typical status properties",
)
def test_conditions_of_a_budget(api: Api) -> None:
    budgets = api.path("policy/v1", "poddisruptionbudgets")
    api.create(budgets, {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"no": "pod"}}}})
    wrong = status_refused(api, f"{budgets}/b", {"conditions": [{"type": "X", "status": "True"}]})
    assert wrong == {
        ("status.conditions[0].lastTransitionTime", "FieldValueRequired"),
        ("status.conditions[0].reason", "FieldValueRequired"),
    }


@behaviour(179, "Another uid is refused before a missing version is", source=OBSERVED)
def test_uid_before_version(api: Api) -> None:
    leases = api.path("coordination.k8s.io/v1", "leases")
    api.create(leases, {"metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}})
    api("PUT", f"{leases}/a", {"metadata": {"name": "a", "uid": "u-1"}}).refused(409, "Conflict", name="a")
    api("PUT", f"{leases}/b", {"metadata": {"name": "b", "uid": "u-1"}}).refused(409, "Conflict", name="b")
