"""``tensorfusion metrics``: the embedded store of time series, and questions to one."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import output_option, show
from tensorfusion.errors import ConfigError
from tensorfusion.timeseries.places import PORT, token_path
from tensorfusion.timeseries.retention_bounds import LEAST_DAYS

_GIB = 1 << 30
_PARTS = {"TimestampSecond": 1, "TimestampMillisecond": 10**3, "TimestampMicrosecond": 10**6}
_NS = 10**9
_data = click.option(
    "--data", type=click.Path(path_type=Path), default=Path("metrics"), show_default=True, help="Folder of the store."
)


@click.group("metrics", cls=SuggestingGroup)
def command() -> None:
    """Keep numbers over time - requests of the gateway, use of devices - and ask for them in SQL.

    \b
    tensorfusion metrics serve --data metrics
    tensorfusion metrics query --data metrics "SELECT model, count(*) FROM llm_requests GROUP BY model"
    """


@command.command("serve")
@_data
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. HTTP, without TLS.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: the system chooses.")
@click.option(
    "--days", type=click.IntRange(min=LEAST_DAYS), default=30, show_default=True, help="How long rows are kept."
)
@click.option(
    "--most-gib", type=click.IntRange(min=1), default=10, show_default=True, help="Bytes of the file, in GiB."
)
def serve(data: Path, host: str, port: int, days: int, most_gib: int) -> None:
    """Serve the embedded store over HTTP, as a GreptimeDB: line protocol in, SELECTs out.

    The folder gets a file `token` (readable by its owner only) with the token that everybody who writes or asks needs.
    Rows older than --days go, and the oldest where the file grows beyond --most-gib. What the requests of an hour
    came to (llm_usage) is kept for 400 days at least.

    \b
    tensorfusion metrics serve --data metrics
    tensorfusion metrics serve --data /var/lib/metrics --port 4000 --days 90
    """
    from tensorfusion.timeseries.program import serve as run
    from tensorfusion.timeseries.retention_bounds import DAY, SUMS_DAYS, Retention
    from tensorfusion.timeseries.tables import LLM_USAGE

    sums = {LLM_USAGE.name: max(days, SUMS_DAYS) * DAY}
    retention = Retention(days * DAY, sums, most_bytes=most_gib * _GIB)
    asyncio.run(
        run(data, host=host, port=port, retention=retention, say=lambda line: click.echo(line, err=True)),
    )


@command.command("query")
@click.argument("sql")
@_data
@click.option("--url", default="", help=f"Address of the store.  [default: http://127.0.0.1:{PORT}]")
@click.option("--token-file", type=click.Path(path_type=Path), help="[default: the file `token` of --data]")
@click.option("--user", default="", help="For a GreptimeDB: the token file then holds this user's password.")
@click.option("--database", default="public", show_default=True, help="For a GreptimeDB.")
@output_option
def query(sql: str, data: Path, url: str, token_file: Path | None, user: str, database: str, output: str) -> None:
    """Answer one SELECT of a store that is being served, or of a GreptimeDB.

    \b
    tensorfusion metrics query "SELECT route, sum(cost_micro_usd) / 1e6 AS usd FROM llm_requests GROUP BY route"
    """
    from tensorfusion.timeseries.client import Database
    from tensorfusion.timeseries.results import Result

    path = token_file or token_path(data)
    try:
        token = path.read_text().strip() if token_file is not None or path.exists() or not url else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"token file {path} cannot be read: {error}: name it with --token-file, or the store's folder with --data"
        ) from error

    async def ask() -> Result:
        store = Database(url or f"http://127.0.0.1:{PORT}", database=database, user=user, password=token)
        try:
            return await store.sql(sql)
        finally:
            await store.close()

    found = asyncio.run(ask())
    names = [column.name for column in found.columns]
    kinds = [column.kind for column in found.columns]
    rows = [[_shown(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in found.rows]
    show(rows, [name.upper() for name in names], output=output, value=found.dicts())


def _shown(value: Any, kind: str) -> str:  # Any: of whatever kind its column is
    if value is None:
        return "-"
    if kind.startswith("Timestamp"):
        part = _PARTS.get(kind, _NS)
        seconds, rest = divmod(int(value), part)
        moment = datetime.fromtimestamp(seconds, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest * 1000 // part:03d}Z"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
