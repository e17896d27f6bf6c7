"""Give one of a canary's places to a pod that is being created, or say that all are taken.

``policy.canary`` has the invariant. Here is the loop around it: read, decide, swap; again after a conflict or a broken
connection, under the same reservation, so that a swap whose answer was lost is recognised. Pods of one controller take
turns inside a replica; between replicas the swap decides. Requests that wait for reservations to be seen share one look
at the API, as long as that look began after they came.
"""

import random
from asyncio import Lock
from dataclasses import dataclass
from enum import StrEnum
from weakref import WeakValueDictionary

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.meta import Object
from tensorfusion.policy.canary import Canary, Counter, Seen, counter_of, reservation_id
from tensorfusion.runtime.canary import seen_pods, swap

_PATIENCE = 8.0
"""Seconds: less than the API server waits for us."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


class Place(StrEnum):
    """What came of it."""

    TAKEN = "taken"
    FULL = "full"
    FORGED = "forged"


class NoAnswer(Exception):
    """Neither could be found out in time; the message says why. The pod is to be created again."""


@dataclass(slots=True, weakref_slot=True)
class _Turn:
    """The controller whose pods take turns, and its latest look at the API: its number, and what it showed."""

    lock: Lock
    looks: int = 0
    seen: Counter | None = None


class CanaryGate:
    """Decides about pods of canaries. One for each webhook replica."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    async def enter(self, canary: Canary, namespace: str, *, request_uid: str, dry_run: bool) -> tuple[Place, str]:
        """Take a place under the id that is returned, unless ``limit`` active pods have one. A dry run takes none.

        Raises:
            NoAnswer: the API did not answer, or places stayed reserved by pods that nobody has seen yet.
        """
        id_ = canary.claimed or reservation_id(request_uid)
        turn = self._turns.setdefault(f"{canary.uid}/{canary.key}", _Turn(Lock()))
        deadline = self._clock.monotonic() + _PATIENCE
        pause = _FIRST_PAUSE
        while True:
            looks, why = turn.looks, ""
            try:
                async with turn.lock:
                    place, why = await self._attempt(canary, namespace, id_, turn=turn, looks=looks, dry_run=dry_run)
                if place is not None:
                    return place, id_
            except NotFound as error:
                raise NoAnswer(f"its controller {canary.owner.kind} {namespace}/{canary.name} is gone") from error
            except Conflict:
                pause = _FIRST_PAUSE / 10
                why = "its controller changes all the time"
            except ApiError as error:
                if not error.retryable:
                    raise NoAnswer(str(error)) from error
                why = str(error)
            if self._clock.monotonic() + pause > deadline:
                raise NoAnswer(why)
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _attempt(
        self, canary: Canary, namespace: str, id_: str, *, turn: _Turn, looks: int, dry_run: bool
    ) -> tuple[Place | None, str]:
        """One read, decision and swap; no place where the answer has to wait, and why."""
        now = int(self._clock.now().timestamp())
        if turn.looks > looks and turn.seen is not None and turn.seen.total >= canary.limit and not canary.claimed:
            return self._full(canary, turn.seen)
        owner = await self._client.get(canary.owner, Object, canary.name, namespace=namespace)
        if owner.metadata.uid != canary.uid:
            return Place.FORGED if canary.claimed else None, "its controller was made anew meanwhile"
        counter = counter_of(owner.metadata.annotations, canary.key)
        if id_ in counter.reserved or (canary.claimed and dry_run):
            return Place.TAKEN, ""
        if canary.claimed:
            return Place.FORGED, ""
        if counter.total >= canary.limit:
            turn.looks += 1
            turn.seen = None
            found = await seen_pods(self._client, owner, namespace, selector=canary.selector)
            pods = found.get(canary.key, Seen())
            counter = turn.seen = counter.recounted(pods, now)
            if counter.total >= canary.limit:
                return self._full(canary, counter)
        if not dry_run:
            await swap(self._client, canary.owner, owner, {canary.key: counter.with_reservation(id_, now)})
            turn.seen = None
        return Place.TAKEN, ""

    @staticmethod
    def _full(canary: Canary, counter: Counter) -> tuple[Place | None, str]:
        if counter.confirmed >= canary.limit:
            return Place.FULL, ""
        return None, (
            f"{canary.limit} pods of {canary.owner.kind} {canary.name} may be enabled, {counter.confirmed} are, and "
            f"{len(counter.reserved)} were admitted but have not appeared"
        )


def marks(canary: Canary, id_: str) -> dict[str, str]:
    """The annotations of a pod that has a place."""
    return {keys.POD_COUNTER_KEY: canary.key, keys.POD_COUNTER_ID: id_}
