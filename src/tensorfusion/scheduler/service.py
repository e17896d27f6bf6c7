"""The scheduler: applies what the watch says, decides, and hands decisions to the binder.

One task owns the columns. A *step* of it is synchronous: a slice of watch events is applied, or, once none is left, a
few pods are decided; between two steps it yields, so that a list of 50,000 pods never keeps the Lease from being
renewed. Decisions are taken only while this replica leads and only after it has *caught up*: a new leader lists the pods
once and takes in what its predecessor bound and the watch has not delivered yet. A replica that does not lead keeps
following the watch and can take over at once.

Order is fixed: changes of the fleet go before changes of pods, both in the order of the watch, pods by priority and
arrival. The same events give the same decisions.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, InvalidRequest, NotFound, QuotaExceeded
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod, PriorityClass
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.resources import (
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SCHEDULING_CONFIG_TEMPLATES,
)
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Binder, Binding, Leadership, Outcome
