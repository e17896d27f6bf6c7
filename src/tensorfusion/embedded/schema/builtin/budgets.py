"""Rules of disruption budgets, quotas and limit ranges.

Source: kubernetes pkg/apis/{policy,core}/validation, texts seen through a real server.
"""

from collections.abc import Iterable, Sequence

from tensorfusion.embedded.schema.builtin.amounts import check_amount
from tensorfusion.embedded.schema.builtin.resources import (
    COMPUTE_BY_QUOTA,
    COUNTED_BY_QUOTA,
    KNOWN_TO_QUOTA,
    check_amount_of,
    overcommitable,
)
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector
from tensorfusion.embedded.schema.names import qualified_name
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    REQUIRED,
    complain,
    duplicate,
    forbidden,
    required,
)
from tensorfusion.model.meta import Raw
from tensorfusion.units import parse_quantity

_SPEC: Path = (None, "spec")
_OF_PODS = COMPUTE_BY_QUOTA | {"pods"}
_SCOPED = {
    "Terminating": _OF_PODS,
    "NotTerminating": _OF_PODS,
    "NotBestEffort": _OF_PODS,
    "PriorityClass": _OF_PODS,
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
    "CrossNamespacePodAffinity": _OF_PODS,
}
"""Which standard resources a quota of each scope can count."""
_PLAIN_SCOPES = frozenset({"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"})
_OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_LIMITED = ("Pod", "Container", "PersistentVolumeClaim")


def check_disruption_budget(budget: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = budget.get("spec") or {}
    bounds = [field for field in ("minAvailable", "maxUnavailable") if field in spec]
    if len(bounds) > 1:
        complain(problems, _SPEC, spec, ["minAvailable and maxUnavailable cannot be both set"])
    for field in bounds:
        check_amount(spec[field], (_SPEC, field), problems, most_all=True)
    check_label_selector(spec.get("selector"), (_SPEC, "selector"), problems)


def check_quota(quota: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = quota.get("spec") or {}
    hard = spec.get("hard") or {}
    check_hard(hard, (_SPEC, "hard"), problems)
    _check_scopes(spec.get("scopes") or [], hard, problems)
    terms = (spec.get("scopeSelector") or {}).get("matchExpressions")
    if terms:
        _check_scope_terms(spec, terms, hard, problems)
    if old is not None:
        before = (old.get("spec") or {}).get("scopes") or []
        if set(before) != set(spec.get("scopes") or []):
            complain(problems, (_SPEC, "scopes"), spec.get("scopes"), [IMMUTABLE])


def check_hard(hard: Raw, path: Path, problems: list[Problem]) -> None:
    """Names and amounts of what a quota limits, or counts."""
    for name, amount in hard.items():
        at: Path = (path, Member(name))
        complain(problems, at, name, qualified_name(name))
        if "/" not in name and name not in KNOWN_TO_QUOTA:
            if not qualified_name(name):
                complain(problems, at, name, ["must be a standard resource type or fully qualified"])
            complain(problems, at, name, ["must be a standard resource for quota"])
        value = parse_quantity(amount)
        if value < 0:
            complain(problems, at, amount, ["must be greater than or equal to 0"])
        if (name in COUNTED_BY_QUOTA or _is_extended(name)) and value.denominator != 1:
            complain(problems, at, amount, ["must be an integer"])


def _is_extended(name: str) -> bool:
    """Counts of kinds and devices of nodes: neither comes in parts."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def _check_scopes(scopes: Sequence[str], hard: Raw, problems: list[Problem]) -> None:
    at: Path = (_SPEC, "scopes")
    for scope in scopes:
        if scope not in _SCOPED or scope == "CrossNamespacePodAffinity":
            complain(problems, at, scopes, ["unsupported scope"])
        for name in _unfit(scope, hard):
            complain(problems, at, scopes, ["unsupported scope applied to resource"] if name else [])
    _check_opposites(scopes, at, scopes, problems)


def _unfit(scope: str, hard: Raw) -> list[str]:
    fit = _SCOPED.get(scope)
    return [] if fit is None else [name for name in hard if name in KNOWN_TO_QUOTA and name not in fit]


def _check_opposites(scopes: Iterable[str], path: Path, value: object, problems: list[Problem]) -> None:
    found = set(scopes)
    for pair in _OPPOSITES:
        if found.issuperset(pair):
            complain(problems, path, value, ["conflicting scopes"])


def _check_scope_terms(spec: Raw, terms: Sequence[Raw], hard: Raw, problems: list[Problem]) -> None:
    at: Path = ((_SPEC, "scopeSelector"), "matchExpressions")
    for term in terms:
        scope, operator, values = term.get("scopeName", ""), term.get("operator", ""), term.get("values") or []
        if scope not in _SCOPED:
            complain(problems, (at, "scopeName"), scope, ["unsupported scope"])
        for _ in _unfit(scope, hard):
            complain(problems, at, spec["scopeSelector"], ["unsupported scope applied to resource"])
        if scope in _PLAIN_SCOPES and operator != "Exists":
            text = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            complain(problems, (at, "operator"), operator, [text])
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                problems.append(Problem((at, "values"), required(text), REQUIRED))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                complain(problems, (at, "values"), values, [text])
        else:
            complain(problems, (at, "operator"), operator, ["not a valid selector operator"])
    _check_opposites((term.get("scopeName", "") for term in terms), at, spec.get("scopes"), problems)


def check_limit_range(limit_range: Raw, old: Raw | None, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for index, item in enumerate((limit_range.get("spec") or {}).get("limits") or ()):
        at: Path = ((_SPEC, "limits"), index)
        kind = item.get("type", "")
        if "/" not in kind and kind not in _LIMITED and not qualified_name(kind):
            complain(problems, (at, "type"), kind, ["must be a standard limit type or fully qualified"])
        if kind in seen:
            problems.append(Problem((at, "type"), duplicate(kind), DUPLICATE))
        seen.add(kind)
        _check_limits(item, kind, at, problems)


def _check_limits(item: Raw, kind: str, path: Path, problems: list[Problem]) -> None:
    parts = {field: item.get(field) or {} for field in ("max", "min", "default", "defaultRequest")}
    ratios = item.get("maxLimitRequestRatio") or {}
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            if parts[field]:
                text = forbidden("may not be specified when `type` is 'Pod'")
                problems.append(Problem((path, field), text, FORBIDDEN))
                parts[field] = {}
    if kind in ("Pod", "Container"):
        for field, amounts in (*parts.items(), ("maxLimitRequestRatio", ratios)):
            for name in amounts:
                check_amount_of(name, "0", ((path, field), Member(name)), problems)
    if kind == "PersistentVolumeClaim" and "storage" not in parts["min"] and "storage" not in parts["max"]:
        text = "either minimum or maximum storage value is required, but neither was provided"
        problems.append(Problem((path, "limits"), required(text), REQUIRED))
    for name in dict.fromkeys(name for amounts in (*parts.values(), ratios) for name in amounts):
        _check_order(name, parts, path, problems)
        if name in ratios:
            _check_ratio(name, ratios[name], parts, path, problems)


_ORDER = (
    # what is broken, shown value, lower, upper, text
    ("min", "min", "min", "max", "min value {low} is greater than max value {high}"),
    (
        "defaultRequest",
        "defaultRequest",
        "min",
        "defaultRequest",
        "min value {low} is greater than default request value {high}",
    ),
    (
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "max",
        "default request value {low} is greater than max value {high}",
    ),
    (
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "default",
        "default request value {low} is greater than default limit value {high}",
    ),
    ("default", "min", "min", "default", "min value {low} is greater than default value {high}"),
    ("default", "max", "default", "max", "default value {low} is greater than max value {high}"),
)


def _check_order(name: str, parts: Raw, path: Path, problems: list[Problem]) -> None:
    for field, value, lower, upper, text in _ORDER:
        low, high = parts[lower].get(name), parts[upper].get(name)
        if low is not None and high is not None and parse_quantity(low) > parse_quantity(high):
            at: Path = ((path, field), Member(name))
            complain(problems, at, parts[value][name], [text.format(low=low, high=high)])
    limit, request = parts["default"].get(name), parts["defaultRequest"].get(name)
    if limit is None or request is None or overcommitable(name):
        return
    if parse_quantity(limit) != parse_quantity(request):
        text = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        complain(problems, ((path, "defaultRequest"), Member(name)), request, [text])


def _check_ratio(name: str, ratio: str, parts: Raw, path: Path, problems: list[Problem]) -> None:
    at: Path = ((path, "maxLimitRequestRatio"), Member(name))
    value = parse_quantity(ratio)
    if value < 1:
        complain(problems, at, ratio, [f"ratio {ratio} is less than 1"])
    low, high = parts["min"].get(name), parts["max"].get(name)
    if low is not None and high is not None and parse_quantity(low):
        most = parse_quantity(high) / parse_quantity(low)
        if value > most:
            complain(problems, at, ratio, [f"ratio {ratio} is greater than max/min = {float(most):f}"])
