"""``tensorfusion control``: the components of a control plane in one process.

Parses what the process is to be; ``cli/composition.py`` puts it together.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import click

from tensorfusion.cli.folder import Folder
from tensorfusion.cli.recording import RecordWish, parse_limit
from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.common import IsolationPolicy
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.dynamic_config import check_gateway_url
from tensorfusion.policy.host_ports import DEFAULT_RANGE, PortRange, parse_range

_POLICY = "TF_ISOLATION_MODE_POLICY"
_WATCHDOG = "NOMINATED_POD_REQUEUE_WATCHDOG_INTERVAL"
PROGRESSIVE_MIGRATION = "NVIDIA_OPERATOR_PROGRESSIVE_MIGRATION"
_COMPONENTS = ("webhook", "scheduler", "operator", "nodes", "workloads")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one control process is to be."""

    accounts: Path
    certificates: Path
    state: Path
    fleet: Path | None
    http_port: int
    webhook_port: int
    components: frozenset[str]
    scheduler_names: tuple[str, ...]
    anonymous_read: bool
    identity: str
    lease_seconds: float
    run_processes: bool
    isolation_policy: IsolationPolicy = IsolationPolicy.DYNAMIC
    progressive_migration: bool = False
    host_ports: PortRange = DEFAULT_RANGE
    preempt_cluster_wide: bool = False
    gateway_url: str = ""
    """Where pods find the AI gateway; empty where there is none."""
    watchdog_seconds: float = 180.0
    scheduler_config: Path | None = None
    """Followed while it changes. There may be none yet."""
    gang_patience: float = keys.GANG_PATIENCE
    gang_domains: tuple[str, ...] = keys.GANG_DOMAINS
    shard_by_pool: bool = False
    """Several schedulers run, and share the pools."""
    record: RecordWish | None = None
    """Where the scheduler records what happens; None records nothing."""


@click.command("control")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of an embedded cluster; gives the paths below.")
@click.option("--accounts", type=click.Path(path_type=Path), help="Folder of the service accounts' kubeconfigs.")
@click.option("--certificates", type=click.Path(path_type=Path), help="Folder for the webhook's certificate.")
@click.option("--state", type=click.Path(path_type=Path), help="File to write the addresses to when ready.")
@click.option("--fleet", type=click.Path(path_type=Path), help="YAML file of the nodes to simulate.")
@click.option(
    "--http-port", default=8080, show_default=True, help="Port of /api/..., /metrics; 0 lets the system choose."
)
@click.option("--webhook-port", default=0, help="Port of the admission webhook.  [default: the system chooses]")
@click.option("--components", default=",".join(_COMPONENTS), show_default=True, help="Which components to run.")
@click.option("--scheduler-name", "scheduler_names", multiple=True, help="Pods of which schedulers to place.")
@click.option(
    "--anonymous-read", is_flag=True, help="Answer simulate-schedule and allocation without a token (loopback only)."
)
@click.option("--gateway-url", default="", help="Where pods with an llm-route find the AI gateway.")
@click.option("--run-processes", is_flag=True, help="Another process is a node that runs real programs.")
@click.option(
    "--progressive-migration",
    is_flag=True,
    envvar=PROGRESSIVE_MIGRATION,
    help="The nodes also have their makers' device plugins: keep shares and native pods on different devices.",
)
@click.option(
    "--cluster-host-port-range",
    default=f"{DEFAULT_RANGE.start}-{DEFAULT_RANGE.end}",
    show_default=True,
    help="Host ports for pods with the label host-port: auto; the end is not one of them.",
)
@click.option(
    "--preempt-cluster-wide/--preempt-own-namespace",
    default=False,
    envvar="TF_SCHEDULER_PREEMPT_CLUSTER_WIDE",
    help="Which pods may be evicted for more important ones.  [default: those of the same namespace]",
)
@click.option(
    "--scheduler-config",
    type=click.Path(path_type=Path),
    help="KubeSchedulerConfiguration, followed while it changes.  [default: DIR/scheduler-config.yaml of --data]",
)
@click.option(
    "--gang-patience",
    default=keys.GANG_PATIENCE,
    show_default=True,
    help="Seconds for which pods are placed past a gang that waits for room; then younger pods of its pool wait.",
)
@click.option(
    "--gang-domain",
    "gang_domains",
    multiple=True,
    help="Node labels within which gangs are placed together, narrowest first.  "
    f"[default: {', '.join(keys.GANG_DOMAINS)}]",
)
@click.option(
    "--shard-by-pool",
    is_flag=True,
    help="Share the pools with the other schedulers that run with this option, instead of one placing on all.",
)
@click.option("--record", type=click.Path(path_type=Path), help="Folder to record arrivals, waits and endings in.")
@click.option("--record-limit", default="256Mi", show_default=True, help="Bytes of the recording in all.")
@click.option("--record-names", is_flag=True, help="Record the names of namespaces, pods and nodes too.")
@click.option("--identity", default=None, help="Name in the leader's Lease.  [default: host name and pid]")
@click.option("--lease-seconds", default=15.0, show_default=True, help="How long a dead leader keeps its Lease.")
def command(
    data: Path | None,
    accounts: Path | None,
    certificates: Path | None,
    state: Path | None,
    fleet: Path | None,
    http_port: int,
    webhook_port: int,
    components: str,
    scheduler_names: tuple[str, ...],
    anonymous_read: bool,
    progressive_migration: bool,
    cluster_host_port_range: str,
    scheduler_config: Path | None,
    gang_patience: float,
    gang_domains: tuple[str, ...],
    shard_by_pool: bool,
    identity: str | None,
    lease_seconds: float,
    run_processes: bool,
    preempt_cluster_wide: bool,
    gateway_url: str,
    record: Path | None,
    record_limit: str,
    record_names: bool,
) -> None:
    """Run webhook, scheduler, operator, simulated nodes and workload controllers against a Kubernetes API.

    \b
    tensorfusion control --accounts accounts --certificates pki --state state.json --components webhook,scheduler
    """
    wanted = frozenset(part for part in components.split(",") if part)
    unknown = wanted - set(_COMPONENTS)
    if unknown:
        raise ConfigError(f"--components: wanted some of {', '.join(_COMPONENTS)}, found {min(unknown)!r}")
    if fleet is not None and not fleet.exists():
        raise ConfigError(f"--fleet: wanted a file, found nothing at {fleet}")
    if scheduler_config is not None and not scheduler_config.exists():
        raise ConfigError(f"--scheduler-config: wanted a file, found nothing at {scheduler_config}")
    check_gateway_url(gateway_url, "--gateway-url")
    wish = None if record is None else RecordWish(record.absolute(), parse_limit(record_limit), names=record_names)
    if data is not None:
        folder = Folder(data.absolute())
        wish = wish or RecordWish.kept(folder)
        accounts = accounts or folder.run
        certificates = certificates or folder.root / "pki" / "webhook"
        state = state or folder.run / "control.json"
        fleet = fleet or folder.fleet_file
        scheduler_config = scheduler_config or folder.scheduler_file
    if accounts is None or certificates is None or state is None:
        raise ConfigError("give --data, or all of --accounts, --certificates and --state")
    settings = Settings(
        accounts=accounts,
        certificates=certificates,
        state=state,
        fleet=fleet,
        http_port=http_port,
        webhook_port=webhook_port,
        components=wanted,
        scheduler_names=scheduler_names or (keys.SCHEDULER_NAME, keys.DEFAULT_SCHEDULER_NAME),
        anonymous_read=anonymous_read,
        lease_seconds=lease_seconds,
        run_processes=run_processes,
        isolation_policy=_isolation_policy(os.environ.get(_POLICY, "dynamic")),
        progressive_migration=progressive_migration,
        host_ports=parse_range(cluster_host_port_range, flag="--cluster-host-port-range"),
        preempt_cluster_wide=preempt_cluster_wide,
        gateway_url=gateway_url,
        watchdog_seconds=_watchdog(os.environ.get(_WATCHDOG, "3m")),
        scheduler_config=scheduler_config,
        gang_patience=gang_patience,
        gang_domains=gang_domains or keys.GANG_DOMAINS,
        shard_by_pool=shard_by_pool,
        record=wish,
        identity=identity or f"{socket.gethostname()}-{os.getpid()}",
    )
    import uvloop

    from tensorfusion.cli.composition import run
    from tensorfusion.telemetry.logs import setup

    setup(os.environ.get("TF_LOG_LEVEL", "info"), "control")
    uvloop.run(run(settings))


def _watchdog(text: str) -> float:
    """How often nominated pods are looked through for those whose victims do not end."""
    try:
        return parse_duration(text) / 1e9
    except InvalidRequest as error:
        raise ConfigError(f"environment {_WATCHDOG}: {error}") from error


def _isolation_policy(text: str) -> IsolationPolicy:
    """Whether devices of pools that say nothing else take the mode of their first share."""
    known = {policy.lower(): policy for policy in IsolationPolicy}
    if text not in known:
        raise ConfigError(f"environment {_POLICY}: wanted one of {', '.join(known)}, found {text!r}")
    return known[text]
