"""Gangs in the scheduler's loop: when a gang is decided, what its members hear, and who has to wait for it.

One queue entry acts for a gang: whichever member's turn comes first, and the member with the highest priority comes
first. The others are taken along. A gang is decided when enough members are known, as a whole (``scheduling.gangs``);
its Bindings are submitted only after the whole statement is kept. What is known of it is a view of the pods
(``gang_book``), so nothing has to be handed over to a successor.

Retries are the group's, not its members': after a refusal nothing is tried before a backoff (10 s for a strict gang),
and then only once something changed that can help.

Pods may be placed past a gang that waits, for devices that idle help nobody. From ``patience`` on (5 minutes after its
last required member was created) younger pods of its pool with no higher priority wait, provided that the gang would
fit if everything of its pool ended: a gang that can never fit holds up nobody. Nor does anybody wait whose place is
kept already (a nominated pod), or without whom a gang that runs is not whole any more.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded, TensorFusionError
from tensorfusion.model.core import Pod
from tensorfusion.model.durations import format_duration
from tensorfusion.model.gang import INCOMPLETE
from tensorfusion.model.keys import GANG_DOMAINS, GANG_PATIENCE
from tensorfusion.model.meta import Key
from tensorfusion.scheduler import meters, queue
from tensorfusion.scheduler.binder import Binding
from tensorfusion.scheduler.gang_book import Group
from tensorfusion.scheduler.gang_holds import GangHolds, HeldForGang
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.queue import PendingQueue, Place
from tensorfusion.scheduler.reports import Reports
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import (
    GangPlacement,
    GangUnschedulable,
    of_several_pools,
    place_gang,
    place_member,
)
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.hints import helps
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

STRICT_BACKOFF = 10.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 10.0
_TELL_AFTER = 1.0
"""Seconds after which members hear that others are missing: most gangs are complete before."""
_LOOK_EVERY = 1.0
_SECOND = 1_000_000_000

WAITING, TIMEOUT, REJECTED = "GangWaiting", "GangTimeout", "GangStrictRejected"
"""Events of members that wait."""


class GangIncomplete(NotFit):
    """Fewer members are known than have to start together."""

    def __init__(self, group: Group) -> None:
        super().__init__(f"gang {group.key}", {})
        self._line = (
            f"gang {group.key}: {group.active} of {group.gang.required} {INCOMPLETE}: "
            "it starts when the others are created"
            if not group.elsewhere
            else f"gang {group.key}: another scheduler places members of it, and decides about all of them"
        )

    def __str__(self) -> str:
        return self._line


def waits_for_gang(failure: Failure | None) -> bool:
    """Whether the pod waits for its gang, or another one, to be decided: what may help is the gang's business."""
    if isinstance(failure, GangUnschedulable):
        return failure.needed > 1
    return isinstance(failure, GangIncomplete | HeldForGang)


class Places(Protocol):
    """Who makes room for gangs that do not fit, and keeps it for them."""

    def set_aside(self, uids: Collection[str]) -> list[Hint]:
        """Within a statement give back what is kept for these pods; answers what that changes."""
        ...

    def used(self, uids: Collection[str], given_back: list[Hint]) -> None:
        """These have their places now, and the statement is kept."""
        ...

    def missed(self, group: Group) -> None:
        """The gang does not fit, with what is kept for it, or has too few members by now."""
        ...


@dataclass(frozen=True, slots=True)
class Road:
    """What the service does with a decision, for gangs as for single pods. Numbers are the nanoseconds it took."""

    binding: Callable[[Pod, PodFacts, Decision], Binding]
    placed: Callable[[Pending, Decision, Binding, int], None]
    refused: Callable[[Pending, Failure, int], None]


class Gangs:
    """Decides gangs when their turn comes. ``patience`` is in seconds; ``domain_keys`` name labels, narrowest first."""

    def __init__(
        self,
        state: State,
        book: PodBook,
        road: Road,
        places: Places,
        *,
        clock: Clock,
        reports: Reports,
        pod_of: Callable[[Key], Pod | None],
        patience: float = GANG_PATIENCE,
        domain_keys: Sequence[str] = GANG_DOMAINS,
        timer: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._state = state
        self._pods = book
        self._queue = book.queue
        self._gangs = book.gangs
        self._road = road
        self._places = places
        self._clock = clock
        self._reports = reports
        self._pod_of = pod_of
        self._patience = patience
        self.domain_keys = domain_keys
        self._refused: dict[str, Group] = {}
        """Gangs that did not fit when they were decided last."""
        self._stirred: dict[str, None] = {}
        """Those of them for which something changed since."""
        self.holds = GangHolds(state, book, clock=clock, domain_keys=domain_keys, timer=timer)
        self._looked_at = float("-inf")

    @property
    def concerns_others(self) -> bool:
        """Whether pods wait for a gang that is not theirs."""
        return bool(self.holds.pools)

    # --- turns ---

    def take(self, pending: Pending) -> bool:
        """Deal with a pod whose turn has come if that is a gang's business; False: it is decided as a single pod."""
        if self.holds.pools and self._is_held(pending):
            return True
        group = self._gangs.of(pending.uid) if pending.facts.gang is not None else None
        if group is None or self._gangs.is_satisfied(group):
            return False
        now = self._clock.monotonic()
        if not group.complete:
            self._park(pending, group.failure or GangIncomplete(group))
        elif now < group.retry_at:
            self._park(pending, group.failure or GangIncomplete(group))
            self._stirred[group.key] = None
        else:
            self._decide(group, pending)
        return True

    def decide_member(self, pod: PodFacts) -> Decision:
        """The decision about one more member of a gang that is satisfied.

        Raises:
            NotFit, QuotaExceeded: it has no place now.
        """
        group = self._gangs.of(pod.uid)
        nodes: list[str] = []
        if group is not None:
            held = self._state.allocations
            nodes += group.held.values()
            nodes += [held[uid].placement.node for uid in group.pending if uid in held]
        return place_member(self._state, pod, tuple(dict.fromkeys(nodes)), domain_keys=self.domain_keys)

    def _decide(self, group: Group, leader: Pending) -> None:
        """Place the whole gang, or none of it."""
        entries, pods = self._members(group, leader)
        if len(entries) < group.gang.required:  # some are gone, and the watch will say so
            for entry in entries.values():
                self._park(entry, GangIncomplete(group))
            return
        members = [entry.facts for entry in entries.values()]
        started = time.perf_counter_ns()
        mark = self._state.checkpoint()
        try:
            promised = not self._state.nominated.keys().isdisjoint(entries)
            given_back = self._places.set_aside(entries)

            def placed() -> GangPlacement:
                return place_gang(self._state, members, needed=group.gang.required, domain_keys=self.domain_keys)

            placement = self._state.promised(placed) if promised else placed()
            bindings = [self._road.binding(pods[facts.uid], facts, decision) for facts, decision in placement.members]
        except GangUnschedulable as failure:
            self._state.rollback(mark)
            self._refuse(group, entries, failure, nanoseconds=time.perf_counter_ns() - started)
            self._places.missed(group)
        except Exception as error:  # the edge of the loop: one gang's fault must not stop the others
            self._state.rollback(mark)
            if isinstance(error, TensorFusionError):
                log.warning("gang cannot be held", gang=group.key, error=error)
            else:
                log.exception("gang decision failed unexpectedly", gang=group.key)
            group.retry_at = self._clock.monotonic() + _LONGEST_BACKOFF
            for uid in entries:
                self._queue.retry(uid, now=self._clock.monotonic())
        else:
            self._state.keep(mark)
            self._places.used([facts.uid for facts, _ in placement.members], given_back)
            nanoseconds = (time.perf_counter_ns() - started) // len(bindings)
            for (facts, decision), binding in zip(placement.members, bindings, strict=True):
                self._pods.adopt(facts.uid, binding)
                self._road.placed(entries.pop(facts.uid), decision, binding, nanoseconds)
            for uid in entries:  # beyond the required ones: each is placed where it fits
                self._queue.activate(uid)
            self._settle(group)
            meters.GANGS.add(("placed",))
            where = f" in {placement.domain}" if placement.domain else ""
            words = f"gang {group.key}: {len(bindings)} members are placed together{where}"
            self._reports.gang_placed(pods[placement.members[0][0].uid], words)

    def _members(self, group: Group, leader: Pending) -> tuple[dict[str, Pending], dict[str, Pod]]:
        """The entries of all pending members, taken from the queue, and their pods."""
        entries: dict[str, Pending] = {}
        pods: dict[str, Pod] = {}
        for uid, facts in list(group.pending.items()):
            pod = self._pod_of(Key(facts.namespace, facts.name))
            if pod is None or pod.metadata.uid != uid:
                self._pods.left(uid)  # deleted; the event is on its way
                continue
            entry = leader if uid == leader.uid else self._queue.take(uid)
            if entry is not None:
                entries[uid], pods[uid] = entry, pod
        return entries, pods

    def _refuse(
        self, group: Group, entries: Mapping[str, Pending], failure: GangUnschedulable, *, nanoseconds: int
    ) -> None:
        now = self._clock.monotonic()
        failure.__traceback__ = None
        group.failure = failure
        group.attempts += 1
        backoff = min(_FIRST_BACKOFF * (1 << min(group.attempts - 1, 8)), _LONGEST_BACKOFF)
        group.retry_at = now + (STRICT_BACKOFF if group.gang.strict else backoff)
        self._refused[group.key] = group
        self._stirred.pop(group.key, None)
        for entry in entries.values():
            self._road.refused(entry, failure, nanoseconds // len(entries))
            self._queue.failed(entry, failure, now=now)
        meters.GANGS.add(("refused",))
        self._tell(group)

    def _park(self, pending: Pending, failure: Failure) -> None:
        """Not this pod's turn: it waits without having been decided."""
        pending.attempts -= 1
        self._queue.failed(pending, failure, now=self._clock.monotonic())

    def _settle(self, group: Group) -> None:
        """The gang has its places: nothing that was said of it holds any more."""
        group.settled = True
        group.failure = group.tell_at = None
        group.attempts, group.retry_at, group.timed_out = 0, float("-inf"), False
        self._refused.pop(group.key, None)
        self._stirred.pop(group.key, None)
        self.holds.release(group.key)

    # --- what changes ---

    def surrender(self) -> None:
        """This replica does not decide: nobody waits for a gang here, and all are looked at anew when it does again."""
        book = self._gangs
        if self.holds.pools or self._refused or len(book.changed) != len(book.groups):
            for hold in list(self.holds.pools.values()):
                hold.group.weighed_at = float("-inf")
                self.holds.release(hold.group.key)
            self._refused.clear()
            self._stirred.clear()
            book.changed = dict.fromkeys(book.groups)

    def catch_up(self) -> None:
        """Look at the gangs whose members changed: some are complete now, or satisfied by a predecessor's Bindings."""
        now = self._clock.monotonic()
        changed, self._gangs.changed = self._gangs.changed, {}
        for key in changed:
            group = self._gangs.groups.get(key)
            self._forget_former(key, group)
            if group is None:
                continue
            if self._gangs.is_satisfied(group):
                starts = not group.settled
                if starts:
                    self._settle(group)
                if starts or (self.holds.pools and self.holds.lacks_members(group)):
                    for uid in group.pending:
                        entry = self._queue.get(uid)
                        if entry is not None and entry.place is Place.WAITING and waits_for_gang(entry.failure):
                            self._queue.activate(uid)
            elif group.pending:
                group.settled = False
                self._is_short(group, now) if not group.complete else self._is_complete(group)

    def _forget_former(self, key: str, group: Group | None) -> None:
        """A gang went, and perhaps another one has its name by now: what was said of the former does not hold."""
        if self._refused.get(key) is not group:
            self._refused.pop(key, None)
            self._stirred.pop(key, None)
        if any(hold.group is not group for hold in self.holds.pools.values() if hold.group.key == key):
            self.holds.release(key)

    def _is_short(self, group: Group, now: float) -> None:
        group.failure = None
        self._refused.pop(group.key, None)
        self.holds.release(group.key)
        if group.divided:
            group.failure = of_several_pools(group.gang, group.divided, needed=group.gang.required)
        if not group.speaks:
            return  # whoever places those members decides about the gang, and says why it waits
        self._places.missed(group)
        if group.tell_at is None:
            group.tell_at = now + _TELL_AFTER

    def _is_complete(self, group: Group) -> None:
        if group.failure is None:
            self._lead(group)
        else:
            self._stirred[group.key] = None

    def hear(self, news: Collection[Hint]) -> None:
        """Offer what changed in the fleet to the gangs that did not fit."""
        everybody = len(self._refused) * len(news) > queue.WAKES_COUNTED
        for key, group in self._refused.items():
            failure = group.failure
            if key in self._stirred or failure is None:
                continue
            cause = failure.cause
            if (
                everybody
                or not failure.alike
                or not isinstance(cause, NotFit | QuotaExceeded)
                or any(helps(cause, hint) for hint in news)
            ):
                self._stirred[key] = None
        self._rouse(self._clock.monotonic())

    def tick(self) -> None:
        """Time went by: backoffs end, waits become too long."""
        now = self._clock.monotonic()
        self._rouse(now)
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            waiting = [
                group
                for group in self._gangs.groups.values()
                if group.pending and group.speaks and not group.settled and not self._gangs.is_satisfied(group)
            ]
            impatient = [group for group in waiting if self._look(group, now)]
            if impatient:
                self.holds.weigh_one(impatient)

    def _rouse(self, now: float) -> None:
        """It is the turn of gangs for which something changed, once their backoff is over."""
        for key in [key for key in self._stirred if now >= self._stirred_until(key)]:
            del self._stirred[key]
            group = self._gangs.groups.get(key)
            if group is not None and group.pending:
                self._lead(group)

    def _stirred_until(self, key: str) -> float:
        group = self._gangs.groups.get(key)
        return group.retry_at if group is not None else float("-inf")

    def _lead(self, group: Group) -> None:
        """Let the highest member act for the gang, in its place in the queue."""
        first = speaker(group, self._queue)
        if first is not None and first.place is not Place.TAKEN:
            self._queue.activate(first.uid)

    # --- waits ---

    def _look(self, group: Group, now: float) -> bool:
        """Say what is due to be said; answers whether the gang has waited for longer than its patience."""
        wall = self._clock.now()
        if group.tell_at is not None and now >= group.tell_at:
            group.tell_at = None
            if not group.complete:
                self._tell(group)
        timeout = group.gang.timeout
        if timeout and not group.timed_out and _age(group.waiting_since, wall) >= timeout:
            group.timed_out = True
            meters.GANGS.add(("timed-out",))
            self._tell(group)
        failure = group.failure
        if failure is not None and isinstance(failure.cause, QuotaExceeded):
            self.holds.release(group.key)  # room in the pool is not what it lacks
            return False
        if failure is None or group.divided or not group.pool or now - group.weighed_at < self._patience:
            return False
        return _age(group.complete_since, wall) >= self._patience

    def _is_held(self, pending: Pending) -> bool:
        """Whether the pod waits for an older gang of its pool; it is told so."""
        facts = pending.facts
        hold = self.holds.over(facts)
        if hold is None:
            return False
        failure = HeldForGang(facts, hold.group, hold.priority)
        self._park(pending, failure)
        pod = self._pod_of(Key(facts.namespace, facts.name))
        if pod is not None and pod.metadata.uid == pending.uid:
            self._reports.held_back(pod, event=WAITING, message=str(failure))
        return True

    # --- words ---

    def words(self, uid: str) -> str | None:
        """Where the pod's gang stands, in one line; None for a pod in no gang."""
        group = self._gangs.of(uid)
        if group is None:
            return None
        if self._gangs.is_satisfied(group):
            return f"gang {group.key}: started; {len(group.held)} of its members have a place"
        return self._line(group)

    def _line(self, group: Group) -> str:
        line = str(group.failure if group.failure is not None else GangIncomplete(group))
        if group.timed_out:
            after = format_duration(int(group.gang.timeout * _SECOND))
            line = line.replace(f"gang {group.key}: ", f"gang {group.key}: timed out after {after}: ", 1)
        return line

    def _tell(self, group: Group) -> None:
        event = TIMEOUT if group.timed_out else REJECTED if group.gang.strict and group.failure else WAITING
        message = self._line(group)
        for uid, facts in group.pending.items():
            pod = self._pod_of(Key(facts.namespace, facts.name))
            if pod is not None and pod.metadata.uid == uid:
                self._reports.held_back(pod, event=event, message=message)


def speaker(group: Group, entries: PendingQueue[PodFacts, Failure]) -> Pending | None:
    """The entry that acts for a gang: its highest member that waits, the first of them that came."""
    waiting = [entry for uid in group.pending if (entry := entries.get(uid)) is not None]
    return min(waiting, key=lambda entry: (-entry.priority, entry.arrival), default=None)


def _age(created: str, now: datetime) -> float:
    """Seconds since an RFC 3339 time; 0 where there is none."""
    try:
        return (now - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
