"""Small recorded periods, said in a few words. Times are seconds after the period begins."""

from typing import Any

from tensorfusion.model.keys import HOSTNAME_LABEL
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduler.recording.history import History, PodHistory, Settings
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.fleet_facts import FleetFacts
from tensorfusion.testing.what_if.jobs import jobs_of
from tensorfusion.testing.what_if.outcome import Outcome
from tensorfusion.testing.what_if.replay import Replay
from tensorfusion.testing.what_if.scenario import Scenario

GIB = 1 << 30
START = 1_767_225_600_000
L4, A100 = "NVIDIA L4", "NVIDIA A100-SXM4-80GB"
COMPUTE = {L4: 121_000, A100: 312_000}
VRAM = {L4: 24 * GIB, A100: 80 * GIB}


def node(name: str, **labels: str) -> NodeFacts:
    return NodeFacts(name, labels={HOSTNAME_LABEL: name, **labels}, cpu=64_000, memory=512 * GIB)


def devices(where: str, model: str = L4, count: int = 1, pool: str = "pool") -> list[DeviceFacts]:
    return [
        DeviceFacts(
            f"{where}-{index}",
            where,
            pool,
            vendor="NVIDIA",
            model=model,
            index=index,
            compute=COMPUTE[model],
            vram=VRAM[model],
        )
        for index in range(count)
    ]


def asks(model: str = "", *, count: int = 1, gpus: float = 1.0, **own: Any) -> PodFacts:
    """A pod that asks for so much of each of ``count`` devices of a model."""
    of = model or L4
    request = GpuRequest("pool", count=count, model=model, compute=int(COMPUTE[of] * gpus), vram=int(VRAM[of] * gpus))
    return PodFacts("", "", "", request=request, cpu=1000, memory=GIB, **own)


def pod(
    number: int,
    shape: PodFacts,
    arrived: float,
    *,
    bound: float | None = None,
    ended: float | None = None,
    where: tuple[str, ...] = (),
    how: Ending | None = Ending.FINISHED,
    **own: Any,
) -> PodHistory:
    """``where``: the node, then devices."""
    return PodHistory(
        number,
        START + int(arrived * 1000),
        shape,
        own.pop("namespace", "team"),
        bound=None if bound is None else START + int(bound * 1000),
        placement=Placement(where[0], where[1:]) if where else None,
        ended=None if ended is None else START + int(ended * 1000),
        how=how if ended is not None else None,
        **own,
    )


def history(
    nodes: list[NodeFacts], gpus: list[DeviceFacts], pods: list[PodHistory], seconds: float = 1000.0, **own: Any
) -> History:
    fleet = FleetFacts(
        nodes={one.name: one for one in nodes},
        devices={one.name: one for one in gpus},
        pools={"pool": PoolFacts("pool")},
        quotas=own.pop("quotas", {}),
    )
    own = {"changes": [], "prices": {L4: 1_000_000, A100: 3_000_000}, **own}
    settings = own.pop("settings", Settings(names=True))
    return History(START, START + int(seconds * 1000), settings, fleet, pods=pods, **own)


def play(found: History, scenario: Scenario | None = None, seed: int = 0) -> Outcome:
    return Replay(found, jobs_of(found, seed=seed), scenario or Scenario()).run()
