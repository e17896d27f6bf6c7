"""What is to be different from how it was: placement mode, machines, quotas, how far devices are oversubscribed.

A scenario changes facts on their way into the run, those that were there and those that came later alike. Nothing of it
knows how decisions are taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from tensorfusion.scheduler.recording.history import FleetChange
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.fleet_facts import KINDS, FleetFacts

ONE = Fraction(1)
Selector = Callable[[Mapping[str, str]], bool]
"""Whether a node with these labels is meant."""


@dataclass(frozen=True, slots=True)
class Added:
    """One more node and its devices."""

    node: NodeFacts
    devices: tuple[DeviceFacts, ...]


@dataclass(frozen=True, slots=True)
class QuotaWish:
    """Ceilings of one namespace, by field of ``QuotaFacts``; None: it has no quota."""

    namespace: str
    ceilings: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is different; without any of it everything is as it was. ``modes`` by pool, ``""`` for all others.

    ``ratio``: requests may add up to so many times the compute of a device. Its VRAM is what it is.
    """

    modes: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[Selector] = ()
    added: Sequence[Added] = ()
    quotas: Sequence[QuotaWish] = ()
    ratio: Fraction = ONE

    def fleet(self, fleet: FleetFacts) -> list[FleetChange]:
        """What there is when the period begins, as changes of nothing, in the order to make them in."""
        found: list[FleetChange] = []
        for kind in KINDS:
            found += [FleetChange(0, kind, name, facts) for name, facts in fleet.table(kind).items()]
        wanted = {wish.namespace for wish in self.quotas} - fleet.quotas.keys()
        found += [FleetChange(0, "quotas", name, QuotaFacts(name)) for name in sorted(wanted)]
        return found

    def extra(self) -> list[FleetChange]:
        """The nodes that are added, and their devices."""
        nodes = [FleetChange(0, "nodes", one.node.name, one.node) for one in self.added]
        devices = [FleetChange(0, "devices", gpu.name, self.device(gpu)) for one in self.added for gpu in one.devices]
        return nodes + devices

    def leaves_out(self, node: NodeFacts) -> bool:
        """Whether the node is one of those that are not there."""
        return any(selects(node.labels) for selects in self.without)

    def pool(self, facts: PoolFacts) -> PoolFacts:
        mode = self.modes.get(facts.name, self.modes.get(""))
        return facts if mode is None else replace(facts, mode=mode)

    def device(self, facts: DeviceFacts) -> DeviceFacts:
        return facts if self.ratio == ONE else replace(facts, compute=int(facts.compute * self.ratio))

    def quota(self, namespace: str, facts: QuotaFacts | None) -> QuotaFacts | None:
        """The ceilings of a namespace as wished; None: there are none."""
        for wish in self.quotas:
            if wish.namespace == namespace:
                return None if wish.ceilings is None else _with(facts or QuotaFacts(namespace), wish.ceilings)
        return facts

    def pod(self, facts: PodFacts) -> PodFacts:
        """A share in percent stays the same amount, however much of a device may be asked for."""
        request = facts.request
        if self.ratio == ONE or request is None or not (request.percent or request.percent_limit):
            return facts
        percent, limit = (int(-(-amount // self.ratio)) for amount in (request.percent, request.percent_limit))
        return replace(facts, request=replace(request, percent=percent, percent_limit=limit))


def _with(facts: QuotaFacts, ceilings: Mapping[str, int]) -> QuotaFacts:
    changes: dict[str, Any] = dict(ceilings)  # Any: fields by name
    return replace(facts, **changes)
