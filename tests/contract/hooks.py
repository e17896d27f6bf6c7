"""Admission webhooks for behaviours: one HTTPS server in this process, and configurations that count when they return.

A real server hears of a new configuration a moment later, so each one carries a webhook of its own that only sees
probes: ConfigMaps that are written as a dry run until it is asked.
"""

import base64
import contextlib
import functools
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from asking import Api, config_map
from tensorfusion.testing.certificates import Authority

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
MUTATING, VALIDATING = "Mutating", "Validating"
Json = dict[str, Any]
Reply = Callable[[Json], "Json | bytes | int"]
"""Makes of a review's request the response, or the whole body of the answer, or its HTTP status."""
PROBE = "contract-probe"
FURNITURE = "kube-root-ca.crt"
"""What a new namespace gets by itself, whenever that is: webhooks of behaviours do not see it."""


class Hooks:
    """The server. ``replies`` and ``asked`` are by path."""

    def __init__(self) -> None:
        authority = Authority("contract-hooks")
        self.bundle = base64.b64encode(authority.certificate_pem).decode()
        self.replies: dict[str, Reply] = {}
        self.asked: dict[str, list[Json]] = {}
        self.reviews: dict[str, list[Json]] = {}
        self.queries: dict[str, list[str]] = {}
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers that gave up
        server.socket = _context(authority).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, query: str, review: Json) -> "Json | bytes | int":
        request = review["request"]
        if PROBE in (((request.get("object") or {}).get("metadata") or {}).get("labels") or {}):
            if path.endswith("/probe"):
                self.asked.setdefault(path, []).append(request)
            return {}
        if request.get("name") == FURNITURE:
            return {}
        self.asked.setdefault(path, []).append(request)
        self.reviews.setdefault(path, []).append(review)
        self.queries.setdefault(path, []).append(query)
        reply = self.replies.get(path)
        return {} if reply is None else reply(request)


def _context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = authority.issue_files(Path(folder), name="hooks", hosts=["127.0.0.1"])
        context.load_cert_chain(certificate, key)
    return context


def _handler(hooks: Hooks) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = hooks.answer(path, query, review)
            body = answer if isinstance(answer, bytes) else json.dumps(_review(review, answer)).encode()
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _review(review: Json, answer: Any) -> Json:
    """A whole review of a response; what it does not say is that the write is allowed."""
    said = answer if isinstance(answer, dict) else {}
    response = {"uid": review["request"]["uid"], "allowed": True, **said}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


@functools.cache
def hooks() -> Hooks:
    """The server of this process, started when it is first needed."""
    return Hooks()


def patching(*operations: Json, **more: Any) -> Reply:
    """A reply that changes the object by a JSON patch."""
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda _: {"patchType": "JSONPatch", "patch": patch, **more}


def adding(key: str, value: str = "x") -> Reply:
    """A reply that puts a value into a ConfigMap's data."""
    return patching({"op": "add", "path": f"/data/{key}", "value": value})


def denying(**status: Any) -> Reply:
    return lambda _: {"allowed": False, **({"status": status} if status else {})}


def rule(resources: str = "configmaps", operations: str = "CREATE UPDATE", **more: Any) -> Json:
    """A rule of words: ``rule("pods pods/status", "UPDATE")``."""
    found = {"apiGroups": [""], "apiVersions": ["v1"], "resources": resources.split()}
    return {"operations": operations.split(), **found, **more}


def one(path: str, **more: Any) -> Json:
    """One webhook's part of a configuration; ``more`` are its fields, ConfigMaps that are written its default."""
    return {
        "name": "hook.example.com",
        "clientConfig": {"url": hooks().url + path, "caBundle": hooks().bundle},
        "rules": [rule()],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


@contextlib.contextmanager
def webhook(
    api: Api, kind: str = MUTATING, reply: Reply | None = None, *, order: int = 0, anywhere: bool = False, **more: Any
) -> Iterator[list[Json]]:
    """A webhook that counts in the client's namespace; gives the requests that it is asked about.

    ``more`` are fields of the webhook. Configurations are called in the ``order`` that is stated. With ``anywhere`` it
    concerns all namespaces, and ``more`` has to say which objects it means.
    """
    with configured(api, kind, [more], [reply], order=order, anywhere=anywhere) as asked:
        yield asked[0]


@contextlib.contextmanager
def configured(
    api: Api,
    kind: str,
    webhooks: list[Mapping[str, Any]],
    replies: list[Reply | None],
    *,
    order: int = 0,
    anywhere: bool = False,
) -> Iterator[list[list[Json]]]:
    """Several webhooks in one configuration; gives the requests of each."""
    name = f"o{order}-{api.other_name('hook')}"
    api.furnished()
    here = {} if anywhere else {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}}
    paths = [f"/{name}/{number}" for number in range(len(webhooks))]
    parts = [one(path, **{**here, **more}) for path, more in zip(paths, webhooks, strict=True)]
    for path, reply in zip(paths, replies, strict=True):
        hooks().asked[path] = []
        if reply is not None:
            hooks().replies[path] = reply
    body = {"metadata": {"name": name}, "webhooks": [_probe(name), *parts]}
    with api.made(f"{CONFIGURATIONS}/{kind.lower()}webhookconfigurations", body):
        _await(api, name)
        yield [hooks().asked[path] for path in paths]


def _probe(name: str) -> Json:
    return one(f"/{name}/probe", name="probe.example.com", objectSelector={"matchLabels": {PROBE: name}})


def _await(api: Api, name: str) -> None:
    """Wait until the server calls a configuration: its probe is asked, or a webhook beside it fails."""
    probe = config_map("probe", labels={PROBE: name}, x="y")
    path = f"{api.core('configmaps')}?dryRun=All"
    api.eventually(lambda: api("POST", path, probe).status != 201 or hooks().asked.get(f"/{name}/probe"))


def path_of(asked: list[Json]) -> str:
    """Where the webhook of these requests is called."""
    return next(path for path, found in hooks().asked.items() if found is asked)
