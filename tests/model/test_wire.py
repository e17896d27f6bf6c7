"""Typed objects from the wire and back, and the smallest patch between two states."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.core import NodeSelector
from tensorfusion.model.crd import KINDS
from tensorfusion.model.gpu import GPU, GpuPhase, GPUStatus
from tensorfusion.model.gpu_node import GPUNodeStatus
from tensorfusion.model.gpu_pool import GPUPool, GPUPoolStatus, Oversubscription, PoolPhase
from tensorfusion.model.pool_nodes import RollingUpdatePolicy
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.request import Isolation
from tensorfusion.model.wire import merge_patch, status_patch, to_wire


def test_every_kind_reads_an_object_with_nothing_in_it() -> None:
    for custom in KINDS.values():
        read = msgspec.json.decode(b'{"metadata":{"name":"x"},"unheardOf":1}', type=custom.type)
        assert read.key.name == "x"


def test_a_pool_without_node_manager_config_has_its_defaults() -> None:
    pool = msgspec.json.decode(b'{"spec":{"schedulingConfigTemplate":"t"}}', type=GPUPool)
    assert pool.spec.node_manager_config.default_isolation_mode is Isolation.SOFT
    assert pool.spec.node_manager_config.node_selector is None
    assert pool.spec.capacity_config is None


def test_odd_wire_names_are_spelled_out() -> None:
    status = msgspec.json.decode(
        b'{"totalTFlops":"1","totalVRAM":"2","totalGPUs":3,"managedGPUDeviceIDs":["a"],"virtualAvailableVRAM":"-1"}',
        type=GPUNodeStatus,
    )
    assert (status.total_tflops, status.total_vram, status.total_gpus) == ("1", "2", 3)
    assert (status.managed_gpu_device_ids, status.virtual_available_vram) == (("a",), "-1")
    quota = msgspec.json.decode(
        b'{"spec":{"total":{"maxGPUCount":2}},"status":{"availablePercent":{"requests.tflops":"1.00"}}}',
        type=GPUResourceQuota,
    )
    assert quota.spec.total is not None
    assert quota.spec.total.max_gpu_count == 2
    assert quota.status.available_percent is not None
    assert quota.status.available_percent.requests_tflops == "1.00"


def test_amounts_become_integers_and_unset_is_not_zero() -> None:
    amount = ComputeResource(tflops="149.7", vram="80Gi")
    assert (amount.gflops(), amount.vram_bytes(), amount.milli_percent()) == (149_700, 80 << 30, None)
    assert ComputeResource(tflops=0).gflops() == 0


def test_only_running_devices_of_ours_take_work() -> None:
    assert GPUStatus(phase=GpuPhase.RUNNING).schedulable
    assert GPUStatus(phase=GpuPhase.RUNNING, used_by="tensor-fusion").schedulable
    assert not GPUStatus(phase=GpuPhase.RUNNING, used_by="nvidia-device-plugin").schedulable
    assert not GPUStatus().schedulable


def test_an_explicit_update_switch_wins_over_the_common_one() -> None:
    policy = RollingUpdatePolicy(auto_update=True, auto_update_worker=False)
    assert policy.updates(policy.auto_update_client)
    assert not policy.updates(policy.auto_update_worker)
    assert not RollingUpdatePolicy().updates(None)


def test_what_the_schema_requires_is_always_written() -> None:
    wire = to_wire(GPUPoolStatus(phase=PoolPhase.RUNNING))
    assert wire["readyNodes"] == 0
    assert wire["totalTFlops"] == "0"
    assert wire["phase"] == "Running"
    assert "savedCostsPerMonth" not in wire
    assert to_wire(Oversubscription(tflops_oversell_ratio=100)) == {"tflopsOversellRatio": 100}


def test_a_status_that_did_not_change_is_no_patch() -> None:
    status = GPUStatus(phase=GpuPhase.RUNNING, available=ComputeResource(tflops="1"))
    assert status_patch(status, msgspec.structs.replace(status)) is None


def test_a_patch_names_only_what_changed_and_resets_with_null() -> None:
    old = GPUStatus(phase=GpuPhase.RUNNING, message="managed", active_isolation_mode=Isolation.SOFT, index=1)
    new = msgspec.structs.replace(old, phase=GpuPhase.UNKNOWN, active_isolation_mode=None)
    assert status_patch(old, new) == {"status": {"phase": "Unknown", "activeIsolationMode": None}}


json_values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text("abcd", max_size=1), json_values, max_size=4)


def apply(target: Any, patch: Any) -> Any:
    """RFC 7386, written down."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(result.get(key), value)
    return result


@given(documents, documents)
def test_a_merge_patch_turns_one_document_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert apply(old, merge_patch(old, new)) == new
    assert merge_patch(new, new) == {}


@given(st.builds(GPUStatus, phase=st.sampled_from(GpuPhase), index=st.integers(0, 9), message=st.text(max_size=5)))
def test_a_written_status_reads_back(status: GPUStatus) -> None:
    assert msgspec.convert(to_wire(status), GPUStatus) == status


def test_built_in_parts_survive_too() -> None:
    selector = msgspec.convert(
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}, NodeSelector
    )
    assert msgspec.convert(to_wire(selector), NodeSelector) == selector
    assert isinstance(msgspec.json.decode(b"{}", type=GPU).status, GPUStatus)
