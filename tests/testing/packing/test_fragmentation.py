"""Fragments, against values worked out by hand and against the paper's definition written out device by device."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.testing.packing.baselines import ExactGradientDescent, GradientDescent, typical
from tensorfusion.testing.packing.fragmentation import Workload
from tensorfusion.testing.packing.policies import Setting
from tensorfusion.testing.packing.world import Request, Spot, World
from tensorfusion.testing.traces import TraceNode

HALF, WHOLE = Request(1000, 1024, 1, 500), Request(1000, 1024, 1, 1000)
PAIR, PLAIN = Request(1000, 1024, 2, 1000), Request(1000, 1024, 0, 0)


def amount(workload: list[Request], *, cpu: int, devices: list[int]) -> int:
    return int(Workload(workload).amount(np.array([cpu]), np.array([devices]))[0])


def test_what_fits_everywhere_leaves_no_fragment() -> None:
    assert amount([HALF], cpu=4000, devices=[1000, 500]) == 0


def test_a_device_that_is_too_full_is_a_fragment_and_the_others_are_not() -> None:
    assert amount([HALF], cpu=4000, devices=[1000, 400]) == 400
    assert amount([WHOLE], cpu=4000, devices=[1000, 400, 300]) == 700


def test_without_cpu_or_enough_devices_all_that_is_free_is_a_fragment() -> None:
    assert amount([HALF], cpu=999, devices=[1000, 400]) == 1400
    assert amount([PAIR], cpu=4000, devices=[1000, 900]) == 1900


def test_to_a_task_without_devices_all_that_is_free_is_a_fragment() -> None:
    assert amount([PLAIN], cpu=4000, devices=[1000, 400]) == 1400


def test_a_workload_is_the_sum_over_its_tasks() -> None:
    # halves: 400; a whole device: 400; a pair: 1400; a task without devices: 1400
    assert amount([HALF, HALF, WHOLE, PAIR, PLAIN], cpu=4000, devices=[1000, 400]) == 400 + 400 + 400 + 1400 + 1400


def test_gradient_descent_takes_the_device_that_it_spoils_least() -> None:
    """On an empty machine of two: half of either. Then the second half goes beside the first, not onto the other."""
    world = World([TraceNode("n", 8000, 65536, 2, "A")])
    policy = ExactGradientDescent(Setting(world, [HALF, WHOLE], 0))
    first = policy.choose(0, HALF)
    assert first == Spot(0, (0,))
    world.take(HALF, first)
    # beside the first: nothing free on it, no fragment; on the other: 500 + 500 that no whole device fits, for one in two
    assert policy.choose(1, HALF) == Spot(0, (0,))


def test_gradient_descent_saves_the_machine_whose_rest_others_need() -> None:
    """A half on the opened machine removes its fragment (500 for WHOLE), on the empty one it makes another."""
    world = World([TraceNode("empty", 8000, 65536, 1, "A"), TraceNode("opened", 8000, 65536, 1, "A")])
    world.take(HALF, Spot(1, (0,)))
    assert ExactGradientDescent(Setting(world, [WHOLE], 0)).choose(0, HALF) == Spot(1, (0,))


def test_points_are_the_whole_part_of_a_sigmoid_and_ties_go_to_the_first_machine() -> None:
    world = World([TraceNode("empty", 8000, 65536, 1, "A"), TraceNode("opened", 8000, 65536, 1, "A")])
    world.take(HALF, Spot(1, (0,)))
    policy = GradientDescent(Setting(world, [WHOLE], 0))
    # fragments +500: 100 / (1 + e^0.5) = 37.75; -500: 62.24
    assert policy.points(HALF, np.arange(2)).tolist() == [37, 62]
    assert policy.points(Request(1, 1, 0, 0), np.arange(2)).tolist() == [50, 50]
    assert policy.choose(0, Request(1, 1, 0, 0)) == Spot(0)


def test_the_typical_workload_leaves_rare_sizes_out() -> None:
    assert typical([HALF] * 95 + [WHOLE] * 3 + [PAIR] * 2) == [HALF] * 95


REQUESTS = st.builds(
    Request,
    st.integers(0, 9),
    st.just(1),
    st.sampled_from((0, 1, 1, 1, 2, 4)),
    st.sampled_from((1000, 1000, 250, 500, 700)),
).map(lambda one: one if one.gpus == 1 else Request(one.cpu, 1, one.gpus, 1000 if one.gpus else 0))


@given(
    st.lists(REQUESTS, min_size=1, max_size=12),
    st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.integers(0, 1000), min_size=4, max_size=4)), min_size=1, max_size=6
    ),
)
def test_columns_say_what_the_definition_says(workload: list[Request], machines: list[tuple[int, list[int]]]) -> None:
    def definition(cpu: int, devices: list[int], task: Request) -> int:
        fitting = [free for free in devices if free >= task.milli]
        if not task.gpus or cpu < task.cpu or len(fitting) < task.gpus:
            return sum(devices)
        return sum(free for free in devices if free < task.milli)

    found = Workload(workload).amount(np.array([cpu for cpu, _ in machines]), np.array([free for _, free in machines]))
    assert found.tolist() == [sum(definition(cpu, free, task) for task in workload) for cpu, free in machines]
