"""Taints that say what is wrong with a node: not ready, unreachable, cordoned, under pressure.

Nothing is evicted because of them: a simulated machine that is cut off keeps its pods until it is back or its Node is
deleted. Taints of other keys are left alone.

Source: kube-controller-manager's node lifecycle controller.
"""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.objects import REFUSED_PAUSE
from tensorfusion.errors import Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Node, Taint
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import NODES
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_PREFIX = "node.kubernetes.io/"
_NO_SCHEDULE, _NO_EXECUTE = "NoSchedule", "NoExecute"
_BY_CONDITION = {
    ("Ready", "False"): "not-ready",
    ("Ready", "Unknown"): "unreachable",
    ("MemoryPressure", "True"): "memory-pressure",
    ("DiskPressure", "True"): "disk-pressure",
    ("PIDPressure", "True"): "pid-pressure",
    ("NetworkUnavailable", "True"): "network-unavailable",
}
_EXECUTED = ("not-ready", "unreachable")
_OURS = frozenset({f"{_PREFIX}{name}" for name in (*_BY_CONDITION.values(), "unschedulable")})
_WORKERS = 2


class NodeTaintController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def install(self, manager: Manager) -> None:
        """Register the handler and the controller."""
        self._nodes = manager.informer(NODES, Node)
        controller = Controller("node-taints", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        self._nodes.subscribe(self._on_node)

    def _on_node(self, change: Change[Node]) -> None:
        if change.new is not None and _differs(change.new):
            self._queue.add(change.key)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        node = self._nodes.cache.get(key)
        if node is None or not _differs(node):
            return DONE
        held = {(taint.key, taint.effect): _written(taint) for taint in node.spec.taints}
        now = timestamp(self._clock.now())
        ours = [
            held.get(wanted, {"key": wanted[0], "effect": wanted[1], "timeAdded": now})
            for wanted in wanted_taints(node)
        ]
        others = [taint for (name, _), taint in held.items() if name not in _OURS]
        guard = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version}
        patch = {"metadata": guard, "spec": {"taints": [*others, *ours] or None}}
        with suppress(NotFound, Invalid):  # gone, or another one by the same name
            await self._client.patch(NODES, key.name, patch)
        return DONE


def wanted_taints(node: Node) -> Iterator[tuple[str, str]]:
    """Key and effect of the taints that a node's state calls for."""
    for condition in node.status.conditions:
        name = _BY_CONDITION.get((condition.type, condition.status))
        if name is not None:
            yield f"{_PREFIX}{name}", _NO_SCHEDULE
            if name in _EXECUTED:
                yield f"{_PREFIX}{name}", _NO_EXECUTE
    if node.spec.unschedulable:
        yield f"{_PREFIX}unschedulable", _NO_SCHEDULE


def _differs(node: Node) -> bool:
    held = {(taint.key, taint.effect) for taint in node.spec.taints if taint.key in _OURS}
    return held != set(wanted_taints(node))


def _written(taint: Taint) -> Raw:
    written: Raw = msgspec.to_builtins(taint)
    return written
