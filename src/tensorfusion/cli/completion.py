"""``tensorfusion completion``: scripts that click generates, printed for the shell to evaluate."""

import click
from click.shell_completion import get_completion_class

from tensorfusion.errors import ConfigError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a completion script: add `eval "$(tensorfusion completion bash)"` to your shell's start-up file.

    Commands, options, and names of pods, pools, nodes and namespaces of the cluster are completed.

    \b
    tensorfusion completion zsh
    """
    completer = get_completion_class(shell)
    if completer is None:
        raise ConfigError(f"no completion for {shell}: use bash, zsh or fish")
    root = context.find_root().command
    click.echo(completer(root, {}, "tensorfusion", "_TENSORFUSION_COMPLETE").source())
