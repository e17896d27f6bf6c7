"""Rules of resource amounts in containers.

Source: kubernetes pkg/apis/core/validation (ValidateResourceRequirements), texts seen through a real server.
"""

from functools import lru_cache

from tensorfusion.embedded.schema.names import qualified_name
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import FORBIDDEN, REQUIRED, complain, forbidden, invalid_value, required
from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.meta import Raw
from tensorfusion.units import parse_quantity

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES = "hugepages-"
COUNTED_BY_QUOTA = frozenset(
    (
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    )
)
COMPUTE_BY_QUOTA = frozenset(("cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))
KNOWN_TO_QUOTA = (
    COUNTED_BY_QUOTA
    | COMPUTE_BY_QUOTA
    | {"ephemeral-storage", "requests.storage", "requests.ephemeral-storage", "limits.ephemeral-storage"}
)
_KNOWN = KNOWN_TO_QUOTA | {"storage"}


def check_resources(resources: Raw | None, path: Path, problems: list[Problem]) -> None:
    """Names, signs, whole numbers of devices, and requests within limits."""
    if not resources:
        return
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    _check_huge_pages(limits, requests, path, problems)
    at_limits: Path = (path, "limits")
    at_requests: Path = (path, "requests")
    for at, amounts in ((at_limits, limits), (at_requests, requests)):
        for name, amount in amounts.items():
            if not _fine(name, amount):
                _explain(name, amount, (at, Member(name)), problems)
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not overcommitable(name):
                text = required("Limit must be set for non overcommitable resources")
                problems.append(Problem(at_limits, text, REQUIRED))
        elif amount != limit:
            _compare(name, amount, limit, at_requests, problems)


def _check_huge_pages(limits: Raw, requests: Raw, path: Path, problems: list[Problem]) -> None:
    """They come beside cores or memory, and in whole pages."""
    huge = False
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            if name.startswith(_HUGE_PAGES):
                huge = True
                if not _whole_pages(name, amount):
                    why = f"{amount} is not positive integer multiple of {name}"
                    complain(problems, ((path, field), Member(name)), amount, [why])
    if huge and not {"cpu", "memory"} & {*limits, *requests}:
        problems.append(Problem(path, forbidden("HugePages require cpu or memory"), FORBIDDEN))


def _whole_pages(name: str, amount: str) -> bool:
    try:
        page = parse_quantity(name.removeprefix(_HUGE_PAGES))
    except InvalidQuantity:
        return False
    return page > 0 and parse_quantity(amount) % page == 0


def overcommitable(name: str) -> bool:
    """Whether requests may stay below limits: not for devices and huge pages."""
    return name in _STANDARD or (not is_extended(name) and not name.startswith(_HUGE_PAGES))


def is_extended(name: str) -> bool:
    """A resource of a device: fully qualified and outside ``kubernetes.io/``."""
    return "/" in name and not name.startswith("requests.") and "kubernetes.io/" not in name


def check_amount_of(name: str, amount: str, path: Path, problems: list[Problem]) -> None:
    """The name of one container resource and its amount."""
    if not _fine(name, amount):
        _explain(name, amount, path, problems)


@lru_cache(maxsize=8192)
def _fine(name: str, amount: str) -> bool:
    problems: list[Problem] = []
    _explain(name, amount, None, problems)
    return not problems


def _explain(name: str, amount: str, path: Path, problems: list[Problem]) -> None:
    complain(problems, path, name, qualified_name(name))
    if "/" not in name and name not in _STANDARD and not name.startswith(_HUGE_PAGES):
        if name not in _KNOWN and not qualified_name(name):
            complain(problems, path, name, ["must be a standard resource type or fully qualified"])
        complain(problems, path, name, ["must be a standard resource for containers"])
    value = parse_quantity(amount)
    if value < 0:
        complain(problems, path, amount, ["must be greater than or equal to 0"])
    if is_extended(name) and value.denominator != 1:
        complain(problems, path, amount, ["must be an integer"])


def _compare(name: str, amount: str, limit: str, path: Path, problems: list[Problem]) -> None:
    wanted, ceiling = parse_quantity(amount), parse_quantity(limit)
    if not overcommitable(name):
        if wanted != ceiling:
            problems.append(Problem(path, invalid_value(amount, f"must be equal to {name} limit of {limit}")))
    elif wanted > ceiling:
        problems.append(Problem(path, invalid_value(amount, f"must be less than or equal to {name} limit of {limit}")))
