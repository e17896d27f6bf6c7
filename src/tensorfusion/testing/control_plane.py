"""A real control plane on loopback: etcd, kube-apiserver and, if wanted, kube-controller-manager and kube-scheduler.

Apart from the tests that use it because several rooms do: the client's, the types', the end-to-end harness. The
programs come from a folder (``make kube-assets``); everything they write goes into a folder of the caller's.

Source: the programs' own flags, which are alike in 1.34 and 1.36.
"""

import contextlib
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tensorfusion.errors import ConfigError
from tensorfusion.testing.certificates import Authority, signing_key

_PATIENCE = 60.0
_ATTEMPTS = 3
_ADMIN_TOKEN = "admin-token"  # noqa: S105 - known only to this loopback server, gone with its folder
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane and the ways to reach it as an administrator.

    ``kubeconfig`` carries a token, ``certificate_kubeconfig`` a client certificate; ``authority`` signs certificates
    that the server trusts (the common name is the user, organizations are groups). ``pids`` are those of etcd and of
    the API server.
    """

    server: str
    kubeconfig: Path
    certificate_kubeconfig: Path
    authority: Authority
    folder: Path
    pids: tuple[int, ...] = ()

    def user_kubeconfig(self, user: str, *, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig of another user, by client certificate."""
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        certificate, key = self.authority.issue_files(self.folder, name=user, organizations=groups, client=True)
        return _write_kubeconfig(
            path,
            server=self.server,
            authority=self.folder / "ca.crt",
            user={"client-certificate": str(certificate), "client-key": str(key)},
        )


@contextlib.contextmanager
def control_plane(
    assets: Path, folder: Path, *, controller_manager: bool = False, scheduler: bool = False
) -> Iterator[ControlPlane]:
    """Start a control plane from the programs in ``assets``, stop it at the end.

    Without a controller manager there are no service account tokens and no namespace or garbage collection; the
    ServiceAccount admission is then off, so that pods can be created.

    Raises:
        ConfigError: a program is missing, or did not become ready.
    """
    needed = ["etcd", "kube-apiserver"]
    needed += ["kube-controller-manager"] if controller_manager else []
    needed += ["kube-scheduler"] if scheduler else []
    missing = [name for name in needed if not (assets / name).exists()]
    if missing:
        raise ConfigError(f"no {', '.join(missing)} in {assets}: run make kube-assets")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as processes:
        plane = _start_servers(assets, folder, processes, service_accounts=controller_manager)
        if controller_manager:
            _start_controller_manager(assets, plane, processes)
        if scheduler:
            processes.enter_context(kube_scheduler(assets, plane))
        yield plane


@contextlib.contextmanager
def kube_scheduler(assets: Path, plane: ControlPlane, *, flags: Sequence[str] = ()) -> Iterator[int]:
    """The stock scheduler of ``assets`` as an administrator, until the end; its process id.

    Raises:
        ConfigError: it did not become healthy.
    """
    (port,) = free_ports(1)
    own = [
        f"--kubeconfig={plane.kubeconfig}",
        "--leader-elect=false",
        f"--bind-address={_LOOPBACK}",
        f"--secure-port={port}",
    ]
    with _process(assets / "kube-scheduler", [*own, *flags], plane.folder) as running:
        try:
            _await_answer(f"https://{_LOOPBACK}:{port}/healthz", plane.folder, [running])
        except _Ended as error:
            raise ConfigError(str(error)) from error
        yield running.process.pid


def _start_servers(
    assets: Path, folder: Path, processes: contextlib.ExitStack, *, service_accounts: bool
) -> ControlPlane:
    """etcd and the API server, on ports that were free a moment ago; tried again when somebody else was faster."""
    authority = _write_credentials(folder)
    for attempt in range(_ATTEMPTS):
        with contextlib.ExitStack() as started:
            try:
                plane = _try_servers(assets, folder, authority, started, service_accounts=service_accounts)
            except _Ended as error:
                if attempt == _ATTEMPTS - 1:
                    raise ConfigError(str(error)) from error
                continue
            processes.push(started.pop_all())
            return plane
    raise AssertionError("unreachable")


def _try_servers(
    assets: Path, folder: Path, authority: Authority, started: contextlib.ExitStack, *, service_accounts: bool
) -> ControlPlane:
    client_port, peer_port, port = free_ports(3)
    etcd = started.enter_context(_process(assets / "etcd", _etcd_flags(folder, client_port, peer_port), folder))
    flags = _api_server_flags(folder, client_port, port, service_accounts=service_accounts)
    api_server = started.enter_context(_process(assets / "kube-apiserver", flags, folder))
    server = f"https://{_LOOPBACK}:{port}"
    _await_answer(f"{server}/readyz", folder, [etcd, api_server])
    ca = folder / "ca.crt"
    return ControlPlane(
        server=server,
        kubeconfig=_write_kubeconfig(folder / "kubeconfig", server=server, authority=ca, user={"token": _ADMIN_TOKEN}),
        certificate_kubeconfig=_write_kubeconfig(
            folder / "certificate.kubeconfig",
            server=server,
            authority=ca,
            user={"client-certificate": str(folder / "admin.crt"), "client-key": str(folder / "admin.key")},
        ),
        authority=authority,
        folder=folder,
        pids=(etcd.process.pid, api_server.process.pid),
    )


def _write_credentials(folder: Path) -> Authority:
    authority = Authority("tensorfusion-test-ca")
    (folder / "ca.crt").write_bytes(authority.certificate_pem)
    authority.issue_files(folder, name="server", hosts=[_LOOPBACK, "localhost"])
    authority.issue_files(folder, name="admin", organizations=["system:masters"], client=True)
    (folder / "accounts.key").write_bytes(signing_key())
    (folder / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,admin,"system:masters"\n')
    return authority


def _etcd_flags(folder: Path, client_port: int, peer_port: int) -> list[str]:
    client = f"http://{_LOOPBACK}:{client_port}"
    peer = f"http://{_LOOPBACK}:{peer_port}"
    return [
        f"--data-dir={folder / f'etcd-{client_port}'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=error",
        "--unsafe-no-fsync",
    ]


def _api_server_flags(folder: Path, etcd_port: int, port: int, *, service_accounts: bool) -> list[str]:
    flags = [
        f"--etcd-servers=http://{_LOOPBACK}:{etcd_port}",
        f"--secure-port={port}",
        f"--bind-address={_LOOPBACK}",
        f"--advertise-address={_LOOPBACK}",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--tls-cert-file={folder / 'server.crt'}",
        f"--tls-private-key-file={folder / 'server.key'}",
        f"--client-ca-file={folder / 'ca.crt'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC,Node",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.key'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
        "--allow-privileged=true",
    ]
    if not service_accounts:
        flags.append("--disable-admission-plugins=ServiceAccount")
    return flags


def _start_controller_manager(assets: Path, plane: ControlPlane, processes: contextlib.ExitStack) -> None:
    (port,) = free_ports(1)
    flags = [
        f"--kubeconfig={plane.kubeconfig}",
        "--leader-elect=false",
        f"--bind-address={_LOOPBACK}",
        f"--secure-port={port}",
        f"--service-account-private-key-file={plane.folder / 'accounts.key'}",
        f"--root-ca-file={plane.folder / 'ca.crt'}",
        "--use-service-account-credentials=false",
    ]
    process = processes.enter_context(_process(assets / "kube-controller-manager", flags, plane.folder))
    _await_answer(f"https://{_LOOPBACK}:{port}/healthz", plane.folder, [process])


def _write_kubeconfig(path: Path, *, server: str, authority: Path, user: dict[str, str]) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    return path


class _Ended(Exception):
    """A program ended before it was ready."""


@contextlib.contextmanager
def _process(program: Path, flags: Sequence[str], folder: Path) -> Iterator["_Running"]:
    log = folder / f"{program.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(program), *flags], stdout=output, stderr=output, cwd=folder)  # noqa: S603 - ours
    try:
        yield _Running(process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    log: Path


def _await_answer(url: str, folder: Path, processes: Sequence[_Running]) -> None:
    """Wait until ``url`` answers 200.

    Raises:
        _Ended: one of the processes is gone.
        ConfigError: not within a minute.
    """
    trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if not url.endswith("/readyz"):  # the others serve certificates of their own making
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {_ADMIN_TOKEN}"})  # noqa: S310 - https
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for running in processes:
            if running.process.poll() is not None:
                tail = running.log.read_text(errors="replace")[-1000:]
                raise _Ended(f"{running.log.stem} ended with {running.process.returncode}: {tail}")
        try:
            with urllib.request.urlopen(request, timeout=5, context=trust):  # noqa: S310 - https
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise ConfigError(f"{url} did not answer within {_PATIENCE:.0f} s: see the logs in {folder}")


def kubernetes_version(assets: Path) -> tuple[int, int]:
    """Major and minor of the API server in a folder.

    Raises:
        ConfigError: there is none, or it does not say.
    """
    try:
        said = subprocess.run(  # noqa: S603 - the same program that the tests start
            [assets / "kube-apiserver", "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=True
        ).stdout
        major, minor, *_ = said.removeprefix("Kubernetes v").split(".")
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConfigError(f"no version from kube-apiserver in {assets}: {error}: run make kube-assets") from error


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind((_LOOPBACK, 0))
        return [int(found.getsockname()[1]) for found in sockets]
