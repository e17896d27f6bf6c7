"""In random worlds: nobody goes for nothing, nobody who must not go, and whoever can be helped is helped."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from example_counts import part_of
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.gpu_topology import TopologyRule
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.preemption_place import Place
from tensorfusion.scheduling.state import State
from test_ledger_machine import fingerprint

NOW = 1_000
SPACES = ("team", "other")
GANGS = (None, None, None, None, Gang("team/a", 2, 2), Gang("team/b", 2, 2))

requests = st.builds(
    GpuRequest,
    st.just("pool"),
    count=st.sampled_from((1, 1, 1, 2)),
    compute=st.sampled_from((0, 5, 30, 60)),
    vram=st.sampled_from((0, 6, 30, 60)),
    isolation=st.sampled_from((Isolation.SOFT, Isolation.SOFT, Isolation.HARD, Isolation.SHARED)),
    qos=st.sampled_from(tuple(QoS)),
)
percents = st.builds(lambda one, part: replace(one, compute=0, percent=part), requests, st.integers(1_000, 90_000))
pods = st.builds(
    PodFacts,
    uid=st.just(""),
    namespace=st.sampled_from(SPACES),
    name=st.just("pod"),
    priority=st.integers(0, 3),
    created=st.integers(0, 30).map(lambda second: f"1970-01-01T00:00:{second:02}Z"),
    request=st.one_of(requests, requests, percents, st.none()),
    cpu=st.integers(0, 4),
    memory=st.integers(0, 2),
    extended=st.sampled_from(({}, {}, {"vendor/thing": 1})),
    node_selector=st.sampled_from(({}, {}, {}, {"zone": "x"})),
    protected_until=st.sampled_from((0, 0, 0, NOW + 5)),
    gang=st.sampled_from(GANGS),
    topology=st.sampled_from((None, None, TopologyRule(hard=True))),
)


@st.composite
def worlds(draw: st.DrawFn) -> State:
    """A few nodes, and pods on them: placed by decisions, or found where the API server says, even over capacity."""
    state = State()
    state.upsert_pool(PoolFacts("pool", max_workers_per_node=draw(st.sampled_from((0, 2, 9)))))
    policy = draw(st.sampled_from(("Static", "Static", "Dynamic")))
    numas = draw(st.sampled_from((st.just(-1), st.sampled_from((0, 1)))))
    for i in range(draw(st.integers(1, 3))):
        labels = {"zone": draw(st.sampled_from("xy"))}
        ready = draw(st.sampled_from((True, True, True, False)))
        state.upsert_node(
            NodeFacts(f"n{i}", labels, ready=ready, cpu=9, memory=9, pods=6, extended={"vendor/thing": 2})
        )
        for j in range(draw(st.integers(0, 2))):
            facts = DeviceFacts(f"g{i}{j}", f"n{i}", "pool", "NVIDIA", "A100", j, 100, 100, isolation_policy=policy)
            state.upsert_device(replace(facts, numa=draw(numas)))
    if draw(st.booleans()):
        ceiling = st.sampled_from((None, 60, 120))
        state.set_quota(QuotaFacts("team", total_vram=draw(ceiling), total_compute=draw(ceiling)))
    for number, one in enumerate(draw(st.lists(pods, min_size=4, max_size=16))):
        one = replace(one, uid=f"u{number}")
        try:
            state.assume(one, decide(state, one).placement)
        except (NotFit, QuotaExceeded):
            if draw(st.integers(0, 9)) == 0:
                state.confirm(
                    one, Placement("n0", tuple(f"g0{j}" for j in range(one.request.count if one.request else 0)))
                )
        if draw(st.integers(0, 9)) == 0:
            state.residents.note_ending(one.uid)
    return state


def allowed(state: State, one: PodFacts, cluster_wide: bool) -> set[str]:
    """Who may have to go, added up naively."""

    def may(pod: PodFacts) -> bool:
        in_scope = cluster_wide or pod.namespace == one.namespace
        return in_scope and pod.rank < one.rank and pod.protected_until <= NOW

    live = [held.pod for held in state.allocations.values() if not held.nominated]
    live = [pod for pod in live if not state.residents.is_ending(pod.uid)]
    kept = {pod.gang.key for pod in live if pod.gang is not None and not may(pod)}
    return {pod.uid for pod in live if may(pod) and (pod.gang is None or pod.gang.key not in kept)}


def fits_without(state: State, one: PodFacts, gone: set[str]) -> bool:
    mark = state.checkpoint()
    try:
        for uid in gone:
            state.release(uid)
        decide(state, one)
    except (NotFit, QuotaExceeded):
        return False
    finally:
        state.rollback(mark)
    return True


@settings(max_examples=part_of(300), deadline=None)
@given(worlds(), pods, st.booleans())
def test_a_plan_is_proven_minimal_and_lawful_and_none_is_missed(
    state: State, one: PodFacts, cluster_wide: bool
) -> None:
    one = replace(one, uid="new", gang=None, priority=one.priority + 1)
    try:
        decide(state, one)
    except (NotFit, QuotaExceeded) as refused:
        failure: NotFit | QuotaExceeded = refused
    else:
        return
    before = fingerprint(state)
    found = search(state, one, failure, now=NOW, cluster_wide=cluster_wide)
    assert fingerprint(state) == before
    may = allowed(state, one, cluster_wide)
    ending = {uid for uid in state.allocations if state.residents.is_ending(uid)}
    if isinstance(found, Hopeless):
        assert found.looked.considered == len(may) or found.looked.considered == 0
        nothing_helps(state, one, failure, may=may, ending=ending)
        return
    gone = {victim.pod.uid for victim in found.victims}
    assert gone <= may
    assert set(found.ending) <= ending
    over = {device.name for device in state.overcommitted()}
    mark = state.checkpoint()
    for uid in gone | set(found.ending):
        state.release(uid)
    state.assume(one, found.placement)  # refuses what does not fit
    assert {device.name for device in state.overcommitted()} <= over
    state.rollback(mark)
    if isinstance(failure, NotFit):
        minimal(state, one, found, gone)


def test_a_share_in_percent_needs_room_in_the_quota_beside_what_ends_anyway() -> None:
    """The pod that ends leaves a place on the node, but only a victim leaves the namespace room."""
    state = State()
    state.upsert_pool(PoolFacts("pool"))
    state.upsert_node(NodeFacts("n0", {}, cpu=9, memory=9, pods=3))
    state.upsert_device(DeviceFacts("g00", "n0", "pool", "NVIDIA", "A100", 0, 100, 100))
    state.set_quota(QuotaFacts("team", total_compute=60))
    half = GpuRequest("pool", compute=30)
    for uid, request in (("u0", half), ("u1", half), ("u2", None)):
        pod = PodFacts(uid, "team", uid, request=request)
        state.assume(pod, decide(state, pod).placement)
    state.residents.note_ending("u2")
    one = PodFacts("new", "team", "pod", priority=1, request=GpuRequest("pool", percent=1_000))
    with pytest.raises(NotFit) as refused:
        decide(state, one)
    found = search(state, one, refused.value, now=NOW)
    assert isinstance(found, Plan)
    assert (len(found.victims), found.ending) == (1, ("u2",))


def minimal(state: State, one: PodFacts, found: Plan, gone: set[str]) -> None:
    """Nobody could have stayed; and where one would have been enough, it is one, no more important."""
    units: dict[str, set[str]] = {}
    for victim in found.victims:
        units.setdefault(victim.pod.gang.key if victim.pod.gang else victim.pod.uid, set()).add(victim.pod.uid)
    for unit in units.values():
        assert not fits_without(state, one, (gone | set(found.ending)) - unit)
    assert not found.victims or not fits_without(state, one, set(found.ending))


def nothing_helps(
    state: State, one: PodFacts, failure: NotFit | QuotaExceeded, *, may: set[str], ending: set[str]
) -> None:
    if isinstance(failure, QuotaExceeded) and not failure.resolvable:
        return
    for node in {held.placement.node for held in state.allocations.values()}:
        here = {uid for uid in may | ending if state.allocations[uid].placement.node == node}
        keys = {state.allocations[uid].pod.gang for uid in here & may}
        here |= {uid for uid in may if state.allocations[uid].pod.gang and state.allocations[uid].pod.gang in keys}
        assert not fits_without(state, one, here), (node, here)


@settings(max_examples=part_of(200), deadline=None)
@given(worlds(), pods, st.data())
def test_a_place_says_what_a_decision_says(state: State, one: PodFacts, data: st.DataObject) -> None:
    one = replace(one, uid="new", gang=None)
    held = list(state.allocations.values())
    gone = data.draw(st.lists(st.sampled_from(held), unique_by=lambda a: a.pod.uid)) if held else []
    back = data.draw(st.lists(st.sampled_from(gone), unique_by=lambda a: a.pod.uid)) if gone else []
    answers = {}
    for record in state.nodes():
        place = Place(state, one, record)
        place.go(gone)
        place.back(back)
        answers[record.name] = place.fits()
    for uid in {a.pod.uid for a in gone} - {a.pod.uid for a in back}:
        state.release(uid)
    try:
        chosen = decide(state, one).placement.node
    except NotFit as error:
        assert "quota" in error.reasons or not any(answers.values())
    except QuotaExceeded:
        assert one.request is not None
        if not one.request.percent or one.request.compute:
            assert not any(answers.values())
    else:
        assert answers[chosen]
        feasible = {name for name, fits in answers.items() if fits}
        for name in feasible:
            inside = replace(one, node_selector={**one.node_selector, "kubernetes.io/hostname": name})
            facts = state.fleet.nodes.records[name].facts
            assert facts is not None
            state.upsert_node(replace(facts, labels={**facts.labels, "kubernetes.io/hostname": name}))
            assert decide(state, inside).placement.node == name


@settings(max_examples=part_of(150), deadline=None)
@given(worlds(), st.lists(pods, max_size=4), st.integers(0, 30))
def test_what_is_promised_is_given_back_whatever_happens(state: State, several: list[PodFacts], ended: int) -> None:
    """Nominations come, are tried out, confirmed and released; nothing stays, and nobody gets what is promised."""
    names = [device.name for device in state.devices()]
    for number, one in enumerate(several):
        one = replace(one, uid=f"nominee-{number}", gang=None)
        count = one.request.count if one.request is not None else 0
        if count > len(names):
            continue
        placement = Placement("n0", tuple(names[:count]))
        before = fingerprint(state)
        mark = state.checkpoint()
        state.nominate(one, placement)
        assert one.uid in state.nominated
        state.rollback(mark)
        assert fingerprint(state) == before
        state.nominate(one, placement)
        try:
            state.assume(replace(one, uid="thief"), placement)
        except (NotHoldable, QuotaExceeded):
            pass
        else:
            assert not any(device.overfull for device in state.devices() if device.name in placement.devices)
            state.release("thief")
        if number % 2:
            state.confirm(one, placement)
            assert one.uid not in state.nominated
        state.release(one.uid)
        assert not state.nominated
        assert not any(device.promised for device in state.devices())
        assert fingerprint(state) == before
    state.release(f"u{ended}")
    state.residents.sync()
    live = {uid for uid in state.residents.uids[1:] if uid in state.allocations}
    assert live == set(state.allocations)
    assert sum(state.residents.ranks.values()) == len(state.allocations)
