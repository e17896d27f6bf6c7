"""What a terminating namespace says about what is in its way. Pure.

Source: the namespace controller of kube-controller-manager 1.34: texts, reasons and order as a real server shows them.
"""

from collections import Counter
from dataclasses import dataclass, field

from tensorfusion.embedded.objects import JsonObject


@dataclass(slots=True)
class Remains:
    """What is left of a namespace's content after a pass."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Objects by plural and group."""
    finalizers: Counter[str] = field(default_factory=Counter)
    """Objects by finalizer."""
    failures: list[str] = field(default_factory=list)
    """Deletions that were refused."""


@dataclass(frozen=True, slots=True)
class _Condition:
    type: str
    status: bool
    reason: str
    message: str


def update_conditions(status: JsonObject, remains: Remains, *, now: str) -> JsonObject:
    """The status with its conditions brought up to date; a transition is a change of a condition's status."""
    before = {condition["type"]: condition for condition in status.get("conditions") or ()}
    conditions = []
    for condition in _conditions(remains):
        wanted = "True" if condition.status else "False"
        known = before.get(condition.type)
        since = known.get("lastTransitionTime", now) if known is not None and known["status"] == wanted else now
        conditions.append(
            {
                "type": condition.type,
                "status": wanted,
                "lastTransitionTime": since,
                "reason": condition.reason,
                "message": condition.message,
            }
        )
    ours = {condition["type"] for condition in conditions}
    others = [condition for condition in before.values() if condition["type"] not in ours]
    return {**status, "phase": "Terminating", "conditions": [*conditions, *others]}


def _conditions(remains: Remains) -> list[_Condition]:
    return [
        _Condition(
            "NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"
        ),
        _Condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        _deletion(remains),
        _content(remains),
        _finalizers(remains),
    ]


def _deletion(remains: Remains) -> _Condition:
    kind = "NamespaceDeletionContentFailure"
    if not remains.failures:
        return _Condition(
            kind, False, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"
        )
    listed = ", ".join(sorted(set(remains.failures)))
    message = f"Failed to delete all resource types, {len(remains.failures)} remaining: {listed}"
    return _Condition(kind, True, "ContentDeletionFailed", message)


def _content(remains: Remains) -> _Condition:
    kind = "NamespaceContentRemaining"
    if not remains.counts:
        return _Condition(kind, False, "ContentRemoved", "All content successfully removed")
    listed = ", ".join(
        f"{plural}.{group} has {count} resource instances" for (plural, group), count in sorted(remains.counts.items())
    )
    return _Condition(kind, True, "SomeResourcesRemain", f"Some resources are remaining: {listed}")


def _finalizers(remains: Remains) -> _Condition:
    kind = "NamespaceFinalizersRemaining"
    if not remains.finalizers:
        return _Condition(kind, False, "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    listed = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items()))
    message = f"Some content in the namespace has finalizers remaining: {listed}"
    return _Condition(kind, True, "SomeFinalizersRemain", message)
