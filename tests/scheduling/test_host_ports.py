"""Pods that want the same port of a node keep apart; addresses and protocols are as kube-scheduler compares them."""

import pytest

from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.pod_rules import HostPort, PodRules
from tensorfusion.scheduling.simulate import simulate
from worlds import fleet, plain, pod, run


def ports(*wanted: HostPort) -> PodRules:
    return PodRules(ports=wanted)


def test_two_pods_with_one_host_port_go_to_two_nodes_and_the_third_waits() -> None:
    state = fleet(nodes=2)
    places = {run(state, pod(name, rules=ports(HostPort(8080)))).placement.node for name in "ab"}
    assert places == {"n0", "n1"}
    with pytest.raises(Unschedulable) as failure:
        decide(state, pod("c", rules=ports(HostPort(8080))))
    assert failure.value.reasons == {"host-ports": 2}
    assert "2 nodes: with a pod that has the host port already. Host port 8080/TCP: wait" in str(failure.value)


def test_plain_pods_and_pods_with_shares_conflict_alike() -> None:
    state = fleet(nodes=1)
    run(state, plain("a", rules=ports(HostPort(53, "UDP"))))
    with pytest.raises(Unschedulable):
        decide(state, pod("b", rules=ports(HostPort(53, "UDP"))))
    assert simulate(state, pod("b", rules=ports(HostPort(53, "UDP")))).node_refusals == {"n0": "host-ports"}
    run(state, plain("c", rules=ports(HostPort(53, "TCP"))))


@pytest.mark.parametrize(
    ("held", "wanted", "fits"),
    [
        ("0.0.0.0", "10.0.0.1", False),
        ("10.0.0.1", "0.0.0.0", False),
        ("10.0.0.1", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.2", True),
    ],
)
def test_every_address_conflicts_with_each_address(held: str, wanted: str, fits: bool) -> None:
    state = fleet(nodes=1)
    run(state, plain("a", rules=ports(HostPort(80, "TCP", held))))
    wish = plain("b", rules=ports(HostPort(80, "TCP", wanted)))
    if fits:
        assert run(state, wish).placement.node == "n0"
        return
    with pytest.raises(Unschedulable):
        decide(state, wish)


def test_a_released_port_is_free_and_a_rolled_back_release_holds_it_again() -> None:
    state = fleet(nodes=1)
    wish = plain("a", rules=ports(HostPort(80)))
    place = run(state, wish).placement
    other = plain("b", rules=ports(HostPort(80)))
    mark = state.checkpoint()
    state.release(wish.uid)
    assert decide(state, other).placement == place
    state.rollback(mark)
    with pytest.raises(Unschedulable):
        decide(state, other)
    with pytest.raises(NotHoldable, match="80/TCP"):
        state.assume(other, place)
    state.release(wish.uid)
    assert decide(state, other).placement == place
