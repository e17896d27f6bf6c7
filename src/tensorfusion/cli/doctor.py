"""``tensorfusion doctor``: what is wrong with this machine or with a cluster, and what to do about it."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from tensorfusion.cli.findings import Finding, Level, fail
from tensorfusion.cli.folder import Folder, default_folder
from tensorfusion.cli.machine_checks import machine_findings
from tensorfusion.cli.session import cluster_options, kubeconfig_path, with_client
from tensorfusion.errors import ConfigError
from tensorfusion.kube.client import Client

_COLORS = {Level.OK: "green", Level.INFO: "blue", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command("doctor")
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
@cluster_options
def command(output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Check this machine and, where there is one, the cluster. Changes nothing.

    Each finding is one line with what to do. The exit status is 1 if anything does not work, else 0.

    \b
    tensorfusion doctor
    tensorfusion doctor --kubeconfig ~/.kube/config -o json
    """
    findings = list(_machine(kubeconfig, data)) + _cluster(kubeconfig, data)
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            level, rest = str(finding)[:5], str(finding)[5:]
            click.echo(click.style(level, fg=_COLORS[finding.level]) + rest)
        bad = sum(finding.level is Level.FAIL for finding in findings)
        odd = sum(finding.level is Level.WARN for finding in findings)
        click.echo(f"{bad} to mend, {odd} to look at" if bad or odd else "everything is in order")
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(1)


def _machine(kubeconfig: Path | None, data: Path | None) -> list[Finding]:
    """The machine, unless the cluster asked about is another one than an embedded one of this machine."""
    if kubeconfig is None and data is None and os.environ.get("KUBECONFIG"):
        kubeconfig = Path(os.environ["KUBECONFIG"])
    folder = Folder((data or default_folder()).absolute())
    if data is None and kubeconfig is not None:
        folder = Folder(kubeconfig.absolute().parent)
        if not folder.store.exists():
            return []
    return list(machine_findings(folder))


def _cluster(kubeconfig: Path | None, data: Path | None) -> list[Finding]:
    from tensorfusion.cli.cluster_checks import cluster_findings

    try:
        path = kubeconfig_path(kubeconfig, data)
    except ConfigError as error:
        named = kubeconfig is not None or data is not None or bool(os.environ.get("KUBECONFIG"))
        return [fail("cluster", str(error), "")] if named else []
    if Folder(path.absolute().parent).store.exists() and Folder(path.absolute().parent).pid("api") is None:
        return []  # the machine's findings say that it does not run

    async def collect(client: Client) -> list[Finding]:
        return [finding async for finding in cluster_findings(client)]

    return with_client(path, None, collect)
