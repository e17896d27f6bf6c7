"""The gateway of a cluster: its objects are in force at once, what is wrong is told, namespaces are borders."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from cluster import Cluster, eventually
from gateways import (
    Gateway,
    Model,
    change_route,
    condition_of,
    gateway,
    make_key,
    make_route,
    make_secret,
    make_service,
    model_server,
    own_address,
    request,
    set_endpoint,
    status_of,
    target,
)
from tensorfusion.model.resources import AZURE_GPU_SOURCES, EVENTS, LLM_KEYS, LLM_ROUTES, SECRETS

IN_TIME = 100
"""Answers that may come before; two or three where nothing else takes the cores."""


@pytest.fixture(scope="module")
def serving(cluster: Cluster) -> Iterator[Gateway]:
    with gateway(cluster, "--workers", "2") as found:
        yield found


@pytest.fixture(scope="module")
def one() -> Iterator[Model]:
    with model_server() as found:
        yield found


@pytest.fixture(scope="module")
def two() -> Iterator[Model]:
    with model_server() as found:
        yield found


def test_routes_and_keys_are_in_force_and_gone_with_their_objects(
    cluster: Cluster, namespace: str, serving: Gateway, one: Model, two: Model
) -> None:
    key = make_key(cluster, namespace)
    assert serving.soon(key, 404) < IN_TIME
    make_route(cluster, namespace, target("first", one.url))
    assert serving.soon(key) < IN_TIME
    change_route(cluster, namespace, targets=[target("second", two.url)])
    assert serving.soon(key, target="second") < IN_TIME
    cluster.run(lambda client: client.patch(LLM_KEYS, "app", {"spec": {"disabled": True}}, namespace=namespace))
    assert serving.soon(key, 401) < IN_TIME
    cluster.run(lambda client: client.patch(LLM_KEYS, "app", {"spec": {"disabled": False}}, namespace=namespace))
    cluster.run(lambda client: client.delete(LLM_ROUTES, "chat", namespace=namespace))
    assert serving.soon(key, 404) < IN_TIME
    assert serving.ask("tf-" + "x" * 43)[0] == 401


def test_keys_are_made_and_ended_over_http_by_one_that_may(
    cluster: Cluster, namespace: str, other_namespace: str, serving: Gateway, one: Model
) -> None:
    boss = make_key(cluster, namespace, scopes=["admin", "infer"])
    make_key(cluster, other_namespace)
    make_route(cluster, namespace, target("first", one.url))
    assert serving.soon(boss) < IN_TIME
    serving.everywhere(boss)

    def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
        fields = {"Authorization": f"Bearer {boss}"}
        text = None if body is None else json.dumps(body)
        status, _, data = request(serving.port, method, f"/admin/keys{path}", text, fields)
        return status, json.loads(data)

    status, made = call("POST", "", {"name": "made", "labels": {"team": "web", "app": "ui"}})
    assert (status, made["id"]) == (201, f"{namespace}/made")
    assert serving.soon(made["key"]) < IN_TIME
    assert call("PATCH", "/made", {"labels": {"app": None}})[1]["labels"] == {"team": "web"}
    found = cluster.run(lambda client: client.get(LLM_KEYS, dict, "made", namespace=namespace))
    assert found["spec"]["hash"] == sha256(made["key"].encode()).hexdigest()
    assert found["spec"]["labels"] == {"team": "web"}
    rotated = call("POST", "/made/rotate", {"overlap": "0"})[1]["key"]
    assert serving.soon(made["key"], 401) < IN_TIME
    assert serving.soon(rotated) < IN_TIME
    assert call("DELETE", "/made")[0] == 200
    assert serving.soon(rotated, 401) < IN_TIME
    assert call("DELETE", f"/{other_namespace}/app")[0] == 404
    for path in ("/v1/configs", "/v1/virtual-keys"):
        status, _, data = request(serving.port, "GET", path, None, {"Authorization": f"Bearer {boss}"})
        assert (status, json.loads(data)["error"]["code"]) == (501, "no_portkey_store")
    eventually(  # the other worker may still know the key
        lambda: [key["id"] for key in call("GET", "")[1]["data"]], until=lambda ids: ids == [f"{namespace}/app"]
    )


def test_namespaces_are_borders(
    cluster: Cluster, namespace: str, other_namespace: str, serving: Gateway, one: Model, two: Model
) -> None:
    mine, theirs = make_key(cluster, namespace), make_key(cluster, other_namespace)
    make_route(cluster, namespace, target("mine", one.url), name="mine")
    serving.everywhere(mine, target="mine")
    status, _, body = serving.ask(theirs)
    assert status == 404
    assert namespace not in str(body)
    make_route(cluster, other_namespace, target("theirs", two.url), name="theirs")
    serving.soon(theirs, target="theirs")
    assert serving.ask(mine)[1]["x-tf-target"] == "mine"


def test_a_wrong_route_is_left_out_and_told_and_the_others_work(
    cluster: Cluster, namespace: str, serving: Gateway, one: Model
) -> None:
    key = make_key(cluster, namespace)
    make_route(cluster, namespace, target("well", one.url))
    foreign = {"name": "x", "namespace": "kube-system", "key": "k"}
    make_route(cluster, namespace, target("bad", one.url, apiKeySecret=foreign), name="wrong")
    serving.soon(key, target="well")

    def accepted(name: str) -> dict[str, Any]:
        return condition_of(cluster, namespace, "Accepted", name)

    found = eventually(lambda: accepted("wrong"), patience=60)
    assert (found["status"], found["reason"]) == ("False", "Invalid")
    assert found["message"].startswith("spec.targets[0].apiKeySecret.namespace: wanted " + namespace)
    assert eventually(lambda: accepted("chat"))["status"] == "True"
    assert condition_of(cluster, namespace, "TargetsResolved", "wrong")["status"] == "Unknown"

    def events() -> list[dict[str, Any]]:
        found = cluster.run(lambda client: client.list(EVENTS, dict, namespace=namespace)).items
        return [one for one in found if one["involvedObject"]["kind"] == "LLMRoute"]

    (event,) = eventually(events)
    assert (event["type"], event["reason"], event["involvedObject"]["name"]) == ("Warning", "Invalid", "wrong")
    assert "spec.targets[0].apiKeySecret.namespace" in event["message"]
    change_route(cluster, namespace, "wrong", targets=[target("bad", one.url)])
    assert eventually(lambda: accepted("wrong"), until=lambda seen: seen["status"] == "True")["reason"] == "Accepted"


def test_a_credential_is_that_of_the_secret_as_it_is_now(
    cluster: Cluster, namespace: str, serving: Gateway, one: Model
) -> None:
    key = make_key(cluster, namespace)
    wanted = {"name": "upstream", "namespace": namespace, "key": "api-key"}
    make_route(cluster, namespace, target("first", one.url, apiKeySecret=wanted))
    assert serving.soon(key, 503) < IN_TIME
    found = eventually(lambda: condition_of(cluster, namespace, "SecretsResolved"), patience=60)
    assert found["status"] == "False"
    assert "upstream" in found["message"]
    make_secret(cluster, namespace, "upstream", **{"api-key": "first"})
    assert serving.soon(key) < IN_TIME
    serving.everywhere(key)

    def shown() -> str:
        assert serving.ask(key)[0] == 200
        return str(one.seen()[-1]["credential"])

    assert shown() == sha256(b"first").hexdigest()[:12]
    changed = {"stringData": {"api-key": "second"}}
    cluster.run(lambda client: client.patch(SECRETS, "upstream", changed, namespace=namespace))
    eventually(shown, until=lambda seen: seen == sha256(b"second").hexdigest()[:12])
    said = eventually(
        lambda: condition_of(cluster, namespace, "SecretsResolved"), until=lambda seen: seen["status"] == "True"
    )
    assert said["reason"] == "Resolved"


def test_a_rollback_of_one_gateway_is_one_of_the_others_and_in_the_status(
    cluster: Cluster, namespace: str, serving: Gateway, one: Model
) -> None:
    key = make_key(cluster, namespace)
    rollout = {"target": "new", "steps": [50], "interval": "1h", "minRequests": 2}
    with gateway(cluster) as other:
        targets = target("old", one.url), target("new", "http://127.0.0.1:1", model="m2")
        make_route(cluster, namespace, *targets, strategy="weighted", rollout=rollout)
        serving.soon(key)
        other.soon(key)

        def gone(asked: Gateway) -> bool:
            """Nobody asks the new target first any more."""
            return {asked.ask(key)[1]["x-tf-attempts"] for _ in range(8)} == {"1"}

        eventually(lambda: other.ask(key) and any("a rollout is rolled back" in line for line in other.running.told))
        eventually(lambda: status_of(cluster, namespace)["rollout"]["phase"], until=lambda seen: seen == "RolledBack")
        eventually(lambda: any("rolled back by another" in line for line in serving.running.told))
        eventually(lambda: gone(serving))  # each of its workers learns of it by itself


def test_an_azure_source_is_an_address(cluster: Cluster, namespace: str, serving: Gateway, one: Model) -> None:
    key = make_key(cluster, namespace)
    spec = {"sourceType": "foundry", "foundryEndpoint": one.url, "subscriptionID": "s", "region": "eastus"}
    body = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "AzureGPUSource",
        "metadata": {"name": namespace},  # of the whole cluster
        "spec": spec,
    }
    make_route(cluster, namespace, target("burst", azureGPUSource=namespace))
    serving.soon(key, 503)
    cluster.run(lambda client: client.create(AZURE_GPU_SOURCES, body))
    serving.soon(key, target="burst")
    cluster.run(lambda client: client.delete(AZURE_GPU_SOURCES, namespace))
    assert serving.soon(key, 503) < IN_TIME


def test_no_request_fails_while_routes_change(
    cluster: Cluster, namespace: str, serving: Gateway, one: Model, two: Model
) -> None:
    key = make_key(cluster, namespace)
    for name in ("a", "b"):
        make_secret(cluster, namespace, name, k=name)
    secret = {name: {"name": name, "namespace": namespace, "key": "k"} for name in ("a", "b")}
    make_route(cluster, namespace, target("a", one.url, apiKeySecret=secret["a"]))
    serving.everywhere(key)
    statuses: list[int] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            statuses.append(serving.ask(key)[0])

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    slowest = 0
    try:
        for change in range(20):
            name, url = ("b", two.url) if change % 2 == 0 else ("a", one.url)
            change_route(cluster, namespace, targets=[target(name, url, apiKeySecret=secret[name])])
            slowest = max(slowest, serving.soon(key, target=name))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20
    assert slowest < IN_TIME


@pytest.mark.parametrize("by", ["endpoint", "pool"])
def test_ready_endpoints_of_a_service_are_replicas_and_those_that_leave_drain(
    cluster: Cluster, namespace: str, serving: Gateway, by: str
) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address beside loopback")
    key = make_key(cluster, namespace)
    where = {"endpoint": f"http://llm.{namespace}.svc.cluster.local"} if by == "endpoint" else {"gpuPool": "l4"}
    with model_server("--ttft", "0.05", host=address) as one, model_server("--ttft", "0.05", host=address) as two:
        make_service(cluster, namespace, "llm", **{"tensor-fusion.ai/gpupool": "l4"})
        make_route(cluster, namespace, target("pool", **where))
        assert serving.soon(key, 503) < IN_TIME
        set_endpoint(cluster, namespace, "llm", one)
        set_endpoint(cluster, namespace, "llm", two)
        serving.soon(key)
        eventually(lambda: (serving.ask(key), one.seen() and two.seen())[1])

        def spread() -> tuple[int, int]:
            before = len(one.seen()), len(two.seen())
            assert set(together(12, lambda: serving.ask(key)[0])) == {200}
            after = len(one.seen()) - before[0], len(two.seen()) - before[1]
            assert sum(after) == 12
            return after

        eventually(spread, until=lambda after: min(after) >= 3)  # once both workers know of both

        statuses: list[int] = []
        running = threading.Thread(target=lambda: statuses.append(serving.ask(key, max_tokens=50)[0]))
        running.start()
        set_endpoint(cluster, namespace, "llm", one, ready=False, serving=True, terminating=True)
        running.join()
        assert statuses[-1] == 200
        eventually(lambda: settled(serving, key, one))
        assert {serving.ask(key)[0] for _ in range(6)} == {200}
    # both are gone, and nobody has said so yet: the route has nobody to ask, and says which replica failed how
    assert serving.ask(key)[0] in (502, 503)


def test_no_request_fails_while_replicas_come_and_go(cluster: Cluster, namespace: str, serving: Gateway) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address beside loopback")
    key = make_key(cluster, namespace)
    statuses: list[int] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            statuses.append(serving.ask(key, max_tokens=8)[0])

    pace = ("--ttft", "0.01", "--tpot", "0.005")
    with contextlib.ExitStack() as stack:
        models = [stack.enter_context(model_server(*pace, host=address)) for _ in range(3)]
        make_service(cluster, namespace, "llm")
        set_endpoint(cluster, namespace, "llm", models[0])
        make_route(cluster, namespace, target("pool", f"http://llm.{namespace}.svc"))
        serving.everywhere(key)
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(9):
                leaving, coming = models[turn % 3], models[(turn + 1) % 3]
                set_endpoint(cluster, namespace, "llm", coming, ready=True)
                set_endpoint(cluster, namespace, "llm", leaving, ready=False, serving=True, terminating=True)
                seen = len(coming.seen())
                eventually(lambda coming=coming, seen=seen: len(coming.seen()) > seen)  # type: ignore[misc]
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20


def settled(serving: Gateway, key: str, model: Model) -> bool:
    """A few requests in a row did not go there."""
    seen = len(model.seen())
    assert {serving.ask(key)[0] for _ in range(6)} == {200}
    return len(model.seen()) == seen


def together(count: int, ask: Callable[[], int]) -> list[int]:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ask())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_status_tells_what_the_targets_saw_of_all_gateways_also_over_a_restart(
    cluster: Cluster, namespace: str, one: Model, two: Model
) -> None:
    key = make_key(cluster, namespace)
    with gateway(cluster, "--workers", "2") as serving, gateway(cluster, "--workers", "2") as other:
        make_route(cluster, namespace, target("first", one.url), target("second", two.url), strategy="round-robin")
        start = len(one.seen()) + len(two.seen())
        serving.everywhere(key)
        other.everywhere(key)
        before = len(one.seen()) + len(two.seen())
        asked = [each.ask(key)[0] for _ in range(15) for each in (serving, other)]
        refused = [serving.ask(key, messages="none")[0] for _ in range(3)]
        assert set(asked) == {200}
        assert all(status >= 400 for status in refused)
        seen = len(one.seen()) + len(two.seen())
        assert seen - before == 33
        total = seen - start + 10
    with gateway(cluster) as serving:
        assert {serving.ask(key)[0] for _ in range(10)} == {200}
        stats = eventually(
            lambda: status_of(cluster, namespace)["stats"],
            until=lambda found: found["totalRequests"] >= total,
            patience=60,
        )
        counted = stats["totalRequests"], stats["successfulRequests"], stats["failedRequests"]
        assert counted == (total, total - 3, 3)
        found = eventually(lambda: status_of(cluster, namespace), until=lambda seen: "targets" in seen, patience=60)
        assert [(each["name"], each["healthy"]) for each in found["targets"]] == [("first", True), ("second", True)]
        assert found["phase"] == "Active"
        assert found["activeTarget"] in ("first", "second")
        assert stats["averageLatency"].endswith("ms")
