"""Carry nominations out: write the node into the pod's status, then evict the victims one after the other.

Apart from the preemptor because these are the writes, and each of them may fail. One key is worked on by one task at a
time, from what the nomination is then, so a nomination that ended meanwhile is not carried out further and its node is
taken out of the status in turn. Of a gang all members are named before anybody is evicted. An eviction names the uid:
it can never hit a successor of the same name. The server charges the disruption budget; its refusal is final for this
plan.

The condition DisruptionTarget is written after the eviction, for the API server writes one of its own on the way.

Source: policy/v1 Eviction; kube-scheduler's preemption (condition, events).
"""

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, ServerError, TooManyRequests
from tensorfusion.kube.api import Api, PatchKind
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.queue import WorkQueue
from tensorfusion.telemetry.logs import get_logger

if TYPE_CHECKING:
    from tensorfusion.scheduler.nominations import Nomination

log = get_logger(__name__)

SENDERS = 8
_SOONEST, _LATEST = 0.2, 5.0
_PREEMPTED = "preempting to accommodate a higher priority pod"
_RECLAIMED = "reclaiming what its namespace has borrowed for the member of its cohort that lent it"
MOST_FAILURES = 5
"""Answers 500 to one eviction after which the pod counts as kept: the server cannot do it, whatever the reason."""


class Fate(StrEnum):
    """What became of an eviction."""

    EVICTED = "evicted"
    GONE = "gone"
    KEPT = "kept"
    """Its disruption budget, admission, or a server that failed at it did not let it go."""


async def evict(api: Api, victim: Pod) -> tuple[Fate, str]:
    """Ask the API server to evict a pod, by its uid; answers what became of it, and why.

    Raises:
        ApiError: to be tried again.
    """
    meta = victim.metadata
    try:
        await api.evict(meta.namespace, meta.name, uid=meta.uid)
    except NotFound as error:
        return Fate.GONE, str(error)
    except Conflict as error:  # another pod has its name; or somebody wrote it at the same moment
        if await is_there(api, victim):
            raise
        return Fate.GONE, str(error)
    except (TooManyRequests, Forbidden) as error:
        return Fate.KEPT, str(error)
    return Fate.EVICTED, ""


async def fate_of(api: Api, victim: Pod) -> Fate:
    """What became of a pod whose eviction nobody answered.

    Raises:
        ApiError: the API server cannot be asked.
    """
    try:
        found = await api.get(PODS, Pod, victim.metadata.name, namespace=victim.metadata.namespace)
    except NotFound:
        return Fate.GONE
    if found.metadata.uid != victim.metadata.uid:
        return Fate.GONE
    return Fate.EVICTED if found.metadata.deleting else Fate.KEPT


async def is_there(api: Api, victim: Pod) -> bool:
    """Whether this very pod still exists.

    Raises:
        ApiError: the API server cannot be asked.
    """
    return await fate_of(api, victim) is not Fate.GONE


class Nominations(Protocol):
    """Who knows the nominations and hears what became of them."""

    nominations: "dict[str, Nomination]"

    def leads(self, nomination: "Nomination") -> bool: ...

    def evicted(self, nomination: "Nomination", victim: Pod, fate: Fate, why: str) -> None: ...


class Evictions:
    """Keys are uids of nominated pods."""

    def __init__(self, api: Api, *, clock: Clock, nominations: Nominations) -> None:
        self._api = api
        self._clock = clock
        self._nominations = nominations
        self._queue: WorkQueue[str] = WorkQueue(clock, name="evictions", base_delay=_SOONEST, max_delay=_LATEST)
        self._unnamed: dict[str, Key] = {}
        """Pods whose status is to name no node."""

    def start(self, uid: str) -> None:
        """Carry out the nomination of this pod."""
        self._unnamed.pop(uid, None)
        self._queue.add(uid)

    def forget(self, uid: str, key: Key) -> None:
        """The pod is nominated no more: take the node out of its status."""
        self._unnamed[uid] = key
        self._queue.add(uid)

    def clear(self) -> None:
        """Write nothing more about what ended."""
        self._unnamed.clear()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._sender())

    async def _sender(self) -> None:
        while True:
            uid = await self._queue.get()
            again = True
            try:
                await self._carry_out(uid)
                again = False
            except (ApiError, TimeoutError, OSError) as error:
                log.warning("a nomination cannot be carried out now", uid=uid, error=error)
            finally:
                self._queue.done(uid)
            if again:
                self._queue.retry(uid)
            else:
                self._queue.forget(uid)

    async def _carry_out(self, uid: str) -> None:
        """One pass.

        Raises:
            ApiError: to be tried again.
        """
        nomination = self._nominations.nominations.get(uid)
        if nomination is None:
            key = self._unnamed.get(uid)
            if key is not None:
                try:
                    await self._name(uid, key, None)
                except (NotFound, Invalid) as error:  # gone, or another pod has its name
                    log.debug("nominated pod is not there", pod=key, error=error)
                self._unnamed.pop(uid, None)
            return
        if not self._nominations.leads(nomination):
            return
        if not nomination.told:  # of a pod that is gone it cannot be said: nobody is evicted until that is heard of
            await self._name(uid, nomination.key, nomination.placement.node)
            nomination.told = True
        together = nomination.together
        if not all(one.told for one in together):
            return  # whoever is named last goes on: nobody is evicted before
        if nomination is not together[0]:
            self._queue.add(together[0].facts.uid)
            return
        for victim in list(nomination.victims.values()):
            if not self._nominations.leads(nomination):
                return
            await self._evict(nomination, victim)

    async def _name(self, uid: str, key: Key, node: str | None) -> None:
        patch: Raw = {"metadata": {"uid": uid}, "status": {"nominatedNodeName": node}}
        await self._api.patch(PODS, key.name, patch, namespace=key.namespace, subresource="status")

    async def _evict(self, nomination: "Nomination", victim: Pod) -> None:
        uid = victim.metadata.uid
        try:
            fate, why = await evict(self._api, victim)
        except ServerError as error:
            if error.status_code != ServerError.code:
                raise  # it could not be asked
            nomination.failures[uid] += 1
            if nomination.failures[uid] < MOST_FAILURES:
                raise
            fate, why = Fate.KEPT, str(error)
        self._nominations.evicted(nomination, victim, fate, why)
        if fate is Fate.EVICTED:
            await self._mark(victim, _RECLAIMED if uid in nomination.owed else _PREEMPTED)

    async def _mark(self, victim: Pod, why: str) -> None:
        """Say why the pod ends, for those that restart it; best effort, for it may be gone already."""
        meta = victim.metadata
        now = timestamp(self._clock.now())
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{victim.spec.scheduler_name}: {why}",
            "lastTransitionTime": now,
        }
        patch: Raw = {"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}
        try:
            await self._api.patch(
                PODS, meta.name, patch, namespace=meta.namespace, subresource="status", kind=PatchKind.STRATEGIC
            )
        except (ApiError, TimeoutError, OSError) as error:
            log.debug("victim is not marked", pod=victim.key, error=error)
