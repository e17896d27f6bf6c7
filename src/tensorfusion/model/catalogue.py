"""What is known of each GPU model, and whether a wished model and a device's model are the same thing.

Users write short names (``A100``, ``A100_SXM_80G``), drivers report long ones (``NVIDIA A100-SXM4-80GB``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tensorfusion.model.catalogue_rows import GPU_INFO, PROVIDER
from tensorfusion.units import GI, Rounding, to_gflops, to_units

_VARIANT = re.compile(r"(_SXM|_PCIe|_NVL)?(_[0-9]+GB?)?$")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model. ``compute`` GFLOPS (FP16), ``vram`` bytes (0 where not known), price in millionths of a dollar."""

    model: str
    vendor: str
    full_name: str
    compute: int
    vram: int
    micro_usd_per_hour: int
    max_partitions: int = 0
    placement_slots: int = 0

    @property
    def family(self) -> str:
        """The bare name without form factor, memory size and underscores: A100_SXM_80G is ``A100``."""
        return _VARIANT.sub("", self.model).replace("_", "")


def _rows() -> Iterator[ModelFacts]:
    live = {}
    for model, vendor, full_name, tflops, cost, gib, partitions, slots in PROVIDER:
        facts = _facts(model, vendor, full_name, tflops=tflops, cost=cost, gib=gib)
        live[full_name] = replace(facts, max_partitions=partitions, placement_slots=slots)
    yield from live.values()
    for model, vendor, full_name, tflops, cost, gib in GPU_INFO:
        same = live.get(full_name)
        if same is None:
            yield _facts(model, vendor, full_name, tflops=tflops, cost=cost, gib=gib)
        elif same.model != model:
            yield replace(same, model=model)


def _facts(model: str, vendor: str, full_name: str, *, tflops: str, cost: str, gib: int) -> ModelFacts:
    return ModelFacts(
        model=model,
        vendor=vendor,
        full_name=full_name,
        compute=to_gflops(tflops, Rounding.DOWN),
        vram=gib * GI,
        micro_usd_per_hour=to_units(cost, 1_000_000),
    )


CATALOGUE: tuple[ModelFacts, ...] = tuple(_rows())
"""Every model; the live figures come first."""

_BY_NAME: dict[str, ModelFacts] = {}
for _entry in CATALOGUE:
    for _name in (_entry.model, _entry.full_name, _entry.full_name.removeprefix(f"{_entry.vendor} ")):
        _BY_NAME.setdefault(_name.lower(), _entry)

_VENDORS = tuple(sorted({facts.vendor for facts in CATALOGUE}))


def lookup(name: str) -> ModelFacts | None:
    """The facts of a short model name or a driver's name, in any case, with or without the vendor in front."""
    return _BY_NAME.get(name.lower())


@lru_cache(maxsize=4096)
def model_matches(wanted: str, gpu_model: str) -> bool:
    """Whether a device that reports ``gpu_model`` is what ``wanted`` names. Case-sensitive.

    ``wanted`` may be what the device reports, with or without the vendor in front, the catalogue's short model, or the
    bare family of one: ``A100`` is any A100. A device that the catalogue does not know matches only by its own name.
    """
    if wanted in (gpu_model, _short(gpu_model)):
        return True
    known = [facts for facts in CATALOGUE if gpu_model in (facts.full_name, facts.model)]
    return any(wanted in (facts.model, facts.full_name, facts.family) for facts in known)


def _short(gpu_model: str) -> str:
    for vendor in _VENDORS:
        if gpu_model.startswith(f"{vendor} "):
            return gpu_model.removeprefix(f"{vendor} ")
    return gpu_model
