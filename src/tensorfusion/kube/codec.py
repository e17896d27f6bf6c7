"""Bytes of the API into the types callers name, and Status bodies into our errors.

Answers are decoded straight into the wanted type in one pass. An object that does not have the wanted form must not
stop the objects around it: lists and watches leave it out, say so in the log and count it. Only a single-object answer
fails as a whole.

Source: Kubernetes API concepts (lists, watch events, metav1.Status).
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from tensorfusion.errors import ApiError, FieldCause, Gone, ServerError, api_error_class
from tensorfusion.kube.api import WatchEvent
from tensorfusion.model.meta import Key
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter

T = TypeVar("T")

UNDECODABLE = counter(
    "tensorfusion_api_undecodable_objects_total", "Objects left out because they lack the expected form.", ("resource",)
)

_CHANGE_LINES = (b'{"type":"ADDED"', b'{"type":"MODIFIED"', b'{"type":"DELETED"')
_SHOWN = 500

log = get_logger(__name__)


class _ListMeta(msgspec.Struct, frozen=True):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One chunk of a list."""

    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[T] | None = None


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, frozen=True):
    name: str = ""
    group: str = ""
    kind: str = ""
    causes: tuple[_Cause, ...] | None = None
    retry_after: int | None = msgspec.field(default=None, name="retryAfterSeconds")


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


class _Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    type: str
    object: T


class _IdentityMeta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Identity(msgspec.Struct, frozen=True):
    metadata: _IdentityMeta = msgspec.field(default_factory=_IdentityMeta)


# Any: one decoder for each type a caller names, whatever it is; a program names a few dozen
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type, made once."""
    found = _DECODERS.get(type_)
    if found is None:
        found = _DECODERS[type_] = msgspec.json.Decoder(type_)
    return found


_RAW_PAGE = msgspec.json.Decoder(Page[msgspec.Raw])
_RAW_CHANGE = msgspec.json.Decoder(_Change[msgspec.Raw])
_IDENTITY = msgspec.json.Decoder(_Identity)
_STATUS = msgspec.json.Decoder(_Status)


def decode(body: bytes, type_: type[T]) -> T:
    """An answer as the wanted type.

    Raises:
        ServerError: it does not have that form.
    """
    try:
        found: T = decoder(type_).decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        wanted = getattr(type_, "__name__", str(type_))
        raise ServerError(f"the server's answer is not a {wanted}: {error}", reason="Undecodable") from error
    return found


def decode_page(body: bytes, type_: type[T], *, resource: str) -> Page[T]:
    """One chunk of a list; objects without the wanted form are left out.

    Raises:
        ServerError: the answer is not a list at all.
    """
    try:
        page: Page[T] = decoder(Page[type_]).decode(body)  # type: ignore[valid-type]  # generic over the caller's type
        return page
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        raw = _RAW_PAGE.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ServerError(f"list of {resource}: the server's answer is not a list: {error}") from error
    items: list[T] = []
    for part in raw.items or ():
        try:
            items.append(decoder(type_).decode(part))
        except (msgspec.DecodeError, RecursionError) as error:
            _left_out(resource, _identity(part), error)
    return Page(raw.metadata, items)


class WatchDecoder(Generic[T]):
    """Lines of one watch into events."""

    def __init__(self, type_: type[T], *, resource: str) -> None:
        self._resource = resource
        self._object = decoder(type_)
        self._version = _version_reader(type_)
        self._change: msgspec.json.Decoder[_Change[T]] = decoder(_Change[type_])  # type: ignore[valid-type]

    def events(self, lines: Iterable[bytes]) -> tuple[list[WatchEvent[T]], ApiError | None]:
        """The events of whole lines, and the error that ends the watch after them, if one does.

        An object without the wanted form becomes a bookmark, or, when it was deleted, an event without object.
        ``Gone`` means that the resource version is too old.
        """
        found: list[WatchEvent[T]] = []
        for line in lines:
            if line:
                try:
                    found.append(self._event(line))
                except ApiError as error:
                    return found, error
        return found, None

    def _event(self, line: bytes) -> WatchEvent[T]:
        if self._version is not None and line.startswith(_CHANGE_LINES):
            try:
                change = self._change.decode(line)
                return WatchEvent(change.type, change.object, self._version(change.object))
            except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
                pass  # the slow way finds out what is wrong with it
        return self._parse(line)

    def _parse(self, line: bytes) -> WatchEvent[T]:
        try:
            envelope = _RAW_CHANGE.decode(line)
            if envelope.type == "ERROR":
                status = _STATUS.decode(envelope.object)
                raise _from_status(status.code or 500, status)
            identity = _identity(envelope.object)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ServerError(f"watch of {self._resource}: the server sent something else: {error}") from error
        version = identity.resource_version
        if envelope.type == "BOOKMARK":
            return WatchEvent("BOOKMARK", None, version)
        try:
            return WatchEvent(envelope.type, self._object.decode(envelope.object), version)
        except (msgspec.DecodeError, RecursionError) as error:
            _left_out(self._resource, identity, error)
        if envelope.type == "DELETED":
            return WatchEvent("DELETED", None, version, Key(identity.namespace, identity.name))
        return WatchEvent("BOOKMARK", None, version)


def status_error(code: int, body: bytes, *, retry_after: str | None = None) -> ApiError:
    """The error that an unsuccessful answer means; a body that is no Status becomes its message."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.DecodeError, RecursionError):
        status = _Status(message=body[:_SHOWN].decode(errors="replace"))
    pause = int(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    return _from_status(code, status, retry_after=pause)


def _from_status(code: int, status: _Status, *, retry_after: int | None = None) -> ApiError:
    details = status.details or _Details()
    kind = Gone if code == Gone.code else api_error_class(code, status.reason)
    return kind(
        " ".join((status.message or status.reason or f"HTTP status {code}").split()),
        code=code,
        reason=status.reason or None,
        kind=details.kind,
        group=details.group,
        name=details.name,
        causes=[FieldCause(cause.field, cause.message, cause.reason) for cause in details.causes or ()],
        retry_after=details.retry_after or retry_after,
    )


def _identity(part: bytes | msgspec.Raw) -> _IdentityMeta:
    try:
        return _IDENTITY.decode(part).metadata
    except (msgspec.DecodeError, RecursionError):
        return _IdentityMeta()


def _left_out(resource: str, identity: _IdentityMeta, error: Exception) -> None:
    UNDECODABLE.labels(resource).inc()
    key = Key(identity.namespace, identity.name)
    log.error("object left out: it lacks the expected form", resource=resource, key=key, error=error)


def _version_reader(type_: Any) -> Callable[[Any], str] | None:  # Any: whatever the caller decodes into
    """How to read the resource version from a decoded object; None where its type does not carry it."""
    if type_ is dict or getattr(type_, "__origin__", None) is dict:
        return _version_of_dict
    if "metadata" in getattr(type_, "__struct_fields__", ()):
        fields = {field.name: field.type for field in msgspec.structs.fields(type_)}
        if "resource_version" in getattr(fields["metadata"], "__struct_fields__", ()):
            return _version_of_struct
    return None


def _version_of_dict(found: Any) -> str:  # Any: JSON
    return str(found["metadata"].get("resourceVersion", ""))


def _version_of_struct(found: Any) -> str:  # Any: a struct with metadata.resource_version, checked once by the reader
    version: str = found.metadata.resource_version
    return version
