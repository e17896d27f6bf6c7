"""What sets of pods do next: pure decisions of StatefulSets, DaemonSets, budgets and endpoints."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.controllers.daemonset_objects import DaemonSet, fit_of, pod_spec
from tensorfusion.embedded.controllers.daemonset_plan import View, manage, roll
from tensorfusion.embedded.controllers.disruption import BudgetSpec, count
from tensorfusion.embedded.controllers.endpoint_sets import Service, backends, endpoints_of, slices_of
from tensorfusion.embedded.controllers.statefulset_objects import StatefulSet
from tensorfusion.embedded.controllers.statefulset_plan import ordinals, plan
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.meta import Raw

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY = [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-12-31T00:00:00Z"}]


def pod(name: str, state: str = "ready", *, revision: str = "old", **spec: Raw) -> Pod:
    metadata: Raw = {"name": name, "namespace": "n", "uid": f"uid-{name}", "labels": {"app": "a"}}
    metadata["labels"]["controller-revision-hash"] = revision
    if state == "deleting":
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    phases = {"pending": "Pending", "failed": "Failed", "succeeded": "Succeeded"}
    status: Raw = {"phase": phases.get(state, "Running")}
    if state in ("ready", "deleting"):
        status["conditions"] = READY
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, Pod)


def stateful_set(replicas: int, **spec: Raw) -> StatefulSet:
    body = {"metadata": {"name": "s"}, "spec": {"replicas": replicas, **spec}}
    return msgspec.convert(body, StatefulSet)


STATES = st.sampled_from(["absent", "ready", "pending", "unready", "failed", "deleting"])


@given(st.integers(0, 4), st.lists(STATES, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_an_ordered_set_does_one_thing_at_a_time_and_only_on_solid_ground(
    replicas: int, states: list[str], old: list[bool]
) -> None:
    current = stateful_set(replicas)
    pods = {
        at: pod(f"s-{at}", state, revision="old" if old[at] else "new")
        for at, state in enumerate(states)
        if state != "absent"
    }
    step = plan(current, pods, "new", now=NOW)
    assert len(step.create) + len(step.delete) <= 1
    wanted = ordinals(current)
    for ordinal in step.create:
        assert all(states[below : below + 1] == ["ready"] for below in range(ordinal))
    for found in step.delete:
        ordinal = int(found.metadata.name.removeprefix("s-"))
        if found.finished:
            continue
        assert all(states[at : at + 1] == ["ready"] for at in wanted if at != ordinal)
        if ordinal in wanted:
            assert all(not old[at] for at in wanted if at > ordinal)


@given(st.integers(0, 4), st.lists(STATES, max_size=6))
def test_a_parallel_set_makes_everything_that_is_missing(replicas: int, states: list[str]) -> None:
    current = stateful_set(replicas, podManagementPolicy="Parallel")
    pods = {at: pod(f"s-{at}", state) for at, state in enumerate(states) if state != "absent"}
    step = plan(current, pods, "old", now=NOW)
    assert set(step.create) == {at for at in range(replicas) if at not in pods}


def test_a_partition_keeps_the_lower_ordinals() -> None:
    current = stateful_set(3, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    pods = {at: pod(f"s-{at}") for at in range(3)}
    assert [found.metadata.name for found in plan(current, pods, "new", now=NOW).delete] == ["s-2"]
    pods[2] = pod("s-2", revision="new")
    assert plan(current, pods, "new", now=NOW).delete == ()


def test_on_delete_replaces_nothing_by_itself() -> None:
    current = stateful_set(1, updateStrategy={"type": "OnDelete"})
    assert plan(current, {0: pod("s-0")}, "new", now=NOW).delete == ()


def node(name: str, *, labels: dict[str, str] | None = None, taints: list[Raw] | None = None) -> Node:
    return msgspec.convert({"metadata": {"name": name, "labels": labels or {}}, "spec": {"taints": taints or []}}, Node)


def daemon_set(rolling: Raw | None = None, **spec: Raw) -> DaemonSet:
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling or {}}
    return msgspec.convert(
        {"metadata": {"name": "d"}, "spec": {"updateStrategy": strategy, "template": {"spec": spec}}}, DaemonSet
    )


@pytest.mark.parametrize(
    ("spec", "taints", "run", "stay"),
    [
        ({}, [], True, True),
        ({"nodeSelector": {"zone": "a"}}, [], True, True),
        ({"nodeSelector": {"zone": "b"}}, [], False, False),
        ({"nodeName": "other"}, [], False, False),
        ({}, [{"key": "k", "effect": "NoSchedule"}], False, True),
        ({}, [{"key": "k", "effect": "NoExecute"}], False, False),
        ({}, [{"key": "k", "effect": "PreferNoSchedule"}], True, True),
        ({"tolerations": [{"operator": "Exists"}]}, [{"key": "k", "effect": "NoExecute"}], True, True),
        (
            {"tolerations": [{"key": "k", "value": "v"}]},
            [{"key": "k", "value": "w", "effect": "NoSchedule"}],
            False,
            True,
        ),
        ({}, [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}], True, True),
        ({}, [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}], True, True),
        ({}, [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}], False, True),
        (
            {"hostNetwork": True},
            [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}],
            True,
            True,
        ),
    ],
)
def test_a_daemon_fits_a_node_by_its_selector_and_tolerations(
    spec: Raw, taints: list[Raw], run: bool, stay: bool
) -> None:
    found = fit_of(pod_spec(daemon_set(**spec)), node("n1", labels={"zone": "a"}, taints=taints))
    assert (found.run, found.stay) == (run, stay)


def view(pods: dict[str, list[Pod]], nodes: int = 4, coming: frozenset[str] = frozenset()) -> View:
    spec = pod_spec(daemon_set())
    fits = {f"n{at}": fit_of(spec, node(f"n{at}")) for at in range(nodes)}
    return View(fits, pods, coming, frozenset())


def test_a_node_without_a_daemon_gets_one_and_a_second_one_goes() -> None:
    pods = {"n0": [pod("a"), pod("b")], "n1": [pod("c", "deleting")], "gone": [pod("x")]}
    step = manage(daemon_set(), view(pods, coming=frozenset({"n2"})))
    assert step.create == ["n3"]
    assert sorted(found.metadata.name for found in step.delete) == ["b", "x"]


@given(
    st.lists(st.sampled_from(["old", "new", "old unready", "new unready"]), min_size=1, max_size=8), st.integers(1, 4)
)
def test_an_update_keeps_all_but_the_allowed_nodes_available(kinds: list[str], most: int) -> None:
    pods = {
        f"n{at}": [pod(f"p{at}", "unready" if "unready" in kind else "ready", revision=kind.split()[0])]
        for at, kind in enumerate(kinds)
    }
    step = roll(daemon_set({"maxUnavailable": most}), view(pods, len(kinds)), "new", now=NOW)
    gone = {found.metadata.name for found in step.delete}
    assert {f"p{at}" for at, kind in enumerate(kinds) if kind == "old unready"} <= gone
    assert not gone & {f"p{at}" for at, kind in enumerate(kinds) if kind.startswith("new")}
    lost = sum(kind == "new unready" for kind in kinds) + len(
        gone & {f"p{i}" for i, k in enumerate(kinds) if k == "old"}
    )
    assert lost <= max(most, sum(kind == "new unready" for kind in kinds))


def test_a_surge_adds_new_pods_before_old_ones_go() -> None:
    current = daemon_set({"maxSurge": 1, "maxUnavailable": 0})
    pods = {"n0": [pod("a")], "n1": [pod("b")]}
    assert roll(current, view(pods, 2), "new", now=NOW).create == ["n0"]
    pods["n0"].append(pod("c", "unready", revision="new"))
    waiting = roll(current, view(pods, 2), "new", now=NOW)
    assert (waiting.create, waiting.delete) == ([], [])
    pods["n0"][1] = pod("c", revision="new")
    step = roll(current, view(pods, 2), "new", now=NOW)
    assert (step.create, [found.metadata.name for found in step.delete]) == (["n1"], ["a"])


@pytest.mark.parametrize(
    ("spec", "expected", "needed"),
    [
        (BudgetSpec(min_available=2), 3, 2),
        (BudgetSpec(min_available="50%"), 5, 3),
        (BudgetSpec(max_unavailable=1), 5, 4),
        (BudgetSpec(max_unavailable="30%"), 5, 3),
        (BudgetSpec(max_unavailable=9), 5, 0),
    ],
)
def test_a_budget_needs_what_its_words_say(spec: BudgetSpec, expected: int, needed: int) -> None:
    found = count(spec, pods=3, scale=5, healthy=3)
    assert (found.expected, found.needed) == (expected, needed)


def service(**spec: Raw) -> Service:
    body = {"metadata": {"name": "s", "namespace": "n", "uid": "u"}, "spec": {"selector": {"app": "a"}, **spec}}
    return msgspec.convert(body, Service)


def backend_pod(name: str, state: str = "ready", port: int = 8080) -> Pod:
    found = pod(name, state, containers=[{"name": "c", "ports": [{"name": "http", "containerPort": port}]}])
    return msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, pod_ip=f"10.0.0.{len(name)}"))


def test_endpoints_tell_ready_from_not_ready_and_going() -> None:
    current = service(ports=[{"port": 80, "targetPort": "http"}])
    pods = [
        backend_pod("a"),
        backend_pod("bb", "unready"),
        backend_pod("ccc", "deleting"),
        backend_pod("dddd", "failed"),
    ]
    found = backends(current, pods)
    (made,) = slices_of(current, found, {}, [])
    told = [tuple(each["conditions"].values()) for each in made["endpoints"]]
    assert told == [(True, True, False), (False, False, False), (False, True, True)]
    (subset,) = endpoints_of(current, found)["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == ["10.0.0.1"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]


def test_pods_that_are_not_ready_are_published_where_the_service_says_so() -> None:
    current = service(publishNotReadyAddresses=True)
    found = backends(current, [backend_pod("a", "unready"), backend_pod("bb", "deleting")])
    assert [each.ready for each in found] == [True, True]


def test_pods_with_other_ports_are_in_other_slices_of_at_most_a_hundred() -> None:
    current = service(ports=[{"port": 80, "targetPort": "http"}])
    pods = [backend_pod(f"a{at}") for at in range(150)] + [backend_pod("b", port=9090)]
    slices = slices_of(current, backends(current, pods), {}, [])
    assert sorted(len(each["endpoints"]) for each in slices) == [1, 50, 100]
    assert len({each["metadata"]["name"] for each in slices}) == 3
    assert slices == slices_of(current, backends(current, reversed(pods)), {}, [])
