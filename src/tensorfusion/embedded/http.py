"""The ASGI application: authenticate, authorize, route, answer; and turn every error into a Status.

A plain ASGI callable without a framework: on the hot path a request costs two dict lookups for its user and its
right, and one for its kind.
"""

import asyncio
import time
from dataclasses import replace
from typing import Any

from tensorfusion.embedded.access.authentication import Authenticator
from tensorfusion.embedded.access.node_rights import NodeRights
from tensorfusion.embedded.access.rbac import Rbac, refusal
from tensorfusion.embedded.access.rules import Attributes
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.audit.middleware import ALLOWED, IMPERSONATED, USER, identified
from tensorfusion.embedded.bodies import Disconnected, Receive
from tensorfusion.embedded.documents import Documents
from tensorfusion.embedded.health import ROOTS, Check, Health, is_health
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.meters import long_running, note_request
from tensorfusion.embedded.negotiation import JSON, YAML, NotAcceptable, negotiate, takes_gzip, wants_pretty
from tensorfusion.embedded.node_endpoint import silent
from tensorfusion.embedded.responses import (
    PAGE_NOT_FOUND,
    PART,
    Response,
    Send,
    error_response,
    send_response,
    send_stream,
)
from tensorfusion.embedded.routes import Answer, Request, Routes, Streamed
from tensorfusion.embedded.selectors import parse_fields
from tensorfusion.embedded.statuses import method_not_allowed
from tensorfusion.embedded.targets import Target, parse_query, parse_target
from tensorfusion.embedded.tunnels import Tunnel
from tensorfusion.embedded.watching import Watch
from tensorfusion.errors import (
    ApiError,
    BadRequest,
    Invalid,
    InvalidObject,
    InvalidRequest,
    NotFound,
    ServerError,
    StoreError,
)
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import metrics_response

CUT_AFTER = 5.0
"""Seconds that a client has to take the end of a watch, before its connection is cut."""

TAKEN_WITHIN = 60.0
"""Seconds that a client has to take a large answer, as on a real server."""
_TARGET = "tensorfusion.target"
_WARNINGS = "tensorfusion.warnings"
_SWITCHING = 101
_WITH_HEAD = frozenset({"/", "/apis", "/metrics", "/openapi/v2", "/openapi/v3"})

log = get_logger(__name__)


class App:
    """The whole API as one ASGI callable. ``ready`` is set when start-up is done; ``drain`` ends all watches."""

    def __init__(
        self,
        authenticator: Authenticator,
        rbac: Rbac,
        kinds: Kinds,
        routes: Routes,
        documents: Documents,
        *,
        node_rights: NodeRights,
        stored: Check,
        cut_after: float = CUT_AFTER,
        taken_within: float = TAKEN_WITHIN,
    ) -> None:
        self._authenticator = authenticator
        self._rbac = rbac
        self._node_rights = node_rights
        self._kinds = kinds
        self._routes = routes
        self._documents = documents
        self._cut_after = cut_after
        self._taken_within = taken_within
        self._watches: set[Streamed] = set()
        self._tunnels: set[asyncio.Task[Any]] = set()
        self._health = Health(stored=stored, ready=lambda: self.ready)
        self.ready = False
        documents.more_paths = [*self._health.paths(), "/metrics"]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # Any: an ASGI scope
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        path: str = scope["path"]
        found = dict(scope["headers"])
        send = identified(scope, found, send)
        if path in ROOTS:
            await send_response(send, self._health.answer(path, scope["query_string"]), gzipped=False)
            return
        gzipped = False
        try:
            gzipped = takes_gzip(found.get(b"accept-encoding", b""))
            user = self._user(scope, found)
            answer = await self._answer(scope, receive, user, found)
        except Disconnected:
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # the edge of a request: every error becomes a Status
            refused = answer = error_response(_as_api_error(error, scope), wanted=_wanted(found))
            refused.warnings = scope.get(_WARNINGS, ())
        target: Target | None = scope.get(_TARGET)
        if isinstance(answer, Response):
            if b"upgrade" in found:  # what comes after it on the connection is no HTTP that anybody could read
                answer = replace(answer, headers=(*answer.headers, (b"connection", b"close")))
            if wants_pretty(scope["query_string"], found.get(b"user-agent", b"")):
                answer = replace(answer, pretty=True)
            note_request(target, scope["method"], answer.status, seconds=time.perf_counter() - started)
            await self._respond(answer, scope, send, gzipped=gzipped)
        elif isinstance(answer, Tunnel):
            note_request(target, "CONNECT", _SWITCHING, seconds=None)
            await self._join(answer, scope, send)
        else:
            note_request(target, "WATCH", 200, seconds=None)
            with long_running(target):
                await self._stream(answer, scope, receive, send)

    async def _respond(self, answer: Response, scope: dict[str, Any], send: Send, *, gzipped: bool) -> None:
        """Send an answer; a large one is not kept for ever for a client that does not take it."""
        if len(answer.body) <= PART:
            await send_response(send, answer, gzipped=gzipped)
            return
        transport: asyncio.Transport = scope["state"]["connection"].transport
        cut = asyncio.get_running_loop().call_later(self._taken_within, transport.abort)
        try:
            await send_response(send, answer, gzipped=gzipped)
        finally:
            cut.cancel()

    def drain(self) -> None:
        """End all watches and tunnels, so that connections can close."""
        self.ready = False
        for task in tuple(self._tunnels):
            task.cancel()
        for watch in tuple(self._watches):
            watch.close()

    def _user(self, scope: dict[str, Any], headers: dict[bytes, bytes]) -> User:
        user = self._authenticator.user(headers.get(b"authorization"), scope["state"].get("certificate"))
        scope[USER] = user
        if any(name.startswith(b"impersonate-") for name in headers):
            user = scope[IMPERSONATED] = self._authenticator.impersonated(user, scope["headers"])
        return user

    async def _answer(self, scope: dict[str, Any], receive: Receive, user: User, headers: dict[bytes, bytes]) -> Answer:
        method, path = scope["method"], scope["path"]
        query = parse_query(scope["query_string"])
        target = parse_target(method, path, query)
        accept = headers.get(b"accept", b"").decode("latin-1")
        if target is None:
            return self._document(scope, user, accept, headers.get(b"if-none-match", b""))
        attributes = target.attributes(selected_name=_selected_name(target, query))
        if not self._rbac.allows(user, attributes) and not self._node_rights.allows(user, attributes):
            raise refusal(user, attributes)
        scope[ALLOWED] = True
        try:
            kind = self._kinds.find(target.group, target.version, target.resource)
        except NotFound:
            if self._kinds.is_builtin(target.group):
                raise
            return PAGE_NOT_FOUND
        scope[_TARGET] = target
        if not target.verb or method == "HEAD":  # which is asked for as a read, and served for documents alone
            raise method_not_allowed()
        request = Request(
            target,
            query,
            user,
            receive,
            accept,
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"content-length"),
            headers.get(b"user-agent", b"").decode("latin-1"),
            method,
            scope["query_string"],
            scope["headers"],
            arrived=scope["state"]["connection"].has_all,
        )
        scope[_WARNINGS] = request.warnings
        if kind.deprecation:
            request.warnings.append(kind.deprecation)
        return await self._routes.answer(request, kind)

    def _document(self, scope: dict[str, Any], user: User, accept: str, known: bytes) -> Response:
        method, path = scope["method"], scope["path"]
        self._rbac.check(user, Attributes(method.lower(), path=path))
        scope[ALLOWED] = True
        if is_health(path):
            return self._health.answer(path, scope["query_string"])
        if path == "/metrics":
            body, media_type = metrics_response()
            answer = Response(body, media_type=media_type)
        else:
            answer = self._documents.answer(path, accept, query=scope["query_string"], known=known)
        if answer is not PAGE_NOT_FOUND and method != "GET" and not (method == "HEAD" and path in _WITH_HEAD):
            raise method_not_allowed()
        return answer

    async def _join(self, tunnel: Tunnel, scope: dict[str, Any], send: Send) -> None:
        """Hand the connection over to a node, or say that the node does not answer."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served by a task")
        self._tunnels.add(task)

        async def joined() -> None:
            """For those who listen on the way; the node itself answers the client."""
            await send({"type": "http.response.start", "status": _SWITCHING, "headers": []})

        try:
            await tunnel.run(scope["state"]["connection"], joined=joined)
        except OSError:
            await send_response(send, error_response(silent(tunnel.node)), gzipped=False)
        finally:
            self._tunnels.discard(task)

    async def _stream(self, watch: Streamed, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Send a watch or a log until it ends or the client goes away."""
        self._watches.add(watch)
        cuts: list[asyncio.TimerHandle] = []

        def ending() -> None:
            """A client that does not read would keep its connection, and what was written to it, for ever."""
            transport: asyncio.Transport = scope["state"]["connection"].transport
            cuts.append(asyncio.get_running_loop().call_later(self._cut_after, transport.abort))

        if isinstance(watch, Watch):
            watch.ending = ending
        try:
            async with asyncio.TaskGroup() as group:
                listener = group.create_task(_until_disconnect(receive, watch))
                await send_stream(send, watch.chunks(), media_type=watch.media_type)
                listener.cancel()
        except* Exception:  # the edge of a request; the client sees its stream end
            log.exception("watch ended unexpectedly", watch=str(watch))
        finally:
            for cut in cuts:
                cut.cancel()
            self._watches.discard(watch)
            watch.close()


async def _until_disconnect(receive: Receive, watch: Streamed) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.close()


def _wanted(headers: dict[bytes, bytes]) -> str:
    """The media type of a refusal: what the client accepts, else JSON."""
    try:
        return negotiate(headers.get(b"accept", b"").decode("latin-1")).media_type
    except NotAcceptable:
        return YAML if YAML.encode() in headers.get(b"accept", b"") else JSON


def _selected_name(target: Target, query: dict[str, str]) -> str:
    """The one name that a field selector restricts a collection request to: RBAC may allow just that."""
    if target.name or "fieldSelector" not in query or "metadata.name" not in query["fieldSelector"]:
        return ""
    for field, value, equal in parse_fields(query["fieldSelector"]):
        if field == "metadata.name" and equal:
            return value
    return ""


def _as_api_error(error: Exception, scope: dict[str, Any]) -> ApiError:
    """Every exception as something that can be sent. Only what nobody foresaw is logged, without what was sent."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InvalidObject):
        return Invalid(_one_line(error), causes=error.causes)
    if isinstance(error, InvalidRequest):
        return BadRequest(_one_line(error))
    if isinstance(error, RecursionError):
        return BadRequest("the request is nested too deeply")
    if isinstance(error, StoreError):
        log.error("the store refused", error=str(error))
        return ServerError(f"Internal error occurred: {_one_line(error)}", retry_after=1)
    log.exception("request failed unexpectedly", method=scope["method"], path=scope["path"])  # noqa: LOG004  # inside the handler
    return ServerError("Internal error occurred: the request failed unexpectedly; the server's log says why")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
