"""All that a state is told of the world around pods, kind by kind: the one list of these kinds.

Apart from the state because that makes columns of it and keeps no order of kinds. Whoever copies a state, or reads or
replays a recording, goes through this list: another kind of facts is one more field here and one more line in
``KINDS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from tensorfusion.scheduling.facts import CohortFacts, DeviceFacts, NodeFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.hints import Change
from tensorfusion.scheduling.profile import Profiles
from tensorfusion.scheduling.state import State

Fact: TypeAlias = NodeFacts | DeviceFacts | PoolFacts | QuotaFacts | CohortFacts | Mapping[str, str] | Profiles
PROFILES: Final = "profiles"
"""The one kind of which there is always exactly one, without a name."""


@dataclass(slots=True)
class FleetFacts:
    """What there is at one time, each kind by name, in the order in which they came."""

    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pools: dict[str, PoolFacts] = field(default_factory=dict)
    cohorts: dict[str, CohortFacts] = field(default_factory=dict)
    quotas: dict[str, QuotaFacts] = field(default_factory=dict)
    """By namespace."""
    nodes: dict[str, NodeFacts] = field(default_factory=dict)
    devices: dict[str, DeviceFacts] = field(default_factory=dict)
    profiles: Profiles = field(default_factory=Profiles)

    def copy(self) -> "FleetFacts":
        tables: dict[str, Any] = {kind: dict(self.table(kind)) for kind in KINDS}  # Any: facts of each kind
        return replace(self, **tables)

    def table(self, kind: str) -> dict[str, Any]:  # Any: the facts of that kind
        """The facts of one kind, by name."""
        found: dict[str, Any] = getattr(self, kind)
        return found

    def put(self, kind: str, name: str, facts: Fact | None) -> None:
        """One thing came, changed or (None) went."""
        if kind == PROFILES:
            if isinstance(facts, Profiles):
                self.profiles = facts
        elif facts is None:
            self.table(kind).pop(name, None)
        else:
            self.table(kind)[name] = facts

    def has(self, kind: str, name: str, facts: Fact | None) -> bool:
        """Whether that is so already."""
        return bool(self.profiles == facts if kind == PROFILES else self.table(kind).get(name) == facts)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a state is told that something of a kind is there, or is gone."""

    put: Callable[[State, str, Any], tuple[Change, ...]]  # Any: the facts of that kind
    drop: Callable[[State, str], tuple[Change, ...]]


KINDS: Final[dict[str, _Kind]] = {
    "namespaces": _Kind(State.set_namespace, lambda state, name: state.set_namespace(name, None)),
    "pools": _Kind(lambda state, _, facts: state.upsert_pool(facts), lambda state, name: state.remove_pool(name)),
    "cohorts": _Kind(lambda state, _, facts: state.set_cohort(facts), lambda state, name: state.remove_cohort(name)),
    "quotas": _Kind(lambda state, _, facts: state.set_quota(facts), lambda state, name: state.remove_quota(name)),
    "nodes": _Kind(lambda state, _, facts: state.upsert_node(facts), lambda state, name: state.remove_node(name)),
    "devices": _Kind(lambda state, _, facts: state.upsert_device(facts), lambda state, name: state.remove_device(name)),
}
"""By the name of its table, in the order in which a fleet has to be built up."""


def tell(state: State, kind: str, name: str, facts: Fact | None) -> tuple[Change, ...]:
    """Tell a state of one thing that is there or (None) gone; answers whom that may help."""
    if kind == PROFILES:
        if isinstance(facts, Profiles):
            state.profiles = facts
        return ()
    return KINDS[kind].drop(state, name) if facts is None else KINDS[kind].put(state, name, facts)


def fleet_of(state: State) -> FleetFacts:
    """What a state was told of, in the order that settles ties; changes of it afterwards do not show."""
    columns, quotas = state.fleet, state.quotas
    pools = list(columns.pools.values())
    rows = [row for pool in pools for row in pool.devices]
    ceilings = [(name, quotas.ceiling(name)) for name in quotas.namespaces()]
    return FleetFacts(
        namespaces=dict(columns.neighbours.namespaces()),
        pools={pool.name: pool.facts for pool in pools if pool.known},
        cohorts={facts.name: facts for facts in quotas.cohorts.objects},
        quotas={name: quota for name, quota in ceilings if quota is not None},
        nodes={record.name: record.facts for record in state.nodes() if record.facts is not None},
        devices={device.name: device.facts for row in rows for device in row if device.facts is not None},
        profiles=state.profiles,
    )
