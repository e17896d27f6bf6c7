"""How far a rollout may go now: pure numbers, from what a Deployment wants and what its ReplicaSets have.

The numbers come from caches, and a ReplicaSet's status follows its spec with a delay. So a ReplicaSet never counts for
more available pods than it is meant to keep: what it was just told to give up is as good as gone, and is not given up
a second time. And it counts for as many pods as it has or is meant to have, whichever is more: its successor's pods
wait until it has really given up its own. (kube-controller-manager counts only what is meant, so its surge can be
exceeded for a moment; where a pod holds a GPU, that moment matters.)

Source: apps/v1 Deployment, RollingUpdate with maxSurge (rounded up) and maxUnavailable (rounded down).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.embedded.controllers.objects import Deployment, RollingUpdate

RECREATE = "Recreate"


@dataclass(frozen=True, slots=True)
class SetSize:
    """One ReplicaSet in numbers, oldest first in a sequence."""

    name: str
    wanted: int
    available: int
    actual: int = 0
    """Pods it has, available or not; those that are shutting down do not count."""

    @property
    def most(self) -> int:
        """Pods it has or is about to have."""
        return max(self.wanted, self.actual)

    @property
    def lasting(self) -> int:
        """Available pods that are meant to stay."""
        return min(self.wanted, self.available)


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most ``most`` pods in all, at least ``least`` of them available."""

    most: int
    least: int


def bounds(deployment: Deployment) -> Bounds:
    """The room of a rollout. When both allowances of a rolling update come to 0, one pod may be unavailable."""
    replicas = deployment.spec.replicas
    if deployment.spec.strategy.type == RECREATE:
        return Bounds(replicas, replicas)
    rolling = deployment.spec.strategy.rolling_update or RollingUpdate()
    surge = resolve(rolling.max_surge, replicas, up=True)
    unavailable = min(resolve(rolling.max_unavailable, replicas, up=False), replicas)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(replicas + surge, max(0, replicas - unavailable))


def resolve(value: int | str, replicas: int, *, up: bool) -> int:
    """A count as it is, a percentage of the replicas rounded up or down; anything else is 0."""
    if isinstance(value, int):
        return max(0, value)
    digits = value.removesuffix("%")
    if digits == value or not (digits.isascii() and digits.isdigit()):
        return 0
    percent = int(digits)
    return -(-replicas * percent // 100) if up else replicas * percent // 100


def rolling_step(replicas: int, limits: Bounds, new: SetSize, old: Sequence[SetSize]) -> dict[str, int]:
    """The ReplicaSets whose wanted size changes now, and to what.

    Old pods that are not available go first; available ones only while enough others stay available.
    """
    changes: dict[str, int] = {}
    total = new.most + sum(entry.most for entry in old)
    if new.wanted > replicas:
        changes[new.name] = replicas
    elif new.wanted < replicas and total < limits.most:
        changes[new.name] = min(replicas, new.wanted + limits.most - total)
    staying = min(new.wanted, replicas)
    budget = staying + sum(entry.wanted for entry in old) - limits.least - max(0, staying - new.available)
    spare = min(new.lasting, staying) + sum(entry.lasting for entry in old) - limits.least
    for entry in old:
        unhealthy = max(0, min(entry.wanted - entry.lasting, budget))
        budget -= unhealthy
        healthy = max(0, min(entry.lasting, spare, budget))
        budget -= healthy
        spare -= healthy
        if unhealthy + healthy:
            changes[entry.name] = entry.wanted - unhealthy - healthy
    return changes


def recreate_step(replicas: int, new: SetSize, old: Sequence[SetSize], *, old_pods: int) -> dict[str, int]:
    """Old ones to nothing; the new one only when no old pod is left, not even one that is shutting down."""
    changes = {entry.name: 0 for entry in old if entry.wanted}
    free = not changes and old_pods == 0
    if new.wanted > replicas or (free and new.wanted != replicas):
        changes[new.name] = replicas
    return changes
