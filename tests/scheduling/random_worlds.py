"""A fleet and a stream of pods from a seed: what tests of determinism and of simulations run through."""

import random

from tensorfusion.model.core import Taint, Toleration
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.facts import PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.state import State
from worlds import GIB, device, node, preferred, required, requirement, term

MODELS = ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA L4")
MODES = ("CompactFirst", "LowLoadFirst", "NodeCompactGPULowLoad")
SOFT_TAINT = Taint("tensor-fusion.ai/used-by", "tensor-fusion", "PreferNoSchedule")
AFFINITIES = (
    None,
    None,
    None,
    required(term(requirement("zone", "In", "a", "b")), term(requirement("rank", "Gt", "7"))),
    preferred((20, term(requirement("zone", "In", "b"))), (3, term(requirement("rank", "Lt", "4")))),
)


def random_fleet(rng: random.Random, state: State) -> None:
    for pool in ("a", "b"):
        facts = PoolFacts(pool, rng.choice(MODES), max_workers_per_node=rng.choice((0, 3, 256)))
        state.upsert_pool(facts)
    quota = QuotaFacts("team", total_compute=400_000, total_vram=300 * GIB, total_workers=25, single_devices=3)
    state.set_quota(quota)
    for i in range(rng.randint(2, 9)):
        labels = {"zone": rng.choice("abc"), "rank": str(i)}
        taints = rng.choice(((), (), (), (SOFT_TAINT,), (Taint("team", "x", "NoExecute"),)))
        one = node(f"n{i}", labels=labels, taints=taints, cpu=rng.choice((8_000, 64_000)), ready=rng.random() > 0.05)
        state.upsert_node(one)
        for j in rng.sample(range(8), rng.choice((0, 1, 2, 4, 6))):
            gpu = device(
                f"n{i}-{j}",
                f"n{i}",
                pool="ab"[i % 2] if rng.random() > 0.1 else "a",
                model=rng.choice(MODELS),
                phase=rng.choice(("Running",) * 9 + ("Pending",)),
                compute=rng.choice((100_000, 120_000)),
                vram=rng.choice((40 * GIB, 80 * GIB)),
            )
            state.upsert_device(gpu)


def random_pod(rng: random.Random, number: int) -> PodFacts:
    request = None
    namespace = rng.choice(("team", "free", "free"))
    if rng.random() > 0.15:
        by_percent = namespace == "free" and rng.random() < 0.2
        request = GpuRequest(
            rng.choice("ab"),
            count=rng.choice((1, 1, 1, 1, 2, 4)),
            compute=0 if by_percent else rng.randint(1, 40) * 1000,
            percent=rng.randint(1, 60_000) if by_percent else 0,
            vram=rng.randint(1, 20) * GIB,
            model=rng.choice(("", "", "", "A100", "NVIDIA L4")),
            indices=rng.choice(((), (), (), (), (0, 1, 4))),
            isolation=rng.choice((Isolation.SOFT,) * 9 + (Isolation.SHARED,)),
        )
    return PodFacts(
        f"u{number}",
        namespace,
        f"pod{number}",
        request=request,
        cpu=rng.choice((0, 500, 2000)),
        memory=rng.choice((0, GIB)),
        node_selector=rng.choice(({}, {}, {}, {"zone": "a"})),
        affinity=rng.choice(AFFINITIES),
        tolerations=rng.choice(((), (Toleration("team", "Exists"),))),
    )
