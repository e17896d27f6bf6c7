"""Pods that really run, with the real kubectl, from `up --run-processes` to `down`."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import Cluster, embedded_cluster, eventually, kubectl_program
from tensorfusion.embedded.processes.leftovers import marked, shims_of
from tensorfusion.embedded.processes.machine import node_name
from tensorfusion.embedded.processes.users import can_switch

pytestmark = pytest.mark.xdist_group("process-node")  # one node on the machine at a time

FLEET = {"nodes": [{"name": "sim-0", "cpu": 64, "memory": "256Gi", "gpus": {"model": "L4", "count": 1}}]}
SERVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: python:3.12
        command: [python3, -u, -m, http.server, "18277", --bind, $(POD_IP)]
        workingDir: /srv
        env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
        ports: [{name: http, containerPort: 18277}]
        readinessProbe: {httpGet: {port: http, path: /}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /srv}]
      volumes: [{name: page, configMap: {name: page}}]
"""
LIVENESS = """
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  containers:
  - name: c
    image: busybox
    command: [sh, -c, "touch well; sleep 1; rm well; exec sleep 600"]
    livenessProbe: {exec: {command: [cat, well]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}
"""


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.config.getoption("--real"):
        pytest.skip("process nodes are a part of the embedded cluster")
    if kubectl_program() is None:
        pytest.skip("no kubectl: run make kube-assets")
    with embedded_cluster(tmp_path_factory.mktemp("processes"), fleet=FLEET, options=("--run-processes",)) as cluster:
        yield cluster
        pods = cluster.folder.root / "node" / "pods"
        running = [path.name for path in pods.iterdir()]
        spaces = Path((cluster.folder.root / "node" / "spaces.path").read_text())
        supervisor = cluster.folder.pid("up")
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)  # even then `down` leaves nothing behind
    shutil.rmtree(spaces)
    assert cluster.folder.orphans() == []
    assert shims_of(pods) == []
    assert [marked(uid) for uid in running if marked(uid)] == []


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace."""

    cluster: Cluster
    namespace: str

    def __call__(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, check=check)

    def command(self, *arguments: str) -> list[str]:
        """The command line of one that goes on for a while."""
        program = kubectl_program()
        assert program is not None
        return [program, "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace, *arguments]


@pytest.fixture
def kubectl(running: Cluster) -> Iterator[Kubectl]:
    """In a namespace of its own; its pods are ended at once afterwards."""
    made = Kubectl(running, f"test-{uuid.uuid4().hex[:8]}")
    running.kubectl("create", "namespace", made.namespace)
    yield made
    made("delete", "deployments,replicasets,pods", "--all", "--grace-period=0", "--force", check=False)


def test_kubectl_run_really_runs(kubectl: Kubectl) -> None:
    kubectl("run", "hello", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo hello from $HOSTNAME; id -u")
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hello", "--timeout=60s")
    first, uid = kubectl("logs", "hello").stdout.splitlines()
    assert first == "hello from hello"
    assert (int(uid) != os.geteuid()) == can_switch()
    assert kubectl("get", "pod", "hello", "-o", "jsonpath={.spec.nodeName}").stdout == node_name()
    described(kubectl, "hello", "Pulled", "Created", "Started", "Completed", "Exit Code:    0")


def described(kubectl: Kubectl, pod: str, *words: str) -> None:
    """All of this is told of a pod, some of it by events, which follow its status."""
    eventually(lambda: kubectl("describe", "pod", pod).stdout, until=lambda text: all(word in text for word in words))


def test_a_failed_pod_shows_its_exit_code(kubectl: Kubectl) -> None:
    kubectl("run", "bad", "--image=local/job", "--restart=Never", "--command", "--", "sh", "-c", "exit 7")
    kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/bad", "--timeout=60s")
    assert re.search(r"Exit Code:\s+7", kubectl("describe", "pod", "bad").stdout)
    assert "Error" in kubectl("get", "pod", "bad").stdout


def test_logs_are_followed_as_they_come(running: Cluster, kubectl: Kubectl) -> None:
    script = "for i in 1 2 3; do echo line $i; sleep 0.3; done"
    kubectl("run", "talker", "--image=busybox", "--restart=Never", "--command", "--", "sh", "-c", script)
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/talker", "--timeout=60s", check=False)
    done = subprocess.run(
        kubectl.command("logs", "-f", "talker"), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "line 1\nline 2\nline 3\n"
    assert kubectl("logs", "talker", "--tail=1").stdout == "line 3\n"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z line 3\n", kubectl("logs", "talker", "--tail=1", "--timestamps").stdout)


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_exec_has_output_input_and_exit_code(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, websockets: str
) -> None:
    """By WebSocket as kubectl does now, and by SPDY as it does where that is refused."""
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
    kubectl("run", "web", "--image=busybox", "--env=A=b", "--command", "--", "sleep", "600")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    done = kubectl("exec", "web", "--", "sh", "-c", "echo out $A; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out b\n")
    assert done.stderr == "err\ncommand terminated with exit code 7\n"
    assert kubectl("exec", "-i", "web", "--", "wc", "-c", stdin="x" * 200_000).stdout.strip() == "200000"
    done = kubectl("exec", "web", "--", "no-such-program", check=False)
    assert done.returncode == 1
    assert "executable file not found" in done.stderr


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_a_deployment_of_servers_rolls_out_and_is_reached_by_port_forward(
    running: Cluster,
    kubectl: Kubectl,
    monkeypatch: pytest.MonkeyPatch,
    websockets: str,
) -> None:
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
    kubectl("create", "configmap", "page", "--from-literal=index.html=hello")
    kubectl("apply", "-f", "-", stdin=SERVER)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    with forwarded(kubectl.command("port-forward", "deployment/web", ":18277")) as port:
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                assert answer.read() == b"hello"


@contextlib.contextmanager
def forwarded(arguments: list[str]) -> Iterator[int]:
    """A port-forward under way; the local port."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert match, line
            yield int(match[1])
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)


def test_a_failing_liveness_probe_restarts_and_says_so(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=LIVENESS)
    count = "jsonpath={.status.containerStatuses[0].restartCount}"
    eventually(
        lambda: kubectl("get", "pod", "sick", "-o", count).stdout, until=lambda text: text not in ("", "0"), patience=60
    )
    described(kubectl, "sick", "Liveness probe failed: cat: well: No such file or directory", "will be restarted")


def test_crash_loops_are_backed_off(kubectl: Kubectl) -> None:
    kubectl("run", "crash", "--image=busybox", "--command", "--", "sh", "-c", "echo trying; exit 1")
    eventually(
        lambda: kubectl("get", "pod", "crash").stdout, until=lambda text: "CrashLoopBackOff" in text, patience=60
    )
    assert kubectl("logs", "crash", "--previous").stdout == "trying\n"
    described(kubectl, "crash", "Back-off restarting failed container crash")


def test_an_image_without_a_meaning_says_what_to_do(kubectl: Kubectl) -> None:
    kubectl("run", "nginx", "--image=nginx:1.27")
    eventually(lambda: kubectl("get", "pod", "nginx").stdout, until=lambda text: "ImagePull" in text, patience=60)
    described(kubectl, "nginx", 'image "nginx:1.27" has no meaning on this machine', "images.yaml")


def test_deleting_ends_the_program_gracefully(running: Cluster, kubectl: Kubectl) -> None:
    script = "trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    kubectl("run", "web", "--image=busybox", "--command", "--", "sh", "-c", script)
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    with subprocess.Popen(kubectl.command("logs", "-f", "web"), stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "up\n"  # it follows from here on
        started = time.monotonic()
        kubectl("delete", "pod", "web", "--timeout=60s")
        assert time.monotonic() - started < 25
        assert follower.communicate(timeout=30)[0] == "goodbye\n"


def test_the_node_process_is_restarted_without_its_workloads(running: Cluster, kubectl: Kubectl) -> None:
    kubectl("run", "web", "--image=busybox", "--command", "--", "sleep", "600")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    before = running.folder.pid("node")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: running.folder.pid("node"), until=lambda pid: pid not in (None, before), patience=60)
    eventually(lambda: kubectl("exec", "web", "--", "true", check=False).returncode == 0, patience=60)
    found = json.loads(kubectl("get", "pod", "web", "-o", "json").stdout)
    (container,) = found["status"]["containerStatuses"]
    assert container["restartCount"] == 0, container


def test_shares_go_to_simulated_nodes_and_say_that_they_are(running: Cluster, kubectl: Kubectl) -> None:
    annotations = "tensor-fusion.ai/tflops-request=1,tensor-fusion.ai/vram-request=1Gi"
    kubectl(
        "run",
        "share",
        "--image=anything",
        "--labels=tensor-fusion.ai/enabled=true",
        *(f"--annotations={annotation}" for annotation in annotations.split(",")),
    )
    kubectl("wait", "--for=condition=Ready", "pod/share", "--timeout=60s")
    assert kubectl("get", "pod", "share", "-o", "jsonpath={.spec.nodeName}").stdout == "sim-0"
    assert kubectl("logs", "share").stdout == "simulated container: no output\n"
    done = kubectl("exec", "share", "--", "ls", check=False)
    assert done.returncode != 0
    assert "is on the simulated node sim-0" in done.stderr


def test_the_program_says_who_runs(running: Cluster) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(running.folder.node_socket))
    assert (running.folder.node_socket.stat().st_mode & 0o777) == 0o600
    text = running.program("status", "--data", str(running.folder.root), check=False).stdout
    assert re.search(r"node\s+pid \d+", text)


def test_run_with_a_terminal_is_a_shell(kubectl: Kubectl) -> None:
    ours, theirs = pty.openpty()
    arguments = ["run", "try", "--rm", "-it", "--image=busybox", "--restart=Never", "--", "sh", "-c"]
    script = "read line; tty; echo got $line"
    with subprocess.Popen(
        kubectl.command(*arguments, script), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        os.write(ours, b"hello\n")
        seen = b""
        with contextlib.suppress(OSError):  # the terminal is gone when kubectl is
            while chunk := os.read(ours, 4096):
                seen += chunk
        assert process.wait(60) == 0, seen
    os.close(ours)
    assert b"/dev/pts/" in seen
    assert b"got hello" in seen
