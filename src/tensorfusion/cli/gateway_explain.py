"""``tensorfusion gateway explain``: what became of one request, and why."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tensorfusion.cli.session import output_option, show, table_lines
from tensorfusion.errors import ConfigError
from tensorfusion.timeseries.places import PORT, token_path

if TYPE_CHECKING:
    from tensorfusion.gateway.configuring import Configuration
    from tensorfusion.gateway.evidence import Record

Json = Any  # Any: of whatever shape
_NS = 10**9
_PATH = click.Path(path_type=Path)


@click.command("explain")
@click.argument("request_id")
@click.option("--log", type=click.Path(path_type=Path), help="File of records to look in.")
@click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path),
    help="The gateway's file: says where its records are, and why its routes and targets stand in this order.",
)
@click.option("--url", default="", help=f"Address of a store of records to look in, such as http://127.0.0.1:{PORT}.")
@click.option("--token-file", type=_PATH, help="Of that store.  [default: metrics/token]")
@output_option
def explain(
    request_id: str, log: Path | None, config: Path | None, url: str, token_file: Path | None, output: str
) -> None:
    """Say what became of the request REQUEST_ID: route, each attempt with its outcome and time, and the cost.

    The id is the field x-request-id of every answer. With --config it is also said why the route took the request, by
    the routes as they are now.

    \b
    tensorfusion gateway explain req-5f0c2a --log requests.jsonl
    tensorfusion gateway explain req-5f0c2a --config routes.yaml
    """
    from tensorfusion.gateway.configuring import read_configuration

    found = read_configuration(config) if config is not None else None
    records = _records(request_id, log, found, url, token_file)
    if not records:
        raise ConfigError(
            f"no record of request {request_id[:128]!r}: it may be older than what is kept, be another gateway's, "
            "or one of many that were refused at once and are told of together"
        )
    record = records[-1]
    dry = _dry_run(found, record) if found is not None and record.model else None
    if output != "table":
        value = {"record": msgspec.to_builtins(record), "records": len(records), "now": dry}
        show([], [], output=output, value=value)
        return
    if len(records) > 1:
        click.echo(f"{len(records)} requests had this id (clients may choose it); this is the newest")
    for line in _lines(record):
        click.echo(line)
    for line in _dry_lines(dry):
        click.echo(line)


def _records(
    request_id: str, log: Path | None, found: "Configuration | None", url: str, token_file: Path | None
) -> "list[Record]":
    from tensorfusion.gateway.settings import MetricsSource
    from tensorfusion.gateway.usage.file import read_records

    if log is not None:
        return [one for one in read_records(log) if one.request_id == request_id]
    folder = Path()
    if url:
        source = MetricsSource(url=url, file=str((token_file or token_path(Path("metrics"))).absolute()))
    elif found is not None and found.settings.metrics is not None:
        source, folder = found.settings.metrics, found.path if found.path.is_dir() else found.path.parent
    elif found is not None and found.settings.log.file not in ("", "-"):
        return [one for one in read_records(Path(found.settings.log.file)) if one.request_id == request_id]
    else:
        raise click.UsageError("wanted --log FILE, --url URL, or --config FILE with metrics or log in it")
    return asyncio.run(_stored(request_id, source, folder))


async def _stored(request_id: str, source: Json, folder: Path) -> "list[Record]":
    from tensorfusion.gateway.evidence import Record
    from tensorfusion.gateway.usage.questions import Period, View, Wanted, records
    from tensorfusion.gateway.usage.store import database_of
    from tensorfusion.timeseries.reader import Reader

    database = database_of(source, folder)
    try:
        now = Period(0, time.time_ns() + 86_400 * _NS)
        rows = await records(Reader(database), View(), now, Wanted(request_id=request_id), limit=100)
    finally:
        await database.close()
    return [msgspec.convert(row, Record) for row in reversed(rows)]


def _lines(record: "Record") -> list[str]:
    from tensorfusion.policy.routing.money import PICO_PER_MICRO, format_usd

    at = datetime.fromtimestamp(record.timestamp, UTC)
    who = f" for {record.user}" if record.user else ""
    estimated = ", estimated" if record.usage_estimated else ""
    price = format_usd(record.cost_microusd * PICO_PER_MICRO)
    first = f", first word after {record.ttft_ms:g} ms" if record.ttft_ms is not None else ""
    pace = f", then one every {record.tpot_ms:g} ms" if record.tpot_ms is not None else ""
    ended = f", finished by {record.finish_reason}" if record.finish_reason else ""
    asked = f"{record.api or 'request'} of model {record.model}" if record.model else record.api or "request"
    caller = f"{record.key_id} of namespace {record.namespace}{who}" if record.key_id else "nobody: no good key came"
    answered = f"by {record.target} ({record.target_model or record.model} of {record.provider})"
    lines = [
        f"request   {record.request_id} at {at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        f"asked     {asked}{', as a stream' if record.stream else ''}",
        f"caller    {caller}",
        f"route     {record.route or 'none'}"
        + (f", which the client asked for as {record.asked_route}" if record.asked_route else ""),
        f"answer    {record.status} {answered if record.target else 'without a target'}{ended}",
    ]
    if record.error_type or record.error_message:
        lines.append(f"error     {record.error_type}: {record.error_message}")
    lines += [
        f"time      {record.latency_ms:g} ms{first}{pace}; of it the gateway's own {record.overhead_ms:g} ms",
        f"used      {record.prompt_tokens} + {record.completion_tokens} tokens{estimated}: ${price}",
    ]
    rows = [
        [
            number,
            one.target,
            one.outcome,
            f"{one.latency_ms:g} ms",
            "-" if one.ttft_ms is None else f"{one.ttft_ms:g} ms",
        ]
        for number, one in enumerate(record.attempts, start=1)
    ]
    if rows:
        lines += ["", *table_lines(["ATTEMPT", "TARGET", "OUTCOME", "TIME", "FIRST WORD"], rows)]
    return lines


def _dry_run(found: "Configuration", record: "Record") -> Json:
    """What the routes as they are now would do with it."""
    from tensorfusion.gateway.usage.replaying import ask_of, caller_of, keys_of
    from tensorfusion.policy.routing.explain import explain as explained

    caller = caller_of(record, keys_of(found))
    done = explained(found.compiled, caller, ask_of(record), route_name=record.asked_route, operator=True)
    return msgspec.to_builtins(done)


def _dry_lines(dry: Json) -> list[str]:
    if dry is None:
        return []
    lines = ["", "by the routes as they are now:"]
    lines += [f"  {one['route']}: {one['reason']}" for one in dry["considered"]]
    if dry["refusal"]:
        lines.append(f"  refused: {dry['refusal']}")
    else:
        lines.append(f"  targets of {dry['route']} ({dry['strategy']}), in this turn:")
        rows = [
            ["-" if one["left_out"] else number, one["target"], one["model"], one["reason"]]
            for number, one in enumerate(dry["targets"], start=1)
        ]
        lines += [f"  {line}" for line in table_lines(["TURN", "TARGET", "MODEL", "WHY"], rows)]
    return lines
