"""A pool's patch of the containers that use its devices: a strategic merge, kept to what a container can hold.

Apart from injection because it comes first: what the limiter needs is put over it. Lists that Kubernetes merges by key
are merged by key, other lists are replaced, null removes a field. The directives of the full strategic merge
(``$patch`` and its kind) are refused: in a patch that only adds to a container they have no use.

Source: GPUPool ``componentConfig.client.patchToContainer``; patchMergeKey of core/v1 Container.
"""

from collections.abc import Mapping, Sequence

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.patches import Json, Patch, escape

_MERGE_KEYS = {
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "claims": "name",
}


def patch_containers(
    patch: Patch, spec: Mapping[str, Json], wanted: Mapping[str, Json], *, names: frozenset[str], source: str
) -> Mapping[str, Json]:
    """Add the operations for the named containers; returns the pod spec as it is after them.

    Raises:
        InvalidRequest: the patch cannot be applied; the message begins with ``source``.
    """
    if not wanted:
        return spec
    if "name" in wanted:
        raise InvalidRequest(f"{source}: wanted no name, found {wanted['name']!r}: it is applied to several containers")
    containers = []
    for position, container in enumerate(spec["containers"]):
        if container.get("name") not in names:
            containers.append(container)
            continue
        merged = _merged(container, wanted, field="", source=source)
        for field in wanted:
            path = f"/spec/containers/{position}/{escape(field)}"
            if field in merged:
                patch.set(path, container.get(field), merged[field])
            elif field in container:
                patch.remove(path)
        containers.append(merged)
    return {**spec, "containers": containers}


def _merged(found: Json, wanted: Json, *, field: str, source: str) -> Json:
    if isinstance(wanted, Mapping):
        result = dict(found) if isinstance(found, Mapping) else {}
        for key, value in wanted.items():
            if key.startswith("$"):
                raise InvalidRequest(f"{source}: wanted fields of a container, found directive {key!r}")
            if value is None:
                result.pop(key, None)
            else:
                result[key] = _merged(result.get(key), value, field=key, source=source)
        return result
    key = _MERGE_KEYS.get(field)
    if key is not None and isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _merged_list(found or (), wanted, key=key, source=f"{source}: {field}")
    return wanted


def _merged_list(found: Sequence[Json], wanted: Sequence[Json], *, key: str, source: str) -> list[Json]:
    result = list(found)
    for entry in wanted:
        if not isinstance(entry, Mapping) or key not in entry:
            raise InvalidRequest(f"{source}: wanted entries with {key}, found {str(entry)[:64]!r}")
        place = next((at for at, one in enumerate(result) if one.get(key) == entry[key]), None)
        if place is None:
            result.append(_merged({}, entry, field="", source=source))
        else:
            result[place] = _merged(result[place], entry, field="", source=source)
    return result
