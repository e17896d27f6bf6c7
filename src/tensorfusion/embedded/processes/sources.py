"""ConfigMaps, Secrets and Services as one pod's containers see them: read when a container starts."""

import base64
import binascii
import re
from collections.abc import Iterable

from tensorfusion.embedded.processes.waiting import CONFIG_ERROR, Waiting
from tensorfusion.errors import Forbidden, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CONFIG_MAPS, SECRETS, Resource

_VARIABLE = re.compile(r"[^=\x00]+")


class Sources:
    """The objects of one namespace that a pod may name."""

    def __init__(self, client: Api, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def config_map(self, name: str, *, optional: bool) -> dict[str, bytes] | None:
        """The entries of a ConfigMap; None when it is not there and need not be.

        Raises:
            Waiting: it is not there, or may not be read.
        """
        found = await self._get(CONFIG_MAPS, name, optional=optional)
        if found is None:
            return None
        texts = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
        return texts | _decoded(found.get("binaryData"), f"configmap {name}")

    async def secret(self, name: str, *, optional: bool) -> dict[str, bytes] | None:
        """The entries of a Secret, as ``config_map``."""
        found = await self._get(SECRETS, name, optional=optional)
        return None if found is None else _decoded(found.get("data"), f"secret {name}")

    async def _get(self, resource: Resource, name: str, *, optional: bool) -> Raw | None:
        word = resource.kind.lower()
        try:
            found: Raw = await self._client.get(resource, dict, name, namespace=self._namespace)
        except NotFound as error:
            if optional:
                return None
            raise Waiting(CONFIG_ERROR, f'{word} "{name}" not found') from error
        except Forbidden as error:
            raise Waiting(CONFIG_ERROR, f'{word} "{name}" may not be read by this node: {error}') from error
        return found


def entry(found: dict[str, bytes] | None, kind: str, name: str, key: str, *, optional: bool) -> bytes | None:
    """One entry of a ConfigMap or Secret.

    Raises:
        Waiting: it has no such key, and needs to.
    """
    if found is not None and key in found:
        return found[key]
    if optional:
        return None
    raise Waiting(CONFIG_ERROR, f"couldn't find key {key} in {kind} {name}")


def is_variable(name: str) -> bool:
    """Whether a key can be the name of an environment variable."""
    return _VARIABLE.fullmatch(name) is not None


def service_variables(services: Iterable[Raw], namespace: str, *, api: tuple[str, int]) -> dict[str, str]:
    """What every container is told of the namespace's Services, and where the API is.

    Source: "Discovering services" of Kubernetes: NAME_SERVICE_HOST and NAME_SERVICE_PORT.
    """
    host, port = api
    found = {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
        "KUBERNETES_PORT": f"tcp://{host}:{port}",
    }
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        address = spec.get("clusterIP")
        if metadata.get("namespace") != namespace or not address or address == "None" or not spec.get("ports"):
            continue
        prefix = metadata["name"].upper().replace("-", "_").replace(".", "_")
        if prefix == "KUBERNETES":
            continue
        found[f"{prefix}_SERVICE_HOST"] = address
        for number, port_spec in enumerate(spec["ports"]):
            if number == 0:
                found[f"{prefix}_SERVICE_PORT"] = str(port_spec["port"])
            if port_spec.get("name"):
                suffix = port_spec["name"].upper().replace("-", "_")
                found[f"{prefix}_SERVICE_PORT_{suffix}"] = str(port_spec["port"])
    return found


def _decoded(entries: Raw | None, where: str) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (entries or {}).items()}
    except (binascii.Error, TypeError, ValueError) as error:
        raise Waiting(CONFIG_ERROR, f"{where}: an entry is not base64") from error
