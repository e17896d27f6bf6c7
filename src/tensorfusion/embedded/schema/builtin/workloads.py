"""Rules of Deployments and ReplicaSets: selectors match their template and never change, strategies make sense.

Source: kubernetes pkg/apis/apps/validation, texts seen through a real server.
"""

import re

from tensorfusion.embedded.schema.builtin.pods import check_pod_spec
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector, selects
from tensorfusion.embedded.schema.metadata import check_annotations, check_labels
from tensorfusion.embedded.schema.path import Path, Problem
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

_STRATEGIES = ("Recreate", "RollingUpdate")
_PERCENT = re.compile(r"[0-9]+%").fullmatch
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_SPEC: Path = (None, "spec")


def check_deployment(deployment: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_workload(deployment, old, "deployment", problems)
    _check_strategy((deployment.get("spec") or {}).get("strategy") or {}, problems)


def check_replica_set(replica_set: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_workload(replica_set, old, "replicaset", problems)


def _check_workload(workload: Raw, old: Raw | None, named: str, problems: list[Problem]) -> None:
    spec = workload.get("spec") or {}
    selector = spec.get("selector")
    at_selector: Path = (_SPEC, "selector")
    template = spec.get("template") or {}
    before = len(problems)
    check_label_selector(selector, at_selector, problems)
    if selector is not None and not (selector.get("matchLabels") or selector.get("matchExpressions")):
        complain(problems, at_selector, selector, [f"empty selector is invalid for {named}"])
    elif len(problems) == before:
        labels = (template.get("metadata") or {}).get("labels")
        if selector is None or not selects(selector, labels or {}):
            at: Path = (((_SPEC, "template"), "metadata"), "labels")
            complain(problems, at, labels, ["`selector` does not match template `labels`"])
    if old is not None and selector != (old.get("spec") or {}).get("selector"):
        complain(problems, at_selector, selector, [IMMUTABLE])
    _check_template(template, (_SPEC, "template"), problems)


def _check_template(template: Raw, path: Path, problems: list[Problem]) -> None:
    metadata = template.get("metadata") or {}
    at: Path = (path, "metadata")
    check_labels(metadata.get("labels") or {}, (at, "labels"), problems)
    check_annotations(metadata.get("annotations") or {}, (at, "annotations"), problems)
    spec = template.get("spec")
    at_spec: Path = (path, "spec")
    if not spec or not spec.get("containers"):
        if not any(problem.path == (at_spec, "containers") for problem in problems):
            problems.append(Problem((at_spec, "containers"), required(), REQUIRED))
        return
    check_pod_spec(spec, at_spec, problems)
    policy = spec.get("restartPolicy", "Always")
    if policy in ("OnFailure", "Never"):
        problems.append(Problem((at_spec, "restartPolicy"), unsupported(policy, ("Always",)), NOT_SUPPORTED))
    if spec.get("activeDeadlineSeconds") is not None:
        text = forbidden("activeDeadlineSeconds in ReplicaSet is not Supported")
        problems.append(Problem((at_spec, "activeDeadlineSeconds"), text, FORBIDDEN))


def _check_strategy(strategy: Raw, problems: list[Problem]) -> None:
    at: Path = (_SPEC, "strategy")
    kind = strategy.get("type")
    if kind not in _STRATEGIES:
        problems.append(Problem(at, unsupported(strategy, _STRATEGIES), NOT_SUPPORTED))
    rolling = strategy.get("rollingUpdate")
    at_rolling: Path = (at, "rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        text = forbidden("may not be specified when strategy `type` is 'Recreate'")
        problems.append(Problem(at_rolling, text, FORBIDDEN))
    elif kind == "RollingUpdate" and rolling is not None:
        fine = [_check_amount(rolling.get(field, 0), (at_rolling, field), problems) for field in _ROLLING]
        if all(fine) and not any(_is_some(rolling.get(field, 0)) for field in _ROLLING):
            complain(problems, (at_rolling, "maxUnavailable"), rolling.get("maxUnavailable", 0), [_BOTH_ZERO])


_ROLLING = ("maxUnavailable", "maxSurge")
_BOTH_ZERO = "may not be 0 when `maxSurge` is 0"


def _check_amount(amount: int | str, path: Path, problems: list[Problem]) -> bool:
    """A count or a percentage that is not negative, and not more than all for what may be missing."""
    before = len(problems)
    if isinstance(amount, int):
        if amount < 0:
            complain(problems, path, amount, ["must be greater than or equal to 0"])
    elif not _PERCENT(amount):
        complain(problems, path, amount, [_PERCENT_TEXT])
    elif path is not None and path[1] == "maxUnavailable" and int(amount[:-1]) > 100:
        complain(problems, path, amount, ["must not be greater than 100%"])
    return len(problems) == before


def _is_some(amount: int | str) -> bool:
    return amount not in (0, "0%")
