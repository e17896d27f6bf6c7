"""AdmissionReview on the wire: what a webhook is asked, and what its answer means.

Source: admission.k8s.io/v1.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tensorfusion.embedded.calls import Asked, Operation
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object, encode_object, new_uid
from tensorfusion.embedded.statuses import Denial
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import NAMESPACES, Resource

_NULL = msgspec.Raw(b"null")


class ReviewError(Exception):
    """The webhook's answer cannot be used."""


class _Status(msgspec.Struct, frozen=True):
    code: int | None = None
    message: str | None = None
    reason: str | None = None
    details: Mapping[str, Raw | str | int | list[Raw]] | None = None


class _Response(msgspec.Struct, frozen=True):
    uid: str = ""
    allowed: bool = False
    status: _Status | None = None
    patch: str | None = None
    patch_type: str | None = msgspec.field(default=None, name="patchType")
    warnings: tuple[str, ...] | None = None
    audit_annotations: Mapping[str, str] | None = msgspec.field(default=None, name="auditAnnotations")


class _Review(msgspec.Struct, frozen=True):
    response: _Response | None = None
    kind: str = ""
    api_version: str = msgspec.field(default="", name="apiVersion")


_REVIEW = msgspec.json.Decoder(_Review)


@dataclass(slots=True)
class Shown:
    """A write as one webhook sees it: in the version that its rules name, where that is not the one asked for.

    For one call: what has been made of the write for its conditions and its review is kept, and the write must not
    change in between.
    """

    asked: Asked
    kind: Kind
    described: JsonObject | None = None
    sent: bytes = b""
    """The object as the review carried it."""

    @property
    def is_converted(self) -> bool:
        return self.kind is not self.asked.kind

    @property
    def obj(self) -> JsonObject | None:
        return self._as(self.asked.obj)

    @property
    def old(self) -> JsonObject | None:
        return self._as(self.asked.old)

    def _as(self, obj: JsonObject | None) -> JsonObject | None:
        if obj is None or not self.is_converted or self.asked.shape is not None:
            return obj
        copy = decode_object(encode_object(obj))
        return self.kind.converted(copy) if self.kind.view is None else self.kind.view.to_shown(copy)

    def back(self, obj: JsonObject) -> JsonObject:
        """What a webhook made of the object, in the version that was asked for."""
        if not self.is_converted or self.asked.shape is not None:
            return obj
        return self.asked.kind.converted(obj) if self.kind.view is None else self.kind.view.to_stored(obj)


def request_of(shown: Shown) -> JsonObject:
    """An AdmissionRequest without its uid and objects: what match conditions know of it too. Read-only."""
    if shown.described is None:
        shown.described = _described(shown)
    return shown.described


def _described(shown: Shown) -> JsonObject:
    asked, user = shown.asked, shown.asked.call.user
    resource, requested = shown.kind.resource, asked.kind.resource
    namespace = asked.namespace or (asked.name if resource.id == NAMESPACES.id else "")
    return {
        "kind": _kind(resource, asked),
        "resource": _address(resource),
        **({"subResource": asked.subresource} if asked.subresource else {}),
        "requestKind": _kind(requested, asked),
        "requestResource": _address(requested),
        **({"requestSubResource": asked.subresource} if asked.subresource else {}),
        **({"name": asked.name} if asked.name else {}),
        **({"namespace": namespace} if namespace else {}),
        "operation": asked.operation.value,
        "userInfo": {
            "username": user.name,
            **({"uid": user.uid} if user.uid else {}),
            "groups": list(user.groups),
            **({"extra": {key: list(values) for key, values in user.extra.items()}} if user.extra else {}),
        },
        "dryRun": asked.call.dry_run,
        **(
            {"options": {"kind": _OPTIONS[asked.operation], "apiVersion": "meta.k8s.io/v1", **asked.call.options}}
            if asked.operation is not Operation.CONNECT
            else {}
        ),
    }


def encode_review(shown: Shown) -> tuple[str, bytes]:
    """The review's uid and its JSON. A stored old object is neither decoded nor encoded."""
    asked, uid, old = shown.asked, new_uid(), _NULL
    if asked.old_data is not None and not shown.is_converted and (asked.kind.storage or not asked.kind.is_custom):
        old = msgspec.Raw(asked.old_data)
    elif asked.old is not None:
        old = msgspec.Raw(encode_object(shown.old or {}))
    if asked.obj is not None:
        shown.sent = encode_object(shown.obj or {})
    request = {
        "uid": uid,
        **request_of(shown),
        "object": _NULL if asked.obj is None else msgspec.Raw(shown.sent),
        "oldObject": old,
    }
    request.setdefault("options", None)
    return uid, msgspec.json.encode(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    )


def _kind(resource: Resource, asked: Asked) -> JsonObject:
    group, version, kind = asked.shape or (resource.group, resource.version, resource.kind)
    return {"group": group, "version": version, "kind": kind}


def _address(resource: Resource) -> JsonObject:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


_OPTIONS = {
    Operation.CREATE: "CreateOptions",
    Operation.UPDATE: "UpdateOptions",
    Operation.DELETE: "DeleteOptions",
}


class Verdict(msgspec.Struct, frozen=True):
    """A usable answer. ``operations`` is the decoded JSON patch, empty without one."""

    denial: Denial | None
    operations: tuple[Raw, ...] = ()
    warnings: tuple[str, ...] = ()


def decode_review(name: str, uid: str, body: bytes, *, mutating: bool) -> Verdict:
    """What a webhook's answer says.

    Raises:
        ReviewError: it is no AdmissionReview v1 for this uid, or carries a patch that is not allowed or malformed.
    """
    try:
        review = _REVIEW.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ReviewError(f"failed to call webhook: couldn't decode the response: {error}") from error
    if review.kind != "AdmissionReview" or review.api_version != "admission.k8s.io/v1":
        raise _unusable(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, "
            f"got {review.api_version}, Kind={review.kind}"
        )
    answer = review.response
    if answer is None:
        raise _unusable("webhook response was absent")
    if answer.uid != uid:
        raise _unusable(f'expected response.uid="{uid}", got "{answer.uid}"')
    warnings = tuple(answer.warnings or ())
    patch = _decoded_patch(answer, mutating=mutating)
    if not answer.allowed:
        return Verdict(_denial(name, answer.status), (), warnings)
    return Verdict(None, _operations(patch, answer.patch_type), warnings)


def _unusable(why: str) -> ReviewError:
    return ReviewError(f"received invalid webhook response: {why}")


def _decoded_patch(answer: _Response, *, mutating: bool) -> bytes:
    """The patch of an answer, which has to say what kind of patch it is; only mutating webhooks may have one."""
    try:
        patch = base64.b64decode(answer.patch or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ReviewError("failed to call webhook: illegal base64 data at input byte 0") from error
    if not mutating:
        if patch:
            raise _unusable("validating webhook may not return response.patch")
        if answer.patch_type is not None:
            raise _unusable("validating webhook may not return response.patchType")
    elif patch and answer.patch_type is None:
        raise _unusable("webhook returned response.patch but not response.patchType")
    elif not patch and answer.patch_type is not None:
        raise _unusable("webhook returned response.patchType but not response.patch")
    return patch


def _operations(patch: bytes, patch_type: str | None) -> tuple[Raw, ...]:
    if not patch:
        return ()
    try:
        operations = msgspec.json.decode(patch)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ReviewError(f"received undecodable patch in webhook response: {error}") from error
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise ReviewError("received undecodable patch in webhook response: not a list of JSON patch operations")
    if operations and patch_type != "JSONPatch":
        raise ReviewError(f"unsupported patch type {patch_type!r}: wanted 'JSONPatch'")
    return tuple(operations)


def _denial(name: str, status: _Status | None) -> Denial:
    denied = f'admission webhook "{name}" denied the request'
    found = status or _Status()
    if found.message:
        message = f"{denied}: {found.message}"
    elif found.reason:
        message = f"{denied}: {found.reason}"
    else:
        message = f"{denied} without explanation"
    code = found.code if found.code is not None and 400 <= found.code < 600 else 400
    return Denial(message, code=code, reason=found.reason or "", details=dict(found.details or {}))
