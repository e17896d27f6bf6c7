"""Evictions under contention; single ones are among the stories."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


@pytest.fixture
def running_pods(api: Any, make_pod: Callable[..., dict[str, Any]]) -> list[str]:
    """Twelve ready pods behind a budget."""
    names = [f"p{number}" for number in range(12)]
    for name in names:
        pod = make_pod(name, nodeName="n")
        pod["metadata"]["labels"] = {"app": "a"}
        api.create(api.core("pods"), pod)
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        assert api.merge(api.core("pods", name, "status"), ready).status == 200
    return names


def allow(api: Any, count: int) -> str:
    """A budget that allows so many disruptions; its path."""
    path: str = f"/apis/policy/v1/namespaces/{api.namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    api.create(path, {"metadata": {"name": "b"}, "spec": spec})
    status = {"observedGeneration": 1, "disruptionsAllowed": count, "currentHealthy": 12, "desiredHealthy": 1}
    assert api.merge(f"{path}/b/status", {"status": status}).status == 200
    return f"{path}/b"


def test_no_more_pods_are_evicted_at_once_than_the_budget_allows(api: Any, running_pods: list[str]) -> None:
    path = allow(api, 3)

    def evict(name: str) -> int:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        status: int = api("POST", api.core("pods", name, "eviction"), body).status
        return status

    with ThreadPoolExecutor(12) as pool:
        answers = Counter(pool.map(evict, running_pods))
    assert answers == {201: 3, 429: 9}
    status = api.get(path)["status"]
    assert status["disruptionsAllowed"] == 0
    evicted = {name for name in running_pods if api.get(api.core("pods", name))["metadata"].get("deletionTimestamp")}
    assert set(status["disruptedPods"]) == evicted
    assert len(evicted) == 3


def test_a_refused_eviction_says_when_to_try_again_and_marks_nothing(api: Any, running_pods: list[str]) -> None:
    path = f"/apis/policy/v1/namespaces/{api.namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    api.create(path, {"metadata": {"name": "b"}, "spec": spec})
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p0"}}
    answer = api("POST", api.core("pods", "p0", "eviction"), body)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
    conditions = api.get(api.core("pods", "p0"))["status"]["conditions"]
    assert [item["type"] for item in conditions] == ["Ready"]
