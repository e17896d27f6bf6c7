"""What was decided, for whom and why: a bounded ring of compact records, and the figures over all decisions.

Apart from the service because nobody decides by it: ``tensorfusion explain pod`` and ``/api/decisions`` read it. A
record keeps references and integers; it is put into words when somebody asks. One record per pod: the newest decision
counts, and says how many went before.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

import msgspec

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.meta import Key
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.units import format_bytes, format_gflops, format_milli

RECORDS = 20_000
TIMES = 65_536


class Result(StrEnum):
    """What a decision said."""

    PLACED = "placed"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    INVALID = "invalid"


class Record(msgspec.Struct, gc=False):
    """One decision. ``removed`` says what each filter removed; ``nanoseconds`` is the time it took."""

    uid: str
    key: Key
    attempt: int
    decided_at: float
    nanoseconds: int
    result: Result
    request: GpuRequest | None
    cpu: int
    memory: int
    mode: str = ""
    node: str = ""
    devices: tuple[str, ...] = ()
    score: int | None = None
    device_scores: tuple[int, ...] = ()
    alternatives: tuple[tuple[str, int], ...] = ()
    removed: tuple[tuple[str, int], ...] = ()
    reason: str = ""
    binding: str = ""
    """What became of the Binding: empty while it is on its way, or there is none."""


def record_of(
    uid: str,
    key: Key,
    result: Result,
    *,
    now: datetime,
    attempt: int = 0,
    nanoseconds: int = 0,
    facts: PodFacts | None = None,
    decision: Decision | None = None,
    failure: NotFit | QuotaExceeded | None = None,
    reason: str = "",
) -> Record:
    """The record of a decision that was taken, or of a pod that cannot be decided (``reason``)."""
    record = Record(
        uid=uid,
        key=key,
        attempt=attempt,
        decided_at=now.timestamp(),
        nanoseconds=nanoseconds,
        result=result,
        request=facts.request if facts is not None else None,
        cpu=facts.cpu if facts is not None else 0,
        memory=facts.memory if facts is not None else 0,
        reason=reason if failure is None else str(failure),
    )
    if decision is not None:
        record.mode = decision.mode
        record.node, record.devices = decision.placement.node, decision.placement.devices
        record.score, record.device_scores = decision.score, decision.device_scores
        record.alternatives = decision.alternatives
        record.removed = decision.devices_removed + decision.nodes_removed
    elif isinstance(failure, Unschedulable):
        record.removed = failure.diagnosis.devices_removed + failure.diagnosis.nodes_removed
    return record


class Records:
    """The newest record of each pod, oldest forgotten first, and the times of the last 65,536 decisions."""

    def __init__(self, limit: int = RECORDS) -> None:
        self._limit = limit
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._uids: dict[Key, str] = {}
        self._times = array("q")
        self._count = 0
        self._results = dict.fromkeys(Result, 0)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        if len(self._times) < TIMES:
            self._times.append(record.nanoseconds)
        else:
            self._times[self._count % TIMES] = record.nanoseconds
        self._count += 1
        self._results[record.result] += 1
        self._records.pop(record.uid, None)
        self._records[record.uid] = record
        self._uids[record.key] = record.uid
        if len(self._records) > self._limit:
            uid, oldest = self._records.popitem(last=False)
            if self._uids.get(oldest.key) == uid:
                del self._uids[oldest.key]

    def get(self, uid: str) -> Record | None:
        return self._records.get(uid)

    def find(self, key: Key) -> Record | None:
        """The newest record of the pod that had this name last."""
        uid = self._uids.get(key)
        return None if uid is None else self._records.get(uid)

    def __iter__(self) -> Iterator[Record]:
        """Oldest decision first."""
        return iter(self._records.values())

    def figures(self) -> dict[str, object]:
        """The body of ``/api/decisions``."""
        times = sorted(self._times)
        return {
            "count": self._count,
            "p50Microseconds": _quantile(times, 0.50),
            "p99Microseconds": _quantile(times, 0.99),
            "results": {str(result): count for result, count in self._results.items() if count},
        }


def describe(record: Record) -> dict[str, object]:
    """The record in words: the body of ``/api/explain``. Quantities are those of the wire."""
    return {
        "namespace": record.key.namespace,
        "name": record.key.name,
        "uid": record.uid,
        "result": str(record.result),
        "reason": record.reason,
        "node": record.node,
        "devices": list(record.devices),
        "binding": record.binding,
        "request": _request(record),
        "mode": record.mode,
        "score": record.score,
        "deviceScores": dict(zip(record.devices, record.device_scores, strict=False)),
        "alternatives": [{"node": node, "score": score} for node, score in record.alternatives],
        "removed": dict(record.removed),
        "attempt": record.attempt,
        "microseconds": round(record.nanoseconds / 1000, 1),
    }


def _request(record: Record) -> dict[str, object]:
    words: dict[str, object] = {"cpu": format_milli(record.cpu), "memory": format_bytes(record.memory)}
    request = record.request
    if request is None:
        return words
    words |= {"pool": request.pool, "count": request.count, "vram": format_bytes(request.vram)}
    if request.percent and not request.compute:
        words["computePercent"] = format_milli(request.percent)
    else:
        words["tflops"] = format_gflops(request.compute)
    limits = _limits(request)
    if limits:
        words["limits"] = limits
    words |= {"isolation": str(request.isolation), "qos": str(request.qos)}
    if request.model:
        words["model"] = request.model
    if request.vendor:
        words["vendor"] = request.vendor
    if request.indices:
        words["indices"] = list(request.indices)
    return words


def _limits(request: GpuRequest) -> dict[str, str]:
    """How far the share may burst. Placement does not look at it."""
    words = {}
    if request.compute_limit:
        words["tflops"] = format_gflops(request.compute_limit)
    elif request.percent_limit:
        words["computePercent"] = format_milli(request.percent_limit)
    if request.vram_limit:
        words["vram"] = format_bytes(request.vram_limit)
    return words


def _quantile(ordered: list[int], share: float) -> float:
    """Nearest-rank quantile in microseconds; 0 without any value."""
    if not ordered:
        return 0.0
    rank = min(int(share * len(ordered)), len(ordered) - 1)
    return round(ordered[rank] / 1000, 1)
