"""Whole GPUs that are freed for each pod that moves, on a fragmented snapshot of the public openb trace.

The snapshot is a cluster after a busy day: openb's GPU machines under churn (arrivals of the trace, exponential
lifetimes, placed by the pool's own mode), and then most pods end and nobody comes. Every pod may be moved. Peer in the
same run: emptiest node first, as the public rules have it: all pods of the node that is used least go to the fullest
nodes that fit (compact score), whatever that breaks into.

Goal: at every number of moved pods more whole GPUs freed than the peer.
"""

import argparse
import heapq
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from _report import Row, report
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.common import PlacementMode
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.defrag import plan
from tensorfusion.scheduling.defrag_candidates import Terms
from tensorfusion.scheduling.domain import Narrowed
from tensorfusion.scheduling.state import State
from tensorfusion.testing.packing.churn import arrivals
from tensorfusion.testing.packing.policies import Setting
from tensorfusion.testing.packing.product import ProductMode
from tensorfusion.testing.packing.world import Request, Spot, World, request_of
from tensorfusion.testing.traces import TraceNode, read_nodes, read_pods

POOL = "pool"
NOW = 1_800_000_000
YESTERDAY = "2027-01-14T08:00:00Z"
Held = Sequence[tuple[int, Request, Spot]]


@dataclass(frozen=True, slots=True)
class Freed:
    """What was freed after each step: pods moved so far, whole GPUs, whole nodes."""

    curve: list[tuple[int, int, int]]
    seconds: float

    def at(self, pods: int) -> tuple[int, int, int]:
        """The last point with at most so many pods."""
        return max((point for point in self.curve if point[0] <= pods), default=(0, 0, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=Path, required=True, help="openb's list of GPU nodes")
    parser.add_argument("--pods", type=Path, required=True, help="one of openb's lists of pods")
    parser.add_argument("--load", type=int, default=90, help="offered load of the day, percent of all GPUs")
    parser.add_argument("--left", type=int, nargs="+", default=[25, 40], help="percent of the pods that are left")
    parser.add_argument("--turnovers", type=int, default=3)
    parser.add_argument(
        "--mode", default=PlacementMode.NODE_COMPACT_GPU_LOW_LOAD.value, help="the pool's placement mode"
    )
    parser.add_argument("--threshold", type=int, default=40, help="nodes used at most so many percent are emptied")
    parser.add_argument("--at", type=int, nargs="+", default=[50, 100, 200], help="numbers of moved pods to compare at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machines = [one for one in read_nodes(arguments.nodes) if one.gpus]
    history = [request_of(one) for one in read_pods(arguments.pods) if one.gpus]
    evening = day(
        machines,
        history,
        load=arguments.load,
        turnovers=arguments.turnovers,
        mode=arguments.mode,
        seed=arguments.seed,
    )
    rows = []
    for left in arguments.left:
        rng = random.Random(arguments.seed)
        held = [one for one in evening if rng.random() * 100 < left]
        ours = planned(world(machines, arguments.mode, held), arguments.threshold)
        peer = emptiest_first(world(machines, "CompactFirst", held), arguments.threshold)
        parameters = {
            "load": arguments.load,
            "left": left,
            "mode": arguments.mode,
            "turnovers": arguments.turnovers,
            "threshold": arguments.threshold,
            "pods": len(held),
            "nodes": len(machines),
            "seed": arguments.seed,
        }
        most = max(ours.curve[-1:] + peer.curve[-1:], default=(0, 0, 0))[0]
        for pods in [*arguments.at, most]:
            mine, theirs = ours.at(pods), peer.at(pods)
            where = {**parameters, "moved": mine[0], "peer_moved": theirs[0]}
            name = "all" if pods == most else str(pods)
            rows += [
                Row(f"left{left}_freed_gpus_{name}", mine[1], "GPUs", "emptiest first", theirs[1], where),
                Row(f"left{left}_freed_nodes_{name}", mine[2], "nodes", "emptiest first", theirs[2], where),
                Row(f"left{left}_gpus_per_pod_{name}", ratio(mine), "GPUs/pod", "emptiest first", ratio(theirs), where),
            ]
        rows.append(Row(f"left{left}_plan_s", ours.seconds, "s CPU", "emptiest first", peer.seconds, parameters))
        rows.append(
            Row(
                f"left{left}_step_ms",
                step_ms(world(machines, arguments.mode, held), arguments.threshold),
                "ms CPU",
                "",
                None,
                parameters,
            )
        )
    report(rows, arguments.json)


def ratio(point: tuple[int, int, int]) -> float:
    return point[1] / point[0] if point[0] else 0.0


# --- the snapshot ---


def world(machines: Sequence[TraceNode], mode: str, held: Held) -> State:
    """The machines as one pool, and pods where they are, each confirmed and a day old."""
    run = ProductMode(Setting(World(machines), [request for _, request, _ in held], 0), PlacementMode(mode))
    for number, request, spot in held:
        run.placed(number, request, spot)
    for one in list(run.state.allocations.values()):
        run.state.release(one.pod.uid)
        run.state.confirm(replace(one.pod, created=YESTERDAY), one.placement)
    return run.state


def day(
    machines: Sequence[TraceNode], history: Sequence[Request], *, load: int, turnovers: int, mode: str, seed: int
) -> Held:
    """Who is where at the end of a busy day; whoever does not fit is lost."""
    run = ProductMode(Setting(World(machines), history, seed), PlacementMode(mode))
    total = 1000 * sum(one.gpus for one in machines)
    stream = arrivals(history, total=total, seed=seed, load=load, turnovers=turnovers)
    held: dict[int, Spot] = {}
    ending: list[tuple[float, int]] = []
    for number, one in enumerate(stream):
        while ending and ending[0][0] <= one.at:
            _, other = heapq.heappop(ending)
            run.left(other, stream[other].request, held.pop(other))
        spot = run.choose(number, one.request)
        if spot is not None:
            run.placed(number, one.request, spot)
            held[number] = spot
            heapq.heappush(ending, (one.until, number))
    return [(number, stream[number].request, spot) for number, spot in held.items()]


# --- the two ways ---


def terms(threshold: int) -> Terms:
    return Terms(POOL, NOW, threshold=threshold, budgets=lambda _: {"all": 1_000_000})


def planned(state: State, threshold: int) -> Freed:
    """Ours."""
    started = time.process_time()
    found = plan(state, terms(threshold))
    seconds = time.process_time() - started
    curve = []
    pods = gpus = 0
    for nodes, step in enumerate(found.steps, 1):
        pods, gpus = pods + len(step.moves), gpus + step.frees
        curve.append((pods, gpus, nodes))
    assert not curve or gpus == found.whole_after - found.whole_before
    return Freed(curve, seconds)


def step_ms(state: State, threshold: int) -> float:
    """One look of the controller."""
    plan(state, terms(threshold), most_steps=1, most_tried=64)
    started = time.process_time()
    plan(state, terms(threshold), most_steps=1, most_tried=64)
    return 1000 * (time.process_time() - started)


def emptiest_first(state: State, threshold: int) -> Freed:
    """The peer: the node that is used least, again and again, as long as its pods fit elsewhere."""
    started = time.process_time()
    pool = state.fleet.pools[POOL]
    before, curve, pods = whole(state), [], 0
    done: set[str] = set()
    emptied: set[str] = set()

    def used(row: int) -> int:
        return sum(bool(device.holders) for device in pool.devices[row])

    while True:
        candidates = [
            (used(row) / len(devices), row)
            for row, devices in enumerate(pool.devices)
            if devices and pool.node_names[row] not in done and 0 < used(row) <= threshold * len(devices) / 100
        ]
        if not candidates:
            break
        level, row = min(candidates)
        name = pool.node_names[row]
        done.add(name)
        targets = [
            pool.node_names[other]
            for other, devices in enumerate(pool.devices)
            if devices
            and other != row
            and pool.node_names[other] not in emptied
            and used(other) / len(devices) >= max(level, 1e-9)
        ]
        moved = moved_together(state, name, targets)
        if moved:
            emptied.add(name)
            done.update(moved)
            pods += len(moved)
            curve.append((pods, whole(state) - before, len(emptied)))
    return Freed(curve, time.process_time() - started)


def moved_together(state: State, name: str, targets: Sequence[str]) -> list[str]:
    """Move all pods of a node; answers where to, nowhere if they do not all fit."""
    held = [one for one in state.allocations.values() if one.placement.node == name]
    mark = state.checkpoint()
    for one in held:
        state.release(one.pod.uid)
    found = []
    try:
        with state.within(Narrowed(None, targets, only=True)):
            for one in held:
                placement = decide(state, one.pod).placement
                state.assume(one.pod, placement)
                found.append(placement.node)
    except (NotFit, QuotaExceeded):
        state.rollback(mark)
        return []
    state.keep(mark)
    return found


def whole(state: State) -> int:
    return sum(not device.holders for device in state.devices())


if __name__ == "__main__":
    main()
