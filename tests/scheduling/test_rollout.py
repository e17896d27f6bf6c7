"""The kernel and numpy say the same of any nodes and any streams, and neither takes what makes no sense."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tensorfusion.scheduling import rollout
from tensorfusion.scheduling.rollout import worth, worth_by_numpy

needs_kernel = pytest.mark.skipif(not rollout.COMPILED, reason="no C compiler was there at installation")
BIG = 1 << 62
FREE = st.one_of(st.sampled_from((0, 200, 400, 500, 700, 1000)), st.integers(-5, 1200), st.sampled_from((-BIG, BIG)))
BESIDE = st.one_of(st.integers(-2, 40), st.sampled_from((-BIG, BIG)))
WANTED = st.tuples(
    st.one_of(st.integers(0, 9), st.just(BIG)),
    st.one_of(st.integers(0, 9), st.just(BIG)),
    st.one_of(st.integers(1, 9), st.just(BIG)),
    st.one_of(st.sampled_from((100, 300, 500, 1000)), st.integers(1, 1100), st.just(BIG)),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Streams and states: (T, L, 4) and (S, 2 + G), any of these 0 but T."""
    streams, length, count, slots = (draw(st.integers(low, 8)) for low in (1, 0, 0, 0))
    pods = draw(st.lists(WANTED, min_size=streams * length, max_size=streams * length))
    states = [
        [*draw(st.tuples(BESIDE, BESIDE)), *draw(st.lists(FREE, min_size=slots, max_size=slots))] for _ in range(count)
    ]
    return (
        np.array(pods, np.int64).reshape(streams, length, 4),
        np.array(states, np.int64).reshape(count, 2 + slots),
    )


def plain(pods: np.ndarray, state: list[int]) -> int:
    """The definition, one pod and one device at a time."""
    placed = 0
    for stream in pods.tolist():
        cpu, memory, *free = state
        for wanted_cpu, wanted_memory, gpus, milli in stream:
            fitting = sorted(one for one in free if one >= milli)[:gpus]
            if wanted_cpu <= cpu and wanted_memory <= memory and len(fitting) == gpus:
                cpu, memory = cpu - wanted_cpu, memory - wanted_memory
                for one in fitting:
                    free.remove(one)
                    free.append(one - milli)
                placed += gpus * milli
    return placed


def wrapped(number: int) -> int:
    """As 64 bits hold it."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@given(cases())
@example((np.full((2, 3, 4), 1, np.int64), np.zeros((2, 2), np.int64)))
def test_both_say_what_the_definition_says(case: tuple[np.ndarray, np.ndarray]) -> None:
    pods, states = case
    wanted = [wrapped(plain(pods, state)) for state in states.tolist()]
    assert worth_by_numpy(pods, states).tolist() == wanted
    assert worth(pods, states).tolist() == wanted


def test_more_states_than_numpy_takes_at_a_time() -> None:
    dice = np.random.default_rng(1)
    pods = np.stack([dice.integers(1, high, (3, 20)) for high in (9, 9, 4, 1001)], axis=2)
    states = dice.integers(0, 1001, (1300, 6))
    assert (worth(pods, states) == worth_by_numpy(pods, states)).all()


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("offer", [pytest.param(worth, marks=needs_kernel), worth_by_numpy])
def test_a_pod_that_asks_for_less_than_nothing_is_refused(
    offer: Callable[[np.ndarray, np.ndarray], np.ndarray], field: int
) -> None:
    pods = np.ones((2, 3, 4), np.int64)
    pods[1, 2, field] = -1
    with pytest.raises(ValueError, match="wanted cpu and memory from 0, gpus and milli from 1, found"):
        offer(pods, np.ones((1, 3), np.int64))


@needs_kernel
@pytest.mark.parametrize(
    ("pods", "states", "out"),
    [
        ((2, 3, 5), (1, 3), (1,)),
        ((2, 3, 4), (1, 1), (1,)),
        ((2, 3, 4), (2, 3), (1,)),
        ((6, 4), (1, 3), (1,)),
        ((2, 3, 4), (3,), (1,)),
        ((2, 3, 4), (1, 3), (1, 1)),
    ],
)
def test_the_kernel_refuses_arrays_of_other_shapes(
    pods: tuple[int, ...], states: tuple[int, ...], out: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="wanted"):
        rollout._rollout.worth(*(np.ones(shape, np.int64) for shape in (pods, states, out)))


@needs_kernel
def test_the_kernel_refuses_what_is_not_a_row_of_int64() -> None:
    pods, states, out = np.ones((1, 1, 4), np.int64), np.ones((1, 3), np.int64), np.ones(1, np.int64)
    for array in (states.astype(np.int32), states.astype(np.float64), states.astype(np.uint64), states.astype(">i8")):
        with pytest.raises(ValueError, match="states: wanted an aligned int64 array of 2 dimensions, found format"):
            rollout._rollout.worth(pods, array, out)
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        rollout._rollout.worth(pods, np.ones((3, 4), np.int64)[:, ::2], out)
    unaligned = np.frombuffer(bytes(33), np.int64, offset=1, count=3).reshape(1, 3)
    with pytest.raises(ValueError, match="aligned"):
        rollout._rollout.worth(pods, unaligned, out)
    out.flags.writeable = False
    with pytest.raises((BufferError, ValueError), match=r"(?i)read.only"):
        rollout._rollout.worth(pods, states, out)
    with pytest.raises(TypeError):
        rollout._rollout.worth(pods, states)


def test_arrays_that_are_views_of_others_are_taken_too() -> None:
    pods, states = np.ones((4, 3, 4), np.int64)[::2], np.full((4, 6), 7, np.int64)[::2, ::2]
    assert worth(pods, states).tolist() == worth_by_numpy(pods, states).tolist()
