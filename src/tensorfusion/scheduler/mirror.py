"""Everything but pods, as the API server tells it, applied to the columns: nodes, devices, pools and quotas.

The one place that writes the fleet into ``scheduling.State``. Apart from the service because it decides nothing: it
applies a change, and says what the change may have made possible (``signals``), which the service offers to waiting
pods. Writes that change no fact (heartbeats, the roll-ups that the operator writes because of our own placements)
end here, without touching a column or waking anybody.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.core import Node
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Object
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.runtime.informer import Change
from tensorfusion.scheduler import feeds
from tensorfusion.scheduler.feeds import PlacementDefaults
from tensorfusion.scheduling.hints import Signal, SignalKind
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

ObjectT = TypeVar("ObjectT", bound=Object)
FactsT = TypeVar("FactsT")


class FleetMirror:
    """Applies changes to ``state``; ``signals`` collects what they may have made possible."""

    def __init__(self, state: State, *, defaults: PlacementDefaults) -> None:
        self.signals: list[Signal] = []
        self._state = state
        self._defaults = defaults
        self._templates: dict[str, SchedulingConfigTemplate] = {}
        self._pools: dict[str, GPUPool] = {}
        self._quotas: dict[str, dict[str, GPUResourceQuota]] = {}

    def node(self, change: Change[Node]) -> None:
        facts = _changed(change, feeds.node_facts)
        if facts is not None:
            self._state.upsert_node(facts)
            self.signals.append(Signal(SignalKind.NODE, node=facts.name))
        elif change.new is None:
            self._state.remove_node(change.key.name)

    def device(self, change: Change[GPU]) -> None:
        facts = _changed(change, feeds.device_facts)
        if facts is not None:
            self._state.upsert_device(facts)
            self.signals.append(Signal(SignalKind.DEVICE, node=facts.node, devices=(facts.name,), pool=facts.pool))
        elif change.new is None:
            self._state.remove_device(change.key.name)
