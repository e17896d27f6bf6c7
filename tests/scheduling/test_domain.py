"""A scheduler that has a part of the fleet chooses from that part as if the rest were cordoned."""

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import NotFit
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.domain import Domain
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts, PoolFacts
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.state import State

NODES = [f"n{number}" for number in range(6)]
GIB = 1 << 30


def fleet(*, cordoned: Collection[str] = ()) -> State:
    """Four nodes with two devices in pools a and b, and two without any."""
    state = State()
    for pool in "ab":
        state.upsert_pool(PoolFacts(pool))
    for place, name in enumerate(NODES):
        state.upsert_node(NodeFacts(name, cpu=4000, memory=8 * GIB, unschedulable=name in cordoned))
        for index in range(2 if place < 4 else 0):
            device = DeviceFacts(f"{name}-{index}", name, "ab"[place // 2], index=index, compute=100_000, vram=8 * GIB)
            state.upsert_device(device)
    return state


pods = st.lists(
    st.one_of(
        st.builds(lambda cpu: (cpu * 1000, None), st.integers(0, 3)),
        st.builds(
            lambda cpu, pool, share: (cpu * 500, (pool, share)),
            st.integers(0, 2),
            st.sampled_from("ab"),
            st.integers(1, 9),
        ),
    ),
    max_size=16,
)


def pod(number: int, cpu: int, share: tuple[str, int] | None) -> PodFacts:
    request = None if share is None else GpuRequest(pool=share[0], compute=share[1] * 10_000, vram=GIB)
    return PodFacts(f"u{number}", "default", f"p{number}", request=request, cpu=cpu, memory=GIB // 8)


def placed(state: State, one: PodFacts) -> tuple[str, ...] | None:
    try:
        placement = decide(state, one).placement
    except NotFit:
        return None
    state.assume(one, placement)
    return placement.node, *placement.devices


@given(st.sets(st.sampled_from(NODES)), pods)
def test_a_part_of_the_fleet_is_placed_on_as_if_the_rest_were_cordoned(
    mine: set[str], wanted: list[tuple[int, tuple[str, int] | None]]
) -> None:
    state, other = fleet(), fleet(cordoned=set(NODES) - mine)
    state.domain = Domain(mine.__contains__)
    for number, (cpu, share) in enumerate(wanted):
        one = pod(number, cpu, share)
        found = placed(state, one)
        assert found == placed(other, one)
        assert found is None or found[0] in mine


def test_another_part_is_asked_for_after_a_change_and_new_nodes_are_asked_about_at_once() -> None:
    state, mine = fleet(), {"n4"}
    state.domain = Domain(mine.__contains__)
    assert placed(state, pod(0, 1000, None)) == ("n4",)
    mine.clear()
    mine.add("n9")
    state.domain.changed()
    assert placed(state, pod(1, 1000, None)) is None
    state.upsert_node(NodeFacts("n9", cpu=4000, memory=8 * GIB))
    assert placed(state, pod(1, 1000, None)) == ("n9",)
    state.remove_node("n5")
    state.upsert_node(NodeFacts("n10", cpu=4000, memory=8 * GIB))
    assert placed(state, pod(2, 3500, None)) is None, "the row of a node that went is not the next one's"


def test_a_refusal_counts_the_fitting_nodes_of_others_and_questions_may_be_about_all() -> None:
    state = fleet()
    state.domain = Domain(lambda _: False)
    one = pod(0, 1000, ("a", 1))
    try:
        decide(state, one)
    except NotFit as failure:
        assert failure.reasons[NodeReason.OTHER_OWNER] == 2
        assert "2 nodes: placed on by another scheduler" in str(failure)
    with state.everywhere():
        assert decide(state, one).placement.node == "n0"
    assert state.domain is not None
