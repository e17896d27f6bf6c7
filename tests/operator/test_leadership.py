"""Only a leader writes; a new one starts from everything that is there."""

from tensorfusion.model import resources as r


async def test_a_follower_writes_nothing_and_catches_up_when_it_wins(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.leading = False
    await cluster.passes(1)
    cluster.writes()
    cluster.machine("m2")
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    cluster.pool("mine")
    await cluster.passes(10)
    assert cluster.writes() == []
    cluster.leading = True
    await cluster.passes(5)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "90"
    assert cluster.pool_of("m2") == "mine"
    assert cluster.find(r.TENSOR_FUSION_WORKLOADS, "w", namespace="team") is not None


async def test_a_leadership_that_was_lost_and_won_between_two_looks_loses_no_change(cluster) -> None:
    await cluster.ready_machine("m1")
    await cluster.passes(1)
    cluster.leading = False
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    cluster.machine("m2")
    await cluster.clock.advance(0.01)
    cluster.leading = True
    await cluster.passes(5)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "90"
    assert cluster.pool_of("m2") == "default"
