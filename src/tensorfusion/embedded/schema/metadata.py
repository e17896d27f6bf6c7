"""The rules of ``metadata``, the same for every kind.

Source: apimachinery api/validation/objectmeta.go, texts seen through a real server.
"""

from typing import Any

from tensorfusion.embedded.schema.names import Rule, label_value, path_segment_prefix, qualified_name
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    IMMUTABLE,
    REQUIRED,
    TOO_LONG,
    complain,
    forbidden,
    invalid_value,
    required,
)
from tensorfusion.model.meta import Raw

ANNOTATIONS_BYTES = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_AT: Path = (None, "metadata")
_ANY_PREFIX = frozenset({"events", "poddisruptionbudgets.policy"})
_PREFIX_OF_NEW = frozenset(
    {
        "cronjobs.batch",
        "customresourcedefinitions.apiextensions.k8s.io",
        "daemonsets.apps",
        "deployments.apps",
        "horizontalpodautoscalers.autoscaling",
        "leases.coordination.k8s.io",
        "podtemplates",
        "priorityclasses.scheduling.k8s.io",
        "replicasets.apps",
        "resourcequotas",
        "resourceslices.resource.k8s.io",
        "services",
        "statefulsets.apps",
    }
)
_FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def check_metadata(
    metadata: Raw,
    rule: Rule,
    *,
    namespaced: bool,
    problems: list[Problem],
    prefix: bool = True,
    any_finalizer: bool = False,
) -> None:
    """Name, labels, annotations, finalizers and owner references. ``rule`` is the kind's name rule.

    Not ``prefix``: ``generateName`` may be anything that can stand in a URL. ``any_finalizer``: its name need not say
    whose it is.
    """
    name = metadata.get("name")
    generated = metadata.get("generateName")
    if generated:
        found = rule(_without_dash(generated)) if prefix else path_segment_prefix(generated)
        complain(problems, (_AT, "generateName"), generated, found)
    if not name:
        problems.append(Problem((_AT, "name"), required("name or generateName is required"), REQUIRED, blocking=True))
    else:
        complain(problems, (_AT, "name"), name, rule(name))
    if namespaced and not metadata.get("namespace"):
        problems.append(Problem((_AT, "namespace"), required(), REQUIRED))
    elif not namespaced and metadata.get("namespace"):
        problems.append(Problem((_AT, "namespace"), forbidden("not allowed on this type"), FORBIDDEN))
    generation = metadata.get("generation")
    if generation is not None and generation < 0:
        complain(problems, (_AT, "generation"), generation, ["must be greater than or equal to 0"])
    labels = metadata.get("labels")
    if labels:
        check_labels(labels, (_AT, "labels"), problems)
    annotations = metadata.get("annotations")
    if annotations:
        check_annotations(annotations, (_AT, "annotations"), problems)
    if metadata.get("finalizers"):
        _check_finalizers(metadata["finalizers"], problems, any_finalizer=any_finalizer)
    if metadata.get("ownerReferences"):
        _check_owners(metadata["ownerReferences"], problems)


def check_metadata_update(metadata: Raw, old: Raw, problems: list[Problem]) -> None:
    """What nobody may change, and finalizers, which may only go while an object is being deleted."""
    for field in _FIXED:
        before, after = old.get(field), metadata.get(field)
        if before != after and (before is not None or after is not None):
            problems.append(Problem((_AT, field), invalid_value(after, IMMUTABLE)))
    if old.get("deletionTimestamp"):
        added = sorted(set(metadata.get("finalizers", ())) - set(old.get("finalizers", ())))
        if added:
            names = ", ".join(f'"{name}"' for name in added)
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers [{names}]"
            problems.append(Problem((_AT, "finalizers"), forbidden(text), FORBIDDEN))


def check_labels(labels: Raw, path: Path, problems: list[Problem]) -> None:
    """Labels, or any map that selects by them (node selectors, service selectors)."""
    for key, value in labels.items():
        if found := qualified_name(key):
            complain(problems, path, key, found)
        if found := label_value(value):
            complain(problems, path, value, found)


def check_annotations(annotations: Raw, path: Path, problems: list[Problem]) -> None:
    size = 0
    for key, value in annotations.items():
        size += len(key) + len(value)
        if found := qualified_name(key.lower()):
            complain(problems, path, key, found)
    if size * 4 > ANNOTATIONS_BYTES:  # only then can it be too much in UTF-8
        size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
        if size > ANNOTATIONS_BYTES:
            problems.append(Problem(path, f"Too long: may not be more than {ANNOTATIONS_BYTES} bytes", TOO_LONG))


def checks_prefix(resource_id: str, *, new: bool) -> bool:
    """Whether a built-in kind looks at ``generateName``: some do not, most of them when an object is changed."""
    return resource_id not in _ANY_PREFIX and (new or resource_id not in _PREFIX_OF_NEW)


def _without_dash(prefix: str) -> str:
    """What stands for a prefix that ends in a dash: a real server puts a letter in place of its last two."""
    if len(prefix) < 2 or not prefix.endswith("-"):
        return prefix
    return prefix.encode()[:-2].decode(errors="replace") + "a"


def finalizer_warnings(finalizers: list[str]) -> list[str]:
    """What the author of a custom object is told of finalizers that might be somebody else's, too."""
    advice = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    return [f'metadata.finalizers: "{name}": {advice}' for name in finalizers if not _says_whose(name)]


def _says_whose(finalizer: str) -> bool:
    return "/" in finalizer or finalizer in _STANDARD_FINALIZERS


def _check_finalizers(finalizers: list[str], problems: list[Problem], *, any_finalizer: bool) -> None:
    path: Path = (_AT, "finalizers")
    for index, name in enumerate(finalizers):
        complain(problems, path, name, qualified_name(name))
        if not any_finalizer and not _says_whose(name):
            text = "name is neither a standard finalizer name nor is it fully qualified"
            problems.append(Problem((path, index), invalid_value(name, text)))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        problems.append(Problem(path, invalid_value(finalizers, text)))


def _check_owners(owners: list[Raw], problems: list[Problem]) -> None:
    path: Path = (_AT, "ownerReferences")
    controllers = [owner for owner in owners if owner.get("controller")]
    for owner in owners:
        version: Any = owner.get("apiVersion", "")
        if not version.rpartition("/")[2] or version.count("/") > 1:
            problems.append(Problem((path, "apiVersion"), invalid_value(version, "version must not be empty")))
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                complain(problems, (path, field), owner.get(field, ""), ["must not be empty"])
        if version == "v1" and owner.get("kind") == "Event":
            problems.append(Problem(path, invalid_value(owner, "/v1, Kind=Event is disallowed from being an owner")))
    if len(controllers) > 1:
        first, second = (f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers[:2])
        found = f'Found "true" in references for {first} and {second}'
        text = f"Only one reference can have Controller set to true. {found}"
        problems.append(Problem(path, invalid_value(owners, text)))


def without_repeated_owners(obj: Raw) -> list[str]:
    """Leave out owner references that come twice. Returns the warning that says so, if there is one to give."""
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    if len(owners) < 2:
        return []
    kept: list[Raw] = []
    seen: set[frozenset[tuple[str, Any]]] = set()
    repeated: list[str] = []
    for owner in owners:
        content = frozenset(owner.items())  # its fields are strings and booleans
        if content in seen:
            repeated.append(str(owner.get("uid", "")))
        else:
            seen.add(content)
            kept.append(owner)
    if not repeated:
        return []
    obj["metadata"]["ownerReferences"] = kept
    warning = (
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
    )
    return [warning + ", ".join(repeated)]


def check_data_keys(data: Raw, path: Path, rule: Rule, problems: list[Problem]) -> None:
    """Keys of a map that are names of their own kind, such as a ConfigMap's."""
    for key in data:
        complain(problems, (path, Member(key)), key, rule(key))
