"""Rules of volumes, claims and storage classes: sizes, and what is fixed once they exist.

Source: kubernetes pkg/apis/{core,storage}/validation, texts seen through a real server.
"""

from tensorfusion.embedded.schema.builtin.references import check_no_parent
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector
from tensorfusion.embedded.schema.names import subdomain
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw
from tensorfusion.units import parse_quantity

_SPEC: Path = (None, "spec")
_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_ALONE = "ReadWriteOncePod"
_CLAIM_FROZEN = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_VOLUME_FIELDS = frozenset(
    (
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    )
)
"""Of a volume's spec, what is not its source."""


def check_claim(claim: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = claim.get("spec") or {}
    check_claim_spec(spec, _SPEC, problems)
    if old is not None:
        _check_claim_change(claim, spec, old, problems)


def check_claim_spec(spec: Raw, path: Path, problems: list[Problem]) -> None:
    """The rules of a claim's spec, also inside a template."""
    check_label_selector(spec.get("selector"), (path, "selector"), problems)
    _check_modes(spec, path, problems)
    at: Path = ((path, "resources"), Member("storage"))
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        problems.append(Problem(at, required(), REQUIRED))
    elif parse_quantity(size) <= 0:
        complain(problems, at, size, ["must be greater than zero"])
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and reference:
        text = "must match dataSourceRef"
        if reference.get("namespace"):
            text = "may not be specified when dataSourceRef.namespace is specified"
        elif source == reference:
            return
        complain(problems, path, "", [text])


def _check_modes(spec: Raw, path: Path, problems: list[Problem]) -> None:
    modes = spec.get("accessModes") or ()
    problems.extend(
        Problem((path, "accessModes"), unsupported(mode, _MODES), NOT_SUPPORTED) for mode in modes if mode not in _MODES
    )
    if _ALONE in modes and any(mode != _ALONE and mode in _MODES for mode in modes):
        text = forbidden(f"may not use {_ALONE} with other access modes")
        problems.append(Problem((path, "accessModes"), text, FORBIDDEN))


def _check_claim_change(claim: Raw, spec: Raw, old: Raw, problems: list[Problem]) -> None:
    before = old.get("spec") or {}
    bound = (claim.get("status") or {}).get("phase") == "Bound"
    if _fixed(spec, before, bound=bound) != _fixed(before, before, bound=bound):
        problems.append(Problem(_SPEC, forbidden(_CLAIM_FROZEN), FORBIDDEN))
    size, was = (((part.get("resources") or {}).get("requests") or {}).get("storage", "0") for part in (spec, before))
    have = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
    if parse_quantity(size) < parse_quantity(was) and parse_quantity(size) <= parse_quantity(have):
        at: Path = (((_SPEC, "resources"), "requests"), "storage")
        text = forbidden("field can not be less than status.capacity")
        problems.append(Problem(at, text, FORBIDDEN))
    if spec.get("volumeMode") != before.get("volumeMode"):
        complain(problems, (None, "volumeMode"), spec.get("volumeMode"), [IMMUTABLE])


def _fixed(spec: Raw, before: Raw, *, bound: bool) -> Raw:
    """A claim's spec without what may change: its volume once, its size and class when it has one."""
    fixed = dict(spec)
    if not before.get("volumeName"):
        fixed.pop("volumeName", None)
    if bound:
        resources = dict(fixed.get("resources") or {})
        resources["requests"] = {
            name: amount for name, amount in (resources.get("requests") or {}).items() if name != "storage"
        }
        fixed["resources"] = resources
        fixed.pop("volumeAttributesClassName", None)
    return fixed


def check_volume(volume: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = volume.get("spec") or {}
    _check_modes(spec, _SPEC, problems)
    if spec:
        _check_capacity(spec, problems)
    sources = sorted(spec.keys() - _VOLUME_FIELDS)
    for extra in sources[1:]:
        text = forbidden("may not specify more than 1 volume type")
        problems.append(Problem((_SPEC, extra), text, FORBIDDEN))
    if spec and not sources:
        problems.append(Problem(_SPEC, required("must specify a volume type"), REQUIRED))
    if old is None:
        return
    before = old.get("spec") or {}
    if {field: spec[field] for field in sources} != {field: before[field] for field in before.keys() - _VOLUME_FIELDS}:
        at: Path = (_SPEC, "persistentvolumesource")
        text = forbidden("spec.persistentvolumesource is immutable after creation")
        problems.append(Problem(at, text, FORBIDDEN))
    if spec.get("volumeMode") != before.get("volumeMode"):
        complain(problems, (None, "volumeMode"), spec.get("volumeMode"), [IMMUTABLE])


def _check_capacity(spec: Raw, problems: list[Problem]) -> None:
    """A volume has a size and nothing else; where it lies is a path or a driver's business."""
    capacity = spec.get("capacity")
    at: Path = (_SPEC, "capacity")
    if capacity is None or set(capacity) != {"storage"}:
        problems.append(Problem(at, unsupported(capacity, ("storage",)), NOT_SUPPORTED))
    elif parse_quantity(capacity["storage"]) <= 0:
        complain(problems, (at, Member("storage")), capacity["storage"], ["must be greater than zero"])
    for field in ("hostPath", "local"):
        check_no_parent((spec.get(field) or {}).get("path", ""), ((_SPEC, field), "path"), problems)
    if spec.get("local") and not (spec.get("nodeAffinity") or {}).get("required"):
        text = required("Local volume requires node affinity")
        problems.append(Problem((_SPEC, "nodeAffinity"), text, REQUIRED))
    if "csi" in spec:
        check_driver(spec["csi"], (_SPEC, "csi"), problems)


def check_driver(source: Raw, path: Path, problems: list[Problem]) -> None:
    """The name of the driver of a volume."""
    name = source.get("driver", "")
    complain(problems, (path, "driver"), name, subdomain(name.lower()))


def check_storage_class(storage_class: Raw, old: Raw | None, problems: list[Problem]) -> None:
    if "" in (storage_class.get("parameters") or ()):
        complain(problems, (None, "parameters"), "", ["field can not be empty."])
    if old is None:
        return
    problems.extend(
        Problem((None, field), forbidden(f"updates to {field} are forbidden."), FORBIDDEN)
        for field in ("parameters", "provisioner", "reclaimPolicy")
        if storage_class.get(field) != old.get(field)
    )
    mode = storage_class.get("volumeBindingMode")
    if mode != old.get("volumeBindingMode"):
        complain(problems, (None, "volumeBindingMode"), mode, [IMMUTABLE])
