"""``tensorfusion restore``: put a backup in the place of a cluster, also of one that runs."""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tensorfusion.cli.folder import Folder, default_folder, stop_process
from tensorfusion.errors import ConfigError, TensorFusionError

_PATIENCE = 60.0


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the cluster.  [default: ~/.tensorfusion]")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before replacing a cluster that is there.")
def command(file: Path, data: Path | None, yes: bool) -> None:
    """Put the cluster that `backup` wrote into FILE in the place of the one in the folder.

    A cluster that runs is stopped for a moment and comes back with what the backup holds; clients list again. The
    replaced objects stay in the folder as store.db.replaced. On another machine, restore and then `tensorfusion up`:
    users, tokens and kubeconfigs go on working, but for the address in them.

    \b
    tensorfusion restore monday.tar.gz
    tensorfusion restore monday.tar.gz --data /srv/second && tensorfusion up --data /srv/second --detach
    """
    from tensorfusion.embedded.cluster_backup import authority_of, read_manifest, restore_cluster, unpacked

    folder = Folder((data or default_folder()).absolute())
    source = file.absolute()
    manifest = read_manifest(source)
    running = folder.pid("up") is not None
    if running and authority_of(folder.root) != manifest.authority:
        raise ConfigError(
            f"{folder.root}: a cluster with other keys runs there: stop it with `tensorfusion down` and restore again"
        )
    if folder.store.exists() and not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"{folder.root}: holds a cluster: add --yes to replace it")
        click.confirm(f"replace the cluster in {folder.root} by that of {manifest.created}?", abort=True)
    real_node = False
    with unpacked(folder.root, source) as copy:
        if running:
            with _held(folder):
                real_node = folder.pid("node") is not None
                _stop(folder)
                restore_cluster(folder.root, copy)
        else:
            for name, pid in folder.orphans():
                stop_process(pid, timeout=10.0)
                folder.drop_pid(name, pid)
            restore_cluster(folder.root, copy)
    if running:
        _await_ready(folder, real_node=real_node)
        click.echo(f"restored as of {manifest.created}; the cluster runs again")
    else:
        click.echo(f"restored as of {manifest.created}: start it with `tensorfusion up --data {folder.root}`")


def _stop(folder: Folder) -> None:
    """End what serves the cluster; the supervisor collects it. Workloads of a node of real processes go on."""
    for name in ("gateway", "node", "control", "api"):
        pid = folder.pid(name)
        if pid is not None:
            stop_process(pid, timeout=10.0)


@contextlib.contextmanager
def _held(folder: Folder) -> Iterator[None]:
    """Keep the supervisor from starting anything; the lock is gone with this process, however that ends."""
    with folder.hold_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _await_ready(folder: Folder, *, real_node: bool) -> None:
    """Wait for the processes, and give our components tokens that the restored cluster knows."""
    deadline = time.monotonic() + _PATIENCE
    installed = False
    while time.monotonic() < deadline:
        if not installed and folder.pid("api") is not None and folder.api_socket.exists():
            install = [sys.executable, "-m", "tensorfusion.cli.install", "--data", str(folder.root)]
            install += ["--run-processes"] if real_node else []
            installed = subprocess.run(install, capture_output=True, check=False).returncode == 0
        if installed and _control_ready(folder):
            return
        time.sleep(0.1)
    raise TensorFusionError(
        f"the objects are restored, but the cluster is not back after {_PATIENCE:.0f} s: see {folder.logs}"
    )


def _control_ready(folder: Folder) -> bool:
    try:
        state = json.loads((folder.run / "control.json").read_text())
        return bool(state["pid"] == folder.pid("control"))
    except (OSError, ValueError, KeyError):
        return False
