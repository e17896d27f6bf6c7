"""``tensorfusion gateway``: the AI gateway and what belongs to it."""

from pathlib import Path

import click

from tensorfusion.cli.folder import Folder
from tensorfusion.cli.gateway_check import check
from tensorfusion.cli.gateway_explain import explain
from tensorfusion.cli.gateway_keys import keys
from tensorfusion.cli.gateway_replay import replay
from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.errors import ConfigError
from tensorfusion.model.keys import GATEWAY_ACCOUNT


@click.group("gateway", cls=SuggestingGroup, invoke_without_command=True)
@click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path),
    help="File (or folder) of routes, keys and settings; followed while it changes.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="Whose LLMRoutes and LLMKeys to serve, without --config.  [default: as kubectl finds its cluster]",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of an embedded cluster whose objects to serve.")
@click.option(
    "--settings", type=click.Path(path_type=Path), help="File of settings, without --config: as there, but no routes."
)
@click.option("--listen", default="", help="HOST:PORT.  [default: the file's, else 127.0.0.1:8787]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes on the port.  [default: the file's, else 1]")
@click.pass_context
def command(
    context: click.Context,
    config: Path | None,
    kubeconfig: Path | None,
    data: Path | None,
    settings: Path | None,
    listen: str,
    workers: int | None,
) -> None:
    """Serve models behind one address, with keys, limits and failover.

    Routes, keys and credentials come from a file, or from the objects of a cluster: LLMRoutes, LLMKeys and the Secrets
    that targets name. Either is followed: a change is in force at once, and no request fails by it.

    \b
    tensorfusion gateway --config routes.yaml                     serve what a file says
    tensorfusion gateway --kubeconfig gateway.kubeconfig          serve what a cluster's objects say
    tensorfusion gateway --data ~/.tensorfusion                   the same of an embedded cluster
    tensorfusion gateway check --config routes.yaml               say what is wrong with it
    tensorfusion gateway explain REQUEST_ID --log requests.jsonl  say what became of a request
    tensorfusion gateway replay requests.jsonl --config new.yaml  say what other routes would change
    tensorfusion gateway keys create chat-ui --file keys.yaml     let somebody in
    """
    if context.invoked_subcommand is not None:
        return

    def say(line: str) -> None:
        click.echo(line, err=True)

    if config is None:
        from tensorfusion.gateway.objects import program as objects
        from tensorfusion.gateway.objects.settings import settings_of

        if data is not None:
            if kubeconfig is not None:
                raise click.UsageError("wanted either --data or --kubeconfig: an embedded cluster, or any")
            kubeconfig = Folder(data.absolute()).account_kubeconfig(GATEWAY_ACCOUNT)
        found = settings_of(settings, listen=listen, workers=workers or 0)
        objects.run(objects.Start(found, str(kubeconfig.absolute()) if kubeconfig is not None else ""), say=say)
        return
    for name, value in (("--kubeconfig", kubeconfig), ("--data", data), ("--settings", settings)):
        if value is not None:
            raise click.UsageError(f"wanted either --config or {name}: a file of routes, or those of a cluster")
    if not config.exists():
        raise ConfigError(f"--config: {config} does not exist")
    from tensorfusion.gateway.program import run

    run(config, listen=listen, workers=workers or 0, say=say)


command.add_command(keys)
command.add_command(check)
command.add_command(explain)
command.add_command(replay)
