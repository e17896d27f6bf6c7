"""``tensorfusion gateway check``: what is wrong with routes, before anybody asks."""

import asyncio
from pathlib import Path

import click

from tensorfusion.cli.session import output_option, show


@click.command("check")
@click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path),
    required=True,
    help="File (or folder) of routes, keys and settings.",
)
@output_option
@click.pass_context
def check(context: click.Context, config: Path, output: str) -> None:
    """Say what is wrong with a configuration: what cannot be used, and what can and never will.

    Routes that no request can reach, targets that are never chosen, fallbacks that do not help, credentials and
    addresses that are not there. Nobody is asked anything. The exit status is 1 where there is an error, 0 with
    warnings only.

    \b
    tensorfusion gateway check --config routes.yaml
    tensorfusion gateway check --config routes.yaml -o json
    """
    from tensorfusion.gateway.configuring import read_configuration
    from tensorfusion.gateway.state import State
    from tensorfusion.policy.routing.check import Severity
    from tensorfusion.policy.routing.check import check as findings_of

    found = read_configuration(config)

    async def state() -> State:
        return State.of(found.compiled, found.secrets, addresses=found.addresses)

    made = asyncio.run(state())
    findings = findings_of(made.routes, problem_of=lambda route, target: made.upstreams.of(route, target).problem)
    errors = sum(one.severity is Severity.ERROR for one in findings)
    if output != "table":
        value = [
            {"severity": str(one.severity), "route": one.route, "target": one.target, "message": one.message}
            for one in findings
        ]
        show([], [], output=output, value=value)
        if errors:
            context.exit(1)
        return
    for one in findings:
        click.echo(f"{one.severity}: {one}")
    targets = sum(len(route.targets) for route in made.routes.by_key.values())
    click.echo(
        f"{len(found.routes)} routes with {targets} targets, {len(found.keys)} keys: "
        f"{errors} errors, {len(findings) - errors} warnings"
    )
    if errors:
        context.exit(1)
