"""Who may do what: tokens, certificates, RBAC and its refusals, grants, reviews, impersonation."""

import http.client
import ssl

import pytest

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"


def role(name: str, *rules, cluster: bool = False):
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRole" if cluster else "Role",
        "metadata": {"name": name},
        "rules": list(rules),
    }


def rule(verbs: str, resources: str, group: str = "", **more):
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


class Tenant:
    """A service account of the test's namespace, and what the admin gives it."""

    def __init__(self, api, name: str = "bob") -> None:
        self.api, self.name = api, name
        api.create(
            api.core("serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        )
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = api("POST", api.core("serviceaccounts", name, "token"), request).body["status"]["token"]
        self.client = api.as_user(token)
        self.user = f"system:serviceaccount:{api.namespace}:{name}"

    @property
    def subject(self):
        return {"kind": "ServiceAccount", "name": self.name, "namespace": self.api.namespace}

    def bind(self, role_name: str, kind: str = "Role", *, name: str = "b"):
        binding = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role_name},
            "subjects": [self.subject],
        }
        return self.api.create(f"{RBAC}/namespaces/{self.api.namespace}/rolebindings", binding)

    def allow(self, *rules) -> None:
        self.api.create(f"{RBAC}/namespaces/{self.api.namespace}/roles", role("r", *rules))
        self.bind("r")


@pytest.fixture
def tenant(api) -> Tenant:
    return Tenant(api)


@pytest.mark.parametrize("token", ["", "bad", "a.b.c", "x" * 40_000])
def test_without_a_good_token_there_is_no_answer(api, token: str) -> None:
    answer = api.as_user(token)("GET", "/api/v1/namespaces")
    assert answer.status == 401
    assert answer.body["reason"] == "Unauthorized"


def test_health_needs_no_identity(api) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert api.as_user("")("GET", path).raw == b"ok"


def test_everybody_may_look_around(tenant) -> None:
    for path in ("/version", "/api", "/apis", "/openapi/v3", "/apis/apps/v1"):
        assert tenant.client("GET", path).status == 200


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (
            "GET",
            "/api/v1/namespaces/{ns}/pods",
            'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace "{ns}"',
        ),
        (
            "GET",
            "/api/v1/namespaces/{ns}/pods/a",
            'pods "a" is forbidden: User "{user}" cannot get resource "pods" in API group "" in the namespace "{ns}"',
        ),
        (
            "GET",
            "/api/v1/pods?watch=1",
            'pods is forbidden: User "{user}" cannot watch resource "pods" in API group "" at the cluster scope',
        ),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/{ns}/deployments/d/scale",
            'deployments.apps "d" is forbidden: User "{user}" cannot patch resource "deployments/scale" in API group "apps" in the namespace "{ns}"',
        ),
        (
            "DELETE",
            "/api/v1/nodes",
            'nodes is forbidden: User "{user}" cannot deletecollection resource "nodes" in API group "" at the cluster scope',
        ),
        ("GET", "/metrics", 'forbidden: User "{user}" cannot get path "/metrics"'),
    ],
)
def test_refusals_are_worded_as_by_a_real_server(tenant, method: str, path: str, message: str) -> None:
    where = {"ns": tenant.api.namespace, "user": tenant.user}
    answer = tenant.client(method, path.format(**where), {} if method == "PATCH" else None)
    assert answer.status == 403
    assert answer.message == message.format(**where)


def test_a_role_gives_what_it_says_where_it_is_bound(tenant, make_pod) -> None:
    tenant.allow(rule("get list create", "pods"))
    client = tenant.client
    assert client("GET", client.core("pods")).status == 200
    assert client("POST", client.core("pods"), make_pod()).status == 201
    assert client("DELETE", client.core("pods", "p")).status == 403
    assert client("GET", client.core("pods", "p", "status")).status == 403
    assert client("GET", "/api/v1/namespaces/default/pods").status == 403
    assert client("GET", "/api/v1/pods").status == 403


def test_rights_end_with_their_binding_at_once(tenant) -> None:
    tenant.allow(rule("list", "pods"))
    assert tenant.client("GET", tenant.client.core("pods")).status == 200
    tenant.api("DELETE", f"{RBAC}/namespaces/{tenant.api.namespace}/rolebindings/b")
    assert tenant.client("GET", tenant.client.core("pods")).status == 403


def test_resource_names_restrict_to_names(tenant, make_config_map) -> None:
    for name in ("mine", "other"):
        tenant.api.create(tenant.api.core("configmaps"), make_config_map(name))
    tenant.allow(rule("get list watch", "configmaps", resourceNames=["mine"]))
    client = tenant.client
    assert client("GET", client.core("configmaps", "mine")).status == 200
    assert client("GET", client.core("configmaps", "other")).status == 403
    assert client("GET", client.core("configmaps")).status == 403
    assert client("GET", f"{client.core('configmaps')}?fieldSelector=metadata.name%3Dmine").status == 200


def test_wildcards_and_subresources(tenant, make_pod) -> None:
    tenant.api.create(tenant.api.core("pods"), make_pod())
    tenant.allow(rule("patch", "*/status"))
    client = tenant.client
    assert client.merge(client.core("pods", "p", "status"), {"status": {"phase": "Running"}}).status == 200
    assert client.merge(client.core("pods", "p"), {"metadata": {"labels": {"a": "b"}}}).status == 403


def test_aggregated_roles_gather_by_label(api, tenant) -> None:
    tenant.bind("view", "ClusterRole")
    path = f"/apis/{tenant.api.namespace}.example.com/v1/namespaces/{api.namespace}/things"
    assert tenant.client("GET", api.core("pods")).status == 200
    assert tenant.client("GET", api.core("secrets")).status == 403
    assert tenant.client("GET", path).status == 403
    extra = role(f"extra-{api.namespace}", rule("list", "things", f"{api.namespace}.example.com"), cluster=True)
    extra["metadata"]["labels"] = {f"{GROUP}/aggregate-to-view": "true"}
    api.create(f"{RBAC}/clusterroles", extra)
    assert tenant.client("GET", path).status == 404
    api("DELETE", f"{RBAC}/clusterroles/extra-{api.namespace}")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/nodes",
        f"{RBAC}/clusterrolebindings",
    ],
)
def test_a_namespace_admin_sees_nothing_of_others(tenant, path: str) -> None:
    tenant.bind("admin", "ClusterRole")
    assert tenant.client("GET", tenant.client.core("pods")).status == 200
    assert tenant.client("GET", path).status == 403


# --- grants ---


def test_nobody_grants_what_they_do_not_have(tenant) -> None:
    namespace, client = tenant.api.namespace, tenant.client
    tenant.allow(
        rule("get", "pods"),
        rule("create update patch bind escalate", "rolebindings", GROUP),
        rule("create update patch", "roles", GROUP),
    )
    own = client("POST", f"{RBAC}/namespaces/{namespace}/roles", role("own", rule("get", "pods")))
    assert own.status == 201
    more = client("POST", f"{RBAC}/namespaces/{namespace}/roles", role("more", rule("get delete", "pods")))
    assert more.status == 403
    assert f'user "{tenant.user}"' in more.message
    assert (
        'is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}'
        in more.message
    )
    grown = client.merge(f"{RBAC}/namespaces/{namespace}/roles/own", {"rules": [rule("*", "*", "*")]})
    assert grown.status == 403
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "up"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [tenant.subject],
    }
    assert client("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding).status == 403
    binding["roleRef"] |= {"kind": "Role", "name": "own"}
    assert client("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding).status == 201
    missing = {**binding, "metadata": {"name": "m"}, "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "nope"}}
    assert client("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", missing).status == 404


def test_escalate_and_bind_lift_the_check(tenant) -> None:
    namespace, client = tenant.api.namespace, tenant.client
    tenant.allow(rule("create escalate bind", "roles", GROUP), rule("create", "rolebindings", GROUP))
    assert client("POST", f"{RBAC}/namespaces/{namespace}/roles", role("more", rule("delete", "pods"))).status == 201
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "m"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "more"},
        "subjects": [tenant.subject],
    }
    assert client("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding).status == 201


def test_a_label_cannot_smuggle_rights_into_an_aggregated_role(tenant, api) -> None:
    name = f"strong-{api.namespace}"
    api.create(f"{RBAC}/clusterroles", role(name, rule("*", "*", "*"), cluster=True))
    writer = role(f"writer-{api.namespace}", rule("patch create", "clusterroles", GROUP), cluster=True)
    api.create(f"{RBAC}/clusterroles", writer)
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"writer-{api.namespace}"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": f"writer-{api.namespace}"},
        "subjects": [tenant.subject],
    }
    api.create(f"{RBAC}/clusterrolebindings", binding)
    label = {"metadata": {"labels": {f"{GROUP}/aggregate-to-view": "true"}}}
    assert tenant.client.merge(f"{RBAC}/clusterroles/{name}", label).status == 403
    gathering = role(f"all-{api.namespace}", cluster=True) | {"aggregationRule": {"clusterRoleSelectors": [{}]}}
    assert tenant.client("POST", f"{RBAC}/clusterroles", gathering).status == 403
    for path in (
        f"clusterroles/{name}",
        f"clusterroles/writer-{api.namespace}",
        f"clusterrolebindings/writer-{api.namespace}",
    ):
        api("DELETE", f"{RBAC}/{path}")


# --- reviews ---


def review(client, kind: str, spec, group: str = "authorization.k8s.io"):
    body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
    return client("POST", f"/apis/{group}/v1/{kind.lower()}s", body)


def test_a_user_asks_what_they_may(tenant) -> None:
    tenant.allow(rule("get", "pods"))
    asked = {"namespace": tenant.api.namespace, "verb": "get", "resource": "pods"}
    assert review(tenant.client, "SelfSubjectAccessReview", {"resourceAttributes": asked}).body["status"]["allowed"]
    denied = review(tenant.client, "SelfSubjectAccessReview", {"resourceAttributes": {**asked, "verb": "delete"}})
    assert denied.body["status"] == {"allowed": False}
    assert review(tenant.client, "SelfSubjectAccessReview", {}).status == 422
    rules = review(tenant.client, "SelfSubjectRulesReview", {"namespace": tenant.api.namespace}).body["status"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]} in rules["resourceRules"]
    assert not rules["incomplete"]


def test_an_admin_asks_for_others(tenant) -> None:
    tenant.allow(rule("get", "pods"))
    asked = {"namespace": tenant.api.namespace, "verb": "get", "resource": "pods"}
    found = review(tenant.api, "SubjectAccessReview", {"user": tenant.user, "resourceAttributes": asked})
    assert found.body["status"]["allowed"] is True
    assert review(tenant.api, "SubjectAccessReview", {"user": "nobody", "resourceAttributes": asked}).body[
        "status"
    ] == {"allowed": False}
    assert review(tenant.client, "SubjectAccessReview", {"user": "x", "resourceAttributes": asked}).status == 403


def test_tokens_are_reviewed(tenant) -> None:
    group = "authentication.k8s.io"
    good = review(tenant.api, "TokenReview", {"token": tenant.client.token}, group).body["status"]
    assert good["authenticated"]
    assert good["user"]["username"] == tenant.user
    bad = review(tenant.api, "TokenReview", {"token": "bad"}, group).body["status"]
    assert bad == {"user": {}, "error": "invalid bearer token"}


# --- impersonation and certificates ---


def test_admins_may_act_as_others_and_others_may_not(tenant) -> None:
    as_tenant = {"Impersonate_User": tenant.user}
    assert tenant.api("GET", tenant.api.core("pods"), **as_tenant).status == 403
    tenant.allow(rule("list", "pods"))
    assert tenant.api("GET", tenant.api.core("pods"), **as_tenant).status == 200
    refused = tenant.client("GET", tenant.api.core("pods"), Impersonate_User="admin")
    assert (
        refused.message
        == f'users "admin" is forbidden: User "{tenant.user}" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    assert (
        tenant.client("GET", tenant.api.core("pods"), Impersonate_User="x", Impersonate_Group="system:masters").status
        == 403
    )
    assert tenant.api("GET", "/version", Impersonate_Group="g").status == 400


def test_a_client_certificate_is_an_identity(running) -> None:
    pki = running.data / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", running.server.port, context=context, timeout=10)
    connection.request("GET", "/api/v1/namespaces/default/secrets")
    assert connection.getresponse().status == 200
    connection.close()
    anonymous = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    connection = http.client.HTTPSConnection("localhost", running.server.port, context=anonymous, timeout=10)
    connection.request("GET", "/api/v1/namespaces/default/secrets")
    assert connection.getresponse().status == 401
    connection.close()


def test_bootstrap_roles_get_the_rules_that_a_newer_version_has(start_server) -> None:
    def rules_of(client, name: str) -> list[dict]:
        return client.get(f"{RBAC}/clusterroles/{name}")["rules"]

    first = start_server()
    client = first.client
    complete = rules_of(client, "system:aggregate-to-view")
    own = {"apiGroups": ["x.io"], "resources": ["foos"], "verbs": ["get"]}
    older = [rule for rule in complete if rule["apiGroups"] != ["batch"]]
    assert len(older) == len(complete) - 1
    for name in ("system:aggregate-to-view", "system:aggregate-to-edit"):
        assert client.merge(f"{RBAC}/clusterroles/{name}", {"rules": [*older, own]}).status == 200
    left_alone = {"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}}
    assert client.merge(f"{RBAC}/clusterroles/system:aggregate-to-edit", left_alone).status == 200
    first.stop()
    client = start_server().client
    found = rules_of(client, "system:aggregate-to-view")
    assert all(rule in found for rule in complete)
    assert own in found
    assert rules_of(client, "system:aggregate-to-edit") == [*older, own]
