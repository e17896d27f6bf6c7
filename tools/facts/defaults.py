"""Learn defaults by comparing what was sent with what came back.

Each place where a structure stood without one of its fields is an observation. A field that always came back with the
same value has a default. One whose value follows the kind of the whole object, or a sibling (``type``, ``kind``), has
a conditional default. ``alone`` is a member of a union that is filled in when no other member is there. The few that
are functions of other fields are named in ``COMPUTED``: the facts say that they exist, the program says how. Anything
else ends the run.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from facts.samples import Sample
from facts.server import Server

Json = dict[str, Any]
ABSENT = object()
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
COMPUTED = frozenset(
    {
        ("Container", "imagePullPolicy"),
        ("ContainerPort", "hostPort"),
        ("ResourceRequirements", "requests"),
        ("ServicePort", "targetPort"),
        ("NodeStatus", "allocatable"),
        ("PodSpec", "serviceAccount"),
        ("CustomResourceDefinitionNames", "singular"),
        ("CustomResourceDefinitionNames", "listKind"),
        ("JobSpec", "completions"),
        ("JobSpec", "parallelism"),
        ("JobSpec", "backoffLimit"),
        ("JobSpec", "podReplacementPolicy"),
        ("LimitRangeItem", "default"),
        ("LimitRangeItem", "defaultRequest"),
        ("NetworkPolicySpec", "policyTypes"),
        ("HPAScalingRules", "policies"),
        ("HPAScalingRules", "stabilizationWindowSeconds"),
    }
)
# Filled in by the registry when an object is created, not by defaulting.
ALLOCATED = frozenset(
    {
        ("ServiceSpec", "clusterIP"),
        ("ServiceSpec", "clusterIPs"),
        ("ServicePort", "nodePort"),
        ("Namespace", "spec"),
        ("PodStatus", "qosClass"),
        ("PodStatus", "podIP"),
        ("JobSpec", "selector"),
        ("PodTemplateSpec", "metadata"),
        ("PersistentVolumeStatus", "lastPhaseTransitionTime"),
        ("PersistentVolumeClaimSpec", "dataSource"),
        ("PersistentVolumeClaimSpec", "dataSourceRef"),
    }
)


@dataclass(frozen=True)
class Observation:
    """One structure that was sent without the field: in which object, how, and the field's value afterwards."""

    root: str
    sent: Json
    returned: Json
    value: Any


Seen = dict[tuple[str, str], list[Observation]]


def observe_defaults(server: Server, resources: list[Json], definitions: Json, objects: list[Sample]) -> None:
    """Write ``default``, ``defaultIn``, ``defaultBy``, ``defaultAlone`` and ``computed`` into the definitions.

    The first status of new objects goes into the resources.
    """
    seen: Seen = defaultdict(list)
    for sample in objects:
        root = sample.definition.rsplit(".", 1)[-1]
        roots = {"apiVersion", "kind", "metadata"} | ({"status"} - set(sample.sent))
        for name, field in definitions[sample.definition]["properties"].items():
            if name not in roots:
                observe(definitions, field, (sample.definition, name), root, sample.sent, sample.returned, seen)
    for (definition, field), observations in sorted(seen.items()):
        settle(definitions[definition], definition, field, observations)
    for entry in resources:
        first_status(entry, objects)


def observe(
    definitions: Json, schema: Json, where: tuple[str, str], root: str, sent: Json, returned: Json, seen: Seen
) -> None:
    name = where[1]
    if sent.get(name) is None:
        seen[where].append(Observation(root, sent, returned, returned.get(name, ABSENT)))
    elif name in returned:
        descend(definitions, schema, root, sent[name], returned[name], seen)


def descend(definitions: Json, schema: Json, root: str, sent: Any, returned: Any, seen: Seen) -> None:
    if "$ref" in schema:
        name = schema["$ref"]
        if name == META or not isinstance(sent, dict):
            return
        for field, inner in definitions[name].get("properties", {}).items():
            observe(definitions, inner, (name, field), root, sent, returned, seen)
    elif schema.get("type") == "array":
        if len(sent) != len(returned):
            raise SystemExit(f"the server changed the length of a list, so items cannot be compared: {sent}")
        for before, after in zip(sent, returned, strict=True):
            descend(definitions, schema["items"], root, before, after, seen)
    elif isinstance(schema.get("additionalProperties"), dict):
        for key, before in sent.items():
            descend(definitions, schema["additionalProperties"], root, before, returned[key], seen)


def settle(schema: Json, definition: str, field: str, observations: list[Observation]) -> None:
    """Decide which kind of default the observations show, if any, and write it into ``schema``."""
    short = (definition.rsplit(".", 1)[-1], field)
    present = [item for item in observations if item.value is not ABSENT]
    schema["properties"][field].pop("default", None)
    if not present or short in ALLOCATED:
        return
    if short in COMPUTED:
        schema.setdefault("computed", []).append(field)
        return
    value = present[0].value
    if len(present) == len(observations) and all(item.value == value for item in present):
        if value is not None:  # what is shown empty: see ``zeros``
            schema["properties"][field]["default"] = value
        return
    members = set(schema["properties"]) - set(schema.get("required", ()))
    if all((item.value is not ABSENT) == (not members & set(item.sent)) for item in observations):
        schema.setdefault("defaultAlone", {})[field] = value
        return
    roots = follows([(item.root, item.value) for item in observations])
    if roots is not None:
        schema.setdefault("defaultIn", {})[field] = roots
        return
    for sibling in sorted(schema["properties"]):
        values = follows([(item.returned.get(sibling), item.value) for item in observations])
        if values is not None:
            schema.setdefault("defaultBy", {})[field] = {"field": sibling, "values": values}
            return
    shown = "\n".join(f"  {item.sent} -> {'-' if item.value is ABSENT else item.value}" for item in observations[:8])
    raise SystemExit(f"{definition}.{field}: no rule explains its default, name it in COMPUTED:\n{shown}")


def follows(pairs: list[tuple[Any, Any]]) -> Json | None:
    """The field's value for each key, when it is a function of the key and no key or value is missing throughout."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str) or table.setdefault(key, value) != value:
            return None
    return {key: value for key, value in table.items() if value is not ABSENT} if len(table) > 1 else None


def first_status(entry: Json, objects: list[Sample]) -> None:
    """The status that a barely filled new object has, and whether a client's own status survives creation."""
    own = [sample for sample in objects if sample.definition == entry["schema"] and sample.method == "POST"]
    bare = [sample.returned["status"] for sample in own if "status" not in sample.sent and "status" in sample.returned]
    if "status" in entry["subresources"] and bare:
        entry["initialStatus"] = {
            key: value
            for key, value in bare[0].items()
            if (f"{entry['kind']}Status", key) not in ALLOCATED and all(other.get(key) == value for other in bare)
        }
    sent = [sample for sample in own if "status" in sample.sent]
    entry["keepsStatus"] = any(sample.returned.get("status") for sample in sent)
    entry["generation"] = any(sample.returned["metadata"].get("generation") for sample in own)
