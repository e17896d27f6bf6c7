"""NodeResourcesFit's strategies give the points that Kubernetes' formulas give, node by node."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling import node_scores
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.profile import ResourceScoring, Strategy
from tensorfusion.scheduling.state import State
from worlds import node, plain, run

AMOUNTS = st.integers(0, 20)
SHAPES = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 10)), min_size=1, max_size=4, unique_by=lambda point: point[0]
)


def expected(scoring: ResourceScoring, have: dict[str, int], used: dict[str, int], pod: PodFacts) -> int:
    asked = {"cpu": pod.cpu, "memory": pod.memory, **pod.extended}
    total = weights = 0
    for name, weight in scoring.resources:
        if not have.get(name) or (name not in ("cpu", "memory") and not asked.get(name)):
            continue
        requested, capacity = used.get(name, 0) + asked.get(name, 0), have[name]
        if scoring.strategy is Strategy.LEAST_ALLOCATED:
            points = 0 if requested > capacity else (capacity - requested) * 100 // capacity
        elif scoring.strategy is Strategy.MOST_ALLOCATED:
            points = min(requested, capacity) * 100 // capacity
        else:
            points = on_line(100 if requested > capacity else requested * 100 // capacity, scoring.shape)
            if points == 0:
                continue
        total += points * weight
        weights += weight
    if weights == 0:
        return 0
    exact = scoring.strategy is not Strategy.REQUESTED_TO_CAPACITY_RATIO
    return total // weights if exact else math.floor(total / weights + 0.5)


def on_line(percent: int, shape: tuple[tuple[int, int], ...]) -> int:
    before = None
    for at, points in shape:
        if percent <= at:
            if before is None:
                return points
            return before[1] + int((points - before[1]) * (percent - before[0]) / (at - before[0]))
        before = at, points
    return shape[-1][1]


@given(
    strategy=st.sampled_from(Strategy),
    weights=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    shape=SHAPES,
    nodes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 8)), min_size=1, max_size=4),
    taken=st.tuples(AMOUNTS, AMOUNTS),
    wanted=st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 4)),
)
def test_points_are_those_of_kubernetes(
    strategy: Strategy,
    weights: tuple[int, int, int],
    shape: list[tuple[int, int]],
    nodes: list[tuple[int, int, int]],
    taken: tuple[int, int],
    wanted: tuple[int, int, int],
) -> None:
    names = ("cpu", "memory", "x.io/gpu")
    points = tuple((at, 10 * score) for at, score in sorted(shape))
    scoring = ResourceScoring(strategy, tuple(zip(names, weights, strict=True)), points)
    state = State()
    for number, (cpu, memory, gpu) in enumerate(nodes):
        state.upsert_node(node(f"n{number}", cpu=cpu, memory=memory, extended={"x.io/gpu": gpu}))
    full = plain("full", cpu=min(taken[0], nodes[0][0]), memory=min(taken[1], nodes[0][1]))
    first = run(state, full, plain("any")).placement
    state.release("uid-any")
    held = state.allocations["uid-full"].placement.node
    assert first
    wish = plain("wish", cpu=wanted[0], memory=wanted[1], extended={"x.io/gpu": wanted[2]})
    found = node_scores.points(state.fleet, wish, scoring)
    for number, have in enumerate(nodes):
        used = {"cpu": full.cpu, "memory": full.memory} if held == f"n{number}" else {}
        assert found[number] == expected(scoring, dict(zip(names, have, strict=True)), used, wish)


def test_capacity_follows_the_node() -> None:
    state = State()
    scoring = ResourceScoring(Strategy.LEAST_ALLOCATED)
    wish = plain("wish", cpu=10, memory=10)
    for cpu in (20, 40):
        state.upsert_node(node("n0", cpu=cpu, memory=20))
        assert node_scores.points(state.fleet, wish, scoring)[0] == (100 * (cpu - 10) // cpu + 50) // 2
    state.remove_node("n0")
    assert node_scores.points(state.fleet, wish, scoring)[0] == 0
