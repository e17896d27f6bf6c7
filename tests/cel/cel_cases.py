"""The cases of ``cases.yaml`` as requests to the oracle (``tools/kube/cel``), which are also what ours is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ANSWERS_FILE = HERE / "answers.json"
_SETTINGS = ("environment", "mode", "wanted", "optionalOldSelf", "costs")
Request = dict[str, Any]


def all_requests(*, offered: bool = True) -> dict[str, Request]:
    """The requests by their key: the area and the expression. ``offered``: those that we answer like Kubernetes."""
    suite = yaml.load((HERE / "cases.yaml").read_text(), yaml.CSafeLoader)
    worlds = suite["worlds"]
    found: dict[str, Request] = {}
    for area in suite["areas"]:
        if area.get("offered", True) is not offered:
            continue
        for expression in _expressions(area):
            key = f"{area['area']}: {expression}"
            assert key not in found, f"twice in cases.yaml: {key}"
            settings: Request = {name: area[name] for name in _SETTINGS if name in area}
            found[key] = {"expression": expression, **settings, **_world(area, worlds)}
    return found


def _expressions(area: dict[str, Any]) -> Iterator[str]:
    yield from (line for line in area["each"].split("\n") if line)
    yield from (case["expression"] for case in area.get("more", ()))


def _world(area: dict[str, Any], worlds: dict[str, Any]) -> dict[str, Any]:
    """The variables of an area, with what follows from its worlds."""
    if "self" not in area:
        return {}
    world = worlds[area["self"]]
    if "variables" in world:
        return {"variables": {name: {"value": value} for name, value in world["variables"].items()}}
    variables = {"self": _variable(world, worlds)}
    if area.get("old") == "none":
        variables["oldSelf"] = {"schema": world["schema"], "absent": True}
    elif "old" in area:
        variables["oldSelf"] = _variable(worlds[area["old"]], worlds)
    return {"variables": variables, **({"root": True} if world.get("root") else {})}


def _variable(world: dict[str, Any], worlds: dict[str, Any]) -> dict[str, Any]:
    schema = world.get("schema")
    if isinstance(schema, str):
        schema = worlds[schema]["schema"]
    return {"value": world["value"], **({"schema": schema} if schema else {})}
