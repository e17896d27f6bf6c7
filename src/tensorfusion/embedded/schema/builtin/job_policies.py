"""Rules of what counts as a Job's failure and success.

Source: kubernetes pkg/apis/batch/validation, texts seen through a real server.
"""

from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import DUPLICATE, TOO_MANY, complain, duplicate, invalid_value
from tensorfusion.model.meta import Raw

_MOST_RULES = 20
_MOST_CODES = 255


def check_failure_policy(spec: Raw, path: Path, problems: list[Problem]) -> None:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    at: Path = ((path, "podFailurePolicy"), "rules")
    rules = policy.get("rules") or ()
    if len(rules) > _MOST_RULES:
        problems.append(_too_many(at, len(rules), _MOST_RULES))
    pod = (spec.get("template") or {}).get("spec") or {}
    names = {container.get("name") for field in ("containers", "initContainers") for container in pod.get(field) or ()}
    for index, rule in enumerate(rules):
        at_rule: Path = (at, index)
        if rule.get("action") == "FailIndex" and "backoffLimitPerIndex" not in spec:
            text = "requires the backoffLimitPerIndex to be set"
            complain(problems, (at_rule, "action"), rule["action"], [text])
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            _check_codes(codes, names, (at_rule, "onExitCodes"), problems)
        if len(conditions) > _MOST_RULES:
            problems.append(_too_many((at_rule, "onPodConditions"), len(conditions), _MOST_RULES))
        if codes is not None and conditions:
            text = "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"
            problems.append(Problem(at_rule, text))
        elif codes is None and not conditions:
            text = "Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
            problems.append(Problem(at_rule, text))


def _check_codes(codes: Raw, names: set[object], path: Path, problems: list[Problem]) -> None:
    name = codes.get("containerName")
    if name is not None and name not in names:
        text = "must be one of the container or initContainer names in the pod template"
        complain(problems, (path, "containerName"), name, [text])
    values = codes.get("values") or []
    at: Path = (path, "values")
    if not values:
        complain(problems, at, None, ["at least one value is required"])
    elif len(values) > _MOST_CODES:
        problems.append(_too_many(at, len(values), _MOST_CODES))
    for index, value in enumerate(values):
        if value == 0 and codes.get("operator") == "In":
            complain(problems, (at, index), value, ["must not be 0 for the In operator"])
        if value in values[:index]:
            problems.append(Problem((at, index), duplicate(value), DUPLICATE))
    if list(values) != sorted(values):
        complain(problems, at, values, ["must be ordered"])


def check_success_policy(spec: Raw, path: Path, problems: list[Problem], *, indexed: bool) -> None:
    policy = spec.get("successPolicy")
    if policy is None:
        return
    at: Path = (path, "successPolicy")
    if not indexed:
        problems.append(Problem(at, invalid_value(policy, "requires indexed completion mode")))
        return
    rules = policy.get("rules") or ()
    if len(rules) > _MOST_RULES:
        problems.append(_too_many((at, "rules"), len(rules), _MOST_RULES))
    completions = spec.get("completions") or 0
    for index, rule in enumerate(rules):
        at_rule: Path = ((at, "rules"), index)
        count, text = rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and text is None:
            message = "Required value: at least one of succeededCount or succeededIndexes must be specified"
            problems.append(Problem(at_rule, message, "FieldValueRequired"))
        if count is not None and count > completions:
            message = f"must be less than or equal to {completions} (the number of specified completions)"
            complain(problems, (at_rule, "succeededCount"), count, [message])


def _too_many(path: Path, found: int, allowed: int) -> Problem:
    return Problem(path, f"Too many: {found}: must have at most {allowed} items", TOO_MANY)
