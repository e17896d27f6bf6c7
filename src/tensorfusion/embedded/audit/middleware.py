"""Requests as audit events: around the application, so that it costs nothing where no audit is kept.

The application puts the user it found into the request's scope; everything else is in the request and its answer.

Source: audit.k8s.io/v1 Event.
"""

import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from tensorfusion.clock import Clock, micro_timestamp
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.audit.journal import Journal
from tensorfusion.embedded.audit.policy import Policy, Stage, Subject
from tensorfusion.embedded.targets import parse_query, parse_target
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw

USER, IMPERSONATED, ALLOWED = "tensorfusion.user", "tensorfusion.impersonated", "tensorfusion.allowed"
"""Where the application leaves who asked, on whose behalf, and that access control let it pass, in an ASGI scope."""

_NOBODY = User("")
_encode = msgspec.json.Encoder().encode

# Any: ASGI scopes and messages.
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_SWITCHING = 101
_ID = "tensorfusion.audit"
_LONGEST_ID = 64
_OF_PROCESS = str(uuid.uuid4())[:-12]
_NUMBERS = itertools.count()


def identified(scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> Send:
    """``send``, which tells the client by which name its request is known: its own, or a new one."""
    named = scope.get(_ID) or _identity(headers)

    async def naming(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"audit-id", named.encode())]
        await send(message)

    return naming


def _identity(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"audit-id", b"").decode("ascii", "replace")[:_LONGEST_ID] or _new_identity()


def _new_identity() -> str:
    """A UUID that is random once for the process and counted on: asking for randomness is too dear for each request."""
    return f"{_OF_PROCESS}{next(_NUMBERS):012x}"


class Audited:
    """An application whose requests are written down as a policy says."""

    def __init__(self, app: Application, policy: Policy, journal: Journal, *, clock: Clock) -> None:
        self._app = app
        self._policy = policy
        self._journal = journal
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, self._clock.now())
        code = 0

        async def watched(message: dict[str, Any]) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if request.subject.verb == "watch" or code == _SWITCHING:
                    self._write(request, Stage.RESPONSE_STARTED, code)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._write(request, Stage.RESPONSE_COMPLETE, code)

    def _write(self, request: "_Request", stage: Stage, code: int) -> None:
        if stage in self._policy.stages(request.user, request.subject):
            self._journal.append(_encode(request.event(stage, code, self._clock.now())))


class _Request:
    """One request on its way."""

    def __init__(self, scope: Scope, received: datetime) -> None:
        self._scope = scope
        self._headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self._received = received
        self.id = scope[_ID] = _identity(self._headers)
        self.subject = _subject(scope)

    @property
    def user(self) -> User:
        found = self._scope.get(USER)
        return found if isinstance(found, User) else _NOBODY

    def event(self, stage: Stage, code: int, now: datetime) -> Raw:
        """The event as it is written. ``code`` 0: the client went away before it was answered."""
        query = self._scope["query_string"].decode("latin-1")
        event: Raw = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": self.id,
            "stage": stage,
            "requestURI": f"{self._scope['path']}?{query}" if query else self._scope["path"],
            "verb": self.subject.verb,
            "user": _user(self.user),
            "sourceIPs": [self._scope["client"][0]] if self._scope.get("client") else [],
            "userAgent": self._headers.get(b"user-agent", b"").decode("latin-1"),
        }
        impersonated = self._scope.get(IMPERSONATED)
        if isinstance(impersonated, User):
            event["impersonatedUser"] = _user(impersonated)
        if self.subject.resource:
            event["objectRef"] = self._reference()
        event["responseStatus"] = {"metadata": {}, "code": code}
        event["requestReceivedTimestamp"] = micro_timestamp(self._received)
        event["stageTimestamp"] = micro_timestamp(now)
        if self.user is not _NOBODY:
            decision = "allow" if ALLOWED in self._scope else "forbid"
            event["annotations"] = {"authorization.k8s.io/decision": decision}
        return event

    def _reference(self) -> Raw:
        parts = {
            "resource": self.subject.resource,
            "namespace": self.subject.namespace,
            "name": self.subject.name,
            "apiGroup": self.subject.group,
            "apiVersion": self.subject.version,
            "subresource": self.subject.subresource,
        }
        return {key: value for key, value in parts.items() if value}


def _subject(scope: Scope) -> Subject:
    method, path = scope["method"], scope["path"]
    try:
        target = parse_target(method, path, parse_query(scope["query_string"]))
    except BadRequest:
        target = None
    if target is None:
        return Subject(method.lower(), path)
    return Subject(
        target.verb,
        path,
        target.group,
        target.version,
        target.resource,
        target.subresource,
        target.namespace,
        target.name,
    )


def _user(user: User) -> Raw:
    shown: Raw = {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": dict(user.extra)}
    return {key: value for key, value in shown.items() if value}
