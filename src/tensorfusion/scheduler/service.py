"""The scheduler: applies what the watch says, decides, and hands decisions to the binder.

One task owns the columns. A *step* of it is synchronous: a slice of watch events is applied, or, once none is left, a
few pods are decided; between two steps it yields, so that a list of 50,000 pods never keeps the Lease from being
renewed. Decisions are taken only while this replica leads and only after it has *caught up*: a new leader lists the pods
once and takes in what its predecessor bound and the watch has not delivered yet. A replica that does not lead keeps
following the watch and can take over at once.

Order is fixed: changes of the fleet go before changes of pods, both in the order of the watch; pods go by priority and
arrival. The same events give the same decisions.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, InvalidRequest, NotFit, NotFound, QuotaExceeded
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod, PriorityClass
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Object
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.resources import (
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SCHEDULING_CONFIG_TEMPLATES,
    Resource,
)
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Binder, Binding, Leadership, Outcome
from tensorfusion.scheduler.catchup import catch_up
from tensorfusion.scheduler.feeds import PlacementDefaults
from tensorfusion.scheduler.grants import binding_annotations
from tensorfusion.scheduler.mirror import FleetMirror
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.records import Record, Records, Result
from tensorfusion.scheduler.reports import Recorder, Reports, Writer
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.hints import helps
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

CHANGES_A_STEP = 500
DECISIONS_A_STEP = 32
TICK = 0.25
"""Seconds between two looks at backoffs and at the leadership."""
HOUSEKEEPING = 5.0
UNCONFIRMED_AFTER = 30.0
"""Seconds after which a successful Binding that the watch does not show is looked up."""
FENCED_FOR = 15.0
"""Seconds without decisions after admission refused our epoch: by then the elector knows who leads."""
WAKES_COUNTED = 200_000
"""Hints times waiting pods beyond which all are woken instead of asking each."""

QUOTA_EVENT = "GPUQuotaOrCapacityNotEnough"
FAILED_EVENT = "FailedScheduling"

ObjectT = TypeVar("ObjectT", bound=Object)
Apply = Callable[[], None]


class SchedulerService:
    """Places the pods of ``scheduler_names``. Subscribes when made; ``run`` is a task of the manager."""

    def __init__(
        self,
        manager: Manager,
        leadership: Leadership,
        *,
        recorder: Recorder,
        writer: Writer,
        scheduler_names: Sequence[str] = (keys.SCHEDULER_NAME,),
        defaults: PlacementDefaults = PlacementDefaults(),  # noqa: B008 - frozen
    ) -> None:
        self.scheduler_names = frozenset(scheduler_names)
        self.state = State()
        self.records = Records()
        self._api = manager.client
        self._clock: Clock = manager.clock
        self._leadership = leadership
        self._ready_epoch: int | None = None
        self._fenced_until = float("-inf")
        self._kick = asyncio.Event()
        self._fleet_inbox: deque[Apply] = deque()
        self._pod_inbox: deque[Change[Pod]] = deque()
        self._hints: list[Hint] = []
        self._mirror = FleetMirror(self.state, self._hints, defaults=defaults)
        self._classes = manager.informer(PRIORITY_CLASSES, PriorityClass).cache
        self.book = PodBook(
            self.state,
            self._hints,
            clock=self._clock,
            scheduler_names=self.scheduler_names,
            priority_of=self._priority_of,
            refused=self._refused,
        )
        self._binder = Binder(self._api, leadership, clock=self._clock, settle=self._settle)
        self.pods = manager.informer(PODS, Pod).cache
        self.gpus = manager.informer(GPUS, GPU).cache
        self._reports = Reports(recorder, writer, clock=self._clock)
        self._subscribe(manager)
