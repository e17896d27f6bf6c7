"""What a Job's policies say of pods that failed and of indexes that succeeded. Pure.

Source: batch/v1 PodFailurePolicy and SuccessPolicy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorfusion.embedded.controllers.job_indexes import parse_indexes
from tensorfusion.embedded.controllers.job_objects import (
    ExitCodes,
    FailurePolicy,
    FailureRule,
    SuccessPolicy,
    SuccessRule,
)
from tensorfusion.model.core import Pod

FAIL_JOB, FAIL_INDEX, IGNORE = "FailJob", "FailIndex", "Ignore"


@dataclass(frozen=True, slots=True)
class Match:
    """The first rule that matches a failed pod, and the sentence that says so."""

    action: str
    message: str


def match_failure(policy: FailurePolicy | None, pod: Pod) -> Match | None:
    """What is to be done because of a pod that failed; None where no rule matches it: then it counts."""
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        why = _by_exit_code(rule, pod) or _by_condition(rule, pod)
        if why is not None:
            return Match(rule.action, f"{why} matching {rule.action} rule at index {number}")
    return None


def _by_exit_code(rule: FailureRule, pod: Pod) -> str | None:
    wanted = rule.on_exit_codes
    if wanted is None:
        return None
    for status in pod.status.container_statuses:
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0 or wanted.container_name not in (None, status.name):
            continue
        if _matches(wanted, ended.exit_code):
            name = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return f"Container {status.name} for pod {name} failed with exit code {ended.exit_code}"
    return None


def _matches(wanted: ExitCodes, code: int) -> bool:
    return (code in wanted.values) == (wanted.operator == "In")


def _by_condition(rule: FailureRule, pod: Pod) -> str | None:
    for pattern in rule.on_pod_conditions:
        for condition in pod.status.conditions:
            if (condition.type, condition.status) == (pattern.type, pattern.status):
                return f"Pod {pod.metadata.namespace}/{pod.metadata.name} has condition {condition.type}"
    return None


def success_reached(policy: SuccessPolicy | None, succeeded: Iterable[int]) -> str | None:
    """The sentence that says which rule of a success policy is met; None while none is."""
    done = set(succeeded)
    for number, rule in enumerate(_rules(policy)):
        wanted = None if rule.succeeded_indexes is None else parse_indexes(rule.succeeded_indexes)
        counted = done if wanted is None else done & wanted
        needed = rule.succeeded_count if rule.succeeded_count is not None else len(wanted or ())
        if needed and len(counted) >= needed:
            return f"Matched rules at index {number}"
    return None


def _rules(policy: SuccessPolicy | None) -> Sequence[SuccessRule]:
    return policy.rules if policy is not None else ()
