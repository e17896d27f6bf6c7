"""Serve admission reviews: decode, decide, answer, with one clear line for every mistake.

Source: admission.k8s.io/v1 AdmissionReview.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tensorfusion.model.meta import Raw
from tensorfusion.telemetry.logs import get_logger

_MAX_BODY = 8 << 20

log = get_logger(__name__)


class UserInfo(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()


class GroupResource(msgspec.Struct, frozen=True):
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


_REVIEW = msgspec.json.Decoder(_Review)

AdmissionHandler = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]


def admission_route(path: str, handler: AdmissionHandler) -> Route:
    """A route that answers AdmissionReviews with ``handler``. Its unexpected errors deny with 500, without a traceback."""

    async def endpoint(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return Response(f"wanted an AdmissionReview of at most {_MAX_BODY} bytes", 413)
        try:
            review = _REVIEW.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Response(f"wanted an admission.k8s.io/v1 AdmissionReview: {error}", 400)
        asked = review.request
        try:
            answer = await handler(asked)
        except Exception:  # the edge of a request
            log.exception("admission failed", path=path, namespace=asked.namespace, name=asked.name)
            answer = AdmissionResponse(allowed=False, code=500, message="admission failed unexpectedly; see its log")
        return Response(_encode(asked.uid, answer), media_type="application/json")

    return Route(path, endpoint, methods=["POST"])


async def _body(request: Request) -> bytes | None:
    size = 0
    chunks = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MAX_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _encode(uid: str, answer: AdmissionResponse) -> bytes:
    response: dict[str, Any] = {"uid": uid, "allowed": answer.allowed}  # Any: JSON
    if answer.allowed and answer.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(answer.patch)).decode()
    if not answer.allowed:
        response["status"] = {"code": answer.code, "message": answer.message}
    if answer.warnings:
        response["warnings"] = list(answer.warnings)
    return msgspec.json.encode({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
