"""Roles, bindings and users for behaviours about access."""

from typing import Any

from asking import Answer, Api

RBAC = "rbac.authorization.k8s.io"
ROLES, BINDINGS = (f"{RBAC}/v1", "roles"), (f"{RBAC}/v1", "rolebindings")
CLUSTER_ROLES, CLUSTER_BINDINGS = f"/apis/{RBAC}/v1/clusterroles", f"/apis/{RBAC}/v1/clusterrolebindings"
ACCESS = "/apis/authorization.k8s.io/v1"
IDENTITY = "/apis/authentication.k8s.io/v1"
Json = dict[str, Any]


def rule(verbs: str, resources: str, group: str = "", *names: str) -> Json:
    """A rule of words: ``rule("get list", "pods pods/log")``; names are those of objects."""
    found: Json = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return {**found, **({"resourceNames": list(names)} if names else {})}


def path_rule(verbs: str, *urls: str) -> Json:
    return {"verbs": verbs.split(), "nonResourceURLs": list(urls)}


def role(name: str, *rules: Json, **more: Any) -> Json:
    return {"metadata": {"name": name}, "rules": list(rules), **more}


def user(name: str) -> Json:
    return {"kind": "User", "apiGroup": RBAC, "name": name}


def binding(name: str, of: str, *subjects: Json, kind: str = "Role") -> Json:
    reference = {"apiGroup": RBAC, "kind": kind, "name": of}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": list(subjects)}


def somebody(api: Api, *rules: Json, name: str = "r") -> Api:
    """A user of its own with a role in the client's namespace; the last rule counts once this returns."""
    who = api.other_name("user")
    if rules:
        api.create(api.path(*ROLES), role(name, *rules))
        api.create(api.path(*BINDINGS), binding(name, name, user(who)))
        api.eventually(lambda: may(api, who, rules[-1]))
    return api.as_user(Impersonate_User=who)


def name_of(who: Api) -> str:
    return who.headers["Impersonate-User"]


def may(api: Api, who: str, wanted: Json) -> bool:
    """Whether a user has a rule's first right."""
    resource, _, subresource = wanted["resources"][0].partition("/")
    asked = {"verb": wanted["verbs"][0], "group": wanted["apiGroups"][0], "resource": resource}
    asked |= {"namespace": api.namespace, "subresource": subresource, "name": (wanted.get("resourceNames") or [""])[0]}
    return bool(ask(api, user=who, resourceAttributes=asked)["allowed"])


def ask(api: Api, kind: str = "subjectaccessreviews", **spec: Any) -> Json:
    """The status of an access review."""
    status: Json = api.create(f"{ACCESS}/{kind}", {"spec": spec})["status"]
    return status


def self_of(who: Api) -> Answer:
    """Who the server takes a client for."""
    return who("POST", f"{IDENTITY}/selfsubjectreviews", {})
