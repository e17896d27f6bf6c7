"""What the watch brought and nobody has applied yet.

Apart from the service because informers speak whenever something arrives, and the columns may change only when their
owner says so. Changes of the fleet go before changes of pods, so that at the start devices are there before the pods
that hold them. Bounded by the informers' own caches: an entry refers to an object that a cache holds or has just
left.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from tensorfusion.model.cohort import GPUCohort
from tensorfusion.model.core import Namespace, Node, Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Object
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.resources import (
    GPU_COHORTS,
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    NAMESPACES,
    NODES,
    PODS,
    PROVIDER_CONFIGS,
    SCHEDULING_CONFIG_TEMPLATES,
    Resource,
)
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler.mirror import FleetMirror
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

ObjectT = TypeVar("ObjectT", bound=Object)


class Inbox:
    """Subscribes to every kind the scheduler follows. ``news`` is called when something arrives."""

    def __init__(
        self, manager: Manager, mirror: FleetMirror, *, pod: Callable[[Change[Pod]], None], news: Callable[[], None]
    ) -> None:
        self._fleet: deque[partial[None]] = deque()
        self._pods: deque[Change[Pod]] = deque()
        self._pod = pod
        self._news = news
        self._follow(manager, SCHEDULING_CONFIG_TEMPLATES, SchedulingConfigTemplate, apply=mirror.template)
        self._follow(manager, GPU_POOLS, GPUPool, apply=mirror.pool)
        self._follow(manager, NAMESPACES, Namespace, apply=mirror.namespace)
        self._follow(manager, NODES, Node, apply=mirror.node)
        self._follow(manager, PROVIDER_CONFIGS, ProviderConfig, apply=mirror.provider)
        self._follow(manager, GPUS, GPU, apply=mirror.device)
        self._follow(manager, GPU_RESOURCE_QUOTAS, GPUResourceQuota, apply=mirror.quota)
        self._follow(manager, GPU_COHORTS, GPUCohort, apply=mirror.cohort)
        manager.informer(PODS, Pod).subscribe_batch(self._receive_pods)

    @property
    def empty(self) -> bool:
        return not self._fleet and not self._pods

    def apply(self, limit: int) -> None:
        """Apply the oldest changes, at most ``limit`` of them."""
        for _ in range(limit):
            if self._fleet:
                apply = self._fleet.popleft()
            elif self._pods:
                apply = partial(self._pod, self._pods.popleft())
            else:
                break
            try:
                apply()
            except Exception:  # the edge of the loop: one object's fault must not stop the others
                log.exception("a change could not be applied", object=apply.args[0].key)

    def _follow(
        self, manager: Manager, resource: Resource, type_: type[ObjectT], *, apply: Callable[[Change[ObjectT]], None]
    ) -> None:
        def receive(changes: Sequence[Change[ObjectT]]) -> None:
            self._fleet.extend(partial(apply, change) for change in changes)
            self._news()

        manager.informer(resource, type_).subscribe_batch(receive)

    def _receive_pods(self, changes: Sequence[Change[Pod]]) -> None:
        self._pods.extend(changes)
        self._news()
