"""Several policies on the same arrivals: one protocol, some shuffles, the means."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tensorfusion.errors import ConfigError
from tensorfusion.testing.packing import churn, inflation
from tensorfusion.testing.packing.names import factory_of
from tensorfusion.testing.packing.outcome import Outcome
from tensorfusion.testing.packing.policies import Factory
from tensorfusion.testing.packing.progress import Progress
from tensorfusion.testing.packing.world import WHOLE, Request, World, demand_of, request_of
from tensorfusion.testing.traces import TraceNode, TracePod


class Protocol(StrEnum):
    """How arrivals come and go."""

    INFLATION = "inflation"
    CHURN = "churn"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared, checked and drawn: the same streams for every policy."""

    nodes: Sequence[TraceNode]
    history: Sequence[Request]
    protocol: Protocol
    policies: Sequence[str]
    seeds: Sequence[int]
    load: int
    """Percent of the cluster's devices: what arrives in all (inflation), or what runs at a time (churn)."""
    turnovers: int = churn.TURNOVERS
    spacing: churn.Spacing = churn.Spacing.RANDOM

    @property
    def steps(self) -> int:
        """About how many arrivals all runs have, for a progress bar."""
        total = sum(node.gpus for node in self.nodes) * WHOLE
        each = self.load * total * len(self.history) / (100 * demand_of(self.history))
        if self.protocol is Protocol.CHURN:
            each *= self.turnovers
        return int(each * len(self.policies) * len(self.seeds))


def plan(
    nodes: Sequence[TraceNode],
    pods: Sequence[TracePod],
    *,
    protocol: Protocol,
    policies: Sequence[str],
    seeds: Sequence[int],
    load: int | None = None,
    turnovers: int = churn.TURNOVERS,
    spacing: churn.Spacing = churn.Spacing.RANDOM,
) -> Plan:
    """Check what is to be compared.

    Raises:
        ConfigError: an unknown or repeated policy, no policy at all, no machine with devices, no arrival that asks for
            any.
    """
    for name in policies:
        factory_of(name)
    if not policies or len(set(policies)) != len(policies):
        raise ConfigError(f"policies: wanted some, each once, found {', '.join(policies) or 'none'}")
    if not any(node.gpus for node in nodes):
        raise ConfigError("the node list: wanted machines with GPUs (gpu above 0), found none")
    default = churn.LOAD_PERCENT if protocol is Protocol.CHURN else inflation.LOAD_PERCENT
    history = [request_of(pod) for pod in pods]
    demand_of(history)
    return Plan(nodes, history, protocol, policies, seeds, default if load is None else load, turnovers, spacing)


def compare(wanted: Plan, *, tick: Progress, begin: Callable[[str], None]) -> dict[str, list[Outcome]]:
    """Run every policy over every seed; ``begin`` hears the name first. By policy, in the order of the plan."""
    found: dict[str, list[Outcome]] = {name: [] for name in wanted.policies}
    for seed in wanted.seeds:
        for name in wanted.policies:
            begin(name)
            found[name].append(_one(wanted, factory_of(name), seed, tick))
    return found


def _one(wanted: Plan, factory: Factory, seed: int, tick: Progress) -> Outcome:
    world, history, load = World(wanted.nodes), wanted.history, wanted.load
    if wanted.protocol is Protocol.INFLATION:
        stream = inflation.arrivals(history, total=world.total, seed=seed, load=load)
        return inflation.run(world, stream, factory, history=history, seed=seed, tick=tick)
    turnovers, spacing = wanted.turnovers, wanted.spacing
    jobs = churn.arrivals(history, total=world.total, seed=seed, load=load, turnovers=turnovers, spacing=spacing)
    return churn.run(world, jobs, factory, history=history, seed=seed, tick=tick)
