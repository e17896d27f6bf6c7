"""More of reviews, refusals and the roles that there are at first. Numbers 740 to 744, 752 and 753."""

from typing import Any

from access import ACCESS, CLUSTER_BINDINGS, CLUSTER_ROLES, IDENTITY, RBAC, somebody
from asking import Api
from behaviours import behaviour
from customs import messages

DEFAULTS = "Using RBAC Authorization: Default roles"
OBSERVED = "observed on 1.34.2"
REVIEWS = "Authorization: Checking API access"


@behaviour(740, "A health check by its own name needs a right, all of them together do not", source=OBSERVED)
def test_single_checks(api: Api) -> None:
    who = somebody(api)
    assert who("GET", "/readyz").status == 200
    answer = who("GET", "/readyz/etcd")
    assert answer.status == 403
    assert answer.body["message"].endswith('cannot get path "/readyz/etcd"')
    assert api("GET", "/readyz/etcd").status == 200


@behaviour(741, "An access review is refused for everything that is wrong with it", source=REVIEWS)
def test_all_causes(api: Api) -> None:
    def causes(kind: str, **spec: Any) -> list[str]:
        answer = api("POST", f"{ACCESS}/{kind}", {"spec": spec}).refused(422, "Invalid")
        return [message.partition(": ")[0] for message in messages(answer)]

    asked, path = {"verb": "get", "resource": "pods"}, {"verb": "get", "path": "/x"}
    both = {"resourceAttributes": asked, "nonResourceAttributes": path}
    assert causes("subjectaccessreviews") == ["spec.resourceAttributes", "spec.user"]
    assert causes("subjectaccessreviews", **both) == ["spec.nonResourceAttributes", "spec.user"]
    twice = {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]}
    found = causes("selfsubjectaccessreviews", resourceAttributes={**asked, "fieldSelector": twice})
    assert found == ["spec.resourceAttributes.fieldSelector.rawSelector"]


@behaviour(
    742, "A selector of a review with an operator that there is not counts for nothing, which is said", source=REVIEWS
)
def test_unread_selectors(api: Api) -> None:
    selector = {"requirements": [{"key": "a", "operator": "Like", "values": ["b"]}]}
    asked = {"verb": "list", "resource": "pods", "labelSelector": selector}
    status = api.create(f"{ACCESS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}})["status"]
    assert status["allowed"] is True
    assert status["evaluationError"] == "spec.resourceAttributes.labelSelector ignored due to parse error"


@behaviour(743, "Reviews are made, not found, and one of oneself says when", source=OBSERVED)
def test_reviews(api: Api) -> None:
    assert "creationTimestamp" in api.create(f"{IDENTITY}/selfsubjectreviews", {})["metadata"]
    api("GET", f"{IDENTITY}/tokenreviews/a").refused(404, "NotFound")
    api("GET", f"{IDENTITY}/tokenreviews").refused(405, "MethodNotAllowed")
    rules = api.create(f"{ACCESS}/selfsubjectrulesreviews", {"spec": {"namespace": api.namespace}})
    assert rules["spec"] == {}


@behaviour(744, "A name with quotes is quoted in refusals", source=OBSERVED)
def test_quoted_names(api: Api) -> None:
    who = api.as_user(Impersonate_User='a"b')
    answer = who("GET", api.core("pods")).refused(403, "Forbidden")
    assert answer.body["message"].startswith('pods is forbidden: User "a\\"b" cannot list resource')


DEFAULT_ROLES = {
    "cluster-admin",
    "admin",
    "edit",
    "view",
    "system:basic-user",
    "system:discovery",
    "system:public-info-viewer",
    "system:monitoring",
    "system:auth-delegator",
    "system:kube-scheduler",
    "system:kube-controller-manager",
    "system:node",
    "system:node-proxier",
    "system:kube-aggregator",
    "system:kube-dns",
    "system:kubelet-api-admin",
    "system:node-bootstrapper",
    "system:node-problem-detector",
    "system:persistent-volume-provisioner",
    "system:volume-scheduler",
    "system:controller:deployment-controller",
    "system:controller:job-controller",
    "system:controller:namespace-controller",
}


@behaviour(752, "The default roles are there, with those of the control plane's parts", source=f"{DEFAULTS}: Core")
def test_default_roles(api: Api) -> None:
    found = {one["metadata"]["name"] for one in api.get(CLUSTER_ROLES)["items"]}
    assert found >= DEFAULT_ROLES
    bound = {one["metadata"]["name"]: one for one in api.get(CLUSTER_BINDINGS)["items"]}
    (subject,) = bound["system:kube-scheduler"]["subjects"]
    assert (subject["kind"], subject["name"]) == ("User", "system:kube-scheduler")
    assert "subjects" not in bound["system:node"]
    reader = f"/apis/{RBAC}/v1/namespaces/kube-system/roles/extension-apiserver-authentication-reader"
    (rule,) = api.get(reader)["rules"]
    assert rule["resourceNames"] == ["extension-apiserver-authentication"]


@behaviour(
    753,
    "Who views sees no secrets, who edits no roles, and nobody of them the nodes",
    source=f"{DEFAULTS}: User-facing",
)
def test_what_default_roles_give(api: Api) -> None:
    def resources(role: str, verb: str) -> set[str]:
        rules = api.get(f"{CLUSTER_ROLES}/{role}")["rules"]
        return {name for rule in rules if verb in rule["verbs"] for name in rule.get("resources", ())}

    api.eventually(lambda: "roles" in resources("admin", "create"))
    assert {"pods", "pods/log", "deployments", "jobs", "resourcequotas"} <= resources("view", "list")
    assert not {"secrets", "roles"} & resources("view", "get")
    assert {"secrets", "pods", "pods/eviction", "deployments"} <= resources("edit", "create")
    assert not {"roles", "resourcequotas"} & resources("edit", "create")
    assert "localsubjectaccessreviews" in resources("admin", "create")
    assert not {"nodes", "persistentvolumes"} & (resources("admin", "get") | resources("view", "get"))
