"""Who holds what: charged once, given back once, through loss and return of devices and nodes."""

from dataclasses import replace

import pytest

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PoolFacts, QuotaFacts
from tensorfusion.scheduling.hints import ChangeKind
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, run

HERE = Placement("n0", ("n0-0",))


def free(state: State, name: str = "n0-0") -> tuple[int, int]:
    """TFLOPS and GiB left of a device."""
    gpu = state.fleet.devices[name]
    return gpu.compute_free // TFLOPS, gpu.vram_free // GIB


@pytest.mark.parametrize(
    ("one", "placement", "words"),
    [
        (pod(), Placement("n9", ("n0-0",)), "node n9 is not registered"),
        (pod(), Placement("n0", ("n1-0",)), "device n1-0 is not on node n0"),
        (pod(), Placement("n0", ("ghost",)), "device ghost is not on node n0"),
        (pod(pool="other"), HERE, "device n0-0 is not on node n0 in pool other"),
        (pod(), Placement("n0", ()), "1 different devices asked for"),
        (pod(count=2), Placement("n0", ("n0-0", "n0-0")), "2 different devices asked for"),
        (pod(compute=101 * TFLOPS), HERE, "device n0-0 has no room"),
        (pod(vram=81 * GIB), HERE, "device n0-0 has no room"),
        (pod(cpu=65_000), HERE, "node n0 has no room"),
        (plain(memory=1 << 50), Placement("n0"), "node n0 has no room"),
        (plain(extended={"a/b": 1}), Placement("n0"), "less than 1 a/b"),
    ],
)
def test_an_assumption_that_does_not_fit_is_refused_and_charges_nothing(one, placement: Placement, words: str) -> None:
    state = fleet()
    with pytest.raises(NotHoldable, match=words):
        state.assume(one, placement)
    assert not state.allocations
    assert free(state) == (100, 80)


def test_an_assumption_beyond_the_workers_of_a_node_or_the_quota_is_refused() -> None:
    state = fleet(pool=PoolFacts("pool", max_workers_per_node=1))
    run(state, pod("a"))
    with pytest.raises(NotHoldable, match="max workers per node 1"):
        state.assume(pod("b"), HERE)
    state.set_quota(QuotaFacts("team", total_workers=1))
    with pytest.raises(QuotaExceeded):
        state.assume(pod("c"), Placement("n1", ("n1-0",)))


def test_a_pod_is_charged_once_however_often_it_is_assumed_or_confirmed() -> None:
    state = fleet()
    state.assume(pod(), HERE)
    with pytest.raises(NotHoldable, match="pod team/pod is already placed on n0 n0-0"):
        state.assume(pod(), Placement("n1", ("n1-0",)))
    for _ in range(2):
        assert state.confirm(pod(), HERE) == ()
    assert free(state) == (90, 70)
    assert state.allocations["uid-pod"].confirmed


def test_a_placement_is_the_same_whatever_it_says_of_capacities() -> None:
    bound = Placement("n0", ("n0-0",), capacities=(7,))
    assert bound == Placement("n0", ("n0-0",))
    assert hash(bound) == hash(Placement("n0", ("n0-0",)))
    assert bound != Placement("n0", ("n0-1",), capacities=(7,))
    assert bound != Placement("n1", ("n0-0",), capacities=(7,))
    assert bound != ("n0", ("n0-0",), ())


def test_forgetting_undoes_an_assumption_and_leaves_a_confirmed_pod_alone() -> None:
    state = fleet()
    state.assume(pod(), HERE)
    assert state.forget("uid-pod")
    assert state.forget("uid-pod") == ()
    assert free(state) == (100, 80)
    state.confirm(pod(), HERE)
    assert state.forget("uid-pod") == ()
    assert free(state) == (90, 70)


def test_truth_elsewhere_than_assumed_moves_the_charge() -> None:
    state = fleet()
    state.assume(pod(), HERE)
    freed = state.confirm(pod(), Placement("n1", ("n1-1",)))
    assert [change.device.name for change in freed if change.device is not None] == ["n0-0"]
    assert (free(state), free(state, "n1-1")) == ((100, 80), (90, 70))


def test_truth_of_another_size_is_charged_anew() -> None:
    state = fleet()
    state.assume(pod(), HERE)
    state.confirm(pod(compute=20 * TFLOPS), HERE)
    assert free(state) == (80, 70)


def test_truth_beyond_capacity_is_charged_and_reported_until_it_ends() -> None:
    state = fleet()
    for name in "ab":
        state.confirm(pod(name, vram=50 * GIB), HERE)
    assert [gpu.name for gpu in state.overcommitted()] == ["n0-0"]
    assert free(state) == (80, -20)
    state.remove_device("n0-0")
    assert state.overcommitted() == ()
    state.upsert_device(device("n0-0", "n0"))
    assert [gpu.name for gpu in state.overcommitted()] == ["n0-0"]
    state.release("uid-a")
    assert state.overcommitted() == ()


def test_a_device_keeps_its_holders_through_loss_and_return() -> None:
    state = fleet()
    run(state, pod("a"), pod("whole", isolation=Isolation.SHARED))
    for name in ("n0-0", "n0-1"):
        state.remove_device(name)
    state.release("uid-whole")
    assert run(state, pod("b")).placement.node == "n1"
    for name in ("n0-0", "n0-1"):
        state.upsert_device(device(name, "n0"))
    assert (free(state), free(state, "n0-1")) == ((90, 70), (100, 80))


def test_holders_known_before_their_device_count_when_it_appears() -> None:
    state = State()
    state.confirm(pod("a", compute=0, percent=10_000), HERE)
    state.confirm(pod("b", isolation=Isolation.SHARED), Placement("n0", ("n0-1",)))
    state.upsert_device(device("n0-0", "n0"))
    state.upsert_device(device("n0-1", "n0"))
    state.upsert_node(node("n0"))
    assert (free(state), free(state, "n0-1")) == ((90, 70), (0, 0))
    assert state.usage("team").compute == 20 * TFLOPS


def test_a_smaller_capacity_is_followed_and_reported() -> None:
    state = fleet()
    run(state, pod("a", vram=60 * GIB))
    state.upsert_device(device("n0-0", "n0", vram=40 * GIB))
    assert free(state) == (90, -20)
    assert [gpu.name for gpu in state.overcommitted()] == ["n0-0"]
    state.upsert_device(device("n0-0", "n0"))
    assert state.overcommitted() == ()


def test_a_device_may_move_to_another_node_and_pool_with_its_holders() -> None:
    state = fleet()
    run(state, pod("a"))
    state.upsert_device(device("n0-0", "n1", pool="other"))
    assert free(state) == (90, 70)
    assert decide(state, pod("b", pool="other", vram=70 * GIB)).placement == Placement("n1", ("n0-0",))
    assert decide(state, pod("c")).devices == 3


def test_a_node_keeps_what_its_pods_hold_through_loss_and_return() -> None:
    state = State()
    state.upsert_node(node("n0", cpu=1000))
    state.confirm(plain("a", cpu=600), Placement("n0"))
    state.remove_node("n0")
    assert list(state.nodes()) == []
    state.upsert_node(node("n0", cpu=1000))
    assert next(state.nodes()).cpu_free == 400
    state.remove_node("n0")
    state.release("uid-a")
    state.upsert_node(node("n0", cpu=1000))
    assert next(state.nodes()).cpu_free == 1000


def test_nodes_that_come_and_go_leave_nothing_behind() -> None:
    state = fleet(1, 1)
    rows = state.fleet.nodes.size
    for i in range(100):
        name = f"spot-{i}"
        state.upsert_node(node(name, extended={"a/b": 1}))
        state.upsert_device(device(f"{name}-0", name, pool="spot"))
        state.confirm(pod(name, pool="spot", extended={"a/b": 1}), Placement(name, (f"{name}-0",)))
        state.remove_device(f"{name}-0")
        state.remove_node(name)
        state.release(f"uid-{name}")
    assert (state.fleet.nodes.size, len(state.fleet.nodes.records), len(state.fleet.devices)) == (rows, 1, 1)
    assert set(state.fleet.pools) == {"pool"}
    assert state.quotas.namespaces() == []


def test_facts_that_did_not_change_change_nothing() -> None:
    state = fleet(1, 1)
    assert state.upsert_node(node("n0")) == ()
    assert state.upsert_device(device("n0-0", "n0")) == ()
    assert state.upsert_pool(PoolFacts("pool")) == ()
    assert [change.kind for change in state.upsert_pool(PoolFacts("pool", "CompactFirst"))] == [ChangeKind.POOL]


def test_removing_what_is_not_there_is_no_error() -> None:
    state = State()
    assert state.remove_node("x") == state.remove_device("x") == state.remove_pool("x") == state.remove_quota("x") == ()
    assert state.release("x") == state.forget("x") == ()


def test_a_pool_without_policy_places_by_the_default_one() -> None:
    state = fleet(pool=PoolFacts("pool", "LowLoadFirst"))
    state.remove_pool("pool")
    assert decide(state, pod()).mode == "NodeCompactGPULowLoad"


class TestCheckpoints:
    def test_rollback_undoes_charges_and_releases(self) -> None:
        state = fleet()
        run(state, pod("a"))
        mark = state.checkpoint()
        state.release("uid-a")
        run(state, pod("b", vram=80 * GIB))
        state.confirm(pod("b", vram=80 * GIB), HERE)
        state.rollback(mark)
        assert set(state.allocations) == {"uid-a"}
        assert not state.allocations["uid-a"].confirmed
        assert free(state) == (90, 70)

    def test_a_confirmation_is_undone_too(self) -> None:
        state = fleet()
        run(state, pod("a"))
        mark = state.checkpoint()
        state.confirm(pod("a"), HERE)
        state.rollback(mark)
        assert state.forget("uid-a")

    def test_an_inner_checkpoint_that_is_kept_goes_with_the_outer_one(self) -> None:
        state = fleet()
        outer = state.checkpoint()
        run(state, pod("a"))
        inner = state.checkpoint()
        run(state, pod("b"))
        state.keep(inner)
        state.rollback(outer)
        assert not state.allocations

    def test_an_inner_rollback_leaves_the_outer_changes(self) -> None:
        state = fleet()
        outer = state.checkpoint()
        run(state, pod("a"))
        inner = state.checkpoint()
        run(state, pod("b"))
        state.rollback(inner)
        state.keep(outer)
        assert set(state.allocations) == {"uid-a"}

    def test_checkpoints_end_once_and_innermost_first(self) -> None:
        state = fleet()
        outer = state.checkpoint()
        inner = state.checkpoint()
        with pytest.raises(ValueError, match="not the innermost"):
            state.rollback(outer)
        state.rollback(inner)
        state.keep(outer)
        with pytest.raises(ValueError, match="not the innermost"):
            state.keep(outer)

    def test_a_release_of_what_is_absent_can_be_undone(self) -> None:
        state = State()
        state.confirm(pod("a", compute=0, percent=10_000), HERE)
        state.upsert_device(device("n0-0", "n0"))
        state.remove_device("n0-0")
        mark = state.checkpoint()
        state.release("uid-a")
        state.rollback(mark)
        assert state.usage("team").compute == 10 * TFLOPS
        state.release("uid-a")
        assert not state.fleet.devices
        assert not state.fleet.nodes.records


@pytest.mark.parametrize("change", [{"protected_until": 50}, {"priority": 3}, {"gang": Gang("team/gang", 2, 2)}])
def test_whether_a_placed_pod_may_have_to_go_is_followed_without_freeing_anything(change) -> None:
    state = fleet()
    state.confirm(pod(), HERE)
    other = replace(pod(), **change)
    mark = state.checkpoint()
    assert state.confirm(other, HERE) == ()
    assert state.allocations["uid-pod"].pod == other
    state.rollback(mark)
    assert state.allocations["uid-pod"].pod == pod()
    assert state.confirm(other, HERE) == ()
    assert state.allocations["uid-pod"].pod == other
    state.release("uid-pod")
    assert free(state) == (100, 80)


def test_a_pod_that_loses_protection_is_noticed() -> None:
    state = fleet()
    state.confirm(pod(), HERE)
    state.confirm(replace(pod(), protected_until=50), HERE)
    before = state.eased
    state.confirm(pod(), HERE)
    assert state.eased > before
