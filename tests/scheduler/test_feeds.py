"""Objects of the API as facts: what is read, what is refused, and what is shared."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import gpu_capacities
from tensorfusion.model.core import Node, Pod, PodSpec
from tensorfusion.model.gang import gang_of
from tensorfusion.model.gpu import GPU
from tensorfusion.model.meta import Meta
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.request import Isolation
from tensorfusion.policy.quota_facts import quota_facts
from tensorfusion.scheduler.feeds import Gangs, asked_by, device_facts, node_facts, placement_of, pod_facts
from tensorfusion.scheduler.grants import binding_annotations
from tensorfusion.scheduler.pod_rules import rules_of


def pod(annotations: dict[str, str], **labels: str) -> Pod:
    metadata = {"name": "a", "labels": {keys.COMPONENT: "worker", **labels}, "annotations": annotations}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": "n0"}}, Pod)


def gpu(status: dict[str, Any], **annotations: str) -> GPU:
    metadata = {"name": "g", "labels": {keys.GPU_POOL: "main"}, "annotations": annotations}
    where = {"nodeSelector": {keys.HOSTNAME_LABEL: "n0"}}
    return msgspec.convert({"metadata": metadata, "status": {**where, **status}}, GPU)


def quota(spec: dict[str, Any]) -> GPUResourceQuota:
    return msgspec.convert({"spec": spec}, GPUResourceQuota)


WISHES = {keys.GPU_POOL: "main", keys.TFLOPS_REQUEST: "10", keys.VRAM_REQUEST: "1Gi"}


def test_pods_of_one_template_share_one_request() -> None:
    first = asked_by(pod({**WISHES, "example.com/own": "1"}))
    second = asked_by(pod({**WISHES, "example.com/own": "2"}))
    assert first is second
    assert asked_by(pod({**WISHES, keys.TFLOPS_REQUEST: "11"})) is not first


def test_a_wish_that_cannot_be_read_is_refused_every_time() -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="tflops-request"):
            asked_by(pod({**WISHES, keys.TFLOPS_REQUEST: "many"}))


GANG_STAMPS = {
    keys.GANG_REQUIRED_MEMBERS: ("2", "3"),
    keys.GANG_DESIRED_MEMBERS: ("4", "5"),
    keys.GANG_GROUP_KEY: ("one", "team/two"),
    keys.GANG_TIMEOUT: ("30s", "1m"),
    keys.GANG_MODE: ("Strict",),
    keys.GANG_TOPOLOGY: ("required", "none"),
    keys.GANG_TOPOLOGY_KEY: ("rack", "zone"),
}


@given(st.lists(st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in GANG_STAMPS.items()})))
def test_remembered_gangs_are_told_apart_by_every_stamp_that_they_are_read_from(stamps: list[dict[str, str]]) -> None:
    gangs = Gangs()
    for said in stamps:
        meta = Meta(name="a", namespace="team", annotations={keys.GANG_REQUIRED_MEMBERS: "2", **said})
        assert gangs.of(meta) == gang_of(meta)


@pytest.mark.parametrize("counts", ["nonsense", "[1]", '{"main": -1, "other": 2}', '{"main": 2}', '{"main": "1"}'])
def test_container_counts_must_be_counts_that_add_up(counts: str) -> None:
    with pytest.raises(InvalidRequest, match="container-gpu-count"):
        asked_by(pod({**WISHES, keys.CONTAINER_GPU_COUNT: counts}))


def test_a_plain_pods_device_ids_mean_nothing() -> None:
    plain = msgspec.convert(
        {"metadata": {"annotations": {keys.GPU_IDS: "g0"}}, "spec": {"nodeName": "n0", "containers": []}}, Pod
    )
    assert placement_of(plain).devices == ()


def test_without_counts_every_injected_container_gets_all_devices() -> None:
    written = binding_annotations({keys.INJECT_CONTAINER: "b, a"}, ["a", "b", "c"], ("g0", "g1"), epoch=7)
    assert written[keys.CONTAINER_GPUS] == '{"a":["g0","g1"],"b":["g0","g1"]}'
    assert written[keys.GPU_IDS] == "g0,g1"
    assert written[keys.SCHEDULER_EPOCH] == "7"


def test_capacities_that_are_not_one_number_for_each_device_are_as_if_they_were_not_there() -> None:
    for text in ("", "1000", "1000,", "1000,many", "1000,-1", "1000,2000,3000", "1000," + "9" * 99):
        assert gpu_capacities({keys.GPU_CAPACITIES: text}, 2) == (), text
    assert gpu_capacities({keys.GPU_CAPACITIES: "1000,2000"}, 2) == (1000, 2000)


def test_a_devices_capacity_rounds_down() -> None:
    facts = device_facts(gpu({"capacity": {"tflops": "312.9999", "vram": "1.5"}}))
    assert (facts.compute, facts.vram) == (312_999, 1)


def test_a_device_that_nobody_placed_yet_has_no_facts() -> None:
    assert device_facts(gpu({"nodeSelector": {}})) is None


@pytest.mark.parametrize(
    ("text", "modes"),
    [
        ("", None),
        ("nonsense", None),
        ('{"SupportsSoftIsolation": true}', {Isolation.SHARED, Isolation.SOFT}),
        ('{"SupportsHardIsolation": true, "SupportsPartitioning": true}', {"shared", "hard", "partitioned"}),
    ],
)
def test_capabilities_gate_where_they_can_be_read(text: str, modes: set[str] | None) -> None:
    found = device_facts(gpu({}, **{keys.VIRTUALIZATION_CAPABILITIES: text})).capabilities
    assert found == (None if modes is None else frozenset(modes))


def test_a_node_without_amounts_takes_the_usual_number_of_pods_and_nothing_else() -> None:
    facts = node_facts(msgspec.convert({"metadata": {"name": "n"}}, Node))
    assert (facts.cpu, facts.memory, facts.pods, facts.ready) == (0, 0, 110, True)


def test_allocatable_counts_and_extended_resources_are_whole_numbers() -> None:
    amounts = {"cpu": "1500m", "memory": "1Gi", "pods": "5", "example.com/nic": "3"}
    status = {"allocatable": amounts, "capacity": {"cpu": "2"}}
    facts = node_facts(msgspec.convert({"metadata": {"name": "n"}, "status": status}, Node))
    assert (facts.cpu, facts.memory, facts.pods, facts.extended) == (1500, 1 << 30, 5, {"example.com/nic": 3})


def test_only_dimensions_that_are_set_have_a_ceiling_and_a_single_zero_is_none() -> None:
    facts = quota_facts(
        "a", [quota({"total": {"requests": {"tflops": "0"}}, "single": {"maxRequests": {"vram": "0", "tflops": "5"}}})]
    )
    assert (facts.total_compute, facts.total_vram, facts.single_vram, facts.single_compute) == (0, None, None, 5000)
    assert quota_facts("a", []) is None


def test_host_ports_are_those_of_containers_and_of_init_containers_that_stay() -> None:
    spec = {
        "containers": [
            {"ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]},
            {"ports": [{"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"}]},
        ],
        "initContainers": [
            {"ports": [{"containerPort": 1, "hostPort": 1}]},
            {"ports": [{"containerPort": 2, "hostPort": 2}], "restartPolicy": "Always"},
        ],
    }
    rules = rules_of(Meta(), msgspec.convert(spec, PodSpec))
    assert rules is not None
    assert [str(port) for port in rules.ports] == ["8080/TCP", "10.0.0.1:53/UDP", "2/TCP"]
    del spec["initContainers"]
    rules = rules_of(Meta(), msgspec.convert({**spec, "hostNetwork": True}, PodSpec))
    assert rules is not None
    assert [str(port) for port in rules.ports] == ["8080/TCP", "81/TCP", "10.0.0.1:53/UDP"]
    assert rules_of(Meta(), msgspec.convert({"containers": [{"ports": [{"containerPort": 80}]}]}, PodSpec)) is None


@pytest.mark.parametrize(("text", "until"), [("90s", 1_000_090), ("1h", 1_003_600), ("soon", 0), ("", 0), (None, 0)])
def test_protection_from_eviction_ends_its_duration_after_the_creation(text: str | None, until: int) -> None:
    notes = {} if text is None else {keys.EVICTION_PROTECTION: text}
    meta = {"name": "a", "uid": "u", "creationTimestamp": "1970-01-12T13:46:40Z", "annotations": notes}
    pod = msgspec.convert({"metadata": meta}, Pod)
    assert pod_facts(pod, None, 0).protected_until == until


@pytest.mark.parametrize(
    ("spec", "preempts"),
    [({}, True), ({"preemptionPolicy": "PreemptLowerPriority"}, True), ({"preemptionPolicy": "Never"}, False)],
)
def test_the_preemption_policy_of_a_pod_is_read(spec: dict[str, str], preempts: bool) -> None:
    pod = msgspec.convert({"metadata": {"name": "a", "uid": "u"}, "spec": spec}, Pod)
    assert pod_facts(pod, None, 0).preempts is preempts
