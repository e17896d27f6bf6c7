"""CPU time of one search for victims: 80,000 devices on 10,000 nodes, every device held by pods of several ranks.

Goal: p50 and p99 at most 10 ms, the very first search counted. Peer in the same run: the same rules written naively,
node by node and pod by pod. Nothing is evicted, so that each search meets the same fleet; ``after_changes`` evicts,
binds and lets 100 other pods come and go before every search, as a busy cluster does.

``gang_N``: one search for all N members of a gang, each of which wants most of a device or a little of one. Goal: p50
at most 20 ms for 32 members. Peer in the same run: the single search, pod after pod, with the victims and the members
before it taken into account. ``proof`` is the part that no such search can do without: the victims that were found are
released, the whole gang is decided and held, and everything is undone.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _fixture import DEVICE_TFLOPS, GIB, POOL, TFLOPS, devices, nodes, pool
from _report import Row, report
from tensorfusion.errors import NotFit
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan, search_gang
from tensorfusion.scheduling.gangs import place_gang
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.state import State

NOW = 1_800_000_000
RANKS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--devices", type=int, default=80_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--members", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--gangs", type=int, default=20)
    parser.add_argument("--naive", type=int, default=3, help="searches that the naive peer does, too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    state = full(arguments.nodes, arguments.devices)
    gc.collect()
    gc.freeze()
    started = time.process_time_ns()
    state.residents.sync()
    first = (time.process_time_ns() - started) / 1e6
    wishes = [wish(number) for number in range(arguments.searches)]
    failures = [refused(state, one) for one in wishes]
    still = [timed(state, one, failure) for one, failure in zip(wishes, failures, strict=True)]
    theirs = []
    for one, found in zip(wishes[: arguments.naive], still, strict=False):
        started = time.process_time_ns()
        peer = naive(state, one)
        theirs.append((time.process_time_ns() - started) / 1e6)
        assert isinstance(found[1], Plan)
        assert peer[:2] == cost(found[1].victims)[:2], (peer, cost(found[1].victims))
    hopeless = [
        timed(state, replace(one, priority=-1), failure)[0] for one, failure in zip(wishes, failures, strict=True)
    ]
    gangs = [row for members in arguments.members for row in gang_rows(state, members, arguments.gangs)]
    busy = list(in_motion(state, wishes))
    parameters = {
        "nodes": arguments.nodes,
        "devices": arguments.devices,
        "pods": len(state.allocations),
        "searches": len(still),
    }
    slow = statistics.median(theirs) if theirs else None
    rows = [
        Row("search_p50_cpu_ms", at([ms for ms, _ in still], 50), "ms", "node by node, pod by pod", slow, parameters),
        Row("search_p99_cpu_ms", at([ms for ms, _ in still], 99), "ms", "node by node, pod by pod", slow, parameters),
        Row("search_max_cpu_ms", max(ms for ms, _ in still), "ms", "node by node, pod by pod", slow, parameters),
        Row("after_changes_p50_cpu_ms", at(busy, 50), "ms", "", None, parameters),
        Row("after_changes_p99_cpu_ms", at(busy, 99), "ms", "", None, parameters),
        Row("hopeless_p50_cpu_ms", at(hopeless, 50), "ms", "", None, parameters),
        Row("first_sync_cpu_ms", first, "ms", "", None, parameters),
        *(replace(row, parameters={**parameters, **row.parameters}) for row in gangs),
    ]
    report(rows, arguments.json)


def gang_rows(state: State, members: int, gangs: int) -> list[Row]:
    """Searches for gangs of one size, beside what their members' searches and the bare proof take."""
    searches = [gang_ms(state, gang(number, members)) for number in range(gangs)]
    if not searches:
        return []
    spent = [ms for ms, _ in searches]
    proofs = [proof_ms(state, gang(number, members), plan) for number, (_, plan) in enumerate(searches)]
    one_by_one = statistics.median(singly_ms(state, gang(number, members)) for number in range(2))
    words, parameters = "the members' searches one by one", {"members": members, "searches": gangs}
    return [
        Row(f"gang_{members}_p50_cpu_ms", statistics.median(spent), "ms", words, one_by_one, parameters),
        Row(f"gang_{members}_max_cpu_ms", max(spent), "ms", words, one_by_one, parameters),
        Row(f"gang_{members}_proof_p50_cpu_ms", statistics.median(proofs), "ms", words, one_by_one, parameters),
    ]


def gang(number: int, members: int) -> list[PodFacts]:
    """Members alike, above everybody: every second gang wants most of a device each, the others a little of one."""
    key = Gang(f"default/gang-{number}", required=members, desired=members, topology=GangTopology.NONE)
    request = GpuRequest(POOL, compute=10 * TFLOPS, vram=(60 if number % 2 else 10 + number % 15) * GIB)
    return [
        PodFacts(
            f"gang-{number}-{place}",
            "default",
            f"gang-{number}-{place:03}",
            priority=100,
            created="2026-01-01T00:00:00Z",
            request=request,
            cpu=100,
            memory=GIB // 4,
            gang=key,
        )
        for place in range(members)
    ]


def gang_ms(state: State, members: list[PodFacts]) -> tuple[float, GangPlan]:
    """CPU milliseconds of one search for all of them, and what it found."""
    started = time.process_time_ns()
    found = search_gang(state, members, needed=len(members), now=NOW)
    spent = (time.process_time_ns() - started) / 1e6
    assert isinstance(found, GangPlan)
    assert len(found.placements) == len(members)
    return spent, found


def proof_ms(state: State, members: list[PodFacts], plan: GangPlan) -> float:
    """CPU milliseconds of deciding the gang once with its victims gone."""
    started = time.process_time_ns()
    mark = state.checkpoint()
    state.without(plan.victims)
    placed = place_gang(state, members, needed=len(members))
    state.rollback(mark)
    spent = (time.process_time_ns() - started) / 1e6
    assert tuple((one, decision.placement) for one, decision in placed.members) == plan.placements
    return spent


def singly_ms(state: State, members: list[PodFacts]) -> float:
    """CPU milliseconds of a search for each of them, the others before it placed; everything is undone afterwards."""
    spent = 0
    gone: list[Allocation] = []
    for one in members:
        failure = refused(state, one)
        started = time.process_time_ns()
        found = search(state, one, failure, now=NOW)
        spent += time.process_time_ns() - started
        assert isinstance(found, Plan)
        for victim in found.victims:
            state.release(victim.pod.uid)
        gone += found.victims
        state.assume(one, found.placement)
        full_again(state, one, found)
    for uid in [uid for uid in state.allocations if uid.startswith(("gang-", "rest-"))]:
        state.release(uid)
    for victim in gone:
        state.confirm(victim.pod, victim.placement)
    return spent / 1e6


def full_again(state: State, one: PodFacts, found: Plan) -> None:
    """What is left over of a device is taken, so that the next member does not fit there without anybody going."""
    for name in sorted({name for victim in found.victims for name in victim.placement.devices}):
        device = state.fleet.devices[name]
        assert device.facts is not None
        if device.vram_free > 0:
            rest = PodFacts(
                f"rest-{one.uid}-{name}", "default", "rest", request=GpuRequest(POOL, vram=device.vram_free)
            )
            state.confirm(replace(rest, priority=100), Placement(device.facts.node, (name,)))


def full(node_count: int, device_count: int) -> State:
    """Every device full of pods, so that nothing fits anywhere."""
    state = State()
    state.upsert_pool(replace(pool(), max_workers_per_node=0))
    for node in nodes(node_count):
        state.upsert_node(replace(node, pods=1000))
    per_node = device_count // node_count
    for number, device in enumerate(devices(device_count, per_node)):
        state.upsert_device(device)
        sizes = [20 + number * 7 % 9, 24 + number * 5 % 7]
        for part, size in enumerate((*sizes, 79 - sum(sizes))):
            request = GpuRequest(POOL, compute=DEVICE_TFLOPS * TFLOPS // 4, vram=size * GIB)
            rank = (number * 31 + part * 17 + number // per_node) % RANKS
            created = time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 60 - (number * 7919 + part * 104_729) % 90_000)
            )
            uid = f"{number}-{part}"
            one = PodFacts(
                uid, "default", uid, priority=rank, created=created, request=request, cpu=100, memory=GIB // 4
            )
            state.confirm(one, Placement(device.node, (device.name,)))
    return state


def wish(number: int) -> PodFacts:
    """Pods above everybody: one device, every fifth two, every tenth four; every third wants most of a device."""
    count = 4 if number % 10 == 9 else 2 if number % 5 == 4 else 1
    vram = (60 if number % 3 == 2 else 10 + number % 15) * GIB
    request = GpuRequest(POOL, count=count, compute=10 * TFLOPS, vram=vram)
    return PodFacts(
        f"new-{number}", "default", f"new-{number}", priority=100, request=request, cpu=100, memory=GIB // 4
    )


def refused(state: State, one: PodFacts) -> NotFit:
    try:
        decide(state, one)
    except NotFit as failure:
        return failure
    raise SystemExit(f"{one.name} fits: the fleet is not full")


def timed(state: State, one: PodFacts, failure: NotFit) -> tuple[float, Plan | Hopeless]:
    started = time.process_time_ns()
    found = search(state, one, failure, now=NOW)
    return (time.process_time_ns() - started) / 1e6, found


def in_motion(state: State, wishes: list[PodFacts]) -> Iterator[float]:
    """Search after search while victims go, preemptors come and 100 other pods are replaced in between."""
    others = [one for one in state.allocations.values() if one.pod.priority == 0]
    for number, one in enumerate(wishes):
        for other in others[number * 100 : number * 100 + 100]:
            if state.release(other.pod.uid):
                state.confirm(replace(other.pod, uid=f"{other.pod.uid}-again"), other.placement)
        spent, found = timed(state, one, refused(state, one))
        assert isinstance(found, Plan)
        for victim in found.victims:
            state.release(victim.pod.uid)
        state.confirm(one, found.placement)
        names = {name for victim in found.victims for name in victim.placement.devices}
        for name in sorted(names):  # what is left over is taken by somebody small, so that the next one does not fit
            device = state.fleet.devices[name]
            assert device.facts is not None
            small = GpuRequest(POOL, vram=device.vram_free)
            filler = PodFacts(f"filler-{number}-{name}", "default", "filler", request=small)
            state.confirm(filler, Placement(device.facts.node, (name,)))
        yield spent


Cost = tuple[int, int, int]


def cost(victims: tuple[Allocation, ...]) -> Cost:
    """Highest rank, number, and lost work in seconds."""
    return (max(v.pod.rank for v in victims), len(victims), sum(age(v.pod) for v in victims))


def age(pod: PodFacts) -> int:
    import calendar

    return NOW - calendar.timegm(time.strptime(pod.created, "%Y-%m-%dT%H:%M:%SZ"))


def naive(state: State, one: PodFacts) -> Cost:
    """The cheapest victims, looked for on every node: all lower pods go, then each is put back that need not go."""
    request = one.request
    assert request is not None
    by_device: dict[str, list[Allocation]] = {}
    for allocation in state.allocations.values():
        for name in allocation.placement.devices:
            by_device.setdefault(name, []).append(allocation)
    by_node: dict[str, list[str]] = {}
    for device in state.devices():
        assert device.facts is not None
        by_node.setdefault(device.facts.node, []).append(device.name)
    costs = []
    for names in by_node.values():
        ready = []
        for name in names:
            device = state.fleet.devices[name]
            compute, vram = device.compute_free, device.vram_free
            gone = [a for a in by_device[name] if a.pod.rank < one.rank]
            for a in gone:
                assert a.pod.request is not None
                compute, vram = compute + a.pod.request.compute, vram + a.pod.request.vram
            if compute < request.compute or vram < request.vram:
                continue
            kept = cheapest(gone, request, compute, vram)
            ready.append((cost(tuple(kept)), kept))
        ready.sort(key=lambda entry: entry[0])
        if len(ready) >= request.count:
            costs.append(cost(tuple(a for _, kept in ready[: request.count] for a in kept)))
    return min(costs)


def cheapest(gone: list[Allocation], request: GpuRequest, compute: int, vram: int) -> list[Allocation]:
    """Of the pods of one device the cheapest set, by trying all of them."""
    best: tuple[Cost, list[Allocation]] | None = None
    for chosen in range(1, 1 << len(gone)):
        kept = [a for place, a in enumerate(gone) if chosen >> place & 1]
        back = [a.pod.request for place, a in enumerate(gone) if not chosen >> place & 1]
        free = (compute - sum(r.compute for r in back if r), vram - sum(r.vram for r in back if r))
        if free[0] >= request.compute and free[1] >= request.vram and (best is None or cost(tuple(kept)) < best[0]):
            best = (cost(tuple(kept)), kept)
    assert best is not None
    return best[1]


def at(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


if __name__ == "__main__":
    main()
