"""What would help a pod that fits nowhere now: remedies, each tried out before it is said.

Apart from the explanation because it is pure, and lazy: the caller takes one remedy after the other and may do other
things in between, for each is proven against the world of its own moment and leaves it as it was.

Rejected: reading remedies off the counts of a refusal. A device that lacks memory may also be on a cordoned node, and
what is said then does not help.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.circumstances import Circumstances, Ending, room_for_pod
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.preemption import Plan
from tensorfusion.scheduling.reasons import DeviceReason
from tensorfusion.scheduling.remedy import Remedy, aside, tried_without
from tensorfusion.scheduling.remedy_amounts import smaller_needs, smaller_shares
from tensorfusion.scheduling.remedy_quota import quota_remedies
from tensorfusion.scheduling.remedy_rules import looser_rules, other_pools
from tensorfusion.scheduling.state import State

ENDS_TRIED = 1024
"""Pods with a known end that are looked at, the first to end first."""
_HIGHEST = 1_000_000_000
"""Priorities of users end here."""
_LEVELS = 4


def failure_of(state: State, pod: PodFacts) -> NotFit | QuotaExceeded | None:
    """Why the pod does not fit now; None where it does. Changes nothing."""
    with aside(state):
        try:
            decide(state, pod)
        except (NotFit, QuotaExceeded) as failure:
            failure.__traceback__ = None
            return failure
    return None


def remedies(
    state: State, pod: PodFacts, failure: NotFit | QuotaExceeded, around: Circumstances
) -> Iterator[Remedy | None]:
    """What would help a pod that fails so, the cheapest for its owner first; None where the caller may take a break."""
    yield from soonest(state, pod, around.endings)
    yield None
    reasons = frozenset(failure.reasons) if isinstance(failure, NotFit) else frozenset({DeviceReason.QUOTA})
    if DeviceReason.QUOTA in reasons:
        yield from quota_remedies(state, pod)
        yield None
    if isinstance(failure, NotFit):
        yield from _of_the_fleet(state, pod, reasons, around)
        yield None
    yield from more_important(state, pod, failure, around)


def _of_the_fleet(
    state: State, pod: PodFacts, reasons: frozenset[str], around: Circumstances
) -> Iterator[Remedy | None]:
    yield from smaller_shares(state, pod)
    yield None
    yield from smaller_needs(state, pod)
    yield None
    yield from looser_rules(state, pod, reasons)
    yield None
    yield from other_pools(state, pod, around.usable)


def soonest(state: State, pod: PodFacts, endings: Sequence[Ending]) -> Iterator[Remedy]:
    """The first moment at which enough of the pods with a known end are gone."""
    held = state.allocations
    ends = sorted((one for one in endings if one.uid in held), key=lambda one: (one.at, one.uid))[:ENDS_TRIED]
    uids = tuple(one.uid for one in ends)

    def enough(count: int) -> bool:
        return tried_without(state, pod, uids[:count]) is not None

    if not ends or not enough(len(ends)):
        return
    low, high = 0, len(ends)
    while high - low > 1:  # fits without ``high`` of them, and is not known to without ``low``
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    needed = _needed(state, pod, ends[:high])
    last = ends[high - 1]
    yield Remedy("", {}, leaving=tuple(one.uid for one in needed), at=last.at)


def _needed(state: State, pod: PodFacts, ends: Sequence[Ending]) -> list[Ending]:
    """Those of them that really have to end: found while they are few."""
    needed = list(ends)
    for one in ends[:-1] if len(ends) <= _FEW else ():
        rest = [other for other in needed if other is not one]
        if tried_without(state, pod, tuple(other.uid for other in rest)) is not None:
            needed = rest
    return needed


_FEW = 32


def more_important(
    state: State, pod: PodFacts, failure: NotFit | QuotaExceeded, around: Circumstances
) -> Iterator[Remedy]:
    """The least priority with which it would make room for itself."""
    if not pod.preempts or pod.gang is not None or pod.priority >= _HIGHEST:
        return
    with aside(state):
        plan = _plan(state, replace(pod, priority=_HIGHEST), failure, around)
        if plan is None or not (plan.victims or plan.instead):
            return
        if plan.owed and _plan(state, pod, failure, around) is not None:
            return  # what is its own comes back as it is
        highest = max(one.pod.rank for one in plan.victims or plan.instead)
        least = max(pod.priority + 1, (highest - pod.rank + _LEVELS * pod.priority) // _LEVELS + 1)
        if least >= _HIGHEST:
            return
        important = replace(pod, priority=least)
        plan = _plan(state, important, failure, around)
    if plan is not None:
        count = len(plan.victims)
        words = (
            f"fits with a priority of {least} or more: {count} less important pod{'s' * (count > 1)} would be evicted"
            if count
            else f"fits with a priority of {least} or more: a node that is kept for whole-node jobs would be opened"
        )
        yield Remedy(words, {"priority": least}, pod=important, leaving=tuple(one.pod.uid for one in plan.victims))


def _plan(state: State, pod: PodFacts, failure: NotFit | QuotaExceeded, around: Circumstances) -> Plan | None:
    found = room_for_pod(state, pod, failure, around)
    return found if isinstance(found, Plan) else None
