"""Processor time of one placement decision, small mixed requests of 162 kinds, in a small and in a very large fleet.

Goals: 3,000 devices on 500 nodes p50 at most 50 us and p99 at most 200 us; 80,000 devices on 10,000 nodes p50 at most
1,000 us. Three ways to meet the fleet: unchanged between decisions (p50, p99), with every pod placed before the next
one is decided (``placing``), and by a pod of a kind that was never seen (``new_kind``). Peer in the same run: the same
rules object by object, the scheduler that the tests hold the columns against; for a pool that looks ahead (``ahead``)
the same stream under the default mode, also after a moment of rest (``rested``: all that is kept was caught up,
as the scheduler does while it has nothing to decide). Upstream's own search was measured at
26,800 us a pod on two such cores, with the small fleet.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from _fixture import GIB, POOL, devices, fill, nodes, pod, pool, warm_up
from _report import Row, report
from tensorfusion.model.common import PlacementMode
from tensorfusion.model.partitions import profile_of
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.provider_defaults import provider_specs
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.runtime.collector import settle
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts, PoolFacts
from tensorfusion.scheduling.partitions import Layout, cut, held_sorted
from tensorfusion.scheduling.rollout import COMPILED
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import ReferenceScheduler

UPSTREAM_US = 26_800.0
A100 = "NVIDIA A100-SXM4-80GB"


SIZES = ((500, 3000, 30.0), (10_000, 80_000, 2.0))
"""Nodes, devices, and percent of the compute that is held."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, help="one fleet of this size instead of both")
    parser.add_argument("--devices", type=int, default=3000)
    parser.add_argument("--held", type=float, default=30.0, help="percent of the compute that is held before")
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sizes = ((arguments.nodes, arguments.devices, arguments.held),) if arguments.nodes else SIZES
    rows = []
    for node_count, device_count, held in sizes:
        rows += fleet_rows(node_count, device_count, held, pods=arguments.pods)
        gc.unfreeze()
        rows += ahead_rows(node_count, device_count, held, pods=arguments.pods)
    rows.append(partitioned_row(*(sizes[0][:2])))
    rows += topology_rows(*sizes[0], pods=arguments.pods)
    report(rows, arguments.json)


def fleet_rows(node_count: int, device_count: int, held: float, *, pods: int) -> list[Row]:
    state, plain = State(), ReferenceScheduler()
    for world in (state, plain):
        fill(world, node_count, device_count)

    def place(one: PodFacts) -> None:
        placement = decide(state, one).placement
        state.assume(one, placement)
        plain.place(one, placement)

    following = warm_up(device_count, place, percent=held)
    stream = [pod(following + number) for number in range(pods)]
    settle()
    theirs = measure(plain.decide, stream[: max(5, 100_000 // device_count)])
    still = measure(lambda one: decide(state, one), stream)
    unseen = [replace(one, cpu=one.cpu + 1 + number) for number, one in enumerate(stream[:500])]
    new = measure(lambda one: decide(state, one), unseen)
    placing = measure(lambda one: decide(state, one), stream, after=state)
    parameters: dict[str, object] = {"nodes": node_count, "devices": device_count, "held": f"{held:g}%", "pods": pods}
    if (node_count, device_count) == SIZES[0][:2]:
        parameters["upstream_us"] = UPSTREAM_US
    peer = "the same rules, object by object", at(theirs, 50)
    return [
        Row("p50_us", at(still, 50), "us", *peer, parameters),
        Row("p99_us", at(still, 99), "us", *peer, parameters),
        Row("placing_p50_us", at(placing, 50), "us", *peer, parameters),
        Row("placing_p99_us", at(placing, 99), "us", *peer, parameters),
        Row("new_kind_p50_us", at(new, 50), "us", *peer, parameters),
    ]


def ahead_rows(node_count: int, device_count: int, held: float, *, pods: int) -> list[Row]:
    """The same stream in a pool that looks ahead, and has learned from all that came. Peer: the default mode."""
    found: dict[str, list[list[float]]] = {"still": [], "rested": [], "new_kind": [], "placing": []}
    for mode in (PlacementMode.NODE_COMPACT_GPU_LOW_LOAD, PlacementMode.FRAGMENTATION_AWARE):
        state, stream = _ahead_world(mode, node_count, device_count, held, pods=pods)
        while state.classes.catch_up_one():
            pass
        found["rested"].append(measure(lambda one: decide(state, one), stream))  # noqa: B023 - called at once
        gc.unfreeze()
        state, stream = _ahead_world(mode, node_count, device_count, held, pods=pods)
        found["still"].append(measure(lambda one: decide(state, one), stream))  # noqa: B023 - called at once
        unseen = [replace(one, cpu=one.cpu + 1 + number) for number, one in enumerate(stream[:500])]
        found["new_kind"].append(measure(lambda one: decide(state, one), unseen))  # noqa: B023 - called at once
        found["placing"].append(measure(lambda one: decide(state, one), stream, after=state))  # noqa: B023
        gc.unfreeze()
    parameters: dict[str, object] = {"nodes": node_count, "devices": device_count, "held": f"{held:g}%", "pods": pods}
    parameters["kernel"] = "C" if COMPILED else "numpy"
    return [
        Row(f"ahead_{name}_p{part}_us", at(ours, part), "us", "the default mode", at(theirs, part), parameters)
        for name, (theirs, ours) in found.items()
        for part in (50, 99)
    ]


def _ahead_world(
    mode: PlacementMode, node_count: int, device_count: int, held: float, *, pods: int
) -> tuple[State, list[PodFacts]]:
    """A fleet whose pool has this mode, held to so many percent, and the pods that come next."""
    state = State()
    fill(state, node_count, device_count)
    state.upsert_pool(PoolFacts(POOL, mode))
    following = warm_up(device_count, _placing(state), percent=held)
    settle()
    return state, [pod(following + number) for number in range(pods)]


def partitioned_row(node_count: int, device_count: int) -> Row:
    """Decisions about hardware partitions; peer: the same question asked of every device, one after the other."""
    configs = [ProviderConfig(spec=spec) for spec in provider_specs().values()]
    profile = profile_of(Providers(configs), vendor="NVIDIA", model=A100)
    assert profile is not None
    state = State()
    state.upsert_pool(pool())
    for node in nodes(node_count):
        state.upsert_node(node)
    for device in devices(device_count, device_count // node_count):
        state.upsert_device(replace(device, model=A100, isolation_mode=Isolation.PARTITIONED, profile=profile))
    ours, theirs = [], []
    for number in range(device_count):
        form = ("1g.10gb", "2g.20gb", "3g.40gb", "1g.20gb", "")[number % 5]
        request = GpuRequest(POOL, isolation=Isolation.PARTITIONED, partition=form, vram=0 if form else 15 * GIB)
        one = PodFacts(f"part-{number}", "default", f"part-{number}", request=request)
        started = time.process_time_ns()
        placement = decide(state, one).placement
        ours.append((time.process_time_ns() - started) / 1000)
        if number % 100 == 0:
            started = time.process_time_ns()
            for known in state.devices():
                held = held_sorted(list(known.partitions.values()))
                cut(Layout(profile, known.compute, known.vram, held), request)
            theirs.append((time.process_time_ns() - started) / 1000)
        state.assume(one, placement)
    parameters = {"nodes": node_count, "devices": device_count, "pods": len(ours)}
    return Row("partition_p50_us", at(ours, 50), "us", "the same, device by device", at(theirs, 50), parameters)


def _devices_of(pod: PodFacts) -> int:
    return pod.request.count if pod.request is not None else 0


def topology_rows(node_count: int, device_count: int, held: float, *, pods: int) -> list[Row]:
    """The pods of several devices in the stream, in a fleet that reports bridged pairs on two NUMA nodes.

    Peer: the same pods in the same fleet without reports.
    """
    found = []
    for reports in (False, True):
        state, each = State(), device_count // node_count
        fill(state, node_count, 0)
        for device in devices(device_count, each):
            peer = int(device.name.removeprefix("gpu-")) + (-1 if device.index % 2 else 1)
            links = ((f"gpu-{peer:05}", 0, 1),) if device.index ^ 1 < each else ()
            told = replace(device, numa=device.index * 2 // each, peers=links)
            state.upsert_device(told if reports else device)
        following = warm_up(device_count, _placing(state), percent=held)
        stream = [one for number in range(pods) if _devices_of(one := pod(following + number)) > 1]
        settle()
        found.append(measure(lambda one: decide(state, one), stream))  # noqa: B023 - called at once
        unseen = [replace(one, cpu=one.cpu + 1 + number) for number, one in enumerate(stream[:200])]
        found.append(measure(lambda one: decide(state, one), unseen))  # noqa: B023 - called at once
    parameters = {"nodes": node_count, "devices": device_count, "held": f"{held:g}%", "pods": len(stream)}
    peer_name = "the same pods, no reports"
    return [
        Row("topology_p50_us", at(found[2], 50), "us", peer_name, at(found[0], 50), parameters),
        Row("topology_new_kind_p50_us", at(found[3], 50), "us", peer_name, at(found[1], 50), parameters),
    ]


def _placing(state: State) -> Callable[[PodFacts], None]:
    def place(one: PodFacts) -> None:
        state.arrive(one)
        state.assume(one, decide(state, one).placement)

    return place


def measure(
    decide_one: Callable[[PodFacts], Any], stream: list[PodFacts], *, after: State | None = None
) -> list[float]:
    """Microseconds of processor time of each decision; with ``after`` each is held there before the next one."""
    times = []
    for one in stream:
        started = time.process_time_ns()
        decision = decide_one(one)
        times.append((time.process_time_ns() - started) / 1000)
        if after is not None:
            after.assume(one, decision.placement)
    return times


def at(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


if __name__ == "__main__":
    main()
