"""The rules between pods, judged by kube-scheduler itself: where it places a pod, ours would; where it refuses, ours does.

The judge scores by these rules alone, so that its choice must be one of the best by ours. Starts a control plane, hence
with ``--real`` only.
"""

import contextlib
import json
import os
import random
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from tensorfusion.model.core import Node, Pod
from tensorfusion.scheduler import feeds
from tensorfusion.scheduling.extra_rules import extra_rules
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.simulate import simulate
from tensorfusion.scheduling.state import State
from tensorfusion.testing.control_plane import ControlPlane, control_plane, free_ports

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-scheduler").exists(), reason="no kube-scheduler: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]
HOST = "kubernetes.io/hostname"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
MERGE = "application/merge-patch+json"


class Server:
    """Plain requests to the API server, as its administrator."""

    def __init__(self, plane: ControlPlane) -> None:
        self._base = plane.server
        self._tls = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
        self._token = yaml.safe_load(plane.kubeconfig.read_text())["users"][0]["user"]["token"]

    def __call__(self, verb: str, path: str, body: Any = None, type_: str = "application/json") -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": type_}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._base + path, data, headers, method=verb)
        with urllib.request.urlopen(request, context=self._tls) as answer:
            return json.load(answer)


@contextlib.contextmanager
def judge(plane: ControlPlane) -> Iterator[None]:
    """kube-scheduler with no scores but those of the rules between pods, and without preemption."""
    scores = [{"name": "PodTopologySpread", "weight": 2}, {"name": "InterPodAffinity", "weight": 2}]
    off = [{"name": "*"}]
    plain = {"name": "PodTopologySpread", "args": {"defaultConstraints": [], "defaultingType": "List"}}
    profile = {
        "schedulerName": "judge",
        "plugins": {"score": {"disabled": off, "enabled": scores}, "postFilter": {"disabled": off}},
        "pluginConfig": [plain],
    }
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(plane.kubeconfig)},
        "leaderElection": {"leaderElect": False},
        "percentageOfNodesToScore": 100,
        "profiles": [profile],
    }
    file = plane.folder / "judge.yaml"
    file.write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    flags = [f"--config={file}", "--bind-address=127.0.0.1", f"--secure-port={port}"]
    with (plane.folder / "judge.log").open("wb") as log:
        process = subprocess.Popen([str(ASSETS / "kube-scheduler"), *flags], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def random_node(rng: random.Random, name: str) -> dict[str, Any]:
    labels = {HOST: name} | {key: rng.choice("ab") for key in ("zone", "rack") if rng.random() < 0.85}
    amounts = {"cpu": "64", "memory": "64Gi", "pods": "110"}
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts, "capacity": amounts}}


def random_selector(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            {"matchLabels": {"app": "web"}},
            {"matchLabels": {"app": "db"}},
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]},
            {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]},
            {},
        )
    )


def random_term(rng: random.Random) -> dict[str, Any]:
    term = {"topologyKey": rng.choice(("zone", "zone", "rack", HOST)), "labelSelector": random_selector(rng)}
    if rng.random() < 0.2:
        term["namespaces"] = ["default", "other"]
    elif rng.random() < 0.2:
        term["namespaceSelector"] = rng.choice(({}, {"matchLabels": {"kind": "big"}}))
    if rng.random() < 0.2:
        term["matchLabelKeys"] = ["version"]
    return term


def random_spread(rng: random.Random) -> list[dict[str, Any]]:
    rules = []
    for key in rng.sample(("zone", "rack", HOST), rng.choice((0, 0, 1, 2))):
        rule = {
            "topologyKey": key,
            "maxSkew": rng.randint(1, 2),
            "whenUnsatisfiable": rng.choice(("DoNotSchedule", "ScheduleAnyway")),
            "labelSelector": random_selector(rng),
            "nodeTaintsPolicy": rng.choice(("Honor", "Ignore")),
            "nodeAffinityPolicy": rng.choice(("Honor", "Ignore")),
        }
        if rule["whenUnsatisfiable"] == "DoNotSchedule" and rng.random() < 0.3:
            rule["minDomains"] = rng.randint(1, 4)
        if rng.random() < 0.3:
            rule["matchLabelKeys"] = ["version"]
        rules.append(rule)
    return rules


def random_pod(rng: random.Random, name: str) -> dict[str, Any]:
    labels = {"app": rng.choice(("web", "db", "cache")), "version": rng.choice("12")}
    labels |= {"tier": rng.choice("xy")} if rng.random() < 0.5 else {}
    affinity: dict[str, Any] = {}
    if rng.random() < 0.3:
        affinity["podAffinity"] = {REQUIRED: [random_term(rng) for _ in range(rng.choice((1, 1, 2)))]}
    if rng.random() < 0.25:
        affinity["podAntiAffinity"] = {REQUIRED: [random_term(rng)]}
    if rng.random() < 0.4:
        wish = {"weight": rng.randint(1, 100), "podAffinityTerm": random_term(rng)}
        affinity.setdefault(rng.choice(("podAffinity", "podAntiAffinity")), {})[PREFERRED] = [wish]
    ports = [{"containerPort": 80, "hostPort": rng.choice((80, 81))}] if rng.random() < 0.1 else []
    spec = {
        "schedulerName": "judge",
        "containers": [{"name": "main", "image": "x", "ports": ports}],
        "topologySpreadConstraints": random_spread(rng),
        "affinity": affinity,
        "terminationGracePeriodSeconds": 0,
        "tolerations": rng.choice(([], [{"key": "key", "operator": "Exists"}])),
        "nodeSelector": rng.choice(({}, {}, {}, {"zone": "a"})),
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def verdict(server: Server, path: str) -> tuple[str, Pod]:
    """The node that the judge chose, "" where it refused; and the pod as the server keeps it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pod = msgspec.convert(server("GET", path), Pod)
        if pod.spec.node_name:
            return pod.spec.node_name, pod
        if any(one.type == "PodScheduled" and one.status == "False" for one in pod.status.conditions):
            return "", pod
        time.sleep(0.02)
    raise AssertionError(f"{path}: the judge says nothing")


def best(state: State, pod: PodFacts, feasible: tuple[str, ...]) -> set[str]:
    """The feasible nodes with the most points by the rules between pods."""
    rows = [state.fleet.nodes.records[name].row for name in feasible]
    mask = np.zeros(state.fleet.nodes.size, np.bool_)
    mask[rows] = True
    extra = extra_rules(state, pod)
    points = extra.points(mask, None) if extra is not None else None
    if points is None:
        return set(feasible)
    most = max(points[row] for row in rows)
    return {name for name, row in zip(feasible, rows, strict=True) if points[row] == most}


def world(server: Server, seed: int) -> State:
    """Nodes on the server, and the same in our columns."""
    rng, state = random.Random(seed), State()
    state.set_namespace("other", {"kind": "big"})
    for number in range(rng.randint(2, 6)):
        body = random_node(rng, f"n{seed}-{number}")
        server("POST", "/api/v1/nodes", body)
        taints = {"spec": {"taints": rng.choice((None, None, [{"key": "key", "effect": "NoSchedule"}]))}}
        made = server("PATCH", f"/api/v1/nodes/{body['metadata']['name']}", taints, MERGE)
        state.upsert_node(feeds.node_facts(msgspec.convert(made, Node)))
    return state


def test_kube_scheduler_places_and_refuses_the_same_pods(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if not request.config.getoption("--real"):
        pytest.skip("starts kube-scheduler: give --real")
    placed = refused = 0
    with control_plane(ASSETS, tmp_path) as plane, judge(plane):
        server = Server(plane)
        server("POST", "/api/v1/namespaces", {"metadata": {"name": "other", "labels": {"kind": "big"}}})
        for seed in range(6):
            rng, state = random.Random(-seed - 1), world(server, seed)
            time.sleep(0.5)  # the judge must have seen the nodes
            for number in range(25):
                path = f"/api/v1/namespaces/{rng.choice(('default', 'default', 'other'))}/pods"
                body = random_pod(rng, f"p{seed}-{number}")
                server("POST", path, body)
                node, pod = verdict(server, f"{path}/{body['metadata']['name']}")
                facts = feeds.pod_facts(pod, None, 0)
                ours = simulate(state, facts)
                assert (ours.decision is None) == (node == ""), (body, node, ours.failure)
                if node:
                    assert node in best(state, facts, ours.feasible_nodes), body
                    state.confirm(facts, Placement(node))
                    placed += 1
                else:
                    server("DELETE", f"{path}/{body['metadata']['name']}")
                    refused += 1
            for allocation in list(state.allocations.values()):
                server("DELETE", f"/api/v1/namespaces/{allocation.pod.namespace}/pods/{allocation.pod.name}")
            for record in list(state.nodes()):
                server("DELETE", f"/api/v1/nodes/{record.name}")
    assert min(placed, refused) >= 20
