"""Where the API is and who we are: kubeconfig files and the in-cluster account.

A server may also be ``unix:///path/to.sock``: plain HTTP over a Unix socket, as between the processes of one machine.

Source: client-go kubeconfig format, v1.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tensorfusion.errors import ConfigError

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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


def default_connection() -> Connection:
    """What a client without options means: KUBECONFIG, the account of its pod, ``~/.kube/config``, in this order."""
    if os.environ.get("KUBECONFIG"):
        return load_kubeconfig()
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    return load_kubeconfig()


def load_kubeconfig(path: Path | None = None, context: str | None = None) -> Connection:
    """The connection of a kubeconfig's context (the current one unless named).

    Raises:
        ConfigError: missing or unreadable file, unknown names, or an authentication method that is not supported.
    """
    file = path or Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"kubeconfig {file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"kubeconfig {file}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"kubeconfig {file}: wanted an object with clusters, users and contexts")
    name = context or document.get("current-context") or ""
    chosen = _entry(document, "contexts", name, "context", file)
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), "cluster", file)
    user = _entry(document, "users", chosen.get("user", ""), "user", file) if chosen.get("user") else {}
    for method in ("exec", "auth-provider", "username"):
        if user.get(method):
            raise ConfigError(
                f"kubeconfig {file}: the user {chosen['user']!r} authenticates by {method!r}: "
                "wanted a token, a tokenFile or a client certificate"
            )
    token_file = user.get("tokenFile")
    return Connection(
        server=str(cluster.get("server", "")).rstrip("/"),
        ca_data=_pem(cluster, "certificate-authority", file),
        token=user.get("token") or None,
        token_file=_relative(file, token_file) if token_file else None,
        client_cert=_pem(user, "client-certificate", file),
        client_key=_pem(user, "client-key", file),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        namespace=chosen.get("namespace") or "default",
    )


def in_cluster() -> Connection:
    """The service account of the pod this process runs in.

    Raises:
        ConfigError: this process does not run in a pod.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_IN_CLUSTER / "token").exists():
        raise ConfigError("not inside a cluster: set KUBECONFIG, or run in a pod with a service account")
    address = f"[{host}]" if ":" in host else host
    return Connection(
        server=f"https://{address}:{port}",
        ca_data=(_IN_CLUSTER / "ca.crt").read_bytes(),
        token_file=_IN_CLUSTER / "token",
        namespace=(_IN_CLUSTER / "namespace").read_text().strip() or "default",
    )


def _entry(document: dict[str, Any], section: str, name: str, key: str, file: Path) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
            found: dict[str, Any] = entry[key]
            return found
    known = [entry.get("name") for entry in document.get(section) or () if isinstance(entry, dict)]
    raise ConfigError(f"kubeconfig {file}: no {key} named {name!r} in {section}: known are {known}")


def _pem(section: dict[str, Any], key: str, file: Path) -> bytes | None:
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


def _relative(file: Path, path: str) -> Path:
    return (file.parent / path).absolute()
