"""A pod that was placed and comes back bound: it counts for what it says then, and is read anew only where it changed."""

from typing import Any

import msgspec
import pytest

from tensorfusion.errors import NotFit
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.scheduler.binder import Binding
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PoolFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.state import State
from tensorfusion.testing.clock import VirtualClock

GIB = 1 << 30
GIVEN = {keys.GPU_IDS: "g0", keys.SCHEDULER_EPOCH: "1"}
WISHES = {keys.GPU_POOL: "main", keys.TFLOPS_REQUEST: "10", keys.VRAM_REQUEST: "1Gi"}


def view(annotations: dict[str, str], *, cpu: str = "1", meta: dict[str, Any] | None = None, **spec: Any) -> Pod:
    labels = {keys.COMPONENT: "worker"}
    metadata = {"name": "a", "namespace": "n", "uid": "u", "labels": labels, "annotations": annotations, **(meta or {})}
    containers = [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]
    return msgspec.convert(
        {"metadata": metadata, "spec": {"schedulerName": "s", "containers": containers, **spec}}, Pod
    )


PENDING = view(WISHES)


class Desk:
    """A book with one device, and how often pods were read."""

    def __init__(self) -> None:
        self.state = State()
        self.state.upsert_pool(PoolFacts("main"))
        self.state.upsert_node(NodeFacts("n0", cpu=8_000, memory=64 * GIB))
        self.state.upsert_device(DeviceFacts("g0", "n0", "main", index=0, compute=100_000, vram=16 * GIB))
        self.read = 0
        self.book = PodBook(
            self.state,
            [],
            clock=VirtualClock(),
            scheduler_names=frozenset({"s"}),
            priority_of=self._priority,
            refused=lambda pod, message: None,
        )

    def _priority(self, pod: Pod) -> int:
        self.read += 1
        return 0

    def place(self, pod: Pod) -> None:
        """Seen, decided and held; its Binding is on its way."""
        self.book.observe(pod)
        pending = self.book.queue.pop(0.0)
        assert pending is not None
        placement = decide(self.state, pending.facts).placement
        binding = Binding("u", Key("n", "a"), placement.node, placement.devices, GIVEN, epoch=1, decided_at=0.0)
        self.book.assume(pending, placement, binding)
        self.read = 0

    @property
    def held(self) -> Allocation:
        return self.state.allocations["u"]


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.place(PENDING)
    return desk


def test_a_pod_that_comes_back_as_it_was_decided_is_not_read_again(desk: Desk) -> None:
    desk.book.observe(view({**WISHES, **GIVEN}, nodeName="n0"), PENDING)
    assert desk.book.is_bound("u")
    assert desk.read == 0
    assert not desk.book.assumed
    assert "u" not in desk.book.queue


CHANGED = {
    "amounts": view({**WISHES, keys.VRAM_REQUEST: "2Gi", **GIVEN}, nodeName="n0"),
    "processors": view({**WISHES, **GIVEN}, cpu="2", nodeName="n0"),
    "devices": view({**WISHES, **GIVEN, keys.GPU_IDS: "g1"}, nodeName="n0"),
    "node": view({**WISHES, **GIVEN}, nodeName="n1"),
    "labels": view({**WISHES, **GIVEN}, meta={"labels": {}}, nodeName="n0"),
}


@pytest.mark.parametrize("bound", CHANGED.values(), ids=CHANGED)
def test_a_pod_that_comes_back_otherwise_counts_for_what_it_says(desk: Desk, bound: Pod) -> None:
    desk.book.observe(bound, PENDING)
    found = Desk()
    found.book.observe(bound)  # as after a restart
    assert (desk.held.pod, desk.held.placement) == (found.held.pod, found.held.placement)
    assert [vars_of(desk, name) for name in ("g0", "g1")] == [vars_of(found, name) for name in ("g0", "g1")]


def vars_of(desk: Desk, name: str) -> tuple[int, int] | None:
    device = desk.state.fleet.devices.get(name)
    return None if device is None else (device.compute_held, device.vram_held)


def test_what_changed_between_decision_and_binding_counts_as_it_is_then(desk: Desk) -> None:
    edited = view({**WISHES, keys.VRAM_REQUEST: "2Gi"})
    desk.book.observe(edited, PENDING)
    desk.book.observe(view({**edited.metadata.annotations, **GIVEN}, nodeName="n0"), edited)
    assert vars_of(desk, "g0") == (10_000, 2 * GIB)


def test_a_pod_that_became_unreadable_before_its_binding_counts_for_nothing(desk: Desk) -> None:
    broken = view({**WISHES, keys.VRAM_REQUEST: "much"})
    desk.book.observe(broken, PENDING)
    desk.book.observe(view({**broken.metadata.annotations, **GIVEN}, nodeName="n0"), broken)
    assert vars_of(desk, "g0") == (0, 0)


def test_a_pod_that_changed_while_it_was_being_deleted_counts_for_what_it_says(desk: Desk) -> None:
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    edited = view({**WISHES, keys.VRAM_REQUEST: "2Gi"}, meta=leaving)
    desk.book.observe(edited, PENDING)
    desk.book.observe(view({**edited.metadata.annotations, **GIVEN}, meta=leaving, nodeName="n0"), edited)
    assert vars_of(desk, "g0") == (10_000, 2 * GIB)


def test_a_waiting_pod_that_gets_other_labels_is_looked_at_again() -> None:
    """Where rules between pods are in use; nobody else looks at labels."""
    desk = Desk()
    desk.book.observe(PENDING)
    entry = desk.book.queue.pop(0.0)
    assert entry is not None
    desk.book.queue.failed(entry, NotFit("a place", {}), now=-60.0)
    desk.book.observe(PENDING)
    desk.book.observe(view(WISHES, meta={"labels": {keys.COMPONENT: "worker", "app": "one"}}))
    assert entry.place is Place.WAITING
    desk.state.fleet.neighbours.active = True
    desk.book.observe(view(WISHES, meta={"labels": {keys.COMPONENT: "worker", "app": "other"}}))
    assert entry.place is Place.ACTIVE
