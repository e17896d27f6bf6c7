"""What the fake API keeps: objects as JSON, one resource version, a history to watch. Plain calls, no waiting.

Apart from ``testing.api`` because this is the world and that is the wire: here nothing ever fails by accident. It
models the rules that clients depend on (conflicts, no-op writes, status kept apart, finalizers, bindings), not schemas,
defaults or admission. Labels and fields are matched as written in query strings.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import AlreadyExists, BadRequest, Conflict, Gone, Invalid, NotFound, TooManyRequests
from tensorfusion.model.meta import Raw, SelectorRequirement, requirement_matches
from tensorfusion.model.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    GROUP,
    JOBS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Resource,
)

_WORKLOADS = frozenset(
    found.id
    for found in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS, CRON_JOBS, POD_DISRUPTION_BUDGETS)
)
_STATUS_APART = _WORKLOADS | {NODES.id, PODS.id, PERSISTENT_VOLUME_CLAIMS.id}
_FRESH_STATUS: Mapping[str, Raw | None] = {
    PODS.id: {"phase": "Pending"},
    PERSISTENT_VOLUME_CLAIMS.id: {"phase": "Pending"},
    **{found: {} for found in _WORKLOADS},
}
_DEFAULT_GRACE = 30


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: ``old`` is None for a creation, ``new`` carries the version of the change also for a deletion."""

    version: int
    resource: str
    old: Raw | None
    new: Raw
    deleted: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource a list or watch is about."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def matches(self, found: Raw | None) -> bool:
        """Whether an object is among them; None never is."""
        if found is None:
            return False
        metadata = found["metadata"]
        return (
            self.namespace in ("", metadata.get("namespace", ""))
            and all(requirement_matches(term, metadata.get("labels") or {}) for term in _terms(self.labels))
            and all(_field(found, term) for term in self.fields.split(",") if term)
        )


class Objects:
    """All objects of a fake cluster. Every write is one history entry with the next resource version."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[str, dict[tuple[str, str], Raw]] = {}
        self._uids = itertools.count(1)
        self._suffixes = itertools.count(1)
        self.version = 1
        self.history: list[Entry] = []
        self.compacted = 0

    def get(self, resource: Resource, name: str, namespace: str = "") -> Raw:
        """One object as stored; not to be changed.

        Raises:
            NotFound: there is none of that name.
        """
        found = self._objects.get(resource.id, {}).get(_place(resource, name, namespace))
        if found is None:
            raise NotFound(f'{resource.id} "{name}" not found', kind=resource.plural, name=name, group=resource.group)
        return found

    def list(self, resource: Resource, selection: Selection) -> "list[Raw]":
        """The selected objects by namespace and name."""
        found = self._objects.get(resource.id, {})
        return [found[place] for place in sorted(found) if selection.matches(found[place])]

    def since(self, resource: Resource, version: int) -> Iterable[Entry]:
        """The changes of a resource after a version.

        Raises:
            Gone: the version is older than the history.
        """
        if version < self.compacted:
            raise Gone(f"too old resource version: {version} ({self.compacted})")
        start = bisect_right(self.history, version, key=lambda entry: entry.version)
        return [entry for entry in self.history[start:] if entry.resource == resource.id]

    def compact(self) -> None:
        """Forget the history: a watch from any earlier version is too old from now on."""
        self.compacted = self.version
        self.history.clear()

    def create(self, resource: Resource, body: Raw, namespace: str) -> Raw:
        """Store a new object with the metadata that a server gives.

        Raises:
            AlreadyExists: the name is taken.
        """
        new = deepcopy(body)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise Invalid(f"{resource.kind}: metadata.name: wanted a name or generateName, found neither")
            metadata["name"] = f"{metadata['generateName']}{next(self._suffixes):05d}"
        if resource.namespaced:
            metadata["namespace"] = namespace or metadata.get("namespace") or "default"
        place = _place(resource, metadata["name"], metadata.get("namespace", ""))
        if place in self._objects.get(resource.id, {}):
            name = metadata["name"]
            raise AlreadyExists(f'{resource.id} "{name}" already exists', kind=resource.plural, name=name)
        new.setdefault("apiVersion", resource.api_version)
        new.setdefault("kind", resource.kind)
        metadata["uid"] = f"uid-{next(self._uids)}"
        metadata["creationTimestamp"] = timestamp(self._clock.now())
        metadata["generation"] = 1
        metadata.pop("deletionTimestamp", None)
        fresh = {} if resource.group == GROUP else _FRESH_STATUS.get(resource.id)
        if fresh is not None:
            new["status"] = deepcopy(fresh)
        return self._store(resource, None, new)

    def write(self, resource: Resource, old: Raw, new: Raw, *, subresource: str = "") -> Raw:
        """Store a changed object, as far as the subresource may change it; nothing happens where nothing changes.

        Raises:
            Conflict: the resource version, or the uid, in the new object is not the stored one.
        """
        _check_identity(resource, old, new["metadata"])
        merged = _allowed_change(resource, old, new, subresource)
        if merged == old:
            return old
        if merged.get("spec") != old.get("spec"):
            merged["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        released = old["metadata"].get("finalizers") and not merged["metadata"].get("finalizers")
        if merged["metadata"].get("deletionTimestamp") and released:  # the last of what held it; a pod's grace goes on
            return self.drop(resource, merged)
        return self._store(resource, old, merged)

    def delete(
        self, resource: Resource, old: Raw, *, preconditions: Mapping[str, str | None], grace: int | None
    ) -> Raw:
        """Delete, or mark as being deleted where finalizers or a pod's grace hold it.

        Raises:
            Conflict: a precondition does not hold.
        """
        _check_identity(resource, old, preconditions)
        metadata = old["metadata"]
        running = resource.id == PODS.id and bool((old.get("spec") or {}).get("nodeName"))
        if grace is None:
            grace = (old.get("spec") or {}).get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
        wait = grace if running else 0
        if not metadata.get("finalizers") and wait == 0:
            return self.drop(resource, old)
        if metadata.get("deletionTimestamp"):
            return old
        marked = deepcopy(old)
        marked["metadata"]["deletionTimestamp"] = timestamp(self._clock.now() + timedelta(seconds=wait))
        marked["metadata"]["deletionGracePeriodSeconds"] = wait
        return self._store(resource, old, marked)

    def bind(self, old: Raw, *, uid: str, node: str, annotations: Mapping[str, str]) -> Raw:
        """Bind a pod as the Binding subresource does.

        Raises:
            Conflict: another pod, one that is being deleted, or one that has a node.
        """
        name = old["metadata"]["name"]
        _check_identity(PODS, old, {"uid": uid})
        bound = (old.get("spec") or {}).get("nodeName")
        if bound:
            raise Conflict(f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is on node "{bound}"')
        if old["metadata"].get("deletionTimestamp"):
            raise Conflict(f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is being deleted')
        new = deepcopy(old)
        new.setdefault("spec", {})["nodeName"] = node
        if annotations:
            new["metadata"].setdefault("annotations", {}).update(annotations)
        conditions = [c for c in new["status"].get("conditions", ()) if c["type"] != "PodScheduled"]
        new["status"]["conditions"] = [*conditions, {"type": "PodScheduled", "status": "True"}]
        return self._store(PODS, old, new)

    def evict(self, old: Raw, *, uid: str) -> Raw:
        """Evict a pod as the Eviction subresource does: charge the budget that covers it, mark the pod, delete it.

        Raises:
            Conflict: another pod.
            TooManyRequests: the budget allows no disruption.
        """
        _check_identity(PODS, old, {"uid": uid})
        if old["metadata"].get("deletionTimestamp"):
            return old
        for budget in self.list(POD_DISRUPTION_BUDGETS, Selection(old["metadata"]["namespace"])):
            wanted = (budget["spec"].get("selector") or {}).get("matchLabels")
            labels = old["metadata"].get("labels") or {}
            if wanted and wanted.items() <= labels.items():
                left = budget.get("status", {}).get("disruptionsAllowed", 0)
                if left <= 0:
                    raise TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.")
                status = {**budget["status"], "disruptionsAllowed": left - 1}
                self._store(POD_DISRUPTION_BUDGETS, budget, deepcopy({**budget, "status": status}))
        marked = deepcopy(old)
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        marked["status"]["conditions"] = [*marked["status"].get("conditions", ()), target]
        return self.delete(PODS, self._store(PODS, old, marked), preconditions={}, grace=None)

    def _store(self, resource: Resource, old: Raw | None, new: Raw) -> Raw:
        self.version += 1
        metadata = new["metadata"]
        metadata["resourceVersion"] = str(self.version)
        place = _place(resource, metadata["name"], metadata.get("namespace", ""))
        self._objects.setdefault(resource.id, {})[place] = new
        self.history.append(Entry(self.version, resource.id, old, new, deleted=False))
        return new

    def drop(self, resource: Resource, last: Raw) -> Raw:
        """Remove an object, whatever holds it; ``last`` is how it looked in the end."""
        self.version += 1
        final = deepcopy(last)
        metadata = final["metadata"]
        old = self._objects[resource.id].pop(_place(resource, metadata["name"], metadata.get("namespace", "")))
        metadata["resourceVersion"] = str(self.version)
        self.history.append(Entry(self.version, resource.id, old, final, deleted=True))
        return final


def merge_patch(target: Any, patch: Any) -> Any:  # Any: JSON
    """RFC 7386; the target stays as it is."""
    if not isinstance(patch, Mapping):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def merge_conditions(old: Raw, patch: Raw, new: Raw) -> None:
    """What a strategic merge does beyond a merge patch, as far as our components use it: conditions go by their type.

    Changes ``new``, the outcome of the merge patch.
    """
    sent = (patch.get("status") or {}).get("conditions")
    if sent:
        by_type = {one["type"]: one for one in (old.get("status") or {}).get("conditions", ())}
        for one in sent:
            by_type[one["type"]] = {**by_type.get(one["type"], {}), **one}
        new["status"]["conditions"] = list(by_type.values())


def json_patch(target: Raw, operations: Iterable[Mapping[str, Any]]) -> Raw:
    """RFC 6902: add, replace, remove and test.

    Raises:
        Invalid: a path that does not exist, or a test that does not hold.
    """
    result = deepcopy(target)
    for operation in operations:
        try:
            _apply(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise Invalid(f"the server rejected our request due to an error in our request: {operation}") from error
    return result


def _apply(document: Any, operation: Mapping[str, Any]) -> None:  # Any: JSON
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for part in parents:
        document = document[int(part) if isinstance(document, list) else part]
    action, value = operation["op"], deepcopy(operation.get("value"))
    if isinstance(document, list) and action == "add":
        document.insert(len(document) if last == "-" else int(last), value)
        return
    place: Any = int(last) if isinstance(document, list) else last
    if action == "add":
        document[place] = value
        return
    found = document[place]  # the others want it to be there
    if action == "remove":
        del document[place]
    elif action == "replace":
        document[place] = value
    elif action != "test" or found != value:
        raise ValueError(action)


def _place(resource: Resource, name: str, namespace: str) -> tuple[str, str]:
    return (namespace if resource.namespaced else "", name)


def _check_identity(resource: Resource, old: Raw, wanted: Mapping[str, Any]) -> None:
    metadata = old["metadata"]
    for field in ("uid", "resourceVersion"):
        value = wanted.get(field)
        if value and value != metadata[field]:
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.id} "{metadata["name"]}": '
                f"wanted {field} {value}, found {metadata[field]}",
                kind=resource.plural,
                name=metadata["name"],
            )


def _allowed_change(resource: Resource, old: Raw, new: Raw, subresource: str) -> Raw:
    """The stored object with what this write may change: status through its own path, and little but status there."""
    merged = deepcopy(old if subresource == "status" else new)
    if subresource == "status":
        merged["status"] = deepcopy(new.get("status") or {})
        if resource.id == PODS.id:  # a pod's status may be written with its labels and annotations
            merged["metadata"] |= {k: new["metadata"].get(k) or {} for k in ("labels", "annotations")}
        elif resource.id == DEPLOYMENTS.id:  # as a deployment's with its annotations
            merged["metadata"]["annotations"] = deepcopy(new["metadata"].get("annotations") or {})
    elif subresource == "scale":
        merged = deepcopy(old)
        merged["spec"]["replicas"] = new["spec"]["replicas"]
    elif subresource:
        raise BadRequest(f"{resource.id}/{subresource}: not known to the fake API")
    elif resource.id in _STATUS_APART or resource.group == GROUP:
        merged.pop("status", None)
        if "status" in old:
            merged["status"] = old["status"]
    for field in (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
    ):
        if field in old["metadata"]:
            merged["metadata"][field] = old["metadata"][field]
        else:
            merged["metadata"].pop(field, None)
    return merged


def _terms(selector: str) -> Iterable[SelectorRequirement]:
    """A label selector of a query string: ``a=b``, ``a!=b``, ``a``, ``!a``, ``a in (b,c)``, ``a notin (b,c)``."""
    rest = selector
    while rest:
        head, opened, tail = rest.partition("(")
        if opened and "," not in head:
            values, _, rest = tail.partition(")")
            key, operator = head.split()
            rest = rest.lstrip(",")
            members = tuple(value.strip() for value in values.split(","))
            yield SelectorRequirement(key, "In" if operator == "in" else "NotIn", members)
            continue
        term, _, rest = rest.partition(",")
        yield _simple_term(term.strip())


def _simple_term(term: str) -> SelectorRequirement:
    for separator, operator in (("!=", "NotIn"), ("==", "In"), ("=", "In")):
        key, found, value = term.partition(separator)
        if found:
            return SelectorRequirement(key.strip(), operator, (value.strip(),))
    return SelectorRequirement(term.lstrip("!"), "DoesNotExist" if term.startswith("!") else "Exists")


def _field(found: Raw, term: str) -> bool:
    """One term of a field selector: ``spec.nodeName=x`` or ``status.phase!=y``; a missing field is empty."""
    path, _, value = term.partition("=")
    negated = path.endswith("!")
    value = value.removeprefix("=")
    here: Any = found  # Any: JSON
    for part in path.removesuffix("!").split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return (str(here if here is not None else "") == value) != negated
