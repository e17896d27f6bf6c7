"""Where a served store keeps what: apart, so that whoever only asks it needs no DuckDB."""

from pathlib import Path
from typing import Final

FILE: Final = "metrics.duckdb"
PORT: Final = 4000
"""GreptimeDB's for HTTP."""


def token_path(folder: Path) -> Path:
    """The file of the token that the store asks for."""
    return folder / "token"
