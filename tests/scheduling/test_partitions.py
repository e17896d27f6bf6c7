"""Hardware partitions: the form, its place, and never two on one slot, held against a checker that shares no code."""

from collections import Counter
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.meta import Meta
from tensorfusion.model.partitions import Partition, Profile, partitions_of, partitions_text, profile_of
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.provider_defaults import provider_specs
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import Placement, PodFacts, QuotaFacts
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.partitions import Layout, occupied
from tensorfusion.scheduling.reasons import DeviceReason
from tensorfusion.scheduling.simulate import simulate
from tensorfusion.scheduling.state import State
from worlds import GIB, TFLOPS, fleet, pod, run

A100 = {"model": "NVIDIA A100-SXM4-80GB", "compute": 312 * TFLOPS, "vram": 80 * GIB}
ASCEND = {"vendor": "Ascend", "model": "Ascend 310P3", "compute": 22 * TFLOPS, "vram": 24 * GIB}
FORMS = {  # name: starts, slots, most, GiB, hundred-thousandths of the compute; typed again from the reference
    "1g.10gb": (range(7), 1, 7, 10, 142_857),
    "1g.10gb+me": (range(7), 1, 1, 10, 142_857),
    "1g.20gb": ((0, 2, 4, 6), 2, 4, 20, 142_857),
    "2g.20gb": ((0, 2, 4), 2, 3, 20, 285_714),
    "3g.40gb": ((0, 4), 4, 2, 40, 428_571),
    "4g.40gb": ((0,), 4, 1, 40, 571_428),
    "7g.80gb": ((0,), 8, 1, 80, 1_000_000),
}


@cache
def providers() -> Providers:
    return Providers(ProviderConfig(metadata=Meta(name=name), spec=spec) for name, spec in provider_specs().items())


def profile(vendor: str = "NVIDIA", model: str = A100["model"]) -> Profile:
    found = profile_of(providers(), vendor=vendor, model=model)
    assert found is not None
    return found


def gpus(nodes: int = 1, devices: int = 1, **facts) -> State:
    facts = facts or A100
    made = profile(facts.get("vendor", "NVIDIA"), facts["model"])
    return fleet(nodes, devices, isolation_mode="partitioned", profile=made, **facts)


def part(name: str = "pod", form: str = "", **wishes) -> PodFacts:
    amounts = {"compute": 0, "vram": 0} | wishes
    return pod(name, isolation=Isolation.PARTITIONED, partition=form, **amounts)


def refused(state: State, one: PodFacts) -> dict[DeviceReason, int]:
    with pytest.raises(Unschedulable) as caught:
        decide(state, one)
    return dict(caught.value.reasons)


@pytest.mark.parametrize("name", ["1g.10gb", "mig-1g.10gb", "MIG-1g-10gb", "nv-80g-1g-10gb", "1g 10gb"])
def test_a_template_is_meant_by_id_or_name_however_it_is_spelt(name: str) -> None:
    (partition,) = run(gpus(), part(form=name)).placement.partitions
    assert partition == Partition("nv-80g-1g-10gb", 312_000 * 142_857 // 1_000_000, 10 * GIB, start=0, length=1)


@pytest.mark.parametrize(
    ("wishes", "form"),
    [
        ({"vram": 9 * GIB}, "nv-80g-1g-10gb"),
        ({"vram": 11 * GIB}, "nv-80g-1g-20gb"),
        ({"compute": 50 * TFLOPS, "vram": 11 * GIB}, "nv-80g-2g-20gb"),
        ({"compute": 0, "percent": 40_000}, "nv-80g-3g-40gb"),
        ({"compute": 150 * TFLOPS, "vram": 30 * GIB}, "nv-80g-4g-40gb"),
        ({"compute": 300 * TFLOPS}, "nv-80g-7g-80gb"),
    ],
)
def test_the_least_wasteful_form_that_covers_the_request_is_taken(wishes, form: str) -> None:
    (partition,) = run(gpus(), part(**wishes)).placement.partitions
    assert partition.form == form


def test_a_partition_is_charged_at_its_templates_size() -> None:
    state = gpus()
    run(state, part(compute=TFLOPS, vram=GIB))
    device = state.fleet.devices["n0-0"]
    assert (device.compute_held, device.vram_held) == (44_571, 10 * GIB)
    assert (state.usage("team").compute, state.usage("team").vram_limit) == (44_571, 10 * GIB)


def test_a_device_is_cut_until_no_slot_is_left_and_a_gap_is_used_again() -> None:
    state = gpus()
    placed = [run(state, part(f"p{i}", form)).placement.partitions[0] for i, form in enumerate(("3g.40gb", "2g.20gb"))]
    assert [(one.start, one.length) for one in placed] == [(0, 4), (4, 2)]
    assert refused(state, part(form="3g.40gb")) == {DeviceReason.PARTITION: 1}
    (third,) = run(state, part("p2", "1g.20gb")).placement.partitions
    assert third.start == 6
    assert refused(state, part(form="1g.10gb")) == {DeviceReason.PARTITION: 1}
    state.release("uid-p0")
    (again,) = run(state, part("p3", "2g.20gb")).placement.partitions
    assert again.start == 0


def test_a_larger_form_is_taken_where_the_best_one_has_no_place() -> None:
    state = gpus()
    run(state, part("me", "1g.10gb+me"), *(part(f"p{i}", "2g.20gb") for i in range(2)))
    assert refused(state, part(form="1g.10gb+me")) == {DeviceReason.PARTITION: 1}
    (partition,) = run(state, part("next", vram=15 * GIB)).placement.partitions
    assert (partition.form, partition.start) == ("nv-80g-1g-20gb", 6)


def test_what_no_template_covers_is_told_apart_from_what_has_no_place() -> None:
    assert refused(gpus(), part(vram=81 * GIB)) == {DeviceReason.TEMPLATE: 1}
    assert refused(gpus(), part(form="9g.90gb")) == {DeviceReason.TEMPLATE: 1}
    assert refused(gpus(), part(form="1g.10gb", vram=11 * GIB)) == {DeviceReason.TEMPLATE: 1}
    plain = fleet(1, 1, isolation_mode="partitioned")
    assert refused(plain, part(form="1g.10gb")) == {DeviceReason.TEMPLATE: 1}
    dynamic = fleet(1, 1, isolation_policy="Dynamic", profile=profile(), **A100)
    assert refused(dynamic, part(form="1g.10gb")) == {DeviceReason.ISOLATION: 1}


def test_several_devices_are_cut_for_one_pod() -> None:
    state = gpus(2, 2)
    placement = run(state, part(form="3g.40gb", count=2)).placement
    assert len({*placement.devices}) == len(placement.partitions) == 2
    assert state.usage("team").devices == 2


def test_a_quota_counts_what_a_partition_takes() -> None:
    state = gpus()
    state.set_quota(QuotaFacts("team", total_vram=15 * GIB))
    run(state, part("a", "1g.10gb"))
    second = part("b", "1g.10gb")
    with pytest.raises(QuotaExceeded):
        state.assume(second, decide(state, second).placement)


def test_a_pod_whose_partition_is_larger_than_its_request_is_over_quota_when_it_is_decided() -> None:
    state = gpus()
    state.set_quota(QuotaFacts("team", total_vram=15 * GIB))
    run(state, part("a", "1g.10gb"))
    with pytest.raises(QuotaExceeded, match="requested 20Gi, limit 15Gi"):
        decide(state, part("b", "1g.10gb"))
    state.set_quota(QuotaFacts("team", single_vram=5 * GIB))
    with pytest.raises(QuotaExceeded, match="requested 10Gi, limit 5Gi"):
        decide(state, part("b", "1g.10gb"))


def test_a_place_that_is_taken_cannot_be_assumed() -> None:
    state = gpus()
    first, second = part("a", "3g.40gb"), part("b", "3g.40gb")
    placement = decide(state, first).placement
    state.assume(first, placement)
    with pytest.raises(NotHoldable, match="no place for partition"):
        state.assume(second, placement)
    with pytest.raises(NotHoldable, match="a partition of each device"):
        state.assume(second, Placement(placement.node, placement.devices))


def test_what_is_tried_out_and_undone_leaves_no_partition_behind() -> None:
    state = gpus()
    run(state, part("a", "3g.40gb"))
    mark = state.checkpoint()
    state.release("uid-a")
    run(state, part("b", "7g.80gb"))
    state.rollback(mark)
    assert refused(state, part(form="7g.80gb")) == {DeviceReason.PARTITION: 1}
    assert run(state, part("c", "3g.40gb")).placement.partitions[0].start == 4


def test_partitions_are_recovered_from_annotations_slot_by_slot() -> None:
    state = gpus()
    decision = run(state, part("a", "1g.20gb"), part("b", "3g.40gb"))
    names = decision.placement.devices
    notes = {
        "tensor-fusion.ai/isolation": "partitioned",
        "tensor-fusion.ai/partitions": partitions_text(names, decision.placement.partitions),
    }
    assert partitions_of(notes, names) == decision.placement.partitions
    fresh = gpus()
    fresh.confirm(part("b", "3g.40gb"), Placement("n0", names, partitions_of(notes, names)))
    assert run(fresh, part("c", "3g.40gb")).placement.partitions[0].start == 0
    assert refused(fresh, part(form="1g.20gb")) == {DeviceReason.PARTITION: 1}


def test_a_partition_without_a_recorded_slot_holds_the_first_place_that_fits() -> None:
    lost = Partition("nv-80g-3g-40gb", 133_713, 40 * GIB)
    layout = Layout(profile(), 312_000, 80 * GIB, (lost, Partition("nv-80g-1g-10gb", 1, 1, start=0, length=1)))
    assert occupied(layout) == {0, 4, 5, 6, 7}


def test_a_simulation_names_the_filters_for_partitions() -> None:
    state = gpus(1, 2)
    run(state, part("a", "7g.80gb"))
    told = {stage.filter_name: (stage.before, stage.after) for stage in simulate(state, part("b", "1g.10gb")).stages}
    assert told["PartitionTemplateFilter"] == (("n0-0", "n0-1"), ("n0-0", "n0-1"))
    (left,) = told["PartitionPlacementFilter"][1]
    assert left in ("n0-0", "n0-1")


class TestAscend:
    def test_shared_slices_join_a_group_of_their_kind_and_exclusive_ones_take_an_empty_one(self) -> None:
        state = gpus(**ASCEND)
        groups = [run(state, part(f"p{i}", "vir01")).placement.partitions[0].group for i in range(3)]
        assert groups == [0, 0, 1]
        assert run(state, part("x", "vir02")).placement.partitions[0].group == 2
        assert run(state, part("y", "vir01")).placement.partitions[0].group == 1

    def test_units_are_never_given_out_twice(self) -> None:
        state = gpus(**ASCEND)
        run(state, part("a", "vir04"))
        assert run(state, part("b", "vir02")).placement.partitions[0].group == 1
        # AICPU: 4 + 2 of 7 are taken; a vir02 wants 2
        assert refused(state, part(form="vir02")) == {DeviceReason.PARTITION: 1}


def free_places(name: str, taken: set[int], counts: Counter[str], total: int) -> list[int]:
    starts, length, most, _, _ = FORMS[name]
    if counts[name] >= most or total >= 7:
        return []
    return [start for start in starts if start + length <= 8 and not taken & set(range(start, start + length))]


steps = st.lists(
    st.one_of(
        st.sampled_from(sorted(FORMS)),
        st.integers(0, 30),
        st.tuples(st.integers(0, 320), st.integers(0, 80)),
    ),
    max_size=40,
)


@settings(max_examples=part_of(150), deadline=None)
@given(steps)
def test_no_history_puts_two_partitions_on_one_slot_or_refuses_one_that_has_a_place(history) -> None:
    state, live = gpus(1, 2), {}
    for number, step in enumerate(history):
        if isinstance(step, int):
            if live:
                uid = sorted(live)[step % len(live)]
                del live[uid]
                state.release(uid)
            continue
        if isinstance(step, str):
            one, names = part(f"p{number:02}", step), [step]
        else:
            tflops, gib = step
            one = part(f"p{number:02}", compute=tflops * TFLOPS, vram=gib * GIB)
            names = [
                name
                for name, (_, _, _, size, share) in FORMS.items()
                if size >= gib and 312_000 * share // 1_000_000 >= tflops * TFLOPS
            ]
        try:
            placement = decide(state, one).placement
        except Unschedulable:
            placement = None
        expected = any(free_places(name, *naive(live, device)) for name, device in product(names, ("n0-0", "n0-1")))
        assert (placement is not None) == expected
        if placement is None:
            continue
        state.assume(one, placement)
        (device,), (partition,) = placement.devices, placement.partitions
        found = next(form for form in names if partition.form == "nv-80g-" + form.replace(".", "-").replace("+", "-"))
        assert partition.start in free_places(found, *naive(live, device))
        live[one.uid] = (device, found, partition.start)
        for device in state.devices():
            held = [entry for entry in live.values() if entry[0] == device.name]
            assert device.vram_held == sum(FORMS[entry[1]][3] for entry in held) * GIB
            assert device.compute_held == sum(312_000 * FORMS[entry[1]][4] // 1_000_000 for entry in held)
            assert device.compute_held <= device.compute


def naive(live, device: str) -> tuple[set[int], Counter[str], int]:
    held = [(form, start) for where, form, start in live.values() if where == device]
    taken = {slot for form, start in held for slot in range(start, start + FORMS[form][1])}
    assert len(taken) == sum(FORMS[form][1] for form, _ in held), "two partitions on one slot"
    return taken, Counter(form for form, _ in held), len(held)
