"""Make sure that a new leader knows everything its predecessor did, before it decides anything.

A replica that takes over follows the watch, but a watch may lag behind the predecessor's last Bindings, and a device
that looks free may be taken. So the pods are listed once after the Lease was won, and the first decision waits until
the watch has shown every pod of that list that has a node. Truth still comes in through the watch alone: nothing is
charged from the list, so nothing can be charged that the watch will never release.

Bindings that the predecessor sends later still are the fence's business: admission refuses their epoch.
"""

from collections.abc import Callable

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS

_GLANCE = 0.05
"""Seconds between two looks at what the watch has shown."""
_GLANCES_BEFORE_READING = 20
_READS = 50


class _SeatMeta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""


class _SeatSpec(msgspec.Struct, frozen=True):
    node_name: str = msgspec.field(default="", name="nodeName")


class _SeatStatus(msgspec.Struct, frozen=True):
    phase: str = ""


class _Seat(msgspec.Struct, frozen=True):
    """The little of a pod that says whether it holds anything: a list of 50,000 costs 20 MB."""

    metadata: _SeatMeta
    spec: _SeatSpec = msgspec.field(default_factory=_SeatSpec)
    status: _SeatStatus = msgspec.field(default_factory=_SeatStatus)

    @property
    def taken(self) -> bool:
        return bool(self.spec.node_name) and self.status.phase not in ("Succeeded", "Failed")


async def catch_up(api: Api, *, clock: Clock, is_bound: Callable[[str], bool]) -> None:
    """Return when every pod that has a node now is known to be bound, or is over.

    Raises:
        ApiError: the API server cannot be asked.
    """
    listing = await api.list(PODS, _Seat, page_size=2000)
    missing = {
        seat.metadata.uid: Key(seat.metadata.namespace, seat.metadata.name)
        for seat in listing.items
        if seat.taken and not is_bound(seat.metadata.uid)
    }
    del listing
    glances = 0
    while missing:
        await clock.sleep(_GLANCE)
        missing = {uid: key for uid, key in missing.items() if not is_bound(uid)}
        glances += 1
        if glances % _GLANCES_BEFORE_READING == 0:
            for uid, key in list(missing.items())[:_READS]:
                if not await _still_taken(api, uid, key):
                    del missing[uid]


async def _still_taken(api: Api, uid: str, key: Key) -> bool:
    try:
        seat = await api.get(PODS, _Seat, key.name, namespace=key.namespace)
    except NotFound:
        return False
    return seat.metadata.uid == uid and seat.taken
