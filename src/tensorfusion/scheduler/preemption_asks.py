"""Who asks for room, and what a search answers: a place to be kept, or why nobody's going would help.

Apart from the preemptor, which keeps places and knows what ends that. A pod asks when it was refused, a gang when it
was refused as a whole; the line (``search_line``) says whose turn it is. Whoever carries the name of a node was given
its word by a predecessor, or just lost a place: it is searched for at once, so that nobody else comes in between.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.gang_book import Group
from tensorfusion.scheduler.gangs import speaker, waits_for_gang
from tensorfusion.scheduler.nominations import Nomination, Party
from tensorfusion.scheduler.pods import Pending, PodBook
from tensorfusion.scheduler.preemption_stories import Stories, why_hopeless
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.room_search import RoomSearch
from tensorfusion.scheduler.search_line import SearchLine
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.gangs import GangUnschedulable
from tensorfusion.scheduling.preemption import Hopeless, Plan
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


class Keeper(Protocol):
    """Who keeps places."""

    nominations: dict[str, Nomination]

    def nominate(
        self, nominees: Sequence[tuple[Pod, PodFacts, Placement]], plan: Plan | GangPlan, party: Party | None = None
    ) -> None: ...

    def unname(self, uid: str, key: Key) -> None:
        """Take the name of the node out of the pod's status."""
        ...

    def give_back(self, uids: Iterable[str]) -> None:
        """Give back what is held for these though they are not nominated."""
        ...


class Asks:
    """Asks of pods and gangs. Called by the owner of the state; nothing waits."""

    def __init__(
        self,
        book: PodBook,
        state: State,
        *,
        line: SearchLine,
        rooms: RoomSearch,
        keeper: Keeper,
        pods: Cache[Pod],
        stories: Stories,
        kick: Callable[[], None],
        ours: Callable[[Iterable[PodFacts]], bool],
    ) -> None:
        self._queue = book.queue
        self._gangs = book.gangs
        self._state = state
        self._line = line
        self._rooms = rooms
        self._keeper = keeper
        self._pods = pods
        self._stories = stories
        self._kick = kick
        self._ours = ours
        self.promised: deque[str] = deque()
        """Uids of those that a predecessor promised a place, and that were not looked for yet."""
        self._looked_for: set[str] = set()
        """Gangs among them that were."""

    # --- asking ---

    def pod_refused(self, pending: Pending, pod: Pod) -> None:
        """Look for room for the pod as soon as the bound on searches allows."""
        facts = pending.facts
        if pending.uid in self._keeper.nominations or not self._gangs.goes_singly(facts):
            return  # a gang needs room for all of its members at once
        named = bool(pod.status.nominated_node_name)
        if named and not self._line.rests(facts):
            self._search_safely(pending, None)
        elif (named or self._may_help((facts,))) and self._line.wants(pending):
            self._kick()

    def gang_refused(self, group: Group) -> None:
        """Look for room for all that the gang needs as soon as the bound on searches allows."""
        members = self._members_of(group)
        entry = speaker(group, self._queue)
        if not self._has_say(group):
            return
        if entry is None or len(members) < group.gang.required:
            self._unname(pod for pod, _ in members)
            return
        if self._line.stalls(group.pending.values()):
            return  # also for a member that joined since, and speaks for it now
        named = any(pod.status.nominated_node_name for pod, _ in members)
        if named and not self._line.rests(entry.facts):
            self._search_safely(entry, group)
        elif (named or self._may_help(group.pending.values())) and self._line.wants(entry):
            self._kick()

    def _has_say(self, group: Group) -> bool:
        """Whether it is this replica that makes room for the gang, and takes back what was promised to it."""
        return not group.elsewhere and self._ours(group.pending.values())

    def _may_help(self, pods: Iterable[PodFacts]) -> bool:
        """Whether there is anybody that all of these are above, or that holds what is their namespace's own."""
        several = list(pods)
        rank = min(facts.rank for facts in several)
        lower = self._state.residents.any_below(rank) or any(
            one.rank < rank for one in self._keeper.nominations.values()
        )
        lower = lower or self._state.quotas.is_owed(several[0].namespace)
        return lower and all(facts.preempts for facts in several)

    # --- searching ---

    def step(self) -> None:
        """Search for those whose turn it is, the most important first."""
        self._line.look()
        while (uid := self._line.next()) is not None:
            entry = self._queue.get(uid)
            if entry is None or entry.place is not Place.WAITING or uid in self._keeper.nominations:
                continue
            if isinstance(entry.failure, GangUnschedulable) and entry.failure.needed > 1:
                group = self._gangs.of(uid)
                if group is not None and not self._line.stalls(group.pending.values()):
                    self._search_safely(entry, group)
            elif (
                not waits_for_gang(entry.failure)
                and self._gangs.goes_singly(entry.facts)
                and not self._line.stalls((entry.facts,))  # it may have lost a place since it stands in line
            ):
                self._search_safely(entry, None)
            # the others would not get the place; they are refused again when it is their turn

    def resume(self) -> None:
        """Note what a predecessor promised: ``keep_promise`` is to be called until nothing of it is left."""
        named = [pod for pod in self._pods.all() if pod.status.nominated_node_name and not pod.spec.node_name]
        entries = [entry for pod in named if (entry := self._queue.get(pod.metadata.uid)) is not None]
        self.promised = deque(
            entry.uid for entry in sorted(entries, key=lambda entry: (-entry.priority, entry.arrival))
        )
        self._looked_for.clear()

    def keep_promise(self) -> None:
        """Keep the next of the places that were promised, one that is free by now included. At most one search."""
        while self.promised:
            entry = self._queue.get(self.promised.popleft())
            if entry is None or entry.uid in self._keeper.nominations:
                continue
            single = self._gangs.goes_singly(entry.facts)
            group = None if single else self._gangs.of(entry.uid)
            if group is not None:
                if group.key in self._looked_for:
                    continue
                self._looked_for.add(group.key)
                entry = speaker(group, self._queue) or entry
            if single or group is not None:
                self._search_safely(entry, group, keep=True)
                return

    def _search_safely(self, entry: Pending, group: Group | None, *, keep: bool = False) -> None:
        if not (self._ours((entry.facts,)) if group is None else self._has_say(group)):
            return  # another replica keeps its promise, or makes one
        try:
            if group is None:
                self._search_for_pod(entry, keep=keep)
            else:
                self._search_for_gang(group, entry, keep=keep)
        except Exception:  # the edge of the loop: one pod's fault must not stop the others
            log.exception("search for victims failed unexpectedly", pod=Key(entry.facts.namespace, entry.facts.name))
            self._keeper.give_back((entry.uid,) if group is None else group.pending)
            self._line.rest(entry.facts)

    def _search_for_pod(self, entry: Pending, *, keep: bool) -> None:
        """``keep``: a place that is free is kept, too."""
        facts = entry.facts
        pod = self._waiting(facts)
        if pod is None:
            return
        self._line.spend()
        found = self._rooms.for_pod(facts)
        if isinstance(found, Hopeless):
            self._give_up(facts, (pod,), found)
        elif keep or found.instead or not found.free:
            self._keeper.nominate(((pod, facts, found.placement),), found)
        else:  # what changed since was not for others
            self._line.lost(entry.uid, (facts,))  # unless the decision agrees
            self._queue.activate(entry.uid)

    def _search_for_gang(self, group: Group, entry: Pending, *, keep: bool) -> None:
        members, needed = self._members_of(group), group.gang.required
        if any(facts.uid in self._keeper.nominations for _, facts in members):
            return
        if len(members) < needed or self._gangs.is_satisfied(group):
            self._unname(pod for pod, _ in members)
            return
        self._line.spend(needed)
        found = self._rooms.for_gang([facts for _, facts in members], needed)
        if isinstance(found, Hopeless):
            self._give_up(entry.facts, [pod for pod, _ in members], found)
        elif keep or found.instead or not found.free:
            pods = {facts.uid: pod for pod, facts in members}
            nominees = [(pods[facts.uid], facts, placement) for facts, placement in found.placements]
            self._keeper.nominate(nominees, found, Party(group.key, max(facts.rank for _, facts, _ in nominees)))
            self._line.found(entry.uid)
        else:
            self._line.lost(group.key, group.pending.values())
            group.retry_at = float("-inf")
            self._queue.activate(entry.uid)

    def _give_up(self, facts: PodFacts, pods: Iterable[Pod], found: Hopeless) -> None:
        """Nobody's going would help these pods; the one with these facts stood in line for them."""
        meters.PREEMPTIONS.add(("hopeless",))
        spaces = frozenset(name.partition("/")[0] for name in found.looked.budgets)
        self._line.rest(facts, protected_until=found.protected_until, spaces=spaces, entitled=found.entitled)
        several = list(pods)
        for pod in several:
            self._stories.searched(pod.metadata.uid, found.looked, space=facts.namespace, outcome=why_hopeless(found))
        self._unname(several)

    def _unname(self, pods: Iterable[Pod]) -> None:
        """These are promised no place."""
        for pod in pods:
            if pod.status.nominated_node_name:
                self._keeper.unname(pod.metadata.uid, pod.key)

    def _members_of(self, group: Group) -> list[tuple[Pod, PodFacts]]:
        """The members of a gang that wait and are still there."""
        entries = [entry for uid in group.pending if (entry := self._queue.get(uid)) is not None]
        return [(pod, entry.facts) for entry in entries if (pod := self._waiting(entry.facts)) is not None]

    def _waiting(self, facts: PodFacts) -> Pod | None:
        """The pod, if it is still there and is to stay."""
        pod = self._pods.get(Key(facts.namespace, facts.name))
        return pod if pod is not None and pod.metadata.uid == facts.uid and not pod.metadata.deleting else None
