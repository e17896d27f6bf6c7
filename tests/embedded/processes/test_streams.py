"""Logs, exec, attach and port forwarding through the API, as the official Python client and kubectl send them."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

pytestmark = pytest.mark.xdist_group("process-node")  # one node on the machine at a time

State = Callable[..., dict[str, Any]]


class Remote:
    """A client of channels over WebSocket."""

    def __init__(self, pods: Any, protocol: str = "v4.channel.k8s.io", *, token: str = "") -> None:
        self._pods = pods
        self._token = token or pods.world.token
        self._protocol = protocol

    async def talk(
        self,
        pod: str,
        sub: str,
        query: list[tuple[str, str]],
        *,
        send: tuple[bytes, ...] = (),
        until: bytes = b"",
        then: Callable[[], None] | None = None,
    ) -> dict[int, bytes]:
        """What came on each channel.

        ``send`` goes first; ``until`` in what came ends it early, or has ``then`` called if that is given.
        """
        connector = aiohttp.UnixConnector(str(self._pods.world.data / "run" / "api.sock"))
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"http://localhost{self._pods.core}/pods/{pod}/{sub}?{urlencode(query)}"
        found: dict[int, bytes] = {}
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.ws_connect(url, protocols=(self._protocol,), timeout=aiohttp.ClientWSTimeout(ws_close=5)) as socket,
        ):
            for message in send:
                await socket.send_bytes(message)
            async for message in socket:
                assert message.type is aiohttp.WSMsgType.BINARY
                found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
                if until and any(until in value for value in found.values()):
                    if then is None:
                        break
                    await asyncio.to_thread(then)
                    until = b""
        return found

    def exec(self, pod: str, *command: str, send: tuple[bytes, ...] = (), **flags: str) -> dict[int, bytes]:
        query = [("stdout", "1"), ("stderr", "1"), *flags.items(), *(("command", part) for part in command)]
        if "tty" in flags:
            query.remove(("stderr", "1"))
        return asyncio.run(asyncio.wait_for(self.talk(pod, "exec", query, send=send), 30))


def status(found: dict[int, bytes]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(found[3])
    return answer


@pytest.fixture
def web(pods: Any) -> Any:
    """A pod that runs and has said ``up``."""
    pods.shell("web", "echo up; echo oops >&2; exec sleep 600", container={"env": [{"name": "A", "value": "b"}]})
    pods.running("web")
    pods.until("web", lambda _: pods.log("web").count("\n") == 2)
    return pods


# --- logs ---


def test_log_options(pods: Any) -> None:
    pods.shell("job", "for i in 1 2 3 4; do echo line $$i; done; printf unfinished")
    pods.ended("job")
    assert pods.log("job") == "line 1\nline 2\nline 3\nline 4\nunfinished"
    assert pods.log("job", "tailLines=2") == "line 4\nunfinished"
    assert pods.log("job", "tailLines=0") == ""
    assert pods.log("job", "limitBytes=9") == "line 1\nli"
    assert pods.log("job", "sinceSeconds=3600&container=c&follow=true").startswith("line 1\n")
    assert pods.log("job", "sinceTime=2999-01-01T00:00:00Z") == ""
    time, _, text = pods.log("job", "timestamps=true").splitlines()[0].partition(" ")
    assert time[:2] == "20"
    assert time[-1] == "Z"
    assert text == "line 1"


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("container=nope", 400, "container nope is not valid for pod web"),
        ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        (
            "sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
            422,
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds`",
        ),
        ("tailLines=many", 400, "tailLines: wanted a whole number, found 'many'"),
        ("sinceTime=yesterday", 400, "sinceTime: wanted a time"),
        ("stream=Stdout", 422, "stream: Forbidden: may not be specified"),
        ("previous=true", 400, 'previous terminated container "c" in pod "web" not found'),
    ],
)
def test_log_options_that_do_not_hold_are_refused(web: Any, query: str, code: int, text: str) -> None:
    found, raw = web.world.request("GET", f"{web.core}/pods/web/log?{query}")
    assert found == code
    assert text in json.loads(raw)["message"]


def test_with_several_containers_one_has_to_be_named(pods: Any) -> None:
    pods.run("two", {"command": ["echo", "first"]}, {"command": ["echo", "second"]}, restartPolicy="Never")
    pods.ended("two")
    code, raw = pods.world.request("GET", f"{pods.core}/pods/two/log")
    assert code == 400
    wanted = "a container name must be specified for pod two, choose one of: [c c1]"
    assert json.loads(raw)["message"] == wanted
    assert pods.log("two", "container=c1") == "second\n"


def test_a_simulated_pod_truthfully_has_no_output(pods: Any) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"sim-{pods.namespace}"}}
    assert pods.world.request("POST", "/api/v1/nodes", node)[0] == 201
    pods.run("sim", {"command": ["echo"]}, nodeName=node["metadata"]["name"])
    code, raw = pods.world.request("GET", f"{pods.core}/pods/sim/log")
    assert (code, json.loads(raw)["reason"]) == (400, "BadRequest")
    running = {"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}}
    assert pods.world.request("PATCH", f"{pods.core}/pods/sim/status", running)[0] == 200
    assert pods.log("sim") == "simulated container: no output\n"
    assert pods.log("sim", "timestamps=true") == "2026-01-01T00:00:00Z simulated container: no output\n"
    code, raw = pods.world.request(
        "POST", f"{pods.core}/pods/sim/exec?command=ls&stdout=1", Upgrade="SPDY/3.1", Connection="Upgrade"
    )
    assert code == 400
    assert "simulated node" in json.loads(raw)["message"]
    assert "--run-processes" in json.loads(raw)["message"]


# --- exec ---


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_exec_gives_output_and_exit_code(web: Any, protocol: str) -> None:
    found = Remote(web, protocol).exec("web", "sh", "-c", "echo out; echo err >&2; echo $A; exit 7")
    assert (found[1], found[2]) == (b"out\nb\n", b"err\n")
    assert status(found)["reason"] == "NonZeroExitCode"
    assert status(found)["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert status(Remote(web, protocol).exec("web", "true"))["status"] == "Success"


def test_exec_takes_input_to_its_end(web: Any) -> None:
    data = b"x" * 100_000
    send = (*(b"\0" + data[at : at + 30_000] for at in range(0, len(data), 30_000)), b"\xff\0")
    found = Remote(web, "v5.channel.k8s.io").exec("web", "wc", "-c", send=send, stdin="1")
    assert found[1].strip() == b"100000"


def test_exec_with_a_terminal_has_its_size(web: Any) -> None:
    size = b'\x04{"Width":100,"Height":40}'
    found = Remote(web).exec(
        "web", "sh", "-c", "tty; until stty size | grep 40; do :; done", send=(size,), stdin="1", tty="1"
    )
    assert b"/dev/pts/" in found[1]
    assert b"40 100" in found[1]


def test_exec_of_a_program_that_is_not_there_says_so(web: Any) -> None:
    found = Remote(web).exec("web", "no-such-program")
    assert status(found)["status"] == "Failure"
    assert "executable file not found" in status(found)["message"]


def test_a_command_ends_with_its_container(web: Any) -> None:
    query = [("stdout", "1"), ("command", "sh"), ("command", "-c"), ("command", "echo here; exec sleep 600")]
    end = partial(web.delete, "web", gracePeriodSeconds=0)
    talk = Remote(web).talk("web", "exec", query, until=b"here", then=end)
    assert asyncio.run(asyncio.wait_for(talk, 30))[1] == b"here\n"


def test_the_audit_log_knows_of_a_command(web: Any, wait_until: Callable[..., Any]) -> None:
    Remote(web).exec("web", "echo", "hello")

    def noted() -> list[tuple[str, int]]:
        lines = (web.world.data / "logs" / "audit.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if web.namespace in line]
        return [
            (event["stage"], event["responseStatus"]["code"])
            for event in events
            if event.get("objectRef", {}).get("subresource") == "exec"
        ]

    wait_until(noted, lambda found: found == [("ResponseStarted", 101), ("ResponseComplete", 101)])


def account(pods: Any, role: str) -> str:
    """The token of an account with one of the cluster's own roles in the namespace."""
    pods.create("serviceaccounts", {"metadata": {"name": role}})
    subject = {"kind": "ServiceAccount", "name": role, "namespace": pods.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    binding = {"metadata": {"name": role}, "roleRef": reference, "subjects": [subject]}
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{pods.namespace}/rolebindings"
    assert pods.world.request("POST", path, binding)[0] == 201
    _, raw = pods.world.request("POST", f"{pods.core}/serviceaccounts/{role}/token", {"spec": {}})
    token: str = json.loads(raw)["status"]["token"]
    return token


def test_who_may_view_sees_logs_and_runs_nothing(web: Any) -> None:
    token = account(web, "view")
    assert web.world.request("GET", f"{web.core}/pods/web/log", token=token) == (200, b"up\noops\n")
    for sub in ("exec?command=id&stdout=1", "attach?stdout=1", "portforward"):
        for method, verb in (("GET", "get"), ("POST", "create")):
            code, raw = web.world.request(method, f"{web.core}/pods/web/{sub}", token=token)
            assert code == 403
            assert f'cannot {verb} resource "pods/{sub.partition("?")[0]}"' in json.loads(raw)["message"]


def test_who_may_edit_runs_commands(web: Any) -> None:
    assert Remote(web, token=account(web, "edit")).exec("web", "echo", "hello")[1] == b"hello\n"


def test_admission_may_refuse_a_connection(web: Any) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec"]}
    hook = {
        "name": "no-exec.example.com",
        "rules": [rule],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": web.namespace}},
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    body = {"metadata": {"name": web.namespace}, "webhooks": [hook]}
    assert web.world.request("POST", path, body)[0] == 201
    try:
        code, raw = web.world.request("POST", f"{web.core}/pods/web/exec?command=id&stdout=1")
        assert code == 500
        assert 'failed calling webhook "no-exec.example.com"' in json.loads(raw)["message"]
    finally:
        web.world.request("DELETE", f"{path}/{web.namespace}")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("stdout=1", "you must specify at least 1 command for the container"),
        ("command=id", "you must specify at least one of stdin, stdout, stderr"),
        ("command=id&stdout=1", "Upgrade request required"),
        ("command=id&stdout=1&container=x", "container x is not valid for pod web"),
    ],
)
def test_exec_requests_that_cannot_be_are_refused(web: Any, query: str, text: str) -> None:
    code, raw = web.world.request("POST", f"{web.core}/pods/web/exec?{query}")
    assert (code, json.loads(raw)["message"]) == (400, text)


def test_a_node_that_is_away_is_named(web: Any) -> None:
    web.world.stop_node()
    try:
        code, raw = web.world.request("GET", f"{web.core}/pods/web/log")
        assert code == 500
        assert f"node {web.world.node} does not answer" in json.loads(raw)["message"]
        headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
        code, raw = web.world.request("POST", f"{web.core}/pods/web/exec?command=id&stdout=1", **headers)
        assert code == 500
    finally:
        web.world.start_node()


# --- attach and port forwarding ---


def test_attach_passes_both_ways(pods: Any) -> None:
    pods.shell("cat", "echo up; exec cat", container={"stdin": True, "stdinOnce": True})
    pods.running("cat")
    remote = Remote(pods, "v5.channel.k8s.io")
    query = [("stdin", "1"), ("stdout", "1")]
    found = asyncio.run(asyncio.wait_for(remote.talk("cat", "attach", query, send=(b"\0hello\n", b"\xff\0")), 30))
    assert b"hello\n" in found[1]
    assert status(found)["status"] == "Success"
    assert pods.ended("cat")["status"]["phase"] == "Succeeded"


def test_ports_are_forwarded_on_channels(pods: Any, wait_until: Callable[..., Any]) -> None:
    container = {
        "command": ["python3", "-m", "http.server", "18233", "--bind", "127.0.0.1"],
    }
    pods.run("web", container)
    pods.running("web")
    remote = Remote(pods)
    send = (b"\0GET /missing HTTP/1.0\r\n\r\n",)

    def ask() -> dict[int, bytes]:
        talk = remote.talk("web", "portforward", [("ports", "18233")], send=send, until=b"404")
        return asyncio.run(asyncio.wait_for(talk, 30))

    found = wait_until(ask, lambda found: b"404" in found.get(0, b""))
    assert found[0][:2] == struct.pack("<H", 18233)
    assert b"HTTP/1.0 404" in found[0]


def test_a_port_nobody_listens_on_is_an_error_of_its_channel(web: Any) -> None:
    talk = Remote(web).talk("web", "portforward", [("ports", "9")], until=b"refused")
    found = asyncio.run(asyncio.wait_for(talk, 30))
    assert b"error forwarding port 9" in found[1]


def test_a_refused_upgrade_closes_its_connection(web: Any) -> None:
    """The client may have said something that is no HTTP already."""
    connection = web.world.connect()
    headers = {"Authorization": f"Bearer {web.world.token}", "Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    connection.request("POST", f"{web.core}/pods/nobody/exec?command=id&stdout=1", headers=headers)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Connection")) == (404, "close")
    connection.close()


# --- what the node may read ---


def test_the_node_reads_only_what_its_pods_name(web: Any) -> None:
    """Its own account, through the API: Secrets that nobody on the node uses stay closed to it."""
    for name in ("used", "unused"):
        web.create("secrets", {"metadata": {"name": name}, "stringData": {"key": "x"}})
    web.shell("user", "true", container={"envFrom": [{"secretRef": {"name": "used"}}]})
    path = web.world.data / "run" / "tensor-fusion-process-node.kubeconfig"
    token = json.loads(path.read_text())["users"][0]["user"]["token"]

    def read(path: str) -> int:
        code: int = web.world.request("GET", path, token=token)[0]
        return code

    assert read(f"{web.core}/secrets/used") == 200
    assert read(f"{web.core}/secrets/unused") == 403
    assert read(f"{web.core}/configmaps/used") == 403
    assert read(f"{web.core}/secrets") == 403
    assert read("/api/v1/namespaces/default/secrets/used") == 403
    web.world.request("DELETE", f"{web.core}/pods/user", {"gracePeriodSeconds": 0})
    assert read(f"{web.core}/secrets/used") == 403


def test_somebody_elses_port_is_not_reached_through_a_pod(web: Any) -> None:
    """Whoever may forward ports of pods does not get at the machine's own services, or at other pods'."""
    with socket.socket() as ours, socket.socket() as everywhere:
        ours.bind(("127.0.0.1", 0))
        everywhere.bind(("0.0.0.0", 0))
        for listener in (ours, everywhere):
            listener.listen()
            port = listener.getsockname()[1]
            talk = Remote(web).talk("web", "portforward", [("ports", str(port))], until=b"refused")
            found = asyncio.run(asyncio.wait_for(talk, 30))
            assert f"error forwarding port {port}".encode() in found[1]
