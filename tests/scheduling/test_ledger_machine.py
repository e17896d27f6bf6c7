"""The ledger and the decisions under any order of events, held against the reference scheduler and the plain checker."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from example_counts import part_of
from plain_checker import check
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.core import Taint, Toleration
from tensorfusion.model.request import GpuRequest, Isolation, larger
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import ReferenceScheduler
from worlds import node, preferred, required, requirement, term

NODES = ("n0", "n1", "n2", "n3")
DEVICES = tuple(f"g{i}" for i in range(9))
POOLS = ("a", "b")
MODELS = ("NVIDIA A100-SXM4-80GB", "NVIDIA L4", "odd")
MODES = ("CompactFirst", "LowLoadFirst", "NodeCompactGPULowLoad", "unheard-of")
TAINTS = (
    Taint("team", "x", "NoSchedule"),
    Taint("team", "x", "PreferNoSchedule"),
    Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),
)
TOLERATIONS = (
    (),
    (Toleration("team", "Equal", "x", "NoSchedule"),),
    (Toleration(operator="Exists"),),
    (Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule"),),
)
AFFINITIES = (
    None,
    required(term(requirement("zone", "In", "x", "y")), term(fields=[requirement("metadata.name", "In", "n0")])),
    required(term(requirement("size", "Gt", "3"), requirement("zone", "NotIn", "z"))),
    preferred((30, term(requirement("zone", "In", "x"))), (1, term(requirement("size", "Lt", "9")))),
)

node_facts = st.builds(
    NodeFacts,
    st.sampled_from(NODES),
    labels=st.fixed_dictionaries(
        {}, optional={"zone": st.sampled_from("xyz"), "size": st.sampled_from(("2", "8", "no"))}
    ),
    taints=st.lists(st.sampled_from(TAINTS), max_size=2, unique=True).map(tuple),
    unschedulable=st.sampled_from((False, False, False, True)),
    ready=st.sampled_from((True, True, True, False)),
    cpu=st.sampled_from((0, 4, 9, 50)),
    memory=st.sampled_from((0, 7, 40)),
    pods=st.sampled_from((1, 3, 20)),
    extended=st.sampled_from(({}, {"vendor/thing": 2})),
)
device_facts = st.builds(
    DeviceFacts,
    st.sampled_from(DEVICES),
    st.sampled_from(NODES),
    st.sampled_from(POOLS),
    vendor=st.sampled_from(("NVIDIA", "AMD")),
    model=st.sampled_from(MODELS),
    index=st.integers(0, 3),
    compute=st.sampled_from((0, 10, 33, 100)),
    vram=st.sampled_from((0, 12, 64)),
    phase=st.sampled_from(("Running", "Running", "Running", "Pending", "Unknown")),
    used_by=st.sampled_from(("", "tensor-fusion", "nvidia-device-plugin")),
    isolation_mode=st.sampled_from(("", "", "soft", "hard")),
    isolation_policy=st.sampled_from(("Static", "Static", "Dynamic")),
    capabilities=st.sampled_from((None, None, frozenset({Isolation.SOFT}), frozenset({Isolation.HARD}))),
)
requests = st.builds(
    GpuRequest,
    st.sampled_from(POOLS),
    count=st.sampled_from((1, 1, 2, 3)),
    compute=st.sampled_from((0, 1, 5, 30)),
    compute_limit=st.sampled_from((0, 40)),
    vram=st.sampled_from((0, 1, 6, 30)),
    vram_limit=st.sampled_from((0, 40)),
    model=st.sampled_from(("", "", "A100", "odd")),
    vendor=st.sampled_from(("", "", "NVIDIA")),
    indices=st.sampled_from(((), (), (0, 2))),
    isolation=st.sampled_from((Isolation.SOFT, Isolation.SOFT, Isolation.HARD, Isolation.SHARED)),
)
percents = st.builds(lambda request, part: replace(request, compute=0, percent=part), requests, st.integers(1, 100_000))
pod_facts = st.builds(
    PodFacts,
    uid=st.integers(0, 30).map(lambda i: f"u{i}"),
    namespace=st.sampled_from(("team", "free")),
    name=st.just("pod"),
    request=st.one_of(requests, st.none()),
    cpu=st.integers(0, 3),
    memory=st.integers(0, 3),
    extended=st.sampled_from(({}, {}, {"vendor/thing": 1})),
    node_selector=st.sampled_from(({}, {}, {"zone": "x"})),
    affinity=st.sampled_from(AFFINITIES),
    tolerations=st.sampled_from(TOLERATIONS),
)
# Shares in percent go to a namespace without ceilings here; test_quota has the rules for those with.
pods = st.one_of(
    pod_facts, st.builds(lambda pod, request: replace(pod, namespace="free", request=request), pod_facts, percents)
)
amounts = st.sampled_from((0, 1, 4, 6, 12, 30, 90))
ceilings = st.sampled_from((None, None, 0, 20, 100))
quota_facts = st.builds(
    QuotaFacts,
    st.just("team"),
    total_compute=ceilings,
    total_vram=ceilings,
    total_compute_limit=ceilings,
    total_vram_limit=ceilings,
    total_workers=st.sampled_from((None, None, 0, 2)),
    total_devices=st.sampled_from((None, None, 3)),
    single_compute=ceilings,
    single_vram=ceilings,
    single_devices=st.sampled_from((None, 0, 2)),
)
pool_facts = st.builds(
    PoolFacts,
    st.sampled_from(POOLS),
    mode=st.sampled_from(MODES),
    vram_weight=st.sampled_from((0.7, 0.5, 0.0)),
    tflops_weight=st.sampled_from((0.3, 0.5, 1.0)),
    max_workers_per_node=st.sampled_from((0, 1, 2, 256)),
)


def fingerprint(state: State) -> object:
    """Everything a later decision could depend on."""
    return (
        sorted((uid, a.placement, a.confirmed) for uid, a in state.allocations.items()),
        sorted((d.name, d.compute_held, d.vram_held, d.modes, sorted(d.holders)) for d in state.fleet.devices.values()),
        {
            name: (r.row, r.cpu, r.memory, r.pods, r.workers, {**r.extended})
            for name, r in state.fleet.nodes.records.items()
        },
        {name: state.usage(name) for name in state.quotas.namespaces()},
        {
            name: (p.compute_free[p.present], p.vram_free[p.present], p.score[p.present], p.node_score.tolist())
            for name, p in state.fleet.pools.items()
        }.__repr__(),
    )


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.naive = ReferenceScheduler()
        self.assumed: set[str] = set()

    @initialize(sizes=st.lists(st.sampled_from((4, 16, 60)), min_size=3, max_size=3), per_node=st.integers(1, 3))
    def a_sound_fleet_exists(self, sizes: list[int], per_node: int) -> None:
        for i, size in enumerate(sizes):
            self.a_node_appears_or_changes(NodeFacts(f"n{i}", {"zone": "xyz"[i]}, cpu=size, memory=size))
            for j in range(per_node):
                name, pool = f"g{3 * i + j}", POOLS[i // 2]
                facts = DeviceFacts(name, f"n{i}", pool, "NVIDIA", MODELS[0], j, compute=100, vram=4 * size)
                self.a_device_appears_or_changes(facts)

    @rule(facts=node_facts)
    def a_node_appears_or_changes(self, facts: NodeFacts) -> None:
        self.state.upsert_node(facts)
        self.naive.upsert_node(facts)

    @rule(name=st.sampled_from(NODES))
    def a_node_is_lost(self, name: str) -> None:
        self.state.remove_node(name)
        self.naive.remove_node(name)

    @rule(facts=device_facts)
    def a_device_appears_or_changes(self, facts: DeviceFacts) -> None:
        self.state.upsert_device(facts)
        self.naive.upsert_device(facts)

    @rule(name=st.sampled_from(DEVICES))
    def a_device_is_lost(self, name: str) -> None:
        self.state.remove_device(name)
        self.naive.remove_device(name)

    @rule(facts=pool_facts)
    def a_pool_changes(self, facts: PoolFacts) -> None:
        self.state.upsert_pool(facts)
        self.naive.upsert_pool(facts)

    @rule(name=st.sampled_from(POOLS))
    def a_pool_is_removed(self, name: str) -> None:
        self.state.remove_pool(name)
        self.naive.remove_pool(name)

    @rule(facts=quota_facts)
    def a_quota_changes(self, facts: QuotaFacts) -> None:
        self.state.set_quota(facts)
        self.naive.set_quota(facts)

    @rule()
    def the_quota_is_removed(self) -> None:
        self.state.remove_quota("team")
        self.naive.remove_quota("team")

    @rule(several=st.lists(pods, min_size=1, max_size=4))
    def pods_are_decided_and_assumed(self, several: list[PodFacts]) -> None:
        for pod in several:
            self.decide_and_assume(pod)

    def decide_and_assume(self, pod: PodFacts) -> None:
        over = {device.name for device in self.state.overcommitted()}
        answer = self.naive.decide(pod)
        try:
            decision = decide(self.state, pod)
        except QuotaExceeded as error:
            assert answer.quota == error.key
            return
        except Unschedulable as error:
            assert not answer.quota
            assert not answer.node
            if error.diagnosis.pool_devices or pod.request is None:
                assert error.reasons == answer.removed
            return
        assert not answer.quota
        assert (decision.placement.node, decision.placement.devices) == (answer.node, answer.devices)
        assert decision.counts == answer.removed
        if pod.uid in self.naive.live:
            with pytest.raises(NotHoldable):
                self.state.assume(pod, decision.placement)
            return
        self.state.assume(pod, decision.placement)
        self.naive.place(pod, decision.placement)
        self.assumed.add(pod.uid)
        assert {device.name for device in self.state.overcommitted()} == over

    @rule(pod=pods, where=st.sampled_from(NODES), data=st.data())
    def truth_is_recovered(self, pod: PodFacts, where: str, data: st.DataObject) -> None:
        count = pod.request.count if pod.request is not None else 0
        names = data.draw(st.lists(st.sampled_from(DEVICES), min_size=count, max_size=count, unique=True))
        placement = Placement(where, tuple(names))
        known = self.naive.live.get(pod.uid)
        if known is not None and known[1] != placement:
            self.naive.release(pod.uid)
        self.state.confirm(pod, placement)
        self.naive.place(pod, placement)
        self.assumed.discard(pod.uid)

    @precondition(lambda self: self.assumed)
    @rule(data=st.data())
    def an_assumption_is_confirmed(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.assumed)))
        self.state.confirm(*self.naive.live[uid])
        self.state.confirm(*self.naive.live[uid])
        self.assumed.discard(uid)

    @rule(data=st.data(), compute=amounts, vram=amounts, landed=st.booleans())
    def a_live_share_is_to_change(self, data: st.DataObject, compute: int, vram: int, landed: bool) -> None:
        live = sorted(uid for uid, (pod, _) in self.naive.live.items() if pod.request is not None)
        if not live:
            return
        pod, placement = self.naive.live[data.draw(st.sampled_from(live))]
        assert pod.request is not None
        unit = {"percent": compute * 1000} if pod.request.percent else {"compute": compute}
        wanted = replace(pod.request, vram=vram, vram_limit=2 * vram, **unit)
        over = {device.name for device in self.state.overcommitted()}
        used, quota = self.state.usage(pod.namespace), self.naive.quotas.get(pod.namespace)
        try:
            self.state.resize(pod.uid, wanted)
        except (NotHoldable, QuotaExceeded):
            return
        between = replace(pod, request=larger(pod.request, wanted))
        self.naive.place(between, placement)
        check(self.state, self.naive.live, self.naive.capacity)
        assert {device.name for device in self.state.overcommitted()} <= over
        now = self.state.usage(pod.namespace)
        for name in ("compute", "vram", "vram_limit"):
            ceiling = getattr(quota, f"total_{name}", None)
            assert ceiling is None or getattr(now, name) <= max(ceiling, getattr(used, name))
        final = replace(pod, request=wanted) if landed else pod
        self.state.confirm(final, placement)
        self.naive.place(final, placement)
        self.assumed.discard(pod.uid)

    @rule(uid=st.integers(0, 30).map(lambda i: f"u{i}"))
    def a_pod_is_forgotten(self, uid: str) -> None:
        self.state.forget(uid)
        if uid in self.assumed:
            self.assumed.discard(uid)
            self.naive.release(uid)

    @rule(uid=st.integers(0, 30).map(lambda i: f"u{i}"), times=st.integers(1, 2))
    def a_pod_ends(self, uid: str, times: int) -> None:
        for _ in range(times):
            self.state.release(uid)
        self.assumed.discard(uid)
        self.naive.release(uid)

    @rule(tried=st.lists(pods, max_size=4), ended=st.lists(st.integers(0, 30), max_size=3), inner=st.booleans())
    def something_is_tried_out(self, tried: list[PodFacts], ended: list[int], inner: bool) -> None:
        before = fingerprint(self.state)
        mark = self.state.checkpoint()
        for i in ended:
            self.state.release(f"u{i}")
        nested = self.state.checkpoint() if inner else None
        for pod in tried:
            try:
                self.state.assume(pod, decide(self.state, pod).placement)
            except (Unschedulable, QuotaExceeded, NotHoldable):
                self.state.confirm(pod, Placement(NODES[0], ()))
        if nested is not None:
            self.state.keep(nested)
        self.state.rollback(mark)
        assert fingerprint(self.state) == before

    @rule()
    def the_scheduler_restarts(self) -> None:
        old, self.state, fresh = self.naive, State(), ReferenceScheduler()
        for pool in old.pools.values():
            self.state.upsert_pool(pool)
            fresh.upsert_pool(pool)
        for quota in old.quotas.values():
            self.state.set_quota(quota)
            fresh.set_quota(quota)
        for facts in old.nodes.values():
            self.state.upsert_node(facts)
            fresh.upsert_node(facts)
        for pod, placement in old.live.values():
            self.state.confirm(pod, placement)
            fresh.place(pod, placement)
        for gpu in old.devices.values():
            self.state.upsert_device(gpu)
            fresh.upsert_device(gpu)
        self.naive = fresh
        self.assumed.clear()

    @invariant()
    def the_ledger_is_the_sum_of_the_live_pods(self) -> None:
        check(self.state, self.naive.live, self.naive.capacity)


LedgerMachine.TestCase.settings = settings(max_examples=part_of(50), stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase


@pytest.mark.long
class TestLedgerAtLength(LedgerMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=2000, stateful_step_count=60, deadline=None)


def test_the_machine_starts_from_an_empty_world() -> None:
    check(State(), {}, {})
    assert node("n0").pods == 110
