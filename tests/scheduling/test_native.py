"""Shares beside a device plugin: where pods of either kind may go, and that no device is ever under both systems.

The world of the last test is a scheduler with its State, and a node agent with its books and its device plugin, which
hear of each other late and in any order, as a cluster does.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from example_counts import part_of
from tensorfusion.errors import NotFit
from tensorfusion.hypervisor.books import DeviceBooks
from tensorfusion.hypervisor.native import NativeDevices
from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.model import keys
from tensorfusion.model.common import UsedBy
from tensorfusion.model.core import Container, ContainerResources, Pod, PodSpec, PodStatus
from tensorfusion.model.meta import Meta
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts
from tensorfusion.scheduling.hints import Change, ChangeKind, helps
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.simulate import simulate
from tensorfusion.scheduling.state import State

GPU = "nvidia.com/gpu"
GIB = 1 << 30


def device(name: str, node: str, index: int, *, native: bool = False) -> DeviceFacts:
    used_by = UsedBy.NVIDIA_DEVICE_PLUGIN if native else UsedBy.TENSOR_FUSION
    return DeviceFacts(name, node, "main", vendor="NVIDIA", index=index, compute=100, vram=16 * GIB, used_by=used_by)


def fleet(nodes: int = 2, devices: int = 2) -> State:
    state = State()
    for n in range(nodes):
        state.upsert_node(NodeFacts(f"n{n}", cpu=8000, memory=GIB, extended={GPU: devices}))
        for index in range(devices):
            state.upsert_device(device(f"n{n}-{index}", f"n{n}", index))
    return state


def native_pod(uid: str, count: int = 1) -> PodFacts:
    return PodFacts(uid, "team", uid, extended={GPU: count}, native=count)


def share_pod(uid: str, compute: int = 40) -> PodFacts:
    return PodFacts(uid, "team", uid, request=GpuRequest(pool="main", compute=compute, vram=GIB))


def place(state: State, pod: PodFacts) -> Placement:
    placement = decide(state, pod).placement
    state.assume(pod, placement)
    return placement


def refusal(state: State, pod: PodFacts) -> dict[str, int]:
    with pytest.raises(NotFit) as caught:
        decide(state, pod)
    return dict(caught.value.reasons)


def test_native_pods_go_only_where_no_share_is_held() -> None:
    state = fleet()
    held = place(state, share_pod("s")).node
    other = place(state, native_pod("a")).node
    assert other != held
    place(state, native_pod("b"))
    assert refusal(state, native_pod("c")) == {NodeReason.SHARED: 1, NodeReason.EXTENDED: 1}
    state.release("s")
    assert place(state, native_pod("c")).node == held


def test_a_native_pod_asks_for_no_more_than_the_plugin_has_left() -> None:
    state = fleet(nodes=1, devices=2)
    place(state, native_pod("a"))
    assert refusal(state, native_pod("b", 2)) == {NodeReason.EXTENDED: 1}


def test_shares_wait_until_the_plugins_choice_is_known_and_then_keep_off_it() -> None:
    state = fleet(nodes=1, devices=2)
    place(state, native_pod("a"))
    assert refusal(state, share_pod("s")) == {NodeReason.NATIVE: 1}
    state.upsert_device(device("n0-0", "n0", 0, native=True))
    assert place(state, share_pod("s")).devices == ("n0-1",)
    state.release("a")
    state.upsert_device(device("n0-0", "n0", 0))
    assert place(state, share_pod("t", compute=100)).devices == ("n0-0",)


def test_a_waiting_share_is_woken_by_the_plugins_choice_and_by_the_native_pods_end() -> None:
    state = fleet(nodes=1, devices=2)
    place(state, native_pod("a"))
    with pytest.raises(NotFit) as caught:
        decide(state, share_pod("s"))
    chosen = state.upsert_device(device("n0-0", "n0", 0, native=True))
    assert any(helps(caught.value, change) for change in chosen)
    assert any(helps(caught.value, change) for change in state.release("a"))
    assert not helps(caught.value, Change(ChangeKind.QUOTA, "team"))


def test_a_device_that_comes_and_goes_under_the_plugin_is_counted_once() -> None:
    state = fleet(nodes=1, devices=2)
    place(state, native_pod("a"))
    state.upsert_device(device("n0-0", "n0", 0, native=True))
    state.remove_device("n0-0")
    assert refusal(state, share_pod("s")) == {NodeReason.NATIVE: 1}
    state.upsert_device(device("n0-0", "n0", 0, native=True))
    assert place(state, share_pod("s")).devices == ("n0-1",)


def test_a_simulation_says_the_same() -> None:
    state = fleet(nodes=1)
    place(state, native_pod("a"))
    assert simulate(state, share_pod("s")).node_refusals == {"n0": NodeReason.NATIVE}
    state.release("a")
    place(state, share_pod("s"))
    assert simulate(state, native_pod("b")).node_refusals == {"n0": NodeReason.SHARED}


class Cluster(RuleBasedStateMachine):
    """One scheduler, one agent; what one does reaches the other when a rule says so."""

    @initialize(devices=st.integers(1, 4))
    def make(self, devices: int) -> None:
        self.devices = [Device(f"GPU-{n}", "n0", n, "NVIDIA", "L4", 100, 16 * GIB) for n in range(devices)]
        self.state = State()
        self.state.upsert_node(NodeFacts("n0", cpu=8000, memory=GIB, extended={GPU: devices}))
        for one in self.devices:
            self.state.upsert_device(device(one.object_name, "n0", one.index))
        self.books, self.plugin = DeviceBooks(), NativeDevices()
        self.number = 0
        self.bound: dict[str, Pod] = {}
        """Placed, and not yet arrived at the agent."""
        self.running: dict[str, Pod] = {}
        self.ended: list[str] = []
        """Ended at the agent, and not yet known to the scheduler."""

    def present(self) -> dict[str, Device]:
        return {one.object_name: self.plugin.marked(one) for one in self.devices}

    def submit(self, facts: PodFacts) -> None:
        try:
            placement = place(self.state, facts)
        except NotFit:
            return
        annotations = {keys.GPU_POOL: "main", keys.TFLOPS_REQUEST: "0.04", keys.VRAM_REQUEST: "1Gi"}
        share = facts.request is not None
        limits: dict[str, str | int | float] = {} if share else {GPU: str(facts.native)}
        self.bound[facts.uid] = Pod(
            metadata=Meta(
                name=facts.name,
                namespace="team",
                uid=facts.uid,
                labels={keys.COMPONENT: "worker"} if share else {},
                annotations={**annotations, keys.GPU_IDS: ",".join(placement.devices)} if share else {},
            ),
            spec=PodSpec(node_name="n0", containers=(Container(resources=ContainerResources(limits=limits)),)),
        )

    @rule(count=st.integers(1, 2))
    def native(self, count: int) -> None:
        self.number += 1
        self.submit(native_pod(f"p{self.number}", count))

    @rule()
    def share(self) -> None:
        self.number += 1
        self.submit(share_pod(f"p{self.number}"))

    @precondition(lambda self: self.bound)
    @rule(which=st.integers(0, 99))
    def arrive(self, which: int) -> None:
        """The agent takes the pod, or refuses it, and then the pod is over."""
        uid = sorted(self.bound)[which % len(self.bound)]
        pod = self.bound.pop(uid)
        if self.plugin.wanted(pod):
            refused = self.plugin.assign(pod, self.present(), shared=self.books.holders)
        else:
            refused = self.books.charge(pod, self.present())
        if refused is None:
            self.running[uid] = replace_status(pod)
        else:
            self.ended.append(uid)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def end(self, which: int) -> None:
        uid = sorted(self.running)[which % len(self.running)]
        del self.running[uid]
        self.plugin.release(uid)
        self.books.release(uid)
        self.ended.append(uid)

    @precondition(lambda self: self.ended)
    @rule()
    def hear(self) -> None:
        self.state.release(self.ended.pop(0))

    @rule(which=st.integers(0, 3))
    def publish(self, which: int) -> None:
        one = self.devices[which % len(self.devices)]
        native = bool(self.plugin.marked(one).native_pod)
        self.state.upsert_device(device(one.object_name, "n0", one.index, native=native))

    @rule()
    def restart(self) -> None:
        """The agent starts anew, and learns what runs from the pods and from its own marks."""
        marks = dict(self.plugin.held())
        self.books, self.plugin = DeviceBooks(), NativeDevices()
        for pod in self.running.values():
            if not self.plugin.wanted(pod):
                self.books.recover(pod, self.present())
        for uid, pod in self.running.items():
            if self.plugin.wanted(pod):
                told = [name for name, holder in marks.items() if holder == uid]
                assert self.plugin.recover(pod, told, self.present(), shared=self.books.holders) is None

    @invariant()
    def no_device_is_under_both_systems(self) -> None:
        if not hasattr(self, "books"):
            return
        for name, uid in self.plugin.held().items():
            assert uid in self.running
            assert self.books.holders(name) == 0
        wanted = sum(sum(self.plugin.wanted(pod).values()) for pod in self.running.values())
        assert len(self.plugin.held()) == wanted


def replace_status(pod: Pod) -> Pod:
    return Pod(metadata=pod.metadata, spec=pod.spec, status=PodStatus(phase="Running"))


Cluster.TestCase.settings = settings(max_examples=part_of(80), stateful_step_count=40, deadline=None)
TestNoDeviceUnderBoth = Cluster.TestCase
