"""Campaigns: pools are defragmented in the windows of their schedules, one node at a time.

The life of a step: the planner (``scheduling.defrag``) finds a node all of whose pods fit elsewhere; their places are
kept (``moved_places``); the node is marked as a source and the pods as moved; each is evicted through the eviction API,
which charges its disruption budget; their successors get the places. The next step waits until all of them have one and
the node is empty. An eviction that is refused ends the step: the node is left alone until the campaign ends.

Everything is looked at anew every few seconds, from the caches and the marks on nodes and pods: a successor that takes
over in the middle of a campaign goes on with what it finds. It knows of no places that were kept, and a source whose
pods do not leave any more is a source no longer. ``lastDefragTime`` in the pool's status says that the window is used
up; it is written when the campaign ends.

One step a pool at a time, and only by who decides for the pool.

Source: TensorFusion's defragmentation: campaign, guards, marks, events.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ApiError, Conflict, Invalid, InvalidRequest, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.pool_nodes import Defrag
from tensorfusion.model.resources import GPU_POOLS, NODES, PODS
from tensorfusion.policy.defrag import DefragSettings, Window, defrag_settings, open_window
from tensorfusion.runtime.events import EventType
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.defrag_marks import EVICTED, MARKED_NODES, MARKED_PODS, SKIP, SOURCE, Caches
from tensorfusion.scheduler.defrag_restraints import Restraints
from tensorfusion.scheduler.defrag_words import Words
from tensorfusion.scheduler.evictions import Fate, evict, fate_of, is_there
from tensorfusion.scheduler.moved_places import MovedPlaces
from tensorfusion.scheduler.reports import Recorder
from tensorfusion.scheduling.defrag import Step, plan
from tensorfusion.scheduling.defrag_candidates import Why
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

EVERY = 10.0
"""Seconds between two looks at a pool: the shortest time between two steps."""
TRIED_A_STEP = 64
"""Nodes that are tried out at most in one look: nobody else is decided meanwhile."""
ATTEMPTS, PAUSE = 3, 1.0
"""How often an eviction is asked for that could not be answered, and seconds between."""
_TRIED = (Why.UNSCHEDULABLE, Why.NO_GAIN)


@dataclass(slots=True, eq=False)
class Campaign:
    """One window that is being used."""

    window: Window
    pods: int = 0
    nodes: int = 0
    freed: int = 0
    told: set[tuple[str, Why]] = field(default_factory=set)
    tried: dict[str, Why] = field(default_factory=dict)
    """Nodes that were tried out in vain when so many were that the others had to wait for the next look."""


class Defragmenter:
    """Campaigns by pool. ``run`` is a task of the scheduler; ``places`` is asked by every decision.

    ``leads`` says whether it is decided here at all, ``decides`` whether for a pool.
    """

    def __init__(
        self,
        api: Api,
        state: State,
        hints: list[Hint],
        caches: Caches,
        *,
        clock: Clock,
        recorder: Recorder,
        is_there: Callable[[Placement], bool],
        kick: Callable[[], None],
        leads: Callable[[], bool],
        decides: Callable[[str], bool],
    ) -> None:
        self._api = api
        self._state = state
        self._caches = caches
        self._clock = clock
        self._words = Words(recorder, caches)
        self.restraints = Restraints(api, caches, clock=clock)
        self._is_there = is_there
        self._leads = leads
        self._decides = decides
        self.places = MovedPlaces(state, hints, clock=clock, kick=kick, unplaced=self._unplaced)
        self._campaigns: dict[str, Campaign] = {}
        self._ended: dict[str, datetime] = {}
        """When a campaign of each pool ended here: the pool's status says so a moment later."""
        self._refused: dict[str, str] = {}
        """What was said about the settings of a pool that cannot be used."""
        self._to_mark: dict[str, tuple[Pod, str]] = {}
        """Successors without a place that are to be marked, by uid, and the pool that they are moved in."""

    async def run(self) -> None:
        """Look after campaigns until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            if not self._leads():
                continue
            self.places.review(self._is_there)
            for pool in list(self._caches.pools.all()):
                if not self._may(pool.metadata.name):
                    continue
                try:
                    await self._look(pool)
                except (ApiError, TimeoutError, OSError) as error:
                    log.warning("a pool cannot be defragmented now", pool=pool.metadata.name, error=error)
                except Exception:  # the edge of the loop: one pool's fault must not stop the scheduler
                    log.exception("a pool cannot be defragmented", pool=pool.metadata.name)
            try:
                await self._forget_pools()
            except (ApiError, TimeoutError, OSError) as error:
                log.warning("marks of pools that are gone cannot be taken away now", error=error)
            self._follow_sources()

    def surrender(self) -> None:
        """This replica decides no more: campaigns are forgotten, the marks stay."""
        self.places.surrender()
        self._campaigns.clear()
        self._to_mark.clear()

    def hand_over(self) -> None:
        """It is decided here for other pools than before: as ``surrender``, for those that somebody else has now."""
        self.places.give_back(
            [uid for uid, one in self.places.by_uid.items() if not self._decides(one.pool)],
            "its pool is not decided here any more",
        )
        for pool in [name for name in self._campaigns if not self._decides(name)]:
            del self._campaigns[pool]
        for uid in [uid for uid, (_, pool) in self._to_mark.items() if not self._decides(pool)]:
            del self._to_mark[uid]
        self._follow_sources()

    # --- a pool ---

    def _may(self, pool: str) -> bool:
        return self._leads() and self._decides(pool)

    async def _look(self, pool: GPUPool) -> None:
        name = pool.metadata.name
        settings = self._settings(pool)
        campaign = self._campaigns.get(name)
        if settings is None and campaign is None and not self._is_marked(name):
            return
        now = self._clock.now()
        waits = await self._tidy(name, settings, campaign)
        if not self._may(name):
            return
        if campaign is None:
            window = None if settings is None else open_window(settings, now=now, last=self._last(pool))
            if window is None:
                await self._unskip(name)
                return
            campaign = self._campaigns[name] = Campaign(window)
            self._words.pool(
                pool, EventType.NORMAL, "DefragStarted", f"hardly used nodes are emptied until {window.closes}"
            )
        if settings is None or not campaign.window.contains(now):
            await self._finish(pool, campaign, "the window is over" if settings is not None else "it was switched off")
        elif not waits:
            await self._step(pool, campaign, settings)

    def _settings(self, pool: GPUPool) -> DefragSettings | None:
        """The pool's settings while they are in force."""
        name, defrag = pool.metadata.name, defrag_of(pool)
        if defrag is None or not defrag.enabled:
            self._refused.pop(name, None)
            return None
        try:
            settings = defrag_settings(defrag)
        except InvalidRequest as error:
            self._refuse(pool, f"{error}: the pool is not defragmented")
            return None
        if settings.notes:
            self._refuse(pool, "; ".join(settings.notes))
        else:
            self._refused.pop(name, None)
        return settings

    def _refuse(self, pool: GPUPool, words: str) -> None:
        name = pool.metadata.name
        if self._refused.get(name) != words:
            self._refused[name] = words
            log.warning("defragmentation is not configured as it should be", pool=name, why=words)
            self._words.pool(pool, EventType.WARNING, "DefragConfigInvalid", f"nodeCompaction.defrag: {words}")

    def _last(self, pool: GPUPool) -> datetime | None:
        """When a campaign of the pool ended last."""
        told = pool.status.last_defrag_time
        moments = [] if told is None else [datetime.fromisoformat(told)]
        return max(
            [*moments, *([self._ended[pool.metadata.name]] if pool.metadata.name in self._ended else [])], default=None
        )

    async def _finish(self, pool: GPUPool, campaign: Campaign, why: str) -> None:
        name = pool.metadata.name
        now = self._clock.now()
        await self._api.patch(GPU_POOLS, name, {"status": {"lastDefragTime": timestamp(now)}}, subresource="status")
        self._ended[name] = now
        self._campaigns.pop(name, None)
        words = f"{why}: {campaign.pods} pods moved, {campaign.nodes} nodes emptied, {campaign.freed} devices freed"
        self._words.pool(pool, EventType.NORMAL, "DefragFinished", words)
        await self._unskip(name)

    # --- marks ---

    async def _forget_pools(self) -> None:
        """Take away what was begun for pools that are gone: nobody else would."""
        there = {pool.metadata.name for pool in self._caches.pools.all()}
        for name in self._campaigns.keys() - there:
            del self._campaigns[name]
        self.places.give_back(
            [uid for uid, one in self.places.by_uid.items() if one.pool not in there], "its pool is gone"
        )
        for pool in sorted(self._caches.marked_pools() - there):
            for node in self._caches.nodes.by_index(MARKED_NODES, pool):
                for kind in (SOURCE, SKIP):
                    mark = kind.of(node.metadata)
                    if mark is not None and mark.pool == pool and self._may(pool):
                        await self._mark_node(node.metadata.name, kind.take())
            for pod in self._caches.pods.by_index(MARKED_PODS, pool):
                if self._may(pool):
                    await self._patch_pod(pod, EVICTED.take())

    def _is_marked(self, pool: str) -> bool:
        return bool(self._caches.nodes.by_index(MARKED_NODES, pool) or self._caches.pods.by_index(MARKED_PODS, pool))

    async def _tidy(self, pool: str, settings: DefragSettings | None, campaign: Campaign | None) -> bool:
        """Take away marks whose time is over; answers whether anybody is still on the way."""
        waits = bool(self.places.waiting(pool))
        for uid, (successor, of) in list(self._to_mark.items()):
            if of == pool:
                del self._to_mark[uid]
                waits = await self._patch_pod(successor, EVICTED.put(pool, now=self._clock.now())) or waits
        for pod in self._caches.pods.by_index(MARKED_PODS, pool):
            waits = await self._tidy_pod(pod, None if settings is None else settings.evicted_pod_ttl) or waits
        for node in self._caches.nodes.by_index(MARKED_NODES, pool):
            mark = SOURCE.of(node.metadata)
            if mark is None or mark.pool != pool:
                continue
            over = self._is_older(mark.since, timedelta(minutes=30) if settings is None else settings.source_node_ttl)
            staying, leaving = self._pods_on(node.metadata.name, pool)
            if staying or leaving:
                if not over and (leaving or self.places.waiting(pool)):
                    waits = True
                    continue
                why = "the time for it is over" if over else "pods are on it that do not leave"
                log.info("a node is not emptied any more", node=node.metadata.name, why=why)
                self._words.node(node, "DefragAbortNode", f"not emptied: {why}")
            elif campaign is not None:
                campaign.nodes += 1
            await self._mark_node(node.metadata.name, SOURCE.take())
        return waits

    async def _tidy_pod(self, pod: Pod, longest: timedelta | None) -> bool:
        """Answers whether the pod is one that was moved and has no place yet, or still leaves its old one."""
        mark = EVICTED.of(pod.metadata)
        if mark is None or pod.finished:
            return False
        if pod.metadata.deleting:
            return False  # its node knows
        if not pod.spec.node_name and not self._is_older(mark.since, longest):
            return True
        await self._patch_pod(pod, EVICTED.take())
        return False

    def _is_older(self, since: datetime, longest: timedelta | None) -> bool:
        return longest is not None and self._clock.now() - since > longest

    def _pods_on(self, node: str, pool: str) -> tuple[list[str], list[str]]:
        """Uids of the pods that hold devices of the pool on the node: those that stay, and those that are ending."""
        columns = self._state.fleet.pools.get(pool)
        row = None if columns is None else columns.row_of(node)
        if columns is None or row is None:
            return [], []
        uids = sorted({uid for device in columns.devices[row] for uid in device.holders})
        ending = [uid for uid in uids if self._state.residents.is_ending(uid)]
        return [uid for uid in uids if uid not in ending], ending

    async def _unskip(self, pool: str) -> None:
        for node in self._caches.nodes.by_index(MARKED_NODES, pool):
            mark = SKIP.of(node.metadata)
            if mark is not None and mark.pool == pool:
                await self._mark_node(node.metadata.name, SKIP.take())

    def _follow_sources(self) -> None:
        """Decisions keep off what is marked as a source, by whomever."""
        self.places.sources = {
            node.metadata.name: mark.pool
            for pool in self._caches.pools.all()
            if self._may(pool.metadata.name)
            for node in self._caches.nodes.by_index(MARKED_NODES, pool.metadata.name)
            if (mark := SOURCE.of(node.metadata)) is not None and mark.pool == pool.metadata.name
        }

    # --- a step ---

    async def _step(self, pool: GPUPool, campaign: Campaign, settings: DefragSettings) -> None:
        name = pool.metadata.name
        closed = await self.restraints.closed_nodes()
        if not self._may(name):
            return
        found = plan(
            self._state,
            self.restraints.terms(
                name,
                threshold=settings.threshold,
                min_age=settings.max_duration,
                closed={**campaign.tried, **closed},
            ),
            most_steps=1,
            most_tried=TRIED_A_STEP,
        )
        for node, why in found.kept.items():
            self._words.kept(campaign.told, node, why)
        if not found.steps:
            tried = {
                node: one.why for node, one in found.kept.items() if one.why in _TRIED and node not in campaign.tried
            }
            campaign.tried |= tried
            if len(tried) < TRIED_A_STEP:
                await self._finish(pool, campaign, "no more nodes can be emptied")
            return
        step = found.steps[0]
        self.places.keep(name, [(move, self.restraints.owner(move.pod)) for move in step.moves])
        await self._empty(pool, campaign, step)

    def pools(self) -> list[GPUPool]:
        """The pools that there are."""
        return list(self._caches.pools.all())

    async def _empty(self, pool: GPUPool, campaign: Campaign, step: Step) -> None:
        """Mark the node and evict its pods. What is not evicted gives its place back."""
        name = pool.metadata.name
        left = {move.pod.uid: move for move in step.moves}
        try:
            await self._mark_node(step.node, SOURCE.put(name, now=self._clock.now()))
            self._follow_sources()
            meters.DEFRAG_STEPS.add((name,))
            log.info("a node is emptied", node=step.node, pool=name, pods=len(step.moves), frees=step.frees)
            for number, move in enumerate(step.moves):
                if not self._may(name):
                    return
                obstacle = self._obstacle(step, number)
                if obstacle is not None:
                    await self._skip(pool, step.node, obstacle)
                    return
                fate, why = await self._evict(move.pod, name)
                if fate is None:
                    del left[move.pod.uid]  # if it was evicted its successor needs the place
                else:
                    meters.DEFRAG_EVICTIONS.add((fate.value,))
                if fate is None or fate is Fate.KEPT:
                    if not self._may(name):
                        return
                    self._words.pod(move.pod, EventType.WARNING, "DefragPodEvictFailed", why)
                    await self._skip(pool, step.node, f"{one_name(move.pod)} could not be evicted: {why}")
                    return
                del left[move.pod.uid]
                campaign.pods += 1
                if fate is Fate.EVICTED:
                    words = f"moved from {step.node} to {move.target.node}, so that whole devices get free"
                    self._words.pod(move.pod, EventType.NORMAL, "DefragPodEvicted", words)
            campaign.freed += step.frees
            meters.DEFRAG_FREED.add((name,), step.frees)
        finally:
            self.places.give_back(left, "the pod stays where it is")

    def _obstacle(self, step: Step, number: int) -> str | None:
        """Why the move of this number is not to be made any more: things may have changed since it was planned."""
        move = step.moves[number]
        pod = self._caches.pods.get(Key(move.pod.namespace, move.pod.name))
        if pod is None or pod.metadata.uid != move.pod.uid:
            return None  # gone by itself; its successor has the place, or will have
        veto = self.restraints.veto(move.pod)
        if veto is not None:
            return f"{one_name(move.pod)} has to stay: {veto}"
        if not self.places.can_go_on(step.moves, number):
            return f"the place for {one_name(move.pod)} is gone"
        return None

    async def _evict(self, facts: PodFacts, pool: str) -> tuple[Fate | None, str]:
        """What became of a pod, and why; None where nobody can say whether it was evicted."""
        pod = self._caches.pods.get(Key(facts.namespace, facts.name))
        if pod is None or pod.metadata.uid != facts.uid:
            return Fate.GONE, "gone"
        failed: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._clock.sleep(PAUSE)
                if not self._may(pool):
                    break
            try:
                if not await self._patch_pod(pod, EVICTED.put(pool, now=self._clock.now())):
                    return Fate.GONE, "gone"
                return await evict(self._api, pod)
            except (ApiError, TimeoutError, OSError) as error:
                failed = error
        try:
            return await fate_of(self._api, pod), str(failed)
        except (ApiError, TimeoutError, OSError) as error:
            return None, f"{failed}; then {error}"

    async def _skip(self, pool: GPUPool, node: str, why: str) -> None:
        """Leave the node alone until the campaign ends."""
        skip, take = (
            SKIP.put(pool.metadata.name, now=self._clock.now(), reason=why)["metadata"],
            SOURCE.take()["metadata"],
        )
        await self._mark_node(node, {"metadata": {field: {**take[field], **skip[field]} for field in skip}})
        found = self._caches.nodes.get(Key("", node))
        if found is not None:
            self._words.node(found, "DefragNodeEvictSkip", f"left alone until the campaign ends: {why}")

    # --- writes ---

    async def _mark_node(self, name: str, patch: Raw) -> None:
        try:
            await self._api.patch(NODES, name, patch)
        except NotFound as error:
            log.debug("a node is gone", node=name, error=error)

    async def _patch_pod(self, pod: Pod, patch: Raw) -> bool:
        """Answers whether the pod is still there."""
        meta = pod.metadata
        body: Raw = {"metadata": {**patch["metadata"], "uid": meta.uid}}
        try:
            await self._api.patch(PODS, meta.name, body, namespace=meta.namespace)
        except (NotFound, Conflict, Invalid):  # gone, or another pod has its name
            if await is_there(self._api, pod):
                raise
            return False
        return True

    def _unplaced(self, pod: Pod, pool: str) -> None:
        """A successor found no place: it is marked, so that whoever comes after waits for it, too."""
        if EVICTED.of(pod.metadata) is None:
            self._to_mark[pod.metadata.uid] = (pod, pool)


def defrag_of(pool: GPUPool) -> Defrag | None:
    """What a pool says about its defragmentation."""
    nodes = pool.spec.node_manager_config
    compaction = None if nodes is None else nodes.node_compaction
    return None if compaction is None else compaction.defrag


def one_name(facts: PodFacts) -> str:
    return f"{facts.namespace}/{facts.name}"
