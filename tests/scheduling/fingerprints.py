"""All that a decision looks at, byte for byte: to say that something changed nothing."""

from typing import Any

import numpy as np

from tensorfusion.scheduling.state import State


def fingerprint(state: State) -> dict[str, Any]:
    """Columns as bytes, books as values. Equal fingerprints are equal worlds."""
    fleet = state.fleet
    found: dict[str, Any] = {f"nodes.{name}": value for name, value in _columns(fleet.nodes).items()}
    for pool in fleet.pools.values():
        found |= {f"pool.{pool.name}.{name}": value for name, value in _columns(pool).items()}
        found[f"pool.{pool.name}.facts"] = pool.facts
        found[f"pool.{pool.name}.rows"] = tuple(pool.node_names)
    found["node names"] = tuple(fleet.nodes.names)
    found["extended"] = {name: column.tobytes() for name, column in fleet.nodes.extended.items()}
    found["records"] = {
        record.name: (record.row, record.facts, record.cpu, record.memory, record.pods, record.workers)
        for record in fleet.nodes.records.values()
    }
    found["devices"] = {
        device.name: (
            device.facts,
            dict(device.holders),
            dict(device.partitions),
            device.compute_held,
            device.vram_held,
        )
        for device in fleet.devices.values()
    }
    found["allocations"] = {
        uid: (one.pod, one.placement, one.confirmed, one.nominated) for uid, one in state.allocations.items()
    }
    found["nominated"] = set(state.nominated)
    found["usage"] = {name: state.usage(name) for name in state.quotas.namespaces()}
    found["ceilings"] = {name: state.quotas.ceiling(name) for name in state.quotas.namespaces()}
    found["overcommitted"] = set(fleet.overcommitted)
    found["counters"] = (state.eased, state.departed, frozenset(state.awaited), fleet.present)
    return found


def _columns(owner: object) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in vars(owner).items() if isinstance(value, np.ndarray)}
