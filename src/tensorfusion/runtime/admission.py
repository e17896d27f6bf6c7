"""Serve admission reviews: decode, decide, answer, with one clear line for every mistake.

A review that is none is refused with HTTP 400; a handler that fails answers a review that denies with 500, so that the
API server shows one line, and the traceback stays in our log.

Source: admission.k8s.io/v1 AdmissionReview.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.meta import Raw
from tensorfusion.telemetry.logs import get_logger

_MAX_BODY = 8 << 20
"""Bytes: the new and the old object, each at most 3 MiB, and what is around them."""
_API_VERSION = "admission.k8s.io/v1"
_PLAIN = b"text/plain; charset=utf-8"

log = get_logger(__name__)


class UserInfo(msgspec.Struct, frozen=True):
    """Who makes the request that is reviewed."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()


class GroupResource(msgspec.Struct, frozen=True):
    """What the request is about."""

    group: str = ""
    version: str = ""
    resource: str = ""


class AdmissionRequest(msgspec.Struct, frozen=True):
    """What is asked. ``object`` and ``old_object`` are JSON objects, None where they do not apply."""

    uid: str
    operation: str
    name: str = ""
    namespace: str = ""
    sub_resource: str = msgspec.field(default="", name="subResource")
    resource: GroupResource = msgspec.field(default_factory=GroupResource)
    user: UserInfo = msgspec.field(default_factory=UserInfo, name="userInfo")
    object: Raw | None = None
    old_object: Raw | None = msgspec.field(default=None, name="oldObject")
    dry_run: bool | None = msgspec.field(default=None, name="dryRun")


class AdmissionResponse(msgspec.Struct, frozen=True):
    """What is answered. ``patch`` is a JSON patch; ``code`` and ``message`` say why a denial was made."""

    allowed: bool
    patch: Sequence[Raw] = ()
    message: str = ""
    code: int = 403
    warnings: Sequence[str] = ()


class _Review(msgspec.Struct, frozen=True):
    request: AdmissionRequest
    api_version: str = msgspec.field(default="", name="apiVersion")


_REVIEW = msgspec.json.Decoder(_Review)

AdmissionHandler = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]


class AdmissionApp:
    """An ASGI application that answers AdmissionReviews, each path with its handler.

    Every write of the cluster may wait for a review, and a web framework costs more than the decision: there is none.
    """

    def __init__(self, handlers: Mapping[str, AdmissionHandler]) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        handler = self._handlers.get(path)
        if handler is None:
            answer = 404, _PLAIN, b"Not Found"
        elif scope["method"] != "POST":
            answer = 405, _PLAIN, b"Method Not Allowed"
        else:
            try:
                answer = await _reviewed(receive, handler, path)
            except ClientDisconnect:
                return
        status, media_type, body = answer
        fields = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type)]
        if status == 405:  # the one that has to say what is allowed
            fields.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


async def _reviewed(receive: Receive, handler: AdmissionHandler, path: str) -> tuple[int, bytes, bytes]:
    """Status, media type and body of the answer to a review.

    Raises:
        ClientDisconnect: the request was broken off.
    """
    body = await _body(receive)
    if body is None:
        return 413, _PLAIN, f"wanted an AdmissionReview of at most {_MAX_BODY} bytes".encode()
    try:
        review = _REVIEW.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        return 400, _PLAIN, f"wanted an {_API_VERSION} AdmissionReview: {error}".encode()
    if review.api_version != _API_VERSION:
        return 400, _PLAIN, f"wanted apiVersion {_API_VERSION}, found {review.api_version[:100]!r}".encode()
    answer = await _answer(handler, review.request, path)
    return 200, b"application/json", _encode(review.request.uid, answer)


async def _answer(handler: AdmissionHandler, asked: AdmissionRequest, path: str) -> AdmissionResponse:
    try:
        return await handler(asked)
    except InvalidRequest as error:
        return AdmissionResponse(allowed=False, code=400, message=str(error))
    except Exception:  # the edge of a request
        log.exception("admission failed", path=path, namespace=asked.namespace, name=asked.name, uid=asked.uid)
        message = f"admission of {asked.namespace}/{asked.name} failed unexpectedly: see the webhook's log"
        return AdmissionResponse(allowed=False, code=500, message=message)


async def _body(receive: Receive) -> bytes | None:
    """The body; None when it is larger than a review may be.

    Raises:
        ClientDisconnect: the request was broken off.
    """
    size, chunks, more = 0, [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > _MAX_BODY:
            return None
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _encode(uid: str, answer: AdmissionResponse) -> bytes:
    response: Raw = {"uid": uid, "allowed": answer.allowed}
    if answer.allowed and answer.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(answer.patch)).decode()
    if not answer.allowed:
        response["status"] = {"code": answer.code, "message": answer.message}
    if answer.warnings:
        response["warnings"] = list(answer.warnings)
    return msgspec.json.encode({"apiVersion": _API_VERSION, "kind": "AdmissionReview", "response": response})
