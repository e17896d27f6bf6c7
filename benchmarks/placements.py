"""Placements a second of processor time, small mixed requests of 162 kinds, and a gang in one statement of the ledger.

Goals: 20,000 a second with 1,000 nodes and 4,000 devices, 10,000 a second with 10,000 nodes and 80,000 devices, and 256
equal pods over 10,000 nodes in one statement of the ledger in at most 20 ms. A rate is the best of five parts of the
stream. Peer in the same run: the same rules object by object. Upstream was measured at 111 ms a pod, so 9 a second, end
to end with 1,000 nodes on two such cores.
"""

import argparse
import gc
import time
from pathlib import Path

from _fixture import GIB, POOL, TFLOPS, fill, pod, warm_up
from _report import Row, report
from tensorfusion.model.request import GpuRequest
from tensorfusion.runtime.collector import settle
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import ReferenceScheduler

SIZES = ((1000, 4000, 30.0), (10_000, 80_000, 2.0))
"""Nodes, devices, and percent of the compute that is held."""
PARTS = 5
MEMBERS = 256
PEER = "the same rules, object by object"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, help="one fleet of this size instead of both")
    parser.add_argument("--devices", type=int, default=4000)
    parser.add_argument("--held", type=float, default=30.0, help="percent of the compute that is held before")
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sizes = ((arguments.nodes, arguments.devices, arguments.held),) if arguments.nodes else SIZES
    rows = []
    for nodes, devices, held in sizes:
        rows += fleet_rows(nodes, devices, held, pods=arguments.pods)
        gc.unfreeze()
    report(rows, arguments.json)


def fleet_rows(nodes: int, devices: int, held: float, *, pods: int) -> list[Row]:
    state, plain = State(), ReferenceScheduler()
    for world in (state, plain):
        fill(world, nodes, devices)

    def place(one: PodFacts) -> None:
        placement = decide(state, one).placement
        state.assume(one, placement)
        plain.place(one, placement)

    following = warm_up(devices, place, percent=held)
    stream = [pod(following + number) for number in range(pods)]
    settle()
    few = stream[: max(3, 100_000 // devices)]
    started = time.process_time()
    for one in few:
        answer = plain.decide(one)
        plain.place(one, Placement(answer.node, answer.devices))
    theirs = len(few) / (time.process_time() - started)
    size = pods // PARTS
    rate = max(placed_a_second(state, stream[first : first + size]) for first in range(0, PARTS * size, size))
    gang = min(statement_ms(state, number) for number in range(PARTS))
    parameters = {"nodes": nodes, "devices": devices, "held": f"{held:g}%", "pods": pods}
    return [
        Row("placements", rate, "1/s", PEER, theirs, parameters),
        Row("statement_ms", gang, "ms", f"{PEER}, x members", 1000 * MEMBERS / theirs, {**parameters, "pods": MEMBERS}),
    ]


def placed_a_second(state: State, stream: list[PodFacts]) -> float:
    """Pods decided and held a second of processor time."""
    started = time.process_time()
    for one in stream:
        state.assume(one, decide(state, one).placement)
    return len(stream) / (time.process_time() - started)


def statement_ms(state: State, number: int) -> float:
    """Milliseconds for equal pods of a new kind between a checkpoint and its end; undone afterwards."""
    request = GpuRequest(POOL, compute=500 * TFLOPS, vram=(20 + number) * GIB)
    members = [
        PodFacts(f"gang-{number}-{place}", "default", f"gang-{number}-{place}", request=request, cpu=100)
        for place in range(MEMBERS)
    ]
    started = time.process_time()
    mark = state.checkpoint()
    for one in members:
        state.assume(one, decide(state, one).placement)
    state.keep(mark)
    elapsed = (time.process_time() - started) * 1000
    for one in members:
        state.release(one.uid)
    return elapsed


if __name__ == "__main__":
    main()
