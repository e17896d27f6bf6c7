"""What a real server does to pods: defaults of its admission, Bindings, grace."""

from concurrent.futures import ThreadPoolExecutor

import pytest


def binding(name: str = "p", node: str = "n1", **metadata):
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, **metadata},
        "target": {"kind": "Node", "name": node},
    }


def test_a_pod_is_completed(api, make_pod) -> None:
    created = api.create(api.core("pods"), make_pod())
    spec = created["spec"]
    assert spec["priority"] == 0
    assert spec["preemptionPolicy"] == "PreemptLowerPriority"
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert [(item["key"], item["tolerationSeconds"]) for item in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]
    assert spec["schedulerName"] == "default-scheduler"
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert created["metadata"]["generation"] == 1


def test_own_tolerations_are_not_doubled(api, make_pod) -> None:
    everything = [{"operator": "Exists"}]
    assert api.create(api.core("pods"), make_pod(tolerations=everything))["spec"]["tolerations"] == everything


def test_a_priority_comes_from_its_class(api, make_pod) -> None:
    name = f"high-{api.namespace}"
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": 77,
        "preemptionPolicy": "Never",
    }
    api.create("/apis/scheduling.k8s.io/v1/priorityclasses", priority)
    spec = api.create(api.core("pods"), make_pod(priorityClassName=name))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (77, "Never")
    assert (
        api.create(api.core("pods"), make_pod("q", priorityClassName="system-node-critical"))["spec"]["priority"]
        == 2_000_001_000
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"priorityClassName": "nope"}, 'pods "p" is forbidden: no PriorityClass with name nope was found'),
        (
            {"priority": 5},
            "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0",
        ),
        ({"preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never) must not be provided"),
        ({"serviceAccountName": "nope"}, 'serviceaccount "nope" not found'),
    ],
)
def test_pods_that_admission_refuses(api, make_pod, spec, message: str) -> None:
    answer = api("POST", api.core("pods"), make_pod(**spec))
    assert answer.status == 403
    assert message in answer.message


# --- Binding ---


def test_a_binding_places_a_pod_in_one_write(api, make_pod) -> None:
    created = api.create(
        api.core("pods"), {**make_pod(), "metadata": {"name": "p", "annotations": {"keep": "1", "both": "old"}}}
    )
    wanted = binding(uid=created["metadata"]["uid"], annotations={"both": "new", "example.com/added": "2"})
    answer = api("POST", api.core("pods", "p", "binding"), wanted)
    assert answer.status == 201
    assert answer.body == {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    pod = api.get(api.core("pods", "p"))
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["metadata"]["annotations"] == {"keep": "1", "both": "new", "example.com/added": "2"}
    assert pod["metadata"]["generation"] == 1
    (condition,) = pod["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "True")


def test_a_pod_is_bound_once(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod())
    api.create(api.core("pods", "p", "binding"), binding())
    answer = api("POST", api.core("pods", "p", "binding"), binding(node="n2"))
    assert answer.status == 409
    assert answer.message == 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"'
    assert answer.body["details"] == {"name": "p", "kind": "pods/binding"}


def test_of_many_bindings_at_once_one_wins(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod())
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: api("POST", api.core("pods", "p", "binding"), binding(node=f"n{n}")), range(16))
        )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 15


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (binding(uid="x"), 409, "Precondition failed: UID in precondition: x"),
        (binding(resourceVersion="1"), 409, "Precondition failed: ResourceVersion in precondition: 1"),
        (binding(name="q"), 400, "name in URL does not match name in Binding object"),
        (binding(node=""), 422, "target.name: Required value"),
        ({**binding(), "target": {"kind": "Foo", "name": "x"}}, 422, 'target.kind: Unsupported value: "Foo"'),
        ({**binding(), "target": 5}, 400, "target"),
        (binding(annotations={"a": 1}), 400, "annotations"),
    ],
)
def test_bindings_that_are_refused_leave_the_pod_alone(api, make_pod, body, status: int, message: str) -> None:
    created = api.create(api.core("pods"), make_pod())
    answer = api("POST", api.core("pods", "p", "binding"), body)
    assert answer.status == status
    assert message in answer.message
    assert api.get(api.core("pods", "p")) == created


def test_a_pod_that_is_being_deleted_or_gated_is_not_bound(api, make_pod) -> None:
    held = make_pod("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    api.create(api.core("pods"), held)
    api("DELETE", api.core("pods", "held"))
    answer = api("POST", api.core("pods", "held", "binding"), binding("held"))
    assert answer.status == 409
    assert "pod held is being deleted, cannot be assigned to a host" in answer.message
    api.merge(api.core("pods", "held"), {"metadata": {"finalizers": None}})
    api.create(api.core("pods"), make_pod("gated", schedulingGates=[{"name": "g"}]))
    assert api("POST", api.core("pods", "gated", "binding"), binding("gated")).status == 409
    assert api("POST", api.core("pods", "nope", "binding"), binding("nope")).status == 404


def test_a_dry_binding_places_nothing(api, make_pod) -> None:
    created = api.create(api.core("pods"), make_pod())
    assert api("POST", f"{api.core('pods', 'p', 'binding')}?dryRun=All", binding()).status == 201
    assert api.get(api.core("pods", "p")) == created


# --- deletion ---


def test_a_pod_without_a_node_goes_at_once(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod())
    assert api("DELETE", api.core("pods", "p")).body["kind"] == "Pod"
    assert api("GET", api.core("pods", "p")).status == 404


def test_a_running_pod_gets_its_grace(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod(nodeName="n1", terminationGracePeriodSeconds=42))
    path = api.core("pods", "p")
    marked = api("DELETE", path).body["metadata"]
    assert marked["deletionGracePeriodSeconds"] == 42
    assert marked["generation"] == 2
    assert api("DELETE", f"{path}?gracePeriodSeconds=60").body["metadata"]["deletionGracePeriodSeconds"] == 42
    assert api("DELETE", f"{path}?gracePeriodSeconds=7").body["metadata"]["deletionGracePeriodSeconds"] == 7
    assert api("DELETE", path, {"gracePeriodSeconds": 0}).status == 200
    assert api("GET", path).status == 404


def test_a_finished_pod_needs_no_grace(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod(nodeName="n1"))
    api.merge(api.core("pods", "p", "status"), {"status": {"phase": "Succeeded"}})
    api("DELETE", api.core("pods", "p"))
    assert api("GET", api.core("pods", "p")).status == 404


# --- the rest of a pod's life ---


def test_a_status_patch_writes_status_and_labels_but_no_spec(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod())
    patch = {"metadata": {"labels": {"x": "y"}}, "spec": {"nodeName": "q"}, "status": {"phase": "Running"}}
    pod = api.merge(api.core("pods", "p", "status"), patch).body
    assert pod["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert pod["metadata"]["labels"] == {"x": "y"}
    assert "nodeName" not in pod["spec"]


def test_the_node_of_a_pod_is_not_for_patching(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod())
    answer = api.merge(api.core("pods", "p"), {"spec": {"nodeName": "n2"}})
    assert answer.status == 422
    assert "pod updates may not change fields other than `spec.containers[*].image`" in answer.message
    changed = api.merge(api.core("pods", "p"), {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}).body
    assert changed["metadata"]["generation"] == 2


def test_fields_of_features_that_a_real_1_34_has_off_are_left_out(api) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}}
    body["spec"]["containers"] = [{"name": "c", "image": "i", "restartPolicy": "Never"}]
    body["spec"]["initContainers"] = [{"name": "i", "image": "i", "restartPolicy": "Never"}]
    body["spec"]["volumes"] = [{"name": "a", "image": {"reference": "a"}}]
    made = api.create(f"{api.core('pods')}?dryRun=All", body)["spec"]
    assert "restartPolicy" not in made["containers"][0]
    assert "restartPolicy" not in made["initContainers"][0]
    assert "a" not in [volume["name"] for volume in made.get("volumes", [])]
