"""Which pool a node belongs to.

Pools are asked in name order, the automatic default pool last, so that a pool of the user's own always wins over it. A
pool without any selector takes every node that has GPUs.
Membership is sticky: a node stays where its live shares are, whatever other selector comes to match it, because a
share moved under another pool's policy was never admitted there.

Source: TensorFusion's node controller contract; the fixed order and the stickiness are ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tensorfusion.model import keys
from tensorfusion.model.core import NodeSelector
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import requirement_matches
from tensorfusion.model.pool_nodes import ProvisioningMode

DEFAULT_POOL = "default"
"""Name of the pool over all nodes that exists while there is no pool of the user's own."""

AUTO_CREATED = f"{keys.DOMAIN}/auto-created"
"""Annotation of the pool that the operator made."""

_GPU_PRESENT = "/gpu.present"


@dataclass(frozen=True, slots=True)
class NodeView:
    """What membership depends on. ``current`` is the node's pool now, ``""`` for none."""

    name: str
    labels: Mapping[str, str]
    has_gpus: bool
    cordoned: bool = False
    current: str = ""
    holds_shares: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """The pool of a node and the vendor of its devices."""

    pool: str
    vendor: str


def is_auto_created(pool: GPUPool) -> bool:
    """Whether the operator made the pool."""
    return pool.metadata.annotations.get(AUTO_CREATED) == "true"


def has_gpu_label(labels: Mapping[str, str]) -> bool:
    """Whether a node says that it has GPUs, as the vendors' feature discovery labels it (nvidia.com/gpu.present)."""
    return any(value == "true" and key.endswith(_GPU_PRESENT) for key, value in labels.items())


def is_default(pool: GPUPool) -> bool:
    """Whether pods that name no pool may go there."""
    return pool.metadata.annotations.get(keys.IS_DEFAULT_POOL) == "true" and not pool.metadata.deleting


def default_pool(pools: Iterable[GPUPool]) -> GPUPool | None:
    """The pool for pods that name none: the user's own first, then by name."""
    return min((pool for pool in pools if is_default(pool)), key=_order, default=None)


def membership(node: NodeView, pools: Iterable[GPUPool]) -> Membership | None:
    """The pool that a node should belong to; None for no pool. A cordoned node changes nothing."""
    ordered = sorted(pools, key=_order)
    if node.current and (node.holds_shares or node.cordoned):
        for pool in ordered:
            if pool.metadata.name == node.current:
                return Membership(node.current, _vendor_in(pool, node) or _default_vendor(pool))
    if node.cordoned:
        return None
    for pool in ordered:
        if pool.metadata.deleting:
            continue
        vendor = _vendor_in(pool, node)
        if vendor:
            return Membership(pool.metadata.name, vendor)
    return None


def selects(selector: NodeSelector, *, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a node selector matches: any term whose every expression and field holds; an empty term never does."""
    fields = {"metadata.name": name}
    return any(
        (term.match_expressions or term.match_fields)
        and all(requirement_matches(requirement, labels) for requirement in term.match_expressions)
        and all(requirement_matches(requirement, fields) for requirement in term.match_fields)
        for term in selector.terms
    )


def _order(pool: GPUPool) -> tuple[bool, str]:
    return is_auto_created(pool), pool.metadata.name


def _default_vendor(pool: GPUPool) -> str:
    return pool.spec.node_manager_config.default_vendor


def _vendor_in(pool: GPUPool, node: NodeView) -> str:
    """The vendor under which a pool takes a node, ``""`` where it does not."""
    config = pool.spec.node_manager_config
    if config.multi_vendor_node_selector:
        for vendor, selector in sorted(config.multi_vendor_node_selector.items()):
            if selects(selector, name=node.name, labels=node.labels):
                return vendor
        return ""
    if config.node_selector is not None:
        return config.default_vendor if selects(config.node_selector, name=node.name, labels=node.labels) else ""
    if config.provisioning_mode is not ProvisioningMode.AUTO_SELECT:
        return ""
    return config.default_vendor if node.has_gpus else ""
