"""Make room for pods that fit nowhere: evict less important ones, keep what they leave, and give it to the right pod.

Apart from the service because a preemption outlives a decision. Its life: a pod that was held back *asks*; a search
(``scheduling.preemption``) proves who has to go; the pod is *nominated*: charged in the ledger beside its victims, so
that nobody but a more important pod gets what they leave; its node is written into its status and the victims are
evicted; when they are gone it is decided like any other, and bound wherever it fits. One preemption a pod at a time.
A gang does the same as a whole (``scheduling.gang_preemption``): all the members that it needs are nominated or none,
and what ends the wait of one of them ends it for all.

A nomination ends in one of these ways, each of which gives the hold back: the pod is bound, changed, gated or gone; its
node or a device of it is gone; a budget keeps a victim (then another plan is looked for, without that victim); a more
important pod takes the place; its victims do not end in time (the watchdog); or this replica stops leading. A successor
knows of nominations by ``status.nominatedNodeName`` alone: before it decides anything it looks for plans anew, in which
pods that are ending cost nothing, and takes the name away where it finds none.

Victims that do not end are not counted on any more. Others are evicted instead once; if these do not end either, nobody
is for a while that doubles each time.

Source: Kubernetes' DefaultPreemption and its nominated pods; TensorFusion's watchdog for nominated pods.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.model.keys import GANG_DOMAINS
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Leadership
from tensorfusion.scheduler.evictions import Evictions, Fate
from tensorfusion.scheduler.gang_book import Group
from tensorfusion.scheduler.gangs import speaker
from tensorfusion.scheduler.nominations import LONGEST_NOMINATION, Nomination, Nominations, Party
from tensorfusion.scheduler.pods import Pending, PodBook
from tensorfusion.scheduler.preemption_asks import Asks
from tensorfusion.scheduler.preemption_stories import OPENED, Stories, listed, name_for, waits_for
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.reports import Reports
from tensorfusion.scheduler.room_search import RoomSearch
from tensorfusion.scheduler.search_line import SearchLine
from tensorfusion.scheduling.cohorts import policy_between
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.owing import given_back
from tensorfusion.scheduling.preemption import Plan
from tensorfusion.scheduling.residents import gang_of
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

WATCHDOG_EVERY = 180.0
"""Seconds between two looks for such pods."""
SPARED_FOR = 60.0
"""Seconds for which a pod is left alone that its budget kept."""
STUCK_FOR = 600.0
"""Seconds for which a pod is left alone that could not be evicted in time; one that does not end is until it does."""
FIRST_STALL, LONGEST_STALL = 600.0, 3600.0
"""Seconds for which nobody is evicted for a pod whose victims did not end twice: doubled each time."""
REVIEW_EVERY = 0.2
"""Seconds between two looks at all nominations while none of the pods that they wait for ends."""


class Preemptor:
    """Nominations by the uid of the pod. All but ``run`` is called by the owner of the state, and does not wait."""

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        book: PodBook,
        state: State,
        hints: list[Hint],
        *,
        clock: Clock,
        pods: Cache[Pod],
        budgets: Cache[DisruptionBudget],
        reports: Reports,
        kick: Callable[[], None],
        cluster_wide: Callable[[], bool] = lambda: False,
        ours: Callable[[Iterable[PodFacts]], bool] = lambda _: True,
        watchdog_every: float = WATCHDOG_EVERY,
        domain_keys: Sequence[str] = GANG_DOMAINS,
    ) -> None:
        self._leadership = leadership
        self._book = book
        self._state = state
        self._hints = hints
        self._clock = clock
        self._pods = pods
        self._reports = reports
        self._kick = kick
        self._ours = ours
        """Whether it is for this replica to evict for a pod, or for several as one."""
        self._watchdog_every = watchdog_every
        self._watched_at = float("-inf")
        self.places = Nominations(state, book, clock=clock, pods=pods)
        self.nominations = self.places.by_uid
        self._evictions = Evictions(api, clock=clock, nominations=self)
        self.line = SearchLine(book, state, clock=clock)
        self.stories = Stories()
        self.rooms = RoomSearch(
            state,
            clock=clock,
            budgets=budgets,
            cluster_wide=cluster_wide,
            domain_keys=domain_keys,
            kept=self.places.kept,
        )
        self.cluster_wide, self.budgets_of = cluster_wide, self.rooms.budgets_of
        self.asks = Asks(
            book,
            state,
            line=self.line,
            rooms=self.rooms,
            keeper=self,
            pods=pods,
            stories=self.stories,
            kick=kick,
            ours=ours,
        )
        self._reviewed_at = float("-inf")
        self._departed = state.departed
        self._changed = False
        """A nomination ended since it was worked out who is waited for."""
        self._members = False
        """Some nominated pod is a member of a gang, which may end at any time."""
        self._stalls: dict[str, int] = {}
        """How often the victims of a gang or a pod did not end in time."""

    async def run(self) -> None:
        """Write and evict until cancelled."""
        await self._evictions.run()

    # --- decisions ---

    def decide(self, facts: PodFacts, member: Callable[[PodFacts], Decision] | None = None) -> Decision:
        """A decision that gives a nominated pod its own place, and a more important pod those of others.

        ``member`` decides about one more member of a gang that runs already, which takes no other's place.

        Raises:
            QuotaExceeded, Unschedulable: as a plain decision.
        """
        if not self.nominations:
            return decide(self._state, facts) if member is None else member(facts)
        own = self.nominations.get(facts.uid)
        if own is not None and own.party is None and facts == own.facts and facts.uid in self._state.nominated:
            return self._decide_nominee(own)
        if own is not None:
            self._drop(own, "the pod was changed" if own.party is None else "its gang runs already")
        return self._decide_over_others(facts) if member is None else member(facts)

    def _decide_nominee(self, own: Nomination) -> Decision:
        """Without its own hold. Where that fails the hold stays, unless nobody is left to wait for."""
        state, uid = self._state, own.facts.uid
        mark = state.checkpoint()
        given_back = state.release(uid)
        try:
            decision = state.promised(lambda: self._decide_over_others(own.facts))
        except BaseException:
            state.rollback(mark)
            if not self.places.waits(own):
                self._drop(own, "the place that was made is not enough any more")
            raise
        state.keep(mark)
        del self.nominations[uid]
        self._changed = True
        self._hints += given_back
        self.stories.went_on(uid, "placed")
        return decision

    def _decide_over_others(self, facts: PodFacts) -> Decision:
        """What is kept for less important pods is free for this one; they lose it where it is needed."""
        state = self._state
        try:
            return decide(state, facts)
        except (NotFit, QuotaExceeded) as failure:
            lower = self.places.in_the_way(facts, failure)
            if not lower:
                raise
        mark = state.checkpoint()
        try:
            for one in lower:
                state.release(one.facts.uid)
            decision = decide(state, facts)
        finally:
            state.rollback(mark)
        node = decision.placement.node
        for one in sorted(lower, key=lambda one: (one.placement.node != node, one.facts.rank, -one.since)):
            if self.places.can_hold(facts, decision.placement):
                break
            self._drop(one, "a more important pod takes the place")
            self._activate(one)
        return decision

    # --- asking ---

    def consider(self, pending: Pending, pod: Pod) -> None:
        """The pod was held back: look for room as soon as the bound on searches allows."""
        self.asks.pod_refused(pending, pod)

    def step(self) -> None:
        """Look after nominations, and search for those that ask, the most important first."""
        if self.nominations:
            now = self._clock.monotonic()
            if self._state.departed != self._departed or self._members or now - self._reviewed_at >= REVIEW_EVERY:
                self._departed, self._reviewed_at = self._state.departed, now
                self._review()
        if self._changed:  # whoever is not waited for any more does not count as gone in what is owed
            self._await_end()
        self.asks.step()

    def budget_changed(self, namespace: str) -> None:
        """A disruption budget may let pods go that it kept before."""
        if self.line.budget_changed(namespace):
            self._kick()

    # --- gangs ---

    def set_aside(self, uids: Collection[str]) -> list[Hint]:
        """Within a statement give back what is kept for these members of a gang; answers what that changes."""
        if not self.nominations:
            return []
        return [hint for uid in uids if uid in self._state.nominated for hint in self._state.release(uid)]

    def used(self, uids: Collection[str], given_back: list[Hint]) -> None:
        """These members of a gang have places now: they wait no more, and nor do those that others came before."""
        self._hints += given_back
        for uid in uids:
            one = self.nominations.pop(uid, None)
            if one is not None:
                self._changed = True
                self.stories.went_on(uid, "placed")
        for uid in uids:
            group = self._book.gangs.of(uid)
            if group is not None:
                for each in group.pending:
                    self.line.found(each)  # what it rests for was about the gang
                for other in [self.nominations[each] for each in group.pending if each in self.nominations]:
                    self._drop(other, "others of its gang were placed")
                return

    def missed(self, group: Group) -> None:
        """The gang does not fit as a whole: look for room for all that it needs."""
        kept = next((one for uid in group.pending if (one := self.nominations.get(uid)) is not None), None)
        if kept is not None:
            if self.places.waits(kept):
                return
            self._drop(kept, "the place that was made is not enough any more")
        self.asks.gang_refused(group)

    def _speaker(self, one: Nomination) -> Pending | None:
        """The entry that stands in line for a nomination."""
        group = self._book.gangs.of(one.facts.uid) if one.party is not None else None
        return self._book.queue.get(one.facts.uid) if group is None else speaker(group, self._book.queue)

    # --- nominations ---

    def nominate(
        self, nominees: Sequence[tuple[Pod, PodFacts, Placement]], plan: Plan | GangPlan, party: Party | None = None
    ) -> None:
        """Keep these places, which are a pod's or all of a gang's, and evict who has to leave them."""
        for uid in plan.displaced:
            other = self.nominations.get(uid)
            if other is not None:
                self._drop(other, "a more important pod takes the place")
                self._activate(other)
        found = {one.pod.uid: self._pods.get(Key(one.pod.namespace, one.pod.name)) for one in plan.victims}
        victims = {uid: one for uid, one in found.items() if one is not None and one.metadata.uid == uid}
        space = nominees[0][1].namespace
        names = tuple(name_for(one.pod, space) for one in plan.victims)
        waits = OPENED if plan.instead else waits_for(names, "" if party is None else party.key)
        awaited = frozenset(found) | frozenset(plan.ending)
        owed = plan.owed | given_back(self._state, [facts for _, facts, _ in nominees], plan.ending)
        made: list[Nomination] = []
        for pod, facts, placement in nominees:
            self._state.nominate(facts, placement, awaited)
            nomination = Nomination(
                facts=facts,
                key=pod.key,
                placement=placement,
                since=self._clock.monotonic(),
                epoch=self._leadership.epoch,
                victims={} if made else victims,
                awaited=awaited,
                names=names,
                party=party,
                owed=owed,
            )
            made.append(nomination)
        if party is not None:
            party.members = tuple(made)
        self._state.awaited.update(awaited, (facts.uid for _, facts, _ in nominees))
        meters.PREEMPTIONS.add(("nominated",))
        for (pod, facts, placement), nomination in zip(nominees, made, strict=True):
            self.nominations[facts.uid] = nomination
            self.line.found(facts.uid)
            self._members = self._members or (facts.gang is not None and party is None)
            self._reports.nominated(pod, placement.node, waits)
            self.stories.searched(
                facts.uid, plan.looked, space=space, node=placement.node, victims=names, outcome="nominated"
            )
            log.info("nominated", pod=pod.key, node=placement.node, victims=len(names), ending=len(plan.ending))
            self._evictions.start(facts.uid)
        if not awaited:
            # its turn must not come behind that of those it came before: they would wait for others on the same
            # devices, and while these are still there nobody but they fits beside them
            self._activate(made[0])

    def _review(self) -> None:
        """Give up what came to nothing; decide those whose place is free."""
        now = self._clock.monotonic()
        watch = now - self._watched_at >= self._watchdog_every
        if watch:
            self._watched_at = now
        parties: set[Party] = set()
        for uid, one in list(self.nominations.items()):
            if self.nominations.get(uid) is not one:
                continue  # its party was dropped meanwhile
            asked = one.party in parties
            if one.party is not None:
                parties.add(one.party)
            why = self.places.void(one) or ("" if asked else self.places.void_together(one))
            if why:
                self._drop(one, why)
                self._activate(one)
            elif asked:
                continue  # its party waits for the same pods
            elif not self.places.waits(one):
                self._activate(one)
            elif watch and now - one.since > LONGEST_NOMINATION and (stuck := self.places.overdue(one)):
                self._stall(one, stuck)
        if watch:
            here = {one.owner for one in self.nominations.values()} | self._book.gangs.groups.keys()
            self._stalls = {key: count for key, count in self._stalls.items() if key in here or key in self._book.queue}
        self._members = any(one.facts.gang is not None and one.party is None for one in self.nominations.values())
        self._await_end()

    def _await_end(self) -> None:
        self._changed = False
        self.places.await_end()

    def _activate(self, one: Nomination) -> None:
        """It is the turn of those that waited: nothing keeps them any more, or something else has to be found."""
        queue = self._book.queue
        group = self._book.gangs.of(one.facts.uid) if one.party is not None else None
        if group is not None:
            group.retry_at = float("-inf")
        entry = self._speaker(one)
        if entry is not None and entry.place in (Place.WAITING, Place.BACKOFF):
            queue.activate(entry.uid)

    def _stall(self, one: Nomination, stuck: Collection[str]) -> None:
        """The victims do not end: others are looked for, once, and then nobody is evicted for longer and longer."""
        ending = {uid for uid in stuck if self.places.is_ending(uid)}
        self.rooms.spare(ending, float("inf"))
        self.rooms.spare(set(stuck) - ending, STUCK_FOR)
        stalls = self._stalls[one.owner] = self._stalls.get(one.owner, 0) + 1
        rest = 0.0 if stalls < 2 else min(LONGEST_STALL, FIRST_STALL * (1 << min(stalls - 2, 8)))
        held = [self._state.allocations[uid].pod for uid in stuck]
        names = [name_for(pod, one.facts.namespace) for pod in held]
        then = f"nobody is evicted for it for {rest / 60:.0f} minutes" if rest else "others are looked for"
        words = f"{listed(names)} should have left long ago and {'do' if len(names) > 1 else 'does'} not end: {then}"
        for other in one.together:
            pod = self._pods.get(other.key)
            if pod is not None and pod.metadata.uid == other.facts.uid:
                self._reports.stalled(pod, words)
        self._drop(one, "the pods that have to leave do not end")
        if rest:
            for facts in self._waiting_with(one):
                self.line.rest_for(facts, rest)  # whoever of a gang speaks for it next
        self._activate(one)

    def _waiting_with(self, one: Nomination) -> Iterable[PodFacts]:
        """The pod, or all of its gang that wait."""
        group = self._book.gangs.of(one.facts.uid) if one.party is not None else None
        return (one.facts,) if group is None else group.pending.values()

    def _drop(self, nomination: Nomination, why: str, *, another: bool = False) -> None:
        """End a nomination: the hold is given back, and the name of the node taken out of the pod's status.

        With it go those of the other members of its party. ``another``: one search is the less to do for another place,
        however often this happens; else it counts as a place that was lost.
        """
        if not another and self.nominations.get(nomination.facts.uid) is nomination:
            self.line.lost(nomination.owner, self._waiting_with(nomination))
        for one in nomination.together:
            uid = one.facts.uid
            if self.nominations.get(uid) is not one:
                continue
            del self.nominations[uid]
            self._changed = True
            if uid in self._state.nominated:
                self._hints += self._state.release(uid)
            log.info("nomination ends", pod=one.key, node=one.placement.node, why=why)
            self.stories.went_on(uid, f"no place is kept any more: {why}")
            pod = self._pods.get(one.key)
            if pod is not None and pod.metadata.uid == uid and not pod.spec.node_name:
                self._evictions.forget(uid, one.key)
        self._kick()

    def resume(self) -> None:
        """This replica decides from now on: what its predecessor promised is kept before anybody else is looked at.

        ``asks.keep_promise`` keeps it one by one: searches take long, and all of them at once would cost the Lease.
        """
        self.asks.resume()

    def surrender(self) -> None:
        """This replica decides no more: holds are given back; the names stay for the successor to read."""
        for uid in list(self.nominations):
            del self.nominations[uid]
            if uid in self._state.nominated:
                self._hints += self._state.release(uid)
            self._book.queue.activate(uid)
        self._state.awaited.clear()
        self.line.clear()
        self.asks.promised.clear()
        self._evictions.clear()

    def unname(self, uid: str, key: Key) -> None:
        """Take the name of the node out of the pod's status."""
        self._evictions.forget(uid, key)

    def give_back(self, uids: Iterable[str]) -> None:
        """Give back what is held for these though they are not nominated: a failure left it."""
        for uid in uids:
            if uid in self._state.nominated and uid not in self.nominations:
                self._hints += self._state.release(uid)

    # --- what evictions ask and tell ---

    def leads(self, nomination: Nomination) -> bool:
        """Whether this nomination is still to be carried out, by this replica."""
        queue, nominated = self._book.queue, self._state.nominated
        current = all(
            self.nominations.get(one.facts.uid) is one and one.facts.uid in nominated and one.facts.uid in queue
            for one in nomination.together
        )
        if not current or not self._ours(one.facts for one in nomination.together):
            return False
        if not self.places.is_owed(nomination):
            return False
        return self._leadership.is_leader() and self._leadership.epoch == nomination.epoch

    def evicted(self, nomination: Nomination, victim: Pod, fate: Fate, why: str) -> None:
        """What became of one eviction."""
        uid = victim.metadata.uid
        nomination.victims.pop(uid, None)
        meters.EVICTIONS.add((fate.value,))
        if fate is Fate.EVICTED:
            held = self._state.allocations.get(uid)
            node = held.placement.node if held is not None else victim.spec.node_name
            if held is not None and (gang := gang_of(held.pod)):
                nomination.begun.add(gang)
            if uid in nomination.owed:
                self._tell_reclaimed(victim, nomination.facts.namespace)
            else:
                self._reports.preempted(victim, nomination.facts.uid, node)
        elif fate is Fate.KEPT:
            log.info("victim stays", pod=victim.key, preemptor=nomination.key, why=why)
            self.rooms.spare((uid,), SPARED_FOR)
            if self.nominations.get(nomination.facts.uid) is nomination:
                self._drop(nomination, "a pod that has to leave may not be evicted", another=True)
                for one in nomination.together:
                    self.line.found(one.facts.uid)
                entry = self._speaker(nomination)
                if entry is not None:
                    self.line.ask_again(entry.uid)
        self._kick()

    def _tell_reclaimed(self, victim: Pod, owner: str) -> None:
        cohorts = self._state.quotas.cohorts
        debtor, lender = cohorts.member(victim.metadata.namespace), cohorts.member(owner)
        meters.RECLAIMED.add((cohorts.tree_of(victim.metadata.namespace),))
        if debtor is None or lender is None or debtor.root is not lender.root:
            return  # the trees were changed since; that it is disrupted its condition says
        meeting, policy = policy_between(lender, debtor)
        self._reports.reclaimed(victim, cohort=meeting.name, policy=policy.value)
