"""Whether it is decided here: the leadership is followed, and what others decided is known before anything is.

Apart from the service because it decides nothing: it says when decisions may be taken. A leader that was just elected,
and an owner of shards that were just won, *catches up* first (``catchup``); one whose epoch admission refused waits
until the elector knows who leads.
"""

from collections.abc import Callable
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Leadership
from tensorfusion.scheduler.catchup import Amounts, amounts_of, catch_up
from tensorfusion.scheduler.handover import Handover
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.shards import Shards
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

TICK: Final = 0.25
"""Seconds between two looks at backoffs and at the leadership."""
FENCED_FOR: Final = 15.0
"""Seconds without decisions after admission refused our epoch: by then the elector knows who leads."""


class Leading:
    """The leadership as the scheduler sees it; ``shards`` where several share the fleet.

    The ``handover`` is told when it is decided here from now on, and whenever other shards may be than before. ``tend``
    is called at every tick while it is decided here, and ``kick`` for the loop to look.
    """

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        book: PodBook,
        *,
        clock: Clock,
        pods: Cache[Pod],
        shards: Shards | None,
        tend: Callable[[], None],
        kick: Callable[[], None],
    ) -> None:
        self._api = api
        self._leadership = leadership
        self._book = book
        self._clock = clock
        self._pods = pods
        self._shards = shards
        self._tend = tend
        self._kick = kick
        self._ready_epoch: int | None = None
        self._fenced_until = float("-inf")

    @property
    def deciding(self) -> bool:
        """This replica leads, knows what its predecessor did, and has not been told that its time is over."""
        return (
            self._leadership.is_leader()
            and self._ready_epoch == self._leadership.epoch
            and self._clock.monotonic() >= self._fenced_until
        )

    def term_of(self, pool: str) -> int | None:
        """The epoch in which it is decided on a pool here; None where it is not."""
        if not self.deciding:
            return None
        if self._shards is None:
            return self._leadership.epoch
        shard = self._shards.shard_of_pool(pool)
        return self._shards.term(shard).epoch if self._shards.may(shard) else None

    def fence(self) -> None:
        """Admission refused our epoch."""
        self._fenced_until = self._clock.monotonic() + FENCED_FOR

    async def follow(self, handover: Handover) -> None:
        """Follow the leadership, and catch up each time it was won; wake the loop for backoffs that ended."""
        while True:
            leadership = self._leadership
            epoch = leadership.epoch
            if leadership.is_leader() and self._ready_epoch != epoch:
                try:
                    await catch_up(self._api, clock=self._clock, is_known=self._is_known)
                except ApiError as error:
                    log.warning("pods cannot be listed: no decisions yet", epoch=epoch, error=error)
                else:
                    self._ready_epoch = epoch
                    handover.take_over(epoch)
            if self._shards is not None and self.deciding:
                handover.regroup(self._shards)
            if self.deciding:
                self._tend()
            self._kick()
            due = self._clock.monotonic() + TICK
            await self._clock.sleep(TICK)
            meters.LOOP_LAG_SECONDS.set(max(0.0, self._clock.monotonic() - due))

    async def win(self, shards: Shards, handover: Handover) -> None:
        """Catch up with the former owners of shards that were won; what is decided here already goes on meanwhile."""
        while True:
            fresh = shards.fresh() if self.deciding else []
            if fresh:
                try:
                    await catch_up(self._api, clock=self._clock, is_known=self._is_known, is_seen=self._is_seen)
                except ApiError as error:
                    log.warning("pods cannot be listed: new shards wait", shards=len(fresh), error=error)
                else:
                    shards.caught_up(fresh)
                    if self.deciding:
                        handover.regroup(shards)
                        self._kick()
            await self._clock.sleep(TICK)

    def _is_seen(self, uid: str, key: Key) -> bool:
        pod = self._pods.get(key)
        return pod is not None and pod.metadata.uid == uid

    def _is_known(self, uid: str, key: Key, amounts: Amounts) -> bool:
        pod = self._pods.get(key)
        return pod is not None and self._book.is_bound(uid) and amounts_of(pod.metadata.annotations) == amounts
