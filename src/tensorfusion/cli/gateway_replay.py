"""``tensorfusion gateway replay``: what would become of recorded requests under another configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensorfusion.cli.session import output_option, print_table, show

if TYPE_CHECKING:
    from tensorfusion.policy.routing.replay import Place, Replayed


@click.command("replay")
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path),
    required=True,
    help="File (or folder) of the new routes and keys.",
)
@output_option
def replay(log: Path, config: Path, output: str) -> None:
    """Say which requests of a LOG would go elsewhere under a configuration, and what that would cost.

    LOG is the file that the setting `log` of a gateway writes. Nobody is asked anything; the same log and configuration
    give the same answer. Shares of targets are those of one worker; every target counts as well.

    \b
    tensorfusion gateway replay requests.jsonl --config new.yaml
    """
    from tensorfusion.gateway.configuring import read_configuration
    from tensorfusion.gateway.usage.file import read_records
    from tensorfusion.gateway.usage.replaying import keys_of, recorded
    from tensorfusion.policy.routing.replay import replay as replayed

    found = read_configuration(config)
    done = replayed(found.compiled, recorded(read_records(log), keys_of(found)))
    value = _value(done)
    if output != "table":
        show([], [], output=output, value=value)
        return
    places = sorted({*done.before, *done.after})
    print_table(
        ["ROUTE", "TARGET", "BEFORE", "AFTER"],
        [[place[0] or "(nobody)", place[1] or "-", done.before[place], done.after[place]] for place in places],
    )
    click.echo()
    click.echo(f"{done.requests} requests: {done.same} stay where they were, {done.requests - done.same} go elsewhere")
    for (before, after), count in sorted(done.moves.items(), key=lambda one: (-one[1], one[0])):
        click.echo(f"  {count:>6}  {_shown(before)} -> {_shown(after)}")
    for why, count in sorted(done.refusals.items(), key=lambda one: (-one[1], one[0])):
        click.echo(f"  {count:>6}  refused: {why}")
    left_out = f" (without {done.unpriced} requests that go to targets without a price)" if done.unpriced else ""
    click.echo(
        f"cost: ${value['cost_before']} before, ${value['cost_after']} after, {value['cost_difference']}{left_out}"
    )


def _shown(place: "Place") -> str:
    return f"{place[0] or 'nobody'} {place[1]}".rstrip()


def _value(done: "Replayed") -> dict[str, Any]:  # Any: JSON
    from tensorfusion.policy.routing.money import format_usd

    places = sorted({*done.before, *done.after})
    return {
        "requests": done.requests,
        "same": done.same,
        "moved": done.requests - done.same,
        "places": [
            {"route": place[0], "target": place[1], "before": done.before[place], "after": done.after[place]}
            for place in places
        ],
        "moves": [
            {"from": _shown(before), "to": _shown(after), "requests": count}
            for (before, after), count in sorted(done.moves.items(), key=lambda one: (-one[1], one[0]))
        ],
        "refusals": [
            {"message": why, "requests": count}
            for why, count in sorted(done.refusals.items(), key=lambda one: (-one[1], one[0]))
        ],
        "cost_before": format_usd(done.cost_before),
        "cost_after": format_usd(done.cost_after),
        "cost_difference": format_usd(done.cost_after - done.cost_before),
        "requests_without_price": done.unpriced,
    }
