"""What a pool has learned of its arrivals, as text: exact, compact, and of bounded length.

Apart from who keeps it because it is pure: the same arrivals give the same text, and whatever is found in its place is
either understood or refused in one line.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.asked import MOST, MOST_DEVICES, Asked
from tensorfusion.scheduling.learned import Learned

FORMAT: Final = 1
LONGEST: Final = 900_000
"""Bytes: a ConfigMap may have 1 MiB. What would make it longer is left out, the rarest sizes first."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 40))]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
_Devices = Annotated[int, msgspec.Meta(ge=0, le=MOST_DEVICES)]
_COUNT = 1 << 30
"""What a size may count for: weights, a million times that, are added up in 64 bits. No tenant comes to it."""
_Size = tuple[_Amount, _Amount, _Devices, _Amount, _Amount, _Amount, str, str, str, str]
_ISOLATIONS = ("", Isolation.SHARED, Isolation.PARTITIONED)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """``tenants``: by namespace pairs of a place in ``sizes`` and what the arrivals of that size count for."""

    format: int
    count: _Number
    until: _Number
    halved_at: _Number = msgspec.field(name="halvedAt")
    sizes: list[_Size]
    tenants: dict[str, list[tuple[_Number, Annotated[int, msgspec.Meta(gt=0, le=_COUNT)]]]]
    idle: dict[str, _Number] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """What was learned up to some moment: the arguments of ``Learned.restore``."""

    counts: dict[str, dict[Asked, int]]
    count: int
    until: int
    halved_at: int
    idle: dict[str, int]

    def put_into(self, learned: Learned) -> None:
        """Have it known there, in the place of what was."""
        learned.restore(self.counts, count=self.count, until=self.until, halved_at=self.halved_at, idle=self.idle)


def written(learned: Learned) -> str:
    """The text of what was learned."""
    counts = learned.counts()
    while True:
        text = _text(learned, counts)
        if len(text) <= LONGEST:
            return text.decode()
        totals: dict[Asked, int] = {}
        for its in counts.values():
            for size, count in its.items():
                totals[size] = totals.get(size, 0) + count
        kept = set(sorted(totals, key=lambda size: (-totals[size], size))[: len(totals) // 2])
        counts = {name: {size: n for size, n in its.items() if size in kept} for name, its in counts.items()}


def _text(learned: Learned, counts: dict[str, dict[Asked, int]]) -> bytes:
    sizes = sorted({size for its in counts.values() for size in its})
    places = {size: place for place, size in enumerate(sizes)}
    file = _File(
        format=FORMAT,
        count=learned.count,
        until=learned.until,
        halved_at=learned.halved_at,
        sizes=[_fields(size) for size in sizes],
        tenants={
            name: sorted((places[size], count) for size, count in its.items())
            for name, its in sorted(counts.items())
            if its
        },
        idle=dict(sorted(learned.idle.items())),
    )
    return msgspec.json.encode(file)


def read(text: str) -> Saved:
    """What was learned, by its text.

    Raises:
        InvalidRequest: it is not such a text.
    """
    try:
        file = msgspec.json.decode(text, type=_File)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"wanted what a pool has learned, format {FORMAT}: {error}") from None
    if file.format != FORMAT:
        raise InvalidRequest(f"wanted format {FORMAT}, found {file.format}: it was written by another version")
    sizes = [Asked(*fields) for fields in file.sizes]
    strange = next((size for size in sizes if size.isolation not in _ISOLATIONS), None)
    if strange is not None:
        raise InvalidRequest(f"isolation: wanted shared, partitioned or nothing, found {strange.isolation!r}")
    counts: dict[str, dict[Asked, int]] = {}
    for tenant, pairs in file.tenants.items():
        beyond = next((place for place, _ in pairs if place >= len(sizes)), None)
        if beyond is not None:
            raise InvalidRequest(f"namespace {tenant}: wanted one of {len(sizes)} sizes, found number {beyond}")
        counts[tenant] = {sizes[place]: count for place, count in pairs}
    return Saved(counts, file.count, file.until, file.halved_at, file.idle)


def _fields(size: Asked) -> _Size:
    return (
        size.cpu,
        size.memory,
        size.count,
        size.compute,
        size.percent,
        size.vram,
        size.isolation,
        size.partition,
        size.vendor,
        size.model,
    )
