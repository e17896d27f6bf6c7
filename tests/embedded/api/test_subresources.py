"""Scale, the finalizers of a namespace, tokens of service accounts, addresses of services."""

import pytest


def test_scale_shows_and_sets_replicas(api, make_deployment) -> None:
    api.create(api.apps("deployments"), make_deployment())
    path = api.apps("deployments", "d", "scale")
    scale = api.get(path)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 0, "selector": "a=b"}
    assert api.merge(path, {"spec": {"replicas": 3}}).body["spec"] == {"replicas": 3}
    assert api("PUT", path, {**api.get(path), "spec": {"replicas": 5}}).status == 200
    deployment = api.get(api.apps("deployments", "d"))
    assert deployment["spec"]["replicas"] == 5
    assert deployment["metadata"]["generation"] == 3
    assert api("PUT", path, scale).status == 409


@pytest.mark.parametrize(
    ("patch", "status", "message"),
    [
        ({"spec": {"replicas": -3}}, 422, "spec.replicas: Invalid value: -3: must be greater than or equal to 0"),
        ({"spec": {"replicas": "x"}}, 422, "replicas"),
        ({"spec": {"replicas": 2**40}}, 422, "replicas"),
        ({"metadata": {"name": "other"}}, 400, "does not match the name on the URL"),
    ],
)
def test_scales_that_make_no_sense_are_refused(api, make_deployment, patch, status: int, message: str) -> None:
    api.create(api.apps("deployments"), make_deployment())
    answer = api.merge(api.apps("deployments", "d", "scale"), patch)
    assert answer.status == status
    assert message in answer.message
    assert api.get(api.apps("deployments", "d"))["spec"]["replicas"] == 1


def test_a_dry_scale_scales_nothing(api, make_deployment) -> None:
    api.create(api.apps("deployments"), make_deployment())
    api.merge(f"{api.apps('deployments', 'd', 'scale')}?dryRun=All", {"spec": {"replicas": 3}})
    assert api.get(api.apps("deployments", "d"))["spec"]["replicas"] == 1


def test_a_namespace_waits_for_its_own_finalizers(api) -> None:
    name = f"{api.namespace}-f"
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "spec": {"finalizers": ["example.com/own"]},
    }
    created = api.create("/api/v1/namespaces", namespace)
    assert created["spec"]["finalizers"] == ["example.com/own", "kubernetes"]
    assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    assert created["status"] == {"phase": "Active"}
    unchanged = api.merge(f"/api/v1/namespaces/{name}", {"spec": {"finalizers": []}, "metadata": {"labels": None}}).body
    assert unchanged["spec"]["finalizers"] == ["example.com/own", "kubernetes"]
    assert unchanged["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    api("DELETE", f"/api/v1/namespaces/{name}")
    current = api.get(f"/api/v1/namespaces/{name}")
    current["metadata"].pop("resourceVersion")
    current["spec"]["finalizers"] = []
    assert api("PUT", f"/api/v1/namespaces/{name}/finalize", current).status == 200
    assert api("GET", f"/api/v1/namespaces/{name}").status == 404


def test_services_get_addresses_of_their_own(api) -> None:
    def service(name: str, **spec):
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": [{"port": 80}], **spec},
        }

    first = api.create(api.core("services"), service("a"))["spec"]
    second = api.create(api.core("services"), service("b"))["spec"]
    assert first["clusterIP"].startswith("10.96.")
    assert first["clusterIPs"] == [first["clusterIP"]]
    assert first["clusterIP"] != second["clusterIP"]
    assert api.create(api.core("services"), service("c", clusterIP="None"))["spec"]["clusterIP"] == "None"
    taken = api("POST", api.core("services"), service("d", clusterIP=first["clusterIP"]))
    assert taken.status == 422
    assert "provided IP is already allocated" in taken.message
    assert "not in the valid range" in api("POST", api.core("services"), service("e", clusterIP="192.0.2.1")).message
    kept = api.merge(api.core("services", "a"), {"metadata": {"labels": {"x": "y"}}}).body["spec"]
    assert kept["clusterIP"] == first["clusterIP"]


def test_unknown_subresources_are_not_found(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod())
    assert api("GET", api.core("pods", "p", "nope")).status == 404
    assert api("GET", api.core("pods", "p", "binding")).status == 405
    assert api("GET", api.core("configmaps", "c", "status")).status == 404


def test_tokens_are_made_for_accounts_that_exist(api) -> None:
    path = api.core("serviceaccounts", "default", "token")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    answer = api("POST", path, request)
    assert answer.status == 201
    assert answer.body["spec"]["expirationSeconds"] == 600
    who = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    review = api.as_user(answer.body["status"]["token"])(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", who
    )
    info = review.body["status"]["userInfo"]
    assert info["username"] == f"system:serviceaccount:{api.namespace}:default"
    assert info["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{api.namespace}",
        "system:authenticated",
    ]
    short = api("POST", path, {**request, "spec": {"expirationSeconds": 5}})
    assert short.status == 422
    assert "may not specify a duration less than 10 minutes" in short.message
    assert api("POST", api.core("serviceaccounts", "nope", "token"), request).status == 404


def test_a_token_ends_with_the_pod_it_is_bound_to(api, make_pod) -> None:
    uid = api.create(api.core("pods"), make_pod())["metadata"]["uid"]
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": reference}}
    path = api.core("serviceaccounts", "default", "token")
    user = api.as_user(api("POST", path, request).body["status"]["token"])
    assert user("GET", "/version").status == 200
    wrong = {**request, "spec": {"boundObjectRef": {**reference, "uid": "other"}}}
    assert api("POST", path, wrong).status == 409
    api("DELETE", api.core("pods", "p"))
    assert user("GET", "/version").status == 401


def test_a_token_ends_with_its_account(api) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bob"}}
    api.create(api.core("serviceaccounts"), account)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    user = api.as_user(api("POST", api.core("serviceaccounts", "bob", "token"), request).body["status"]["token"])
    assert user("GET", "/version").status == 200
    api("DELETE", api.core("serviceaccounts", "bob"))
    api.create(api.core("serviceaccounts"), account)
    assert user("GET", "/version").status == 401


def test_a_scale_takes_a_strategic_patch_where_its_kind_is_built_in(api, make_deployment) -> None:
    api.create(api.apps("deployments"), make_deployment())
    content_type = "application/strategic-merge-patch+json"
    path = api.apps("deployments", "d", "scale")
    scaled = api("PATCH", path, {"spec": {"replicas": 3}}, content_type=content_type)
    assert (scaled.status, scaled.body["spec"]) == (200, {"replicas": 3})
    assert api.get(api.apps("deployments", "d"))["spec"]["replicas"] == 3


def test_a_status_patch_is_looked_at_where_it_speaks_and_leaves_the_rest(api, make_pod) -> None:
    before = api.create(api.core("pods"), make_pod())
    path = api.core("pods", "p", "status")
    said = {"status": {"phase": "Running", "nothing": 1}}
    assert 'unknown field "status.nothing"' in api.merge(f"{path}?fieldValidation=Strict", said).message
    assert api.merge(path, {"status": {"phase": "Running"}, "spec": {"containers": 5}}).status in (400, 422)
    both = {"status": {"phase": "Running"}, "spec": {"nothing": 1}}
    assert 'unknown field "spec.nothing"' in api.merge(f"{path}?fieldValidation=Strict", both).message
    after = api.merge(path, {"status": {"phase": "Running"}}).body
    assert (after["spec"], after["status"]["phase"]) == (before["spec"], "Running")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
