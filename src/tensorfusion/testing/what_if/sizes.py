"""Which size class a pod is in: the words that reports have for sizes."""

from collections.abc import Iterable

from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduler.recording.history import History
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.quota import WHOLE

NONE, PART, ONE = "no GPU", "part of a GPU", "1 GPU"


def of_count(count: int) -> str:
    """The class of pods that take so many devices."""
    return ONE if count == 1 else f"{count} GPUs"


def in_order(classes: Iterable[str]) -> list[str]:
    """From small to large."""
    return sorted(classes, key=lambda name: (0, 0) if name == NONE else (1, 0) if name == PART else (2, _count(name)))


def _count(name: str) -> int:
    return int(name.split(maxsplit=1)[0])


class Sizes:
    """Classes in one recorded period. A share that fills the smallest device that can hold it is a whole one."""

    def __init__(self, history: History) -> None:
        devices = history.ever().devices.values()
        self._kinds = sorted({(one.pool, one.model, one.compute, one.vram) for one in devices})
        self._known: dict[GpuRequest, str] = {}

    def of(self, facts: PodFacts) -> str:
        request = facts.request
        if request is None:
            return NONE
        known = self._known.get(request)
        if known is None:
            known = self._known[request] = self._class(request)
        return known

    def _class(self, request: GpuRequest) -> str:
        if request.count > 1 or request.isolation is Isolation.SHARED:
            return of_count(request.count)
        if request.isolation is Isolation.PARTITIONED:
            return PART
        fitting = [
            (compute, vram)
            for pool, model, compute, vram in self._kinds
            if pool == request.pool
            and compute >= request.compute
            and vram >= request.vram
            and (not request.model or model_matches(request.model, model))
        ]
        if not fitting:
            return PART if request.percent < WHOLE else ONE
        compute, vram = min(fitting)
        share = compute * request.percent // WHOLE if request.percent and not request.compute else request.compute
        return ONE if (compute and share >= compute) or (vram and request.vram >= vram) else PART
