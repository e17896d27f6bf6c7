"""``tensorfusion up``: start the embedded cluster and watch over it, or leave that to a process in the background."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from tensorfusion.cli.control import PROGRESSIVE_MIGRATION
from tensorfusion.cli.folder import Folder, default_folder
from tensorfusion.cli.recording import RecordWish, parse_limit
from tensorfusion.errors import ConfigError, TensorFusionError

_PATIENCE = 180.0
_QUIET_FOR = 2.0
_REAL = "this machine is a node too: ordinary pods run on it as processes, and that is no sandbox"


@click.command("up")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the cluster.  [default: ~/.tensorfusion]")
@click.option("--fleet", type=click.Path(path_type=Path), help="YAML file of simulated nodes; kept for later starts.")
@click.option("--port", default=6443, show_default=True, help="Port of the Kubernetes API; 0 lets the system choose.")
@click.option(
    "--http-port", default=8080, show_default=True, help="Port of /api/..., /metrics; 0 lets the system choose."
)
@click.option(
    "--gateway-port",
    type=click.IntRange(0, 65535),
    help="Also serve the cluster's LLMRoutes, by the AI gateway on this port; 0 lets the system choose.",
)
@click.option(
    "--audit",
    metavar="default|off|FILE",
    help="Keep an audit log in DIR/logs/audit.log, by an audit.k8s.io/v1 Policy of yours or the default one; "
    "kept for later starts.",
)
@click.option(
    "--scheduler-config",
    metavar="default|FILE",
    help="KubeSchedulerConfiguration, kept as DIR/scheduler-config.yaml for later starts and followed there.",
)
@click.option(
    "--record",
    metavar="off|DIR",
    help="Record arrivals, sizes, waits and endings in this folder, for `tensorfusion what-if`; kept for later starts.",
)
@click.option("--record-limit", default="256Mi", show_default=True, help="Bytes of the recording in all.")
@click.option("--record-names", is_flag=True, help="Record the names of namespaces, pods and nodes too.")
@click.option("--detach", is_flag=True, help="Return when the cluster is ready and leave it running.")
@click.option(
    "--run-processes", is_flag=True, help="Add this machine as a node that runs pods as local processes. No sandbox."
)
@click.option(
    "--progressive-migration",
    is_flag=True,
    envvar=PROGRESSIVE_MIGRATION,
    help="The simulated nodes also have a device plugin: pods may ask for nvidia.com/gpu, beside shares.",
)
def command(
    data: Path | None,
    fleet: Path | None,
    port: int,
    http_port: int,
    gateway_port: int | None,
    audit: str | None,
    scheduler_config: str | None,
    record: str | None,
    record_limit: str,
    record_names: bool,
    detach: bool,
    run_processes: bool,
    progressive_migration: bool,
) -> None:
    """Start the embedded cluster: the Kubernetes API, webhook, scheduler, operator and simulated nodes.

    Everything listens on 127.0.0.1 and lives in one folder. Without a fleet file the fleet is the demo's: one node
    with 4 A100, one with 4 H100, one with 2 L4. Stop with Ctrl-C, or `tensorfusion down` after --detach.

    With --run-processes whoever may create pods can run programs on this machine: ordinary pods go to a node of that
    kind, simulated nodes take pods with shares of GPUs only. See the guide "Pods that really run".

    \b
    tensorfusion up --detach
    tensorfusion up --detach --fleet fleet.yaml --data /srv/lab --port 0 --http-port 0
    tensorfusion up --detach --record history
    tensorfusion up --detach --gateway-port 8787
    """
    if progressive_migration:
        os.environ[PROGRESSIVE_MIGRATION] = "true"  # for the processes that are started from here
    folder = Folder((data or default_folder()).absolute())
    folder.prepare()
    _keep_fleet(folder, fleet)
    _keep_audit_policy(folder, audit)
    _keep_scheduler_file(folder, scheduler_config)
    _keep_record(folder, record, parse_limit(record_limit), names=record_names)
    if detach:
        _detach(folder, port=port, http_port=http_port, run_processes=run_processes, gateway_port=gateway_port)
        return
    from tensorfusion.cli.supervisor import Supervisor

    if sys.stdout.isatty():
        _welcome(folder)
        click.echo()
    if run_processes:
        click.echo(_REAL)
    Supervisor(
        folder,
        port=port,
        http_port=http_port,
        say=click.echo,
        run_processes=run_processes,
        gateway_port=gateway_port,
    ).run()


def _welcome(folder: Folder) -> None:
    from tensorfusion.cli.welcome import welcome

    for line in welcome(folder):
        click.echo(line)


def _keep_audit_policy(folder: Folder, audit: str | None) -> None:
    """Check the policy before anything starts; the API reads it from the folder."""
    if audit is None:
        return
    from tensorfusion.embedded.audit.policy import FILE, parse_policy

    kept = folder.root / FILE
    if audit == "off":
        kept.unlink(missing_ok=True)
        return
    text = b""
    if audit != "default":
        try:
            text = Path(audit).read_bytes()
        except OSError as error:
            raise ConfigError(f"--audit {audit}: wanted default, off or a readable file: {error.strerror}") from error
        parse_policy(text, audit)
    kept.write_bytes(text)


def _keep_fleet(folder: Folder, fleet: Path | None) -> None:
    """Check the fleet file before anything starts, and keep a copy for later starts of this folder."""
    if fleet is None:
        return
    from tensorfusion.embedded.fleet import load_fleet

    load_fleet(fleet)
    folder.fleet_file.write_bytes(fleet.read_bytes())


def _keep_scheduler_file(folder: Folder, file: str | None) -> None:
    """Check the configuration before anything starts, and keep a copy that the scheduler follows."""
    if file is None:
        return
    if file == "default":
        folder.scheduler_file.unlink(missing_ok=True)
        return
    from tensorfusion.scheduler.config_file import load

    _, text = load(Path(file))
    folder.scheduler_file.write_text(text)


def _keep_record(folder: Folder, record: str | None, limit: int, *, names: bool) -> None:
    """Remember where to record; the scheduler reads it from the folder."""
    if record is None:
        return
    if record == "off":
        folder.record_file.unlink(missing_ok=True)
        return
    path = Path(record).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--record {record}: wanted off or a folder that can be made: {error.strerror}") from error
    RecordWish(path, limit, names=names).keep(folder)


def _detach(folder: Folder, *, port: int, http_port: int, run_processes: bool, gateway_port: int | None) -> None:
    running = folder.pid("up")
    if running is not None:
        raise ConfigError(
            f"{folder.root}: a cluster runs from this folder already (pid {running}): "
            f"stop it with `tensorfusion down --data {folder.root}`"
        )
    folder.ready_file.unlink(missing_ok=True)
    log_path = folder.logs / "up.log"
    arguments = ["up", "--data", str(folder.root), "--port", str(port), "--http-port", str(http_port)]
    arguments += ["--run-processes"] if run_processes else []
    arguments += ["--gateway-port", str(gateway_port)] if gateway_port is not None else []
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tensorfusion", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    started = time.monotonic()
    told = 0
    while (ready := _ready(folder, process.pid)) is None:
        if process.poll() is not None:
            lines = log_path.read_text(errors="replace").strip().splitlines() or ["no output"]
            raise TensorFusionError(lines[-1].removeprefix("error: "))
        waited = time.monotonic() - started
        if waited > _PATIENCE:
            raise TensorFusionError(f"the cluster is not ready after {_PATIENCE:.0f} s: see {folder.logs}")
        if waited > _QUIET_FOR * (told + 1):
            told += 1
            click.echo(f"starting ... {waited:.0f} s", err=True)
        time.sleep(0.05)
    said = f"ready in {time.monotonic() - started:.1f} s: Kubernetes API {ready['server']}, HTTP API {ready['http']}"
    click.echo(said + (f", AI gateway {ready['gateway']}" if "gateway" in ready else ""))
    if run_processes:
        click.echo(_REAL)
    _welcome(folder)


def _ready(folder: Folder, pid: int) -> dict[str, Any] | None:  # Any: JSON
    """The addresses, once the supervisor of this pid has written them down."""
    try:
        found: dict[str, Any] = json.loads(folder.ready_file.read_text())
    except (OSError, ValueError):
        return None
    return found if found.get("pid") == pid else None
