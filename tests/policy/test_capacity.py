"""Virtual capacity and the sums of nodes and pools, with the reference's worked example."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.gpu_pool import Oversubscription
from tensorfusion.policy.capacity import Amount, DeviceFigures, Figures, HostMemory, add, node_figures, virtual_capacity

GIB = 1 << 30
HOST = HostMemory(ram=64 * GIB, disk=100 * GIB)


def test_the_worked_example_of_the_reference() -> None:
    ratios = Oversubscription(vram_expand_to_host_mem=50, vram_expand_to_host_disk=70, tflops_oversell_ratio=500)
    total = Amount(2 * 100_000, 2 * 16 * GIB)
    assert virtual_capacity(total, ratios, HOST) == Amount(1_000_000, 134 * GIB)


def test_an_empty_block_takes_the_defaults_of_the_schema() -> None:
    total = Amount(200_000, 32 * GIB)
    assert virtual_capacity(total, Oversubscription(), HOST) == Amount(1_000_000, 134 * GIB)


def test_without_oversubscription_virtual_is_physical() -> None:
    total = Amount(200_000, 32 * GIB)
    assert virtual_capacity(total, None, HOST) == total


def test_fractions_are_cut_off() -> None:
    ratios = Oversubscription(vram_expand_to_host_mem=33, vram_expand_to_host_disk=0, tflops_oversell_ratio=101)
    assert virtual_capacity(Amount(99, 10), ratios, HostMemory(ram=10)) == Amount(99, 13)


def device(capacity: int = 100, available: int = 60, limits: int = 150, **flags: bool) -> DeviceFigures:
    return DeviceFigures(
        Amount(capacity, capacity * 10), Amount(available, available * 10), Amount(limits, limits * 10), **flags
    )


def test_a_node_sums_its_devices_and_limits_may_exceed_it() -> None:
    figures = node_figures([device(), device()], pods=3, ratios=None, host=HOST)
    assert figures == Figures(
        total_compute=200,
        total_vram=2000,
        available_compute=120,
        available_vram=1200,
        virtual_compute=200,
        virtual_vram=2000,
        virtual_available_compute=-100,
        virtual_available_vram=-1000,
        gpus=2,
        managed_gpus=2,
        pods=3,
    )


def test_a_missing_device_counts_in_nothing_and_a_foreign_one_is_not_managed() -> None:
    figures = node_figures([device(), device(missing=True), device(managed=False)], pods=0, ratios=None, host=HOST)
    assert (figures.total_compute, figures.gpus, figures.managed_gpus) == (200, 2, 1)


amounts = st.builds(Amount, st.integers(0, 10**6), st.integers(0, 10**12))
devices = st.lists(st.builds(DeviceFigures, amounts, amounts, amounts, st.booleans(), st.booleans()), max_size=6)


@given(st.lists(devices, max_size=6))
def test_a_pool_is_the_sum_of_its_nodes_however_they_are_grouped(nodes) -> None:
    figures = [node_figures(node, pods=len(node), ratios=None, host=HOST) for node in nodes]
    whole = node_figures([one for node in nodes for one in node], pods=sum(map(len, nodes)), ratios=None, host=HOST)
    assert add(figures) == whole
    assert add(reversed(figures)) == whole
    assert add([add(figures[:2]), add(figures[2:])]) == whole
