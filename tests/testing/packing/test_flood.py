"""A tenant that floods a pool with odd pods steers what is looked ahead for, and what is kept, by next to nothing."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.state import State

NODES, GPUS = 12, 8
SIZES = ((1, 300, 30), (1, 700, 25), (1, 500, 20), (1, 1000, 30), (2, 1000, 5), (8, 1000, 6))
"""Devices, milli of each, and how often, of what the three others ask for."""
FLOOD = "flood"


def cluster() -> State:
    state = State()
    state.upsert_pool(PoolFacts("pool", "FragmentationAware"))
    for node in range(NODES):
        state.upsert_node(NodeFacts(f"n{node}", cpu=96_000, memory=1 << 40))
        for slot in range(GPUS):
            device = DeviceFacts(f"n{node}-{slot}", f"n{node}", "pool", index=slot, compute=100_000, vram=16 << 30)
            state.upsert_device(device)
    state.set_quota(QuotaFacts(FLOOD, total_devices=4))
    return state


def pod(name: str, tenant: str, gpus: int, milli: int, **own: object) -> PodFacts:
    request = GpuRequest("pool", gpus, compute=100 * milli)
    return PodFacts(name, tenant, name, request=request, cpu=1_000 * gpus, **own)  # type: ignore[arg-type]


def jobs(seed: int, count: int) -> Iterator[tuple[float, float, PodFacts]]:
    """When a job of one of the three others comes, when it ends, and the job: 95 % of the devices are asked for."""
    dice = random.Random(seed)
    demand = sum(gpus * milli * often for gpus, milli, often in SIZES) / sum(often for *_, often in SIZES)
    rate, now = 0.95 * NODES * GPUS * 1000 / demand, 0.0
    for number in range(count):
        now += dice.expovariate(rate)
        gpus, milli, _ = dice.choices(SIZES, [often for *_, often in SIZES])[0]
        yield now, now + dice.expovariate(1), pod(f"job-{number}", dice.choice(("a", "b", "c")), gpus, milli)


def lost(seed: int, flood: list[PodFacts], *, count: int = 1000) -> float:
    """The part of what the others ask for that is turned away, while ten pods of a flood come to each of theirs."""
    state = cluster()
    ends: list[tuple[float, str]] = []
    asked = refused = sent = 0
    for now, until, job in jobs(seed, count):
        while ends and ends[0][0] <= now:
            state.release(heapq.heappop(ends)[1])
        for _ in range(10 if flood else 0):
            state.arrive(_again(flood[sent % len(flood)], sent))
            sent += 1
        state.arrive(job)
        request = job.request
        assert request is not None
        asked += request.count * request.compute
        try:
            state.assume(job, decide(state, job).placement)
        except (NotFit, QuotaExceeded):
            refused += request.count * request.compute
        else:
            heapq.heappush(ends, (until, job.uid))
    return refused / asked


def _again(one: PodFacts, number: int) -> PodFacts:
    return PodFacts(f"{one.uid}-{number}", FLOOD, one.name, request=one.request, cpu=one.cpu, affinity=one.affinity)


@cache  # what the others lose of themselves is asked for once more by each flood
def lost_without_a_flood(seed: int) -> float:
    return lost(seed, [])


ODD = [pod("odd", FLOOD, 1, milli) for milli in (13, 137, 389, 611, 977)]
LARGER_THAN_ITS_QUOTA = [pod("large", FLOOD, 8, 1000)]


@pytest.mark.xdist_group("flood")
@pytest.mark.parametrize("flood", [ODD, LARGER_THAN_ITS_QUOTA], ids=["odd sizes", "jobs beyond its quota"])
def test_the_others_lose_at_most_a_hundredth_more(flood: list[PodFacts]) -> None:
    seeds = range(3)
    without = sum(lost_without_a_flood(seed) for seed in seeds) / len(seeds)
    with_flood = sum(lost(seed, flood) for seed in seeds) / len(seeds)
    assert 0 < without < 0.2
    assert with_flood <= without + 0.01


def test_jobs_that_a_namespace_may_not_run_make_nobody_keep_nodes() -> None:
    state = cluster()
    for _, _, job in jobs(0, 200):
        state.arrive(job)
    learned = state.fleet.pools["pool"].learned
    before = learned.count
    for number in range(1000):
        assert state.arrive(_again(LARGER_THAN_ITS_QUOTA[0], number)) is None
    assert learned.count == before


def test_whole_node_jobs_of_a_namespace_that_may_run_one_keep_a_quarter_of_the_nodes_at_most() -> None:
    """As many jobs come of it as of each of the others; by demand they would be nearly all."""
    state = cluster()
    state.set_quota(QuotaFacts(FLOOD, total_devices=GPUS))
    for number in range(400):
        for tenant in "abc":
            state.arrive(pod(f"{tenant}-{number}", tenant, 1, 100))
        state.arrive(_again(LARGER_THAN_ITS_QUOTA[0], number))
    placed = 0
    for number in range(10 * NODES * GPUS):
        share = pod(f"share-{number}", "abc"[number % 3], 1, 100)
        try:
            state.assume(share, decide(state, share).placement)
        except NotFit:
            break
        placed += 1
    assert placed >= 10 * (NODES - NODES // 4) * GPUS


def test_the_jobs_of_one_namespace_are_expected_though_another_one_floods_the_pool_with_them() -> None:
    """It says neither how many nodes are kept for all, nor what a whole node is."""

    def kept(flood: int) -> int:
        state = cluster()
        state.set_quota(QuotaFacts(FLOOD, total_devices=GPUS))
        for number in range(100):
            state.arrive(pod(f"a-{number}", "a", 1, 500))
            state.arrive(pod(f"c-{number}", "c", 1, 500))
            if number % 4 == 0:
                state.arrive(pod(f"b-{number}", "b", 8, 1000))
            for copy in range(flood):
                one = replace(LARGER_THAN_ITS_QUOTA[0], cpu=10**9)
                state.arrive(_again(one, 10 * number + copy))
        decide(state, pod("a", "a", 1, 500))
        (hold,) = state.classes.foresights.of(state.fleet.pools["pool"]).holds
        assert hold.free == NODES
        return hold.expected

    assert 3 <= kept(0) <= kept(4) <= NODES // 2
