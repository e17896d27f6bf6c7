"""GreptimeDB's error codes, which of our errors each is, and the HTTP status that comes with it.

Source: GreptimeDB, common-error StatusCode and its mapping to HTTP in the servers crate.
"""

from enum import IntEnum

from tensorfusion.errors import ApiError, StoreError, StoreUnwritable, TensorFusionError
from tensorfusion.timeseries.errors import (
    ColumnConflict,
    LineError,
    QueryRefused,
    QueryTooLarge,
    QueryTooLong,
    Refusal,
    StoreBusy,
)


class Code(IntEnum):
    """``code`` of an answer."""

    SUCCESS = 0
    UNSUPPORTED = 1001
    INTERNAL = 1003
    INVALID_ARGUMENTS = 1004
    CANCELLED = 1005
    INVALID_SYNTAX = 2000
    PLAN_QUERY = 3000
    EXECUTE_QUERY = 3001
    TABLE_NOT_FOUND = 4001
    COLUMN_NOT_FOUND = 4002
    DATABASE_NOT_FOUND = 4004
    STORAGE_UNAVAILABLE = 5000
    EXHAUSTED = 6000
    USER_PASSWORD_MISMATCH = 7002
    PERMISSION_DENIED = 7006


_STATUS = {
    Code.SUCCESS: 200,
    Code.INTERNAL: 500,
    Code.CANCELLED: 504,
    Code.EXECUTE_QUERY: 500,
    Code.STORAGE_UNAVAILABLE: 503,
    Code.EXHAUSTED: 503,
    Code.USER_PASSWORD_MISMATCH: 401,
    Code.PERMISSION_DENIED: 403,
}
_REFUSALS = {
    Refusal.SYNTAX: Code.INVALID_SYNTAX,
    Refusal.STATEMENT: Code.UNSUPPORTED,
    Refusal.TABLE: Code.TABLE_NOT_FOUND,
    Refusal.COLUMN: Code.COLUMN_NOT_FOUND,
    Refusal.PLAN: Code.PLAN_QUERY,
    Refusal.RUN: Code.INVALID_ARGUMENTS,  # GreptimeDB says 3001 with HTTP 500; that would have it asked again
}


def code_of(error: TensorFusionError | ValueError) -> Code:
    """GreptimeDB's code for an error of ours."""
    match error:
        case QueryRefused():
            return _REFUSALS[error.why]
        case LineError() | ColumnConflict() | QueryTooLarge() | ValueError():
            return Code.INVALID_ARGUMENTS
        case QueryTooLong():
            return Code.CANCELLED
        case StoreBusy():
            return Code.EXHAUSTED
        case StoreUnwritable() | StoreError():
            return Code.STORAGE_UNAVAILABLE
        case ApiError(status_code=401):
            return Code.USER_PASSWORD_MISMATCH
        case ApiError(status_code=403):
            return Code.PERMISSION_DENIED
        case ApiError(status_code=status) if status < 500:
            return Code.INVALID_ARGUMENTS
    return Code.INTERNAL


def status_of(code: Code) -> int:
    """The HTTP status of an answer with this code."""
    return _STATUS.get(code, 400)
