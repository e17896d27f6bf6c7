"""Where the API is and who we are: kubeconfig files and the in-cluster account.

A server may also be ``unix:///path/to.sock``: plain HTTP over a Unix socket, as between the processes of one machine.
What cannot be honoured (exec plugins, impersonation, proxies) is refused rather than silently left out: a client that
connects as somebody else than the file says is worse than one that does not start.

Source: client-go kubeconfig format, v1; the merge rule for several files is that of kubectl (the first one wins).
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tensorfusion.errors import ConfigError

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REFUSED_USER_FIELDS = ("exec", "auth-provider", "username", "as", "as-groups", "as-uid", "as-user-extra")
_REFUSED_CLUSTER_FIELDS = ("proxy-url",)


@dataclass(frozen=True, slots=True)
class Connection:
    """One API server as one user. Certificates are PEM bytes; ``token_file`` is read again as it changes."""

    server: str
    ca_data: bytes | None = None
    token: str | None = None
    token_file: Path | None = None
    client_cert: bytes | None = None
    client_key: bytes | None = None
    insecure: bool = False
    namespace: str = "default"
    server_name: str | None = None

    def __repr__(self) -> str:
        return f"Connection({self.server})"  # credentials never reach a log by accident


def default_connection() -> Connection:
    """What a client without options means: KUBECONFIG, the account of its pod, ``~/.kube/config``, in this order.

    Raises:
        ConfigError: none of them can be used.
    """
    if not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    return load_kubeconfig()


def load_kubeconfig(path: Path | None = None, context: str | None = None) -> Connection:
    """The connection of a kubeconfig's context (the current one unless named).

    Without a path: the files of KUBECONFIG, else ``~/.kube/config``.

    Raises:
        ConfigError: missing or unreadable file, unknown names, or an authentication method that is not supported.
    """
    files = _files(path)
    documents = [(file, _read(file)) for file in files]
    shown = ", ".join(map(str, files))
    name = context or next((d["current-context"] for _, d in documents if d.get("current-context")), "")
    chosen, _ = _entry(documents, "contexts", name, "context")
    cluster, cluster_file = _entry(documents, "clusters", chosen.get("cluster", ""), "cluster")
    user: Mapping[str, Any] = {}
    user_file = cluster_file
    if chosen.get("user"):
        user, user_file = _entry(documents, "users", chosen["user"], "user")
    _refuse(user, _REFUSED_USER_FIELDS, f"kubeconfig {user_file}: user {chosen.get('user')!r}")
    _refuse(cluster, _REFUSED_CLUSTER_FIELDS, f"kubeconfig {cluster_file}: cluster {chosen.get('cluster')!r}")
    token_file = user.get("tokenFile")
    connection = Connection(
        server=str(cluster.get("server") or "").rstrip("/"),
        ca_data=_pem(cluster, "certificate-authority", cluster_file),
        token=None if token_file else user.get("token") or None,
        token_file=_relative(user_file, token_file) if token_file else None,
        client_cert=_pem(user, "client-certificate", user_file),
        client_key=_pem(user, "client-key", user_file),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        namespace=chosen.get("namespace") or "default",
        server_name=cluster.get("tls-server-name") or None,
    )
    _check(connection, shown)
    return connection


def in_cluster() -> Connection:
    """The service account of the pod this process runs in.

    Raises:
        ConfigError: this process does not run in a pod, or its account is not mounted.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_IN_CLUSTER / "token").exists():
        raise ConfigError("not inside a cluster: set KUBECONFIG, or run in a pod with a service account")
    address = f"[{host}]" if ":" in host else host
    try:
        return Connection(
            server=f"https://{address}:{port}",
            ca_data=(_IN_CLUSTER / "ca.crt").read_bytes(),
            token_file=_IN_CLUSTER / "token",
            namespace=(_IN_CLUSTER / "namespace").read_text().strip() or "default",
        )
    except OSError as error:
        raise ConfigError(f"the service account in {_IN_CLUSTER} cannot be read: {error}") from error


def _files(path: Path | None) -> list[Path]:
    if path is not None:
        return [path]
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if len(named) > 1:  # kubectl skips those of a list that do not exist
        named = [file for file in named if file.exists()] or named[:1]
    return named or [Path("~/.kube/config").expanduser()]


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"kubeconfig {file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"kubeconfig {file}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"kubeconfig {file}: wanted an object with clusters, users and contexts")
    return document


def _entry(
    documents: Sequence[tuple[Path, dict[str, Any]]], section: str, name: str, key: str
) -> tuple[dict[str, Any], Path]:
    """The named part of a section, and the file it stands in, to which its relative paths belong."""
    known = []
    for file, document in documents:
        entries = document.get(section)
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            if entry.get("name") == name and isinstance(entry.get(key), dict):
                return entry[key], file
            known.append(str(entry.get("name")))
    files = ", ".join(str(file) for file, _ in documents)
    raise ConfigError(
        f"kubeconfig {files}: no {key} named {name!r} in {section}: known are {', '.join(known) or 'none'}"
    )


def _refuse(section: Mapping[str, Any], fields: Sequence[str], where: str) -> None:
    for field in fields:
        if section.get(field):
            raise ConfigError(
                f"{where}: {field!r} is not supported: wanted a token, a tokenFile or a client certificate, "
                "and a server that is reached directly"
            )


def _check(connection: Connection, files: str) -> None:
    if not connection.server.startswith(("https://", "http://", "unix:///")):
        raise ConfigError(
            f"kubeconfig {files}: server: wanted https://HOST:PORT or unix:///PATH, found {connection.server!r}"
        )
    if (connection.client_cert is None) != (connection.client_key is None):
        raise ConfigError(f"kubeconfig {files}: wanted both client-certificate and client-key, found one of them")
    if connection.insecure and connection.ca_data is not None:
        raise ConfigError(f"kubeconfig {files}: wanted either certificate-authority or insecure-skip-tls-verify: true")


def _pem(section: Mapping[str, Any], key: str, file: Path) -> bytes | None:
    data, path = section.get(f"{key}-data"), section.get(key)
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise ConfigError(f"kubeconfig {file}: {key}-data is not base64") from error
    if not path:
        return None
    try:
        return _relative(file, path).read_bytes()
    except OSError as error:
        raise ConfigError(f"kubeconfig {file}: {key}: cannot be read: {error}") from error


def _relative(file: Path, path: object) -> Path:
    return (file.parent / str(path)).absolute()
