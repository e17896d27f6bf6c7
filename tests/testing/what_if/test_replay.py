"""A replayed period: small worlds computed by hand, what each change does, and what no change may do."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from histories import A100, GIB, L4, START, asks, devices, history, node, play, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm
from tensorfusion.model.gang import Gang
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler import queue
from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduler.recording.history import FleetChange, History, Settings
from tensorfusion.scheduling.facts import CohortFacts, PodFacts, QuotaFacts
from tensorfusion.testing.what_if.jobs import jobs_of
from tensorfusion.testing.what_if.replay import Replay
from tensorfusion.testing.what_if.report import compare
from tensorfusion.testing.what_if.scenario import Added, QuotaWish, Scenario


def queue_of_four() -> History:
    """One L4, and four pods that each want all of it for 100 s, all at 0 s; and one for an A100."""
    pods = [pod(n, asks(L4), 0, bound=100 * n, ended=100 * n + 100, where=("l4", "l4-0")) for n in range(4)]
    pods.append(pod(9, asks(A100), 0, bound=0, ended=500, where=("a100", "a100-0")))
    return history([node("l4"), node("a100")], [*devices("l4"), *devices("a100", A100)], pods)


def more_l4(count: int) -> Scenario:
    return Scenario(added=[Added(node(f"new-{n}"), tuple(devices(f"new-{n}"))) for n in range(count)])


def test_the_baseline_is_what_happened() -> None:
    found = play(queue_of_four())
    assert found.everybody.placed == 5
    assert sorted(found.everybody.waits) == [0, 0, 100_000, 200_000, 300_000]
    assert found.devices == 2
    # the L4 is busy for 400 of 1000 s, the A100 for 500
    assert found.idle_time == 600_000 + 500_000
    assert found.micro_usd == 4_000_000 * 1000 // 3600


def test_two_more_l4_nodes_help_the_pods_that_want_them_and_nobody_else() -> None:
    found = play(queue_of_four(), more_l4(2))
    assert sorted(found.waits.values()) == [0, 0, 0, 0, 100_000]
    assert found.waits["0000000000000009"] == 0
    assert found.devices == 4
    assert found.idle_time == 4_000_000 - 400_000 - 500_000
    assert found.micro_usd == 6_000_000 * 1000 // 3600


def test_without_a_node_its_pods_wait_for_ever() -> None:
    found = play(queue_of_four(), Scenario(without=[lambda labels: labels["kubernetes.io/hostname"] == "a100"]))
    assert found.everybody.never == 1
    assert found.everybody.quantile(0.99) is None
    assert found.devices == 1


def is_spot(labels: Mapping[str, str]) -> bool:
    return labels.get("spot") == "yes"


def relabelled(*labels: tuple[float, dict[str, str]]) -> History:
    """Pods on ``n1``, whose labels change, and one on ``n0``: from 100 s, for 500 s each."""
    pods = [pod(n, asks(L4), 100, bound=100, ended=600, where=(f"n{n}", f"n{n}-0")) for n in range(2)]
    changes = [FleetChange(START + int(at * 1000), "nodes", "n1", node("n1", **of)) for at, of in labels]
    return history([node("n0"), node("n1")], [*devices("n0"), *devices("n1")], pods, changes=changes)


def test_a_node_whose_label_comes_later_is_not_there_from_then_on() -> None:
    world = relabelled((50, {"spot": "yes"}))
    assert play(world).device_time == 2_000_000
    found = play(world, Scenario(without=[is_spot]))
    assert found.device_time == 1_000_000 + 50_000
    assert sorted(found.everybody.waits) == [0, 500_000]
    assert (found.displaced, found.dropped) == (0, 0)


def test_pods_that_run_on_a_node_whose_label_comes_are_placed_anew() -> None:
    world = relabelled((200, {"spot": "yes"}))
    found = play(world, Scenario(without=[is_spot]))
    assert found.device_time == 1_000_000 + 200_000
    assert (found.displaced, found.dropped) == (1, 0)
    assert sorted(found.everybody.waits) == [0, 0]
    assert found.taken_time == 1000 * (2 * 100_000 + 400_000 + 400_000)
    elsewhere = replace(world, pods=[replace(one, pinned=True) for one in world.pods])
    assert (play(elsewhere, Scenario(without=[is_spot])).dropped, play(elsewhere).dropped) == (1, 0)


def test_a_node_whose_label_goes_is_there_from_then_on_with_what_came_meanwhile() -> None:
    world = relabelled((20, {"spot": "yes"}), (300, {}))
    more = devices("n1", count=2)[1]
    world.changes.insert(1, FleetChange(START + 30_000, "devices", more.name, more))
    found = play(world, Scenario(without=[is_spot]))
    assert found.device_time == 1_000_000 + 20_000 + 2 * 700_000
    assert sorted(found.everybody.waits) == [0, 200_000]


def test_pods_that_somebody_else_placed_do_not_wait() -> None:
    pods = [pod(1, asks(L4), 0, bound=5, ended=500, where=("l4", "l4-0"), pinned=True)]
    pods += [pod(2, asks(L4), 100, bound=500, ended=600, where=("l4", "l4-0"))]
    world = history([node("l4")], devices("l4"), pods)
    found = play(world)
    assert found.waits == {f"{2:016x}": 400_000}
    assert (found.everybody.arrived, found.everybody.placed) == (1, 1)
    told = compare(world, Scenario(), seed=0)
    assert told["pods"]["arrived"] == 1
    assert told["pods"]["placedByOthers"] == 1
    assert told["fidelity"]["recorded"]["placed"] == told["fidelity"]["replayed"]["placed"] == 1
    assert told["fidelity"]["recorded"]["wait_p50"] == told["fidelity"]["replayed"]["wait_p50"] == 400


def test_who_was_running_when_the_period_began_keeps_its_place() -> None:
    there = pod(1, asks(L4), 0, ended=300, where=("l4", "l4-0"), held=True)
    waits = pod(2, asks(L4), 10, bound=300, ended=400, where=("l4", "l4-0"))
    world = history([node("l4")], devices("l4"), [there, waits])
    assert play(world).waits == {f"{2:016x}": 290_000}
    gone = play(world, Scenario(without=[lambda _: True], added=more_l4(1).added))
    assert gone.displaced == 1
    assert sorted(gone.waits.values()) == [0, 290_000]


def test_a_pod_that_can_only_be_on_a_node_goes_with_it() -> None:
    names = SelectorRequirement("metadata.name", "In", ("l4",))
    own = Affinity(NodeAffinity(NodeSelector((NodeSelectorTerm(match_fields=(names,)),))))
    daemon = pod(1, PodFacts("", "", "", cpu=100, affinity=own), 0, bound=0, where=("l4",))
    pinned = pod(2, PodFacts("", "", "", cpu=100), 5, bound=5, where=("l4",), pinned=True)
    world = history([node("l4"), node("other")], devices("l4"), [daemon, pinned])
    assert play(world).everybody.placed == 1
    found = play(world, Scenario(without=[lambda labels: labels["kubernetes.io/hostname"] == "l4"]))
    assert (found.dropped, found.everybody.arrived) == (2, 0)


def test_a_quota_holds_pods_back_and_its_removal_lets_them_go() -> None:
    pods = [pod(n, asks(L4, gpus=0.25), 0, bound=0, ended=100, where=("l4", "l4-0")) for n in range(4)]
    world = history([node("l4")], devices("l4"), pods)
    held = play(world, Scenario(quotas=[QuotaWish("team", {"total_workers": 1})]))
    assert sorted(held.everybody.waits) == [0, 100_000, 200_000, 300_000]
    tight = replace(world, fleet=replace(world.fleet, quotas={"team": QuotaFacts("team", total_workers=2)}))
    assert sorted(play(tight).everybody.waits) == [0, 0, 100_000, 100_000]
    assert sorted(play(tight, Scenario(quotas=[QuotaWish("team", None)])).everybody.waits) == [0] * 4


def test_a_mode_of_the_pool_decides_where_pods_go() -> None:
    pods = [pod(n, asks(L4, gpus=0.5), n, bound=n, ended=500, where=("a", "a-0")) for n in range(2)]
    world = history([node("a"), node("b")], [*devices("a"), *devices("b")], pods)
    compact = play(world, Scenario(modes={"": "CompactFirst"}))
    spread = play(world, Scenario(modes={"pool": "LowLoadFirst"}))
    assert compact.idle_time > spread.idle_time
    assert compact.taken_time == spread.taken_time


def test_oversubscription_packs_more_compute_onto_a_device_but_not_more_memory() -> None:
    def third(vram: int) -> PodFacts:
        return PodFacts("", "", "", request=GpuRequest("pool", compute=121_000, vram=vram * GIB))

    def waits(vram: int, ratio: int, shape: PodFacts | None = None) -> list[int]:
        pods = [
            pod(n, shape or third(vram), 0, bound=100 * n, ended=100 * n + 100, where=("l4", "l4-0")) for n in range(4)
        ]
        found = play(history([node("l4")], devices("l4"), pods), Scenario(ratio=Fraction(ratio)))
        return sorted(one // 1000 for one in found.everybody.waits)

    assert waits(6, 1) == [0, 100, 200, 300]
    assert waits(6, 2) == [0, 0, 100, 100]
    assert waits(6, 4) == [0, 0, 0, 0]
    assert waits(12, 4) == [0, 0, 100, 100]
    percent = PodFacts("", "", "", request=GpuRequest("pool", percent=100_000, vram=GIB))
    assert waits(0, 1, percent) == [0, 100, 200, 300]
    assert waits(0, 2, percent) == [0, 0, 100, 100]


def test_a_pod_that_went_away_while_it_waited_waits_no_longer_than_that() -> None:
    pods = [
        pod(1, asks(L4), 0, bound=0, ended=500, where=("l4", "l4-0")),
        pod(2, asks(L4), 10, ended=100, how=Ending.DELETED),
    ]
    world = history([node("l4")], devices("l4"), pods)
    found = play(world)
    assert (found.everybody.never, found.everybody.gave_up) == (1, 1)
    helped = play(world, more_l4(1))
    assert (helped.everybody.never, helped.waits[f"{2:016x}"]) == (0, 0)


def test_times_that_are_not_known_are_drawn_by_the_seed_from_finished_pods_of_the_size() -> None:
    pods = [pod(n, asks(L4), n, bound=n, ended=n + 10 * (n + 1), where=("l4", "l4-0")) for n in range(20)]
    pods += [pod(100 + n, asks(L4), 900) for n in range(5)]
    world = history([node("l4")], devices("l4"), pods, seconds=950)

    def lasts(seed: int) -> list[int | None]:
        return [job.lasts for job in jobs_of(world, seed=seed) if job.waits_since == START + 900_000]

    assert lasts(1) == lasts(1)
    assert lasts(1) != lasts(2)
    assert {each for seed in range(9) for each in lasts(seed)} <= {10_000 * (n + 1) for n in range(20)}


def test_a_gang_starts_as_a_whole_or_not_at_all() -> None:
    member = asks(L4, gang=Gang("", required=3, desired=3))
    pods = [pod(n, member, 0, bound=50, ended=150, where=(f"n{n}", f"n{n}-0"), gang="gang") for n in range(3)]
    pods.append(pod(7, asks(L4), 0, bound=0, ended=50, where=("n0", "n0-0")))
    fleet = [node(f"n{n}") for n in range(3)]
    world = history(fleet, [one for n in range(3) for one in devices(f"n{n}")], [pods[3], *pods[:3]])
    found = play(world)
    assert sorted(found.everybody.waits) == [0, 50_000, 50_000, 50_000]
    assert sorted(play(world, more_l4(1)).everybody.waits) == [0, 0, 0, 0]
    fewer = play(world, Scenario(without=[lambda labels: labels["kubernetes.io/hostname"] == "n2"]))
    assert fewer.everybody.placed == 1


def test_less_important_pods_go_for_more_important_ones_and_come_again() -> None:
    low, high = asks(L4), asks(L4, priority=1000)
    pods = [
        pod(1, low, 0, bound=0, ended=50, where=("l4", "l4-0"), how=Ending.EVICTED),
        pod(2, high, 50, bound=50, ended=150, where=("l4", "l4-0")),
        pod(3, low, 51, bound=150, ended=250, where=("l4", "l4-0")),
    ]
    found = play(history([node("l4")], devices("l4"), pods))
    assert found.waits[f"{2:016x}"] == 0
    assert found.waits[f"{3:016x}"] == 99_000
    # without the more important one nobody would have been evicted; the first still ends when it did
    later = [replace(pods[0], ended=START + 400_000, how=Ending.FINISHED), pods[1]]
    again = play(history([node("l4")], devices("l4"), later))
    assert again.evicted == 1
    assert again.waits[f"{2:016x}"] == 0


def test_a_gang_evicts_as_a_whole() -> None:
    low, high = asks(L4), asks(L4, priority=1000, gang=Gang("", required=2, desired=2))
    pods = [pod(n, low, 0, bound=0, ended=900, where=(f"n{n}", f"n{n}-0")) for n in range(2)]
    pods += [pod(5 + n, high, 100, bound=100, ended=200, where=(f"n{n}", f"n{n}-0"), gang="gang") for n in range(2)]
    fleet = [one for n in range(2) for one in devices(f"n{n}")]
    found = play(history([node("n0"), node("n1")], fleet, pods))
    assert found.evicted == 2
    assert [found.waits[f"{5 + n:016x}"] for n in range(2)] == [0, 0]


def test_what_was_lent_is_taken_back_for_who_stays_within_its_own() -> None:
    pods = [pod(n, asks(L4), 0, bound=0, ended=900, where=(f"n{n}", f"n{n}-0"), namespace="borrows") for n in range(2)]
    pods.append(pod(9, asks(L4), 100, ended=950, how=Ending.DELETED, namespace="lends"))
    quotas = {name: QuotaFacts(name, total_devices=1, cohort="all") for name in ("borrows", "lends")}
    world = history([node("n0"), node("n1")], [*devices("n0"), *devices("n1")], pods, quotas=quotas)
    assert play(world).waits[f"{9:016x}"] == 800_000
    world.fleet.cohorts["all"] = CohortFacts("all", reclaim=ReclaimPolicy.ANY)
    found = play(world)
    assert found.evicted == 1
    assert found.waits[f"{9:016x}"] == 0


def test_machines_that_came_and_went_do_so_again() -> None:
    pods = [pod(1, asks(L4), 0, bound=300, ended=400, where=("late", "late-0"))]
    changes = [FleetChange(START + 300_000, "nodes", "late", node("late"))]
    changes += [FleetChange(START + 300_000, "devices", one.name, one) for one in devices("late")]
    changes += [
        FleetChange(START + 600_000, "devices", "late-0", None),
        FleetChange(START + 600_000, "nodes", "late", None),
    ]
    found = play(history([], [], pods, changes=changes))
    assert found.everybody.waits == [300_000]
    assert (found.device_time, found.idle_time) == (300_000, 200_000)


def test_who_is_on_a_node_that_goes_starts_anew_unless_it_ended_with_it() -> None:
    """Recorded: the first was on the node that went, the second on the other one."""
    pods = [
        pod(1, asks(L4), 0, bound=0, ended=301, where=("goes", "goes-0"), how=Ending.DELETED),
        pod(2, asks(L4), 1, bound=1, ended=500, where=("stays", "stays-0")),
    ]
    changes = [
        FleetChange(START + 300_000, "devices", "goes-0", None),
        FleetChange(START + 300_000, "nodes", "goes", None),
    ]
    fleet = [*devices("goes"), *devices("stays")]
    as_it_was = play(history([node("goes"), node("stays")], fleet, pods, changes=changes))
    assert as_it_was.displaced == 0
    assert as_it_was.taken_time == 1000 * (300_000 + 499_000)
    # the other way round: the second is where the first was, loses its node, and runs its time once more
    other = play(history([node("stays"), node("goes")], [*devices("stays"), *devices("goes")], pods, changes=changes))
    assert other.displaced == 1
    assert other.taken_time == 1000 * (301_000 + 299_000 + 499_000)


def test_live_changes_happen_again_where_there_is_room() -> None:
    larger = asks(L4, gpus=0.75)
    grows = pod(
        1, asks(L4, gpus=0.25), 0, bound=0, ended=200, where=("l4", "l4-0"), resizes=[(START + 100_000, larger)]
    )
    world = history([node("l4")], devices("l4"), [grows])
    assert play(world).taken_time == (250 + 750) * 100_000
    beside = pod(2, asks(L4, gpus=0.5), 1, bound=1, ended=200, where=("l4", "l4-0"))
    assert play(history([node("l4")], devices("l4"), [grows, beside])).not_resized == 1
    there = replace(grows, held=True, bound=None)
    assert play(history([node("l4")], devices("l4"), [there, beside])).not_resized == 1


def test_the_same_seed_gives_the_same_answer_to_the_byte() -> None:
    import json

    world = queue_of_four()
    world.pods += [pod(20 + n, asks(L4), 300 + n) for n in range(20)]
    answers = {json.dumps(compare(world, more_l4(2), seed=5)) for _ in range(3)}
    assert len(answers) == 1


def test_the_report_says_what_changes_and_how_near_the_replay_is() -> None:
    found = compare(queue_of_four(), more_l4(2), seed=0)
    was, would = found["baseline"], found["changed"]
    assert was["sizes"]["1 GPU"] == {
        "arrived": 5,
        "placed": 5,
        "never": 0,
        "wait_p50": 100.0,
        "wait_p90": 300.0,
        "wait_p99": 300.0,
    }
    assert would["sizes"]["1 GPU"]["wait_p50"] == 0.0
    assert (was["gpus"], would["gpus"]) == (2.0, 4.0)
    assert (was["costUsd"], would["costUsd"]) == (1.11, 1.67)
    assert found["fidelity"]["sameWaitPercent"] == 100.0
    assert found["fidelity"]["recorded"] == found["fidelity"]["replayed"]


SHAPES = {gpus: asks(L4, gpus=gpus) for gpus in (0.25, 0.5, 1.0)}
arrivals = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 200), st.sampled_from([0.25, 0.5, 1.0])), min_size=1, max_size=30
)


@settings(max_examples=part_of(40), deadline=None)
@given(arrivals, st.integers(1, 3), st.integers(1, 3))
def test_more_machines_never_place_fewer_whole_device_pods(
    pods: list[tuple[int, int, float]], nodes: int, more: int
) -> None:
    """Without shares there is no fragmentation. Single pods may wait longer, but for backoffs alone."""
    world = of_whole_devices([(at, ran) for at, ran, _ in pods], nodes)
    was, would = play(world), play(world, more_l4(more))
    assert would.everybody.placed >= was.everybody.placed
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(queue, "FIRST_BACKOFF", 0.0)
        patched.setattr(queue, "LONGEST_BACKOFF", 0.0)
        was, would = play(world), play(world, more_l4(more))
    assert all(would.waits[uid] <= waited for uid, waited in was.waits.items())


def of_whole_devices(pods: list[tuple[int, int]], nodes: int) -> History:
    """Pods of one device each by arrival and run time, on so many nodes of one device."""
    recorded = [pod(n, asks(L4), at, bound=at, ended=at + ran) for n, (at, ran) in enumerate(pods)]
    gpus = [one for n in range(nodes) for one in devices(f"n{n}")]
    return history([node(f"n{n}") for n in range(nodes)], gpus, recorded)


def test_who_came_before_others_because_of_their_backoffs_waits_longer_on_more_machines() -> None:
    """At 327 s all but the last are refused for the third time, and at 328 s the device is free again.

    The last, refused for the second time, is decided at 329 s, before the others at 331 s. On two machines they go by age.
    """
    pods = [(54, 196), (138, 130), (218, 89), (297, 93), (162, 96), (60, 77), (89, 1)]
    world = of_whole_devices(pods, 1)
    last = jobs_of(world, seed=0)[-1].facts.uid
    assert (play(world).waits[last], play(world, more_l4(1)).waits[last]) == (32_000, 49_000)


@settings(max_examples=part_of(40), deadline=None)
@given(arrivals, st.integers(1, 3))
def test_nobody_is_lost_and_time_adds_up(pods: list[tuple[int, int, float]], nodes: int) -> None:
    recorded = [
        replace(one, bound=one.arrived)
        for n, (at, ran, gpus) in enumerate(pods)
        for one in [pod(n, asks(L4, gpus=gpus), at, ended=at + ran)]
    ]
    world = history(
        [node(f"n{n}") for n in range(nodes)], [d for n in range(nodes) for d in devices(f"n{n}")], recorded
    )
    found = play(world)
    everybody = found.everybody
    assert everybody.arrived == len(pods)
    assert everybody.placed + everybody.never == len(pods)
    assert found.device_time == nodes * 1_000_000
    assert 0 <= found.idle_time <= found.device_time
    assert found.taken_time <= 1000 * (found.device_time - found.idle_time)


def test_younger_pods_wait_for_a_gang_that_has_lost_its_patience() -> None:
    """As in a cluster: after the gang's patience what gets free is kept for it."""
    member = asks(L4, gang=Gang("", required=2, desired=2))
    pods = [pod(1, asks(L4), 0, bound=0, ended=400, where=("n0", "n0-0"))]
    pods += [pod(10 + n, member, 1, bound=400, ended=500, where=(f"n{n}", f"n{n}-0"), gang="gang") for n in range(2)]
    pods += [pod(20 + n, asks(L4), 150 * n + 2, bound=0, ended=150, where=("n1", "n1-0")) for n in range(3)]
    fleet = [one for n in range(2) for one in devices(f"n{n}")]
    world = history([node("n0"), node("n1")], fleet, pods, settings=Settings(names=True, patience=100.0))
    found = play(world)
    assert found.waits[f"{10:016x}"] == found.waits[f"{11:016x}"] == pytest.approx(399_000, abs=2000)
    assert found.waits[f"{22:016x}"] > 100_000


class Forgetful(dict[int, object]):
    """Remembers nothing."""

    def get(self, key: object, default: object = None) -> None:
        return None


@settings(max_examples=part_of(30), deadline=None)
@given(arrivals, st.integers(1, 2), st.booleans())
def test_what_is_remembered_of_refusals_changes_nothing(
    pods: list[tuple[int, int, float]], nodes: int, tight: bool
) -> None:
    recorded = [
        replace(one, bound=one.arrived)
        for n, (at, ran, gpus) in enumerate(pods)
        for one in [pod(n, SHAPES[gpus], at, ended=at + ran, namespace=f"team-{n % 2}")]
    ]
    quotas = {"team-0": QuotaFacts("team-0", total_workers=1)} if tight else {}
    fleet = [one for n in range(nodes) for one in devices(f"n{n}")]
    world = history([node(f"n{n}") for n in range(nodes)], fleet, recorded, quotas=quotas)
    plain = Replay(world, jobs_of(world, seed=0), Scenario())
    plain._refused = Forgetful()  # type: ignore[assignment]
    assert plain.run() == play(world)
