"""What the workload controllers read of Deployments and ReplicaSets, and ownership between them."""

import hashlib
from collections.abc import Iterable

import msgspec

from tensorfusion.model.meta import Condition, LabelSelector, Meta, Object, OwnerReference, Raw
from tensorfusion.model.resources import Resource

TEMPLATE_HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REPLICA_FAILURE = "ReplicaFailure"
"""Condition type: pods cannot be created or deleted, and why."""
REFUSED_PAUSE = 15.0
"""Seconds after which a request that the server refused is tried again."""
OWNER_INDEX = "owner"
"""Index of pods and ReplicaSets by the uid of their controller."""

_SAFE = "bcdfghjklmnpqrstvwxz2456789"


class ReplicaSetSpec(msgspec.Struct, frozen=True):
    replicas: int = 1
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: Raw = msgspec.field(default_factory=dict)
    min_ready_seconds: int = msgspec.field(default=0, name="minReadySeconds")


class ReplicaSetStatus(msgspec.Struct, frozen=True):
    replicas: int = 0
    fully_labeled_replicas: int = msgspec.field(default=0, name="fullyLabeledReplicas")
    ready_replicas: int = msgspec.field(default=0, name="readyReplicas")
    available_replicas: int = msgspec.field(default=0, name="availableReplicas")
    observed_generation: int = msgspec.field(default=0, name="observedGeneration")
    conditions: tuple[Condition, ...] = ()


class ReplicaSet(Object, frozen=True):
    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = msgspec.field(default_factory=ReplicaSetStatus)


class RollingUpdate(msgspec.Struct, frozen=True):
    """Whole numbers or percentages, as written."""

    max_surge: int | str = msgspec.field(default="25%", name="maxSurge")
    max_unavailable: int | str = msgspec.field(default="25%", name="maxUnavailable")


class Strategy(msgspec.Struct, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = msgspec.field(default=None, name="rollingUpdate")


class DeploymentSpec(msgspec.Struct, frozen=True):
    replicas: int = 1
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: Raw = msgspec.field(default_factory=dict)
    strategy: Strategy = msgspec.field(default_factory=Strategy)
    min_ready_seconds: int = msgspec.field(default=0, name="minReadySeconds")
    revision_history_limit: int = msgspec.field(default=10, name="revisionHistoryLimit")
    progress_deadline_seconds: int = msgspec.field(default=600, name="progressDeadlineSeconds")
    paused: bool = False


class DeploymentCondition(Condition, frozen=True):
    last_update_time: str | None = msgspec.field(default=None, name="lastUpdateTime")


class DeploymentStatus(msgspec.Struct, frozen=True):
    observed_generation: int = msgspec.field(default=0, name="observedGeneration")
    replicas: int = 0
    updated_replicas: int = msgspec.field(default=0, name="updatedReplicas")
    ready_replicas: int = msgspec.field(default=0, name="readyReplicas")
    available_replicas: int = msgspec.field(default=0, name="availableReplicas")
    unavailable_replicas: int = msgspec.field(default=0, name="unavailableReplicas")
    collision_count: int | None = msgspec.field(default=None, name="collisionCount")
    conditions: tuple[DeploymentCondition, ...] = ()


class Deployment(Object, frozen=True):
    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)


def owner_uids(meta: Meta) -> Iterable[str]:
    """The uid of the controller of an object, for an index; empty where it has none."""
    owner = meta.controller
    return (owner.uid,) if owner is not None else ()


def owner_reference(resource: Resource, owner: Meta) -> Raw:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adoption_patch(resource: Resource, owner: Meta, orphan: Meta) -> Raw:
    """Become the controller of an orphan, if it is still as we know it."""
    return _owners_patch(orphan, [*orphan.owner_references], owner_reference(resource, owner))


def release_patch(owner: Meta, owned: Meta) -> Raw:
    """Stop being an owner of an object, if it is still as we know it."""
    return _owners_patch(owned, [found for found in owned.owner_references if found.uid != owner.uid])


def _owners_patch(meta: Meta, kept: list[OwnerReference], *more: Raw) -> Raw:
    """The list of owners is written as a whole, so the patch carries the version it was read at."""
    references = [*(msgspec.to_builtins(reference) for reference in kept), *more]
    guard = {"uid": meta.uid, "resourceVersion": meta.resource_version}
    return {"metadata": {**guard, "ownerReferences": references or None}}


def is_orphan(meta: Meta) -> bool:
    """No controller manages the object, so one whose selector matches may adopt it."""
    return meta.controller is None and not meta.deleting and bool(meta.labels)


def written_counts(status: Raw, *, always: frozenset[str]) -> Raw:
    """A status as the API writes it: counts of 0 are left out, but for those that are always there."""
    return {name: value if value or name in always else None for name, value in status.items()}


def safe_suffix(seed: str, length: int) -> str:
    """A suffix of letters and digits that spell no words, the same for the same seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(_SAFE))
        letters.append(_SAFE[digit])
    return "".join(letters)


def template_hash(template: Raw, collisions: int) -> str:
    """The hash that tells the ReplicaSets of a Deployment apart: the same template, the same hash."""
    canonical = msgspec.json.encode(template, order="deterministic").decode()
    return safe_suffix(f"{canonical}/{collisions}", 10)
