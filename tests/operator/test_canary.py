"""The operator counts a canary's pods down: when one goes, when it takes over, and when a reservation was in vain."""

import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.canary import EXPIRY

COUNTER = f"{keys.COUNTER_PREFIX}abc"
RESERVED = f"{keys.DOMAIN}/tf-reserved-abc"


def replica_set(cluster, annotations) -> dict:
    body = {"metadata": {"name": "web-abc", "annotations": annotations}, "spec": {"replicas": 3}}
    return cluster.api.seed(r.REPLICA_SETS, body, namespace="team")


def counted(cluster, name: str, owner: dict, id_: str) -> None:
    reference = {"kind": "ReplicaSet", "name": "web-abc", "uid": owner["metadata"]["uid"]}
    cluster.pod(name, workload="web", owner=reference, pod_counter_key=COUNTER, pod_counter_id=id_)


def annotations(cluster) -> dict:
    return cluster.api.object(r.REPLICA_SETS, "web-abc", namespace="team")["metadata"].get("annotations", {})


async def test_pods_that_appear_are_counted_and_pods_that_end_or_go_are_not(cluster) -> None:
    owner = replica_set(cluster, {COUNTER: "2", RESERVED: "one=1767225600,two=1767225600"})
    counted(cluster, "a", owner, "one")
    counted(cluster, "b", owner, "two")
    await cluster.passes(2)
    assert annotations(cluster) == {COUNTER: "2"}
    cluster.phase("a", "Failed")
    await cluster.passes(2)
    assert annotations(cluster) == {COUNTER: "1"}
    cluster.api.remove(r.PODS, "b", namespace="team")
    await cluster.passes(2)
    assert annotations(cluster) == {}


@pytest.mark.parametrize("made_by", ["Deployment", ""])
async def test_only_the_pods_of_a_deployments_template_are_listed(cluster, made_by: str) -> None:
    owner = replica_set(cluster, {COUNTER: "1", RESERVED: "one=1767225600"})
    change: dict = {"metadata": {"labels": {"pod-template-hash": "abc"}}}
    if made_by:
        reference = {"apiVersion": "apps/v1", "kind": made_by, "name": "web", "uid": "d", "controller": True}
        change["metadata"]["ownerReferences"] = [reference]
    cluster.api.change(r.REPLICA_SETS, "web-abc", change, namespace="team")
    labels = {"pod-template-hash": "abc"} if made_by else {}
    reference = {"kind": "ReplicaSet", "name": "web-abc", "uid": owner["metadata"]["uid"]}
    wishes = {"pod_counter_key": COUNTER, "pod_counter_id": "one"}
    cluster.pod("a", workload="web", owner=reference, labels=labels, **wishes)
    await cluster.passes(2)
    assert annotations(cluster) == {COUNTER: "1"}


async def test_a_reservation_that_no_pod_answers_ends_by_itself(cluster) -> None:
    owner = replica_set(cluster, {COUNTER: "2", RESERVED: "one=1767225600,two=1767225600"})
    counted(cluster, "a", owner, "one")
    await cluster.passes(2)
    assert annotations(cluster)[COUNTER] == "2"
    await cluster.passes(EXPIRY)
    assert annotations(cluster) == {COUNTER: "1"}


async def test_a_pod_that_came_and_went_before_anybody_counted_leaves_no_reservation(cluster) -> None:
    owner = replica_set(cluster, {COUNTER: "1", RESERVED: "one=1767225600"})
    counted(cluster, "a", owner, "one")
    await cluster.clock.settle()
    cluster.api.remove(r.PODS, "a", namespace="team")
    await cluster.passes(2)
    assert annotations(cluster) == {}


async def test_a_new_leader_counts_what_nobody_watched(cluster) -> None:
    replica_set(cluster, {COUNTER: "2"})
    await cluster.passes(2)
    cluster.leading = False
    await cluster.passes(2)
    cluster.leading = True
    await cluster.passes(3)
    assert annotations(cluster) == {}


async def test_pods_of_no_canary_cost_no_call(cluster) -> None:
    await cluster.passes(3)
    cluster.api.calls.clear()
    cluster.pod("a", workload="web", owner={"kind": "ReplicaSet", "name": "web-abc", "uid": "u"})
    await cluster.passes(2)
    assert all(call.verb != "list" for call in cluster.api.calls)
