"""The command table: names, one line each, and where the code is. A command's module is imported when it is used."""

import importlib
import os
import sys

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.errors import ApiError, TensorFusionError

_COMMANDS = {
    "up": "Start the embedded cluster on this machine.",
    "down": "Stop the embedded cluster.",
    "status": "Show processes, nodes, pools and how full they are.",
    "apply": "Create or update the objects of YAML files.",
    "convert": "Rewrite manifests of loose dialects into the schema.",
    "get": "List or show objects.",
    "simulate": "Say where a pod would go, or a gang of them, and who would be evicted.",
    "defrag": "Say which nodes could be emptied, and what that would free.",
    "explain": "Say why a pod is where it is, or why it waits.",
    "top": "Show how full the devices are.",
    "fleet": "Add, remove, drain, break and heal simulated machines.",
    "tenant": "Make, list and delete tenants: namespace, quota, pools and users.",
    "user": "Give people access to a namespace, and take it back.",
    "doctor": "Check this machine and a cluster, and say what to do.",
    "backup": "Write a whole embedded cluster into a file.",
    "restore": "Put a backup in the place of a cluster.",
    "replay": "Replay a trace of nodes and pods through the API.",
    "bench": "Compare placement policies by simulation, on a trace.",
    "record": "Look at what a cluster recorded of its arrivals, waits and endings.",
    "what-if": "Replay a recorded period with another policy, fleet or quota.",
    "gateway": "Serve models behind one address, with keys, limits and failover.",
    "metrics": "Keep numbers over time, and ask for them in SQL.",
    "testserver": "Run a simulated model server, for tests and demonstrations.",
    "version": "Print the version.",
    "completion": "Print a shell completion script.",
    "control": "Run the control-plane components of a cluster (what `up` runs beside the API).",
}
_HIDDEN = frozenset({"control"})


class LazyGroup(SuggestingGroup):
    """A group that knows its commands by name and help line, and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if name not in _HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"tensorfusion.cli.{cmd_name.replace('-', '_')}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"tensorfusion.cli.{cmd_name}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def program() -> None:
    """Turn the GPUs of many machines into one pool that tenants share in fractions.

    \b
    tensorfusion up --detach            start a cluster on this machine
    export KUBECONFIG=~/.tensorfusion/kubeconfig
    kubectl get gpus                    any Kubernetes client works
    tensorfusion explain pod NAME       why a pod is where it is, or why it waits
    """


def _set_up_logs() -> None:
    """Commands are quiet unless TF_LOG_LEVEL says otherwise; a wrong level ends every command with one line."""
    level = os.environ.get("TF_LOG_LEVEL")
    if level is not None:
        from tensorfusion.telemetry.logs import setup

        setup(level, "cli")


def main() -> None:
    """Run the program; errors of ours end it with one line and status 1."""
    try:
        _set_up_logs()
        program(prog_name="tensorfusion")
    except ApiError as error:
        click.echo(f"error: {error} ({error.status_reason})", err=True)
        sys.exit(1)
    except TensorFusionError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
