"""``tensorfusion gateway``: the AI gateway and what belongs to it."""

from pathlib import Path

import click

from tensorfusion.cli.gateway_keys import keys
from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.errors import ConfigError


@click.group("gateway", cls=SuggestingGroup, invoke_without_command=True)
@click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path),
    help="File (or folder) of routes, keys and settings; followed while it changes.",
)
@click.option("--listen", default="", help="HOST:PORT.  [default: the file's, else 127.0.0.1:8787]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes on the port.  [default: the file's, else 1]")
@click.pass_context
def command(context: click.Context, config: Path | None, listen: str, workers: int | None) -> None:
    """Serve models behind one address, with keys, limits and failover.

    \b
    tensorfusion gateway --config routes.yaml                     serve
    tensorfusion gateway keys create chat-ui --file keys.yaml     let somebody in
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("wanted --config FILE, or one of the commands below `tensorfusion gateway --help`")
    if not config.exists():
        raise ConfigError(f"--config: {config} does not exist")
    from tensorfusion.gateway.program import run

    run(config, listen=listen, workers=workers or 0, say=lambda line: click.echo(line, err=True))


command.add_command(keys)
