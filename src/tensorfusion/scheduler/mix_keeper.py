"""What pools have learned of their arrivals outlives the scheduler: read by whoever takes a pool over, written by it.

One ConfigMap a pool, and one writer: the scheduler that decides on the pool. It reads what its predecessor wrote, puts
that in the place of what it learned by watching, and counts the pods again that were created since. While the pool
looks ahead it writes, at most once in ``SAVE_EVERY`` seconds, and only what changed, with its epoch: a stalled
predecessor that wakes up finds a newer one and stands back.

What cannot be read is lost, and one line of the log says so: the pool goes on with what was learned by watching.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, InvalidRequest, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.meta import Object, Raw
from tensorfusion.model.resources import CONFIG_MAPS, GPU_POOLS
from tensorfusion.scheduler.mix_file import read, written
from tensorfusion.scheduling.foresight import looks_ahead
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

LOOK_EVERY: Final = 1.0
SAVE_EVERY: Final = 60.0
RETRY_AFTER: Final = 10.0
_PREFIX: Final = "arrivals-"
_KEY: Final = "mix"
_COMPONENT: Final = "arrivals"


class _ConfigMap(Object, frozen=True):
    data: dict[str, str] = msgspec.field(default_factory=dict)


@dataclass(slots=True)
class _Kept:
    """One pool, in one term of its scheduler. Times are monotonic."""

    term: int
    version: str = ""
    """Of the ConfigMap as last read or written; empty where there is none."""
    written: tuple[int, int] = (-1, -1)
    due: float = 0.0
    read: bool = False
    lost: bool = False
    """A newer term has written: nothing more is to be written in this one."""


class MixKeeper:
    """Keeps what the pools that are decided on here have learned."""

    def __init__(
        self,
        api: Api,
        state: State,
        *,
        clock: Clock,
        term: Callable[[str], int | None],
        relearn: Callable[[str, int], None],
        tell: Callable[[Iterable[Hint]], None],
        uid_of: Callable[[str], str],
    ) -> None:
        """``term``: the epoch in which a pool is decided on here, None where it is not.

        ``relearn``: have a pool learn from its pods that were created after a time in Unix seconds; ``tell``: what
        changed by that. ``uid_of``: the uid of a pool's object, with which the ConfigMap goes.
        """
        self._api = api
        self._state = state
        self._clock = clock
        self._term = term
        self._relearn = relearn
        self._tell = tell
        self._uid_of = uid_of
        self._kept: dict[str, _Kept] = {}

    async def run(self) -> None:
        """Read, age and write until cancelled."""
        while True:
            for name in list(self._state.fleet.pools):
                await self._look(name)
            for name in self._kept.keys() - self._state.fleet.pools.keys():
                del self._kept[name]
            await self._clock.sleep(LOOK_EVERY)

    async def _look(self, name: str) -> None:
        term, kept = self._term(name), self._kept.get(name)
        if term is None:
            self._kept.pop(name, None)
            return
        if kept is None or kept.term != term:
            kept = self._kept[name] = _Kept(term)
        if kept.lost or self._clock.monotonic() < kept.due:
            return
        kept.due = self._clock.monotonic() + RETRY_AFTER
        try:
            if not kept.read:
                await self._read(name, kept)
            elif (pool := self._state.fleet.pools.get(name)) is not None and looks_ahead(pool):
                await self._write(name, kept, pool)
        except ApiError as error:
            log.warning("what a pool has learned cannot be kept now", pool=name, error=error)
        else:
            kept.due = self._clock.monotonic() + SAVE_EVERY

    async def _read(self, name: str, kept: _Kept) -> None:
        try:
            found = await self._api.get(CONFIG_MAPS, _ConfigMap, _PREFIX + name, namespace=keys.SYSTEM_NAMESPACE)
        except NotFound:
            found = None
        pool = self._state.fleet.pools.get(name)
        if pool is None or self._term(name) != kept.term:
            return
        kept.read = True
        if found is None:
            log.info("nothing is kept of what a pool has learned: it starts from the pods that are here", pool=name)
            return
        kept.version = found.metadata.resource_version
        try:
            saved = read(found.data.get(_KEY, ""))
        except InvalidRequest as error:
            log.warning("what a pool has learned cannot be read, and is learned anew", pool=name, error=error)
            return
        saved.put_into(pool.learned)
        self._relearn(name, saved.until)
        kept.written = _state_of(pool)
        self._tell(self._state.hold_change(name))
        log.info("a pool goes on from what it had learned", pool=name, arrivals=pool.learned.count)

    async def _write(self, name: str, kept: _Kept, pool: PoolColumns) -> None:
        self._tell(self._state.age(name, int(self._clock.now().timestamp())))
        now = _state_of(pool)
        if now == kept.written:
            return
        try:
            kept.version = await self._put(name, written(pool.learned), kept)
        except (Conflict, NotFound, AlreadyExists):
            await self._look_who(name, kept)
            raise
        kept.written = now

    async def _put(self, name: str, text: str, kept: _Kept) -> str:
        """Write it over the version that is known; answers the version that there is now."""
        space, owner = keys.SYSTEM_NAMESPACE, self._uid_of(name)
        metadata: Raw = {"annotations": {keys.SCHEDULER_EPOCH: str(kept.term)}}
        if owner:
            kind = {"apiVersion": GPU_POOLS.api_version, "kind": GPU_POOLS.kind}
            metadata["ownerReferences"] = [{**kind, "name": name, "uid": owner}]
        data = {_KEY: text}
        if kept.version:
            patch = {"metadata": {**metadata, "resourceVersion": kept.version}, "data": data}
            stored = await self._api.patch(CONFIG_MAPS, _PREFIX + name, patch, namespace=space, type_=_ConfigMap)
        else:
            metadata |= {"name": _PREFIX + name, "labels": {keys.COMPONENT: _COMPONENT}}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            stored = await self._api.create(CONFIG_MAPS, body, namespace=space, type_=_ConfigMap)
        return stored.metadata.resource_version

    async def _look_who(self, name: str, kept: _Kept) -> None:
        """Somebody else has written or removed it: stand back where that was a newer term."""
        try:
            found = await self._api.get(CONFIG_MAPS, _ConfigMap, _PREFIX + name, namespace=keys.SYSTEM_NAMESPACE)
        except NotFound:
            kept.version = ""
            return
        kept.version = found.metadata.resource_version
        epoch = found.metadata.annotations.get(keys.SCHEDULER_EPOCH, "")
        kept.lost = epoch.isdecimal() and int(epoch) > kept.term


def _state_of(pool: PoolColumns) -> tuple[int, int]:
    return pool.learned.version, pool.learned.arrived
