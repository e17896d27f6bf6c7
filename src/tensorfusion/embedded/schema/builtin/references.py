"""Rules of what containers and volumes read of the pod, and of keys in other objects.

Source: kubernetes pkg/apis/core/validation, texts seen through a real server.
"""

from collections.abc import Sequence

from tensorfusion.embedded.schema.names import config_key, qualified_name, subdomain
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

OF_ENVIRONMENT = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
OF_VOLUMES = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN = frozenset(
    (
        *OF_ENVIRONMENT,
        *OF_VOLUMES,
        "spec.hostNetwork",
        "spec.restartPolicy",
        "spec.schedulerName",
        "status.nominatedNodeName",
        "status.phase",
    )
)
_OLD_NAMES = {"spec.host": "spec.nodeName"}
_MAPS = ("metadata.labels", "metadata.annotations")
_AMOUNTS = tuple(f"{of}.{name}" for of in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory"))
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_CPU_DIVISORS = ("", "0", "1", "1m")


def check_field(reference: Raw, supported: Sequence[str], path: Path, problems: list[Problem]) -> None:
    """A field of the pod itself."""
    stated: str = reference.get("fieldPath") or ""
    at: Path = (path, "fieldPath")
    if not stated:
        problems.append(Problem(at, required(), REQUIRED))
        return
    version = reference.get("apiVersion", "v1")
    of, subscript, key = stated.removesuffix("']").partition("['")
    is_subscript = stated.endswith("']") and bool(of and subscript)
    field = _OLD_NAMES.get(stated, stated)
    if version != "v1":
        complain(problems, at, stated, [f"error converting fieldPath: unsupported pod version: {version}"])
    elif is_subscript and of in _MAPS:
        key = key if of == "metadata.labels" else key.lower()
        complain(problems, path, key, qualified_name(key))
    elif is_subscript:
        complain(
            problems, at, stated, [f"error converting fieldPath: field label does not support subscript: {stated}"]
        )
    elif field not in _KNOWN:
        complain(problems, at, stated, [f"error converting fieldPath: field label not supported: {stated}"])
    elif field not in supported:
        problems.append(Problem(at, unsupported(stated, supported), NOT_SUPPORTED))


def check_amount(reference: Raw, path: Path, problems: list[Problem], *, named: bool) -> None:
    """An amount that a container asks for; ``named``: the container has to be named."""
    if named and not reference.get("containerName"):
        problems.append(Problem((path, "containerName"), required(), REQUIRED))
        return
    resource: str = reference.get("resource") or ""
    if not resource:
        problems.append(Problem((path, "resource"), required(), REQUIRED))
    elif resource not in _AMOUNTS and not resource.startswith(_HUGE_PAGES):
        problems.append(Problem((path, "resource"), unsupported(resource, _AMOUNTS), NOT_SUPPORTED))
    elif resource.endswith(".cpu") and str(reference.get("divisor", "")) not in _CPU_DIVISORS:
        text = invalid_value(resource, "only divisor's values 1m and 1 are supported with the cpu resource")
        problems.append(Problem((path, "divisor"), text))


def check_key(reference: Raw, path: Path, problems: list[Problem]) -> None:
    """A key of a ConfigMap or Secret. That there is one has been checked."""
    if not reference.get("name"):
        complain(problems, (path, "name"), "", subdomain(""))
    if reference.get("key"):
        complain(problems, (path, "key"), reference["key"], config_key(reference["key"]))


def check_relative(target: str, path: Path, problems: list[Problem]) -> None:
    """A path that may not leave the folder that it is in."""
    if target.startswith("/"):
        complain(problems, path, target, ["must be a relative path"])
    check_no_parent(target, path, problems)


def check_no_parent(target: str, path: Path, problems: list[Problem]) -> None:
    if ".." in target.split("/"):
        complain(problems, path, target, ["must not contain '..'"])
