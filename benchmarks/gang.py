"""Time of deciding a whole gang: 256 pods of half a device over 10,000 nodes with 80,000 devices in racks of 32 nodes.

Goal: at most 20 ms of one processor. Each row times the statement from the checkpoint to the last held place: with
racks (the tightest that holds all is searched first), anywhere, and a refusal, which also undoes everything. Peer: the
same rules in plain Python, one object at a time, for one member and times the members.
"""

import argparse
import gc
import statistics
import time
from dataclasses import replace
from pathlib import Path

from _fixture import DEVICE_TFLOPS, GIB, POOL, TFLOPS, devices, nodes, pool, warm_up
from _report import Row, report
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import GangUnschedulable, place_gang
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import ReferenceScheduler

RACK_NODES = 32
RACKS_A_ZONE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--devices", type=int, default=80_000)
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    state, naive = State(), ReferenceScheduler()
    state.upsert_pool(pool())
    naive.upsert_pool(pool())
    for world in (state, naive):
        for number, node in enumerate(nodes(arguments.nodes)):
            rack = number // RACK_NODES
            labels = {
                "topology.kubernetes.io/rack": f"r{rack}",
                "topology.kubernetes.io/zone": f"z{rack // RACKS_A_ZONE}",
            }
            world.upsert_node(replace(node, labels=labels))
        for device in devices(arguments.devices, arguments.devices // arguments.nodes):
            world.upsert_device(device)

    def place(one: PodFacts) -> None:
        placement = decide(state, one).placement
        state.assume(one, placement)
        naive.place(one, placement)

    warm_up(arguments.devices // 10, place)
    gc.collect()
    gc.freeze()
    peer = naive_ms(naive, arguments.members)
    parameters = {"nodes": arguments.nodes, "devices": arguments.devices, "members": arguments.members}
    cases = {
        "gang_in_a_rack": (GangTopology.PREFERRED, DEVICE_TFLOPS // 2),
        "gang_anywhere": (GangTopology.NONE, DEVICE_TFLOPS // 2),
        "gang_refused": (GangTopology.NONE, 0),
    }
    rows = []
    for name, (topology, tflops) in cases.items():
        times = [round_ms(state, arguments.members, number, topology, tflops) for number in range(arguments.rounds)]
        rows.append(
            Row(f"{name}_p50_ms", statistics.median(times), "ms", "object by object, x members", peer, parameters)
        )
        rows.append(Row(f"{name}_max_ms", max(times), "ms", "object by object, x members", peer, parameters))
    report(rows, arguments.json)


def gang(members: int, number: int, topology: GangTopology, tflops: int) -> list[PodFacts]:
    """Pods of half a device; ``tflops`` 0 makes the last of them larger than any device."""
    key = Gang(f"default/gang-{number}", required=members, desired=members, topology=topology)
    sizes = [tflops or DEVICE_TFLOPS // 2] * members
    if not tflops:
        sizes[-1] = 10 * DEVICE_TFLOPS
    return [
        PodFacts(
            f"{number}-{place}",
            "default",
            f"gang-{number}-{place:03}",
            created="2026-01-01T00:00:00Z",
            request=GpuRequest(POOL, compute=size * TFLOPS, vram=4 * GIB - (size > DEVICE_TFLOPS)),
            cpu=100,
            memory=GIB // 4,
            gang=key,
        )
        for place, size in enumerate(sizes)
    ]


def round_ms(state: State, members: int, number: int, topology: GangTopology, tflops: int) -> float:
    """Milliseconds of one gang, which is gone afterwards."""
    pods = gang(members, number, topology, tflops)
    started = time.process_time()
    try:
        placement = place_gang(state, pods, needed=members)
    except GangUnschedulable as failure:
        assert failure.fits == members - 1
        return (time.process_time() - started) * 1000
    elapsed = (time.process_time() - started) * 1000
    assert bool(placement.domain) is (topology is not GangTopology.NONE)
    for one, _ in placement.members:
        state.release(one.uid)
    return elapsed


def naive_ms(naive: ReferenceScheduler, members: int) -> float:
    one = gang(members, 0, GangTopology.NONE, DEVICE_TFLOPS // 2)[0]
    started = time.process_time()
    naive.decide(one)
    return (time.process_time() - started) * 1000 * members


if __name__ == "__main__":
    main()
