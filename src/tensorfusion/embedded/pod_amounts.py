"""What a pod asks for and may use at most, over all its containers.

Containers run side by side and add up. Init containers run one after the other before them, so the largest counts;
those that keep running (sidecars) add up with everything that starts later.

Source: kubernetes component-helpers resource.PodRequests and PodLimits, by behaviour.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.scalars import canonical_quantity
from tensorfusion.units import parse_quantity

_NANOS = 10**9
_KIBI = 1024
_WHOLE_POD = ("cpu", "memory")
_HUGE_PAGES = "hugepages-"


class Amount(NamedTuple):
    """A quantity that can be added up and is written the way its first part was."""

    value: Fraction
    binary: bool = False

    @classmethod
    def parse(cls, text: str) -> "Amount":
        return cls(parse_quantity(text), text.endswith("i"))

    def __add__(self, other: object) -> "Amount":
        if not isinstance(other, Amount):
            return NotImplemented
        return Amount(self.value + other.value, self.binary if self.value else other.binary)

    def minus(self, other: "Amount") -> "Amount":
        return Amount(self.value - other.value, self.binary)

    def __str__(self) -> str:
        if self.binary and self.value.denominator == 1:
            whole = self.value.numerator
            return canonical_quantity(f"{whole // _KIBI}Ki") if whole % _KIBI == 0 else str(whole)
        return canonical_quantity(f"{math.ceil(self.value * _NANOS)}n")


Amounts = dict[str, Amount]


def requests_of(pod: JsonObject) -> Amounts:
    return _total(pod, "requests")


def limits_of(pod: JsonObject) -> Amounts:
    return _total(pod, "limits")


def amounts_of(resources: JsonObject | None, field: str) -> Amounts:
    """The requests or limits of one container."""
    return {name: Amount.parse(text) for name, text in ((resources or {}).get(field) or {}).items()}


def _total(pod: JsonObject, field: str) -> Amounts:
    spec = pod.get("spec") or {}
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, amounts_of(container.get("resources"), field))
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        amounts = amounts_of(container.get("resources"), field)
        if container.get("restartPolicy") == "Always":
            _add(total, amounts)
            _add(sidecars, amounts)
            _raise(most, sidecars)
        else:
            _add(amounts, sidecars)
            _raise(most, amounts)
    _raise(total, most)
    for name, amount in amounts_of(spec.get("resources"), field).items():
        if name in _WHOLE_POD or name.startswith(_HUGE_PAGES):
            total[name] = amount
    overhead = {name: Amount.parse(text) for name, text in (spec.get("overhead") or {}).items()}
    for name, amount in overhead.items():
        if field == "requests" or name in total:
            total[name] = total[name] + amount if name in total else amount
    return total


def _add(total: Amounts, more: Mapping[str, Amount]) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise(total: Amounts, floor: Mapping[str, Amount]) -> None:
    for name, amount in floor.items():
        if name not in total or amount.value > total[name].value:
            total[name] = amount
