"""Reads a folder of segments as one history: several series are merged by time, and what they say twice counts once.

A segment that begins after others says how the world is then: what differs from what was known happened in between.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tensorfusion.errors import ConfigError
from tensorfusion.model.partitions import Profile
from tensorfusion.scheduler.recording import events as e
from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduler.recording.history import (
    FleetChange,
    Gap,
    History,
    PodHistory,
    Settings,
)
from tensorfusion.scheduler.recording.segments import SUFFIX, Segment, read_segment, segments_of
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.fleet_facts import KINDS, PROFILES, Fact, FleetFacts

SILENCE = 15_000
"""Milliseconds without a word after which nobody was recording: a series says something every ten seconds."""
_BEHIND = 2_000
"""Milliseconds by which the watch of one scheduler, or its clock, may be behind what another one writes."""
_GONE = "?"
_LISTINGS = 5
"""So often a folder is listed of which everything is removed before it is read."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is in a folder: the history, and figures about the files."""

    history: History
    segments: int
    size: int
    torn: int
    """Bytes behind the last whole frame of segments that were cut off."""
    series: int
    removed: int = 0
    """Segments, the oldest, that the writer removed after they were listed."""
    left_out: int = 0
    """Segments of another cluster, or with names where the newest are without, or the other way round."""


def read(where: Path) -> Recorded:
    """The history in a folder of segments, or in one segment. Somebody may write to it, and remove the oldest of them.

    Raises:
        ConfigError: nothing is there, a file is no segment or of a newer version, or there is nothing in any of them.
    """
    segments, removed = _read_all(where)
    told = [(segment, _opened(segment)) for segment in segments if segment.frames]
    if not told:
        raise ConfigError(f"{where}: wanted a recording, found nothing in it that was written whole yet")
    newest = told[-1][1]
    by_series: dict[str, list[Segment]] = {}
    for segment, opened in told:
        if (opened.cluster, opened.names) == (newest.cluster, newest.names):
            by_series.setdefault(opened.series, []).append(segment)
    streams = [_told(series) for series in by_series.values()]
    builder = _Builder()
    for at, said in heapq.merge(*streams, key=lambda one: one[0]):
        builder.take(at, said)
    return Recorded(
        builder.history(),
        segments=len(segments),
        size=sum(segment.size for segment in segments),
        torn=sum(segment.torn for segment in segments),
        series=len(by_series),
        removed=removed,
        left_out=len(told) - sum(map(len, by_series.values())),
    )


def _read_all(where: Path) -> tuple[list[Segment], int]:
    """The segments that are there, oldest first, and how many were removed before they could be read."""
    removed = 0
    for _ in range(_LISTINGS):
        segments: list[Segment] = []
        for path in _paths(where):
            try:
                segments.append(read_segment(path))
            except FileNotFoundError:
                removed += 1
        if segments:
            return segments, removed
    raise ConfigError(
        f"{where}: wanted a recording, found files that were removed before they could be read: try again"
    )


def _paths(where: Path) -> Sequence[Path]:
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise ConfigError(f"{where}: wanted the folder of a recording, found nothing there")
    found = segments_of(where)
    if not found:
        raise ConfigError(
            f"{where}: wanted the folder of a recording, found no file NAME{SUFFIX} in it: "
            f"record with `tensorfusion up --record {where}`"
        )
    return found


def _opened(segment: Segment) -> e.Opened:
    first = next(iter(segment.frames[0].events), None)
    if not isinstance(first, e.Opened):
        raise ConfigError(f"{segment.path}: wanted a segment that begins with the world as it is, found another begin")
    return first


# --- one series: numbers become names ---


@dataclass(frozen=True, slots=True)
class _World:
    """A segment begins: all that is there."""

    settings: Settings
    fleet: FleetFacts
    held: dict[int, PodHistory]
    waiting: dict[int, PodHistory]
    prices: dict[str, int]
    complete: bool
    pools: Sequence[str] | None
    """As in ``events.Opened``."""

    def would_tell(self, pod: PodHistory) -> bool:
        """Whether a complete world tells the pod if it is there."""
        request = pod.shape.request
        has_place = pod.held or pod.bound is not None
        return has_place or self.pools is None or request is None or request.pool in self.pools


@dataclass(frozen=True, slots=True)
class _Heard:
    """Something was written then, be it that nothing happened."""


@dataclass(frozen=True, slots=True)
class _PodEvent:
    """Something happened to a pod."""

    pod: int
    event: "e.Decided | e.Bound | e.Running | e.Resized | e.Ended"
    placement: Placement | None = None
    shape: PodFacts | None = None


_Said = _World | _Heard | FleetChange | PodHistory | _PodEvent


@dataclass(slots=True)
class _Numbers:
    """What the numbers of one segment mean."""

    nodes: dict[int, str] = field(default_factory=dict)
    devices: dict[int, str] = field(default_factory=dict)
    cuts: dict[int, Profile] = field(default_factory=dict)
    shapes: dict[int, PodFacts] = field(default_factory=dict)
    pods: dict[int, int] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)

    def placement(self, event: e.Bound) -> Placement:
        devices = tuple([self.devices.get(number, _GONE) for number in event.devices])
        return Placement(self.nodes.get(event.node, _GONE), devices, event.partitions)


def _told(segments: Sequence[Segment]) -> Iterator[tuple[int, _Said]]:
    """What one series says, in order."""
    for segment in segments:
        numbers = _Numbers()
        opening: _World | None = None
        for frame in segment.frames:
            at = frame.base
            for event in frame.events:
                at = frame.base + event.at
                if isinstance(event, e.Opened):
                    settings = Settings(event.names, event.cluster_wide, event.domains, event.patience)
                    fleet = FleetFacts(profiles=event.profiles)
                    opening = _World(settings, fleet, {}, {}, numbers.prices, event.complete, event.pools)
                    continue
                said = _said(at, event, numbers)
                if opening is None:
                    if said is not None:
                        yield at, said
                elif isinstance(event, e.Told):
                    yield at, opening
                    opening = None
                elif said is not None:
                    _open(opening, said)
            yield at, _Heard()


def _open(world: _World, said: _Said) -> None:
    """One more thing that is there when a segment begins."""
    if isinstance(said, FleetChange):
        said.apply_to(world.fleet)
    elif isinstance(said, PodHistory):
        (world.held if said.pinned else world.waiting)[said.pod] = said
        said.held, said.pinned = said.pinned, False
    elif isinstance(said, _PodEvent):
        pod = world.held.get(said.pod) or world.waiting[said.pod]
        if said.placement is not None:
            pod.placement = said.placement
        elif isinstance(said.event, e.Running):
            pod.running = pod.arrived


def _said(at: int, event: e.Event, numbers: _Numbers) -> _Said | None:  # noqa: C901 - one line each
    match event:
        case e.NodeSet(number=number, facts=facts):
            numbers.nodes[number] = facts.name
            return FleetChange(at, "nodes", facts.name, facts)
        case e.NodeGone(number=number):
            return FleetChange(at, "nodes", numbers.nodes.get(number, _GONE), None)
        case e.Cuts(number=number, profile=profile):
            numbers.cuts[number] = profile
            return None
        case e.DeviceSet(number=number, facts=device, cuts=cuts, micro_usd=price):
            numbers.devices[number] = device.name
            if price:
                numbers.prices[device.model] = price
            return FleetChange(at, "devices", device.name, replace(device, profile=numbers.cuts.get(cuts)))
        case e.DeviceGone(number=number):
            return FleetChange(at, "devices", numbers.devices.get(number, _GONE), None)
        case e.PoolSet(facts=pool):
            return FleetChange(at, "pools", pool.name, pool)
        case e.PoolGone(name=name):
            return FleetChange(at, "pools", name, None)
        case e.QuotaSet(facts=quota):
            return FleetChange(at, "quotas", quota.namespace, quota)
        case e.QuotaGone(namespace=namespace):
            return FleetChange(at, "quotas", namespace, None)
        case e.CohortSet(facts=cohort):
            return FleetChange(at, "cohorts", cohort.name, cohort)
        case e.CohortGone(name=name):
            return FleetChange(at, "cohorts", name, None)
        case e.NamespaceSet(name=name, labels=labels):
            return FleetChange(at, "namespaces", name, labels)
        case e.Configured(profiles=profiles):
            return FleetChange(at, PROFILES, "", profiles)
        case e.Shape(number=number, facts=shape):
            numbers.shapes[number] = shape
            return None
        case e.Arrived():
            numbers.pods[event.number] = event.pod
            return PodHistory(
                event.pod,
                at - event.early,
                numbers.shapes[event.shape],
                event.namespace,
                gang=event.gang,
                name=event.name,
                pinned=event.pinned,
            )
        case e.Bound():
            return _PodEvent(numbers.pods[event.number], event, placement=numbers.placement(event))
        case e.Resized():
            return _PodEvent(numbers.pods[event.number], event, shape=numbers.shapes[event.shape])
        case e.Decided() | e.Running() | e.Ended():
            return _PodEvent(numbers.pods[event.number], event)
        case _:
            return None


# --- all series: one history ---


class _Builder:
    """Takes what is said in the order of time."""

    def __init__(self) -> None:
        self._start: int | None = None
        self._end = 0
        self._settings = Settings()
        self._first = FleetFacts()
        self._now = FleetFacts()
        self._changes: list[FleetChange] = []
        self._pods: dict[int, PodHistory] = {}
        self._prices: list[dict[str, int]] = []
        """By segment; they grow while it is read."""
        self._gaps: list[Gap] = []

    def take(self, at: int, said: _Said) -> None:
        if isinstance(said, _World):
            self._begin(at, said)
        elif isinstance(said, FleetChange):
            self._change(said)
        elif isinstance(said, PodHistory):
            known = self._pods.setdefault(said.pod, said)
            _revive(known)
            if known is not said and known.ended is None:
                known.pinned = known.pinned and said.pinned
        elif isinstance(said, _PodEvent):
            pod = self._pods.get(said.pod)
            if pod is not None:
                _happened(pod, at, said)
        self._end = max(self._end, at)

    def _begin(self, at: int, world: _World) -> None:
        self._prices.append(world.prices)
        if self._start is None:
            self._start, self._settings = at, world.settings
            self._first, self._now = world.fleet.copy(), world.fleet
            self._pods |= world.held
        else:
            missed = at - self._end > SILENCE
            if missed:
                self._gaps.append(Gap(self._end, at))
            for change in _difference(at, self._now, world.fleet):
                self._change(change)
            self._meet(at, world, missed=missed)
        for pod in world.waiting.values():
            _revive(self._pods.setdefault(pod.pod, pod))

    def _meet(self, at: int, world: _World, *, missed: bool) -> None:
        """Pods that have their places by now, and those that ended meanwhile."""
        for pod in world.held.values():
            known = self._pods.get(pod.pod)
            if known is None:  # it came and was placed while nobody recorded
                pod.pinned, pod.held = True, False
                pod.bound = pod.arrived = at
                self._pods[pod.pod] = pod
                continue
            _revive(known)
            if known.bound is None and not known.held and known.ended is None:
                known.bound, known.placement = at, pod.placement
        if not (missed or world.complete):
            return
        there = world.held.keys() | world.waiting.keys()
        for pod in self._pods.values():
            if pod.ended is None and pod.pod not in there:
                is_old = at - (pod.arrived if pod.bound is None else pod.bound) > _BEHIND
                if missed or (is_old and world.would_tell(pod)):
                    pod.ended = at

    def _change(self, change: FleetChange) -> None:
        if self._now.has(change.kind, change.name, change.facts):
            return
        change.apply_to(self._now)
        self._changes.append(change)

    def history(self) -> History:
        start = self._start or 0
        pods = sorted(self._pods.values(), key=lambda pod: (pod.arrived, pod.pod))
        return History(
            start,
            max(start, self._end),
            self._settings,
            self._first,
            self._changes,
            pods,
            {model: price for table in self._prices for model, price in table.items()},
            self._gaps,
        )


def _revive(pod: PodHistory) -> None:
    """Somebody speaks of the pod: that it was over had been concluded too early, if nobody said so."""
    if pod.how is None:
        pod.ended = None


def _happened(pod: PodHistory, at: int, said: _PodEvent) -> None:
    """Of what is said twice the first counts."""
    _revive(pod)
    match said.event:
        case e.Decided(reason=reason):
            if pod.decided is None:
                pod.decided, pod.reason = at, reason
        case e.Bound():
            if pod.bound is None and not pod.held:
                pod.bound, pod.placement = at, said.placement
        case e.Running():
            if pod.running is None:
                pod.running = at
        case e.Resized():
            if said.shape is not None and (not pod.resizes or pod.resizes[-1][1] != said.shape):
                pod.resizes.append((at, said.shape))
        case e.Ended(how=how):
            if pod.ended is None:
                pod.ended, pod.how = at, Ending(how)


def _difference(at: int, before: FleetFacts, after: FleetFacts) -> list[FleetChange]:
    """What makes one fleet the other."""
    found: list[FleetChange] = []
    for kind in reversed(KINDS):
        old, new = before.table(kind), after.table(kind)
        found += [FleetChange(at, kind, name, None) for name in old if name not in new]
    for kind in KINDS:
        old, new = before.table(kind), after.table(kind)
        changed: list[tuple[str, Fact]] = [(name, facts) for name, facts in new.items() if old.get(name) != facts]
        found += [FleetChange(at, kind, name, facts) for name, facts in changed]
    if before.profiles != after.profiles:
        found.append(FleetChange(at, PROFILES, "", after.profiles))
    return found
