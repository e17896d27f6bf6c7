"""How far a rollout may go now: pure numbers, from what a Deployment wants and what its ReplicaSets have.

Source: apps/v1 Deployment, RollingUpdate with maxSurge (rounded up) and maxUnavailable (rounded down).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.embedded.controllers.objects import Deployment, RollingUpdate


@dataclass(frozen=True, slots=True)
class SetSize:
    """One ReplicaSet in numbers, oldest first in a sequence."""

    name: str
    wanted: int
    available: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most ``most`` pods in all, at least ``least`` of them available."""

    most: int
    least: int


def bounds(deployment: Deployment) -> Bounds:
    """The room of a rolling update. When both allowances come to 0, one pod may be unavailable."""
    replicas = deployment.spec.replicas
    rolling = deployment.spec.strategy.rolling_update or RollingUpdate()
    surge = _resolve(rolling.max_surge, replicas, up=True)
    unavailable = min(_resolve(rolling.max_unavailable, replicas, up=False), replicas)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(replicas + surge, max(0, replicas - unavailable))


def _resolve(value: int | str, replicas: int, *, up: bool) -> int:
    if isinstance(value, int):
        return max(0, value)
    percent = int(value.rstrip("%") or 0) if value.rstrip("%").isdigit() else 0
    return -(-replicas * percent // 100) if up else replicas * percent // 100


def rolling_step(replicas: int, limits: Bounds, new: SetSize, old: Sequence[SetSize]) -> dict[str, int]:
    """The ReplicaSets whose wanted size changes now, and to what.

    Old pods that are not available go first; available ones only while enough others stay available.
    """
    changes: dict[str, int] = {}
    total = new.wanted + sum(entry.wanted for entry in old)
    if new.wanted > replicas:
        changes[new.name] = replicas
    elif new.wanted < replicas and total < limits.most:
        changes[new.name] = min(replicas, new.wanted + limits.most - total)
    spare = new.available + sum(entry.available for entry in old) - limits.least
    unready_new = max(0, new.wanted - new.available)
    unhealthy_budget = max(0, total - limits.least - unready_new)
    for entry in old:
        unhealthy = min(max(0, entry.wanted - entry.available), unhealthy_budget)
        unhealthy_budget -= unhealthy
        healthy = min(entry.available, max(0, spare))
        spare -= healthy
        if unhealthy + healthy:
            changes[entry.name] = entry.wanted - unhealthy - healthy
    return changes


def recreate_step(replicas: int, new: SetSize, old: Sequence[SetSize], *, old_pods: int) -> dict[str, int]:
    """Old ones to nothing; the new one only when no old pod is left."""
    changes = {entry.name: 0 for entry in old if entry.wanted}
    if not changes and old_pods == 0 and new.wanted != replicas:
        changes[new.name] = replicas
    return changes
