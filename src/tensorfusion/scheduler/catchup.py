"""Make sure that a new leader knows everything its predecessor did, before it decides anything.

A replica that takes over follows the watch, but a watch may lag behind the predecessor's last Bindings, and a device
that looks free may be taken. So the pods are listed once after the Lease was won, and the first decision waits until
the watch has shown every pod of that list that has a node, with the amounts that it holds. Truth still comes in
through the watch alone: nothing is charged from the list, so nothing can be charged that the watch will never release.

Bindings that the predecessor sends later still are the fence's business: admission refuses their epoch.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS

_GLANCE = 0.05
"""Seconds between two looks at what the watch has shown."""
_GLANCES_BEFORE_READING = 20
_READS = 50


_AMOUNTS = sorted(keys.RESIZABLE_KEYS)

Amounts: TypeAlias = tuple[str | None, ...]
"""The texts of a pod's amounts: a live change that the predecessor granted shows in them."""


class _SeatNotes(msgspec.Struct, frozen=True, rename={f"a{place}": key for place, key in enumerate(_AMOUNTS)}):
    """Of a pod's annotations those that say how much it holds."""

    a0: str | None = None
    a1: str | None = None
    a2: str | None = None
    a3: str | None = None
    a4: str | None = None
    a5: str | None = None

    @property
    def amounts(self) -> Amounts:
        return (self.a0, self.a1, self.a2, self.a3, self.a4, self.a5)


class _SeatMeta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    annotations: _SeatNotes = msgspec.field(default_factory=_SeatNotes)


class _SeatSpec(msgspec.Struct, frozen=True):
    node_name: str = msgspec.field(default="", name="nodeName")


class _SeatStatus(msgspec.Struct, frozen=True):
    phase: str = ""


class _Seat(msgspec.Struct, frozen=True):
    """The little of a pod that says whether it holds anything, and how much: a list of 50,000 costs 25 MB."""

    metadata: _SeatMeta
    spec: _SeatSpec = msgspec.field(default_factory=_SeatSpec)
    status: _SeatStatus = msgspec.field(default_factory=_SeatStatus)

    @property
    def taken(self) -> bool:
        return bool(self.spec.node_name) and not self.over

    @property
    def over(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)


Known = Callable[[str, Key, Amounts], bool]
"""Whether the watch has shown that this pod is bound and holds these amounts."""


def amounts_of(annotations: Mapping[str, str]) -> Amounts:
    """The amounts as ``Known`` is asked about them."""
    return tuple(annotations.get(key) for key in _AMOUNTS)


async def catch_up(
    api: Api, *, clock: Clock, is_known: Known, is_seen: Callable[[str, Key], bool] | None = None
) -> None:
    """Return when every pod that has a node now is known to be bound, with what it holds now, or is over.

    With ``is_seen``, which says whether the watch has shown a pod at all, those that wait are waited for, too.

    Raises:
        ApiError: the API server cannot be asked.
    """

    def unknown(seat: _Seat) -> bool:
        meta = seat.metadata
        if seat.taken:
            return not is_known(meta.uid, seat.key, meta.annotations.amounts)
        return is_seen is not None and not seat.over and not is_seen(meta.uid, seat.key)

    listing = await api.list(PODS, _Seat, page_size=2000)
    missing = {seat.metadata.uid: seat for seat in listing.items if unknown(seat)}
    del listing
    glances = 0
    while missing:
        await clock.sleep(_GLANCE)
        missing = {uid: seat for uid, seat in missing.items() if unknown(seat)}
        glances += 1
        if glances % _GLANCES_BEFORE_READING == 0:
            for uid, seat in list(missing.items())[:_READS]:
                now = await _read(api, seat)
                if now is None:
                    del missing[uid]
                else:
                    missing[uid] = now


async def _read(api: Api, seat: _Seat) -> _Seat | None:
    """The pod as it is now; None when it holds nothing any more."""
    try:
        now = await api.get(PODS, _Seat, seat.metadata.name, namespace=seat.metadata.namespace)
    except NotFound:
        return None
    return now if now.metadata.uid == seat.metadata.uid and not now.over else None
