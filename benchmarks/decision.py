"""Time of one placement decision: 3,000 devices on 500 nodes, small mixed requests, 30 % of the compute held.

Goal: p50 at most 100 us. Peer in the same run: the same rules written naively, one object at a time (the one the tests
hold the columns against). Upstream's own search was measured at 26,800 us a pod on two such cores.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from _fixture import GIB, POOL, devices, nodes, pod, pool, warm_up
from _report import Row, report
from tensorfusion.model.partitions import profile_of
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.provider_defaults import provider_specs
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.partitions import Layout, cut, held_sorted
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import ReferenceScheduler

UPSTREAM_US = 26_800.0
A100 = "NVIDIA A100-SXM4-80GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--devices", type=int, default=3000)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    state, naive = State(), ReferenceScheduler()
    state.upsert_pool(pool())
    naive.upsert_pool(pool())
    for world in (state, naive):
        for node in nodes(arguments.nodes):
            world.upsert_node(node)
        for device in devices(arguments.devices, arguments.devices // arguments.nodes):
            world.upsert_device(device)

    def place(one: PodFacts) -> None:
        placement = decide(state, one).placement
        state.assume(one, placement)
        naive.place(one, placement)

    following = warm_up(arguments.devices, place)
    stream = [pod(following + number) for number in range(arguments.pods)]
    gc.collect()
    gc.freeze()
    ours = measure(lambda one: decide(state, one), stream)
    theirs = measure(naive.decide, stream[: max(20, arguments.pods // 200)])
    parameters = {
        "nodes": arguments.nodes,
        "devices": arguments.devices,
        "pods": len(stream),
        "upstream_us": UPSTREAM_US,
    }
    rows = [
        Row(
            f"p{percent}_us",
            at(ours, percent),
            "us",
            "the same rules, object by object",
            at(theirs, percent),
            parameters,
        )
        for percent in (50, 99)
    ]
    report([*rows, partitioned_row(arguments.nodes, arguments.devices)], arguments.json)


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
        started = time.perf_counter_ns()
        placement = decide(state, one).placement
        ours.append((time.perf_counter_ns() - started) / 1000)
        if number % 100 == 0:
            started = time.perf_counter_ns()
            for device in state.devices():
                held = held_sorted(list(device.partitions.values()))
                cut(Layout(profile, device.compute, device.vram, held), request)
            theirs.append((time.perf_counter_ns() - started) / 1000)
        state.assume(one, placement)
    parameters = {"nodes": node_count, "devices": device_count, "pods": len(ours)}
    return Row("partition_p50_us", at(ours, 50), "us", "the same, device by device", at(theirs, 50), parameters)


def measure(decide_one: Callable[[PodFacts], object], stream: list[PodFacts]) -> list[float]:
    """Microseconds of each decision; nothing is placed, so that each meets the same fleet."""
    times = []
    for one in stream:
        started = time.perf_counter_ns()
        decide_one(one)
        times.append((time.perf_counter_ns() - started) / 1000)
    return times


def at(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


if __name__ == "__main__":
    main()
