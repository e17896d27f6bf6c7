"""What goes wrong between a number and its store.

SeriesError
├── LineError         a line that is no line protocol; names its number
├── ColumnConflict    a value of another type than its column holds
├── QueryRefused      SQL that is no single SELECT on tables of this store, or names what is not there
├── QueryTooLong      its time is over
├── QueryTooLarge     more rows, or longer texts, than one answer may have
├── StoreBusy         more is waiting to be written than memory is given for; retried
└── DatabaseError     of a client: what a database at the other end answered
    ├── DatabaseRefused   the same request will be refused again
    └── DatabaseFailed    no answer, or a server in trouble; retried

The first six are of the embedded store; its HTTP server words them in GreptimeDB's codes.
"""

from enum import StrEnum

from tensorfusion.errors import TensorFusionError


class SeriesError(TensorFusionError):
    """Base class."""


class LineError(SeriesError):
    """Nothing of the text is kept. ``line`` counts from 1."""

    def __init__(self, line: int, wanted: str, found: str) -> None:
        self.line = line
        self.wanted = wanted
        self.found = found
        super().__init__(f"line {line}: wanted {wanted}, found {found}")


class ColumnConflict(SeriesError):
    """Nothing of the request is kept. The types are in GreptimeDB's words."""

    def __init__(self, table: str, column: str, *, wanted: str, found: str) -> None:
        self.table = table
        self.column = column
        where = f"table {table}, column {column}" if column else f"table {table}"
        super().__init__(f"{where}: wanted {wanted}, found {found}")


class Refusal(StrEnum):
    """Why a query can never work as written."""

    SYNTAX = "syntax"
    STATEMENT = "statement"
    """It is not a SELECT, or uses what is not given to queries."""
    TABLE = "table"
    COLUMN = "column"
    PLAN = "plan"
    """It does not fit the types that there are."""
    RUN = "run"
    """It failed on the way: a value that cannot be converted, memory."""


class QueryRefused(SeriesError):
    """Nothing was changed by it; the same query will be refused again."""

    def __init__(self, why: Refusal, message: str) -> None:
        self.why = why
        super().__init__(f"query: {message}")


class QueryTooLong(SeriesError):
    """It was stopped."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"query: wanted an answer within {seconds:g} s, found none: narrow its period")


class QueryTooLarge(SeriesError):
    """More than one answer may have; nothing is given, since a part would be taken for the whole."""

    def __init__(self, most: str) -> None:
        super().__init__(f"query: wanted at most {most}, found more: aggregate, or add a LIMIT")


class StoreBusy(SeriesError):
    """Nothing of the request is kept."""

    retryable = True


class DatabaseError(SeriesError):
    """A database at the other end of a connection said no, or nothing.

    ``status`` is HTTP's, 0 where no answer came; ``code`` is GreptimeDB's, 0 where it gave none.
    """

    def __init__(self, message: str, *, status: int = 0, code: int = 0) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class DatabaseRefused(DatabaseError):
    """The same request will be refused again."""


class DatabaseFailed(DatabaseError):
    """It may work in a moment, ``retry_after`` seconds where the server said so; it may have been carried out."""

    retryable = True

    def __init__(self, message: str, *, status: int = 0, code: int = 0, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(message, status=status, code=code)
