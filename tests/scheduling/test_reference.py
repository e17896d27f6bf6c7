"""Every decision is the one that plain loops over the same world come to, in every part of the answer.

Worlds are random, with every feature at once, and so is what happens in them. Pods come in few kinds, as in life, so
that what is kept for a kind meets every change before it is used again; how it is brought up to date is varied too, and
when: at its use, or in a moment of rest before.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.core import Taint, Toleration
from tensorfusion.model.gpu_topology import TopologyRule, TopologySource
from tensorfusion.model.partitions import Profile, profile_of
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.provider_defaults import provider_specs
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import GpuRequest, Isolation, larger
from tensorfusion.scheduling import rated, row_kernel
from tensorfusion.scheduling.classes import Classes
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    Placement,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.foresight import Foresights
from tensorfusion.scheduling.fragmentation import LookAhead
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.pod_rules import HostPort, PodRules
from tensorfusion.scheduling.score_parts import ScorePart
from tensorfusion.scheduling.shapes import Shapes
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_scheduler import Answer, ReferenceScheduler
from worlds import GIB, preferred, required, requirement, term

PROVIDERS = Providers([ProviderConfig(spec=spec) for spec in provider_specs().values()])
MODELS = (
    ("NVIDIA", "NVIDIA A100-SXM4-80GB", 312_000, 80),
    ("NVIDIA", "NVIDIA A100-SXM4-80GB", 312_000, 80),
    ("NVIDIA", "NVIDIA L4", 121_000, 24),
    ("Ascend", "Ascend 310P3", 22_000, 24),
    ("AMD", "odd", 0, 12),
)
CUT_MODELS = (*MODELS[:2], MODELS[3])
PROFILES: dict[str, Profile | None] = {
    model: profile_of(PROVIDERS, vendor=vendor, model=model) for vendor, model, _, _ in MODELS
}
FORMS = ("1g.10gb", "2g.20gb", "3g.40gb", "vir01", "vir02", "none such", "")
TAINTS = (
    Taint("team", "x", "NoSchedule"),
    Taint("team", "x", "NoExecute"),
    Taint("soft", "y", "PreferNoSchedule"),
    Taint("softer", "", "PreferNoSchedule"),
    Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),
)
TOLERATIONS = (
    (),
    (),
    (Toleration("team", "Equal", "x"), Toleration("soft", "Exists")),
    (Toleration(operator="Exists"),),
    (Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule"),),
)
AFFINITIES = (
    None,
    None,
    None,
    required(term(requirement("zone", "In", "a", "b")), term(fields=[requirement("metadata.name", "In", "n0")])),
    required(term(requirement("rank", "Gt", "3"), requirement("zone", "NotIn", "c"))),
    preferred((20, term(requirement("zone", "In", "b"))), (3, term(requirement("rank", "Lt", "4")))),
    preferred((100, term(requirement("zone", "Exists")))),
)
SELECTORS: tuple[dict[str, str], ...] = ({}, {}, {}, {"zone": "a"})
PORTS = (None, None, None, PodRules(ports=(HostPort(80),)), PodRules(ports=(HostPort(80, address="10.0.0.1"),)))
RULES = (
    TopologyRule(hard=True),
    TopologyRule(hard=True, max_tier=0),
    TopologyRule(hard=True, max_tier=3, reject_unknown=True),
    TopologyRule(hard=True, max_tier=2, source=TopologySource.NUMA),
    TopologyRule(source=TopologySource.NUMA),
    TopologyRule(source=TopologySource.VENDOR, ranks_nodes=False),
    TopologyRule(least_damage=False),
    TopologyRule(enabled=False),
)
POOLS = ("a", "b")
NAMESPACES = ("team", "free", "free")
PLUGIN = "nvidia-device-plugin"
THEMES = (
    "",
    "",
    "native devices",
    "whole and no devices",
    "dynamic devices",
    "partitions",
    "policies",
    *["whole nodes"] * 2,
    *["topology"] * 2,
)
"""What a world has more of, so that seldom things meet each other."""
SIZES = {"topology": (2, 4, 4, 6), "whole nodes": (4, 4, 4, 2)}
"""Devices of a node."""
LOOK_AHEAD = LookAhead(streams=2, length=6)
"""Little enough for plain loops."""
ALL = 99
"""More classes than there are kinds of pods in a world."""


class World:
    """The same events for both schedulers, and the same questions."""

    def __init__(self, rng: random.Random, *, kept: int, lends: bool = False) -> None:
        self.rng = rng
        self.lends = lends
        """Quotas may be shared in cohorts."""
        self.state = State()
        self.state.classes = Classes(limit=kept, foresights=Foresights(LOOK_AHEAD))
        self.state.fleet.nodes.shapes = Shapes(limit=kept)
        self.plain = ReferenceScheduler(LOOK_AHEAD)
        self.theme = rng.choice(THEMES)
        self.numas_only = rng.random() < 0.4
        self.kinds = [self.kind()]
        for _ in range(rng.randint(0, 6)):
            self.kinds.append(self.near(rng.choice(self.kinds)) if rng.random() < 0.5 else self.kind())
        self.number = 0
        self.placed = self.refused = 0
        self.tiers: Counter[int] = Counter()
        self.ahead: Counter[str] = Counter()
        """What happened in pools that look ahead."""

    def both(self, name: str, *facts: object) -> None:
        getattr(self.state, name)(*facts)
        getattr(self.plain, name)(*facts)

    # --- facts ---

    def node(self, name: str) -> NodeFacts:
        rng = self.rng
        return NodeFacts(
            name,
            labels={"zone": rng.choice("abc"), "rank": name[1:]} if rng.random() < 0.9 else {},
            taints=tuple(rng.sample(TAINTS, rng.choice((0, 0, 0, 0, 1, 2)))),
            unschedulable=rng.random() < 0.05,
            ready=rng.random() < 0.95,
            cpu=rng.choice((4_000, 16_000, 64_000)) if rng.random() < 0.95 else 0,
            memory=rng.choice((8, 64, 256)) * GIB if rng.random() < 0.95 else 0,
            pods=rng.choice((3, 110, 110)),
            extended={"nvidia.com/gpu": 4}
            if self.theme == "native devices"
            else rng.choice(({}, {"nvidia.com/gpu": 4}, {"vendor/thing": 2})),
        )

    def device(self, node: str, index: int) -> DeviceFacts:
        rng = self.rng
        vendor, model, compute, vram = rng.choice(MODELS if self.theme != "partitions" else CUT_MODELS)
        if self.theme == "topology" and rng.random() < 0.9:
            return replace(
                DeviceFacts(f"g{node[1:]}-{index}", node, "a", *MODELS[0][:2], index, *MODELS[0][2:]),
                vram=MODELS[0][3] * GIB,
                numa=rng.choice((0, 0, 1, 1, 1, 2, -1)),
                peers=self.peers(node),
                profile=PROFILES[MODELS[0][1]],
            )
        if self.theme == "whole nodes" and rng.random() < 0.95:
            vendor, model, compute, vram = MODELS[0] if node != "n1" else MODELS[2]
            return DeviceFacts(f"g{node[1:]}-{index}", node, "a", vendor, model, index, compute, vram * GIB)
        return DeviceFacts(
            f"g{node[1:]}-{index}",
            node,
            rng.choice(("a", "a", "b")),
            vendor=vendor,
            model=model,
            index=index if rng.random() < 0.9 else rng.randint(0, 3),
            compute=rng.choice((compute, compute, 2 * compute, 33)),
            vram=vram * GIB,
            phase=rng.choice(("Running",) * 12 + ("Pending", "Unknown")),
            used_by=rng.choice(("", "tensor-fusion", "", PLUGIN)) if rng.random() < 0.3 else "",
            isolation_mode=rng.choice(("", "", "", "", "soft", "partitioned")) if self.theme != "partitions" else "",
            isolation_policy="Dynamic"
            if rng.random() < (0.8 if self.theme == "dynamic devices" else 0.1)
            else "Static",
            capabilities=rng.choice((None, None, None, frozenset({Isolation.SOFT, Isolation.PARTITIONED}))),
            profile=PROFILES[model],
        )

    def peers(self, node: str) -> tuple[tuple[str, int, int], ...]:
        """Links to some of the others, one's own self and nobody among them; not all of them both ways."""
        rng = self.rng
        if self.numas_only or rng.random() < 0.3:
            return ()
        others = rng.sample(range(5), rng.choice((1, 2, 4)))
        return tuple(
            (f"g{node[1:]}-{other}", rng.choice((0, 0, 0, 1, 2, 3)), rng.choice((5, 5, 9))) for other in others
        )

    def pool(self, name: str) -> PoolFacts:
        rng = self.rng
        mode = rng.choice(("CompactFirst", "LowLoadFirst", "NodeCompactGPULowLoad", "unheard-of"))
        if self.theme == "whole nodes" or rng.random() < 0.3:
            mode = "FragmentationAware"
        weights = rng.choice(((0.7, 0.3), (0.5, 0.5), (0.0, 1.0), (0.333, 0.125), (0.9, 0.9)))
        return PoolFacts(name, mode, *weights, max_workers_per_node=rng.choice((0, 1, 3, 256)))

    def quota(self) -> QuotaFacts:
        rng = self.rng
        compute, vram = rng.choice((None, 0, 60_000, 900_000)), rng.choice((None, None, 30 * GIB, 300 * GIB))
        sharing: dict[str, Any] = {}
        if self.lends:
            sharing = {
                "cohort": rng.choice(("", "x", "x", "y")),
                "lend_compute": rng.choice((None, None, 20_000)),
                "borrow_vram": rng.choice((None, None, 10 * GIB)),
                "lend_devices": rng.choice((None, None, 1)),
            }
        return QuotaFacts(
            rng.choice(("team", "rival")) if self.lends else "team",
            **sharing,
            total_compute=compute,
            total_vram=vram,
            total_compute_limit=rng.choice((None, None, 400_000)),
            total_vram_limit=rng.choice((None, None, 90 * GIB)),
            total_workers=rng.choice((None, None, 3, 25)),
            total_devices=rng.choice((None, None, 8)),
            single_compute=rng.choice((None, 0, 50_000)),
            single_compute_limit=rng.choice((None, None, 90_000)),
            single_devices=rng.choice((None, 0, 2)),
        )

    def cohort(self) -> CohortFacts:
        rng = self.rng
        return CohortFacts(
            rng.choice("xyp"),
            parent=rng.choice(("", "p", "p")),
            lend_compute=rng.choice((None, 40_000)),
            borrow_devices=1,
        )

    # --- pods ---

    def request(self) -> GpuRequest | None:
        rng = self.rng
        if rng.random() < (0.5 if self.theme == "native devices" else 0.2):
            return None
        isolation = rng.choice(
            (Isolation.SOFT,) * 5 + (Isolation.HARD, Isolation.SHARED, *(Isolation.PARTITIONED,) * 2)
        )
        way = rng.choice(("compute", "percent", "nothing", "compute", "both"))
        if self.theme == "whole and no devices":
            isolation, way = rng.choice(((Isolation.SHARED, "nothing"), (Isolation.SOFT, "nothing"), (isolation, way)))
        elif self.theme == "partitions":
            isolation = Isolation.PARTITIONED
        elif self.theme == "topology" and rng.random() < 0.8:
            count, compute = rng.choice((1, 2, 2, 3, 4)), rng.choice((5_000, 60_000, 200_000))
            indices = rng.choice(((0, 2), (1, 3, 4))) if rng.random() < 0.1 else ()
            return GpuRequest("a", len(indices) or count, compute, vram=rng.choice((0, 20)) * GIB, indices=indices)
        elif self.theme == "whole nodes":
            count, percent = rng.choice(((4, 100_000), (4, 100_000), (2, 100_000), (1, 100_000), (1, 0), (1, 0)))
            isolation = rng.choice((Isolation.SOFT, Isolation.SOFT, Isolation.SHARED)) if count > 1 else Isolation.SOFT
            return GpuRequest("a", count, percent=percent or rng.choice((20_000, 33_000, 50_000)), isolation=isolation)
        partitioned = isolation is Isolation.PARTITIONED
        return GpuRequest(
            rng.choice(("a", "a", "a", "b", "none", "")) if rng.random() < 0.2 else rng.choice(POOLS),
            count=rng.choice((1, 1, 1, 1, 2, 3)),
            compute=rng.choice((11, 5_000, 20_000, 60_000)) if way in ("compute", "both") else 0,
            percent=rng.choice((1, 9_999, 33_333, 100_000)) if way in ("percent", "both") else 0,
            compute_limit=rng.choice((0, 0, 80_000)),
            percent_limit=rng.choice((0, 0, 50_000)),
            vram=rng.choice((0, 1, 6, 20)) * GIB if way != "nothing" else 0,
            vram_limit=rng.choice((0, 30)) * GIB,
            model=rng.choice(("A100", "A100", "NVIDIA L4", "odd")) if rng.random() < 0.2 else "",
            vendor=rng.choice(("NVIDIA", "NVIDIA", "Ascend")) if rng.random() < 0.2 else "",
            indices=rng.choice(((0, 2), (1,))) if rng.random() < 0.15 else (),
            isolation=isolation,
            partition=rng.choice(FORMS) if partitioned and rng.random() < 0.5 else "",
        )

    def kind(self) -> PodFacts:
        rng = self.rng
        request = self.request()
        native = rng.choice((1, 2) if self.theme == "native devices" else (0, 0, 0, 1)) if request is None else 0
        extended = rng.choice(({"vendor/thing": 1}, {"vendor/thing": 2}, {"vendor/other": 1}))
        extended = extended if rng.random() < 0.15 else {}
        return PodFacts(
            "",
            "",
            "",
            request=request,
            cpu=rng.choice((0, 500, 3_000)),
            memory=rng.choice((0, 1, 4)) * GIB,
            extended={**extended, "nvidia.com/gpu": native} if native else extended,
            native=native,
            node_selector=rng.choice(SELECTORS),
            affinity=rng.choice(AFFINITIES),
            tolerations=rng.choice(TOLERATIONS),
            rules=rng.choice(PORTS) if rng.random() < 0.3 else None,
            topology=rng.choice(RULES) if rng.random() < (0.6 if self.theme == "topology" else 0.05) else None,
        )

    def near(self, kind: PodFacts) -> PodFacts:
        """Another kind that differs in one part at most: they must not be taken for one."""
        rng, other = self.rng, self.kind()
        if kind.request is not None and other.request is not None and rng.random() < 0.7:
            part = rng.choice([one.name for one in fields(GpuRequest)])
            changed = {part: getattr(other.request, part)}
            if kind.request.isolation is Isolation.PARTITIONED and rng.random() < 0.5:
                changed = {"partition": rng.choice(FORMS)}
            return replace(kind, request=replace(kind.request, **changed))
        part = rng.choice(("cpu", "memory", "node_selector", "affinity", "tolerations", "rules", "topology"))
        return replace(kind, **{part: getattr(other, part)})

    # --- what happens ---

    def begin(self, nodes: int) -> None:
        for name in POOLS:
            self.both("upsert_pool", self.pool(name))
        if self.rng.random() < 0.7:
            self.both("set_quota", self.quota())
        for i in range(nodes):
            self.both("upsert_node", self.node(f"n{i}"))
            for index in range(self.rng.choice(SIZES.get(self.theme, (0, 2, 4, 4)))):
                self.both("upsert_device", self.device(f"n{i}", index))

    def step(self, nodes: int) -> None:
        rng = self.rng
        name = f"n{rng.randrange(nodes + 3)}"
        live = sorted(self.plain.live)
        events: tuple[tuple[int, Callable[[], None]], ...] = (
            (60, self.place),
            (14, lambda: self.both("release", rng.choice(live)) if live else None),
            (6, lambda: self.resize(rng.choice(live)) if live else None),
            (2, lambda: self.both("remove_node", name)),
            (6, lambda: self.both("upsert_node", self.node(name))),
            (5, lambda: self.both("upsert_device", self.device(name, rng.randrange(4)))),
            (3, lambda: self.both("remove_device", f"g{name[1:]}-{rng.randrange(4)}")),
            (30 if self.theme == "policies" else 1, lambda: self.both("upsert_pool", self.pool(rng.choice(POOLS)))),
            (1, lambda: self.both("remove_pool", rng.choice(POOLS))),
            (1, lambda: self.both("set_quota", self.quota())),
            (1, lambda: self.both("remove_quota", "team")),
            (3 if self.lends else 0, lambda: self.both("set_quota", self.quota())),
            (2 if self.lends else 0, lambda: self.both("set_cohort", self.cohort())),
            (1 if self.lends else 0, lambda: self.both("remove_cohort", rng.choice("xyp"))),
            (3, self.try_out),
            (2, self.truth),
        )
        rng.choices([event for _, event in events], [weight for weight, _ in events])[0]()

    def namespace(self) -> str:
        return self.rng.choice((*NAMESPACES, "team", "rival") if self.lends else NAMESPACES)

    def fresh(self) -> PodFacts:
        self.number += 1
        name = f"p{self.number}"
        pod = replace(self.rng.choice(self.kinds), uid=name, name=name, namespace=self.namespace())
        self.both("arrive", pod)
        return pod

    def place(self) -> None:
        pod = self.fresh()
        decision = self.ask(pod)
        if decision is None:
            return
        try:
            self.state.assume(pod, decision.placement)
        except QuotaExceeded:
            assert decision.placement.partitions  # which counts for more than was asked
            return
        self.plain.place(pod, decision.placement)

    def ask(self, pod: PodFacts) -> Decision | None:
        """Both answer, and the answers agree."""
        answer = self.plain.decide(pod)
        try:
            decision = decide(self.state, pod)
        except QuotaExceeded as error:
            assert answer == Answer(quota=error.key)
        except Unschedulable as error:
            self.refused += 1
            assert (answer.quota, answer.node) == ("", "")
            assert list(error.reasons.items()) == list(answer.removed.items())
        else:
            self.placed += 1
            if answer.tier is not None:
                self.tiers[answer.tier] += 1
            assert answer_of(decision) == answer
            assert list(decision.counts.items()) == list(answer.removed.items())
            if decision.mode == "FragmentationAware":
                self.ahead["placed"] += 1
                self.ahead["kept"] += "kept-whole" in decision.counts
                self.ahead["several"] += len(decision.device_scores) > 1
                self.ahead["reluctant"] += any(ScorePart.WHOLE_NODES in dict(one) for one in decision.parts[:1])
            return decision
        return None

    def resize(self, uid: str) -> None:
        pod, placement = self.plain.live[uid]
        if pod.request is None or placement.partitions:
            return
        wanted = replace(pod.request, vram=self.rng.choice((0, 2, 12)) * GIB)
        try:
            self.state.resize(uid, wanted)
        except (NotHoldable, QuotaExceeded):
            return
        self.plain.place(replace(pod, request=larger(pod.request, wanted)), placement)
        self.place()
        final = replace(pod, request=wanted)
        self.state.confirm(final, placement)
        self.plain.place(final, placement)

    def truth(self) -> None:
        """The API server says where a pod is, and it need not be where anybody would have put it."""
        pod, rng = self.fresh(), self.rng
        count = pod.request.count if pod.request is not None else 0
        if count > len(self.plain.devices) or (pod.request is not None and pod.request.isolation == "partitioned"):
            return
        devices = rng.sample(sorted(self.plain.devices), count)
        placement = Placement(rng.choice(sorted(self.plain.nodes) or ["n0"]), tuple(devices))
        self.state.confirm(pod, placement)
        self.plain.place(pod, placement)

    def try_out(self) -> None:
        """A statement that is rolled back leaves no trace in what is kept."""
        pods = [self.fresh() for _ in range(self.rng.randint(1, 3))]  # nobody arrives within a statement
        mark = self.state.checkpoint()
        for pod in pods:
            try:
                self.state.assume(pod, decide(self.state, pod).placement)
            except (Unschedulable, QuotaExceeded):
                for uid in list(self.state.allocations)[:2]:
                    self.state.release(uid)
        self.state.rollback(mark)

    def rest(self, most: int) -> None:
        """There is a moment in which nothing is decided, for so many steps."""
        classes, steps = self.state.classes, 0
        before = len(classes)
        while steps < most and classes.catch_up_one():
            steps += 1
        self.ahead["caught up"] += steps
        assert steps < ALL  # it comes to an end
        assert len(classes) == before


def answer_of(decision: Decision) -> Answer:
    placement: Placement = decision.placement
    return Answer(
        node=placement.node,
        devices=placement.devices,
        partitions=placement.partitions,
        tier=None if decision.plan is None else decision.plan.tier,
        affinity=None if decision.plan is None else decision.plan.affinity,
        score=decision.score,
        device_scores=decision.device_scores,
        alternatives=decision.alternatives,
        nodes=decision.nodes,
        feasible=decision.feasible,
        removed=decision.counts,  # type: ignore[arg-type]
    )


def live_through(
    seed: int,
    *,
    nodes: int,
    steps: int,
    kept: int,
    one_by_one: int,
    front_from: int = 1,
    compiled: bool = True,
    lends: bool = False,
) -> World:
    """``one_by_one`` rows are corrected by comparisons, more by column operations; ``kept`` kinds are remembered.

    ``front_from`` rows are enough to keep the best of them apart. ``compiled``: the kernel corrects rows, if it is there.
    """
    before = rated.ONE_BY_ONE, rated.FRONT_FROM
    there = row_kernel.COMPILED
    row_kernel.COMPILED = compiled and there
    rated.ONE_BY_ONE, rated.FRONT_FROM = one_by_one, front_from  # type: ignore[misc]
    try:
        world = World(random.Random(seed), kept=kept, lends=lends)
        world.begin(nodes)
        moments = random.Random(~seed)
        for _ in range(steps):
            world.step(nodes)
            if moments.random() < 0.2:
                world.rest(moments.choice((1, 2, ALL)))
    finally:
        rated.ONE_BY_ONE, rated.FRONT_FROM = before  # type: ignore[misc]
        row_kernel.COMPILED = there
    return world


worlds = {
    "seed": st.integers(0, 2**32 - 1),
    "nodes": st.one_of(st.integers(1, 12), st.just(16)),  # one more than 16 makes the columns grow
    "steps": st.integers(1, 50),
    "kept": st.sampled_from((64, 64, 2)),
    "one_by_one": st.sampled_from((8, 0, 1)),
    "front_from": st.sampled_from((1, 4096)),
    "compiled": st.sampled_from((True, True, False)),
}


@given(**worlds)
@settings(max_examples=part_of(100), deadline=None)
def test_columns_answer_as_plain_loops_do(**world: int) -> None:
    live_through(**world)


@given(**worlds)
@settings(max_examples=part_of(60), deadline=None)
def test_quotas_that_are_lent_bound_as_plain_loops_do(**world: int) -> None:
    live_through(**world, lends=True)


@pytest.mark.long
@given(**worlds)
@settings(max_examples=10_000, deadline=None)
def test_columns_answer_as_plain_loops_do_in_ten_thousand_worlds(**world: int) -> None:
    live_through(**world)


def test_the_random_worlds_have_something_to_say() -> None:
    worlds = [live_through(seed, nodes=8, steps=40, kept=64, one_by_one=8) for seed in range(40)]
    assert sum(world.placed for world in worlds) > 200
    assert sum(world.refused for world in worlds) > 200
    partitioned = [placement for world in worlds for _, placement in world.plain.live.values() if placement.partitions]
    assert len(partitioned) >= 10
    tiers = sum((world.tiers for world in worlds), Counter[int]())
    assert min(tiers[tier] for tier in range(4)) >= 5
    ahead = sum((world.ahead for world in worlds), Counter[str]())
    assert min(ahead[each] for each in ("placed", "kept", "several", "reluctant", "caught up")) >= 5
