"""How the devices of one machine are linked, by their model: what a simulated machine reports unless it is told.

Boards of one machine (SXM) are linked all to all by switches, cards with a bridge (NVL) in pairs, other cards not at
all.

Source: NVIDIA's data sheets: links of a device, and bandwidth of a link in both directions together.
"""

from dataclasses import dataclass
from enum import StrEnum

from tensorfusion.model.catalogue import lookup

_BOARDS = ("SXM", "HBM3")
_SWITCHED = frozenset({"H200", "H20", "B200"})
"""Models whose names do not say that they are boards."""


class LinkLayout(StrEnum):
    """Which devices of a machine have direct links to each other."""

    ALL = "all"
    PAIRS = "pairs"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """The direct links of one device: how many, of which version, and MB a second of all of them."""

    count: int
    version: int
    megabytes: int


_FIGURES = {
    "V100": LinkFigures(6, 2, 300_000),
    "A100": LinkFigures(12, 3, 600_000),
    "A800": LinkFigures(8, 3, 400_000),
    "H100": LinkFigures(18, 4, 900_000),
    "H800": LinkFigures(8, 4, 400_000),
    "H200": LinkFigures(18, 4, 900_000),
    "H20": LinkFigures(18, 4, 900_000),
    "B200": LinkFigures(18, 5, 1_800_000),
}
_BRIDGE = LinkFigures(4, 3, 112_500)


def usual_layout(model: str) -> LinkLayout:
    """How machines with this model (short or driver's name) mostly are."""
    facts = lookup(model)
    if facts is None or facts.vendor != "NVIDIA":
        return LinkLayout.NONE
    if facts.model.endswith("_NVL"):
        return LinkLayout.PAIRS
    if facts.model in _SWITCHED or any(word in facts.model + facts.full_name for word in _BOARDS):
        return LinkLayout.ALL
    return LinkLayout.NONE


def link_figures(model: str) -> LinkFigures:
    """The links of a device of this model; those of a bridge between two cards where nothing is known."""
    facts = lookup(model)
    return _FIGURES.get(facts.family if facts is not None else "", _BRIDGE)
