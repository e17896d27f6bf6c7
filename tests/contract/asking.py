"""How a behaviour speaks to the server under test: plain HTTP over TLS, as any client would."""

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")
PATIENCE = 30.0
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Address:
    """Where a server is and how its administrator gets in."""

    url: str
    authority: Path
    kubeconfig: Path
    token: str
    folder: Path

    @property
    def netloc(self) -> str:
        return urllib.parse.urlsplit(self.url).netloc

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


@dataclass
class Answer:
    """One response; ``body`` is decoded if it is JSON, else None."""

    status: int
    body: Any
    raw: bytes
    headers: http.client.HTTPMessage

    @property
    def warnings(self) -> list[str]:
        """The texts of its Warning headers."""
        return [found.partition('"')[2].removesuffix('"') for found in self.headers.get_all("Warning") or ()]

    def refused(
        self,
        code: int,
        reason: str,
        message: str | None = None,
        *,
        name: str | None = None,
        kind: str | None = None,
        group: str | None = None,
    ) -> "Answer":
        """Assert that it is a Status which says no, for this reason; what is None is not compared."""
        body = self.body
        assert self.status == code, (self.status, body or self.raw)
        assert (body["kind"], body["apiVersion"], body["status"]) == ("Status", "v1", "Failure"), body
        assert (body["code"], body.get("reason", "")) == (code, reason), body
        if message is not None:
            assert body["message"] == message, body["message"]
        details = body.get("details") or {}
        for field_name, wanted in (("name", name), ("kind", kind), ("group", group)):
            if wanted is not None:
                assert details.get(field_name, "") == wanted, body
        return self

    def causes(self) -> set[tuple[str, str]]:
        """Field and reason of each cause of a refusal."""
        found = (self.body.get("details") or {}).get("causes") or ()
        return {(cause.get("field", ""), cause.get("reason", "")) for cause in found}


class Stream:
    """A watch under way; a context manager that ends it."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = response.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def next(self) -> dict[str, Any]:
        """The next event; an error when the watch ends, or says nothing for as long as the client is patient."""
        line = self._response.readline()
        assert line, "the watch has ended"
        event: dict[str, Any] = json.loads(line)
        return event

    def take(self, count: int) -> list[tuple[str, str]]:
        """Type and object name of the next events."""
        return [named(self.next()) for _ in range(count)]

    def rest(self) -> list[dict[str, Any]]:
        """Everything until the server ends the watch."""
        return [json.loads(line) for line in self._response.read().splitlines()]


def named(event: Mapping[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


@dataclass
class Api:
    """The administrator's client, with a namespace of its own that is made when it is first spoken of.

    ``patience``: seconds to wait for an answer, an event, or for what the server does on its own.
    """

    address: Address
    patience: float = PATIENCE
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    _namespace: str = ""
    _connection: http.client.HTTPSConnection | None = None

    # --- requests ---

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request. Text and bytes are sent as they are, everything else as JSON."""
        sent = {"Accept": accept, **self._credentials(), **self.headers, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", content_type)
        response, raw = self._exchange(method, path, _encoded(body), sent)
        try:
            decoded = json.loads(raw)
        except ValueError:
            decoded = None
        return Answer(response.status, decoded, raw, response.headers)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request on the connection that is kept; a server may have closed it meanwhile."""
        for fresh in (False, True):
            if self._connection is None or fresh:
                self.close()
                self._connection = self._connect()
            try:
                self._connection.request(method, path, body, dict(headers))
                response = self._connection.getresponse()
                return response, response.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                if fresh:
                    raise
            except BaseException:
                self.close()
                raise
        raise AssertionError("unreachable")

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.address.netloc, timeout=self.patience, context=self.address.trust())

    def _credentials(self) -> dict[str, str]:
        token = self.address.token if self.token is None else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def watch(self, path: str, query: str = "", *, accept: str = "application/json") -> Stream:
        """Open a watch on a connection of its own."""
        connection = self._connect()
        asked = f"{path}?watch=true" + (f"&{query}" if query else "")
        connection.request("GET", asked, headers={"Accept": accept, **self._credentials(), **self.headers})
        return Stream(connection, connection.getresponse())

    def as_user(self, token: str = "", **headers: str) -> "Api":
        """The same place for somebody else: with another token (``""`` for none), or other headers
        (``Impersonate_User="jane"``)."""
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return Api(self.address, self.patience, token if not headers else None, extra, self.namespace)

    # --- places ---

    @property
    def namespace(self) -> str:
        """The namespace of this client; nobody else uses it."""
        if not self._namespace:
            self._namespace = f"t-{uuid.uuid4().hex[:10]}"
            made = self("POST", "/api/v1/namespaces", {"metadata": {"name": self._namespace}})
            assert made.status == 201, made.body
        return self._namespace

    def forget_namespace(self) -> None:
        """Have another namespace from now on."""
        self._namespace = ""

    def core(self, plural: str, name: str = "", subresource: str = "") -> str:
        """The path of a namespaced core resource, in the client's own namespace."""
        return self.path("v1", plural, name, subresource)

    def path(self, version: str, plural: str, name: str = "", subresource: str = "") -> str:
        """The path of a namespaced resource of a group's version (``apps/v1``), in the client's own namespace."""
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        parts = (root, "namespaces", self.namespace, plural, name, subresource)
        return "/".join(part for part in parts if part)

    def other_name(self, prefix: str = "c") -> str:
        """A name that nobody else has, for what is in no namespace."""
        return f"{prefix}-{uuid.uuid4().hex[:10]}"

    # --- shorthands: they assert that it worked ---

    def create(self, path: str, obj: Any, **options: Any) -> Any:
        return _done(self("POST", path, obj, **options), 201)

    def get(self, path: str, **options: Any) -> Any:
        return _done(self("GET", path, **options), 200)

    def put(self, path: str, obj: Any, **options: Any) -> Any:
        return _done(self("PUT", path, obj, **options), 200)

    def merge(self, path: str, patch: Any, **options: Any) -> Any:
        return _done(self("PATCH", path, patch, content_type=MERGE, **options), 200)

    def delete(self, path: str, options: Any = None) -> Any:
        answer = self("DELETE", path, options)
        assert answer.status in (200, 202), answer.body
        return answer.body

    def create_pod(self, name: str = "p", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Any:
        """A pod, which waits for the namespace's account first: a controller makes it."""
        self.furnished()
        return self.create(self.core("pods"), pod(name, metadata=metadata, **spec))

    def furnished(self) -> None:
        """Wait until controllers have put into the namespace what every namespace has: nobody else writes there then."""
        for path in (self.core("serviceaccounts", "default"), self.core("configmaps", "kube-root-ca.crt")):
            self.eventually(lambda path=path: self("GET", path).status == 200)

    @contextlib.contextmanager
    def made(self, path: str, obj: Any) -> Iterator[Any]:
        """An object outside of all namespaces, gone afterwards."""
        made = self.create(path, obj)
        try:
            yield made
        finally:
            self("DELETE", f"{path}/{made['metadata']['name']}")

    def eventually(self, check: Callable[[], T]) -> T:
        """What ``check`` returns once it is true: for what the server does on its own after it has answered."""
        deadline = time.monotonic() + self.patience
        while not (found := check()):
            assert time.monotonic() < deadline, f"did not happen within {self.patience:.0f} s"
            time.sleep(0.02)
        return found


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def kubectl_program() -> Path:
    return Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / "kubectl"


def kubectl_of(api: Api) -> Kubectl:
    """``kubectl("get", "pods")`` in the namespace of ``api``; ``check=False`` lets it fail, ``stdin=`` is its input,
    ``env=`` are variables that it is given."""

    def run(
        *arguments: str, stdin: str = "", check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [kubectl_program(), "--kubeconfig", api.address.kubeconfig, "--namespace", api.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={"HOME": str(api.address.folder), "PATH": "/usr/bin:/bin", **(env or {})},
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done

    return run


def failure(kubectl: Kubectl, *arguments: str, stdin: str = "") -> str:
    """What a command says that has to fail."""
    done = kubectl(*arguments, stdin=stdin, check=False)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    return done.stderr.strip()


def given(obj: Any) -> str:
    """An object as a manifest."""
    return json.dumps(obj)


def _encoded(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _done(answer: Answer, status: int) -> Any:
    assert answer.status == status, (answer.status, answer.body or answer.raw)
    return answer.body


def query(**parameters: Any) -> str:
    """A query string, without the question mark; a trailing underscore keeps Python's words apart (``continue_``)."""
    return urllib.parse.urlencode({name.removesuffix("_"): value for name, value in parameters.items()})


# --- objects ---


def config_map(name: str = "c", *, labels: Mapping[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **({"data": data} if data else {})}


def pod(name: str = "p", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that no node takes."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}], **spec},
    }


def deployment(name: str = "d", **spec: Any) -> dict[str, Any]:
    """A deployment of no pods."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }
