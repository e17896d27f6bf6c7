"""Pods on a process node, with real processes: how they start, what they see, how they end."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.embedded.processes.leftovers import marked
from tensorfusion.embedded.processes.users import FIRST, can_switch

pytestmark = pytest.mark.xdist_group("process-node")  # one node on the machine at a time

State = Callable[..., dict[str, Any]]
Until = Callable[..., Any]


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((found for found in pod["status"].get("conditions", ()) if found["type"] == kind), {})


def test_a_pod_that_runs_to_its_end_succeeds(pods: Any, pod_state: State) -> None:
    pods.shell("job", "echo done")
    pod = pods.ended("job")
    assert pod["status"]["phase"] == "Succeeded"
    ending = pod_state(pod)["terminated"]
    assert (ending["exitCode"], ending["reason"]) == (0, "Completed")
    assert condition(pod, "Ready")["reason"] == "PodCompleted"
    assert pods.log("job") == "done\n"


def test_a_pod_that_fails_says_with_which_code(pods: Any, pod_state: State) -> None:
    pods.shell("job", "exit 7")
    pod = pods.ended("job")
    assert pod["status"]["phase"] == "Failed"
    assert pod_state(pod)["terminated"]["exitCode"] == 7
    assert pod_state(pod)["terminated"]["reason"] == "Error"


def test_a_killed_program_has_the_code_of_its_signal(pods: Any, pod_state: State) -> None:
    pods.shell("job", "kill -9 $$$$")
    ending = pod_state(pods.ended("job"))["terminated"]
    assert (ending["exitCode"], ending["signal"]) == (137, 9)


def test_a_running_pod_is_ready_and_started(pods: Any) -> None:
    pods.shell("web", "exec sleep 600")
    pod = pods.until("web", lambda pod: condition(pod, "Ready").get("status") == "True")
    (status,) = pod["status"]["containerStatuses"]
    assert status["ready"]
    assert status["started"]
    assert status["state"]["running"]["startedAt"]
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"].startswith("127.77.")
    assert condition(pod, "Initialized")["status"] == "True"
    events = pods.events("web")
    assert {"Pulled", "Created", "Started"} <= events.keys()


def test_the_environment_comes_from_every_source(pods: Any, world: Any) -> None:
    metadata = {"labels": {"team": "blue"}, "annotations": {"note": "a b"}}
    pods.create("configmaps", {"metadata": {"name": "settings"}, "data": {"COLOUR": "red", "with.dots": "x"}})
    pods.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"KEY": "s3cret"}})
    pods.create("services", {"metadata": {"name": "my-db"}, "spec": {"ports": [{"port": 5432, "name": "sql"}]}})
    env = [
        {"name": "PLAIN", "value": "$(COLOUR)-$$(COLOUR)-$(NONE)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
        {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOUR"}}},
        {"name": "MISSING", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "x", "optional": True}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}, "prefix": "P_"}],
        "resources": {"requests": {"cpu": "250m"}},
    }
    pods.shell("job", "env", container=container, metadata=metadata)
    pods.ended("job")
    found = dict(line.split("=", 1) for line in pods.log("job").splitlines())
    assert found["PLAIN"] == "red-$(COLOUR)-$(NONE)"
    assert (found["POD"], found["TEAM"], found["NODE"]) == ("job", "blue", world.node)
    assert found["CPU"] == "250"
    assert (found["SECRET"], found["P_KEY"], found["FROM_MAP"]) == ("s3cret", "s3cret", "red")
    assert "MISSING" not in found
    assert found["MY_DB_SERVICE_PORT"] == found["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert found["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
    assert "SSH_AUTH_SOCK" not in found


def test_volumes_are_folders_below_the_containers_root(pods: Any) -> None:
    pods.create("configmaps", {"metadata": {"name": "page"}, "data": {"index.html": "hello", "other": "x"}})
    pods.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"key": "s3cret"}})
    volumes = [
        {"name": "page", "configMap": {"name": "page", "items": [{"key": "index.html", "path": "sub/a.html"}]}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "scratch", "emptyDir": {}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "page"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]
            },
        },
    ]
    mounts = [
        {"name": "page", "mountPath": "/srv"},
        {"name": "keys", "mountPath": "/etc/keys"},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "all", "mountPath": "/all"},
    ]
    script = (
        'cd "$TENSORFUSION_ROOT" && cat srv/sub/a.html etc/keys/key all/name all/other'
        " && stat -c ' %a' etc/keys/key && echo more > scratch/file && cat scratch/file && pwd && cat $HOME/../srv/sub/a.html"
    )
    pods.shell("job", script, volumes=volumes, container={"volumeMounts": mounts})
    assert pods.ended("job")["status"]["phase"] == "Succeeded", pods.log("job")
    first, second, *_ = pods.log("job").splitlines()
    assert first == "hellos3cretjobx 400"
    assert second == "more"


def test_init_containers_share_volumes_and_run_in_order(pods: Any) -> None:
    mount = [{"name": "shared", "mountPath": "/shared"}]
    step = {"volumeMounts": mount}
    pods.shell(
        "job",
        "cat $TENSORFUSION_ROOT/shared/steps",
        initContainers=[
            {"command": ["sh", "-c", "sleep 0.2; echo one >> $TENSORFUSION_ROOT/shared/steps"], **step},
            {"command": ["sh", "-c", "echo two >> $TENSORFUSION_ROOT/shared/steps"], **step},
        ],
        volumes=[{"name": "shared", "emptyDir": {}}],
        container=step,
    )
    pod = pods.ended("job")
    assert pods.log("job") == "one\ntwo\n"
    assert [entry["ready"] for entry in pod["status"]["initContainerStatuses"]] == [True, True]


def test_a_failed_init_container_fails_the_pod(pods: Any) -> None:
    pods.shell("job", "echo never", initContainers=[{"command": ["sh", "-c", "exit 4"]}])
    pod = pods.ended("job")
    assert pod["status"]["phase"] == "Failed"
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_a_sidecar_runs_beside_the_containers_and_ends_with_them(pods: Any) -> None:
    sidecar = {"command": ["sleep", "600"], "restartPolicy": "Always"}
    pods.shell("job", "sleep 0.3", initContainers=[sidecar])
    pod = pods.ended("job")
    assert pod["status"]["phase"] == "Succeeded"
    assert "terminated" in pod["status"]["initContainerStatuses"][0]["state"]


def test_a_crashing_container_is_started_again_with_pauses(pods: Any, pod_state: State) -> None:
    pods.shell("crash", "echo again; exit 2", restartPolicy="Always")
    pod = pods.until(
        "crash",
        lambda pod: (
            pod_state(pod).get("waiting", {}).get("reason") == "CrashLoopBackOff"
            and pod["status"]["containerStatuses"][0]["restartCount"] >= 2
        ),
    )
    (status,) = pod["status"]["containerStatuses"]
    assert "back-off" in status["state"]["waiting"]["message"]
    assert status["lastState"]["terminated"]["exitCode"] == 2
    assert pod["status"]["phase"] == "Running"
    assert pods.log("crash", "previous=true") == "again\n"
    assert "BackOff" in pods.events("crash")


def test_on_failure_stops_at_success(pods: Any) -> None:
    script = "test -e tried && exit 0; touch tried; exit 1"
    pods.shell("job", script, restartPolicy="OnFailure")
    pod = pods.ended("job")
    assert pod["status"]["phase"] == "Succeeded"
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


def test_an_image_without_a_meaning_says_what_to_do(pods: Any, pod_state: State) -> None:
    pods.run("web", {"image": "nginx:1.27"})
    pod = pods.until("web", lambda pod: pod_state(pod).get("waiting", {}).get("reason") == "ErrImagePull")
    message = pod_state(pod)["waiting"]["message"]
    assert 'image "nginx:1.27" has no meaning on this machine' in message
    assert "images.yaml" in message
    pods.until("web", lambda pod: pod_state(pod).get("waiting", {}).get("reason") == "ImagePullBackOff")
    assert pods.get("web")["status"]["phase"] == "Pending"


def test_a_program_that_is_not_installed_is_a_start_error(pods: Any, pod_state: State) -> None:
    pods.run("job", {"command": ["no-such-program"]}, restartPolicy="Never")
    ending = pod_state(pods.ended("job"))["terminated"]
    assert (ending["exitCode"], ending["reason"]) == (128, "StartError")
    assert "executable file not found" in ending["message"]


def test_a_missing_config_map_is_waited_for(pods: Any, pod_state: State) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]
    pods.shell("job", 'echo "$A"', container={"env": env})
    pod = pods.until("job", lambda pod: pod_state(pod).get("waiting", {}).get("reason") == "CreateContainerConfigError")
    assert 'configmap "late" not found' in pod_state(pod)["waiting"]["message"]
    pods.create("configmaps", {"metadata": {"name": "late"}, "data": {"a": "here"}})
    assert pods.ended("job")["status"]["phase"] == "Succeeded"
    assert pods.log("job") == "here\n"


@pytest.mark.parametrize(
    ("security", "word"),
    [
        ({"runAsUser": 0}, "runAsUser 0"),
        ({"privileged": True}, "privileged"),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, "capabilities.add"),
    ],
)
def test_more_rights_are_refused(pods: Any, pod_state: State, security: dict[str, Any], word: str) -> None:
    if security.get("runAsUser") == os.geteuid() and not can_switch():
        security = {"runAsUser": 1}
        word = "runAsUser 1"
    pods.shell("job", "id", container={"securityContext": security})
    pod = pods.until("job", lambda pod: pod_state(pod).get("waiting", {}).get("reason") == "CreateContainerConfigError")
    assert word in pod_state(pod)["waiting"]["message"]


def test_each_pod_has_a_user_of_its_own_when_that_is_possible(pods: Any) -> None:
    """And may then neither read another pod's files nor the cluster's."""
    pods.shell("one", "id -u; echo secret > file; pwd; exec sleep 600")
    pods.running("one")
    uid, folder = pods.until("one", lambda _: len(pods.log("one").splitlines()) == 2) and pods.log("one").splitlines()
    pods.shell("two", f"id -u; cat {folder}/file; cat {pods.world.data}/tokens.csv; grep NoNewPrivs /proc/self/status")
    pods.ended("two")
    log = pods.log("two")
    assert "NoNewPrivs:\t1" in log
    if can_switch():
        assert int(uid) >= FIRST
        assert int(log.splitlines()[0]) >= FIRST
        assert log.splitlines()[0] != uid
        assert log.count("Permission denied") == 2
        assert "secret" not in log
        assert pods.world.token not in log
    else:
        assert int(uid) == os.geteuid()


def test_a_container_over_its_memory_limit_is_killed(pods: Any, pod_state: State) -> None:
    code = "data = [bytearray(1 << 20) for _ in range(300)]; import time; time.sleep(60)"
    container = {"command": ["python3", "-c", code], "resources": {"limits": {"memory": "64Mi"}}}
    pods.run("hog", container, restartPolicy="Never")
    ending = pod_state(pods.ended("hog"))["terminated"]
    assert (ending["reason"], ending["exitCode"]) == ("OOMKilled", 137)


def test_deleting_asks_first_and_lets_the_program_finish(pods: Any) -> None:
    script = "trap 'test -e hooked && echo stopped after its hook; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    hook = {"preStop": {"exec": {"command": ["touch", "hooked"]}}}
    pods.shell("web", script, container={"lifecycle": hook})
    pods.running("web")
    with ThreadPoolExecutor() as pool:
        log = pool.submit(pods.log, "web", "follow=true")
        pods.until("web", lambda _: pods.log("web") == "up\n")
        pods.delete("web")
        pods.until_gone("web")
        assert log.result(30) == "up\nstopped after its hook\n"


def test_a_program_that_will_not_end_is_killed_after_its_grace(pods: Any, wait_until: Until) -> None:
    pod = pods.shell("deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done", terminationGracePeriodSeconds=1)
    pods.until("deaf", lambda pod: pod["status"].get("phase") == "Running")
    pods.delete("deaf")
    pods.until_gone("deaf")
    assert wait_until(lambda: marked(pod["metadata"]["uid"]), lambda left: not left) == []


def test_nothing_of_a_pod_survives_it(pods: Any, wait_until: Until) -> None:
    pod = pods.shell("web", "setsid sleep 600 & (sleep 600 &) ; echo up; exec sleep 600")
    uid = pod["metadata"]["uid"]
    wait_until(lambda: marked(uid), lambda found: len(found) >= 3)
    pods.delete("web", gracePeriodSeconds=0)
    assert wait_until(lambda: marked(uid), lambda left: not left) == []
    wait_until(lambda: not (pods.world.data / "node" / "pods" / uid).exists())


def test_a_failing_liveness_probe_restarts_the_container(pods: Any) -> None:
    probe = {"exec": {"command": ["cat", "alive"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1}
    script = "touch alive; sleep 2; rm alive; exec sleep 600"
    pods.shell("web", script, restartPolicy="Always", container={"livenessProbe": probe})
    pods.until("web", lambda pod: pod["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1)
    events = pods.events("web")
    assert "Liveness probe failed: cat: alive: No such file" in events["Unhealthy"]
    assert "will be restarted" in events["Killing"]


def test_readiness_follows_its_probe_and_startup_comes_first(pods: Any, wait_until: Until) -> None:
    container = {
        "command": ["python3", "-m", "http.server", "18231", "--bind", "$(POD_IP)"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "web", "containerPort": 18231}],
        "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 30},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 1},
    }
    pods.run("web", container)
    pod = pods.until("web", lambda pod: pod["status"].get("containerStatuses", [{}])[0].get("started"))
    assert condition(pod, "Ready")["reason"] == "ContainersNotReady"
    wait_until(lambda: pods.events("web").get("Unhealthy", ""), lambda text: "statuscode: 404" in text)
    uid = pod["metadata"]["uid"]
    spaces = Path((pods.world.data / "node" / "spaces.path").read_text())
    (spaces / uid / "containers" / "c" / "home" / "ready").write_text("yes")
    pods.until("web", lambda pod: condition(pod, "Ready").get("status") == "True")


def test_a_pod_past_its_deadline_fails(pods: Any) -> None:
    pods.shell("slow", "exec sleep 600", activeDeadlineSeconds=1)
    pod = pods.ended("slow")
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_termination_message_is_read(pods: Any, pod_state: State) -> None:
    pods.shell("job", "echo because > $TENSORFUSION_ROOT/dev/termination-log; exit 1")
    assert pod_state(pods.ended("job"))["terminated"]["message"] == "because\n"


def test_a_termination_message_is_no_way_to_the_clusters_files(pods: Any, pod_state: State) -> None:
    pods.shell("job", f"ln -s {pods.world.data}/tokens.csv $TENSORFUSION_ROOT/dev/termination-log; exit 1")
    ending = pod_state(pods.ended("job"))["terminated"]
    assert not can_switch() or pods.world.token not in ending.get("message", "")


def test_workloads_survive_a_restart_of_the_node_process(pods: Any, world: Any, pod_state: State) -> None:
    pods.shell("web", "echo $$$$; exec sleep 600")
    pods.running("web")
    pods.shell("done", "sleep 0.6; exit 5")
    pods.running("done")
    (pid,) = pods.until("web", lambda _: pods.log("web")) and pods.log("web").split()
    world.stop_node()
    try:
        assert Path(f"/proc/{pid}").exists()
    finally:
        world.start_node()
    assert pod_state(pods.ended("done"))["terminated"]["exitCode"] == 5
    pod = pods.get("web")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert Path(f"/proc/{pid}").exists()
    pods.delete("web")
    pods.until_gone("web")
    assert not Path(f"/proc/{pid}").exists()


def test_what_ended_unseen_is_said_to_be_unknown(pods: Any, world: Any, pod_state: State, wait_until: Until) -> None:
    """The shim is killed, so nobody saw the end; the kernel ends its program with it."""
    pod = pods.shell("web", "exec sleep 600")
    pods.running("web")
    uid = pod["metadata"]["uid"]
    found = json.loads((world.data / "node" / "pods" / uid / "containers" / "c" / "0" / "shim.json").read_text())
    os.kill(found["pid"], signal.SIGKILL)
    ending = pod_state(pods.ended("web"))["terminated"]
    assert (ending["reason"], ending["exitCode"]) == ("ContainerStatusUnknown", 137)
    assert wait_until(lambda: marked(uid), lambda left: not left) == []


@pytest.mark.parametrize("kind", ["subPath", "workingDir", "mount"])
def test_nothing_is_made_where_a_host_path_leads(pods: Any, tmp_path: Path, kind: str) -> None:
    """The node may be root: a pod must not have folders made outside its own."""
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path)}}, {"name": "own", "emptyDir": {}}]
    mounts = [{"name": "host", "mountPath": "/host"}]
    container: dict[str, Any] = {"volumeMounts": mounts}
    if kind == "subPath":
        mounts[0]["subPath"] = "new"
    elif kind == "workingDir":
        container["workingDir"] = "/host/new"
    else:
        mounts.append({"name": "own", "mountPath": "/host/new"})
    pods.shell("job", "true", volumes=volumes, container=container)
    pods.until("job", lambda _: "inside a hostPath" in pods.events("job").get("FailedMount", ""))
    assert list(tmp_path.iterdir()) == []


def test_a_host_path_is_a_link(pods: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path)}}]
    mounts = [{"name": "host", "mountPath": "/host"}]
    script = 'readlink "$TENSORFUSION_ROOT/host"; readlink -f "$TENSORFUSION_ROOT/host" || true'
    pods.shell("job", script, volumes=volumes, container={"volumeMounts": mounts})
    pods.ended("job")
    assert pods.log("job").splitlines()[0].endswith("/volumes/host")


def test_earlier_attempts_are_remembered_over_a_restart(pods: Any, world: Any) -> None:
    pods.shell("web", "test -e tried || { touch tried; exit 3; }; exec sleep 600", restartPolicy="Always")
    pod = pods.until(
        "web",
        lambda pod: (
            condition(pod, "Ready").get("status") == "True"
            and pod["status"]["containerStatuses"][0]["restartCount"] == 1
        ),
    )
    before = pod["status"]["containerStatuses"]
    world.stop_node()
    world.start_node()
    pods.shell("after", "true")
    pods.ended("after")
    assert pods.get("web")["status"]["containerStatuses"] == before
    assert before[0]["restartCount"] == 1
    assert before[0]["lastState"]["terminated"]["exitCode"] == 3


def test_numbers_of_users_are_not_given_out_twice_after_a_restart(pods: Any, world: Any) -> None:
    old = pods.shell("old", "exec sleep 600")
    pods.running("old")
    world.stop_node()
    new = pods.shell("new", "exec sleep 600")
    world.start_node()
    pods.running("new")
    slots = [(world.data / "node" / "pods" / pod["metadata"]["uid"] / "slot").read_text() for pod in (old, new)]
    assert slots[0] != slots[1]


def test_a_hook_after_the_start_runs_once(pods: Any, world: Any) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo hook >> hooks"]}}}
    pods.shell("web", "exec sleep 600", container={"lifecycle": hook})
    pods.until("web", lambda pod: condition(pod, "Ready").get("status") == "True")
    moved = condition(pods.get("web"), "Ready")["lastTransitionTime"]
    world.stop_node()
    world.start_node()
    pods.shell("after", "true")
    pods.ended("after")
    assert condition(pods.get("web"), "Ready") == {"type": "Ready", "status": "True", "lastTransitionTime": moved}
    spaces = Path((world.data / "node" / "spaces.path").read_text())
    hooks = spaces / pods.get("web")["metadata"]["uid"] / "containers" / "c" / "home" / "hooks"
    assert hooks.read_text() == "hook\n"


def test_what_escapes_its_mark_is_known_by_its_user(pods: Any, wait_until: Until) -> None:
    pod = pods.shell("web", "exec sleep 600")
    pods.running("web")
    uid = pod["metadata"]["uid"]
    user = pods.world.data / "node" / "pods" / uid / "user"
    assert user.exists() == can_switch()
    if can_switch():
        number = int(user.read_text())
        assert len(wait_until(lambda: marked("nobody's", number), lambda found: len(found) == 1)) == 1
        pods.delete("web", gracePeriodSeconds=0)
        assert wait_until(lambda: marked("nobody's", number), lambda left: not left) == []


def test_the_last_lines_are_the_message_if_that_is_asked_for(pods: Any, pod_state: State) -> None:
    pods.shell("job", "echo one; echo two; exit 1", container={"terminationMessagePolicy": "FallbackToLogsOnError"})
    assert pod_state(pods.ended("job"))["terminated"]["message"] == "one\ntwo\n"
