"""Admission webhooks, called over HTTPS: which are called, what their answers and failures do."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.embedded.access.certificates import Authority

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
Answer = Callable[[dict[str, Any]], dict[str, Any] | bytes | int | None]


class Hooks:
    """An HTTPS server whose paths answer reviews as each test says, and remember what they were asked."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.open(folder, datetime.now(UTC))
        self.bundle = base64.b64encode(authority.pem()).decode()
        self.answers: dict[str, Answer] = {}
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.connections = 0
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                hooks.connections += 1
                super().setup()

            def do_POST(self) -> None:
                path = self.path.partition("?")[0]
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
                hooks.asked.setdefault(path, []).append(review)
                answer = hooks.answers[path](review)
                if answer is None:
                    self.close_connection = True
                    return
                status = answer if isinstance(answer, int) else 200
                body = answer if isinstance(answer, bytes) else json.dumps(_review(review, answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.serving("127.0.0.1", datetime.now(UTC)))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _review(review: dict[str, Any], answer: Any) -> dict[str, Any]:
    response = {"uid": review["uid"], "allowed": True, **(answer if isinstance(answer, dict) else {})}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def patching(*operations: dict[str, Any]) -> Answer:
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda review: {"patchType": "JSONPatch", "patch": patch}


def denying(**status: Any) -> Answer:
    return lambda review: {"allowed": False, "status": status}


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    found = Hooks(tmp_path_factory.mktemp("hooks"))
    yield found
    found.close()


@pytest.fixture
def register(api, hooks):
    """Registers a webhook for the test's namespace; ``answer`` is what it says. Returns what it was asked."""
    made = []

    def add(kind: str, answer: Answer, *, order: int = 0, selector: bool = True, **more: Any) -> list[dict[str, Any]]:
        plural = f"{kind.lower()}webhookconfigurations"
        name = f"h{order}-{len(made)}-{api.namespace}"
        path = f"/{name}"
        hooks.answers[path] = answer
        hook = {
            "name": f"hook{order}.example.com",
            "clientConfig": {"url": hooks.url + path, "caBundle": hooks.bundle},
            "rules": [
                {
                    "operations": ["CREATE", "UPDATE"],
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                }
            ],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }
        if selector:
            hook.setdefault("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}})
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [hook],
        }
        api.create(f"{CONFIGURATIONS}/{plural}", configuration)
        made.append(f"{CONFIGURATIONS}/{plural}/{name}")
        return hooks.asked.setdefault(path, [])

    yield add
    for path in made:
        api("DELETE", path)


def test_a_mutating_webhook_is_asked_and_its_patch_applied(api, register, make_config_map) -> None:
    asked = register("Mutating", patching({"op": "add", "path": "/data/added", "value": "x"}))
    assert api.create(api.core("configmaps"), make_config_map("c", a="b"))["data"] == {"a": "b", "added": "x"}
    (review,) = asked
    assert review["operation"] == "CREATE"
    assert review["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert review["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (review["name"], review["namespace"]) == ("c", api.namespace)
    assert review["userInfo"]["username"] == "admin"
    assert "system:masters" in review["userInfo"]["groups"]
    assert review["object"]["data"] == {"a": "b"}
    assert review["oldObject"] is None
    assert review["dryRun"] is False
    assert review["options"]["kind"] == "CreateOptions"


def test_an_update_shows_old_and_new(api, register, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("c", a="1"))
    asked = register("Validating", lambda review: {})
    api.merge(api.core("configmaps", "c"), {"data": {"a": "2"}})
    assert asked[0]["operation"] == "UPDATE"
    assert asked[0]["oldObject"]["data"] == {"a": "1"}
    assert asked[0]["object"]["data"] == {"a": "2"}


def test_a_deletion_shows_what_goes(api, register, make_config_map) -> None:
    rules = [{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]
    api.create(api.core("configmaps"), make_config_map())
    asked = register("Validating", denying(message="keep it", code=409), rules=rules)
    answer = api("DELETE", api.core("configmaps", "c"))
    assert (answer.status, answer.message) == (409, 'admission webhook "hook0.example.com" denied the request: keep it')
    assert asked[0]["object"] is None
    assert asked[0]["oldObject"]["metadata"]["name"] == "c"
    assert api("GET", api.core("configmaps", "c")).status == 200


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ({"message": "no", "code": 403, "reason": "Forbidden"}, 403, "denied the request: no"),
        ({"reason": "Because"}, 400, "denied the request: Because"),
        ({}, 400, "denied the request without explanation"),
        ({"message": "odd", "code": 200}, 400, "denied the request: odd"),
    ],
)
def test_a_denial_is_passed_on(api, register, make_config_map, kind: str, status, code: int, message: str) -> None:
    register(kind, denying(**status))
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.status == code
    assert answer.message == f'admission webhook "hook0.example.com" {message}'
    assert api("GET", api.core("configmaps", "c")).status == 404


def test_warnings_reach_the_client(api, register, make_config_map) -> None:
    register("Validating", lambda review: {"warnings": ['mind the "gap"', "two\nlines"]})
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.warnings == ['299 - "mind the \\"gap\\""']


FAILURES = {
    "closed": lambda review: None,
    "500": lambda review: 500,
    "no json": lambda review: b"nope",
    "no response": lambda review: b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}',
    "wrong uid": lambda review: {"uid": "other"},
    "bad patch": lambda review: {"patchType": "JSONPatch", "patch": "%%%"},
    "no patch type": lambda review: {"patch": "W10="},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_counts_or_not_as_the_policy_says(api, register, make_config_map, failure: str) -> None:
    register("Mutating", FAILURES[failure], failurePolicy="Fail")
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.status == 500
    assert answer.message.startswith('Internal error occurred: failed calling webhook "hook0.example.com": ')
    assert "\n" not in answer.message


@pytest.mark.parametrize("failure", FAILURES)
def test_an_ignored_failure_lets_the_write_through(api, register, make_config_map, failure: str) -> None:
    register("Mutating", FAILURES[failure], failurePolicy="Ignore")
    assert api("POST", api.core("configmaps"), make_config_map()).status == 201


def test_a_slow_webhook_is_not_waited_for(api, register, make_config_map) -> None:
    release = threading.Event()

    def hang(review: dict[str, Any]) -> None:
        release.wait(20)

    register("Mutating", hang, timeoutSeconds=1)
    answer = api("POST", api.core("configmaps"), make_config_map())
    release.set()
    assert answer.status == 500
    assert "context deadline exceeded" in answer.message


def test_an_unreachable_or_untrusted_webhook_is_a_failure(api, register, hooks, make_config_map) -> None:
    register("Validating", lambda review: {}, clientConfig={"url": "https://127.0.0.1:1/x", "caBundle": hooks.bundle})
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.status == 500
    assert 'failed to call webhook: Post "https://127.0.0.1:1/x?timeout=10s"' in answer.message


def test_a_webhook_with_a_foreign_certificate_is_not_trusted(api, register, hooks, make_config_map, tmp_path) -> None:
    other = base64.b64encode(Authority.open(tmp_path, datetime.now(UTC)).pem()).decode()
    register("Validating", lambda review: {}, clientConfig={"url": f"{hooks.url}/x", "caBundle": other})
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.status == 500
    assert "certificate" in answer.message.lower()


def test_a_service_is_reached_where_the_server_was_told(start_server, hooks, make_config_map) -> None:
    client = start_server(services={"sys/hook": hooks.url}).client
    hooks.answers["/of-service"] = patching({"op": "add", "path": "/metadata/labels", "value": {"by": "service"}})
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "h"},
        "webhooks": [
            {
                "name": "s.example.com",
                "clientConfig": {
                    "service": {"namespace": "sys", "name": "hook", "path": "/of-service"},
                    "caBundle": hooks.bundle,
                },
                "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["configmaps"]}],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    client.create(f"{CONFIGURATIONS}/mutatingwebhookconfigurations", configuration)
    answer = client("POST", "/api/v1/namespaces/default/configmaps", make_config_map())
    assert answer.status == 500  # its certificate does not name hook.sys.svc
    assert "hook.sys.svc" in answer.message


# --- which webhooks are called ---


def test_rules_choose_by_operation_resource_and_subresource(api, register, make_pod, make_config_map) -> None:
    def rules(resources: str, operations: str = "CREATE", group: str = "") -> list[dict[str, Any]]:
        return [
            {"operations": [operations], "apiGroups": [group], "apiVersions": ["v1"], "resources": resources.split()}
        ]

    asked = {
        name: register("Validating", lambda review: {}, rules=wanted)
        for name, wanted in {
            "pods": rules("pods"),
            "bindings": rules("pods/binding"),
            "subresources": rules("pods/*"),
            "everything": rules("*/*", "*", "*"),
            "resources": rules("*", "*", "*"),
            "updates": rules("pods", "UPDATE"),
            "status": rules("pods/status", "UPDATE"),
            "other group": rules("pods", group="apps"),
        }.items()
    }
    api.create(api.core("pods"), make_pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"},
    }
    api.create(api.core("pods", "p", "binding"), binding)
    api.merge(api.core("pods", "p", "status"), {"status": {"phase": "Running"}})
    counts = {name: len(reviews) for name, reviews in asked.items()}
    assert counts == {
        "pods": 1,
        "bindings": 1,
        "subresources": 2,
        "everything": 3,
        "resources": 1,
        "updates": 0,
        "status": 1,
        "other group": 0,
    }
    (review,) = asked["bindings"]
    assert review["subResource"] == "binding"
    assert review["kind"] == {"group": "", "version": "v1", "kind": "Binding"}
    assert review["object"]["target"]["name"] == "n"


def test_selectors_choose_by_labels(api, register, make_config_map) -> None:
    chosen = register("Validating", lambda review: {}, objectSelector={"matchLabels": {"watch": "me"}})
    elsewhere = register("Validating", lambda review: {}, namespaceSelector={"matchLabels": {"no": "such"}})
    api.create(api.core("configmaps"), make_config_map("plain"))
    obj = make_config_map("chosen")
    obj["metadata"]["labels"] = {"watch": "me"}
    api.create(api.core("configmaps"), obj)
    api.merge(api.core("configmaps", "chosen"), {"metadata": {"labels": {"watch": None}}})  # the old one still matches
    assert [review["name"] for review in chosen] == ["chosen", "chosen"]
    assert elsewhere == []


def test_match_conditions_choose_by_expression(api, register, make_config_map) -> None:
    def when(expression: str) -> dict[str, Any]:
        return {"matchConditions": [{"name": "when", "expression": expression}]}

    yes = register(
        "Validating", lambda review: {}, **when("object.data.a == 'b' && request.userInfo.username == 'admin'")
    )
    no = register("Validating", lambda review: {}, **when("request.operation == 'UPDATE'"))
    api.create(api.core("configmaps"), make_config_map("c", a="b"))
    assert (len(yes), len(no)) == (1, 0)


def test_a_condition_that_fails_follows_the_failure_policy(api, register, make_config_map) -> None:
    conditions = [{"name": "when", "expression": "object.data.missing == 'b'"}]
    asked = register("Validating", lambda review: {}, matchConditions=conditions, failurePolicy="Ignore")
    assert api("POST", api.core("configmaps"), make_config_map("a", x="y")).status == 201
    assert asked == []
    register("Validating", lambda review: {}, matchConditions=conditions, failurePolicy="Fail")
    answer = api("POST", api.core("configmaps"), make_config_map("b", x="y"))
    assert answer.status == 403
    assert "no such key: missing" in answer.message


def test_webhook_configurations_are_never_intercepted(api, register) -> None:
    rules = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Cluster"}]
    asked = register(
        "Validating",
        denying(message="no"),
        selector=False,
        rules=rules,
        matchConditions=[{"name": "only", "expression": "request.resource.group == 'admissionregistration.k8s.io'"}],
    )
    register("Validating", lambda review: {}, order=1)
    assert asked == []


def test_webhooks_are_told_of_a_dry_run(api, register, make_config_map) -> None:
    asked = register("Validating", lambda review: {})
    assert api("POST", f"{api.core('configmaps')}?dryRun=All", make_config_map()).status == 201
    assert asked[0]["dryRun"] is True


# --- what mutation leads to ---


def test_webhooks_see_what_those_before_them_made(api, register, make_config_map) -> None:
    register("Mutating", patching({"op": "add", "path": "/data/first", "value": "1"}), order=0)
    second = register("Mutating", patching({"op": "add", "path": "/data/second", "value": "2"}), order=1)
    last = register("Validating", lambda review: {}, order=2)
    api.create(api.core("configmaps"), make_config_map("c", a="b"))
    assert second[0]["object"]["data"] == {"a": "b", "first": "1"}
    assert last[0]["object"]["data"] == {"a": "b", "first": "1", "second": "2"}
    assert last[0]["object"]["metadata"]["uid"]


def test_a_webhook_that_asks_for_it_is_called_again(api, register, make_config_map) -> None:
    curious = register("Mutating", lambda review: {}, order=0, reinvocationPolicy="IfNeeded")
    incurious = register("Mutating", lambda review: {}, order=1)
    register("Mutating", patching({"op": "add", "path": "/data/late", "value": "1"}), order=2)
    api.create(api.core("configmaps"), make_config_map("c", a="b"))
    assert [review["object"]["data"] for review in curious] == [{"a": "b"}, {"a": "b", "late": "1"}]
    assert len(incurious) == 1


def test_the_result_of_mutation_is_validated_and_completed(api, register, make_pod, make_config_map) -> None:
    register("Mutating", patching({"op": "add", "path": "/metadata/labels", "value": {"bad key": "x"}}))
    assert api("POST", api.core("configmaps"), make_config_map()).status == 422
    rules = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
    extra = {"name": "side", "image": "s:1"}
    register("Mutating", patching({"op": "add", "path": "/spec/containers/-", "value": extra}), rules=rules)
    pod = api.create(api.core("pods"), make_pod())
    assert pod["spec"]["containers"][1]["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/metadata/namespace", "value": "default"},
        {"op": "replace", "path": "/data", "value": "text"},
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "", "value": []},
        {"op": "explode", "path": "/data"},
    ],
)
def test_a_patch_that_breaks_the_object_is_refused(api, register, make_config_map, operation) -> None:
    register("Mutating", patching(operation), failurePolicy="Ignore")
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.status in (400, 422, 500)
    assert "\n" not in answer.message
    assert api("GET", api.core("configmaps", "c")).status == 404


def test_connections_are_kept(api, register, hooks, make_config_map) -> None:
    register("Validating", lambda review: {})
    api.create(api.core("configmaps"), make_config_map("first"))
    before = hooks.connections
    for number in range(20):
        api.create(api.core("configmaps"), make_config_map(f"c{number}"))
    assert hooks.connections - before <= 2
