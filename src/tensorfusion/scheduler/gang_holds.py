"""For which gangs others wait: whoever has waited for long enough keeps younger pods of its pool off what gets free.

Apart from the gangs' turns because it is about other pods. A gang that would not fit even if everything of its pool
ended holds up nobody; that is found out by emptying the pool on trial, which takes long in a large one, so it is done
for one gang at a time and for a twentieth of the time at most.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit
from tensorfusion.scheduler.gang_book import Group
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import fits_when_empty
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

WEIGHING_PAUSE = 20
"""Times as long as it took, after weighing whether others are to wait for a gang, nothing is weighed."""
_SECOND = 1_000_000_000


class HeldForGang(NotFit):
    """The pod fits perhaps, but an older gang of its pool has waited for too long."""

    def __init__(self, pod: PodFacts, group: Group, priority: int) -> None:
        super().__init__(f"pod {pod.namespace}/{pod.name}", {})
        name = f"gang {group.key}" if group.key.startswith(f"{pod.namespace}/") else "a gang of another namespace"
        self._line = (
            f"held for {name}, which waits for room in pool {group.pool} and was there first: "
            f"only pods with a priority above {priority} are placed before it"
        )

    def __str__(self) -> str:
        return self._line


@dataclass(frozen=True, slots=True)
class Hold:
    """A gang that others wait for: pods created after ``since`` whose priority is not above its own."""

    group: Group
    since: str
    priority: int


class GangHolds:
    """Holds by pool."""

    def __init__(
        self, state: State, book: PodBook, *, clock: Clock, domain_keys: Sequence[str], timer: Callable[[], int]
    ) -> None:
        self.pools: dict[str, Hold] = {}
        self._state = state
        self._queue = book.queue
        self._gangs = book.gangs
        self._clock = clock
        self._domain_keys = domain_keys
        self._timer = timer
        """Nanoseconds, to measure how long weighing takes."""
        self._weigh_at = float("-inf")

    def weigh_one(self, impatient: Collection[Group]) -> None:
        """Of gangs that have waited long enough weigh the one that is due first, unless one was weighed just now."""
        now = self._clock.monotonic()
        if now < self._weigh_at:
            return
        due = [(group.weighed_at, *_turn(group), group) for group in impatient if not self._is_outranked(group)]
        if not due:
            return
        group = min(due, key=itemgetter(slice(3)))[3]
        started = self._timer()
        group.weighed_at = now
        self._weigh(group)
        self._weigh_at = now + WEIGHING_PAUSE * (self._timer() - started) / _SECOND

    def _is_outranked(self, group: Group) -> bool:
        """Whether others wait for a gang already that goes before this one."""
        hold = self.pools.get(group.pool)
        return hold is not None and hold.group is not group and (-hold.priority, hold.since) <= _turn(group)

    def _weigh(self, group: Group) -> None:
        """The gang has waited long enough: younger pods wait for it, if that is of any use."""
        members = list(group.pending.values())
        if not fits_when_empty(self._state, members, needed=group.gang.required, domain_keys=self._domain_keys):
            self.release(group.key)
            return
        if not self._is_outranked(group):
            hold = self.pools.get(group.pool)
            if hold is None or hold.group is not group:
                log.info("younger pods wait for a gang", gang=group.key, pool=group.pool)
            self.pools[group.pool] = Hold(group, group.complete_since, group.priority)

    def over(self, facts: PodFacts) -> Hold | None:
        """The gang that this pod has to wait for; None where it need not."""
        hold = self.pools.get(facts.request.pool) if facts.request is not None else None
        if (
            hold is None
            or facts.uid in self._state.nominated  # its place is charged: nobody gains by its waiting
            or (facts.gang is not None and facts.gang.key == hold.group.key)
            or facts.priority > hold.priority
            or facts.created <= hold.since
        ):
            return None
        own = self._gangs.of(facts.uid)
        if own is not None and self._gangs.is_satisfied(own) and self.lacks_members(own):
            return None
        if own is not None and any(uid in self._state.nominated for uid in own.pending):
            return None  # places are kept for others of its gang
        return hold

    def lacks_members(self, group: Group) -> bool:
        """Whether fewer have a place than have to run together."""
        on_their_way = sum(uid in self._state.allocations for uid in group.pending)
        return len(group.held) + on_their_way < group.gang.required

    def release(self, key: str) -> None:
        """Nobody waits for the gang of this name any more."""
        freed = [pool for pool, hold in self.pools.items() if hold.group.key == key]
        for pool in freed:
            del self.pools[pool]
        if freed:
            held = [entry.uid for entry in self._queue.waiting() if isinstance(entry.failure, HeldForGang)]
            for uid in held:
                self._queue.activate(uid)


def _turn(group: Group) -> tuple[int, str]:
    """The smaller one goes first: by priority, then by how long all required members have been there."""
    return -group.priority, group.complete_since
