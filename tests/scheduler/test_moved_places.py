"""Kept places by themselves: who is decided in which order, beside nodes that are being emptied."""

from dataclasses import replace
from typing import Any

import pytest

from tensorfusion.errors import NotFit
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Meta, OwnerReference
from tensorfusion.scheduler.moved_places import MovedPlaces
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.defrag import Move
from tensorfusion.scheduling.facts import Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.state import State
from tensorfusion.testing.clock import VirtualClock
from worlds import GIB, TFLOPS, device, fleet, node, pod


def owned(owner: str) -> Pod:
    reference = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name=owner, uid=owner, controller=True)
    return Pod(metadata=Meta(name="pod", namespace="team", uid="asks", owner_references=(reference,)))


def put(state: State, name: str, *devices: str, **wishes: Any) -> PodFacts:
    one = pod(name, **{"compute": 50 * TFLOPS, "vram": 40 * GIB, "count": len(devices), **wishes})
    state.confirm(one, Placement(devices[0].split("-")[0], devices))
    return one


def moved(pod: PodFacts, source: str, target: str) -> tuple[Move, str]:
    places = [Placement(name.split("-")[0], (name,)) for name in (source, target)]
    return Move(pod, places[0], places[1], 0), "web"


def places_of(state: State) -> MovedPlaces:
    return MovedPlaces(state, [], clock=VirtualClock(), kick=lambda: None)


def test_what_is_kept_for_others_is_taken_after_all_that_is_free_nodes_that_are_emptied_among_it() -> None:
    state = fleet(nodes=2, devices=2)
    a = put(state, "a", "n0-0")
    put(state, "b", "n1-0")
    put(state, "c", "n1-1", compute=100 * TFLOPS, vram=80 * GIB)
    places = places_of(state)
    places.keep("pool", [moved(a, "n0-0", "n1-0")])
    places.sources = {"n0": "pool"}
    asked = []

    def otherwise(facts: PodFacts) -> Decision:
        asked.append(facts.name)
        return decide(state, facts)

    def plain(facts: PodFacts) -> Decision:
        return decide(state, facts)

    urgent = pod("urgent", compute=50 * TFLOPS, vram=40 * GIB, priority=9)
    found = places.decide(owned("other"), urgent, plain=plain, otherwise=otherwise)
    assert (found.placement.node, asked, list(places.by_uid)) == ("n0", [], [a.uid])
    wide = pod("wide", compute=50 * TFLOPS, vram=40 * GIB, count=3)
    with pytest.raises(NotFit):
        places.decide(owned("other"), wide, plain=plain, otherwise=otherwise)
    assert asked == ["wide", "wide"]


def test_a_more_important_successor_that_takes_its_own_place_for_another_use_of_the_node_is_decided() -> None:
    state = State()
    state.upsert_pool(PoolFacts("pool"))
    for name in ("n0", "n1"):
        state.upsert_node(node(name, cpu=10_000))
        for index in range(4):
            state.upsert_device(device(f"{name}-{index}", name))
    x, y = put(state, "x", "n0-0", cpu=2000), put(state, "y", "n0-1", cpu=2000)
    put(state, "z", "n1-0", cpu=5000)
    places = places_of(state)
    places.keep("pool", [moved(x, "n0-0", "n1-0"), moved(y, "n0-1", "n1-1")])
    places.sources = {"n0": "pool"}
    for one in (x, y):
        state.release(one.uid)
    state.upsert_node(node("n0", cpu=10_000, unschedulable=True))
    larger = replace(x, uid="x2", priority=5, cpu=4000)

    def plain(facts: PodFacts) -> Decision:
        return decide(state, facts)

    found = places.decide(owned("web"), larger, plain=plain, otherwise=plain)
    assert found.placement.node == "n1"
    assert x.uid not in places.by_uid
