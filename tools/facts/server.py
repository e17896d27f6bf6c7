"""Start etcd and kube-apiserver on loopback for the length of a ``with`` block, and speak JSON to them.

Admission plugins that change objects are off: what comes back is defaulting and the registry's own work only.
"""

import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOKEN = "facts"
READY_SECONDS = 60
CHANGING_PLUGINS = (
    "ServiceAccount,DefaultTolerationSeconds,Priority,RuntimeClass,LimitRanger,DefaultStorageClass,"
    "TaintNodesByCondition,DefaultIngressClass,StorageObjectInUseProtection"
)


class Server:
    """A running API server spoken to over one kept connection; ``request`` never raises on an HTTP status."""

    def __init__(self, port: int, certificate: Path) -> None:
        tls = ssl.create_default_context(cafile=str(certificate))
        self.warnings: list[str] = []  # of the last request
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=30)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        accept: str = "application/json",
        *,
        content_type: str = "application/json",
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept, "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, body=data, headers=headers)
            response = self._connection.getresponse()
            raw = response.read()
            self.warnings = response.headers.get_all("Warning") or []
        except http.client.RemoteDisconnected:  # some wrong objects make the real server panic
            self._connection.close()
            return 500, {"message": "the server closed the connection"}
        return response.status, json.loads(raw) if raw.startswith(b"{") else {"message": raw.decode(errors="replace")}

    def get(self, path: str, accept: str = "application/json") -> Any:
        status, answer = self.request("GET", path, accept=accept)
        if status != 200:
            raise SystemExit(f"GET {path}: {status} {answer.get('message')}")
        return answer

    def ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            self._connection.close()
            return False


@contextmanager
def running_server(assets: Path, folder: Path, *, without: str = CHANGING_PLUGINS) -> Iterator[Server]:
    """A fresh API server whose state lives in ``folder``; both processes are ended by their own handles.

    ``without`` names the admission plugins that are off.
    """
    key, certificate = folder / "tls.key", folder / "tls.crt"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    openssl += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(openssl, check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{TOKEN},facts,facts,"system:masters"\n')
    etcd_port, peer_port, api_port = free_ports(3)
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    etcd = [str(assets / "etcd"), "--data-dir", str(folder / "etcd"), "--log-level", "error", "--unsafe-no-fsync"]
    etcd += ["--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url]
    etcd += ["--listen-peer-urls", f"http://127.0.0.1:{peer_port}"]
    api = [str(assets / "kube-apiserver"), f"--etcd-servers={etcd_url}", f"--secure-port={api_port}"]
    api += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24"]
    api += [f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", "--allow-privileged=true"]
    api += [f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=RBAC"]
    api += [f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"]
    api += ["--service-account-issuer=https://kubernetes.default.svc"]
    api += [f"--disable-admission-plugins={without}"]
    with (folder / "log").open("wb") as log, child(etcd, log), child(api, log) as process:
        server = Server(api_port, certificate)
        deadline = time.monotonic() + READY_SECONDS
        while not server.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"kube-apiserver did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        while server.request("GET", "/api/v1/namespaces/default")[0] != 200:
            time.sleep(0.1)
        yield server


@contextmanager
def child(command: list[str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports: list[int] = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports
