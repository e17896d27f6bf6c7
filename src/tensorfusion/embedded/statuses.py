"""Status objects: how this API says that something went wrong, or that it went right without an object to show.

The wordings are those of a real API server, because clients and people match on them.

Source: metav1.Status; apimachinery api/errors.
"""

from collections.abc import Sequence

import msgspec

from tensorfusion.embedded.negotiation import NoSuchType, NotAcceptable
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.schema import StrictError
from tensorfusion.embedded.schema.words import InLines
from tensorfusion.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    FieldCause,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    ServerError,
    UnsupportedMediaType,
)
from tensorfusion.model.resources import Resource


class Denial(ApiError):
    """A webhook's refusal: its words and ``details`` are passed on as they are."""

    def __init__(self, message: str, *, code: int, reason: str, details: JsonObject) -> None:
        retry_after = details.get("retryAfterSeconds")
        super().__init__(
            message, code=code, reason=reason, retry_after=retry_after if isinstance(retry_after, int) else None
        )
        self.details = details


class ApplyConflict(Conflict):
    """A configuration that changes what others own: a list of fields, one a line, that clients show as it is."""


class NotTyped(BadRequest):
    """A configuration that is not of its schema's types: one problem a line."""


class Escalation(Forbidden):
    """A grant of what its author does not have: one rule a line."""


class NoPatch(UnsupportedMediaType):
    """A patch whose media type is that of no patch at all."""


_VERBATIM = (Denial, ApplyConflict, Escalation, InLines, NotAcceptable, NotTyped, StrictError)
_DETAILED = (NotFound, MethodNotAllowed, Forbidden, Conflict, NoSuchType, NoPatch)
"""Errors that have details even where these say nothing."""
_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), 127, 0x85, 0x2028, 0x2029)}


def status_body(error: ApiError) -> JsonObject:
    """The Status object of an error. Our own messages are one line, whatever was quoted in them."""
    message = str(error)
    if not message.isprintable() and not isinstance(error, _VERBATIM):
        message = message.translate(_ESCAPES)
    body: JsonObject = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        **({"reason": error.status_reason} if error.status_reason else {}),
    }
    details: JsonObject = dict(error.details) if isinstance(error, Denial) else {}
    for field, value in (("name", error.name), ("group", error.group), ("kind", error.kind)):
        if value:
            details[field] = value
    if error.causes:
        details["causes"] = [
            {
                **({"reason": cause.reason} if cause.reason else {}),
                "message": cause.message,
                **({"field": cause.field} if cause.field else {}),
            }
            for cause in error.causes
        ]
    if error.retry_after is not None:
        details["retryAfterSeconds"] = error.retry_after
    if details or isinstance(error, _DETAILED):
        body["details"] = details
    body["code"] = error.status_code
    return body


def encode_status(error: ApiError) -> bytes:
    return msgspec.json.encode(status_body(error)) + b"\n"


def success(*, code: int | None = None, details: JsonObject | None = None) -> JsonObject:
    """A Status that says yes."""
    body: JsonObject = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        body["details"] = details
    if code is not None:
        body["code"] = code
    return body


def internal_error(what: str) -> ServerError:
    """``Internal error occurred: ...``, with what it was as its cause."""
    return ServerError(f"Internal error occurred: {what}", causes=(FieldCause("", what, ""),))


def not_found(resource: Resource, name: str) -> NotFound:
    return NotFound(f'{resource.id} "{name}" not found', kind=resource.plural, group=resource.group, name=name)


def no_such_resource() -> NotFound:
    return NotFound("the server could not find the requested resource")


def method_not_allowed(resource: Resource | None = None, verb: str = "") -> MethodNotAllowed:
    """``resource`` and ``verb`` where a server names them: on the subresources of custom kinds."""
    if resource is None:
        return MethodNotAllowed("the server does not allow this method on the requested resource")
    text = f'{verb} is not supported on resources of kind "{resource.id}"'
    return MethodNotAllowed(text, kind=resource.plural, group=resource.group)


def already_exists(resource: Resource, name: str, *, deleting: bool = False) -> AlreadyExists:
    """The name is taken; ``deleting``: by an object that is on its way out."""
    why = "object is being deleted: " if deleting else ""
    return AlreadyExists(
        f'{why}{resource.id} "{name}" already exists', kind=resource.plural, group=resource.group, name=name
    )


def conflict(resource: Resource, name: str, why: str, *, subresource: str = "") -> Conflict:
    """``Operation cannot be fulfilled on pods "a": ...``."""
    kind = f"{resource.plural}/{subresource}" if subresource else resource.plural
    shown = f"{kind}.{resource.group}" if resource.group else kind
    return Conflict(
        f'Operation cannot be fulfilled on {shown} "{name}": {why}', kind=kind, group=resource.group, name=name
    )


def modified(resource: Resource, name: str) -> Conflict:
    """Somebody else wrote first."""
    return conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def forbidden(resource: Resource, name: str, why: str, *, causes: Sequence[FieldCause] = ()) -> Forbidden:
    """``pods "a" is forbidden: ...``, from the server's own admission."""
    shown = f'{resource.id} "{name}"' if name else resource.id
    return Forbidden(
        f"{shown} is forbidden: {why}", kind=resource.plural, group=resource.group, name=name, causes=causes
    )


def invalid(kind: str, group: str, name: str, *, causes: Sequence[FieldCause]) -> Invalid:
    """``Pod "a" is invalid: spec.x: Invalid value ...``; several causes are bracketed."""
    lines = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    why = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    shown = f"{kind}.{group}" if group else kind
    return Invalid(f'{shown} "{name}" is invalid: {why}', kind=kind, group=group, name=name, causes=causes)


def invalid_object(resource: Resource, name: str, *causes: FieldCause) -> Invalid:
    return invalid(resource.kind, resource.group, name, causes=causes)


def invalid_options(kind: str, field: str, message: str, *, reason: str = "FieldValueNotSupported") -> Invalid:
    """A query parameter or delete option that does not hold."""
    return invalid(kind, "meta.k8s.io", "", causes=(FieldCause(field, message, reason),))
