"""Charts: well-formed, to scale, and with every name and number in words."""

import re
import xml.etree.ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st

from tensorfusion.testing.charts import Axis, Goal, bars, lines, scatter

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-1e6, 1e6)


def test_a_line_goes_through_its_points_and_is_named() -> None:
    page = ET.fromstring(lines("A & B", {"<x>": [(0, 0), (50, 100)]}, x=Axis("load"), y=Axis("held", high=100)))
    (line,) = page.iter(f"{SVG}polyline")
    assert line.get("points") == "72.0,416.0 836.0,84.0"
    words = [text.text for text in page.iter(f"{SVG}text")]
    assert {"A & B", "<x>", "load", "held", "0", "100"} <= set(words)
    assert line.findtext(f"{SVG}title") == "<x>: 100 at 50"


def test_bars_stand_on_each_other_or_beside_each_other() -> None:
    groups = {"fgd": {"cpu": 1.0, "both": 3.0}, "random": {"both": 4.0}}
    for stacked in (True, False):
        page = ET.fromstring(bars("t", groups, y=Axis("%", high=4), stacked=stacked))
        found = {rect.findtext(f"{SVG}title"): rect for rect in page.iter(f"{SVG}rect")}
        cpu, both = found["fgd, cpu: 1"], found["fgd, both: 3"]
        assert float(cpu.get("height", "")) == 83.0
        assert float(both.get("height", "")) == 249.0
        assert (cpu.get("x") == both.get("x")) == stacked
        foot = float(both.get("y", "")) + float(both.get("height", ""))
        assert foot == (float(cpu.get("y", "")) if stacked else 416.0)
        assert "random, cpu: 0" in found


@given(st.dictionaries(st.text("ab<&\"'", max_size=9), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4), max_size=12))
@example({"": [(0.0, 5e-324)]})
def test_whatever_is_drawn_is_well_formed_and_inside(series: dict[str, list[tuple[float, float]]]) -> None:
    text = lines("t", series, x=Axis("x"), y=Axis("y"))
    page = ET.fromstring(text)
    for line in page.iter(f"{SVG}polyline"):
        for x, y in re.findall(r"([-\d.]+),([-\d.]+)", line.get("points", "")):
            assert 72 <= float(x) <= 836
            assert 84 <= float(y) <= 416
    assert "nan" not in text
    assert len(list(page.iter(f"{SVG}polyline"))) == len(series)


def test_points_are_named_joined_and_set_beside_a_goal() -> None:
    named = {"a<": (50.0, 25.0), "b": (100.0, 100.0)}
    axes = {"x": Axis("x", high=100), "y": Axis("y", high=100)}
    page = ET.fromstring(scatter("t", named, **axes, goal=Goal("both", 75, 50), joined=["b", "a<"]))
    first, second = page.iter(f"{SVG}circle")
    assert (first.get("cx"), first.get("cy"), first.findtext(f"{SVG}title")) == ("454.0", "333.0", "a<: 50, 25")
    assert (second.get("cx"), second.get("cy")) == ("836.0", "84.0")
    assert [line.get("points") for line in page.iter(f"{SVG}polyline")] == ["836.0,84.0 454.0,333.0"]
    goal = next(path for path in page.iter(f"{SVG}path") if path.get("stroke-dasharray"))
    assert goal.get("d") == "M645.0 84V416M72 250.0H836"
    assert {"a<", "b", "both"} <= {text.text for text in page.iter(f"{SVG}text")}


def test_names_of_points_cover_neither_points_nor_each_other() -> None:
    near = {f"point {number}": (50 + number / 10, 50.0) for number in range(9)}
    page = ET.fromstring(scatter("t", near, x=Axis("x", high=100), y=Axis("y", high=100)))
    names = [text for text in page.iter(f"{SVG}text") if (text.text or "").startswith("point")]
    assert len({text.get("y") for text in names}) >= 3
    assert len({(text.get("x"), text.get("y")) for text in names}) == 9
    leads = [path for path in page.iter(f"{SVG}path") if "L" in (path.get("d") or "")]
    assert leads, "a name that had to go far has a line to its point"


def test_nothing_to_draw_is_an_empty_frame() -> None:
    assert "</svg>" in bars("t", {}, y=Axis("y"), stacked=True)
    assert "</svg>" in lines("t", {}, x=Axis("x"), y=Axis("y"))
    assert "</svg>" in scatter("t", {}, x=Axis("x"), y=Axis("y"))
