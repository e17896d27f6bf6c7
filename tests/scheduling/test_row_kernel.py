"""With the kernel every decision is the one that is taken without it, and no input makes it misbehave."""

import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from random_worlds import random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Taint
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling import row_kernel
from tensorfusion.scheduling.codes import FITS, LOWEST, NOT_ASKED
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts, PoolFacts
from tensorfusion.scheduling.rated import ShareClass
from tensorfusion.scheduling.reasons import DEVICE_REASONS, NODE_REASONS
from tensorfusion.scheduling.row_kernel import Answer
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.state import State
from worlds import GIB, device, fleet, node, pod, run

pytestmark = pytest.mark.skipif(not row_kernel.COMPILED, reason="no C compiler was there at installation")


def without_kernel(one: ShareClass) -> ShareClass:
    one._for_kernel = False
    return one


def said(one: ShareClass) -> dict[str, Any]:
    """All that a class answers."""
    best = one.best()
    return {
        "codes": (one.rows.tolist(), one.fitting_devices.tolist(), one.keys.tolist()),
        "counts": (one.feasible, one.devices_removed, one.nodes_removed),
        "best": best,
    }


def answered(one: ShareClass) -> Answer | None:
    """What the kernel answers, put together from what the class says."""
    best, names = one.best(), one.pool.node_names
    if not best:
        return None
    row, key = best[0]
    own = one.pool.scores_of(row)
    slots, _ = one.chosen(row, own)
    return (
        row,
        slots,
        -(-key // PREFERENCE),
        tuple(own[slot] for slot in slots),
        tuple((names[other], -(-points // PREFERENCE)) for other, points in best[1:]),
        one.feasible,
        one.devices_removed,
        one.nodes_removed,
    )


KINDS = [
    pod("small"),
    pod("by memory", compute=1, vram=30 * GIB, cpu=0, memory=60 * GIB),
    pod("by cpu", cpu=20_000),
    pod("two", count=2, compute=40_000),
    pod("percent", compute=0, percent=33_333),
    pod("whole", compute=0, vram=0, isolation=Isolation.SHARED),
    pod("nothing", compute=0, vram=0),
    pod("some", indices=(0, 2), compute=25_000),
    pod("nowhere", compute=101_000),
]


def world(rng: random.Random) -> State:
    """40 nodes of up to four devices, of which many are equal: the best ones change all the time."""
    state = State()
    state.upsert_pool(PoolFacts("pool", rng.choice(("CompactFirst", "LowLoadFirst")), max_workers_per_node=4))
    for number in range(40):
        taints = (Taint("soft", "", "PreferNoSchedule"),) if rng.random() < 0.2 else ()
        state.upsert_node(node(f"n{number}", taints=taints))
        for place in range(rng.randint(1, 4)):
            state.upsert_device(device(f"n{number}-{place}", f"n{number}"))
    return state


def change(rng: random.Random, state: State, number: int) -> None:
    """Something that happens to a pool."""
    what = rng.random()
    if what < 0.6 or not state.allocations:
        one = random_pod(rng, number) if what < 0.1 else rng.choice(KINDS)
        with suppress(NotFit, QuotaExceeded):
            named = PodFacts(f"u{number}", "team", f"p{number}", request=one.request, cpu=one.cpu, memory=one.memory)
            state.assume(named, decide(state, named).placement)
    elif what < 0.85:
        state.release(rng.choice(list(state.allocations)))
    elif what < 0.9:
        name = f"n{rng.randrange(40)}"
        state.upsert_node(node(name, ready=rng.random() < 0.5, cpu=rng.choice((64_000, 20_000))))
    else:
        here = rng.randrange(40)
        phase = rng.choice(("Running", "Running", "Pending"))
        state.upsert_device(device(f"n{here}-0", f"n{here}", compute=rng.choice((100_000, 50_000)), phase=phase))


@given(st.integers(0, 2**32 - 1))
def test_a_class_says_the_same_with_and_without_the_kernel_after_every_change(seed: int) -> None:
    rng = random.Random(seed)
    state = world(rng)
    pool, nodes = state.fleet.pools["pool"], state.fleet.nodes
    pairs = [(ShareClass(pool, nodes, one), without_kernel(ShareClass(pool, nodes, one))) for one in KINDS]
    for number in range(60):
        change(rng, state, number)
        for compiled, plain in rng.sample(pairs, 3):
            assert compiled.catch_up() == plain.catch_up()
            assert said(compiled) == said(plain)
            if compiled.answerer is not None:
                assert compiled.answerer.rows.answer() == answered(plain)
    assert sum(compiled._kernel is not None for compiled, _ in pairs) > 4
    assert all(plain._kernel is None for _, plain in pairs)


def test_devices_that_follow_their_first_holder_are_not_the_kernels() -> None:
    state = fleet(6, 2)
    run(state, pod("a"), pod("b"))
    pool = state.fleet.pools["pool"]
    mine = state.classes.shares(pool, state.fleet.nodes, pod("c"))
    assert mine._kernel is not None
    state.upsert_device(device("n0-0", "n0", isolation_policy="Dynamic"))
    run(state, pod("d", isolation=Isolation.HARD))
    assert state.classes.shares(pool, state.fleet.nodes, pod("e")) is mine
    assert mine._kernel is None


@pytest.mark.parametrize(
    "wish",
    [
        {"isolation": Isolation.PARTITIONED, "partition": "1g.10gb"},
        {"extended": {"example.com/dongle": 1}},
        {"vram": 1 << 70},
        {"compute": 0, "percent": 200_000},
    ],
)
def test_what_the_kernel_does_not_know_is_left_to_python(wish: dict[str, Any]) -> None:
    one = pod("p", **wish)
    assert one.request is not None
    assert not row_kernel.is_for_kernel(one, one.request)


def columns(**others: Any) -> tuple[Any, ...]:
    """Two slots, three rows, four nodes, in the kernel's order."""
    by_slot, by_row, by_node = (2, 3), (3,), (4,)
    shapes = {
        **dict.fromkeys(("static", "modes", "device_codes"), (by_slot, np.uint8)),
        **dict.fromkeys(("compute", "compute_free", "vram_free", "score"), (by_slot, np.int64)),
        **dict.fromkeys(("node_row", "node_score", "keys"), (by_row, np.int64)),
        "node_codes": (by_row, np.uint8),
        "shape": (by_node, np.uint8),
        **dict.fromkeys(("cpu", "memory", "pods", "workers", "native", "preference"), (by_node, np.int64)),
        **dict.fromkeys(("device_counts", "node_counts"), ((256,), np.int64)),
    }
    order = "static compute compute_free vram_free modes score device_codes node_row node_score node_codes keys "
    order += "shape cpu memory pods workers native preference device_counts node_counts"
    made = {name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()}
    made["static"][:] = made["shape"][:] = FITS
    made["pods"][:] = 9
    made["node_codes"][:] = NOT_ASKED
    made |= others
    return tuple(made[name] for name in order.split())


ASKED = (1, 0, 0, 0, 0, 0, 0, 0, 64)
REASONS = tuple(range(1, 10))
TOLD = (DEVICE_REASONS[1:], 1, NODE_REASONS, ["n0", "n1", "n2"])


def test_it_works_on_the_columns_themselves() -> None:
    keys, score = np.full(3, LOWEST, np.int64), np.array([[1, 2, 3], [4, 2, 3]], np.int64)
    rows = row_kernel._rows.Rows(columns(keys=keys, score=score), ASKED, REASONS, *TOLD)
    assert rows.best(4) == []
    assert rows.answer() is None
    rows.correct([2, 0])
    assert keys.tolist() == [0, LOWEST, 0]
    assert rows.best(4) == [(0, 0), (2, 0)]
    assert rows.best(1) == [(0, 0)]
    assert rows.answer() == (0, [1], 0, (4,), (("n2", 0),), 2, (), ())


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"static": np.zeros((2, 3), np.int64)}, "static: wanted an aligned array of 1-byte integers in 2 dimensions"),
        ({"keys": np.zeros(3, np.float64)}, "keys: wanted an aligned array of 8-byte integers in 1 dimensions, found"),
        ({"keys": np.zeros(4, np.int64)}, "keys: wanted 3 numbers, found 4"),
        ({"score": np.zeros((3, 2), np.int64)}, "score: wanted 6 numbers, found 6"),
        ({"cpu": np.zeros((4, 1), np.int64)}, "cpu_free: wanted an aligned array"),
        ({"node_counts": np.zeros(9, np.int64)}, "node_counts: wanted 256 numbers, found 9"),
    ],
)
def test_columns_of_other_kinds_are_refused(others: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        row_kernel._rows.Rows(columns(**others), ASKED, REASONS, *TOLD)


def test_nothing_outside_the_columns_is_read() -> None:
    rows = row_kernel._rows.Rows(columns(node_row=np.array([0, 4, -1], np.int64)), ASKED, REASONS, *TOLD)
    for row, words in ((3, "row 3: wanted 0 to 2"), (-1, "row -1"), (1, "node row 4 of row 1"), (2, "node row -1")):
        with pytest.raises(IndexError, match=words):
            rows.correct([row])
    with pytest.raises(ValueError, match="wanted 0 to 12"):
        rows.best(13)
    with pytest.raises(TypeError, match="wanted a list"):
        rows.correct((1,))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        rows.correct(["x"])  # type: ignore[list-item]
    locked = np.zeros(3, np.int64)
    locked.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        row_kernel._rows.Rows(columns(keys=locked), ASKED, REASONS, *TOLD)
    with pytest.raises(ValueError, match="wanted 20 columns, found 0"):
        row_kernel._rows.Rows((), ASKED, REASONS, *TOLD)
    with pytest.raises(ValueError, match="wanted reasons of codes 0 to 253, found 450 from 1 on"):
        row_kernel._rows.Rows(columns(), ASKED, REASONS, DEVICE_REASONS * 30, 1, NODE_REASONS, [])
    with pytest.raises(ValueError, match="a share of 0 to 100000"):
        row_kernel._rows.Rows(columns(), (0, *ASKED[1:]), REASONS, *TOLD)  # type: ignore[arg-type]
