"""Another world like this one: for questions about nodes that do not exist, which nothing here may ever see.

Apart from the state because a copy is made in two steps. ``facts_of`` takes references to values that do not change, at
once; ``state_of`` makes a state of them, which takes long in a large fleet and may run anywhere else.

Rejected: adding the nodes and taking them away again. The columns grow, and what is kept for classes of pods is void.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.scheduling.arrivals import Part
from tensorfusion.scheduling.asked import Asked
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts
from tensorfusion.scheduling.fleet_facts import KINDS, PROFILES, FleetFacts, fleet_of, tell
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

    fleet: FleetFacts
    mixes: Mapping[str, Sequence[Part[Asked]]]
    """By pool and tenant, what it has learned that it decides by."""
    held: tuple[Held, ...]


def facts_of(state: State, *, pods: bool = True) -> WorldFacts:
    """What the state is made of, without ``pods`` all but who holds what; changes of it afterwards do not show."""
    return WorldFacts(
        fleet_of(state),
        mixes={pool.name: pool.learned.mix for pool in state.fleet.pools.values() if pool.known},
        held=tuple(
            Held(one.pod, one.placement, one.nominated, state.residents.is_ending(uid), one.awaits)
            for uid, one in (state.allocations.items() if pods else ())
        ),
    )


def state_of(world: WorldFacts, *, nodes: Sequence[NodeFacts] = (), devices: Sequence[DeviceFacts] = ()) -> State:
    """A state of its own with these facts, and more nodes and devices, which come last."""
    state = State()
    tell(state, PROFILES, "", world.fleet.profiles)
    for kind in KINDS:
        for name, facts in world.fleet.table(kind).items():
            tell(state, kind, name, facts)
    for node in nodes:
        state.upsert_node(node)
    for device in devices:
        state.upsert_device(device)
    for pool, mix in world.mixes.items():
        state.fleet.pools[pool].learned.decide_by(mix)
    for one in world.held:
        if one.nominated:
            state.nominate(one.pod, one.placement, one.awaits)
            continue
        state.confirm(one.pod, one.placement)
        if one.ending:
            state.leaving(one.pod.uid)
    return state
