"""AdmissionReview on the wire: what a webhook is asked, and what its answer means.

Source: admission.k8s.io/v1.
"""

import base64
import binascii
from collections.abc import Mapping

import msgspec

from tensorfusion.embedded.calls import Asked, Operation
from tensorfusion.embedded.objects import encode_object, new_uid
from tensorfusion.embedded.statuses import Denial
from tensorfusion.model.meta import Raw

_LONGEST_WARNING = 256
_NULL = msgspec.Raw(b"null")


class ReviewError(Exception):
    """The webhook's answer cannot be used."""


class _Status(msgspec.Struct, frozen=True):
    code: int | None = None
    message: str | None = None
    reason: str | None = None


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


def encode_review(asked: Asked) -> tuple[str, bytes]:
    """The review's uid and its JSON. The object is encoded once; the stored old object is not decoded or encoded."""
    resource = asked.kind.resource
    group, version, kind = asked.shape or (resource.group, resource.version, resource.kind)
    uid = new_uid()
    user = asked.call.user
    of_kind = {"group": group, "version": version, "kind": kind}
    of_resource = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request = {
        "uid": uid,
        "kind": of_kind,
        "resource": of_resource,
        **({"subResource": asked.subresource} if asked.subresource else {}),
        "requestKind": of_kind,
        "requestResource": of_resource,
        **({"requestSubResource": asked.subresource} if asked.subresource else {}),
        **({"name": asked.name} if asked.name else {}),
        **({"namespace": asked.namespace} if asked.namespace else {}),
        "operation": asked.operation.value,
        "userInfo": {
            "username": user.name,
            **({"uid": user.uid} if user.uid else {}),
            "groups": user.groups,
            **({"extra": user.extra} if user.extra else {}),
        },
        "object": _NULL if asked.obj is None else msgspec.Raw(encode_object(asked.obj)),
        "oldObject": _NULL if asked.old_data is None else msgspec.Raw(asked.old_data),
        "dryRun": asked.call.dry_run,
        "options": _NULL
        if asked.operation is Operation.CONNECT
        else {"kind": _OPTIONS[asked.operation], "apiVersion": "meta.k8s.io/v1"},
    }
    return uid, msgspec.json.encode(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    )


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
        raise ReviewError(f"couldn't decode the response: {error}") from error
    answer = review.response
    if answer is None:
        raise ReviewError("the response has no field response")
    if review.kind != "AdmissionReview" or review.api_version != "admission.k8s.io/v1":
        raise ReviewError(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, "
            f"got {review.api_version}, Kind={review.kind}"
        )
    if answer.uid != uid:
        raise ReviewError(f'expected response.uid="{uid}", got "{answer.uid}"')
    warnings = tuple(_one_line(warning) for warning in answer.warnings or ())
    if not answer.allowed:
        return Verdict(_denial(name, answer.status), (), warnings)
    if answer.patch is None:
        return Verdict(None, (), warnings)
    if not mutating:
        raise ReviewError("response.patch is not allowed from a validating webhook")
    if answer.patch_type != "JSONPatch":
        raise ReviewError(f'response.patchType: wanted "JSONPatch", found {answer.patch_type!r}')
    try:
        operations = msgspec.json.decode(base64.b64decode(answer.patch, validate=True))
    except (binascii.Error, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ReviewError(f"response.patch: not a base64 encoded JSON patch: {error}") from error
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise ReviewError("response.patch: not a list of JSON patch operations")
    return Verdict(None, tuple(operations), warnings)


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
    return Denial(message, code=code, reason=found.reason or "")


def _one_line(warning: str) -> str:
    return " ".join(warning.split())[:_LONGEST_WARNING]
