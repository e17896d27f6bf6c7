"""``tensorfusion version``."""

import click

from tensorfusion import __version__


@click.command("version")
def command() -> None:
    """Print the version of this program.

    \b
    tensorfusion version
    """
    click.echo(__version__)
