"""What a process node may read beyond its role: the Secrets and ConfigMaps that pods bound to a process node name.

A role could only grant all of them or none. No component may read every Secret, so the right follows from the pods.

Source: the node authorizer of Kubernetes, by purpose.
"""

from collections.abc import Iterator
from typing import Any

from tensorfusion.embedded.access.rules import Attributes
from tensorfusion.embedded.access.users import User, service_account
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.model.keys import PROCESS_NODE_ACCOUNT, RUN, RUN_PROCESS, SYSTEM_NAMESPACE
from tensorfusion.model.resources import CONFIG_MAPS, NODES, PODS, SECRETS

_NODE = service_account(SYSTEM_NAMESPACE, PROCESS_NODE_ACCOUNT, "").name
_KINDS = frozenset({CONFIG_MAPS.plural, SECRETS.plural})


class NodeRights:
    """Decides for one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, asked: Attributes) -> bool:
        """Whether the user is the process node, and one of its pods names the object that it asks for."""
        if user.name != _NODE or asked.verb != "get" or asked.group or asked.subresource or not asked.name:
            return False
        if asked.resource not in _KINDS or not asked.namespace:
            return False
        return any(
            (asked.resource, asked.name) in set(_named(decode_object(record.data)["spec"]))
            for record in self._store.scan(PODS.id, asked.namespace)
            if self._is_process_node(record.fields.get("spec.nodeName", ""))
        )

    def _is_process_node(self, name: str) -> bool:
        record = self._store.get(ObjectKey(NODES.id, "", name)) if name else None
        return record is not None and record.labels.get(RUN) == RUN_PROCESS


def _named(spec: JsonObject) -> Iterator[tuple[str, str]]:
    """The ConfigMaps and Secrets that a pod's volumes and containers name."""
    for volume in spec.get("volumes") or ():
        yield from _of_source(volume)
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _of_source(source)
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        for source in container.get("envFrom") or ():
            yield from _references(source, "configMapRef", "secretRef")
        for variable in container.get("env") or ():
            yield from _references(variable.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef")


def _of_source(source: JsonObject) -> Iterator[tuple[str, str]]:
    if source.get("configMap"):
        yield CONFIG_MAPS.plural, _name(source["configMap"].get("name"))
    if source.get("secret"):
        secret = source["secret"]
        yield SECRETS.plural, _name(secret.get("secretName") or secret.get("name"))


def _references(source: JsonObject, config_map: str, secret: str) -> Iterator[tuple[str, str]]:
    for field, plural in ((config_map, CONFIG_MAPS.plural), (secret, SECRETS.plural)):
        if source.get(field):
            yield plural, _name(source[field].get("name"))


def _name(value: Any) -> str:  # Any: JSON
    return value if isinstance(value, str) else ""
