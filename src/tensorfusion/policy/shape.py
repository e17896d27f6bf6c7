"""Whether a pod has the shape that admission reads, before it reads it.

An API server decodes a pod before it asks us, so there this never fails. The same decisions also serve pods that people
post to us directly (a simulation), and whatever those hold must come back as one clear line.
"""

from collections.abc import Mapping

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.patches import Json

_LISTS_OF_POD = ("initContainers", "volumes", "tolerations")
_LISTS_OF_CONTAINER = ("env", "volumeMounts")


def check_metadata(pod: Mapping[str, Json]) -> None:
    """Refuse labels, annotations or owners that are not what Kubernetes calls by these names.

    Raises:
        InvalidRequest: the first part that has another shape.
    """
    metadata = _map(pod, "metadata", "")
    for field in ("labels", "annotations"):
        for key, value in _map(metadata, field, "metadata.").items():
            if not isinstance(value, str):
                raise InvalidRequest(f"metadata.{field}[{key!r}]: wanted text, found {type(value).__name__}")
    _objects(metadata, "ownerReferences", "metadata.")


def check_spec(pod: Mapping[str, Json]) -> None:
    """Refuse containers and lists that are not what Kubernetes calls by these names.

    Raises:
        InvalidRequest: the first part that has another shape, or no container at all.
    """
    spec = _map(pod, "spec", "")
    for field in _LISTS_OF_POD:
        _objects(spec, field, "spec.")
    containers = _objects(spec, "containers", "spec.")
    if not containers:
        raise InvalidRequest("spec.containers: wanted at least one container, found none")
    for position, container in enumerate(containers):
        where = f"spec.containers[{position}]."
        if not isinstance(container.get("name", ""), str):
            raise InvalidRequest(f"{where}name: wanted text, found {type(container['name']).__name__}")
        resources = _map(container, "resources", where)
        for kind in ("requests", "limits"):
            _map(resources, kind, f"{where}resources.")
        for field in _LISTS_OF_CONTAINER:
            _objects(container, field, where)


def _map(parent: Mapping[str, Json], field: str, where: str) -> Mapping[str, Json]:
    value = parent.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidRequest(f"{where}{field}: wanted an object, found {type(value).__name__}")
    return value


def _objects(parent: Mapping[str, Json], field: str, where: str) -> list[Mapping[str, Json]]:
    value = parent.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}{field}: wanted a list, found {type(value).__name__}")
    for position, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise InvalidRequest(f"{where}{field}[{position}]: wanted an object, found {type(entry).__name__}")
    return value
