"""Quotas under contention, over restarts, and what their statuses come to; single refusals are among the stories."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

Make = Callable[..., dict[str, Any]]
Until = Callable[..., Any]


def quota(name: str = "q", *, scopes: tuple[str, ...] = (), **hard: str) -> dict[str, Any]:
    """A quota; ``__`` in a name stands for a dot."""
    spec: dict[str, Any] = {"hard": {name.replace("__", "."): amount for name, amount in hard.items()}}
    if scopes:
        spec["scopes"] = list(scopes)
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}


def used(api: Any, name: str = "q") -> dict[str, str]:
    status = api.get(api.core("resourcequotas", name)).get("status") or {}
    found: dict[str, str] = status.get("used") or {}
    return found


def asking(make_pod: Make, name: str, **requests: str) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i:1", "resources": {"requests": requests}}]
    return make_pod(name, containers=containers)


def test_concurrent_pods_never_go_over_a_quota(api: Any, make_pod: Make, until: Until) -> None:
    api.create(api.core("resourcequotas"), quota(pods="10", requests__cpu="4"))

    def create(number: int) -> int:
        status: int = api("POST", api.core("pods"), asking(make_pod, f"p{number}", cpu="500m")).status
        return status

    with ThreadPoolExecutor(16) as pool:
        answers = Counter(pool.map(create, range(40)))
    assert answers == {201: 8, 403: 32}
    until(lambda: used(api) == {"pods": "8", "requests.cpu": "4"})


def test_what_is_deleted_or_has_ended_is_given_back(api: Any, make_pod: Make, until: Until) -> None:
    api.create(api.core("resourcequotas"), quota(pods="2"))
    for name in ("a", "b"):
        api.create(api.core("pods"), make_pod(name))
    assert api("POST", api.core("pods"), make_pod("c")).status == 403
    assert api("DELETE", api.core("pods", "a")).status == 200
    api.create(api.core("pods"), make_pod("c"))
    assert api.merge(api.core("pods", "b", "status"), {"status": {"phase": "Succeeded"}}).status == 200
    api.create(api.core("pods"), make_pod("d"))
    assert api("POST", api.core("pods"), make_pod("e")).status == 403
    until(lambda: used(api) == {"pods": "2"})


def test_a_refused_create_leaves_nothing_charged(api: Any, make_pod: Make) -> None:
    api.create(api.core("resourcequotas"), quota(pods="1"))
    api.create(api.core("configmaps"), {"metadata": {"name": "unrelated"}})
    for _ in range(3):
        broken = make_pod("p", nodeSelector={"a b": "c"})
        assert api("POST", api.core("pods"), broken).status == 422
        assert api("POST", api.core("pods") + "?dryRun=All", make_pod("p")).status == 201
    api.create(api.core("pods"), make_pod("p"))
    assert api("POST", api.core("pods"), make_pod("p")).status == 403


def test_a_quota_that_comes_later_counts_what_is_there(api: Any, make_pod: Make, until: Until) -> None:
    for number in range(3):
        api.create(api.core("pods"), make_pod(f"p{number}"))
    api.create(api.core("resourcequotas"), quota(pods="2"))
    until(lambda: used(api) == {"pods": "3"})
    answer = api("POST", api.core("pods"), make_pod("more"))
    assert answer.status == 403
    assert "exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=2" in answer.message
    api.merge(api.core("resourcequotas", "q"), {"spec": {"hard": {"pods": "4"}}})
    api.create(api.core("pods"), make_pod("more"))
    assert api("DELETE", api.core("resourcequotas", "q")).status == 200
    api.create(api.core("pods"), make_pod("yet-more"))


def test_every_quota_of_a_namespace_has_to_agree(api: Any, make_pod: Make, until: Until) -> None:
    api.create(api.core("resourcequotas"), quota("few", pods="1"))
    api.create(api.core("resourcequotas"), quota("silent", pods="0", scopes=("Terminating",)))
    assert api("POST", api.core("pods"), make_pod("deadline", activeDeadlineSeconds=5)).status == 403
    api.create(api.core("pods"), make_pod("a"))
    until(lambda: used(api, "few") == {"pods": "1"} and used(api, "silent") == {"pods": "0"})


def test_a_claim_may_grow_within_its_quota_only(api: Any, until: Until) -> None:
    api.create(api.core("resourcequotas"), quota(requests__storage="3Gi"))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    api.create(api.core("persistentvolumeclaims"), {"metadata": {"name": "c"}, "spec": claim})
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    assert api.merge(api.core("persistentvolumeclaims", "c", "status"), bound).status == 200

    def grow(size: str) -> int:
        change = {"spec": {"resources": {"requests": {"storage": size}}}}
        status: int = api.merge(api.core("persistentvolumeclaims", "c"), change).status
        return status

    assert (grow("2Gi"), grow("4Gi"), grow("3Gi")) == (200, 403, 200)
    until(lambda: used(api) == {"requests.storage": "3Gi"})


def test_objects_of_custom_kinds_are_counted(api: Any, until: Until) -> None:
    name = f"k{api.namespace.removeprefix('t-')}"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    api.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": f"{name}s.quota.io"},
            "spec": {
                "group": "quota.io",
                "scope": "Namespaced",
                "names": {"plural": f"{name}s", "kind": name.title()},
                "versions": [version],
            },
        },
    )
    hard = {f"count/{name}s.quota.io": "1"}
    api.create(api.core("resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    path = f"/apis/quota.io/v1/namespaces/{api.namespace}/{name}s"
    until(lambda: api("GET", path).status == 200)
    body = {"apiVersion": "quota.io/v1", "kind": name.title(), "metadata": {"name": "a"}}
    api.create(path, body)
    assert api("POST", path, {**body, "metadata": {"name": "b"}}).status == 403
    until(lambda: used(api) == {f"count/{name}s.quota.io": "1"})


@pytest.mark.parametrize("amount", ["1", "2Gi"])
def test_a_status_that_somebody_else_writes_does_not_stay(api: Any, make_pod: Make, until: Until, amount: str) -> None:
    api.create(api.core("resourcequotas"), quota(pods="5"))
    api.create(api.core("pods"), make_pod("a"))
    until(lambda: used(api) == {"pods": "1"})
    wrong = {"status": {"hard": {"pods": amount}, "used": {"pods": "0"}}}
    assert api.merge(api.core("resourcequotas", "q", "status"), wrong).status == 200
    until(lambda: used(api) == {"pods": "1"})
    assert api.get(api.core("resourcequotas", "q"))["status"]["hard"] == {"pods": "5"}


def test_a_quota_holds_over_a_restart(start_server: Any, make_pod: Make) -> None:
    first = start_server()
    client = first.client
    client.create(client.core("resourcequotas"), quota(pods="1"))
    client.create(client.core("pods"), make_pod("a"))
    first.stop()
    client = start_server().client
    answer = client("POST", client.core("pods"), make_pod("b"))
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
