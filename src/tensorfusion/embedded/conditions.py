"""Match conditions of webhooks: which requests a webhook wants to see.

Objects are dynamic to a condition; the request's fields are declared. The ``authorizer`` of a real server is not
offered.

Source: kubernetes.io "Dynamic Admission Control", "Matching requests: matchConditions".
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tensorfusion.cel import (
    BOOL,
    DYN,
    STORED,
    STRING,
    CelError,
    CompileError,
    Environment,
    Program,
    list_of,
    map_of,
    object_of,
)

_KIND = object_of("kubernetes.GroupVersionKind", dict.fromkeys(("group", "version", "kind"), STRING))
_RESOURCE = object_of("kubernetes.GroupVersionResource", dict.fromkeys(("group", "version", "resource"), STRING))
_USER = object_of(
    "kubernetes.UserInfo",
    {
        "username": STRING,
        "uid": STRING,
        "groups": list_of(STRING),
        "extra": map_of(STRING, list_of(STRING)),
    },
)
_REQUEST = object_of(
    "kubernetes.AdmissionRequest",
    {
        "kind": _KIND,
        "resource": _RESOURCE,
        "subResource": STRING,
        "requestKind": _KIND,
        "requestResource": _RESOURCE,
        "requestSubResource": STRING,
        "name": STRING,
        "namespace": STRING,
        "operation": STRING,
        "userInfo": _USER,
        "dryRun": BOOL,
        "options": DYN,
    },
)
# Declared, as a real server does, but never given: null.
_NAMESPACE = object_of(
    "kubernetes.Namespace",
    {
        "metadata": object_of(
            "kubernetes.NamespaceMetadata",
            {
                **dict.fromkeys(("name", "generateName", "namespace", "UID", "deletionGracePeriodSeconds"), STRING),
                "labels": map_of(STRING, STRING),
                "annotations": map_of(STRING, STRING),
            },
        ),
        "spec": object_of("kubernetes.NamespaceSpec", {"finalizers": list_of(STRING)}),
        "status": object_of("kubernetes.NamespaceStatus", {"phase": STRING}),
    },
)
_VARIABLES = {"object": DYN, "oldObject": DYN, "request": _REQUEST, "namespaceObject": _NAMESPACE}
_NEW = Environment(_VARIABLES)
_STORED = Environment(_VARIABLES, dialect=STORED)


@lru_cache(maxsize=4096)
def _compile(expression: str, *, stored: bool) -> Program:
    program = (_STORED if stored else _NEW).compile(expression)
    if program.type != BOOL:
        raise CompileError(f"must evaluate to bool but got {program.type}")
    return program


def check_condition(expression: str) -> str:
    """Why a new condition cannot be; empty if it can."""
    try:
        _compile(expression, stored=False)
    except CompileError as error:
        return str(error)
    return ""


class Condition:
    """One match condition. ``test`` may be called from any thread."""

    __slots__ = ("_program", "name", "source")

    def __init__(self, name: str, expression: str) -> None:
        """Raises: CelError."""
        self.name = name
        self.source = expression
        self._program = _compile(expression, stored=True)

    # Any: objects as JSON, None where there is none.
    def test(self, *, object: Any, old_object: Any, request: Mapping[str, Any]) -> bool:
        """Whether the webhook wants to see this request.

        Raises:
            CelError: the expression failed; the webhook's failurePolicy decides.
        """
        found = self._program.evaluate({"object": object, "oldObject": old_object, "request": request})
        if not isinstance(found, bool):
            raise CelError(f"match condition {self.name} gave {found!r}, wanted true or false")
        return found
