"""Small worlds for tests: short ways to say fleets and pods."""

from collections.abc import Iterable
from typing import Any

from tensorfusion.model.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm, PreferredTerm
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts, PoolFacts
from tensorfusion.scheduling.state import State

GIB = 1 << 30
TFLOPS = 1000


def node(name: str, **facts: Any) -> NodeFacts:
    return NodeFacts(name, **{"cpu": 64_000, "memory": 256 * GIB, **facts})


def device(name: str, where: str, **facts: Any) -> DeviceFacts:
    defaults = {"vendor": "NVIDIA", "model": "NVIDIA A100-SXM4-80GB", "compute": 100 * TFLOPS, "vram": 80 * GIB}
    index = int(name.rsplit("-", 1)[-1])
    return DeviceFacts(name, where, **{"pool": "pool", "index": index, **defaults, **facts})


def fleet(nodes: int = 2, devices: int = 2, *, pool: PoolFacts | None = None, **facts: Any) -> State:
    """``nodes`` nodes n0, n1, ... with devices n0-0, n0-1, ... of 100 TFLOPS and 80 GiB in pool ``pool``."""
    state = State()
    state.upsert_pool(pool or PoolFacts("pool"))
    for i in range(nodes):
        state.upsert_node(node(f"n{i}"))
        for j in range(devices):
            state.upsert_device(device(f"n{i}-{j}", f"n{i}", **facts))
    return state


def pod(name: str = "pod", **wishes: Any) -> PodFacts:
    """A pod asking for 10 TFLOPS and 10 GiB of one device unless told otherwise; keys of GpuRequest and PodFacts."""
    own = {key: wishes.pop(key) for key in list(wishes) if key in PodFacts.__dataclass_fields__}
    request = GpuRequest(**{"pool": "pool", "compute": 10 * TFLOPS, "vram": 10 * GIB, **wishes})
    return PodFacts(**{"uid": f"uid-{name}", "namespace": "team", "name": name, "request": request, **own})


def plain(name: str = "pod", **own: Any) -> PodFacts:
    """A pod that takes no share."""
    return PodFacts(**{"uid": f"uid-{name}", "namespace": "team", "name": name, **own})


def run(state: State, *pods: PodFacts) -> Decision:
    """Decide for and assume each of the pods; answers the last decision."""
    for one in pods:
        decision = decide(state, one)
        state.assume(one, decision.placement)
    return decision


def requirement(key: str, operator: str, *values: str) -> SelectorRequirement:
    return SelectorRequirement(key, operator, values)


def term(*expressions: SelectorRequirement, fields: Iterable[SelectorRequirement] = ()) -> NodeSelectorTerm:
    return NodeSelectorTerm(match_expressions=expressions, match_fields=tuple(fields))


def required(*terms: NodeSelectorTerm) -> Affinity:
    return Affinity(node_affinity=NodeAffinity(required=NodeSelector(terms=terms)))


def preferred(*terms: tuple[int, NodeSelectorTerm]) -> Affinity:
    return Affinity(
        node_affinity=NodeAffinity(preferred=tuple(PreferredTerm(weight=w, preference=t) for w, t in terms))
    )
