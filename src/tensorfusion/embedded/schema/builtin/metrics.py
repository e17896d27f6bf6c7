"""Rules of the metrics that an autoscaler looks at: one source each, with a target that fits it.

Source: kubernetes pkg/apis/autoscaling/validation, texts seen through a real server.
"""

from collections.abc import Sequence

from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw
from tensorfusion.units import parse_quantity

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGETS = ("Utilization", "Value", "AverageValue")
_RAW_OR_USE = "a target raw value and a target utilization"


def check_metrics(metrics: Sequence[Raw], path: Path, problems: list[Problem], *, to_zero: bool) -> None:
    """``to_zero``: all replicas may go, which only a number from elsewhere can bring back."""
    if to_zero and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        text = forbidden("must specify at least one Object or External metric to support scaling to zero replicas")
        problems.append(Problem(path, text, FORBIDDEN))
    for index, metric in enumerate(metrics):
        _check_metric(metric, (path, index), problems)


def _check_metric(metric: Raw, path: Path, problems: list[Problem]) -> None:
    kind = metric.get("type", "")
    own = _SOURCES.get(kind)
    for field in _SOURCES.values():
        if field in metric:
            _check_source(field, metric[field], (path, field), problems)
            if own is not None and field != own:
                text = forbidden("must populate the given metric source only")
                problems.append(Problem((path, field), text, FORBIDDEN))
    if own is None:
        if not kind:
            problems.append(Problem((path, "type"), unsupported("", tuple(_SOURCES)), NOT_SUPPORTED))
    elif own not in metric:
        text = required("must populate information for the given metric source")
        problems.append(Problem((path, own), text, REQUIRED))


def _check_source(field: str, source: Raw, path: Path, problems: list[Problem]) -> None:
    target = source.get("target") or {}
    at: Path = (path, "target")
    kind = target.get("type", "")
    if kind not in _TARGETS:
        complain(problems, (at, "type"), kind, ["must be either Utilization, Value, or AverageValue"])
    for name in ("value", "averageValue"):
        if name in target and parse_quantity(target[name]) <= 0:
            complain(problems, (at, name), target[name], ["must be positive"])
    amount, average, use = target.get("value"), target.get("averageValue"), target.get("averageUtilization")
    wrong: tuple[str, str, bool] | None = None  # the field, why, and whether it is missing
    if field in ("resource", "containerResource"):
        if use is None and average is None:
            wrong = "averageUtilization", "must set either a target raw value or a target utilization", True
        elif use is not None and average is not None:
            wrong = "averageValue", f"may not set both {_RAW_OR_USE}", False
    elif field == "pods":
        if average is None:
            wrong = "averageValue", "must specify a positive target averageValue", True
    elif amount is None and average is None:
        other = (
            "a target value or averageValue" if field == "object" else "a target value for metric or a per-pod target"
        )
        wrong = "averageValue", f"must set either {other}", True
    elif amount is not None and average is not None and field == "external":
        wrong = "value", "may not set both a target value for metric and a per-pod target", False
    if wrong is not None:
        name, why, missing = wrong
        text, reason = (required(why), REQUIRED) if missing else (forbidden(why), FORBIDDEN)
        problems.append(Problem((at, name), text, reason))
