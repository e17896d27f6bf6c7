"""Placements decided and held a second on one core: 1,000 nodes, 4,000 devices. Goal: at least 5,000.

Peer in the same run: the same rules written naively, one object at a time. Upstream was measured at 111 ms a pod, so 9
a second, end to end at this size on two such cores.
"""

import argparse
import gc
import time
from pathlib import Path

from _fixture import devices, nodes, pod, pool, warm_up
from _report import Row, report
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import ReferenceScheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=4000)
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
    few = stream[: max(20, arguments.pods // 400)]
    started = time.perf_counter()
    for one in few:
        answer = naive.decide(one)
        naive.place(one, Placement(answer.node, answer.devices))
    theirs = len(few) / (time.perf_counter() - started)
    started = time.perf_counter()
    for one in stream:
        state.assume(one, decide(state, one).placement)
    ours = len(stream) / (time.perf_counter() - started)
    parameters = {"nodes": arguments.nodes, "devices": arguments.devices, "pods": len(stream)}
    report([Row("placements", ours, "1/s", "the same rules, object by object", theirs, parameters)], arguments.json)


if __name__ == "__main__":
    main()
