"""Every error this project raises on purpose.

TensorFusionError
├── InvalidRequest          the caller's fault; never retried             HTTP 400 / admission denial
│   ├── InvalidQuantity     a quantity that does not parse or is out of range
│   └── InvalidObject       an object or field that breaks its schema     HTTP 422 (carries causes)
├── NotFit                  no placement now; retried on fleet change     (carries counts per reason)
├── QuotaExceeded           retried when the quota or its usage changes
├── ConfigError             a file, flag or environment that cannot be used; the process says so and ends
├── StoreError              the embedded store
│   ├── StoreLocked         another process holds it
│   ├── StoreTooNew         written by a newer version
│   ├── StoreCorrupt        not a readable store; never deleted by us
│   └── StoreUnwritable     disk full or read-only: nothing of the failed batch is kept
└── ApiError                the API server answered with a Status         HTTP status as given
    ├── BadRequest          400
    ├── Unauthorized        401
    ├── Forbidden           403
    ├── NotFound            404
    ├── MethodNotAllowed    405
    ├── AlreadyExists       409, reason AlreadyExists
    ├── Conflict            409: re-read and retry at once
    ├── Gone                410: re-list
    ├── TooLarge            413
    ├── UnsupportedMediaType 415
    ├── Invalid             422: carries field causes
    ├── TooManyRequests     429: retried after a pause
    └── ServerError         5xx, and connections that broke: retried with backoff
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class TensorFusionError(Exception):
    """Base class. ``retryable`` tells the work queue whether backing off can help."""

    retryable: ClassVar[bool] = False


class InvalidRequest(TensorFusionError):
    """The caller asked for something that can never work as written."""


class InvalidQuantity(InvalidRequest):
    """A quantity string that does not parse, is negative where it must not be, or overflows."""


@dataclass(frozen=True, slots=True)
class FieldCause:
    """One broken field, in the words of a Kubernetes Status cause.

    ``reason`` is the wire value, for example ``FieldValueInvalid`` or ``FieldValueRequired``.
    """

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class InvalidObject(InvalidRequest):
    """An object that breaks its schema. ``causes`` names every broken field."""

    def __init__(self, message: str, causes: Sequence[FieldCause] = ()) -> None:
        self.causes = tuple(causes)
        super().__init__(message)


class NotFit(TensorFusionError):
    """No node can hold the request now.

    ``reasons`` maps a short stable reason (``"vram"``, ``"isolation"``) to the number of devices (or nodes)
    that it removed. The message is the one users see in the pod's condition and event.
    """

    retryable = True

    def __init__(self, requested: str, reasons: Mapping[str, int]) -> None:
        self.requested = requested
        self.reasons = dict(reasons)
        why = ", ".join(f"{count} {name}" for name, count in sorted(self.reasons.items()))
        super().__init__(f"no fit for {requested}: {why}")


class QuotaExceeded(TensorFusionError):
    """A namespace's quota has no room. ``resolvable`` is false when no release by others can help.

    ``cohort`` names the tree of cohorts whose members have no more to lend; empty where it is the quota's own ceiling.
    """

    retryable = True

    def __init__(
        self,
        namespace: str,
        key: str,
        *,
        requested: str,
        limit: str,
        resolvable: bool,
        cohort: str = "",
        detail: str = "",
    ) -> None:
        self.namespace = namespace
        self.key = key
        self.resolvable = resolvable
        self.cohort = cohort
        why = f": {detail}" if detail else ""
        super().__init__(
            f"quota exceeded in namespace {namespace} for {key}: requested {requested}, limit {limit}{why}"
        )


class ConfigError(TensorFusionError):
    """A file, flag or environment value that cannot be used."""


class StoreError(TensorFusionError):
    """The embedded store refused or failed."""


class StoreLocked(StoreError):
    """Another process holds the store."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of this software."""


class StoreCorrupt(StoreError):
    """The file is not a readable store. It is left as it is."""


class StoreUnwritable(StoreError):
    """The disk is full or read-only. Nothing of the failed batch was kept."""

    retryable = True


class ApiError(TensorFusionError):
    """The API server answered with a Status object.

    Carries everything a Status body has, so that the embedded server raises the same errors that the
    client rebuilds from the wire.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str | None = None,
        kind: str = "",
        group: str = "",
        name: str = "",
        causes: Sequence[FieldCause] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = self.code if code is None else code
        self.status_reason = self.reason if reason is None else reason
        self.kind = kind
        self.group = group
        self.name = name
        self.causes = tuple(causes)
        self.retry_after = retry_after


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    """Somebody else wrote first, or a precondition (uid, resourceVersion) does not hold."""

    code, reason = 409, "Conflict"
    retryable = True


class Gone(ApiError):
    """The resource version or continue token is too old: list again."""

    code, reason = 410, "Expired"
    retryable = True


class TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"
    retryable = True


class ServerError(ApiError):
    """The server failed or could not be reached; the request may or may not have been carried out."""

    retryable = True


_BY_CODE: dict[int, type[ApiError]] = {
    error.code: error
    for error in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        Conflict,
        Gone,
        TooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
    )
}


def api_error_class(code: int, reason: str) -> type[ApiError]:
    """The class of this tree for an HTTP status and a Status reason."""
    if code == AlreadyExists.code and reason == AlreadyExists.reason:
        return AlreadyExists
    if code >= ServerError.code:
        return ServerError
    return _BY_CODE.get(code, ApiError)
