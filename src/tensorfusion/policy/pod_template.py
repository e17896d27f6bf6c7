"""Lay one pod template over another: maps are merged, lists of named things by name, other lists replaced.

A strategic merge kept to what pod templates of pools and workloads need: null removes a field, there are no directives.
"""

from collections.abc import Mapping, Sequence

from tensorfusion.policy.patches import Json

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
}


def template_of(found: Mapping[str, Json]) -> Mapping[str, Json]:
    """The PodTemplateSpec in a pool's or workload's template, which may be wrapped as a PodTemplate."""
    inner = found.get("template")
    return inner if isinstance(inner, Mapping) else found


def merged(below: Json, above: Json, *, field: str = "") -> Json:
    """``below`` with ``above`` laid over it; neither is changed."""
    if isinstance(above, Mapping):
        result = dict(below) if isinstance(below, Mapping) else {}
        for key, value in above.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merged(result.get(key), value, field=key)
        return result
    merge_key = _MERGE_KEYS.get(field)
    if merge_key is not None and _keyed(below, merge_key) and _keyed(above, merge_key):
        entries = {entry[merge_key]: entry for entry in below}
        for entry in above:
            entries[entry[merge_key]] = merged(entries.get(entry[merge_key]), entry)
        return list(entries.values())
    return above


def _keyed(found: Json, merge_key: str) -> bool:
    return (
        isinstance(found, Sequence)
        and not isinstance(found, str)
        and all(isinstance(entry, Mapping) and merge_key in entry for entry in found)
    )
