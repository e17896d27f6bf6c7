"""The parts that every Kubernetes object shares, as frozen msgspec structs with their wire names written out.

Two shapes exist on purpose. ``ObjectMeta`` is what we write. ``Meta`` is the narrow read-only part that projections of
built-in kinds carry: decoding 10,000 pods into it costs a tenth of the full object. A projection is never written back.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Key(msgspec.Struct, frozen=True, order=True, gc=False):
    """Which object: the work queue's and the cache's word for it. Cluster-scoped objects have namespace ``""``.

    A struct although it is never on the wire: it is made and hashed several times for every event of a watch.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class OwnerReference(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """metav1.OwnerReference."""

    api_version: str = msgspec.field(default="", name="apiVersion")
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = msgspec.field(default=False, name="blockOwnerDeletion")


class Meta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The metadata that reconcilers and the scheduler read. Timestamps stay RFC 3339 strings; ``""`` means unset."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    generation: int = 0
    generate_name: str = msgspec.field(default="", name="generateName")
    creation_timestamp: str | None = msgspec.field(default=None, name="creationTimestamp")
    deletion_timestamp: str | None = msgspec.field(default=None, name="deletionTimestamp")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = msgspec.field(default=(), name="ownerReferences")

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def deleting(self) -> bool:
        """Deletion was asked for; finalizers or a grace period may still hold the object."""
        return self.deletion_timestamp is not None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, if any."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class Object(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Base of every typed object: enough for caches and queues. Subclasses add ``spec`` and ``status``."""

    api_version: str = msgspec.field(default="", name="apiVersion")
    kind: str = ""
    metadata: Meta = msgspec.field(default_factory=Meta)

    @property
    def key(self) -> Key:
        return self.metadata.key


class Condition(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """metav1.Condition, also a pod's condition."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = msgspec.field(default=None, name="lastTransitionTime")
    observed_generation: int = msgspec.field(default=0, name="observedGeneration")


class SelectorRequirement(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One expression of a label selector, a node selector or a field match. ``Gt`` and ``Lt`` only on nodes."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """metav1.LabelSelector: all parts must hold; an empty selector matches everything."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict, name="matchLabels")
    match_expressions: tuple[SelectorRequirement, ...] = msgspec.field(default=(), name="matchExpressions")

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement_matches(requirement, labels) for requirement in self.match_expressions
        )


def requirement_matches(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy one expression.

    ``NotIn`` and ``DoesNotExist`` hold where the key is missing; ``Gt`` and ``Lt`` compare whole numbers and do not
    hold where either side is not one. An unknown operator never holds.

    Source: Kubernetes labels.Requirement and NodeSelectorRequirement.
    """
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or len(requirement.values) != 1:
                return False
            try:
                found, bound = int(value), int(requirement.values[0])
            except ValueError:
                return False
            return found > bound if requirement.operator == "Gt" else found < bound
        case _:
            return False


# Any: a Raw field is "any JSON object" by contract (x-kubernetes-preserve-unknown-fields).
Raw = dict[str, Any]
