"""What happened, as the loop notes it: a tuple in a list, with references to facts that never change.

Apart from the scribe because this is all that recording costs where pods are decided. What the notes mean for the
format, and what of them is told, is found out on another thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from tensorfusion.scheduling.copies import WorldFacts
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.hints import Change
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.state import State

Note: TypeAlias = tuple[Any, ...]  # Any: kind, milliseconds since 1970, then the values of that kind
MOST_NOTES = 500_000
"""Notes that may wait to be written: beyond them the disk does not keep up."""


class Stage(IntEnum):
    """How far a recorded pod has come."""

    WAITING = 1
    BOUND = 2
    RUNNING = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world at the beginning of a segment: what it takes no time to take hold of, however many pods there are.

    Of ``world`` everything but who holds what counts. Pods that have a place are those of ``allocations`` that are
    beyond waiting by ``stages``; ``waiting`` are the facts of the others, and whether they were decided once.
    ``complete`` and ``pools`` are those of ``events.Opened``.
    """

    at: int
    world: WorldFacts
    allocations: Sequence[Allocation]
    stages: Mapping[str, Stage]
    waiting: Sequence[tuple[PodFacts, bool]]
    cluster_wide: bool
    domains: Sequence[str]
    patience: float
    complete: bool
    pools: tuple[str, ...] | None


class Notebook:
    """Notes since somebody took them. ``open`` says whether any are wanted; ``now`` is in milliseconds since 1970."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.open = False
        self.overflowed = False
        """There were too many: from then on none are taken."""
        self._now = now
        self._notes: list[Note] = []

    def add(self, kind: str, *values: object) -> None:
        if not self.open:
            return
        if len(self._notes) >= MOST_NOTES:
            self.open, self.overflowed = False, True
            return
        self._notes.append((kind, self._now(), *values))

    def __len__(self) -> int:
        return len(self._notes)

    def take(self) -> list[Note]:
        """All notes; from here on there are none."""
        taken, self._notes = self._notes, []
        return taken


class NotedState(State):
    """A state that notes what it is told of the fleet. Pods are not noted here: statements about them are undone."""

    def __init__(self, notebook: Notebook) -> None:
        super().__init__()
        self._notebook = notebook

    def upsert_node(self, facts: NodeFacts) -> tuple[Change, ...]:
        news = super().upsert_node(facts)
        if news:
            self._notebook.add("node", facts)
        return news

    def remove_node(self, name: str) -> tuple[Change, ...]:
        self._notebook.add("node gone", name)
        return super().remove_node(name)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> tuple[Change, ...]:
        self._notebook.add("namespace", name, labels)
        return super().set_namespace(name, labels)

    def upsert_device(self, facts: DeviceFacts) -> tuple[Change, ...]:
        news = super().upsert_device(facts)
        if news:
            self._notebook.add("device", facts)
        return news

    def remove_device(self, name: str) -> tuple[Change, ...]:
        self._notebook.add("device gone", name)
        return super().remove_device(name)

    def upsert_pool(self, facts: PoolFacts) -> tuple[Change, ...]:
        news = super().upsert_pool(facts)
        if news:
            self._notebook.add("pool", facts)
        return news

    def remove_pool(self, name: str) -> tuple[Change, ...]:
        self._notebook.add("pool gone", name)
        return super().remove_pool(name)

    def set_quota(self, facts: QuotaFacts) -> tuple[Change, ...]:
        news = super().set_quota(facts)
        if news:
            self._notebook.add("quota", facts)
        return news

    def remove_quota(self, namespace: str) -> tuple[Change, ...]:
        self._notebook.add("quota gone", namespace)
        return super().remove_quota(namespace)

    def set_cohort(self, facts: CohortFacts) -> tuple[Change, ...]:
        news = super().set_cohort(facts)
        if news:
            self._notebook.add("cohort", facts)
        return news

    def remove_cohort(self, name: str) -> tuple[Change, ...]:
        self._notebook.add("cohort gone", name)
        return super().remove_cohort(name)
