"""The product's placement modes behind the simulator's seam: the code that decides in a cluster makes every choice.

A run has a scheduling state of its own, in which the trace's machines are one pool of the mode, and its arrivals are
pods. Their amounts are those of the trace's mapping (1,000 milli are a whole device of 100 TFLOPS and 16 Gi). A node
takes as many pods as come: the trace knows no such limit. Arrivals without devices are plain pods, placed where they do
the least damage, whatever the mode.
"""

from tensorfusion.errors import NotFit
from tensorfusion.model.common import PlacementMode
from tensorfusion.model.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.state import State
from tensorfusion.testing.packing.policies import Factory, Policy, Setting
from tensorfusion.testing.packing.world import WHOLE, Request, Spot
from tensorfusion.testing.traces import DEVICE_TFLOPS, DEVICE_VRAM_MIB, MODEL_LABEL

_MIB = 1 << 20
_DEVICE_GFLOPS = DEVICE_TFLOPS * 1000
_POOL = "pool"
_ANY_NUMBER = 1_000_000


def mode(wanted: PlacementMode) -> Factory:
    """A factory of the policy that places as a pool of this mode does."""

    def make(setting: Setting) -> Policy:
        return ProductMode(setting, wanted)

    return make


class ProductMode:
    """One run of one placement mode. Rows and slots of the world are named by their numbers here."""

    def __init__(self, setting: Setting, wanted: PlacementMode) -> None:
        self._state = State()
        self._state.upsert_pool(PoolFacts(_POOL, mode=wanted, max_workers_per_node=0))
        for row, node in enumerate(setting.world.nodes):
            name, labels = str(row), {MODEL_LABEL: node.model} if node.gpus else {}
            cpu, memory = node.cpu, node.memory * _MIB
            self._state.upsert_node(NodeFacts(name, labels=labels, cpu=cpu, memory=memory, pods=_ANY_NUMBER))
            for slot in range(node.gpus):
                self._state.upsert_device(_device(row, slot, node.model))

    @property
    def state(self) -> State:
        """The books of this run, for those who look further than at single choices."""
        return self._state

    def choose(self, arrival: int, request: Request) -> Spot | None:
        pod = _pod(arrival, request)
        self._state.arrive(pod)
        try:
            placement = decide(self._state, pod).placement
        except NotFit:
            return None
        slots = [int(device.partition("/")[2]) for device in placement.devices]
        return Spot(int(placement.node), tuple(sorted(slots)))

    def placed(self, arrival: int, request: Request, spot: Spot) -> None:
        devices = tuple(_device_name(spot.node, slot) for slot in spot.slots)
        self._state.assume(_pod(arrival, request), Placement(str(spot.node), devices))

    def left(self, arrival: int, request: Request, spot: Spot) -> None:
        self._state.release(_uid(arrival))


def _device_name(row: int, slot: int) -> str:
    return f"{row}/{slot}"


def _uid(arrival: int) -> str:
    return f"pod-{arrival}"


def _device(row: int, slot: int, model: str) -> DeviceFacts:
    return DeviceFacts(
        _device_name(row, slot),
        str(row),
        _POOL,
        model=model,
        index=slot,
        compute=_DEVICE_GFLOPS,
        vram=DEVICE_VRAM_MIB * _MIB,
    )


def _pod(arrival: int, request: Request) -> PodFacts:
    uid = _uid(arrival)
    share, affinity = None, None
    if request.gpus:
        share = GpuRequest(
            _POOL,
            count=request.gpus,
            compute=_DEVICE_GFLOPS * request.milli // WHOLE,
            vram=DEVICE_VRAM_MIB * request.milli // WHOLE * _MIB,
        )
        affinity = _one_of(request.models) if request.models else None
    return PodFacts(uid, "trace", uid, request=share, cpu=request.cpu, memory=request.memory * _MIB, affinity=affinity)


def _one_of(models: tuple[str, ...]) -> Affinity:
    """The node affinity that keeps a pod on these models, spelled as the trace spells them."""
    term = NodeSelectorTerm(match_expressions=(SelectorRequirement(MODEL_LABEL, "In", models),))
    return Affinity(node_affinity=NodeAffinity(required=NodeSelector((term,))))
