"""What pends, summed up: by reason, by namespace and by pool. The body of ``/api/pending``.

Apart from the explanation of one pod because it counts and never looks anywhere again: what it says is what the last
decision on each pod said. A pod counts under one reason: that of the last filter its closest candidates met, or what
keeps it from being decided at all.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.waits import REASON_WORDS, waits_for
from tensorfusion.units import format_bytes, format_gflops, format_milli

_PART = 2_000


@dataclass(slots=True)
class _Sum:
    """What some pods ask for together."""

    pods: int = 0
    devices: int = 0
    gflops: int = 0
    milli_percent: int = 0
    vram: int = 0
    first: tuple[str, str, str] = ("", "", "")
    """Creation time, namespace and name of the one that waits longest."""
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, waiter: "_Waiter") -> None:
        self.pods += 1
        self.reasons[waiter.reason] += 1
        request = waiter.request
        if request is not None:
            self.devices += request.count
            self.gflops += request.compute * request.count
            self.milli_percent += 0 if request.compute else request.percent * request.count
            self.vram += request.vram * request.count
        since = (waiter.created, waiter.key.namespace, waiter.key.name)
        if not self.first[2] or since < self.first:
            self.first = since

    def words(self, now: datetime) -> Raw:
        created, namespace, name = self.first
        told: Raw = {"pods": self.pods, "gpus": self.devices, "tflops": format_gflops(self.gflops)}
        if self.milli_percent:
            told["computePercent"] = format_milli(self.milli_percent)
        told["vram"] = format_bytes(self.vram)
        told["longestWaitSeconds"] = _seconds_since(created, now)
        told["longestWaiting"] = f"{namespace}/{name}" if name else ""
        return told


@dataclass(frozen=True, slots=True)
class _Waiter:
    key: Key
    created: str
    reason: str
    request: GpuRequest | None


async def pending(service: SchedulerService, *, namespace: str = "", pool: str = "", now: datetime) -> Raw:
    """What pends in a namespace (empty: in all of them), for a pool (empty: for any, or none)."""
    whole = _Sum()
    by: dict[str, dict[str, _Sum]] = {"reason": {}, "namespace": {}, "pool": {}}
    pods = list(service.pods.all())
    for start in range(0, len(pods), _PART):
        for waiter in _waiters(service, pods[start : start + _PART]):
            asked = waiter.request.pool if waiter.request is not None else ""
            if namespace not in ("", waiter.key.namespace) or pool not in ("", asked):
                continue
            whole.add(waiter)
            for kind, name in (("reason", waiter.reason), ("namespace", waiter.key.namespace), ("pool", asked)):
                by[kind].setdefault(name, _Sum()).add(waiter)
        await asyncio.sleep(0)
    reasons = [
        {"reason": name, "words": REASON_WORDS[name], **one.words(now)} for name, one in _largest_first(by["reason"])
    ]
    return {
        **whole.words(now),
        "byReason": reasons,
        "byNamespace": _rows("namespace", by["namespace"], now),
        "byPool": _rows("pool", by["pool"], now),
    }


def _waiters(service: SchedulerService, pods: Iterable[Pod]) -> Iterator[_Waiter]:
    """Those of the pods that are ours and have no place yet."""
    for pod in pods:
        spec, meta = pod.spec, pod.metadata
        if spec.node_name or meta.deleting or pod.finished or spec.scheduler_name not in service.scheduler_names:
            continue
        entry = service.book.queue.get(meta.uid)
        created = meta.creation_timestamp or ""
        if entry is not None and entry.place is not Place.TAKEN:
            reason = waits_for(service.state, meta.uid, entry.failure)
            yield _Waiter(pod.key, created, reason, entry.facts.request)
        elif meta.uid in service.book.unreadable:
            yield _Waiter(pod.key, created, "invalid", None)
        elif spec.scheduling_gates:
            yield _Waiter(pod.key, created, "gated", service.book.wish(pod))


def _rows(kind: str, sums: dict[str, _Sum], now: datetime) -> list[Raw]:
    return [
        {kind: name, **one.words(now), "reasons": dict(one.reasons.most_common())} for name, one in _largest_first(sums)
    ]


def _largest_first(sums: dict[str, _Sum]) -> list[tuple[str, _Sum]]:
    return sorted(sums.items(), key=lambda entry: (-entry[1].pods, entry[0]))


def _seconds_since(created: str, now: datetime) -> int:
    try:
        return max(0, int((now - datetime.fromisoformat(created)).total_seconds()))
    except ValueError:
        return 0
