"""A pod that waits counts under one reason, and every reason has words."""

import pytest

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.shards import WaitsForOwner
from tensorfusion.scheduler.waits import REASON_WORDS, reason_of
from tensorfusion.scheduling.diagnosis import Diagnosis, Unschedulable
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import GangUnschedulable
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason

POD = PodFacts("u", "team", "p", request=GpuRequest("a"))
QUOTA = QuotaExceeded("team", "total.max.tflops.request", requested="9", limit="5", resolvable=True)


def refused(*, nodes: int = 2, pool_devices: int = 3, devices=(), of_nodes=()) -> Unschedulable:
    return Unschedulable(Diagnosis(POD, nodes, 9, tuple(devices), tuple(of_nodes), pool_devices=pool_devices))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (None, "not-decided"),
        (QUOTA, "quota"),
        (NotFit("x", {}), "other"),
        (WaitsForOwner(POD), "other-owner"),
        (refused(nodes=0), "absent"),
        (refused(pool_devices=0), "pool"),
        (refused(devices=[(DeviceReason.MODEL, 7), (DeviceReason.COMPUTE, 2)]), "compute"),
        (refused(devices=[(DeviceReason.COMPUTE, 2)], of_nodes=[(NodeReason.TAINT, 1), (NodeReason.CPU, 1)]), "cpu"),
        (GangUnschedulable(Gang("team/g", 2, 2), needed=2, fits=1, why="x"), "gang"),
        (GangUnschedulable(Gang("team/g", 2, 2), needed=2, fits=1, why="x", cause=QUOTA), "quota"),
    ],
)
def test_a_refusal_counts_under_what_its_closest_candidates_met(failure, reason: str) -> None:
    assert reason_of(failure) == reason
    assert REASON_WORDS[reason]
