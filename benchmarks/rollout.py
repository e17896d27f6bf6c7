"""What it costs to offer the streams of looking ahead to nodes: the kernel in C beside numpy, its peer and reference.

The nodes are those of the public openb trace while best fit fills them, at several loads; a call asks about so many of
them at a time. Both answer every call the same.

Goal: a microsecond of processor time a node, and at least 20 times less than numpy.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from _report import Row, report
from tensorfusion.scheduling.arrivals import ArrivalMix, Size
from tensorfusion.scheduling.fragmentation import LookAhead, draw
from tensorfusion.scheduling.rollout import COMPILED, Ints, worth, worth_by_numpy
from tensorfusion.testing.packing.baselines import BestFit
from tensorfusion.testing.packing.inflation import arrivals
from tensorfusion.testing.packing.policies import Setting
from tensorfusion.testing.packing.world import Request, World, request_of
from tensorfusion.testing.traces import TraceNode, read_nodes, read_pods

_REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=Path, required=True, help="openb's list of GPU nodes")
    parser.add_argument("--pods", type=Path, required=True, help="one of openb's lists of pods")
    parser.add_argument("--at", type=int, nargs="+", default=[0, 50, 90], help="handed out, percent of all GPUs")
    parser.add_argument("--together", type=int, nargs="+", default=[1, 70, 1213], help="nodes a call")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not COMPILED:
        sys.exit("no kernel here: a C compiler was missing when tensorfusion was installed")
    history = [request_of(one) for one in read_pods(arguments.pods)]
    pods = streams(history)
    rows = []
    for percent, states in filled(read_nodes(arguments.nodes), history, arguments.at):
        for together in arguments.together:
            calls = [states[start : start + together] for start in range(0, min(len(states), 40 * together), together)]
            ours, ours_said = microseconds(worth, pods, calls)
            theirs, theirs_said = microseconds(worth_by_numpy, pods, calls)
            if ours_said != theirs_said:
                sys.exit("the kernel and numpy do not agree")
            parameters = {"handed_out_percent": percent, "nodes_a_call": together}
            rows.append(Row("rollout", ours, "us CPU/node", "numpy", theirs, parameters))
    report(rows, arguments.json)


def streams(history: list[Request]) -> Ints:
    """Those of the policy that has learned all of the trace."""
    chosen = LookAhead()
    mix = ArrivalMix(classes=chosen.classes, most_percent=chosen.most_percent)
    for one in history:
        mix.add(Size(one.cpu, one.memory, one.gpus, one.milli))
    drawn = draw(mix.mix(), streams=chosen.streams, length=chosen.length)
    return np.array([[(pod.cpu, pod.memory, pod.gpus, pod.milli) for pod in stream] for stream in drawn], np.int64)


def filled(nodes: list[TraceNode], history: list[Request], at: list[int]) -> list[tuple[int, Ints]]:
    """What is free on every node when so much is handed out."""
    world, found = World(nodes), list[tuple[int, Ints]]()
    policy, wanted = BestFit(Setting(world, history, 0)), sorted(at)
    for arrival, request in enumerate(arrivals(history, total=world.total, seed=0)):
        while wanted and world.held * 100 >= wanted[0] * world.total:
            found.append((wanted.pop(0), np.column_stack([world.cpu, world.memory, world.devices])))
        if (spot := policy.choose(arrival, request)) is not None:
            world.take(request, spot)
    return found


def microseconds(offer: Callable[[Ints, Ints], Ints], pods: Ints, calls: list[Ints]) -> tuple[float, list[list[int]]]:
    """Processor time a node, the best of some repetitions, and the answers."""
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.process_time()
        said = [offer(pods, states) for states in calls]
        best = min(best, time.process_time() - started)
    return 1e6 * best / sum(map(len, calls)), [one.tolist() for one in said]


if __name__ == "__main__":
    main()
