"""What the StatefulSet controller reads, and the pods and volume claims that it makes of a StatefulSet. Pure.

Source: apps/v1 StatefulSet.
"""

from collections.abc import Sequence

import msgspec

from tensorfusion.embedded.controllers.objects import owner_reference
from tensorfusion.embedded.controllers.pods import pod_from
from tensorfusion.embedded.controllers.revisions import REVISION_HASH
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import LabelSelector, Meta, Object, Raw
from tensorfusion.model.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS

_POD_NAME = "statefulset.kubernetes.io/pod-name"
_POD_INDEX = "apps.kubernetes.io/pod-index"
_DELETE = "Delete"


class Partition(msgspec.Struct, frozen=True):
    partition: int = 0


class UpdateStrategy(msgspec.Struct, frozen=True):
    type: str = "RollingUpdate"
    rolling: Partition | None = msgspec.field(default=None, name="rollingUpdate")


class Ordinals(msgspec.Struct, frozen=True):
    start: int = 0


class ClaimRetention(msgspec.Struct, frozen=True):
    when_deleted: str = msgspec.field(default="Retain", name="whenDeleted")
    when_scaled: str = msgspec.field(default="Retain", name="whenScaled")


class StatefulSetSpec(msgspec.Struct, frozen=True):
    replicas: int = 1
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: Raw = msgspec.field(default_factory=dict)
    claims: tuple[Raw, ...] = msgspec.field(default=(), name="volumeClaimTemplates")
    service_name: str = msgspec.field(default="", name="serviceName")
    management: str = msgspec.field(default="OrderedReady", name="podManagementPolicy")
    strategy: UpdateStrategy = msgspec.field(default_factory=UpdateStrategy, name="updateStrategy")
    history_limit: int = msgspec.field(default=10, name="revisionHistoryLimit")
    min_ready_seconds: int = msgspec.field(default=0, name="minReadySeconds")
    retention: ClaimRetention = msgspec.field(
        default_factory=ClaimRetention, name="persistentVolumeClaimRetentionPolicy"
    )
    ordinals: Ordinals = msgspec.field(default_factory=Ordinals)


class StatefulSetStatus(msgspec.Struct, frozen=True):
    current_revision: str = msgspec.field(default="", name="currentRevision")
    current_replicas: int = msgspec.field(default=0, name="currentReplicas")
    collision_count: int = msgspec.field(default=0, name="collisionCount")


class StatefulSet(Object, frozen=True):
    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)
    status: Raw = msgspec.field(default_factory=dict)

    def known_status(self) -> StatefulSetStatus:
        return msgspec.convert(self.status, StatefulSetStatus)


class Claim(Object, frozen=True):
    """A PersistentVolumeClaim, as far as its owners matter."""


def ordinal_of(current: StatefulSet, pod: Pod) -> int | None:
    """The number in the pod's name; None for a pod that is none of the set's by name."""
    stem, _, digits = pod.metadata.name.rpartition("-")
    return int(digits) if stem == current.metadata.name and digits.isascii() and digits.isdigit() else None


def revision_of(pod: Pod) -> str:
    """Name of the revision that the pod was made from."""
    return pod.metadata.labels.get(REVISION_HASH, "")


def pod_of_set(current: StatefulSet, template: Raw, revision: str, ordinal: int) -> Raw:
    """The pod of an ordinal, with its name, host name and volumes."""
    name = f"{current.metadata.name}-{ordinal}"
    body = pod_from(STATEFUL_SETS, current.metadata, template, name)
    own = {_POD_NAME: name, _POD_INDEX: str(ordinal), REVISION_HASH: revision}
    body["metadata"]["labels"] = {**(body["metadata"].get("labels") or {}), **own}
    spec = {**body["spec"], "hostname": name}
    if current.spec.service_name:
        spec["subdomain"] = current.spec.service_name
    if current.spec.claims:
        mounts = {str(claim["metadata"]["name"]): claim_name(claim, name) for claim in current.spec.claims}
        others = [volume for volume in spec.get("volumes") or () if volume.get("name") not in mounts]
        claims = [{"name": each, "persistentVolumeClaim": {"claimName": claim}} for each, claim in mounts.items()]
        spec["volumes"] = [*claims, *others]
    body["spec"] = spec
    return body


def claim_name(template: Raw, pod: str) -> str:
    """The name of a pod's claim of one template."""
    return f"{template['metadata']['name']}-{pod}"


def claim_of(current: StatefulSet, template: Raw, pod: str) -> Raw:
    """A volume claim for a pod of the set."""
    metadata = template["metadata"]
    made: Raw = {
        "name": claim_name(template, pod),
        "labels": {**(metadata.get("labels") or {}), **current.spec.selector.match_labels},
    }
    if metadata.get("annotations"):
        made["annotations"] = metadata["annotations"]
    owners = claim_owners(current, None, ())
    if owners:
        made["ownerReferences"] = owners
    return {
        "apiVersion": PERSISTENT_VOLUME_CLAIMS.api_version,
        "kind": PERSISTENT_VOLUME_CLAIMS.kind,
        "metadata": made,
        "spec": template.get("spec") or {},
    }


def claim_owners(current: StatefulSet, condemned: Meta | None, owners: Sequence[Raw]) -> list[Raw]:
    """Who a claim is to go with: the set, or the pod that is being scaled away; other owners stay."""
    kept = [owner for owner in owners if owner.get("kind") not in (STATEFUL_SETS.kind, PODS.kind)]
    retention = current.spec.retention
    if condemned is not None and retention.when_scaled == _DELETE:
        return [*kept, owner_reference(PODS, condemned)]
    if retention.when_deleted == _DELETE:
        return [*kept, owner_reference(STATEFUL_SETS, current.metadata)]
    return kept
