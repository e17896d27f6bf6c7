"""``tensorfusion down``: stop the processes of an embedded cluster; its data stays."""

from pathlib import Path

import click

from tensorfusion.cli.folder import Folder, default_folder, stop_process


@click.command("down")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the cluster.  [default: ~/.tensorfusion]")
def command(data: Path | None) -> None:
    """Stop the embedded cluster of a folder. Its data stays: `tensorfusion up` goes on from there."""
    folder = Folder((data or default_folder()).absolute())
    supervisor = folder.pid("up")
    if supervisor is not None:
        stop_process(supervisor, timeout=30.0)
    for name, pid in folder.processes().items():  # left behind when the supervisor itself was killed
        stop_process(pid, timeout=10.0)
        folder.pid_file(name).unlink(missing_ok=True)
    click.echo(f"stopped {folder.root}" if supervisor is not None else f"nothing runs from {folder.root}")
