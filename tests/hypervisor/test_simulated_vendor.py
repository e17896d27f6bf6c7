"""Simulated devices keep their identity, and fail as real ones do."""

from typing import Any

import pytest

from tensorfusion.errors import ConfigError
from tensorfusion.hypervisor.vendors.base import Device, DeviceRefused
from tensorfusion.hypervisor.vendors.simulated import FAULT, SimulatedVendor, devices_of
from tensorfusion.model.interconnects import LinkLayout
from tensorfusion.model.partitions import Partition


def fleet(node: str = "n", count: int = 4) -> list[Device]:
    return devices_of(node, count=count, vendor="NVIDIA", model="A100", compute=312_000, vram=80 << 30)


def indices(vendor: SimulatedVendor, node: str = "n") -> list[int]:
    return [device.index for device in vendor.devices(node)]


def test_the_same_place_has_the_same_uuid_every_time() -> None:
    assert [device.uuid for device in fleet()] == [device.uuid for device in fleet()]
    names = {device.object_name for node in ("n", "m") for device in fleet(node)}
    assert len(names) == 8
    assert all(name == name.lower() and name.startswith("gpu-") for name in names)


def test_devices_are_spread_over_the_numa_nodes() -> None:
    assert [device.numa for device in fleet(count=4)] == [0, 0, 1, 1]
    assert [device.numa for device in fleet(count=1)] == [0]


def linked(model: str, count: int = 4, **told: Any) -> list[list[int]]:
    """The indices that each device is linked to."""
    made = devices_of("n", count=count, vendor="NVIDIA", model=model, compute=1, vram=1, **told)
    index = {device.uuid: device.index for device in made}
    return [[index[link.peer] for link in device.links] for device in made]


def test_boards_are_linked_all_to_all_and_cards_are_not() -> None:
    assert linked("NVIDIA A100-SXM4-80GB") == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert linked("NVIDIA H200", 2) == linked("H100_SXM", 2) == [[1], [0]]
    assert linked("NVIDIA A800-PCIE-80GB") == linked("NVIDIA L4") == linked("nobody's") == [[]] * 4
    assert linked("H200_NVL") == [[1], [0], [3], [2]]


def test_links_and_numa_nodes_can_be_told() -> None:
    assert linked("NVIDIA L4", 3, links=LinkLayout.PAIRS) == [[1], [0], []]
    assert linked("NVIDIA A100-SXM4-80GB", links=LinkLayout.NONE) == [[]] * 4
    made = {"count": 4, "vendor": "NVIDIA", "model": "L4", "compute": 1, "vram": 1}
    numas = [[device.numa for device in devices_of("n", **made, numa=numa)] for numa in (0, 1, 4)]
    assert numas == [[-1] * 4, [0] * 4, [0, 1, 2, 3]]


def test_a_lost_device_is_not_enumerated_and_comes_back_as_itself() -> None:
    vendor = SimulatedVendor(fleet())
    before = list(vendor.devices("n"))
    vendor.lose("n", [1, 3])
    assert indices(vendor) == [0, 2]
    vendor.lose("n", [])
    assert list(vendor.devices("n")) == before


def test_a_broken_device_is_still_there_and_says_so() -> None:
    vendor = SimulatedVendor(fleet())
    vendor.fail("n", [2])
    assert [device.fault for device in vendor.devices("n")] == ["", "", FAULT, ""]
    vendor.fail("n", [])
    assert not any(device.fault for device in vendor.devices("n"))


def test_listeners_hear_of_changes_only() -> None:
    vendor = SimulatedVendor(fleet())
    heard: list[str] = []
    vendor.on_change(heard.append)
    vendor.lose("n", [])
    vendor.lose("n", [0])
    vendor.lose("n", [0])
    vendor.lose("n", [])
    assert heard == ["n", "n"]


def test_an_unknown_index_is_refused_and_changes_nothing() -> None:
    vendor = SimulatedVendor(fleet())
    with pytest.raises(ConfigError, match="node n: wanted one of its 4 device indices from 0, found 4"):
        vendor.lose("n", [0, 4])
    assert indices(vendor) == [0, 1, 2, 3]
    assert vendor.devices("elsewhere") == []


def test_a_fleet_that_changes_tells_of_the_nodes_that_differ() -> None:
    vendor = SimulatedVendor(fleet())
    heard: list[str] = []
    vendor.on_change(heard.append)
    vendor.lose("n", [3])
    heard.clear()
    more = devices_of("m", count=1, vendor="NVIDIA", model="L4", compute=1, vram=1)
    vendor.follow([*fleet(), *more])
    assert heard == ["m"]
    assert vendor.nodes == {"n", "m"}
    assert len(vendor.devices("n")) == 3
    vendor.follow(more)
    assert heard == ["m", "n"]
    assert vendor.devices("n") == []


def test_a_device_is_cut_like_a_drivers_and_no_slot_twice() -> None:
    made = SimulatedVendor(
        devices_of("n", count=1, vendor="NVIDIA", model="NVIDIA A100-SXM4-80GB", compute=312_000, vram=80 << 30)
    )
    (card,) = made.devices("n")
    small = [Partition("nv-80g-1g-10gb", 44_571, 10 << 30, start=slot, length=1) for slot in range(8)]
    uuids = {made.create_partition(card, one, pod_uid=f"p{one.start}") for one in small[:7]}
    assert len(uuids) == 7
    assert made.create_partition(card, small[0], pod_uid="p0") in uuids, "asked again it is the same"
    with pytest.raises(DeviceRefused, match="at most 7 partitions"):
        made.create_partition(card, small[7], pod_uid="p7")
    made.destroy_partitions("p3")
    made.destroy_partitions("p3")
    with pytest.raises(DeviceRefused, match="is taken by nv-80g-1g-10gb"):
        made.create_partition(card, small[2], pod_uid="other")
    made.create_partition(card, small[3], pod_uid="other")
    assert len(made.partitions(card)) == 7


def test_an_isolation_group_holds_slices_of_one_kind() -> None:
    made = SimulatedVendor(
        devices_of("n", count=1, vendor="Ascend", model="Ascend 310P3", compute=22_000, vram=24 << 30)
    )
    (card,) = made.devices("n")
    for pod_uid, form, group in (("a", "vir01", 0), ("b", "vir01", 0), ("c", "vir02", 1)):
        made.create_partition(card, Partition(form, 1, 1, group=group), pod_uid=pod_uid)
    with pytest.raises(DeviceRefused, match="is taken by vir01"):
        made.create_partition(card, Partition("vir02", 1, 1, group=0), pod_uid="d")
