"""``tensorfusion down``: stop the processes of an embedded cluster; its data stays."""

from pathlib import Path

import click

from tensorfusion.cli.folder import Folder, default_folder, stop_process
from tensorfusion.embedded.processes.leftovers import end_workloads


@click.command("down")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the cluster.  [default: ~/.tensorfusion]")
def command(data: Path | None) -> None:
    """Stop the embedded cluster of a folder. Its data stays: `tensorfusion up` goes on from there.

    \b
    tensorfusion down
    tensorfusion down --data /srv/lab
    """
    folder = Folder((data or default_folder()).absolute())
    supervisor = folder.pid("up")
    if supervisor is not None:
        stop_process(supervisor, timeout=60.0)
    left = folder.orphans()  # left behind when the supervisor itself was killed
    for name, pid in left:
        stop_process(pid, timeout=10.0)
        folder.drop_pid(name, pid)
    ended = end_workloads(folder.root)
    stopped = supervisor is not None or left or ended
    click.echo(f"stopped {folder.root}" if stopped else f"nothing runs from {folder.root}")
