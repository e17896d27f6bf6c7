"""The three pictures of a comparison: how it fills, what is stranded and why, and who is turned away."""

from collections.abc import Mapping, Sequence

from tensorfusion.testing.charts import Axis, bars, lines
from tensorfusion.testing.packing.comparison import Protocol
from tensorfusion.testing.packing.outcome import Outcome, mean
from tensorfusion.testing.packing.stranded import Cause

_SIZES = ("no GPU", "part of a GPU", "1 GPU")
"""The first size classes in the picture; those of several GPUs follow by their number."""

Outcomes = Mapping[str, Sequence[Outcome]]


def draw(outcomes: Outcomes, protocol: Protocol) -> dict[str, str]:
    """SVG text by file name."""
    kind, inflation = protocol.value, protocol is Protocol.INFLATION
    return {
        f"{kind}-allocation.svg": lines(
            "GPUs handed out as load arrives" if inflation else "GPUs handed out over time",
            {name: _mean_curve(found) for name, found in outcomes.items()},
            x=Axis("arrived demand, % of all GPUs" if inflation else "mean lifetimes", high=_longest(outcomes)),
            y=Axis("handed out, % of all GPUs", high=100),
        ),
        f"{kind}-stranded.svg": bars(
            "Free GPUs at the end, by what keeps pods from them"
            if inflation
            else "Free GPUs, by what keeps pods from them",
            {
                name: {cause.value: mean(one.stranded[cause] for one in found) for cause in Cause}
                for name, found in outcomes.items()
            },
            y=Axis("free, % of all GPUs"),
            stacked=True,
        ),
        f"{kind}-lost.svg": bars(
            "Pods turned away, by size",
            {
                size: {name: mean(one.lost_of(size) for one in found) for name, found in outcomes.items()}
                for size in _sizes(outcomes)
            },
            y=Axis("turned away, % of the size's pods"),
            stacked=False,
        ),
    }


def _mean_curve(found: Sequence[Outcome]) -> list[tuple[float, float]]:
    """The mean of the runs' curves where all of them have a point."""
    curves = [dict(one.curve) for one in found]
    shared = sorted(set(curves[0]).intersection(*curves[1:]))
    return [(at, mean(curve[at] for curve in curves)) for at in shared]


def _longest(outcomes: Outcomes) -> float:
    """Where the last curve ends."""
    return max(one.curve[-1][0] for found in outcomes.values() for one in found)


def _sizes(outcomes: Outcomes) -> list[str]:
    arrived = {size for found in outcomes.values() for one in found for size in one.arrived}
    several = sorted(arrived.difference(_SIZES), key=lambda size: int(size.split()[0]))
    return [*(size for size in _SIZES if size in arrived), *several]
