"""Count the enabled pods of one controller: ``enabled-replicas: N`` lets at most N of its pods take a share at a time.

The count lives in an annotation of the pods' direct controller, and is written only by compare-and-swap on its
resourceVersion. It has two parts: pods that were seen in the API, and *reservations* of pods that were admitted and
not yet seen. A reservation carries an id that its pod carries too.

The invariant: at every version of the controller, ``total = confirmed + reserved`` is at least the number of its
enabled pods that are active, so admitting only while ``total < N`` never enables more than N. It holds because a
recount lists the pods after it read the version that it replaces: a pod admitted before that version is in the list,
or its reservation is kept; a pod admitted later makes the swap fail.

A reservation that no pod ever answers (its creation was refused by somebody after us, or the webhook died before it
answered) ends after ``EXPIRY``, which is longer than any request of an API server lives.

And never fewer: a pod is left native only when a list made after its request arrived shows N active enabled pods. While
some of the N are reservations that nobody has seen, the decision waits.

A pod is active as its controller sees it: neither ended nor being deleted, for its successor is created at once.

Rejected: a bare number, as upstream has it. It cannot tell a pod that was never created from one that is on its way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Pod
from tensorfusion.policy.names import short_id, template_hash

EXPIRY = 90
"""Seconds: an API server ends a request after 60, and clocks differ a little."""

_RESERVED_PREFIX = f"{keys.DOMAIN}/tf-reserved-"
_LONGEST_HASH = 40
_TEMPLATE_LABELS = ("pod-template-hash", "controller-revision-hash")
"""Kubernetes' own labels that tell the templates of one controller apart."""
_UNKNOWN = 1 << 40

OWNERS: Mapping[tuple[str, str], r.Resource] = {
    (resource.api_version, resource.kind): resource
    for resource in (r.REPLICA_SETS, r.STATEFUL_SETS, r.DAEMON_SETS, r.JOBS, r.REPLICATION_CONTROLLERS)
}
"""Controllers that can carry a counter, by apiVersion and kind."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One pod's wish: enabled only while fewer than ``limit`` pods of its controller are.

    ``claimed`` is the reservation that the pod already carries: admission looks at a pod again after others changed it.
    ``selector`` is a label selector of the pods of its template; empty where no label tells them apart.
    """

    limit: int
    owner: r.Resource
    name: str
    uid: str
    key: str
    claimed: str = ""
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter: active pods that were seen, and reservations (id to Unix seconds) of pods that were not yet."""

    confirmed: int = 0
    reserved: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.confirmed + len(self.reserved)

    def with_reservation(self, id_: str, now: int) -> "Counter":
        return Counter(self.confirmed, {**self.reserved, id_: now})

    def recounted(self, seen: "Seen", now: int) -> "Counter":
        """The counter that a list of the pods proves, made after this counter was read."""
        waiting = {id_: at for id_, at in self.reserved.items() if id_ not in seen.ids and now - at < EXPIRY}
        return Counter(seen.active, waiting)


@dataclass(slots=True)
class Seen:
    """The pods of one counter in one list: the ids of all, and how many of them are active."""

    ids: set[str] = field(default_factory=set)
    active: int = 0


def canary_of(pod: Mapping[str, Any], limit: int) -> Canary:
    """The counter that a new pod of a canary belongs to.

    Raises:
        InvalidRequest: the pod has no controller, or one that carries no counter.
    """
    metadata = pod.get("metadata") or {}
    owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
    wanted = f"annotation {keys.ENABLED_REPLICAS}: wanted a pod of a Deployment or another controller"
    if owner is None:
        raise InvalidRequest(
            f"{wanted}, found a pod without a controller: remove the annotation, or set it on the controller's template"
        )
    resource = OWNERS.get((str(owner.get("apiVersion", "")), str(owner.get("kind", ""))))
    if resource is None:
        known = ", ".join(sorted(kind for _, kind in OWNERS))
        raise InvalidRequest(
            f"{wanted} (its pods belong to one of {known}), found controller {owner.get('kind')} {owner.get('name')}, "
            "which carries no counter"
        )
    annotations = metadata.get("annotations") or {}
    return Canary(
        limit=limit,
        owner=resource,
        name=str(owner.get("name", "")),
        uid=str(owner.get("uid", "")),
        key=str(annotations.get(keys.POD_COUNTER_KEY) or counter_key(pod)),
        claimed=str(annotations.get(keys.POD_COUNTER_ID, "")),
        selector=selector_of(metadata.get("labels") or {}),
    )


def selector_of(labels: Mapping[str, str]) -> str:
    """The label selector of one template's pods, from the labels of one of them, or of their ReplicaSet."""
    return next((f"{name}={labels[name]}" for name in _TEMPLATE_LABELS if labels.get(name)), "")


def counter_key(pod: Mapping[str, Any]) -> str:
    """The annotation of the controller that counts the pods of this pod's template: another template counts anew."""
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    found = next((str(labels[name]) for name in _TEMPLATE_LABELS if labels.get(name)), "")
    if not found or len(found) > _LONGEST_HASH:
        found = template_hash(found or _template(pod))
    return f"{keys.COUNTER_PREFIX}{found}"


def reservation_id(request_uid: str) -> str:
    """The reservation that one admission request makes, however often it tries."""
    return short_id(request_uid)


def counters(annotations: Mapping[str, str]) -> dict[str, Counter]:
    """The counters of a controller, by their annotation."""
    hashes = {
        key.removeprefix(prefix)
        for prefix in (keys.COUNTER_PREFIX, _RESERVED_PREFIX)
        for key in annotations
        if key.startswith(prefix)
    }
    return {f"{keys.COUNTER_PREFIX}{one}": counter_of(annotations, f"{keys.COUNTER_PREFIX}{one}") for one in hashes}


def counter_of(annotations: Mapping[str, str], key: str) -> Counter:
    """One counter of a controller. One that is missing or cannot be read counts as full, so that a recount decides."""
    reserved = {}
    for entry in annotations.get(_reserved(key), "").split(","):
        id_, _, at = entry.partition("=")
        if id_ and _whole(at):
            reserved[id_] = int(at)
    total = annotations.get(key, "")
    return Counter(max(0, int(total) - len(reserved)) if _whole(total) else _UNKNOWN, reserved)


def counter_patch(annotations: Mapping[str, str], key: str, counter: Counter) -> dict[str, str | None]:
    """What to change in the annotations so that they say ``counter``; its keys go when nothing is left to count."""
    wanted = {
        key: str(counter.total) if counter.total else None,
        _reserved(key): ",".join(f"{id_}={at}" for id_, at in counter.reserved.items()) or None,
    }
    return {name: value for name, value in wanted.items() if annotations.get(name) != value}


def is_active(pod: Pod) -> bool:
    """Whether the pod counts: its controller would not replace it."""
    return not pod.finished and not pod.metadata.deleting


def _reserved(key: str) -> str:
    return f"{_RESERVED_PREFIX}{key.removeprefix(keys.COUNTER_PREFIX)}"


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def _template(pod: Mapping[str, Any]) -> str:
    """What the pods of one template have in common, where no controller wrote a hash of it."""
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    containers = (pod.get("spec") or {}).get("containers") or ()
    ours = {
        key: value
        for key, value in annotations.items()
        if key.startswith(f"{keys.DOMAIN}/") and key in _TEMPLATE_ANNOTATIONS
    }
    images = [[container.get("name"), container.get("image")] for container in containers]
    return json.dumps([ours, images], sort_keys=True)


_TEMPLATE_ANNOTATIONS = keys.REQUEST_KEYS | {keys.ENABLED_REPLICAS, keys.WORKLOAD_PROFILE}
