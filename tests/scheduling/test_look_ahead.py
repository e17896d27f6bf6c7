"""The worth of what is free: by hand on tiny states, against a plain version on random ones; drawing; whole nodes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling import fragmentation
from tensorfusion.scheduling.arrivals import Mix, Part, Size
from tensorfusion.scheduling.fragmentation import NEVER, Ints, Outlook, draw, pick, points
from tensorfusion.scheduling.whole_nodes import WholeNodes, ranks, whole_nodes

HALF, THIRD, ONE, TWO = (Size(1000, 1, 1, 500), Size(1000, 1, 1, 300), Size(1000, 1, 1, 1000), Size(1000, 1, 2, 1000))
PLAIN = Size(1000, 1, 0, 0)


def worth(streams: list[list[Size]], *, cpu: int = 100_000, memory: int = 100, devices: list[int]) -> int:
    return int(Outlook(streams, limit=100).total(np.array([[cpu, memory, *devices]]))[0])


def test_what_nobody_in_the_stream_fits_is_worth_nothing() -> None:
    assert worth([[ONE, ONE]], devices=[900, 700]) == 0
    assert worth([[TWO]], devices=[1000, 900]) == 0
    assert worth([[]], devices=[1000]) == 0


def test_pods_are_placed_in_turn_and_those_that_do_not_fit_are_skipped() -> None:
    # the half leaves 500, no room for the whole one; then a third; the last third finds 200
    assert worth([[HALF, ONE, THIRD, THIRD]], devices=[1000]) == 800


def test_a_shared_pod_goes_to_the_device_that_it_leaves_least_of() -> None:
    # onto the 600, so that the whole one finds a device
    assert worth([[HALF, ONE]], devices=[1000, 600]) == 1500


def test_several_devices_are_taken_at_once_or_none() -> None:
    assert worth([[TWO, TWO, ONE]], devices=[1000, 1000, 1000]) == 3000
    assert worth([[Size(1000, 1, 2, 400)]], devices=[1000, 500, 450]) == 800


def test_cpu_and_memory_run_out() -> None:
    assert worth([[HALF] * 4], cpu=2999, devices=[1000, 1000]) == 1000
    assert worth([[HALF] * 4], memory=3, devices=[1000, 1000]) == 1500


def test_the_total_is_the_sum_over_the_streams() -> None:
    assert worth([[HALF, ONE], [ONE, HALF], [THIRD, THIRD]], devices=[1000]) == 500 + 1000 + 600


def plain(streams: list[list[Size]], state: tuple[int, ...]) -> int:
    """The definition, one pod and one device at a time."""
    placed = 0
    for stream in streams:
        cpu, memory, *free = state
        for pod in stream:
            fitting = sorted(slot for slot in free if slot >= pod.milli)[: pod.gpus]
            if pod.cpu <= cpu and pod.memory <= memory and len(fitting) == pod.gpus:
                cpu, memory = cpu - pod.cpu, memory - pod.memory
                for slot in fitting:
                    free.remove(slot)
                    free.append(slot - pod.milli)
                placed += pod.demand
    return placed


PODS = st.builds(Size, st.integers(0, 9), st.integers(0, 9), st.integers(1, 4), st.sampled_from((100, 300, 500, 1000)))
STREAMS = st.integers(0, 7).flatmap(
    lambda length: st.lists(st.lists(PODS, min_size=length, max_size=length), min_size=1, max_size=4)
)
STATES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), *[st.sampled_from((0, 200, 400, 500, 700, 1000))] * 4),
    min_size=1,
    max_size=30,
)


@given(STREAMS, STATES, st.integers(0, 40), st.booleans())
def test_the_worth_is_that_of_the_definition_also_when_it_is_remembered(
    streams: list[list[Size]], states: list[tuple[int, ...]], limit: int, compiled: bool
) -> None:
    outlook, wanted = Outlook(streams, limit=limit), [plain(streams, state) for state in states]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragmentation, "COMPILED", compiled)
        for order in (1, -1):
            assert outlook.total(np.array(states[::order])).tolist() == wanted[::order]


@given(STREAMS, STATES)
def test_the_worth_is_at_most_what_is_free_and_the_order_of_devices_does_not_matter(
    streams: list[list[Size]], states: list[tuple[int, ...]]
) -> None:
    rows = np.array(states)
    found = Outlook(streams, limit=100).total(rows)
    assert (found >= 0).all()
    assert (found <= rows[:, 2:].sum(axis=1) * len(streams)).all()
    assert (Outlook(streams, limit=100).total(np.concatenate([rows[:, :2], rows[:, :1:-1]], axis=1)) == found).all()


@given(st.integers(1, 9), st.integers(1, 1000), st.integers(0, 12), STATES)
def test_to_pods_of_one_size_more_room_is_never_worth_less(
    cpu: int, milli: int, length: int, states: list[tuple[int, ...]]
) -> None:
    """Only to them: with several sizes, one more pod that fits may keep out a larger one."""
    outlook, rows = Outlook([[Size(cpu, 1, 1, milli)] * length], limit=100), np.array(states)
    before = outlook.total(rows)
    for column in range(rows.shape[1]):
        more = rows.copy()
        more[:, column] += 150
        assert (outlook.total(more) >= before).all()


def test_more_room_may_be_worth_less_to_several_sizes() -> None:
    small = Size(1000, 2, 1, 100)
    assert worth([[small, ONE]], memory=1, devices=[1000]) == 1000
    assert worth([[small, ONE]], memory=2, devices=[1000]) == 100


def test_streams_are_drawn_by_weight_without_pods_that_want_no_device_and_always_the_same() -> None:
    mix = Mix([PLAIN, HALF, ONE], [500, 75, 25])
    streams = draw(mix, streams=16, length=50)
    assert [len(stream) for stream in streams] == [50] * 16
    assert streams == draw(mix, streams=16, length=50)
    assert len({str(stream) for stream in streams}) == 16
    counted = [size for stream in streams for size in stream]
    assert set(counted) == {HALF, ONE}
    assert counted.count(HALF) / 800 == pytest.approx(0.75, abs=0.05)


def test_a_mix_without_devices_gives_empty_streams() -> None:
    assert draw(Mix([PLAIN], [3]), streams=2, length=5) == [[], []]


def test_points_are_rounded_half_up() -> None:
    # two streams, ten milli-GPU a point: twenty of the sum
    assert points(np.array([9, 10, 29, 30, -10, -11]), streams=2, grain=10).tolist() == [0, 1, 1, 2, 0, -1]


def picked(gains: list[tuple[int, int]], ranks: list[int], allowed: list[bool] | None = None) -> tuple[int, bool]:
    """One stream, ten milli-GPU a point."""
    return pick(np.array(gains), np.array(ranks), np.array(allowed or [True] * len(ranks)), streams=1, grain=10)


def test_ranks_choose_among_nodes_to_open_and_do_not_press_a_pod_into_a_hole() -> None:
    gains = [(NEVER, 100), (40, NEVER), (NEVER, 90)]
    assert picked(gains, [0, 0, 0]) == (0, False)
    assert picked(gains, [200, 0, 0]) == (2, False)
    assert picked(gains, [200, 0, 900]) == (0, False), "opening costs more than the order is worth, the hole too"


def test_ties_go_to_holes_then_to_the_first_node() -> None:
    assert picked([(NEVER, 104), (96, NEVER), (104, NEVER)], [0, 0, 0]) == (1, True)
    assert picked([(NEVER, 96), (NEVER, 104)], [0, 0]) == (0, False)


def test_nodes_that_are_not_allowed_are_not_picked() -> None:
    assert picked([(900, 900), (NEVER, -50)], [0, 9000], [False, True]) == (1, False)
    assert picked([(900, 900), (-50, NEVER)], [0, 0], [False, True]) == (1, True)


EIGHT = Size(64_000, 100, 8, 1000)
INSTALLED = np.array([[1000] * 8, [1000] * 8, [1000] * 2 + [0] * 6, [1000] * 8])


def whole_of(mix: Mix, devices: Ints) -> WholeNodes:
    return whole_nodes([Part(list(zip(mix.sizes, mix.weights, strict=True)))], devices, most_percent=25)


def test_whole_nodes_are_those_that_hold_the_mixs_whole_node_jobs() -> None:
    whole = whole_of(Mix([HALF, EIGHT], [16, 3]), INSTALLED)
    # eights ask for 24 of 32 devices' worth: 24/32 of 26 devices are 19.5, two jobs
    assert (whole.gpus, whole.cpu, whole.memory, whole.running) == (8, 64_000, 100, 2)
    cpu, memory = np.array([96_000, 63_999, 96_000, 64_000]), np.array([100, 100, 100, 100])
    assert whole.free(cpu, memory, INSTALLED).tolist() == [True, False, False, True]
    used = INSTALLED.copy()
    used[0, 3] = 900
    assert whole.free(cpu, memory, used).tolist() == [False, False, False, True]
    assert [whole.held(running) for running in (0, 1, 2, 3)] == [2, 1, 0, 0]


def test_without_whole_node_jobs_nothing_is_held() -> None:
    for mix in (Mix(), Mix([PLAIN, HALF], [1, 1])):
        whole = whole_of(mix, INSTALLED)
        assert (whole.gpus, whole.held(0)) == (8, 0)
    assert whole_of(Mix([EIGHT], [1]), np.zeros((2, 1), np.int64)).held(0) == 0


def test_a_fleet_that_no_eight_fits_has_whole_nodes_of_two() -> None:
    whole = whole_of(Mix([TWO, EIGHT], [1, 1]), INSTALLED[2:3])
    # a fifth of the demand is in twos: of two devices, no job runs all the time
    assert (whole.gpus, whole.running) == (2, 0)


def test_ranks_rise_in_the_order_of_nodes_and_are_those_of_whole_nodes_alone() -> None:
    same = np.zeros(4, np.int64)
    assert ranks(np.array([True, False, True, True]), same, most=600).tolist() == [0, 0, 200, 400]
    assert ranks(np.array([False]), same[:1], most=600).tolist() == [0]


def test_nodes_that_more_whole_node_jobs_fit_on_are_opened_later() -> None:
    large = Size(90_000, 300, 8, 1000)
    whole = whole_of(Mix([HALF, EIGHT, large], [16, 3, 1]), INSTALLED)
    takes = whole.takes(np.array([96_000, 64_000, 96_000, 96_000]), np.array([400, 400, 50, 200]))
    assert (takes / takes[0]).tolist() == [1, 3 / 4, 0, 3 / 4]
    assert ranks(np.array([True, True, False, True]), takes, most=600).tolist() == [400, 0, 0, 200]
    assert whole_of(Mix(), INSTALLED).takes(takes, takes).tolist() == [0] * 4
