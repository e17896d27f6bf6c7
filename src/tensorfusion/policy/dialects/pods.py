"""Pods and everything with a pod template: older annotations and fractional resources as annotations of ours.

Source: the platform's contract, quirks of pods; TensorFusion's API contract for labels at the wrong level.
"""

from decimal import Decimal

from tensorfusion.model import keys
from tensorfusion.policy.dialects.draft import (
    ABSENT,
    Draft,
    Json,
    Path,
    Untranslatable,
    number,
    plain_number,
    shown,
    text,
)

_TEMPLATES: dict[str, Path] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}

_OLD_POOL = f"{keys.DOMAIN}/pool-name"
_OLD_FRACTIONS = (f"{keys.DOMAIN}/vgpu", f"{keys.DOMAIN}/gpu")
_OLD_AMOUNTS = {
    f"{keys.DOMAIN}/tflops": (keys.TFLOPS_REQUEST, keys.TFLOPS_LIMIT),
    f"{keys.DOMAIN}/vram": (keys.VRAM_REQUEST, keys.VRAM_LIMIT),
}


def handles(kind: str) -> bool:
    """Whether objects of a kind are or make pods."""
    return kind in _TEMPLATES


def rewrite(draft: Draft) -> None:
    """Rewrite a manifest in place."""
    where = _TEMPLATES[str(draft.document["kind"])]
    for field in ("labels", "annotations") if where else ():
        if draft.has((*where, field)):
            place = shown((*where, "metadata", field))
            draft.refuse((*where, field), f"{field} under {place}", draft.get((*where, field)))
    annotations = (*where, "metadata", "annotations")
    _switch(draft, where)
    draft.move((*annotations, _OLD_POOL), (*annotations, keys.GPU_POOL))
    for old in _OLD_AMOUNTS:
        _amount(draft, (*annotations, old), annotations, old)
    for old in _OLD_FRACTIONS:
        _fraction(draft, (*annotations, old), annotations)
    _resources(draft, where, annotations)


def _switch(draft: Draft, where: Path) -> None:
    """``enabled`` is a label; some write it as an annotation."""
    old, new = ((*where, "metadata", field, keys.ENABLED) for field in ("annotations", "labels"))
    if draft.has(old):
        draft.move(old, new)


def _amount(draft: Draft, old: Path, annotations: Path, name: str) -> None:
    value = draft.get(old)
    if value is ABSENT:
        return
    try:
        amount = text(value)
    except Untranslatable as error:
        draft.refuse(old, error.wanted, value)
        return
    missing = [key for key in _OLD_AMOUNTS[name] if not draft.has((*annotations, key))]
    if not missing:
        draft.drop(old, "request and limit are stated")
        return
    draft.take(old)
    for key in missing:
        draft.put((*annotations, key), amount)
        draft.note(f"{shown(old)}: {amount} -> {shown((*annotations, key))}: {amount}")


def _fraction(draft: Draft, old: Path, annotations: Path) -> None:
    """A fraction of one device, or a number of whole ones."""
    value = draft.get(old)
    if value is ABSENT:
        return
    try:
        found = number(value)
    except Untranslatable:
        draft.refuse(old, "a fraction up to 1, or a whole number of devices", value)
        return
    if found <= 0 or (found > 1 and found != int(found)):
        draft.refuse(old, "a fraction up to 1, or a whole number of devices", value)
        return
    wanted = {keys.GPU_COUNT: str(int(found))} if found > 1 else {}
    percent = plain_number(float(min(found, Decimal(1)) * 100))
    wanted |= {keys.COMPUTE_PERCENT_REQUEST: percent, keys.COMPUTE_PERCENT_LIMIT: percent}
    draft.take(old)
    for key, written in wanted.items():
        if draft.put((*annotations, key), written):
            draft.note(f"{shown(old)}: {value} -> {shown((*annotations, key))}: {written}")
    if not draft.has((*annotations, keys.VRAM_REQUEST)) and not draft.has((*annotations, keys.VRAM_LIMIT)):
        draft.warnings.append(f"a fraction of compute says nothing about memory: set annotation {keys.VRAM_LIMIT}")


def _resources(draft: Draft, where: Path, annotations: Path) -> None:
    """Resources of our domain cannot be fractions in Kubernetes: they become annotations of the pod."""
    containers = draft.get((*where, "spec", "containers"))
    if not isinstance(containers, list):
        return
    asking = []
    for index, container in enumerate(containers):
        found = False
        for side in ("limits", "requests"):
            amounts = (*where, "spec", "containers", index, "resources", side)
            for name in (*_OLD_AMOUNTS, *_OLD_FRACTIONS):
                if not draft.has((*amounts, name)):
                    continue
                found = True
                if name in _OLD_AMOUNTS:
                    _side(draft, (*amounts, name), annotations, _OLD_AMOUNTS[name][side == "limits"])
                else:
                    _fraction(draft, (*amounts, name), annotations)
            draft.prune(amounts)
        draft.prune((*where, "spec", "containers", index, "resources"))
        if found and isinstance(container, dict):
            asking.append(str(container.get("name", "")))
    if asking and len(containers) > 1 and not draft.has((*annotations, keys.INJECT_CONTAINER)):
        draft.put((*annotations, keys.INJECT_CONTAINER), ",".join(asking))
        draft.note(f"containers with a share -> {shown((*annotations, keys.INJECT_CONTAINER))}: {','.join(asking)}")


def _side(draft: Draft, old: Path, annotations: Path, key: str) -> None:
    draft.move(old, (*annotations, key), text)


def annotations_of(document: Json) -> Json:
    """The annotations of the pod that an object is or makes; ``ABSENT`` where there are none."""
    kind = str(document.get("kind", ""))
    return Draft(document).get((*_TEMPLATES[kind], "metadata", "annotations")) if kind in _TEMPLATES else ABSENT
