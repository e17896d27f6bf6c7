"""Time of one placement decision: 3,000 devices on 500 nodes, small mixed requests, 30 % of the compute held.

Goal: p50 at most 100 us. Peer in the same run: the same rules written naively, one object at a time (the one the tests
hold the columns against). Upstream's own search was measured at 26,800 us a pod on two such cores.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "scheduling"))

from _fixture import devices, nodes, pod, pool, warm_up
from _report import Row, report
from naive_placement import NaiveWorld
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.state import State

UPSTREAM_US = 26_800.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--devices", type=int, default=3000)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    state, naive = State(), NaiveWorld()
    state.upsert_pool(pool())
    naive.pools[pool().name] = pool()
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
    report(rows, arguments.json)


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
