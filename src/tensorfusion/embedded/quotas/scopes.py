"""Which objects a quota is about: all, or those that fit every one of its scopes.

Source: kubernetes pkg/quota/v1/evaluator/core (podMatchesScopeFunc), by behaviour.
"""

from collections.abc import Sequence

from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.builtin.pods import qos_class
from tensorfusion.model.resources import PERSISTENT_VOLUME_CLAIMS, PODS


def scopes_of(quota: JsonObject) -> tuple[JsonObject, ...]:
    """The scopes of a quota in their long form."""
    spec = quota.get("spec") or {}
    plain = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    return (*plain, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ()))


def fits(scopes: Sequence[JsonObject], resource: str, obj: JsonObject) -> bool:
    """Whether an object is in every scope. Only pods and volume claims can be in any."""
    if not scopes:
        return True
    spec = obj.get("spec") or {}
    if resource == PODS.id:
        return all(_pod_fits(scope, spec) for scope in scopes)
    if resource == PERSISTENT_VOLUME_CLAIMS.id:
        named = spec.get("volumeAttributesClassName")
        return all(scope.get("scopeName") == "VolumeAttributesClass" and _selects(scope, named) for scope in scopes)
    return False


def _pod_fits(scope: JsonObject, spec: JsonObject) -> bool:
    match scope.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _selects(scope, spec.get("priorityClassName"))
        case "CrossNamespacePodAffinity":
            return _looks_elsewhere(spec.get("affinity") or {})
        case _:
            return False


def _selects(scope: JsonObject, named: str | None) -> bool:
    values = scope.get("values") or ()
    match scope.get("operator"):
        case "In":
            return bool(named) and named in values
        case "NotIn":
            return not named or named not in values
        case "Exists":
            return bool(named)
        case "DoesNotExist":
            return not named
        case _:
            return False


def _looks_elsewhere(affinity: JsonObject) -> bool:
    for field in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(field) or {}
        terms = [
            *(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
            *(
                preferred.get("podAffinityTerm") or {}
                for preferred in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
            ),
        ]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
