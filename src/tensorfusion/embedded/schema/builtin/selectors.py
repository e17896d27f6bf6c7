"""Rules of label selectors and node selectors, shared by pods, workloads and webhooks."""

from collections.abc import Mapping
from typing import Any

from tensorfusion.embedded.schema.metadata import check_labels
from tensorfusion.embedded.schema.names import label_value, qualified_name
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import FORBIDDEN, REQUIRED, complain, forbidden, invalid_value, required
from tensorfusion.model.meta import Raw


def check_label_selector(selector: Raw | None, path: Path, problems: list[Problem]) -> None:
    if not selector:
        return
    check_labels(selector.get("matchLabels") or {}, (path, "matchLabels"), problems)
    at: Path = (path, "matchExpressions")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        check_expression(expression, (at, index), problems)
        for value in expression.get("values") or ():
            complain(problems, ((at, index), "values"), value, label_value(value))


def check_node_selector_term(term: Raw, path: Path, problems: list[Problem], *, strict: bool = True) -> None:
    """A term of a node affinity; in one that is only preferred, values may be none of labels."""
    for field in ("matchExpressions", "matchFields"):
        for index, expression in enumerate(term.get(field) or ()):
            check_expression(expression, ((path, field), index), problems, ordered=True)
            if field == "matchFields" and expression.get("key") not in (None, "", "metadata.name"):
                complain(
                    problems, (((path, field), index), "key"), expression["key"], ["not a valid field selector key"]
                )
            values = expression.get("values") if strict and field == "matchExpressions" else None
            for number, value in enumerate(values or ()):
                complain(problems, ((((path, field), index), "values"), number), value, label_value(value))


def check_expression(expression: Raw, path: Path, problems: list[Problem], *, ordered: bool = False) -> None:
    """One requirement. ``ordered`` selectors also know ``Gt`` and ``Lt``."""
    key = expression.get("key") or ""
    complain(problems, (path, "key"), key, qualified_name(key))
    values = expression.get("values")
    match expression.get("operator"):
        case "In" | "NotIn":
            if not values:
                text = required("must be specified when `operator` is 'In' or 'NotIn'")
                problems.append(Problem((path, "values"), text, REQUIRED))
        case "Exists" | "DoesNotExist":
            if values:
                text = forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
                problems.append(Problem((path, "values"), text, FORBIDDEN))
        case "Gt" | "Lt" if ordered:
            if not values or len(values) != 1:
                text = required("must be specified single value when `operator` is 'Lt' or 'Gt'")
                problems.append(Problem((path, "values"), text, REQUIRED))
        case other:
            problems.append(Problem((path, "operator"), invalid_value(other or "", "not a valid selector operator")))


def selects(selector: Raw, labels: Mapping[str, Any]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key"), expression.get("values") or ()
        match expression.get("operator"):
            case "In":
                holds = key in labels and labels[key] in values
            case "NotIn":
                holds = labels.get(key) not in values
            case "Exists":
                holds = key in labels
            case "DoesNotExist":
                holds = key not in labels
            case _:
                holds = False
        if not holds:
            return False
    return True
