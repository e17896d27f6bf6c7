"""The fleet as the API server tells it: every change of an object, applied to the columns.

The one place that writes facts into ``scheduling.State`` because of a watch event. Apart from the service because it
decides nothing: it answers what changed (``Hint``) and which pods are pending, and the service acts on both. All methods
are synchronous: a batch of events is applied without anybody looking in between.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod, PriorityClass
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.scheduler import feeds
from tensorfusion.scheduler.feeds import PlacementDefaults, Requests
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.state import State

log = get_logger(__name__)
