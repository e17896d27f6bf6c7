"""Bindings, and evictions with disruption budgets. Numbers 645 to 669."""

from typing import Any

from asking import MERGE, Api, deployment
from behaviours import behaviour

BINDING = "API reference: Binding"
EVICTION = "Concepts: API-initiated eviction"
BUDGET = "Tasks: Specifying a disruption budget"
OBSERVED = "observed on 1.34.2"
BUDGETS = ("policy/v1", "poddisruptionbudgets")
GATED = [{"name": "example.com/wait"}]


def binding(name: str = "p", node: str = "n-1", **metadata: Any) -> dict[str, Any]:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, **metadata}, "target": target}


def eviction(name: str = "p", **options: Any) -> dict[str, Any]:
    found = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return {**found, "deleteOptions": options} if options else found


def running(api: Api, name: str = "p", *, ready: bool = True, **labels: str) -> None:
    """A running pod on a node that nobody keeps."""
    api.create_pod(name, metadata={"name": name, "labels": labels}, nodeName="n-1")
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    api.merge(api.core("pods", name, "status"), {"status": {"phase": "Running", "conditions": [condition]}})


def budget(api: Api, name: str = "b", *, healthy: int, **spec: Any) -> None:
    """A budget of the pods that are labelled with its name, counted by its controller."""
    selector = {"matchLabels": {name: "y"}}
    api.create(api.path(*BUDGETS), {"metadata": {"name": name}, "spec": {"selector": selector, **spec}})
    counted(api, name, healthy=healthy)


def counted(api: Api, name: str = "b", **wanted: int) -> dict[str, Any]:
    names = {"healthy": "currentHealthy", "allowed": "disruptionsAllowed", "expected": "expectedPods"}

    def found() -> dict[str, Any] | None:
        read = api.get(api.path(*BUDGETS, name))
        status: dict[str, Any] = read.get("status") or {}
        ready = status.get("observedGeneration") == read["metadata"]["generation"]
        return status if ready and all(status[names[key]] == value for key, value in wanted.items()) else None

    status = api.eventually(found)
    assert status is not None
    return status


# --- bindings ---


@behaviour(645, "A binding writes node, annotations and the condition PodScheduled into the pod", source=BINDING)
def test_binding(api: Api) -> None:
    made = api.create_pod(metadata={"name": "p", "annotations": {"a": "1", "b": "1"}})
    answer = api.create(api.core("pods", "p", "binding"), binding(annotations={"b": "2", "c": "3"}, labels={"l": "m"}))
    assert (answer["kind"], answer["status"], answer["code"]) == ("Status", "Success", 201)
    pod = api.get(api.core("pods", "p"))
    assert pod["spec"]["nodeName"] == "n-1"
    assert pod["metadata"]["annotations"] == {"a": "1", "b": "2", "c": "3"}
    assert pod["metadata"]["generation"] == made["metadata"]["generation"]
    assert [(item["type"], item["status"]) for item in pod["status"]["conditions"]] == [("PodScheduled", "True")]


@behaviour(646, "A pod is bound once: a second binding is a conflict, also to the same node", source=BINDING)
def test_bound_twice(api: Api) -> None:
    api.create_pod()
    api.create(api.core("pods", "p", "binding"), binding())
    why = 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n-1"'
    for node in ("n-1", "n-2"):
        answer = api("POST", api.core("pods", "p", "binding"), binding(node=node))
        answer.refused(409, "Conflict", why, name="p", kind="pods/binding")
    api.create_pod("q", nodeName="n-9")
    api("POST", api.core("pods", "q", "binding"), binding("q")).refused(409, "Conflict")


@behaviour(647, "A binding's uid and version are preconditions of the pod", source=BINDING)
def test_preconditions_of_bindings(api: Api) -> None:
    made = api.create_pod()["metadata"]
    path = api.core("pods", "p", "binding")
    for stated in ({"uid": "another"}, {"resourceVersion": "1"}):
        answer = api("POST", path, binding(**stated)).refused(409, "Conflict", name="p", kind="pods")
        assert "Precondition failed: " in answer.body["message"]
    assert "nodeName" not in api.get(api.core("pods", "p"))["spec"]
    api.create(path, binding(uid=made["uid"], resourceVersion=made["resourceVersion"]))


@behaviour(648, "A pod that waits for gates or is being deleted cannot be bound", source=OBSERVED)
def test_pods_that_are_not_bound(api: Api) -> None:
    api.create_pod("gated", schedulingGates=GATED)
    answer = api("POST", api.core("pods", "gated", "binding"), binding("gated"))
    prefix = 'Operation cannot be fulfilled on pods/binding "'
    answer.refused(409, "Conflict", f'{prefix}gated": pod gated has non-empty .spec.schedulingGates')
    api.create_pod("going", metadata={"name": "going", "finalizers": ["example.com/hold"]})
    api.delete(api.core("pods", "going"))
    answer = api("POST", api.core("pods", "going", "binding"), binding("going"))
    answer.refused(409, "Conflict", f'{prefix}going": pod going is being deleted, cannot be assigned to a host')
    api.merge(api.core("pods", "going"), {"metadata": {"finalizers": None}})


@behaviour(649, "A binding has to name its pod and a node, in its own namespace", source=BINDING)
def test_malformed_bindings(api: Api) -> None:
    api.create_pod()
    path = api.core("pods", "p", "binding")
    api("POST", path, binding("q")).refused(400, "BadRequest", "name in URL does not match name in Binding object")
    api("POST", path, binding(namespace="default")).refused(400, "BadRequest")
    api("POST", path, {**binding(), "kind": "Pod"}).refused(400, "BadRequest")
    for target in ({}, {"kind": "Pod", "name": "n-1"}):
        assert api("POST", path, {**binding(), "target": target}).status in (422, 500)
    api("POST", api.core("pods", "nobody", "binding"), binding("nobody")).refused(
        404, "NotFound", 'pods "nobody" not found'
    )
    assert "nodeName" not in api.get(api.core("pods", "p"))["spec"]


@behaviour(650, "A dry run of a binding binds nothing", source="API concepts: Dry-run")
def test_dry_binding(api: Api) -> None:
    api.create_pod()
    api.create(f"{api.core('pods', 'p', 'binding')}?dryRun=All", binding())
    assert "nodeName" not in api.get(api.core("pods", "p"))["spec"]


@behaviour(651, "A binding can only be created, and a pod's node is not written in any other way", source=OBSERVED)
def test_no_other_way_to_a_node(api: Api) -> None:
    api.create_pod()
    path = api.core("pods", "p", "binding")
    for method in ("GET", "DELETE"):
        api(method, path).refused(405, "MethodNotAllowed")
    api("PUT", path, binding()).refused(405, "MethodNotAllowed")
    patch = {"spec": {"nodeName": "n-1"}}
    api("PATCH", api.core("pods", "p"), patch, content_type=MERGE).refused(422, "Invalid", kind="Pod")


# --- evictions ---


@behaviour(655, "An evicted pod is deleted with its grace period and says why", source=EVICTION)
def test_eviction(api: Api) -> None:
    running(api)
    answer = api.create(api.core("pods", "p", "eviction"), eviction(gracePeriodSeconds=7))
    assert (answer["kind"], answer["status"], answer["code"]) == ("Status", "Success", 201)
    pod = api.get(api.core("pods", "p"))
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 7
    said = {item["type"]: item for item in pod["status"]["conditions"]}["DisruptionTarget"]
    assert (said["status"], said["reason"]) == ("True", "EvictionByEvictionAPI")
    assert said["message"] == "Eviction API: evicting"
    api.create(api.core("pods", "p", "eviction"), eviction())


@behaviour(656, "An eviction has to name its pod; what is not there is 404", source=EVICTION)
def test_malformed_evictions(api: Api) -> None:
    running(api)
    path = api.core("pods", "p", "eviction")
    mismatch = "name in URL does not match name in Eviction object"
    api("POST", path, eviction("q")).refused(400, "BadRequest", mismatch)
    api("POST", path, {"apiVersion": "policy/v1", "kind": "Eviction"}).refused(400, "BadRequest", mismatch)
    api("POST", path, {**eviction(), "kind": "Pod"}).refused(400, "BadRequest")
    api("GET", path).refused(405, "MethodNotAllowed")
    api("POST", api.core("pods", "q", "eviction"), eviction("q")).refused(404, "NotFound", 'pods "q" not found')
    assert "deletionTimestamp" not in api.get(api.core("pods", "p"))["metadata"]


@behaviour(
    657, "An eviction's preconditions are those of the deletion", source="API reference: Eviction, deleteOptions"
)
def test_preconditions_of_evictions(api: Api) -> None:
    running(api)
    path = api.core("pods", "p", "eviction")
    for stated in ({"uid": "another"}, {"resourceVersion": "1"}):
        api("POST", path, eviction(preconditions=stated)).refused(409, "Conflict", kind="Pod", name="p")
    pod = api.get(api.core("pods", "p"))
    assert "deletionTimestamp" not in pod["metadata"]
    assert [item["type"] for item in pod["status"]["conditions"]] == ["Ready"]


@behaviour(658, "A dry run of an eviction deletes nothing and takes nothing from the budget", source=EVICTION)
def test_dry_eviction(api: Api) -> None:
    running(api, b="y")
    budget(api, healthy=1, minAvailable=0)
    api.create(api.core("pods", "p", "eviction"), eviction(dryRun=["All"]))
    api.create(f"{api.core('pods', 'p', 'eviction')}?dryRun=All", eviction())
    assert "deletionTimestamp" not in api.get(api.core("pods", "p"))["metadata"]
    assert api.get(api.path(*BUDGETS, "b"))["status"]["disruptionsAllowed"] == 1


@behaviour(659, "An eviction of the older version policy/v1beta1 is understood", source=OBSERVED)
def test_older_eviction(api: Api) -> None:
    running(api)
    api.create(api.core("pods", "p", "eviction"), {**eviction(), "apiVersion": "policy/v1beta1"})
    assert api.get(api.core("pods", "p"))["metadata"]["deletionTimestamp"]


@behaviour(
    660, "A budget's status says how many pods there are, how many are needed, and how many may go", source=BUDGET
)
def test_budget_status(api: Api) -> None:
    running(api, "p", b="y")
    running(api, "q", ready=False, b="y")
    budget(api, healthy=1, minAvailable=1)
    status = counted(api, healthy=1, expected=2)
    assert (status["desiredHealthy"], status["disruptionsAllowed"]) == (1, 0)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"]) == ("DisruptionAllowed", "False")
    assert condition["reason"] == "InsufficientPods"
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    api.merge(api.core("pods", "q", "status"), ready)
    (condition,) = counted(api, healthy=2, allowed=1)["conditions"]
    assert (condition["status"], condition["reason"]) == ("True", "SufficientPods")


@behaviour(661, "An eviction that the budget does not allow is 429, and the pod stays", source=EVICTION)
def test_refused_eviction(api: Api) -> None:
    running(api, b="y")
    budget(api, healthy=1, minAvailable=1)
    answer = api("POST", api.core("pods", "p", "eviction"), eviction())
    why = "Cannot evict pod as it would violate the pod's disruption budget."
    answer.refused(429, "TooManyRequests", why)
    cause = {
        "reason": "DisruptionBudget",
        "message": "The disruption budget b needs 1 healthy pods and has 1 currently",
    }
    assert answer.body["details"]["causes"] == [cause]
    assert answer.headers["Retry-After"] is None
    pod = api.get(api.core("pods", "p"))
    assert "deletionTimestamp" not in pod["metadata"]
    assert [item["type"] for item in pod["status"]["conditions"]] == ["Ready"]


@behaviour(662, "An eviction that the budget allows is charged to it at once", source=EVICTION)
def test_charged_eviction(api: Api) -> None:
    for name in ("p", "q"):
        running(api, name, b="y")
    budget(api, healthy=2, minAvailable=1)
    api.create(api.core("pods", "p", "eviction"), eviction("p"))
    api("POST", api.core("pods", "q", "eviction"), eviction("q")).refused(429, "TooManyRequests")
    counted(api, healthy=1, allowed=0)


@behaviour(663, "Pods that wait or have ended are evicted whatever the budget says", source=EVICTION)
def test_evictions_that_disrupt_nothing(api: Api) -> None:
    running(api, "p", b="y")
    running(api, "done", ready=False, b="y")
    api.merge(api.core("pods", "done", "status"), {"status": {"phase": "Succeeded"}})
    api.create_pod("waiting", metadata={"name": "waiting", "labels": {"b": "y"}})
    budget(api, healthy=1, minAvailable=5)
    for name in ("waiting", "done"):
        api.create(api.core("pods", name, "eviction"), eviction(name))
        api.eventually(lambda name=name: api("GET", api.core("pods", name)).status == 404)


@behaviour(
    664, "An unhealthy pod goes free where enough others are healthy", source=f"{BUDGET}: Unhealthy pod eviction policy"
)
def test_unhealthy_beside_enough(api: Api) -> None:
    running(api, "sick", ready=False, b="y")
    running(api, "well", b="y")
    budget(api, healthy=1, minAvailable=1)
    api.create(api.core("pods", "sick", "eviction"), eviction("sick"))
    assert api.get(api.core("pods", "sick"))["metadata"]["deletionTimestamp"]


@behaviour(
    665,
    "An unhealthy pod stays where too few are healthy, unless the policy is AlwaysAllow",
    source=f"{BUDGET}: Unhealthy pod eviction policy",
)
def test_unhealthy_beside_too_few(api: Api) -> None:
    running(api, "sick", ready=False, b="y")
    budget(api, healthy=0, minAvailable=1)
    answer = api("POST", api.core("pods", "sick", "eviction"), eviction("sick")).refused(429, "TooManyRequests")
    (cause,) = answer.body["details"]["causes"]
    assert cause["message"] == "The disruption budget b needs 1 healthy pods and has 0 currently"
    api.merge(api.path(*BUDGETS, "b"), {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})
    counted(api, healthy=0)
    api.create(api.core("pods", "sick", "eviction"), eviction("sick"))


@behaviour(666, "A pod of two budgets cannot be evicted", source=OBSERVED)
def test_two_budgets(api: Api) -> None:
    running(api, b="y", c="y")
    for name in ("b", "c"):
        budget(api, name, healthy=1, minAvailable=0)
    why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    api("POST", api.core("pods", "p", "eviction"), eviction()).refused(500, "", why)


@behaviour(667, "An empty selector is every pod of the namespace, none at all is none", source=BUDGET)
def test_empty_selectors(api: Api) -> None:
    running(api)
    for name, spec in (("all", {"minAvailable": 1, "selector": {}}), ("none", {"minAvailable": 1})):
        api.create(api.path(*BUDGETS), {"metadata": {"name": name}, "spec": spec})
    assert counted(api, "all", healthy=1)["expectedPods"] == 1
    assert counted(api, "none")["expectedPods"] == 0


@behaviour(668, "Percentages of budgets count what the pods' controller asks for", source=BUDGET)
def test_percentages(api: Api) -> None:
    template = {"metadata": {"labels": {"b": "y"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    spec = {"replicas": 4, "selector": {"matchLabels": {"b": "y"}}, "template": template}
    api.eventually(lambda: api("GET", api.core("serviceaccounts", "default")).status == 200)
    api.create(api.path("apps/v1", "deployments"), {**deployment("d"), "spec": spec})
    budget(api, healthy=0, minAvailable="30%")
    assert counted(api, expected=4)["desiredHealthy"] == 2
    api.merge(api.path(*BUDGETS, "b"), {"spec": {"minAvailable": None, "maxUnavailable": "30%"}})
    assert counted(api, expected=4)["desiredHealthy"] == 2


@behaviour(
    669, "A budget states one bound, and a percentage of at most 100", source="API reference: PodDisruptionBudget"
)
def test_malformed_budgets(api: Api) -> None:
    def causes(**spec: Any) -> set[tuple[str, str]]:
        body = {"metadata": {"name": "b"}, "spec": {"selector": {}, **spec}}
        return api("POST", api.path(*BUDGETS), body).refused(422, "Invalid", kind="PodDisruptionBudget").causes()

    assert causes(minAvailable=1, maxUnavailable=1) == {("spec", "FieldValueInvalid")}
    assert causes(minAvailable="150%") == {("spec.minAvailable", "FieldValueInvalid")}
    assert causes(maxUnavailable=-1) == {("spec.maxUnavailable", "FieldValueInvalid")}
    wrong = causes(minAvailable=1, unhealthyPodEvictionPolicy="Sometimes")
    assert wrong == {("spec.unhealthyPodEvictionPolicy", "FieldValueNotSupported")}
