"""Which pool a node belongs to: name order, the automatic pool last, and never away from live shares."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tensorfusion.model import keys
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.policy.membership import AUTO_CREATED, Membership, NodeView, default_pool, membership

NODE = NodeView("node-1", {"zone": "a", "vendor": "x"}, has_gpus=True)


def terms(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {"nodeSelectorTerms": [{"matchExpressions": [expression]} for expression in expressions]}


def zone(*values: str) -> dict[str, Any]:
    return terms({"key": "zone", "operator": "In", "values": list(values)})


def pool(name: str, *, auto: bool = False, deleting: bool = False, default: bool = False, **config: Any) -> GPUPool:
    meta: dict[str, Any] = {
        "name": name,
        "annotations": {AUTO_CREATED: str(auto).lower(), keys.IS_DEFAULT_POOL: str(default).lower()},
    }
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return msgspec.convert({"metadata": meta, "spec": {"nodeManagerConfig": config}}, GPUPool)


AUTO = pool("default", auto=True, default=True)


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        ([], None),
        ([AUTO], "default"),
        ([AUTO, pool("zeta")], "zeta"),
        ([pool("b"), pool("a")], "a"),
        ([AUTO, pool("zeta", nodeSelector=zone("b"))], "default"),
        ([pool("b", nodeSelector=zone("a")), pool("a", nodeSelector=zone("b"))], "b"),
        ([pool("a", deleting=True), pool("b")], "b"),
        ([pool("a", provisioningMode="Provisioned"), pool("b")], "b"),
        ([pool("a", nodeSelector={"nodeSelectorTerms": []})], None),
        ([pool("a", nodeSelector={"nodeSelectorTerms": [{}]})], None),
        ([pool("a", multiVendorNodeSelector={"AMD": zone("b")}, nodeSelector=zone("a"))], None),
    ],
)
def test_pools_are_asked_in_name_order_and_the_automatic_one_last(pools, expected: str | None) -> None:
    found = membership(NODE, pools)
    assert (found.pool if found else None) == expected


def test_terms_are_alternatives_and_fields_count() -> None:
    either = terms(
        {"key": "zone", "operator": "In", "values": ["b"]}, {"key": "vendor", "operator": "Exists", "values": []}
    )
    assert membership(NODE, [pool("a", nodeSelector=either)])
    field = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}
    assert membership(NODE, [pool("a", nodeSelector={"nodeSelectorTerms": [field]})])
    assert not membership(replace(NODE, name="node-2"), [pool("a", nodeSelector={"nodeSelectorTerms": [field]})])


def test_the_vendor_comes_from_the_selector_that_matched() -> None:
    both = pool("a", multiVendorNodeSelector={"NVIDIA": zone("a"), "AMD": zone("a")}, defaultVendor="PPU")
    assert membership(NODE, [both]) == Membership("a", "AMD")
    assert membership(NODE, [pool("a", defaultVendor="PPU")]) == Membership("a", "PPU")


def test_a_node_without_gpus_belongs_only_where_it_is_selected() -> None:
    bare = replace(NODE, has_gpus=False)
    assert membership(bare, [AUTO, pool("any")]) is None
    assert membership(bare, [pool("chosen", nodeSelector=zone("a"))])


def test_a_node_stays_where_its_live_shares_are() -> None:
    pools = [AUTO, pool("mine")]
    held = replace(NODE, current="default", holds_shares=True)
    assert membership(held, pools).pool == "default"
    assert membership(replace(held, holds_shares=False), pools).pool == "mine"


def test_even_a_pool_that_is_being_deleted_keeps_its_shares() -> None:
    held = replace(NODE, current="old", holds_shares=True)
    assert membership(held, [pool("old", deleting=True), pool("new")]).pool == "old"
    assert membership(held, [pool("new")]).pool == "new"


def test_a_cordoned_node_changes_nothing() -> None:
    cordoned = replace(NODE, cordoned=True)
    assert membership(cordoned, [pool("a")]) is None
    assert membership(replace(cordoned, current="b"), [pool("a"), pool("b", nodeSelector=zone("b"))]).pool == "b"


def test_the_default_pool_is_the_users_own_before_the_automatic_one() -> None:
    assert default_pool([AUTO]).metadata.name == "default"
    assert default_pool([AUTO, pool("zeta", default=True), pool("eta", default=True)]).metadata.name == "eta"
    assert default_pool([AUTO, pool("zeta", default=True, deleting=True), pool("plain")]).metadata.name == "default"
    assert default_pool([pool("plain")]) is None
