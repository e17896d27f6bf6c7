"""What goes wrong between a number and its store.

SeriesError
├── LineError         a line that is no line protocol; names its number
├── ColumnConflict    a value of another type than its column holds
├── QueryRefused      SQL that is no single SELECT on tables of this store, or names what is not there
├── QueryTooLong      its time is over
├── QueryTooLarge     more rows than one answer may have
├── StoreBusy         more is waiting to be written than memory is given for; retried
└── DatabaseError     what a database answered that is none of these, or did not answer; ``retryable`` tells

The first six are the fault of who sent the request, or pass: an HTTP server words them in its own codes.
"""

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
        super().__init__(f"table {table}, column {column}: wanted {wanted}, found {found}")


class Missing:
    """What a query names that is not there, as ``QueryRefused.missing``."""

    NOTHING = ""
    TABLE = "table"
    COLUMN = "column"


class QueryRefused(SeriesError):
    """The query can never work as written. ``missing`` is of ``Missing``."""

    def __init__(self, message: str, missing: str = Missing.NOTHING) -> None:
        self.missing = missing
        super().__init__(message)


class QueryTooLong(SeriesError):
    """It was stopped."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"query: wanted an answer within {seconds:g} s, found none: narrow its period")


class QueryTooLarge(SeriesError):
    """More rows than one answer may have; none are given, since a part would be taken for the whole."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(f"query: wanted at most {rows} rows, found more: aggregate, or add a LIMIT")


class StoreBusy(SeriesError):
    """Nothing of the request is kept."""

    retryable = True


class DatabaseError(SeriesError):
    """A database answered with an error, or not at all.

    ``status`` is HTTP's, 0 where no answer came; ``code`` is GreptimeDB's, 0 where it gave none.
    """

    def __init__(self, message: str, *, status: int = 0, code: int = 0) -> None:
        self.status = status
        self.code = code
        super().__init__(message)
