"""What was decided, for whom and why: a bounded ring of compact records, and the figures over all decisions.

Apart from the service because nobody decides by it: ``tensorfusion explain pod`` and ``/api/decisions`` read it. A
record keeps references and integers; it is put into words when somebody asks. One record per pod: the newest decision
counts, and says how many went before.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

import msgspec

from tensorfusion.clock import timestamp
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.meta import Key
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.configuration import Configuration
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.diagnosis import Diagnosis, Unschedulable
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.score_parts import ScorePart, in_points
from tensorfusion.scheduling.shapes import PREFERENCE
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
    """One decision: references to what it was about and what it said, put into words when somebody asks.

    ``policy`` names the configuration that it was taken under, ``nanoseconds`` is the time it took.
    """

    uid: str
    key: Key
    attempt: int
    decided_at: float
    nanoseconds: int
    result: Result
    facts: PodFacts | None
    decision: Decision | None
    cause: Diagnosis | str
    """Why there was none."""
    policy: str
    binding: str = ""
    """What became of the Binding: empty while it is on its way, or there is none."""
    now_asks: GpuRequest | None = None
    """What the pod asks since its amounts were changed while it ran."""

    @property
    def reason(self) -> str:
        return self.cause if isinstance(self.cause, str) else self.cause.message

    @property
    def request(self) -> GpuRequest | None:
        if self.now_asks is not None or self.facts is None:
            return self.now_asks
        return self.facts.request

    @property
    def removed(self) -> dict[str, int]:
        """What each filter removed, devices and nodes."""
        if self.decision is not None:
            return {str(reason): count for reason, count in self.decision.counts.items()}
        if isinstance(self.cause, str):
            return {}
        return {str(reason): count for reason, count in (*self.cause.devices_removed, *self.cause.nodes_removed)}


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
    policy: str = "",
) -> Record:
    """The record of a decision that was taken, or of a pod that cannot be decided (``reason``)."""
    cause: Diagnosis | str = reason
    if failure is not None:  # not the error itself: it may hold on to frames
        cause = failure.diagnosis if isinstance(failure, Unschedulable) else str(failure)
    return Record(uid, key, attempt, now.timestamp(), nanoseconds, result, facts, decision, cause, policy)


def policy_version(configuration: Configuration) -> str:
    """The same for the same configuration, on every replica: twelve digits of its hash."""
    said = [dict(configuration.profiles.by_name), configuration.defaults]
    return sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:12]


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
        "binding": record.binding,
        "request": _request(record),
        "amounts": _amounts(record),
        "removed": record.removed,
        **_choice(record),
        "policy": record.policy,
        "attempt": record.attempt,
        "decidedAt": timestamp(datetime.fromtimestamp(record.decided_at, UTC)),
        "microseconds": round(record.nanoseconds / 1000, 1),
    }


def _choice(record: Record) -> dict[str, object]:
    """What was chosen, and what it was chosen before."""
    decision = record.decision
    if decision is None:
        return {"node": "", "devices": [], "mode": "", "score": None, "deviceScores": {}, "alternatives": []}
    devices = decision.placement.devices
    scored = [(decision.placement.node, decision.score), *decision.alternatives]
    parts = decision.parts or tuple(((ScorePart.PLACEMENT, score * PREFERENCE),) for _, score in scored)
    own, *others = [in_points(one) for one in parts]
    return {
        "node": decision.placement.node,
        "devices": list(devices),
        "mode": decision.mode,
        "nodes": decision.nodes,
        "feasible": decision.feasible,
        "score": decision.score,
        "scoreParts": own,
        **_plan(decision),
        "deviceScores": dict(zip(devices, decision.device_scores, strict=False)),
        "alternatives": [
            {"node": node, "score": score, "parts": made_of}
            for (node, score), made_of in zip(decision.alternatives, others, strict=True)
        ],
    }


def _plan(decision: Decision) -> dict[str, object]:
    """How near the devices are to each other, where that was looked at."""
    plan = decision.plan
    if plan is None:
        return {}
    told = {"tier": plan.tier, "affinity": plan.affinity, "planScore": plan.score, "heuristic": plan.heuristic}
    return {"topology": told}


def _amounts(record: Record) -> dict[str, int]:
    """What was decided with, in whole units: GFLOPS (0.001 TFLOPS), bytes, milli-CPU, milli-percent."""
    facts, request = record.facts, record.request
    amounts = {"milliCpu": facts.cpu, "memoryBytes": facts.memory} if facts is not None else {}
    if request is not None:
        compute = {"gflops": request.compute} if request.compute else {"milliPercent": request.percent}
        amounts |= {"devices": request.count, **compute, "vramBytes": request.vram}
    return amounts


def _request(record: Record) -> dict[str, object]:
    facts = record.facts
    words: dict[str, object] = {
        "cpu": format_milli(facts.cpu if facts is not None else 0),
        "memory": format_bytes(facts.memory if facts is not None else 0),
    }
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
