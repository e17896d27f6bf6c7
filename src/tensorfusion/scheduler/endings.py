"""When placed pods end, as far as somebody said so: a deadline of their own, or the end that they were told.

Apart from the explanation because it reads pods, and says nothing of any other.
"""

import asyncio
from datetime import datetime

from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduling.circumstances import Ending
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.state import State

DEADLINE, TERMINATING = "activeDeadlineSeconds", "it was told to end"
_PART = 2_000


def ending_of(pod: Pod) -> Ending | None:
    """When the pod ends at the latest; None where nothing says so."""
    found = []
    if pod.metadata.deletion_timestamp is not None:
        found.append((_seconds(pod.metadata.deletion_timestamp), TERMINATING))
    deadline, started = pod.spec.active_deadline_seconds, pod.status.start_time
    if deadline is not None and started is not None:
        found.append((_seconds(started) + deadline, DEADLINE))
    found = [(at, why) for at, why in found if at > 0]
    if not found:
        return None
    at, why = min(found)
    return Ending(pod.metadata.uid, at, why)


async def endings_for(state: State, pods: Cache[Pod], asking: PodFacts) -> tuple[Ending, ...]:
    """The known ends of pods that hold what this one asks for: of its pool, or else of any node, or of its quota."""
    found = []
    held = list(state.allocations.values())
    pool = asking.request.pool if asking.request is not None else None
    for start in range(0, len(held), _PART):
        for one in held[start : start + _PART]:
            request = one.pod.request
            concerns = pool is None or one.pod.namespace == asking.namespace
            if not concerns and (request is None or request.pool != pool):
                continue
            pod = pods.get(Key(one.pod.namespace, one.pod.name))
            ending = ending_of(pod) if pod is not None and pod.metadata.uid == one.pod.uid else None
            if ending is not None:
                found.append(ending)
        await asyncio.sleep(0)
    return tuple(found)


def _seconds(moment: str) -> int:
    """Unix seconds; 0 for what is no time."""
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0
