"""Charts as SVG text: lines over a number, bars by name, named points. What reports of ours need, without a library.

Apart from the reports because a chart knows nothing of what it shows. Colours are told apart by people with any colour
vision (Okabe and Ito); every chart says its numbers in words too, as the titles of its marks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.sax.saxutils import escape

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b5b5b", "#b3a100")
_WIDTH, _HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 84, 64
_LETTER = 7.2
"""About how wide a letter of the legend is."""
_INK, _SOFT, _GRID, _GOAL = "#1f2328", "#59636e", "#e4e7eb", "#9a6700"
_FOOT = _HEIGHT - _BOTTOM
_FAR = 14
"""Beyond it nobody sees which point a name belongs to."""
_LEAST_SPAN = 1e-12
"""What spans less is drawn as if it did not span anything: ten to the power of its size may be no number."""
_Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, and where it begins and ends; None follows what is drawn (and begins at 0)."""

    label: str
    low: float = 0.0
    high: float | None = None


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, x: Axis, y: Axis) -> str:
    """One line for each series over its points."""
    points = [point for line in series.values() for point in line]
    across = _scale(x, (at for at, _ in points), _LEFT, _WIDTH - _RIGHT)
    up = _scale(y, (at for _, at in points), _HEIGHT - _BOTTOM, _TOP)
    marks = [*_frame(y.label, up), *_ticks_below(across, x.label)]
    for (name, line), colour in zip(series.items(), _colours(), strict=False):
        path = " ".join(f"{across.at(one):.1f},{up.at(other):.1f}" for one, other in line)
        last = f"{name}: {line[-1][1]:.4g} at {line[-1][0]:.4g}" if line else name
        marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round">'
            f"<title>{escape(last)}</title></polyline>"
        )
    return _page(title, [*marks, *_legend(series)])


def bars(title: str, groups: Mapping[str, Mapping[str, float]], *, y: Axis, stacked: bool) -> str:
    """For each group its parts, beside each other or on top of each other. Parts missing in a group are 0."""
    parts = list(dict.fromkeys(part for group in groups.values() for part in group))
    sums = [sum(group.values()) for group in groups.values()]
    tallest = sums if stacked else [value for group in groups.values() for value in group.values()]
    up = _scale(y, tallest, _HEIGHT - _BOTTOM, _TOP)
    marks = _frame(y.label, up)
    room = (_WIDTH - _LEFT - _RIGHT) / max(1, len(groups))
    wide = min(56.0, room * 0.7) if stacked else room * 0.8 / max(1, len(parts))
    for place, (name, group) in enumerate(groups.items()):
        middle, below = _LEFT + room * (place + 0.5), 0.0
        start = middle - (wide if stacked else wide * len(parts)) / 2
        for number, (part, colour) in enumerate(zip(parts, _colours(), strict=False)):
            value = group.get(part, 0.0)
            top, foot = up.at(below + value), up.at(below)
            left = start if stacked else start + wide * number
            says = escape(f"{name}, {part}: {value:.4g}")
            marks.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide * (1 if stacked else 0.92):.1f}" '
                f'height="{max(0.0, foot - top):.1f}" fill="{colour}"><title>{says}</title></rect>'
            )
            below += value if stacked else 0.0
        marks.append(_text(middle, _HEIGHT - _BOTTOM + 20, name, size=_fitting(name, room)))
    return _page(title, [*marks, *_legend(parts)])


@dataclass(frozen=True, slots=True)
class Goal:
    """A wanted place in a chart of points."""

    label: str
    x: float
    y: float


def scatter(
    title: str,
    points: Mapping[str, tuple[float, float]],
    *,
    x: Axis,
    y: Axis,
    goal: Goal | None = None,
    joined: Sequence[str] = (),
) -> str:
    """One named point each; those that are ``joined`` have a line through them, in this order."""
    across = _scale(x, (at for at, _ in points.values()), _LEFT, _WIDTH - _RIGHT)
    up = _scale(y, (at for _, at in points.values()), _HEIGHT - _BOTTOM, _TOP)
    marks = [*_frame(y.label, up), *_ticks_below(across, x.label)]
    if goal is not None:
        left, level = across.at(goal.x), up.at(goal.y)
        path = f"M{left:.1f} {_TOP}V{_HEIGHT - _BOTTOM}M{_LEFT} {level:.1f}H{_WIDTH - _RIGHT}"
        says = escape(f"{goal.label}: {goal.x:.4g}, {goal.y:.4g}")
        marks.append(f'<path d="{path}" stroke="{_GOAL}" stroke-dasharray="5 4"><title>{says}</title></path>')
        marks.append(_text(_LEFT + 6, level - 6, goal.label, anchor="start", colour=_GOAL))
    places = {name: (across.at(one), up.at(other)) for name, (one, other) in points.items()}
    if joined:
        line = " ".join("{:.1f},{:.1f}".format(*places[name]) for name in joined)
        marks.append(f'<polyline points="{line}" fill="none" stroke="{_SOFT}" stroke-width="1.5"/>')
    for name, colour in zip(points, _colours(), strict=False):
        says = escape("{}: {:.4g}, {:.4g}".format(name, *points[name]))
        left, level = places[name]
        marks.append(f'<circle cx="{left:.1f}" cy="{level:.1f}" r="5" fill="{colour}"><title>{says}</title></circle>')
    return _page(title, [*marks, *_names(places)])


def _names(places: Mapping[str, tuple[float, float]]) -> list[str]:
    """A name near each point, where it covers no point and no other name; a line leads to one that had to go far."""
    taken = [(left - 6, level - 6, left + 6, level + 6) for left, level in places.values()]
    marks = []
    for name, (left, level) in places.items():
        wide = _LETTER * len(name) * 0.95
        boxes = [
            (start, level + down - 8, start + wide, level + down + 5)
            for down in sorted(range(-156, 157, 13), key=abs)
            for start in (left + 9, left - 9 - wide)
        ]
        inside = [box for box in boxes if box[0] >= _LEFT and box[2] <= _WIDTH and box[1] >= _TOP and box[3] <= _FOOT]
        free = (box for box in inside if not any(_overlap(box, other) for other in taken))
        box = next(free, boxes[0])
        taken.append(box)
        if abs(box[1] + 8 - level) > _FAR:
            near = box[0] if box[0] > left else box[2]
            marks.append(f'<path d="M{left:.1f} {level:.1f}L{near:.1f} {box[1] + 8:.1f}" stroke="{_SOFT}"/>')
        marks.append(_text(box[0], box[3] - 2, name, anchor="start", size=11.5))
    return marks


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    step: float

    def at(self, value: float) -> float:
        """Where a value is drawn; what lies outside is drawn at the edge."""
        inside = min(max(value, self.low), self.high)
        return self.start + (self.end - self.start) * (inside - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        return [number * self.step for number in range(first, math.floor(self.high / self.step + 1e-9) + 1)]


def _scale(axis: Axis, values: Iterable[float], start: float, end: float) -> _Scale:
    """A scale with about six round steps, up to the highest value or a little beyond."""
    high = axis.high if axis.high is not None else max(values, default=0.0)
    span = high - axis.low if high - axis.low > _LEAST_SPAN else 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 5))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if span / (magnitude * factor) <= 6)
    if axis.high is None:
        high = axis.low + math.ceil(span / step - 1e-9) * step
    return _Scale(axis.low, max(high, axis.low + span), start, end, step)


def _frame(label: str, up: _Scale) -> list[str]:
    """The lines of the y axis, their numbers and its label."""
    marks = []
    for tick in up.ticks:
        at = up.at(tick)
        marks.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        marks.append(_text(_LEFT - 8, at + 4, f"{tick:.6g}", anchor="end", colour=_SOFT))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    marks.append(f'<g transform="rotate(-90 20 {middle:.0f})">{_text(20, middle, label, colour=_SOFT)}</g>')
    return marks


def _ticks_below(across: _Scale, label: str) -> list[str]:
    foot = _HEIGHT - _BOTTOM
    marks = [_text(across.at(tick), foot + 20, f"{tick:.6g}", colour=_SOFT) for tick in across.ticks]
    return [*marks, _text((_LEFT + _WIDTH - _RIGHT) / 2, foot + 46, label, colour=_SOFT)]


def _legend(names: Iterable[str]) -> list[str]:
    """Names beside their colours, in as many rows as they need, under the title."""
    marks, left, row = [], float(_LEFT), 0
    for name, colour in zip(names, _colours(), strict=False):
        wide = 30 + _LETTER * len(name)
        if left + wide > _WIDTH - _RIGHT and left > _LEFT:
            left, row = float(_LEFT), row + 1
        at = 50 + 18 * row
        marks.append(f'<rect x="{left:.1f}" y="{at - 10}" width="12" height="12" rx="2" fill="{colour}"/>')
        marks.append(_text(left + 17, at, name, anchor="start"))
        left += wide
    return marks


def _colours() -> Iterable[str]:
    while True:
        yield from _COLOURS


def _fitting(text: str, room: float) -> float:
    """A size of letters with which the text is no wider than the room."""
    return max(7.0, min(12.0, 12.0 * room / (_LETTER * max(1, len(text)))))


def _text(
    x: float, y: float, words: str, *, anchor: str = "middle", colour: str = _INK, size: float = 12, weight: int = 400
) -> str:
    style = f'font-size="{size:.3g}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def _page(title: str, marks: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" font-family="system-ui, Helvetica, Arial, sans-serif">'
    )
    body = [f"<title>{escape(title)}</title>", f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>']
    return "\n".join([head, *body, _text(_LEFT, 28, title, anchor="start", size=17, weight=600), *marks, "</svg>\n"])
