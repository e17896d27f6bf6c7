"""What one pod asks of its devices, in integers: the only form in which a request travels inside this project.

Per-device amounts: a request for ``count`` devices takes the same amounts from each of them, all on one node.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Isolation(StrEnum):
    """How a share is kept apart on the device. Wire values of IsolationModeType."""

    SHARED = "shared"
    SOFT = "soft"
    HARD = "hard"
    PARTITIONED = "partitioned"


class QoS(StrEnum):
    """Quality of service. Wire values of QoSLevel."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """What one pod asks of each of its ``count`` devices.

    Units: ``compute`` GFLOPS, ``vram`` bytes, ``percent`` milli-percent of one device (25 % is 25000). Compute is asked
    for either absolutely or in percent: ``percent`` counts only where ``compute`` is 0, and is turned into GFLOPS
    of the device it lands on, rounded down. Limits bound the burst and never take part in placement.
    """

    pool: str
    count: int = 1
    compute: int = 0
    compute_limit: int = 0
    percent: int = 0
    percent_limit: int = 0
    vram: int = 0
    vram_limit: int = 0
    model: str = ""
    vendor: str = ""
    indices: tuple[int, ...] = ()
    isolation: Isolation = Isolation.SOFT
    partition: str = ""
    qos: QoS = QoS.MEDIUM


def larger(one: GpuRequest, other: GpuRequest) -> GpuRequest:
    """``other`` with the larger of both amounts in every dimension: what covers either of them.

    Exact where both state compute in the same unit.
    """
    return replace(
        other,
        compute=max(one.compute, other.compute),
        compute_limit=max(one.compute_limit, other.compute_limit),
        percent=max(one.percent, other.percent),
        percent_limit=max(one.percent_limit, other.percent_limit),
        vram=max(one.vram, other.vram),
        vram_limit=max(one.vram_limit, other.vram_limit),
    )
