"""Another world like this one: for questions about nodes that do not exist, which nothing here may ever see.

Apart from the state because a copy is made in two steps. ``facts_of`` takes references to values that do not change, at
once; ``state_of`` makes a state of them, which takes long in a large fleet and may run anywhere else.

Rejected: adding the nodes and taking them away again. The columns grow, and what is kept for classes of pods is void.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.scheduling.arrivals import Part
from tensorfusion.scheduling.asked import Asked
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    Placement,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.profile import Profiles
from tensorfusion.scheduling.state import State


@dataclass(frozen=True, slots=True)
class Held:
    """One live pod and how firmly it has its place."""

    pod: PodFacts
    placement: Placement
    nominated: bool
    ending: bool
    awaits: frozenset[str]


@dataclass(frozen=True, slots=True)
class WorldFacts:
    """All that a state was told, in the order that settles ties."""

    profiles: Profiles
    namespaces: Mapping[str, Mapping[str, str]]
    pools: tuple[PoolFacts, ...]
    mixes: Mapping[str, Sequence[Part[Asked]]]
    """By pool and tenant, what it has learned that it decides by."""
    quotas: tuple[QuotaFacts, ...]
    cohorts: tuple[CohortFacts, ...]
    nodes: tuple[NodeFacts, ...]
    devices: tuple[DeviceFacts, ...]
    held: tuple[Held, ...]


def facts_of(state: State, *, pods: bool = True) -> WorldFacts:
    """What the state is made of, without ``pods`` all but who holds what; changes of it afterwards do not show."""
    fleet, quotas = state.fleet, state.quotas
    pools = list(fleet.pools.values())
    rows = [row for pool in pools for row in pool.devices]
    ceilings = [quotas.ceiling(name) for name in quotas.namespaces()]
    return WorldFacts(
        profiles=state.profiles,
        namespaces=fleet.neighbours.namespaces(),
        pools=tuple(pool.facts for pool in pools if pool.known),
        mixes={pool.name: pool.learned.mix for pool in pools if pool.known},
        quotas=tuple(quota for quota in ceilings if quota is not None),
        cohorts=tuple(quotas.cohorts.objects),
        nodes=tuple(record.facts for record in state.nodes() if record.facts is not None),
        devices=tuple(device.facts for row in rows for device in row if device.facts is not None),
        held=tuple(
            Held(one.pod, one.placement, one.nominated, state.residents.is_ending(uid), one.awaits)
            for uid, one in (state.allocations.items() if pods else ())
        ),
    )


def state_of(world: WorldFacts, *, nodes: Sequence[NodeFacts] = (), devices: Sequence[DeviceFacts] = ()) -> State:
    """A state of its own with these facts, and more nodes and devices, which come last."""
    state = State()
    state.profiles = world.profiles
    for name, labels in world.namespaces.items():
        state.set_namespace(name, labels)
    for pool in world.pools:
        state.upsert_pool(pool)
        state.fleet.pools[pool.name].learned.decide_by(world.mixes[pool.name])
    for quota in world.quotas:
        state.set_quota(quota)
    for cohort in world.cohorts:
        state.set_cohort(cohort)
    for node in (*world.nodes, *nodes):
        state.upsert_node(node)
    for device in (*world.devices, *devices):
        state.upsert_device(device)
    for one in world.held:
        if one.nominated:
            state.nominate(one.pod, one.placement, one.awaits)
            continue
        state.confirm(one.pod, one.placement)
        if one.ending:
            state.leaving(one.pod.uid)
    return state
