"""What would help a pod that waits, in sentences: every one of them was tried out before it is said.

Apart from the explanation because it costs time. It gives way to the loop between two try-outs, and all of them
together may take a tenth of the time, however many ask: who asks beyond that is told to ask again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from tensorfusion.clock import timestamp
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.scheduler.endings import ending_of, endings_for
from tensorfusion.scheduler.gang_book import Group
from tensorfusion.scheduler.gang_holds import HeldForGang
from tensorfusion.scheduler.preemption_stories import name_for
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.evictable import evictable
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gang_remedies import MOST_MEMBERS, gang_remedies, tried_gang
from tensorfusion.scheduling.gangs import GangPlacement
from tensorfusion.scheduling.remedies import failure_of, remedies
from tensorfusion.scheduling.remedy import Remedy

Usable = Callable[[str, str], bool]
"""Whether a namespace (first) may use a pool."""

BURST = 2.0
"""Seconds of try-outs that may be taken at once."""
SHARE = 0.1
"""Of the time, for try-outs."""
_NAMED = 3
_END = object()


class Budget:
    """Seconds of processor time for try-outs: a burst, then a share of the time that goes by."""

    def __init__(self, tick: Callable[[], float] = time.monotonic) -> None:
        self._tick = tick
        self._left = BURST
        self._counted_at = tick()

    @property
    def open(self) -> bool:
        now = self._tick()
        self._left = min(BURST, self._left + (now - self._counted_at) * SHARE)
        self._counted_at = now
        return self._left > 0

    def spend(self, seconds: float) -> None:
        self._left -= seconds


class Advisor:
    """Answers what would help one pod."""

    def __init__(self, service: SchedulerService, usable: Usable, budget: Budget | None = None) -> None:
        self._service = service
        self._usable = usable
        self._budget = budget or Budget()

    async def advise(self, pod: Pod, facts: PodFacts) -> Raw:
        """``help``: sentences with the change each stands for; ``couldBeEvicted``: counts of other pods."""
        service = self._service
        uid = pod.metadata.uid
        if uid in service.state.nominated:
            return {"help": [{"words": self._kept_place(uid, facts)}]}
        if not self._budget.open:
            return {"help": [{"words": "many are asking what would help: ask again in a few seconds"}]}
        group = service.book.gangs.of(uid)
        if group is not None and not service.book.gangs.is_satisfied(group):
            return {"help": await self._of_gang(group)}
        entry = service.book.queue.get(uid)
        failure = failure_of(service.state, facts)
        if failure is None:
            held = entry is not None and isinstance(entry.failure, HeldForGang)
            after = "as soon as the gang that it waits for has started" if held else "when its turn comes"
            return {"help": [{"words": f"it fits now: it is placed {after}"}]}
        found = await self._tried_out(facts, failure)
        now = int(service.now().timestamp())
        counts = evictable(service.state, facts, now=now, cluster_wide=service.preemptor.cluster_wide())
        none = [{"words": "no single change that was tried out makes it fit now"}]
        return {"help": found or none, "couldBeEvicted": counts}

    async def _tried_out(self, facts: PodFacts, failure: NotFit | QuotaExceeded) -> list[Raw]:
        service = self._service
        endings = await endings_for(service.state, service.pods, facts)
        around = replace(
            service.preemptor.rooms.around(),
            endings=endings,
            usable=lambda pool: self._usable(facts.namespace, pool),
        )
        whys = {ending.uid: ending.why for ending in around.endings}
        found = []
        async for remedy in _each(remedies(service.state, facts, failure, around), self._budget):
            words = self._when(remedy, facts, whys) if remedy.at else remedy.words
            found.append({"words": words, "change": dict(remedy.change) or {"at": _moment(remedy.at)}})
        return found

    def _when(self, remedy: Remedy, facts: PodFacts, whys: dict[str, str]) -> str:
        """When enough of the pods have ended whose end is known."""
        held = self._service.state.allocations
        names = [f"{name_for(held[uid].pod, facts.namespace)} ({whys[uid]})" for uid in remedy.leaving if uid in held]
        others = len(names) - _NAMED
        who = ", ".join(names[:_NAMED]) + (f" and {others} more" if others > 0 else "")
        end = "ends" if len(names) == 1 else "end"
        return f"frees at {_moment(remedy.at)}, or before, when {who} {end}: if nobody takes it first"

    def _kept_place(self, uid: str, facts: PodFacts) -> str:
        """Whom a nominated pod waits for."""
        service = self._service
        nomination = service.preemptor.nominations.get(uid)
        node = service.state.nominated[uid].placement.node
        if nomination is None:
            return f"a place on node {node} is kept for it"
        held = service.state.allocations
        waits = [held[other].pod for other in sorted(nomination.awaited) if other in held]
        ends = []
        for one in waits:
            pod = service.pods.get(Key(one.namespace, one.name))
            ending = ending_of(pod) if pod is not None and pod.metadata.uid == one.uid else None
            ends.append(ending.at if ending is not None else None)
        known = [end for end in ends if end is not None]
        names = ", ".join(name_for(one, facts.namespace) for one in waits[:_NAMED])
        more = f" and {len(waits) - _NAMED} more" if len(waits) > _NAMED else ""
        when = f", by {_moment(max(known))} at the latest" if known and len(known) == len(ends) else ""
        return f"a place on node {node} is kept for it: frees when {names}{more} left it{when}"

    async def _of_gang(self, group: Group) -> list[Raw]:
        service = self._service
        members = list(group.pending.values())
        if not members:
            return []
        needed, keys = group.gang.required, service.gangs.domain_keys
        missing = needed - group.active
        if max(len(members), needed) > MOST_MEMBERS:
            size = max(len(members), needed)
            words = f"the gang has too many members to try out: {size}, of at most {MOST_MEMBERS}"
            waits = f"gang {group.key} waits for {missing} more member{'s' * (missing > 1)}"
            more = [{"words": waits, "change": {"members": missing}}] if missing > 0 else []
            return [*more, {"words": words}]
        tried = gang_remedies(service.state, members, needed=needed, domain_keys=keys)
        found: list[Raw] = [
            {"words": remedy.words, "change": dict(remedy.change)} async for remedy in _each(tried, self._budget)
        ]
        if not found and missing > 0:
            words = f"gang {group.key} waits for {missing} more member{'s' * (missing > 1)}, and has no room yet"
            found.append({"words": words, "change": {"members": missing}})
        if not found and self._budget.open:
            started = time.perf_counter()
            outcome = tried_gang(service.state, members, needed=needed, domain_keys=keys)
            self._budget.spend(time.perf_counter() - started)
            if isinstance(outcome, GangPlacement):
                found.append({"words": "it fits now: it is placed when its turn comes"})
        return found or [{"words": "no single change that was tried out makes the gang fit now"}]


async def _each(found: Iterator[Remedy | None], budget: Budget) -> AsyncIterator[Remedy]:
    """The remedies; others have their turn in between, and the end comes early when the time is spent."""
    while budget.open:
        started = time.perf_counter()
        remedy = next(found, _END)
        budget.spend(time.perf_counter() - started)
        if isinstance(remedy, Remedy):
            yield remedy
        elif remedy is not None:
            return
        await asyncio.sleep(0)


def _moment(at: int) -> str:
    return timestamp(datetime.fromtimestamp(at, UTC))
