"""What a pod takes of its node besides devices: CPU, memory and extended resources, in integers.

Source: Kubernetes' rule for pod requests (containers run together, init containers one after another, restartable init
containers stay, overhead on top; a limit is the request where no request is set).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.core import Container, PodSpec
from tensorfusion.units import to_bytes, to_milli

_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class ResourceTotals:
    """Sums of one pod. ``cpu`` milli-CPU, ``memory`` bytes, everything else in whole units, rounded up."""

    cpu: int
    memory: int
    extended: dict[str, int]


_NOTHING = ResourceTotals(0, 0, {})


def pod_totals(spec: PodSpec) -> ResourceTotals:
    """What the scheduler must find free on a node for this pod.

    Raises:
        InvalidQuantity: a request, limit or overhead is not a quantity.
    """
    containers, inits = spec.containers, spec.init_containers
    if not inits and not spec.overhead and len(containers) == 1:
        return _totals(_container(containers[0]))
    running = _sum(_container(container) for container in containers)
    starting: dict[str, int] = {}
    staying: dict[str, int] = {}
    for init in inits:
        wanted = _container(init)
        if init.restart_policy == "Always":
            staying = _sum((staying, wanted))
            starting = _most(starting, staying)
        else:
            starting = _most(starting, _sum((staying, wanted)))
    return _totals(_sum((_most(_sum((running, staying)), starting), _parsed(spec.overhead, "spec.overhead"))))


def _container(container: Container) -> dict[str, int]:
    resources = container.resources
    requests = _parsed(resources.requests, "requests", container)
    if not resources.limits:
        return requests
    return _parsed(resources.limits, "limits", container) | requests


def _parsed(quantities: dict[str, str | int | float], field: str, container: Container | None = None) -> dict[str, int]:
    try:
        return {name: _units(name, value) for name, value in quantities.items()}
    except InvalidQuantity:
        at = field if container is None else f"container {container.name}: resources.{field}"
        raise _named(quantities, at) from None


def _named(quantities: dict[str, str | int | float], at: str) -> InvalidQuantity:
    """The error about the first quantity that cannot be read, with its field."""
    for name, value in quantities.items():
        try:
            _units(name, value)
        except InvalidQuantity as error:
            return InvalidQuantity(f"{at}.{name}: {error}")
    return InvalidQuantity(at)


@lru_cache(maxsize=16384)
def _units(name: str, value: str | float) -> int:
    return to_milli(value) if name == _CPU else to_bytes(str(value))


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total


def _most(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one | other}


def _totals(units: dict[str, int]) -> ResourceTotals:
    if not units:
        return _NOTHING
    cpu = units.pop(_CPU, 0)
    memory = units.pop("memory", 0)
    return ResourceTotals(cpu, memory, {name: value for name, value in units.items() if value})
