"""Turns what the scheduler noted into events: numbers in the place of objects, pseudonyms in the place of names.

Apart from the notes because it runs beside the loop, on a thread, and is the one owner of what a segment has said so
far. A shape is written once for all pods of one template; of the labels of pods only those are kept that some rule
between pods selects by.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, TypeAlias

from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.feeds import seconds
from tensorfusion.scheduler.recording import events as e
from tensorfusion.scheduler.recording.events import Ending, Event, encode
from tensorfusion.scheduler.recording.notes import Note, Snapshot, Stage
from tensorfusion.scheduler.recording.pseudonyms import Pseudonyms
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    Placement,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.pod_rules import PodRules, PodSelector
from tensorfusion.scheduling.profile import Profiles

Price: TypeAlias = Callable[[str], int]
"""What an hour of a device of this model costs, in millionths of a dollar; 0 where nobody knows."""
_ShapeKey: TypeAlias = tuple[object, ...]
_MOST_SIMPLE = 65_536
_MOST = 1 << 62
"""Of any amount: containers may add up to more than a file can hold, and than any machine has."""
_WAITING = Stage.WAITING


class Scribe:
    """Writes one series. What it is told comes in the order in which it happened."""

    def __init__(self, series: str, pseudonyms: Pseudonyms, *, price: Price) -> None:
        self._series = series
        self._words = pseudonyms
        self._price = price
        self._forget()

    def _forget(self) -> None:
        self._pods: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._devices: dict[str, int] = {}
        self._cuts: dict[bytes, int] = {}
        self._shapes: dict[bytes, int] = {}
        self._simple: dict[_ShapeKey, tuple[int, GpuRequest | None]] = {}
        self._pod_numbers = 0
        self._label_keys: set[str] = set()
        self._out: list[Event] = []

    def events(self, notes: Iterable[Note], *, base: int) -> tuple[Event, ...]:
        """The events of these notes; their times are after ``base``."""
        out = self._out = []
        for note in notes:
            kind, at, *values = note
            self._TAKEN[kind](self, max(0, at - base), *values)
        return tuple(out)

    # --- a segment begins ---

    def opening(self, snapshot: Snapshot) -> tuple[Event, ...]:
        """The events that begin a segment: the world as it is. Numbers begin anew."""
        self._forget()
        world = snapshot.world.fleet
        out = self._out
        out.append(
            e.Opened(
                0,
                series=self._series,
                names=self._words.shown,
                cluster_wide=snapshot.cluster_wide,
                domains=tuple(snapshot.domains),
                patience=snapshot.patience,
                profiles=world.profiles,
                cluster=self._words.cluster,
                complete=snapshot.complete,
                pools=snapshot.pools,
            )
        )
        for name, labels in world.namespaces.items():
            self._namespace(0, name, dict(labels))
        for pool in world.pools.values():
            self._pool(0, pool)
        for cohort in world.cohorts.values():
            self._cohort(0, cohort)
        for quota in world.quotas.values():
            self._quota(0, quota)
        for node in world.nodes.values():
            self._node(0, node)
        for device in world.devices.values():
            self._device(0, device)
        held = [one for one in snapshot.allocations if snapshot.stages.get(one.pod.uid, _WAITING) > _WAITING]
        for facts in (*(one.pod for one in held), *(facts for facts, _ in snapshot.waiting)):
            self._know_keys(facts.rules)
        for one in held:
            self._arrived(0, one.pod.uid, one.pod, 0, True)
            self._bound(0, one.pod.uid, one.placement)
            if snapshot.stages[one.pod.uid] is Stage.RUNNING:
                self._running(0, one.pod.uid)
        for facts, decided in snapshot.waiting:
            self._arrived(0, facts.uid, facts, max(0, snapshot.at - 1000 * seconds(facts.created)), False)
            if decided:
                self._decided(0, facts.uid, "")
        out.append(e.Told(0))
        return tuple(out)

    # --- the fleet ---

    def _configured(self, at: int, profiles: Profiles) -> None:
        self._out.append(e.Configured(at, profiles))

    def _node(self, at: int, facts: NodeFacts) -> None:
        number = self._nodes.setdefault(facts.name, len(self._nodes))
        self._out.append(e.NodeSet(at, number, self._words.node_facts(facts)))

    def _node_gone(self, at: int, name: str) -> None:
        if name in self._nodes:
            self._out.append(e.NodeGone(at, self._nodes[name]))

    def _device(self, at: int, facts: DeviceFacts) -> None:
        number = self._devices.setdefault(facts.name, len(self._devices))
        cuts = -1
        if facts.profile is not None:
            said = encode(facts.profile)
            known = self._cuts.get(said)
            cuts = known if known is not None else self._cuts.setdefault(said, len(self._cuts))
            if known is None:
                self._out.append(e.Cuts(at, cuts, facts.profile))
        told = self._words.device_facts(replace(facts, profile=None))
        self._out.append(e.DeviceSet(at, number, told, cuts, self._price(facts.model)))

    def _device_gone(self, at: int, name: str) -> None:
        if name in self._devices:
            self._out.append(e.DeviceGone(at, self._devices[name]))

    def _pool(self, at: int, facts: PoolFacts) -> None:
        self._out.append(e.PoolSet(at, facts))

    def _pool_gone(self, at: int, name: str) -> None:
        self._out.append(e.PoolGone(at, name))

    def _quota(self, at: int, facts: QuotaFacts) -> None:
        words = self._words
        told = replace(facts, namespace=words.namespace(facts.namespace), cohort=words.cohort(facts.cohort))
        self._out.append(e.QuotaSet(at, told))

    def _quota_gone(self, at: int, namespace: str) -> None:
        self._out.append(e.QuotaGone(at, self._words.namespace(namespace)))

    def _cohort(self, at: int, facts: CohortFacts) -> None:
        words = self._words
        told = replace(facts, name=words.cohort(facts.name), parent=words.cohort(facts.parent))
        self._out.append(e.CohortSet(at, told))

    def _cohort_gone(self, at: int, name: str) -> None:
        self._out.append(e.CohortGone(at, self._words.cohort(name)))

    def _namespace(self, at: int, name: str, labels: dict[str, str] | None) -> None:
        told = None if labels is None else self._words.labels(labels)
        self._out.append(e.NamespaceSet(at, self._words.namespace(name), told))

    # --- pods ---

    def _arrived(self, at: int, uid: str, facts: PodFacts, early: int, pinned: bool) -> None:
        if uid in self._pods:
            return
        shape = self._shape(at, facts)
        number = self._pods[uid] = self._pod_numbers
        self._pod_numbers += 1
        words = self._words
        self._out.append(
            e.Arrived(
                at,
                number,
                words.pod(uid),
                shape,
                words.namespace(facts.namespace),
                gang="" if facts.gang is None else words.gang(facts.gang.key),
                early=early,
                pinned=pinned,
                name=facts.name if words.shown else "",
            )
        )

    def _decided(self, at: int, uid: str, reason: str) -> None:
        number = self._pods.get(uid)
        if number is not None:
            self._out.append(e.Decided(at, number, reason))

    def _bound(self, at: int, uid: str, placement: Placement) -> None:
        number = self._pods.get(uid)
        if number is None:
            return
        node = self._nodes.setdefault(placement.node, len(self._nodes))
        devices = tuple([self._devices.setdefault(name, len(self._devices)) for name in placement.devices])
        self._out.append(e.Bound(at, number, node, devices, placement.partitions))

    def _running(self, at: int, uid: str) -> None:
        number = self._pods.get(uid)
        if number is not None:
            self._out.append(e.Running(at, number))

    def _resized(self, at: int, uid: str, facts: PodFacts) -> None:
        number = self._pods.get(uid)
        if number is not None:
            self._out.append(e.Resized(at, number, self._shape(at, facts)))

    def _ended(self, at: int, uid: str, how: Ending) -> None:
        number = self._pods.pop(uid, None)
        if number is not None:
            self._out.append(e.Ended(at, number, how))

    # --- shapes ---

    def _shape(self, at: int, facts: PodFacts) -> int:
        """The number of the pod's shape; a new one is written down. Who asks for a share alone is found quickly."""
        key: _ShapeKey | None = None
        if not (
            facts.rules is not None
            or self._label_keys
            or facts.affinity is not None
            or facts.node_selector
            or facts.tolerations
            or facts.extended
            or facts.gang is not None
            or facts.topology is not None
            or facts.protected_until
            or facts.within
        ):
            own = (facts.cpu, facts.memory, facts.priority, facts.scheduler, facts.off, facts.native, facts.preempts)
            key = (id(facts.request), *own)
            known = self._simple.get(key)
            if known is not None:
                return known[0]
        self._know_keys(facts.rules)
        plain = replace(
            facts,
            uid="",
            namespace="",
            name="",
            created="",
            cpu=min(facts.cpu, _MOST),
            memory=min(facts.memory, _MOST),
            extended={name: min(amount, _MOST) for name, amount in facts.extended.items()},
            labels={name: facts.labels[name] for name in sorted(self._label_keys) if name in facts.labels},
            gang=None if facts.gang is None else replace(facts.gang, key=""),
        )
        said = encode(plain)
        number = self._shapes.get(said)
        if number is None:
            number = self._shapes[said] = len(self._shapes)
            self._out.append(e.Shape(at, number, self._words.pod_facts(plain)))
        if key is not None:
            if len(self._simple) >= _MOST_SIMPLE:
                self._simple.clear()
            self._simple[key] = number, facts.request  # the reference keeps its id from being another one's
        return number

    def _know_keys(self, rules: PodRules | None) -> None:
        if rules is not None:
            for selector in _selectors(rules):
                self._label_keys.update(wish.key for wish in selector.labels or ())

    _TAKEN: ClassVar[dict[str, Callable[..., None]]] = {
        "configured": _configured,
        "node": _node,
        "node gone": _node_gone,
        "device": _device,
        "device gone": _device_gone,
        "pool": _pool,
        "pool gone": _pool_gone,
        "quota": _quota,
        "quota gone": _quota_gone,
        "cohort": _cohort,
        "cohort gone": _cohort_gone,
        "namespace": _namespace,
        "arrived": _arrived,
        "decided": _decided,
        "bound": _bound,
        "running": _running,
        "resized": _resized,
        "ended": _ended,
    }


def _selectors(rules: PodRules) -> Sequence[PodSelector]:
    terms = (*rules.affinity, *rules.anti_affinity, *(term for _, term in rules.preferred))
    return (*(one.pods for one in rules.spread), *(one.pods for one in terms))
