"""Kinds: what some do and others do not. Numbers 900 to 999."""

from asking import Api
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
