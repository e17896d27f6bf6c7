"""The machines, pools and quotas of a run: changes as they were recorded, and what the scenario makes of them."""

from tensorfusion.scheduler.recording.history import FleetChange
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.fleet_facts import tell
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.state import State
from tensorfusion.testing.what_if.jobs import Job
from tensorfusion.testing.what_if.meter import Meter
from tensorfusion.testing.what_if.scenario import Scenario


class Ground:
    """Writes the fleet into ``state``; what that may help is appended to ``hints``."""

    def __init__(self, state: State, hints: list[Hint], meter: Meter, scenario: Scenario) -> None:
        self._state = state
        self._hints = hints
        self._meter = meter
        self._scenario = scenario
        self._added = {one.node.name for one in scenario.added}
        self._devices: dict[str, DeviceFacts] = {}
        """Those of the recording that are there now, on whatever node."""
        self.left_out: set[str] = set()
        """Nodes that were there, and are not in this run."""

    def change(self, change: FleetChange) -> str | None:
        """Take over one change; answers the node that went, or is left out from now on, if one is."""
        state, facts, name = self._state, change.facts, change.name
        if change.kind == "nodes":
            return self._node(name, facts if isinstance(facts, NodeFacts) else None)
        if change.kind == "devices":
            self._device(name, facts if isinstance(facts, DeviceFacts) else None)
        else:
            if isinstance(facts, PoolFacts):
                facts = self._scenario.pool(facts)
            elif change.kind == "quotas":
                facts = self._scenario.quota(name, facts if isinstance(facts, QuotaFacts) else None)
            self._hints += tell(state, change.kind, name, facts)
        return None

    def _node(self, name: str, facts: NodeFacts | None) -> str | None:
        if facts is None:
            self._hints += self._state.remove_node(name)
            return name
        mine = [one for one in self._devices.values() if one.node == name]
        if name not in self._added and self._scenario.leaves_out(facts):
            if name in self.left_out:
                return None
            self.left_out.add(name)
            for one in mine:
                self._hints += self._state.remove_device(one.name)
            self._hints += self._state.remove_node(name)
            self._meter.note([one.name for one in mine])
            return name
        self._hints += self._state.upsert_node(facts)
        if name in self.left_out:
            self.left_out.remove(name)
            for one in mine:
                self._device(one.name, one)
        return None

    def _device(self, name: str, facts: DeviceFacts | None) -> None:
        if facts is None:
            self._devices.pop(name, None)
            self._hints += self._state.remove_device(name)
        elif facts.node in self._added:
            self._hints += self._state.upsert_device(facts)
        else:
            self._devices[name] = facts
            if facts.node not in self.left_out:
                self._hints += self._state.upsert_device(self._scenario.device(facts))
        self._meter.note([name])

    def leaves_out(self, job: Job) -> bool:
        """Whether the job can only be on nodes that are not in this run."""
        if not self.left_out:
            return False
        if job.fixed is not None and not job.held:
            return job.fixed.node in self.left_out
        affinity = job.facts.affinity
        required = affinity.node_affinity.required if affinity is not None and affinity.node_affinity else None
        terms = required.terms if required is not None else ()
        return bool(terms) and all(
            any(
                wish.operator == "In" and wish.values and self.left_out.issuperset(wish.values)
                for wish in term.match_fields
            )
            for term in terms
        )
