"""``tensorfusion backup``: a whole embedded cluster in one file, while it runs."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from tensorfusion.cli.folder import Folder, default_folder


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the cluster.  [default: ~/.tensorfusion]")
def command(file: Path, data: Path | None) -> None:
    """Write everything of an embedded cluster into FILE: all objects, keys, tokens and the fleet.

    The cluster may run and be written to; the copy is of one moment. Keep the file as safe as the cluster itself: who
    has it can act as any user. Logs are not in it.

    \b
    tensorfusion backup monday.tar.gz
    tensorfusion restore monday.tar.gz
    """
    from tensorfusion.embedded.cluster_backup import backup_cluster

    folder = Folder((data or default_folder()).absolute())
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    backup_cluster(folder.root, file.absolute(), version=version("tensorfusion"), created=now)
    click.echo(f"{file} written: {file.stat().st_size / 1024:.0f} KiB, everything of {folder.root} as of {now}")
