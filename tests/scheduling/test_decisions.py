"""What a decision chooses and what it says about the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.core import Taint, Toleration
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.cycle import PLAIN_MODE, decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.scoring import policy_of, scale_of, scores
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, device, fleet, node, plain, pod, preferred, required, requirement, run, term


def refused(state: State, one: PodFacts) -> Unschedulable:
    with pytest.raises(Unschedulable) as caught:
        decide(state, one)
    return caught.value


class TestPlacementModes:
    def test_compact_first_fills_a_device_before_the_next_one(self) -> None:
        state = fleet(pool=PoolFacts("pool", "CompactFirst"))
        assert run(state, pod("a")).placement == run(state, pod("b")).placement == Placement("n0", ("n0-0",))

    def test_low_load_first_goes_to_the_emptiest_node_and_device(self) -> None:
        state = fleet(pool=PoolFacts("pool", "LowLoadFirst"))
        chosen = [run(state, pod(name)).placement.devices for name in "abcd"]
        assert chosen == [("n0-0",), ("n1-0",), ("n0-1",), ("n1-1",)]

    @pytest.mark.parametrize("mode", ["NodeCompactGPULowLoad", "", "unheard-of"])
    def test_the_default_packs_nodes_and_spreads_over_their_devices(self, mode: str) -> None:
        state = fleet(pool=PoolFacts("pool", mode))
        chosen = [run(state, pod(name)).placement.devices for name in "abc"]
        assert chosen == [("n0-0",), ("n0-1",), ("n0-0",)]

    def test_a_changed_mode_counts_for_what_is_held_already(self) -> None:
        state = fleet(pool=PoolFacts("pool", "CompactFirst"))
        run(state, pod("a"))
        state.upsert_pool(PoolFacts("pool", "LowLoadFirst"))
        assert decide(state, pod("b")).placement.node == "n1"

    @pytest.mark.parametrize(
        ("mode", "held", "expected"),
        [
            ("CompactFirst", (0, 0), (0, 0)),
            ("CompactFirst", (50, 50), (50, 50)),
            ("CompactFirst", (100, 0), (30, 30)),
            ("CompactFirst", (0, 100), (70, 70)),
            ("LowLoadFirst", (100, 0), (70, 70)),
            ("NodeCompactGPULowLoad", (10, 20), (17, 83)),
            ("NodeCompactGPULowLoad", (5, 0), (2, 99)),  # 1.5 and 98.5 round up
            ("CompactFirst", (250, 250), (100, 100)),
            ("LowLoadFirst", (250, 250), (0, 0)),
        ],
    )
    def test_scores_weigh_vram_and_compute(self, mode: str, held: tuple[int, int], expected: tuple[int, int]) -> None:
        policy = policy_of(PoolFacts("pool", mode))
        assert (
            scores(policy, scale_of(policy, compute=100, vram=100), compute_held=held[0], vram_held=held[1]) == expected
        )

    def test_the_node_score_is_the_mean_over_all_devices_matching_or_not(self) -> None:
        state = fleet(1, 2, pool=PoolFacts("pool", "CompactFirst"))
        run(state, pod("a", compute=50 * TFLOPS, vram=40 * GIB, indices=(0,)))
        assert decide(state, pod("b", indices=(1,))).score == 25

    def test_a_pending_device_counts_a_quarter_for_its_node(self) -> None:
        state = fleet(1, 1, pool=PoolFacts("pool", "LowLoadFirst"))
        state.upsert_device(device("n0-1", "n0", phase="Pending"))
        assert decide(state, pod()).score == (100 + 25) // 2

    def test_ties_go_to_the_node_that_came_first_and_the_lowest_index(self) -> None:
        state = State()
        for name in ("z", "a"):
            state.upsert_node(node(name))
        for name, where in (("d-2", "z"), ("d-0", "z"), ("d-1", "z"), ("e-0", "a")):
            state.upsert_device(device(name, where))
        assert decide(state, pod(count=2)).placement == Placement("z", ("d-0", "d-1"))

    def test_devices_are_in_the_order_of_their_index_then_of_their_name(self) -> None:
        state = State()
        state.upsert_node(node("n0"))
        for name, index in (("a-0", 3), ("z-0", 1), ("c-0", 2), ("b-0", 2)):
            state.upsert_device(device(name, "n0", index=index))
        assert decide(state, pod(count=4)).placement.devices == ("z-0", "b-0", "c-0", "a-0")
        state.upsert_device(device("a-0", "n0", index=0))
        assert decide(state, pod()).placement.devices == ("a-0",)

    def test_new_nodes_take_the_places_of_gone_ones_lowest_first(self) -> None:
        state = fleet(5, 1)
        for name in ("n4", "n1", "n2"):
            state.remove_device(f"{name}-0")
            state.remove_node(name)
        for name in ("x", "y", "z"):
            state.upsert_node(node(name))
            state.upsert_device(device(f"{name}-0", name))
        decision = decide(state, pod())
        assert [decision.placement.node, *(name for name, _ in decision.alternatives)] == ["n0", "x", "y", "n3"]
        assert [record.name for record in state.nodes()] == ["n0", "x", "y", "n3", "z"]

    def test_the_next_best_nodes_are_recorded(self) -> None:
        state = fleet(6, 1)
        run(state, pod("a", indices=(0,)), pod("b"))
        decision = decide(state, pod("c"))
        assert decision.alternatives == (("n1", 0), ("n2", 0), ("n3", 0))
        assert (decision.nodes, decision.feasible, decision.devices) == (6, 6, 6)
        assert (decision.score, decision.device_scores) == (24, (77,))  # 23.5 and 76.5: halves round up


class TestDeviceFilters:
    @pytest.mark.parametrize(
        ("facts", "wishes", "reason"),
        [
            ({"phase": "Pending"}, {}, "phase"),
            ({"used_by": "nvidia-device-plugin"}, {}, "used-by"),
            ({}, {"indices": (7,)}, "index"),
            ({"index": -1}, {"indices": (0,)}, "index"),
            ({"isolation_mode": "hard"}, {}, "isolation"),
            ({"capabilities": frozenset({Isolation.HARD})}, {}, "isolation"),
            ({"isolation_policy": "Dynamic"}, {"isolation": Isolation.PARTITIONED}, "isolation"),
            ({}, {"vendor": "AMD"}, "vendor"),
            ({}, {"model": "H100"}, "model"),
            ({}, {"compute": 101 * TFLOPS}, "compute"),
            ({}, {"vram": 81 * GIB}, "vram"),
            ({}, {"count": 3}, "count"),
        ],
    )
    def test_each_device_is_counted_under_the_filter_that_removed_it(
        self, facts: dict[str, object], wishes: dict[str, object], reason: str
    ) -> None:
        assert refused(fleet(2, 2, **facts), pod(**wishes)).reasons == {reason: 4}

    def test_a_device_is_counted_once_under_the_first_of_several_filters(self) -> None:
        state = fleet(1, 1, phase="Unknown", model="NVIDIA L4")
        assert refused(state, pod(model="H100", vram=100 * GIB)).reasons == {"phase": 1}

    def test_devices_of_other_pools_are_counted_and_never_chosen(self) -> None:
        state = fleet(1, 1)
        state.upsert_device(device("x-0", "n0", pool="other"))
        decision = decide(state, pod())
        assert (decision.placement.devices, decision.counts) == (("n0-0",), {"pool": 1})
        assert refused(state, pod(vram=100 * GIB)).reasons == {"pool": 1, "vram": 1}

    @pytest.mark.parametrize("wanted", ["A100", "A100_SXM_80G", "NVIDIA A100-SXM4-80GB"])
    def test_a_model_is_named_by_family_or_catalogue_or_driver(self, wanted: str) -> None:
        assert decide(fleet(), pod(model=wanted)).placement.node == "n0"

    def test_several_devices_come_from_one_node(self) -> None:
        state = fleet(2, 2)
        run(state, pod("a", vram=75 * GIB))
        decision = decide(state, pod("b", count=2))
        assert decision.placement == Placement("n1", ("n1-0", "n1-1"))
        assert decision.counts == {"vram": 1, "count": 1}

    def test_percent_is_of_the_device_it_lands_on_rounded_down(self) -> None:
        state = fleet(1, 1, compute=999)
        run(state, *(pod(str(i), compute=0, percent=33_334, vram=GIB) for i in range(2)))
        assert [gpu.compute_held for gpu in state.devices()] == [2 * 333]
        assert decide(state, pod("c", compute=333, vram=GIB)).placement.node == "n0"
        assert refused(state, pod("c", compute=0, percent=33_500, vram=GIB)).reasons == {"compute": 1}

    def test_limits_never_take_part_in_placement(self) -> None:
        state = fleet(1, 1)
        wishes = {"compute_limit": 100 * TFLOPS, "vram_limit": 80 * GIB}
        assert run(state, pod("a", **wishes), pod("b", **wishes)).placement.devices == ("n0-0",)

    def test_a_device_that_changes_counts_at_once(self) -> None:
        state = fleet(1, 1)
        assert decide(state, pod()).placement.node == "n0"
        state.upsert_device(device("n0-0", "n0", phase="Unknown"))
        assert refused(state, pod()).reasons == {"phase": 1}
        state.upsert_device(device("n0-0", "n0", compute=50 * TFLOPS))
        assert refused(state, pod(compute=60 * TFLOPS)).reasons == {"compute": 1}
        assert decide(state, pod(compute=0, percent=100_000)).placement.node == "n0"

    def test_models_that_join_later_are_told_apart(self) -> None:
        state = fleet(1, 1)
        assert refused(state, pod(model="H100")).reasons == {"model": 1}
        state.upsert_device(device("n0-1", "n0", model="NVIDIA H100 80GB HBM3"))
        assert decide(state, pod(model="H100")).placement.devices == ("n0-1",)


class TestIsolation:
    def test_shared_takes_a_wholly_free_device_whole(self) -> None:
        state = fleet(1, 2)
        run(state, pod("a"))
        assert run(state, pod("b", isolation=Isolation.SHARED)).placement.devices == ("n0-1",)
        held = {gpu.name: (gpu.compute_free, gpu.vram_free) for gpu in state.devices()}
        assert held["n0-1"] == (0, 0)
        assert refused(state, pod("c", isolation=Isolation.SHARED)).reasons == {"in-use": 2}

    def test_shared_goes_on_a_device_of_any_mode(self) -> None:
        assert decide(fleet(isolation_mode="hard"), pod(isolation=Isolation.SHARED)).placement.node == "n0"

    def test_nothing_joins_a_shared_device_not_even_a_share_of_nothing(self) -> None:
        state = fleet(1, 1)
        run(state, pod("a", isolation=Isolation.SHARED))
        assert refused(state, pod("b", compute=0, vram=0)).reasons == {"in-use": 1}
        state.release("uid-a")
        run(state, pod("c"))
        assert run(state, pod("b", compute=0, vram=0)).placement.devices == ("n0-0",)

    def test_a_dynamic_device_keeps_the_mode_of_its_first_share_until_it_is_idle(self) -> None:
        state = fleet(1, 1, isolation_policy="Dynamic", isolation_mode="soft")
        run(state, pod("a", isolation=Isolation.HARD))
        assert refused(state, pod("b")).reasons == {"other-mode": 1}
        assert run(state, pod("c", isolation=Isolation.HARD)).placement.node == "n0"
        state.release("uid-a")
        state.release("uid-c")
        assert decide(state, pod("b")).placement.node == "n0"

    def test_a_dynamic_device_with_two_modes_takes_neither(self) -> None:
        state = fleet(1, 1, isolation_policy="Dynamic")
        state.confirm(pod("a"), Placement("n0", ("n0-0",)))
        state.confirm(pod("b", isolation=Isolation.HARD), Placement("n0", ("n0-0",)))
        assert refused(state, pod("c")).reasons == {"other-mode": 1}
        assert refused(state, pod("d", isolation=Isolation.HARD)).reasons == {"other-mode": 1}


ZONES = required(term(requirement("zone", "In", "a", "b")))
CORDON = Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule")


class TestNodeFilters:
    @pytest.mark.parametrize(
        ("facts", "own", "reason"),
        [
            ({"ready": False}, {}, "not-ready"),
            ({"ready": False}, {"tolerations": (Toleration(operator="Exists"),)}, "not-ready"),
            ({"unschedulable": True}, {}, "unschedulable"),
            ({"taints": (Taint("k", "v", "NoSchedule"),)}, {}, "taint"),
            ({"taints": (Taint("k", "v", "NoExecute"),)}, {"tolerations": (Toleration("k", "Equal", "w"),)}, "taint"),
            ({"taints": (Taint("k", "", "NoSchedule"),)}, {"tolerations": (CORDON,)}, "taint"),
            ({}, {"node_selector": {"zone": "a"}}, "node-selector"),
            ({"labels": {"zone": "c"}}, {"affinity": ZONES}, "node-affinity"),
            ({"labels": {"zone": "a"}}, {"affinity": required()}, "node-affinity"),
            ({"labels": {"zone": "a"}}, {"affinity": required(term())}, "node-affinity"),
            ({"labels": {"gen": "3"}}, {"affinity": required(term(requirement("gen", "Gt", "3")))}, "node-affinity"),
            ({"labels": {"gen": "x"}}, {"affinity": required(term(requirement("gen", "Lt", "3")))}, "node-affinity"),
            ({"cpu": 999}, {"cpu": 1000}, "cpu"),
            ({"memory": GIB - 1}, {"memory": GIB}, "memory"),
            ({"pods": 0}, {}, "pods"),
            ({"extended": {"a/b": 1}}, {"extended": {"a/b": 2}}, "resources"),
            ({}, {"extended": {"never/heard": 1}}, "resources"),
        ],
    )
    def test_a_node_is_counted_under_the_rule_that_removed_it(
        self, facts: dict[str, object], own: dict[str, object], reason: str
    ) -> None:
        state = fleet(1, 1)
        state.upsert_node(node("n0", **facts))
        assert refused(state, pod(**own)).reasons == {reason: 1}
        assert refused(state, plain(**own)).reasons == {reason: 1}

    @pytest.mark.parametrize(
        ("facts", "own"),
        [
            ({"unschedulable": True}, {"tolerations": (CORDON,)}),
            (
                {"unschedulable": True, "taints": (Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),)},
                {"tolerations": (CORDON,)},
            ),
            ({"taints": (Taint("k", "v", "NoSchedule"),)}, {"tolerations": (Toleration("k", "Equal", "v"),)}),
            ({"taints": (Taint("k", "v", "NoExecute"),)}, {"tolerations": (Toleration("k", "Exists"),)}),
            ({"taints": (Taint("k", "v", "NoExecute"),)}, {"tolerations": (Toleration(operator="Exists"),)}),
            ({"taints": (Taint("k", "v", "PreferNoSchedule"),)}, {}),
            ({"labels": {"zone": "a"}}, {"node_selector": {"zone": "a"}}),
            ({"labels": {"zone": "b"}}, {"affinity": ZONES}),
            ({}, {"affinity": required(term(requirement("zone", "DoesNotExist")))}),
            ({}, {"affinity": required(term(requirement("zone", "NotIn", "a")))}),
            (
                {"labels": {"zone": "c"}},
                {"affinity": required(term(requirement("zone", "In", "a")), term(requirement("zone", "Exists")))},
            ),
            ({}, {"affinity": required(term(fields=[requirement("metadata.name", "In", "n0")]))}),
            ({"extended": {"a/b": 2}}, {"extended": {"a/b": 2}}),
        ],
    )
    def test_a_node_that_the_rules_allow_is_taken(self, facts: dict[str, object], own: dict[str, object]) -> None:
        state = fleet(1, 1)
        state.upsert_node(node("n0", **facts))
        assert decide(state, pod(**own)).placement == Placement("n0", ("n0-0",))
        assert decide(state, plain(**own)).placement == Placement("n0")

    def test_what_running_pods_take_of_a_node_counts(self) -> None:
        state = fleet(1, 1)
        state.upsert_node(node("n0", cpu=1000, memory=GIB, pods=2, extended={"a/b": 1}))
        state.confirm(plain("x", cpu=600, memory=600 << 20, extended={"a/b": 1}), Placement("n0"))
        assert refused(state, plain(cpu=500)).reasons == {"cpu": 1}
        assert refused(state, plain(memory=500 << 20)).reasons == {"memory": 1}
        assert refused(state, plain(extended={"a/b": 1})).reasons == {"resources": 1}
        run(state, plain("y"))
        assert refused(state, plain("z")).reasons == {"pods": 1}

    def test_a_node_takes_no_more_workers_than_its_pool_allows(self) -> None:
        state = fleet(1, 1, pool=PoolFacts("pool", max_workers_per_node=1))
        run(state, plain("x"), pod("a"))
        assert refused(state, pod("b")).reasons == {"workers": 1}
        state.upsert_pool(PoolFacts("pool", max_workers_per_node=0))
        assert decide(state, pod("b")).placement.node == "n0"

    def test_devices_of_a_node_that_is_not_registered_are_not_used(self) -> None:
        state = fleet(1, 1)
        assert decide(state, pod()).feasible == 1
        state.remove_node("n0")
        assert refused(state, pod()).reasons == {"absent": 1}

    def test_a_changed_label_or_cordon_counts_at_once(self) -> None:
        state = fleet(2, 1)
        wants = pod(node_selector={"zone": "a"})
        assert refused(state, wants).reasons == {"node-selector": 2}
        state.upsert_node(node("n1", labels={"zone": "a"}))
        assert decide(state, wants).placement.node == "n1"
        state.upsert_node(node("n1", labels={"zone": "a"}, unschedulable=True))
        assert refused(state, wants).reasons == {"node-selector": 1, "unschedulable": 1}

    def test_answers_stay_right_while_the_fleet_outgrows_its_columns(self) -> None:
        state = fleet(1, 1)
        wants = pod(node_selector={"zone": "a"})
        refused(state, wants)
        for i in range(1, 100):
            state.upsert_node(node(f"n{i}", labels={"zone": "a"} if i == 77 else {}))
            state.upsert_device(device(f"n{i}-0", f"n{i}"))
        assert decide(state, wants).placement.node == "n77"
        assert decide(state, pod()).nodes == 100


class TestPreferences:
    def test_preferred_affinity_adds_its_weight_to_the_node(self) -> None:
        state = fleet(2, 1)
        state.upsert_node(node("n1", labels={"zone": "a"}))
        run(state, pod("a", compute=20 * TFLOPS, vram=16 * GIB))  # n0 scores 20
        weak, strong = (preferred((weight, term(requirement("zone", "In", "a")))) for weight in (19, 21))
        assert decide(state, pod("b", affinity=weak)).placement.node == "n0"
        decision = decide(state, pod("b", affinity=strong))
        assert (decision.placement.node, decision.score) == ("n1", 21)

    def test_a_soft_taint_only_breaks_ties(self) -> None:
        state = fleet(2, 1)
        state.upsert_node(node("n0", taints=(Taint("k", "v", "PreferNoSchedule"),)))
        assert decide(state, pod("a")).placement.node == "n1"
        tolerant = pod("b", tolerations=(Toleration("k", "Exists"),))
        assert decide(state, tolerant).placement.node == "n0"
        run(state, tolerant)
        decision = decide(state, pod("c"))
        assert (decision.placement.node, decision.score) == ("n0", 12)


class TestPlainPods:
    def test_nodes_without_devices_come_first(self) -> None:
        state = fleet(1, 1)
        state.confirm(plain("x", cpu=32_000), Placement("n0"))
        state.upsert_node(node("cpu-0"))
        assert decide(state, plain()).placement == Placement("cpu-0")

    def test_then_the_fullest_node_that_has_room(self) -> None:
        state = State()
        for i, used in enumerate((1000, 8000, 15_500)):
            state.upsert_node(node(f"cpu-{i}", cpu=16_000))
            state.confirm(plain(f"x{i}", cpu=used), Placement(f"cpu-{i}"))
        decision = decide(state, plain(cpu=1000))
        assert (decision.placement.node, decision.mode, decision.score) == ("cpu-1", PLAIN_MODE, 25)
        assert decision.counts == {"cpu": 1}
        assert decision.alternatives == (("cpu-0", 3),)

    def test_gpu_nodes_are_taken_when_nothing_else_fits(self) -> None:
        state = fleet(1, 1)
        state.upsert_node(node("cpu-0", cpu=100))
        assert decide(state, plain(cpu=200)).placement == Placement("n0")

    def test_a_node_that_lost_its_devices_is_an_ordinary_node(self) -> None:
        state = fleet(2, 1)
        state.remove_device("n1-0")
        assert decide(state, plain()).placement == Placement("n1")


class TestMessages:
    def test_the_line_counts_reasons_and_says_what_was_asked_for(self) -> None:
        state = fleet(3, 2)
        state.upsert_node(node("n2", unschedulable=True))
        for i in range(2):
            state.upsert_device(device(f"n0-{i}", "n0", model="NVIDIA L4"))
            state.confirm(pod(f"x{i}", vram=80 * GIB), Placement("n1", (f"n1-{i}",)))
        error = refused(state, pod(count=2, model="A100", vram=GIB + GIB // 2, cpu=1500, memory=GIB))
        assert str(error) == (
            "0/3 nodes are available: 2 devices: of another model, 2 devices: not enough vram, 1 node: cordoned. "
            "Requested: 2 x (10 TFLOPS, 1.5Gi vram) on A100 of pool pool, 1500m cpu, 1Gi memory"
        )

    @pytest.mark.parametrize(
        ("one", "text"),
        [
            (pod(pool="other"), "pool other has no devices. Requested: 1 x (10 TFLOPS, 10Gi vram) of pool other"),
            (pod(pool=""), "the pod names no pool. Requested: 1 x (10 TFLOPS, 10Gi vram) of pool (none)"),
            (pod(compute=0, percent=50_000, indices=(9,)), "Requested: 1 x (50% compute, 10Gi vram) on index 9 of"),
            (plain(cpu=10**9, extended={"a/b": 2}), "1 node: not enough cpu. Requested: 1000000 cpu, 2 a/b"),
            (plain(node_selector={"a": "b"}), "1 node: not matching the node selector. Requested: nothing but a place"),
        ],
    )
    def test_special_cases_have_their_words(self, one: PodFacts, text: str) -> None:
        message = str(refused(fleet(1, 1), one))
        assert text in message
        assert "\n" not in message

    def test_an_empty_cluster_says_so(self) -> None:
        assert str(refused(State(), plain())).startswith("0/0 nodes are available: no node is registered.")

    def test_whole_devices_are_named_as_such(self) -> None:
        state = fleet(1, 1)
        run(state, pod("a"))
        one = PodFacts("u", "team", "b", request=GpuRequest("pool", isolation=Isolation.SHARED))
        assert str(refused(state, one)) == (
            "0/1 nodes are available: 1 device: not wholly free. Requested: 1 x whole device of pool pool"
        )


@given(compute=st.integers(0, 10**9), vram=st.integers(0, 10**15), percent=st.integers(0, 100_000))
def test_limits_never_take_part_in_placement(compute: int, vram: int, percent: int) -> None:
    """Limits may exceed the device: the virtual capacity bounds their sum in reports only."""
    state = fleet(nodes=2, devices=2)
    for number in range(10):  # forty of a hundred TFLOPS and GiB of one node's devices are asked for, limits are wild
        held = pod(f"held-{number}", compute_limit=compute, vram_limit=vram)
        state.assume(held, decide(state, held).placement)
    bare, bursting = pod(), pod(compute_limit=compute, percent_limit=percent, vram_limit=vram)
    assert decide(state, bursting) == decide(state, bare)
    assert sum(device.compute_free for device in state.devices()) == 300 * TFLOPS
