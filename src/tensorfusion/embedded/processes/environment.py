"""The environment of a container: what it is given, in the order of a kubelet, and where its own folders are."""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.embedded.processes.fields import expand, field_value, resource_value
from tensorfusion.embedded.processes.leftovers import MARK
from tensorfusion.embedded.processes.places import PodPlace
from tensorfusion.embedded.processes.sources import Sources, entry, is_variable
from tensorfusion.embedded.processes.waiting import CONFIG_ERROR, Waiting
from tensorfusion.model.meta import Raw

ROOT = "TENSORFUSION_ROOT"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the node adds: ``node`` as ``field_value`` wants it, Services, the node's amounts, the search path."""

    node: Mapping[str, str]
    services: Mapping[str, str]
    allocatable: Mapping[str, str]
    path: str


async def environment(
    pod: Raw, container: Raw, *, place: PodPlace, sources: Sources, around: Surroundings, image: Mapping[str, str]
) -> dict[str, str]:
    """The variables of one container. Later ones win: the node's, the image's, Services, ``envFrom``, ``env``.

    Raises:
        Waiting: something that it names is not there.
    """
    root = place.root(container["name"])
    found = {
        "PATH": around.path,
        "HOSTNAME": pod["metadata"]["name"],
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        ROOT: str(root),
        **image,
    }
    if pod["spec"].get("enableServiceLinks", True):
        found |= around.services
    for source in container.get("envFrom") or ():
        found |= await _all_of(source, sources)
    for variable in container.get("env") or ():
        value = await _value(pod, container, variable, sources, around, found)
        if value is not None:
            found[variable["name"]] = value
    found[MARK] = pod["metadata"]["uid"]
    return found


async def _all_of(source: Raw, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    found: dict[str, bytes] | None = None
    for field, read in (("configMapRef", sources.config_map), ("secretRef", sources.secret)):
        reference = source.get(field)
        if reference:
            found = await read(reference["name"], optional=bool(reference.get("optional")))
    return {prefix + key: _text(value) for key, value in (found or {}).items() if is_variable(prefix + key)}


async def _value(
    pod: Raw, container: Raw, variable: Raw, sources: Sources, around: Surroundings, found: Mapping[str, str]
) -> str | None:
    origin = variable.get("valueFrom")
    if not origin:
        return expand(variable.get("value") or "", found)
    if reference := origin.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], node=around.node)
    if reference := origin.get("resourceFieldRef"):
        return resource_value(pod, reference, container=container["name"], allocatable=around.allocatable)
    for field, word, read in (
        ("configMapKeyRef", "ConfigMap", sources.config_map),
        ("secretKeyRef", "Secret", sources.secret),
    ):
        reference = origin.get(field)
        if reference:
            optional = bool(reference.get("optional"))
            entries = await read(reference["name"], optional=optional)
            held = entry(entries, word, reference["name"], reference["key"], optional=optional)
            return None if held is None else _text(held)
    raise Waiting(CONFIG_ERROR, f"env {variable['name']}: valueFrom {', '.join(origin)} is not served by process nodes")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").replace("\x00", "")
