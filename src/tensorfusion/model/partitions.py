"""Hardware partitions: what a model can be cut into, one cut that a pod holds, and the annotation that records it.

A *form* is one size of partition (MIG profile, Ascend slice) as a ProviderConfig states it; a *profile* is everything a
model allows. A *partition* is what one pod holds of one device, in absolute amounts: it outlives any change of the
ProviderConfig, and whoever reads the pod's annotation needs nothing else to count it.

Units: compute of a form in millionths of the device, memory in bytes. Parts of a device round down.

Source: virtualizationTemplates and hardwareMetadata of ProviderConfig; slots and isolation groups as in TensorFusion's
partition rules. The annotation is ours: upstream loses the slots when it restarts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from tensorfusion.errors import InvalidQuantity, InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.provider_config import IsolationGroupSharing, VirtualizationTemplate
from tensorfusion.model.providers import Providers, template_key
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.units import (
    GI,
    Rounding,
    format_bytes,
    format_gflops,
    humanize_bytes,
    humanize_gflops,
    to_bytes,
    to_gflops,
    to_units,
)

MOST = 7
"""Partitions of a device where its model does not say."""
_WHOLE = 1_000_000
_PERCENT = 10_000
_GROUPS, _PER_GROUP = 4, 2


@dataclass(frozen=True, slots=True)
class Form:
    """One size of partition. ``most`` 0: as many as fit. ``starts`` empty: it takes no slots."""

    id: str
    name: str
    compute: int
    vram: int
    most: int = 0
    starts: tuple[int, ...] = ()
    length: int = 0
    units: tuple[tuple[str, int], ...] = ()
    shares_group: bool = False
    per_group: int = _PER_GROUP

    def means(self, wanted: str) -> bool:
        """Whether a reference such as ``mig-1g-10gb`` means this form."""
        return template_key(wanted) in (template_key(self.id), template_key(self.name))

    def compute_of(self, capacity: int) -> int:
        """GFLOPS of a device with this capacity."""
        return capacity * self.compute // _WHOLE


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model allows. ``slots`` 0: its partitions take isolation groups and units instead."""

    most: int
    slots: int
    groups: int
    units: tuple[tuple[str, int], ...]
    forms: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """What a pod holds of one device. ``start`` -1: no slots (or none recorded); ``group`` -1: no isolation group."""

    form: str
    compute: int
    vram: int
    start: int = -1
    length: int = 0
    group: int = -1

    def __str__(self) -> str:
        words = [self.form, f"{humanize_gflops(self.compute)} TFLOPS", humanize_bytes(self.vram)]
        if self.start >= 0:
            words.append(f"slots {self.start} to {self.start + self.length - 1}")
        if self.group >= 0:
            words.append(f"isolation group {self.group}")
        return ", ".join(words)

    def share(self, request: GpuRequest) -> GpuRequest:
        """The request in this partition's size: that is what it counts for."""
        return replace(
            request,
            compute=self.compute,
            compute_limit=self.compute,
            percent=0,
            percent_limit=0,
            vram=self.vram,
            vram_limit=self.vram,
        )


def profile_of(providers: Providers, *, vendor: str, model: str) -> Profile | None:
    """What a device's model allows; None where it cannot be cut, or nobody says how.

    Only forms that can be understood are offered.
    """
    known = providers.model(model)
    if known is None or vendor not in _RULES:
        return None
    forms = tuple(form for template in providers.templates(model) if (form := _form(template)) is not None)
    if not forms:
        return None
    by_slots = _RULES[vendor]
    return Profile(
        most=known.max_partitions or MOST,
        slots=(known.max_placement_slots or 8) if by_slots else 0,
        groups=0 if by_slots else known.max_isolation_groups or _GROUPS,
        units=() if by_slots else tuple(sorted(known.total_extended_resources.items())),
        forms=forms,
    )


_RULES = {"NVIDIA": True, "PPU": True, "Ascend": False}
"""Vendors whose devices can be cut: by slots, or by isolation groups."""


def _form(template: VirtualizationTemplate) -> Form | None:
    try:
        percent = to_units(template.compute_percent, _PERCENT, Rounding.DOWN)
    except InvalidQuantity:
        return None
    return Form(
        id=template.id,
        name=template.name,
        compute=percent,
        vram=template.memory_gigabytes * GI,
        most=template.max_instances or 0,
        starts=tuple(template.placement_limit),
        length=template.placement_offset or 1,
        units=tuple(sorted(template.extended_resources.items())),
        shares_group=template.isolation_group_sharing is IsolationGroupSharing.SHARED,
        per_group=template.max_partitions_per_isolation_group or _PER_GROUP,
    )


class _Written(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the annotation."""

    gpu: str
    template: str
    tflops: str
    vram: str
    slot_start: int = msgspec.field(default=-1, name="slotStart")
    slot_end: int = msgspec.field(default=-1, name="slotEnd")
    isolation_group: int = msgspec.field(default=-1, name="isolationGroup")


_decode = msgspec.json.Decoder(tuple[_Written, ...]).decode
_encode = msgspec.json.Encoder().encode


def partitions_text(devices: Sequence[str], partitions: Sequence[Partition]) -> str:
    """The annotation from which ``partitions_of`` reads these partitions back."""
    written = [
        _Written(
            gpu=device,
            template=one.form,
            tflops=format_gflops(one.compute),
            vram=format_bytes(one.vram),
            slot_start=one.start,
            slot_end=one.start + one.length if one.start >= 0 else -1,
            isolation_group=one.group,
        )
        for device, one in zip(devices, partitions, strict=True)
    ]
    return _encode(written).decode()


def partitions_of(annotations: Mapping[str, str], devices: Sequence[str]) -> tuple[Partition, ...]:
    """The partitions that a pod holds, in the order of its devices; empty for a pod that holds none.

    Raises:
        InvalidRequest: the annotation cannot be read, or speaks of other devices.
    """
    if annotations.get(keys.ISOLATION) != Isolation.PARTITIONED or not devices:
        return ()
    text = annotations.get(keys.PARTITIONS, "")
    if not text:
        return ()
    wanted = f"annotation {keys.PARTITIONS}: wanted what the scheduler writes"
    try:
        found = {entry.gpu: _read(entry) for entry in _decode(text)}
    except (msgspec.DecodeError, InvalidQuantity, RecursionError) as error:
        raise InvalidRequest(f"{wanted}, found {text[:64]!r}") from error
    if set(found) != set(devices):
        raise InvalidRequest(f"{wanted} about {', '.join(devices)}, found {', '.join(sorted(found))}")
    return tuple(found[device] for device in devices)


def _read(entry: _Written) -> Partition:
    return Partition(
        form=entry.template,
        compute=to_gflops(entry.tflops),
        vram=to_bytes(entry.vram),
        start=entry.slot_start,
        length=entry.slot_end - entry.slot_start if entry.slot_start >= 0 else 0,
        group=entry.isolation_group,
    )
