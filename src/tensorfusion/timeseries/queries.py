"""One SELECT on our tables, answered in GreptimeDB's types, within bounds of time and rows.

DuckDB's own parser says what a query is made of, and only what is known passes: one statement, tables of the store or
names that the query defines itself, a few functions that make rows. What a query could reach beyond that - files, the
network, settings - is closed in ``engine`` once more.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from tensorfusion.timeseries.columns import TableShape
from tensorfusion.timeseries.engine import SCHEMA, duckdb
from tensorfusion.timeseries.errors import QueryRefused, QueryTooLarge, Refusal
from tensorfusion.timeseries.functions import FUNCTIONS, JOINING, MOST_JOINED, ROW_MAKERS
from tensorfusion.timeseries.results import Named, Result

LONGEST_QUERY: Final = 64 << 10
"""Characters. Longer ones are lists that belong into a table."""
MOST_TEXT: Final = 64 << 20
"""Characters of all texts of an answer."""
_FETCHED: Final = 256

_LONGEST_TEXT: Final = 400
_WRITTEN: Final = "this store is written by line protocol"
_OTHER_STATEMENTS: Final = frozenset(
    {"ADMIN", "ALTER", "CREATE", "DELETE", "DROP", "INSERT", "TQL", "TRUNCATE", "UPDATE"}
)
"""Of GreptimeDB, whose grammar DuckDB does not know."""
_CATALOG: Final = frozenset({"tables", "columns"})
_SYSTEM: Final = ("duckdb_", "pragma_", "pg_", "sqlite_")

_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "BIGINT": ("Int64", "#{0}"),
    "INTEGER": ("Int32", "#{0}"),
    "SMALLINT": ("Int16", "#{0}"),
    "TINYINT": ("Int8", "#{0}"),
    "UBIGINT": ("UInt64", "#{0}"),
    "UINTEGER": ("UInt32", "#{0}"),
    "USMALLINT": ("UInt16", "#{0}"),
    "UTINYINT": ("UInt8", "#{0}"),
    "HUGEINT": ("Int64", "#{0}::BIGINT"),
    "UHUGEINT": ("UInt64", "#{0}::UBIGINT"),
    "DOUBLE": ("Float64", "#{0}"),
    "FLOAT": ("Float32", "#{0}"),
    "BOOLEAN": ("Boolean", "#{0}"),
    "VARCHAR": ("String", "#{0}"),
    "TIMESTAMP_NS": ("TimestampNanosecond", "epoch_ns(#{0})"),
    "TIMESTAMP": ("TimestampMicrosecond", "epoch_us(#{0})"),
    "TIMESTAMP WITH TIME ZONE": ("TimestampMicrosecond", "epoch_us(#{0})"),
    "TIMESTAMP_MS": ("TimestampMillisecond", "epoch_ms(#{0})"),
    '"NULL"': ("Null", "#{0}"),
}
"""A type of DuckDB: how GreptimeDB calls it, and how its value is taken from column n. Others become texts."""
_DECIMAL: Final = ("Float64", "#{0}::DOUBLE")
_OTHER: Final = ("String", "#{0}::VARCHAR")


def run_query(cursor: "duckdb.DuckDBPyConnection", sql: str, tables: Mapping[str, TableShape], *, rows: int) -> Result:
    """Check and answer one SELECT, on a connection that nobody else uses meanwhile.

    Raises:
        QueryRefused, QueryTooLarge: see ``errors``.
        duckdb.InterruptException: it was interrupted.
    """
    if len(sql) > LONGEST_QUERY:
        raise QueryRefused(Refusal.STATEMENT, f"wanted at most {LONGEST_QUERY} characters, found {len(sql)}")
    try:
        statement = _only_select(cursor, sql, tables)
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            return _answer(cursor, statement, rows)
        finally:
            cursor.execute("ROLLBACK")
    except duckdb.InterruptException:
        raise
    except duckdb.ParserException as error:
        word = sql.split(maxsplit=1)[0].upper()
        if word in _OTHER_STATEMENTS:
            raise QueryRefused(Refusal.STATEMENT, f"wanted a SELECT, found {word}: {_WRITTEN}") from error
        raise QueryRefused(Refusal.SYNTAX, _text(error)) from error
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        text = _text(error)
        missing = "column" in text and "not found" in text
        raise QueryRefused(Refusal.COLUMN if missing else Refusal.PLAN, text) from error
    except duckdb.Error as error:
        raise QueryRefused(Refusal.RUN, _text(error)) from error


def _answer(cursor: "duckdb.DuckDBPyConnection", statement: str, rows: int) -> Result:
    cursor.execute(f"USE {SCHEMA}")
    described = cursor.execute(f"DESCRIBE {statement}").fetchall()
    columns, taken = [], []
    for place, (name, kind, *_) in enumerate(described, 1):
        ours, expression = _DECIMAL if kind.startswith("DECIMAL") else _KINDS.get(kind, _OTHER)
        columns.append(Named(name, ours))
        taken.append(expression.format(place))
    # the line end keeps a comment at the end of the statement from swallowing the bracket
    cursor.execute(f"SELECT {', '.join(taken)} FROM ({statement}\n) LIMIT {rows + 1}")
    found: list[tuple[Any, ...]] = []  # Any: see Result
    texts = 0
    while part := cursor.fetchmany(_FETCHED):
        found.extend(part)
        texts += sum(len(value) for row in part for value in row if isinstance(value, str))
        if len(found) > rows:
            raise QueryTooLarge(f"{rows} rows")
        if texts > MOST_TEXT:
            raise QueryTooLarge(f"{MOST_TEXT} characters of text")
    return Result(tuple(columns), found)


def _only_select(cursor: "duckdb.DuckDBPyConnection", sql: str, tables: Mapping[str, TableShape]) -> str:
    """The statement without a semicolon, if it is one that may be run."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise QueryRefused(Refusal.STATEMENT, f"wanted one statement, found {len(statements)}")
    kind = statements[0].type.name
    if kind != "SELECT":
        raise QueryRefused(Refusal.STATEMENT, f"wanted a SELECT, found {kind}: {_WRITTEN}")
    statement = sql.rstrip("; \t\r\n")
    (text,) = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone() or ("",)
    parsed = msgspec.json.decode(text)
    if parsed.get("error"):
        raise QueryRefused(Refusal.STATEMENT, f"wanted a SELECT, found another form: {parsed.get('error_message')}")
    nodes = list(_nodes(parsed))
    defined = {entry["key"].lower() for node in nodes for entry in _defined(node)}
    for node in nodes:
        _check(node, defined, tables)
    joined = sum(node.get("function_name") in JOINING for node in nodes)
    if joined > MOST_JOINED:
        raise QueryRefused(Refusal.STATEMENT, f"wanted texts joined at most {MOST_JOINED} times, found {joined}")
    return statement


def _nodes(value: object) -> Iterator[dict[str, Any]]:  # Any: DuckDB's tree as JSON
    """Every object of the tree."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _defined(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What a WITH defines."""
    entries: list[dict[str, Any]] = node.get("cte_map", {}).get("map", [])
    return entries


def _check(node: dict[str, Any], defined: set[str], tables: Mapping[str, TableShape]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        schema, table = node.get("schema_name", "").lower(), node.get("table_name", "").lower()
        own = schema in ("", SCHEMA) and table in tables
        named = not schema and table in defined and not table.startswith(_SYSTEM)
        listed = schema == "information_schema" and table in _CATALOG
        if node.get("catalog_name") or not (own or named or listed):
            where = ".".join(filter(None, (node.get("catalog_name"), node.get("schema_name"), node.get("table_name"))))
            raise QueryRefused(Refusal.TABLE, f"table {where}: not found")
    elif kind == "SHOW_REF":
        raise QueryRefused(Refusal.STATEMENT, "wanted a SELECT, found SHOW or DESCRIBE: ask information_schema.columns")
    elif kind == "RECURSIVE_CTE_NODE":
        raise QueryRefused(Refusal.STATEMENT, "wanted a SELECT, found WITH RECURSIVE")
    elif kind == "TABLE_FUNCTION":
        function = node["function"]
        name = str(function.pop("function_name", ""))  # taken away, for it is no value
        if name not in ROW_MAKERS:
            raise QueryRefused(Refusal.STATEMENT, f"function {name}: not given to queries in FROM")
    elif "function_name" in node and node["function_name"] not in FUNCTIONS:
        raise QueryRefused(Refusal.STATEMENT, f"function {node['function_name']}: not given to queries")


def _text(error: Exception) -> str:
    """DuckDB's message in one line, without the picture of where and the list of all functions there are."""
    said = str(error).partition("\n\nLINE ")[0].partition("Candidate functions:")[0]
    return " ".join(said.split())[:_LONGEST_TEXT]
