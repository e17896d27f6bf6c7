"""The arrivals of a recorded period: when each pod came, what it asked for, and how long it runs once it has a place.

A pod that had a place runs for as long as it ran. How long is not known of pods that still ran when the period ended,
and of those that never had a place: it is drawn, with a seed, from the pods of the same size class that finished and
ran at least as long. The draws belong to the pods: whatever is changed, the same pod runs for the same time.
"""

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tensorfusion.clock import micro_timestamp
from tensorfusion.errors import ConfigError
from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduler.recording.history import FleetChange, History, PodHistory
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.testing.what_if.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Job:
    """One pod. Times are milliseconds since 1970, ``lasts`` and ``patience`` milliseconds; None is to the end.

    ``kind``: jobs of one kind differ in nothing that decides where they fit. ``patience``: it goes away if it has no
    place by then. ``fixed``: where it is from ``arrives`` on, whatever anybody decides. ``held``: it is there when the
    period begins.
    """

    facts: PodFacts
    kind: int
    size: str
    arrives: int
    waits_since: int
    lasts: int | None
    patience: int | None = None
    fixed: Placement | None = None
    held: bool = False
    node: str = ""
    """Where it was in the recording."""
    comes_again: bool = True
    """If it is evicted it arrives anew; who was evicted in the recording has a successor there."""
    resizes: tuple[tuple[int, PodFacts], ...] = ()
    pinned: bool = False
    """Somebody else chose its node: it never waited."""


def jobs_of(history: History, *, seed: int) -> list[Job]:
    """The arrivals, in order; those that are there already come first."""
    sizes = Sizes(history)
    finished: defaultdict[str, list[int]] = defaultdict(list)
    for pod in history.pods:
        ran = _ran(history, pod)
        if ran is not None and pod.ended is not None and not pod.held:
            finished[sizes.of(pod.shape)].append(ran)
    for each in finished.values():
        each.sort()
    dice = random.Random(seed)
    kinds: dict[tuple[int, str], int] = {}
    jobs = []
    for pod in history.pods:
        kind = kinds.setdefault((id(pod.shape), pod.namespace), len(kinds))
        jobs.append(_job(history, pod, kind, sizes=sizes, finished=finished, dice=dice))
    return sorted(jobs, key=lambda job: (not job.held, job.arrives))


def _ran(history: History, pod: PodHistory) -> int | None:
    """For how long the pod had a place, within the period; None where it never had one."""
    since = history.start if pod.held else pod.bound
    if since is None:
        return None
    return max(0, (history.end if pod.ended is None else pod.ended) - since)


def _job(
    history: History,
    pod: PodHistory,
    kind: int,
    *,
    sizes: Sizes,
    finished: dict[str, list[int]],
    dice: random.Random,
) -> Job:
    size = sizes.of(pod.shape)
    ran = _ran(history, pod)
    drawn = _drawn(finished.get(size, []), ran or 0, dice.random())
    arrives = max(history.start, pod.arrived)
    created = micro_timestamp(datetime.fromtimestamp(pod.arrived / 1000, UTC))
    return Job(
        facts=replace(pod.facts, created=created),
        kind=kind,
        size=size,
        arrives=pod.bound if pod.pinned and pod.bound is not None else arrives,
        waits_since=pod.arrived,
        lasts=ran if ran is not None and pod.ended is not None else drawn,
        patience=pod.ended - arrives if ran is None and pod.ended is not None else None,
        fixed=pod.placement if pod.pinned or pod.held else None,
        held=pod.held,
        node="" if pod.placement is None else pod.placement.node,
        comes_again=pod.how is not Ending.EVICTED,
        pinned=pod.pinned and pod.placement is not None,
        resizes=tuple((at, replace(pod.as_asked(shape), created=created)) for at, shape in pod.resizes),
    )


def _drawn(ordered: Sequence[int], least: int, chance: float) -> int | None:
    """One of these times that is at least so long; None where none is."""
    first = bisect_left(ordered, least)
    if first == len(ordered):
        return None
    return ordered[first + int(chance * (len(ordered) - first))]


def as_it_was(history: History, jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, each placed where and when it was."""
    by_uid = {f"{pod.pod:016x}": pod for pod in history.pods}
    found: list[Job] = []
    for job in jobs:
        pod = by_uid[job.facts.uid]
        if job.held or job.fixed is not None:
            found.append(job)
        elif pod.bound is not None and pod.placement is not None:
            lasts = None if pod.ended is None else pod.ended - pod.bound
            found.append(replace(job, arrives=pod.bound, lasts=lasts, fixed=pod.placement))
    return sorted(found, key=lambda job: (not job.held, job.arrives))


def cut(history: History, start: int | None, end: int | None) -> History:
    """The part of the period between two times.

    Raises:
        ConfigError: it is empty, or not within the period.
    """
    first, last = start if start is not None else history.start, end if end is not None else history.end
    if not history.start <= first < last <= history.end:
        raise ConfigError(
            f"wanted a part of the recorded period {said(history.start)} to {said(history.end)}, "
            f"found {said(first)} to {said(last)}"
        )
    fleet = history.fleet.copy()
    changes: list[FleetChange] = []
    for change in history.changes:
        if change.at < first:
            change.apply_to(fleet)
        elif change.at <= last:
            changes.append(change)
    pods = [
        _within(pod, first, last)
        for pod in history.pods
        if pod.arrived <= last and (pod.ended is None or pod.ended >= first)
    ]
    return replace(history, start=first, end=last, fleet=fleet, changes=changes, pods=pods)


def _within(pod: PodHistory, first: int, last: int) -> PodHistory:
    held = pod.held or (pod.bound is not None and pod.bound < first)
    ended = pod.ended if pod.ended is not None and pod.ended <= last else None
    shape = pod.shape
    for at, other in pod.resizes:
        shape = other if at < first else shape
    return replace(
        pod,
        shape=shape,
        held=held,
        bound=None if held or (pod.bound is not None and pod.bound > last) else pod.bound,
        ended=ended,
        how=pod.how if ended is not None else None,
        resizes=[one for one in pod.resizes if first <= one[0] <= last],
    )


def said(at: int) -> str:
    """A time for people: RFC 3339 in whole seconds."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
