"""Values that come from the pod itself: field references, resource references, ``$(NAME)`` expansion. Pure.

Source: the downward API and container environments of Kubernetes, by behaviour.
"""

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from tensorfusion.embedded.processes.waiting import CONFIG_ERROR, Waiting
from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.meta import Raw
from tensorfusion.units import parse_quantity

_REFERENCE = re.compile(r"\$(\$|\(([^()$]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def expand(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes its value, ``$$`` a dollar; references to unknown names stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def field_value(pod: Raw, path: str, *, node: Mapping[str, str]) -> str:
    """The text of a ``fieldRef``. ``node`` holds ``podIP``, ``hostIP`` and ``nodeName``.

    Raises:
        Waiting: no such field.
    """
    metadata = pod["metadata"]
    match = _SUBSCRIPT.fullmatch(path)
    if match is not None:
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata.get(path.removeprefix("metadata."), ""))
        case "metadata.labels" | "metadata.annotations":
            found = metadata.get(path.removeprefix("metadata.")) or {}
            return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(found.items()))
        case "spec.nodeName":
            return node["nodeName"]
        case "spec.serviceAccountName":
            return str(pod["spec"].get("serviceAccountName", "default"))
        case "status.podIP" | "status.podIPs":
            return node["podIP"]
        case "status.hostIP" | "status.hostIPs":
            return node["hostIP"]
    raise Waiting(CONFIG_ERROR, f"fieldRef {path}: process nodes do not know this field")


def resource_value(pod: Raw, reference: Raw, *, container: str, allocatable: Mapping[str, str]) -> str:
    """The text of a ``resourceFieldRef``; a missing limit is what the node has.

    Raises:
        Waiting: the container or the resource is not there.
    """
    name = reference.get("containerName") or container
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    found = next((entry for entry in containers if entry["name"] == name), None)
    side, _, resource = reference["resource"].partition(".")
    if found is None or side not in ("limits", "requests") or not resource:
        raise Waiting(CONFIG_ERROR, f"resourceFieldRef {reference['resource']} of container {name}: there is no such")
    stated = (found.get("resources") or {}).get(side) or {}
    text = stated.get(resource, allocatable.get(resource, "0") if side == "limits" else "0")
    try:
        value = parse_quantity(str(text))
        divisor = parse_quantity(str(reference.get("divisor") or "1")) or Fraction(1)
    except InvalidQuantity as error:
        raise Waiting(CONFIG_ERROR, f"resourceFieldRef {reference['resource']}: {error}") from error
    return str(math.ceil(value / divisor))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
