"""A recording as it is read: the fleet over time, and what became of each pod. Apart from files: values only.

Times are milliseconds since 1970. Nodes, devices, namespaces and gangs are called as the recording calls them.
"""

from dataclasses import dataclass, field, replace

from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.fleet_facts import Fact, FleetFacts


@dataclass(frozen=True, slots=True)
class Settings:
    """What the scheduler was told by its administrator, as far as it decides placements."""

    names: bool = False
    cluster_wide: bool = False
    domains: tuple[str, ...] = ()
    patience: float = 300.0


@dataclass(frozen=True, slots=True)
class FleetChange:
    """One thing came, changed or (``facts`` None) went. ``kind`` is one of ``KINDS`` or ``PROFILES``."""

    at: int
    kind: str
    name: str
    facts: Fact | None

    def apply_to(self, fleet: FleetFacts) -> None:
        """Take it over."""
        fleet.put(self.kind, self.name, self.facts)


@dataclass(slots=True)
class PodHistory:
    """One pod. None: it did not happen in the recording, or nobody knows when.

    ``held``: it had its place when the recording began. ``pinned``: somebody else chose its node.
    """

    pod: int
    arrived: int
    shape: PodFacts
    namespace: str
    gang: str = ""
    name: str = ""
    pinned: bool = False
    held: bool = False
    decided: int | None = None
    reason: str = ""
    bound: int | None = None
    placement: Placement | None = None
    running: int | None = None
    ended: int | None = None
    how: Ending | None = None
    """None where it ended while nobody recorded, or not at all."""
    resizes: list[tuple[int, PodFacts]] = field(default_factory=list)

    @property
    def facts(self) -> PodFacts:
        """What a decision needs to know of it."""
        return self.as_asked(self.shape)

    def as_asked(self, shape: PodFacts) -> PodFacts:
        """The same pod with what another shape asks for."""
        gang = shape.gang
        return replace(
            shape,
            uid=f"{self.pod:016x}",
            namespace=self.namespace,
            name=self.name or f"pod-{self.pod:016x}",
            gang=None if gang is None else replace(gang, key=self.gang),
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """Nobody recorded from ``start`` to ``end``."""

    start: int
    end: int


@dataclass(slots=True)
class History:
    """A recorded period: the fleet when it began, its changes since, and the pods in the order of their arrival."""

    start: int
    end: int
    settings: Settings
    fleet: FleetFacts
    changes: list[FleetChange]
    pods: list[PodHistory]
    prices: dict[str, int]
    """Millionths of a dollar an hour by model; models without a price are left out."""
    gaps: list[Gap] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1000

    def ever(self) -> FleetFacts:
        """All that was there at any time, as it was last."""
        fleet = self.fleet.copy()
        for change in self.changes:
            if change.facts is not None:
                change.apply_to(fleet)
        return fleet
