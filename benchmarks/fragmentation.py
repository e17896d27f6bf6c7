"""What each part of fragmentation-aware placement is worth: every part left out in turn, under both protocols.

A small change of the policy mostly trades one protocol for the other, so both are always shown together. Peers in the
same run, on the same arrivals: BestFit, and FGD (Weng et al., USENIX ATC '23).

Goals: of the GPUs, 96.2 % handed out under inflation; of the demand, at most 0.6 % lost under churn, and of the pods
that want eight GPUs at most 10 %. Closest to both is whose shortfalls - percent of the GPUs not handed out, percent of
the demand lost too much - add up to least. ``--plots`` draws the frontier between the two.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from _report import Row, report
from tensorfusion.scheduling.arrivals import ArrivalMix, Size, Weighted
from tensorfusion.scheduling.fragmentation import LookAhead
from tensorfusion.scheduling.whole_nodes import ranks
from tensorfusion.testing.charts import Axis, Goal, scatter
from tensorfusion.testing.packing.baselines import BestFit, GradientDescent
from tensorfusion.testing.packing.comparison import Protocol, compare, plan
from tensorfusion.testing.packing.fragmentation_aware import FragmentationAware
from tensorfusion.testing.packing.names import register
from tensorfusion.testing.packing.outcome import WHOLE_NODE, Outcome, mean
from tensorfusion.testing.packing.policies import Factory, Setting
from tensorfusion.testing.packing.progress import unwatched
from tensorfusion.testing.packing.world import Bools, Ints, Request
from tensorfusion.testing.traces import read_nodes, read_pods

ALLOCATION, LOST, LOST_WHOLE = 96.2, 0.6, 10.0
PEER = "FGD"


class Known(FragmentationAware):
    """Knows the mix of the trace from the start, instead of learning it from the arrivals."""

    def __init__(self, setting: Setting, parameters: LookAhead | None = None) -> None:
        chosen = parameters or LookAhead()
        learned = ArrivalMix(classes=chosen.classes, most_percent=chosen.most_percent)
        for one in setting.history:
            learned.add(Size(one.cpu, one.memory, one.gpus, one.milli))
        self._known = learned.weights()
        super().__init__(setting, parameters)

    def _look_ahead(self, tenants: Weighted) -> None:
        super()._look_ahead(self._known)


class Open(FragmentationAware):
    """Holds no whole machines."""

    def allowed(self, request: Request, fits: Bools) -> Bools:
        return fits & self._world.accepting(request.models) if request.models else fits


class ListOrder(FragmentationAware):
    """Whole machines are opened in the order of the list alone, whichever jobs they hold."""

    def _look_ahead(self, tenants: Weighted) -> None:
        super()._look_ahead(tenants)
        self._ranks = ranks(self._installed, np.zeros(len(self._ranks), np.int64), most=self._set.rank)


class OrderDecides(FragmentationAware):
    """The order of whole machines also decides whether one is opened."""

    def pick(self, gains: Ints, cost: Ints, allowed: Bools) -> tuple[int, bool]:
        less = np.column_stack([np.zeros_like(cost), self._outlook.streams * cost])
        return super().pick(gains - less, np.zeros_like(cost), allowed)


class OrderEverywhere(FragmentationAware):
    """The order of whole machines counts for devices in use as well."""

    def pick(self, gains: Ints, cost: Ints, allowed: Bools) -> tuple[int, bool]:
        return super().pick(gains - self._outlook.streams * cost[:, None], np.zeros_like(cost), allowed)


def ours(kind: type[FragmentationAware] = FragmentationAware, **parameters: int) -> Factory:
    """The policy, or a kind of it, with other parameters."""
    return lambda setting: kind(setting, LookAhead(**parameters))


VARIANTS: Mapping[str, Factory] = {
    "BestFit": BestFit,
    PEER: GradientDescent,
    "fragmentation-aware": FragmentationAware,
    "mix known beforehand": ours(Known),
    "no hold": ours(Open),
    "no order": ours(rank=0),
    "no hold, no order": ours(Open, rank=0),
    "order of the list": ours(ListOrder),
    "order decides opening": ours(OrderDecides),
    "order everywhere": ours(OrderEverywhere),
    "next pod alone": ours(length=1),
    "no ties": ours(grain=1),
    "order half as strong": ours(rank=1000),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the runs, in percent."""

    allocation: float
    lost: float
    lost_whole: float

    @property
    def shortfall(self) -> float:
        """How far it is from both goals, in percent of the GPUs."""
        return max(0.0, ALLOCATION - self.allocation) + max(0.0, self.lost - LOST)


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one variant."""

    name: str
    protocol: Protocol
    seed: int
    nodes: Path
    pods: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=Path, required=True, help="openb's list of GPU nodes")
    parser.add_argument("--pods", type=Path, required=True, help="one of openb's lists of pods")
    parser.add_argument("--shuffles", type=int, default=3, help="runs under inflation")
    parser.add_argument("--churns", type=int, default=1, help="runs under churn")
    parser.add_argument("--seed", type=int, default=200, help="of the first run; 0 to 9 are those that are reported")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma list  [default: all]")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--plots", type=Path, help="folder for the two pictures of the frontier")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = [one.strip() for one in arguments.variants.split(",")]
    jobs = [
        Job(name, protocol, seed, arguments.nodes, arguments.pods)
        for name in names
        for protocol, runs in ((Protocol.INFLATION, arguments.shuffles), (Protocol.CHURN, arguments.churns))
        for seed in range(arguments.seed, arguments.seed + runs)
    ]
    with ProcessPoolExecutor(arguments.workers) as workers:
        outcomes = dict(zip(jobs, workers.map(run, jobs), strict=True))
    found = {name: figures([(job, outcome) for job, outcome in outcomes.items() if job.name == name]) for name in names}
    report(rows(found, arguments), arguments.json)
    closest = min(found, key=lambda name: found[name].shortfall)
    print(f"closest to both goals: {closest}, short of them by {found[closest].shortfall:.2f} % of the GPUs")
    if arguments.plots is not None:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        for file, picture in pictures(found).items():
            (arguments.plots / file).write_text(picture)


def run(job: Job) -> Outcome:
    """Do it, in a process of its own."""
    register(job.name, VARIANTS[job.name])
    wanted = plan(
        read_nodes(job.nodes), read_pods(job.pods), protocol=job.protocol, policies=[job.name], seeds=[job.seed]
    )
    return compare(wanted, tick=unwatched, begin=lambda _: None)[job.name][0]


def figures(runs: Sequence[tuple[Job, Outcome]]) -> Figures:
    """The means of one variant."""
    filled = [outcome for job, outcome in runs if job.protocol is Protocol.INFLATION]
    churned = [outcome for job, outcome in runs if job.protocol is Protocol.CHURN]
    return Figures(
        mean(one.allocation for one in filled),
        mean(one.lost_percent for one in churned),
        mean(one.lost_of(WHOLE_NODE) for one in churned),
    )


def rows(found: Mapping[str, Figures], arguments: argparse.Namespace) -> list[Row]:
    """Three for each variant, beside FGD where it was run."""
    parameters = {"shuffles": arguments.shuffles, "churns": arguments.churns, "seed": arguments.seed}
    peer = found.get(PEER)
    return [
        Row(f"{name}: {what}", getattr(each, field), "%", PEER, getattr(peer, field, None), parameters)
        for name, each in found.items()
        for what, field in (("handed out", "allocation"), ("lost", "lost"), ("8-GPU pods lost", "lost_whole"))
    ]


def pictures(found: Mapping[str, Figures]) -> dict[str, str]:
    """Both protocols against each other: by demand, and by pods of eight GPUs. SVG by file name."""
    x = Axis("inflation: handed out, % of all GPUs", low=min(each.allocation for each in found.values()) - 0.5)
    return {
        "frontier-demand.svg": scatter(
            "Between inflation and churn: demand",
            {name: (each.allocation, each.lost) for name, each in found.items()},
            x=x,
            y=Axis("churn: demand lost, %"),
            goal=Goal("both goals: right of and below the lines", ALLOCATION, LOST),
            joined=frontier({name: (each.allocation, each.lost) for name, each in found.items()}),
        ),
        "frontier-whole-nodes.svg": scatter(
            "Between inflation and churn: pods of eight GPUs",
            {name: (each.allocation, each.lost_whole) for name, each in found.items()},
            x=x,
            y=Axis("churn: 8-GPU pods lost, %"),
            goal=Goal("both goals: right of and below the lines", ALLOCATION, LOST_WHOLE),
            joined=frontier({name: (each.allocation, each.lost_whole) for name, each in found.items()}),
        ),
    }


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Those that no other beats or equals in both, from left to right."""

    def beaten(name: str) -> bool:
        filled, lost = points[name]
        return any(more >= filled and less <= lost for other, (more, less) in points.items() if other != name)

    return sorted((name for name in points if not beaten(name)), key=lambda name: points[name])


if __name__ == "__main__":
    main()
