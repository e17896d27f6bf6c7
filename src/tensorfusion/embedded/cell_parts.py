"""Pieces of table rows that several kinds share: names, ages, labels and selectors as text, container columns."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from tensorfusion.embedded.ages import age
from tensorfusion.embedded.pod_cells import NONE
from tensorfusion.model.meta import Raw

UNSET = "<unset>"
UNKNOWN = "<unknown>"


def name_of(obj: Raw) -> str:
    return str(obj["metadata"].get("name", ""))


def age_of(obj: Raw, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def spec_and_status(obj: Raw) -> tuple[Raw, Raw]:
    return obj.get("spec") or {}, obj.get("status") or {}


def containers_of(template: Raw | None) -> list[object]:
    """Names and images of a pod template's containers."""
    containers: Sequence[Raw] = ((template or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
    ]


def some_of(items: Sequence[str], most: int, *, empty: str = NONE) -> str:
    """The first items, and how many there are besides."""
    more = f" + {len(items) - most} more..." if len(items) > most else ""
    return (",".join(items[:most]) + more) or empty


def labels_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE


def selector_text(selector: Raw | None) -> str:
    """A label selector as text, sorted by key."""
    selector = selector or {}
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        text = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(expression.get("operator", ""), key)
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts)) or NONE
