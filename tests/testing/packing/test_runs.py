"""Whole runs on small worlds: nothing is oversold, the same seed gives the same answer, figures are what they say."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import ConfigError
from tensorfusion.testing.packing import churn, inflation
from tensorfusion.testing.packing.churn import Spacing
from tensorfusion.testing.packing.comparison import Plan, Protocol, compare, plan
from tensorfusion.testing.packing.names import factory_of, names
from tensorfusion.testing.packing.outcome import Outcome, row, size_of
from tensorfusion.testing.packing.policies import Policy, Setting
from tensorfusion.testing.packing.progress import unwatched
from tensorfusion.testing.packing.stranded import Cause, stranded
from tensorfusion.testing.packing.world import Request, Spot, World, request_of
from tensorfusion.testing.traces import TraceNode, TracePod, generate

HALF, WHOLE = Request(1000, 1024, 1, 500), Request(1000, 1024, 1, 1000)


def small(protocol: Protocol, policies: Sequence[str], *, seed: int = 0, seeds: int = 1, nodes: int = 6) -> Plan:
    machines, pods = generate(nodes=nodes, pods=60, seed=seed)
    return plan(machines, pods, protocol=protocol, policies=policies, seeds=range(seeds), turnovers=3)


def results(wanted: Plan) -> dict[str, list[Outcome]]:
    return compare(wanted, tick=unwatched, begin=lambda name: None)


GREEDY = {"random", "bestfit", "fgd", "fgd-exact", "compact-first", "low-load-first", "node-compact-gpu-low-load"}
"""Policies that never turn away what fits; another one may hold something back."""


class Watched:
    """A policy beside which somebody keeps the books of the world again, from nothing but what was handed out."""

    def __init__(self, inner: Policy, setting: Setting, *, greedy: bool) -> None:
        self._inner, self._world, self._greedy = inner, setting.world, greedy
        self._live: dict[int, tuple[Request, Spot]] = {}

    def choose(self, arrival: int, request: Request) -> Spot | None:
        before = self._world.devices.copy(), self._world.cpu.copy()
        spot = self._inner.choose(arrival, request)
        assert (self._world.devices == before[0]).all()
        assert (self._world.cpu == before[1]).all()
        if spot is None and self._greedy:
            assert not self._world.fitting(request).any(), "turned away though a machine can hold it"
        return spot

    def placed(self, arrival: int, request: Request, spot: Spot) -> None:
        if request.models:
            assert self._world.nodes[spot.node].model in request.models
        self._live[arrival] = request, spot
        self._inner.placed(arrival, request, spot)
        self._check()

    def left(self, arrival: int, request: Request, spot: Spot) -> None:
        assert self._live.pop(arrival) == (request, spot)
        self._inner.left(arrival, request, spot)
        self._check()

    def _check(self) -> None:
        world = self._world
        cpu, memory, devices = np.zeros_like(world.cpu), np.zeros_like(world.memory), np.zeros_like(world.devices)
        for request, spot in self._live.values():
            cpu[spot.node] += request.cpu
            memory[spot.node] += request.memory
            devices[spot.node, list(spot.slots)] += request.milli
        assert (cpu <= world.cpu_capacity).all()
        assert (memory <= world.memory_capacity).all()
        assert (devices <= world.device_capacity).all()
        assert (world.devices == world.device_capacity - devices).all()
        assert (world.cpu == world.cpu_capacity - cpu).all()
        assert world.held == devices.sum()


@pytest.mark.parametrize("name", names())
@settings(max_examples=part_of(10), deadline=None)
@given(seed=st.integers(0, 10**6), churning=st.booleans())
def test_no_policy_oversells_or_turns_away_what_fits(name: str, seed: int, churning: bool) -> None:
    machines, pods = generate(nodes=5, pods=40, seed=seed)
    pods += [TracePod(f"picky-{number}", 1000, 1024, 1, 470, ("T4", "G2")[number % 2 :]) for number in range(4)]
    world, history = World(machines), [request_of(pod) for pod in pods]

    def factory(setting: Setting) -> Policy:
        return Watched(factory_of(name)(setting), setting, greedy=name in GREEDY)

    if churning:
        jobs = churn.arrivals(history, total=world.total, seed=seed, turnovers=2)
        churn.run(world, jobs, factory, history=history, seed=seed, tick=unwatched)
    else:
        stream = inflation.arrivals(history, total=world.total, seed=seed)
        inflation.run(world, stream, factory, history=history, seed=seed, tick=unwatched)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_the_same_seed_gives_the_same_answer(protocol: Protocol) -> None:
    first, again = (results(small(protocol, names(), seeds=2)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("protocol", list(Protocol))
def test_every_policy_is_offered_the_same_arrivals(protocol: Protocol) -> None:
    found = results(small(protocol, ["random", "bestfit", "fgd"], seeds=2))
    assert len({str([one.arrived for one in outcomes]) for outcomes in found.values()}) == 1


def test_kept_points_are_those_of_a_policy_that_keeps_none() -> None:
    """Rows that changed are scored again, and only they: the answers are those of a fresh policy each time."""
    machines, pods = generate(nodes=8, pods=80, seed=3)
    history = [request_of(pod) for pod in pods]
    for name in ("bestfit", "fgd", "fgd-exact"):
        world = World(machines)
        kept = factory_of(name)(Setting(world, history, 0))
        live: list[tuple[Request, Spot]] = []
        for arrival, request in enumerate(history * 2):
            spot = kept.choose(arrival, request)
            assert spot == factory_of(name)(Setting(world, history, 0)).choose(arrival, request)
            if spot is not None:
                world.take(request, spot)
                live.append((request, spot))
            if arrival % 3 == 2 and live:
                world.give(*live.pop(arrival % len(live)))


def test_inflation_offers_the_trace_first_and_then_draws_from_it_until_the_load_is_reached() -> None:
    history = [HALF] * 3 + [WHOLE]
    stream = inflation.arrivals(history, total=4000, seed=1)
    assert sorted(stream[:4], key=repr) == sorted(history, key=repr)
    assert 5200 <= sum(one.demand for one in stream) < 5200 + 1000


def test_churn_comes_at_the_rate_that_keeps_the_load() -> None:
    jobs = churn.arrivals([HALF, WHOLE], total=100_000, seed=5, load=80, turnovers=50)
    running = sum(one.request.demand * (min(one.until, 50) - one.at) for one in jobs) / 50
    assert running == pytest.approx(80_000, rel=0.05)
    assert all(one.at <= following.at for one, following in itertools.pairwise(jobs))
    assert all(one.at < one.until for one in jobs)


def test_churn_that_is_evenly_spaced_has_the_same_load_and_equal_steps() -> None:
    jobs = churn.arrivals([HALF, WHOLE], total=100_000, seed=5, load=80, turnovers=50, spacing=Spacing.EVEN)
    running = sum(one.request.demand * (min(one.until, 50) - one.at) for one in jobs) / 50
    assert running == pytest.approx(80_000, rel=0.05)
    steps = [following.at - one.at for one, following in itertools.pairwise(jobs)]
    assert min(steps) == pytest.approx(max(steps)) == pytest.approx(jobs[0].at)


def test_the_curve_and_the_means_of_a_run_worked_out_by_hand() -> None:
    """Two devices on two machines, CPU for one pod on the second: three halves and a whole one."""
    world = World([TraceNode("a", 8000, 65536, 1, "A"), TraceNode("b", 1000, 65536, 1, "A")])
    history = [HALF, WHOLE]
    outcome = inflation.run(
        world, [HALF, WHOLE, HALF, HALF], factory_of("bestfit"), history=history, seed=0, tick=unwatched
    )
    # the first half leaves least on b (no CPU); the whole one goes to a; the other halves find no CPU on b
    assert outcome.curve == [(0.0, 0.0), (25.0, 25.0), (75.0, 75.0), (100.0, 75.0), (125.0, 75.0)]
    assert outcome.allocation == 75.0
    assert outcome.lost == {"part of a GPU": 2}
    assert outcome.lost_percent == pytest.approx(100 * 1000 / 2500)
    # b's rest: a half would fit the device (CPU), a whole one would not (both)
    assert outcome.stranded == {Cause.USABLE: 0, Cause.DEVICES: 0, Cause.CPU: 12.5, Cause.BOTH: 12.5}


def test_what_is_stranded_is_told_apart_by_cause_and_adds_up_to_what_is_free() -> None:
    world = World([TraceNode("a", 8000, 65536, 2, "A"), TraceNode("b", 500, 65536, 2, "A")])
    world.take(HALF, Spot(0, (0,)))
    found = stranded(world, [WHOLE])
    # a: 1000 usable and 500 too small; b: 2000 without CPU
    assert found == {Cause.USABLE: 25.0, Cause.DEVICES: 12.5, Cause.CPU: 50.0, Cause.BOTH: 0.0}
    assert sum(found.values()) == pytest.approx(100 * (1 - world.held / world.total))


def test_the_allocation_of_churn_is_the_mean_over_time_after_the_first_turnover() -> None:
    jobs = [churn.Arrival(0.5, 2.0, WHOLE), churn.Arrival(3.0, 9.0, WHOLE)]
    world = World([TraceNode("a", 8000, 65536, 1, "A")])
    outcome = churn.run(world, jobs, factory_of("bestfit"), history=[WHOLE], seed=0, tick=unwatched)
    assert outcome.allocation == pytest.approx(50.0)  # from 1 to 3: half of the time
    assert outcome.lost_percent == 0


def test_who_is_turned_away_under_churn_does_not_come_back() -> None:
    jobs = [churn.Arrival(0.1, 5.0, WHOLE), churn.Arrival(0.2, 5.0, HALF), churn.Arrival(6.0, 7.0, HALF)]
    world = World([TraceNode("a", 8000, 65536, 1, "A")])
    outcome = churn.run(world, jobs, factory_of("fgd"), history=[WHOLE, HALF], seed=0, tick=unwatched)
    assert outcome.lost == {"part of a GPU": 1}
    assert outcome.lost_percent == pytest.approx(25.0)


def test_a_row_of_the_report_has_the_means() -> None:
    outcomes = [Outcome(allocation=90.0), Outcome(allocation=95.0)]
    for one in outcomes:
        one.count(Request(1, 1, 8, 1000), placed=one.allocation > 92)
        one.count(WHOLE, placed=True)
    assert row("p", "churn", outcomes) == {
        "policy": "p",
        "protocol": "churn",
        "allocation_percent": 92.5,
        "lost_percent": 44.44,
        "lost_8gpu_percent": 50.0,
        "shuffles": 2,
    }


def test_sizes_have_names() -> None:
    sizes = [Request(1, 1, 0, 0), HALF, WHOLE, Request(1, 1, 2, 500), Request(1, 1, 4, 1000)]
    assert [size_of(one) for one in sizes] == ["no GPU", "part of a GPU", "1 GPU", "2 GPUs", "4 GPUs"]


def test_a_choice_that_does_not_fit_is_the_policys_bug_and_named() -> None:
    world = World([TraceNode("a", 8000, 65536, 2, "A")])
    for spot in (Spot(0), Spot(0, (0, 0)), Spot(0, (0, 1))):
        with pytest.raises(ValueError, match="cannot hold"):
            world.take(WHOLE, spot)
    world.take(HALF, Spot(0, (1,)))
    with pytest.raises(ValueError, match=r"devices \[1000, 500\] is free"):
        world.take(WHOLE, Spot(0, (1,)))


def test_what_cannot_be_compared_is_refused() -> None:
    machines, pods = generate(nodes=3, pods=9, seed=0)
    for nodes, arrivals, policies, message in (
        (machines, pods, ["fdg"], "no policy 'fdg': did you mean fgd"),
        (machines, pods, ["fgd", "fgd"], "each once, found fgd, fgd"),
        (machines, pods, [], "found none"),
        ([TraceNode("n", 1, 1, 0, "")], pods, ["fgd"], "wanted machines with GPUs"),
        (machines, [TracePod("p", 1, 1, 0, 0)], ["fgd"], "wanted arrivals that ask for GPUs"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(nodes, arrivals, protocol=Protocol.INFLATION, policies=policies, seeds=[0])
