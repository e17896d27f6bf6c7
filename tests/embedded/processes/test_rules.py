"""The pure parts: images, references, back-off, users, logs, the status of a pod."""

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.processes.fields import expand, field_value, resource_value
from tensorfusion.embedded.processes.images import Images, bare_name, find_program
from tensorfusion.embedded.processes.listening import addresses_of
from tensorfusion.embedded.processes.logs import LogOptions, read_log
from tensorfusion.embedded.processes.machine import node_name, own_name
from tensorfusion.embedded.processes.podstatus import Facts, pod_status
from tensorfusion.embedded.processes.restarts import BackOff, Timing, starts_again
from tensorfusion.embedded.processes.users import Users
from tensorfusion.embedded.processes.waiting import Waiting
from tensorfusion.errors import ConfigError
from tensorfusion.model.keys import RUN, RUN_PROCESS
from tensorfusion.model.resources import NODES
from tensorfusion.testing.node_world import NodeWorld

NOW = "2026-01-01T00:00:00Z"


# --- images ---


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("python:3.12", "python"),
        ("docker.io/library/busybox@sha256:abc", "busybox"),
        ("local/a/b:1", "local/a/b"),
        ("localhost:5000/x:1", "localhost:5000/x"),
    ],
)
def test_tags_and_the_ordinary_registry_do_not_count(image: str, wanted: str) -> None:
    assert bare_name(image) == wanted


def test_the_table_has_few_meanings_and_a_file_adds_to_it(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    images = Images(file)
    assert images.meaning("busybox:1.36").args == ("sh",)
    assert images.meaning("local/anything").args == ()
    with pytest.raises(Waiting, match="nginx:1") as caught:
        images.meaning("nginx:1")
    assert caught.value.reason == "ErrImagePull"
    file.write_text(
        "images:\n  nginx: {program: /usr/sbin/nginx, args: ['-g', 'daemon off;']}\n  'reg.example/*': {venv: /v}\n"
    )
    found = images.meaning("nginx:1")
    assert (found.entrypoint, found.args) == (("/usr/sbin/nginx",), ("-g", "daemon off;"))
    assert images.meaning("reg.example/team/app:2").path == ("/v/bin",)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- a", "one key `images`"),
        ("images: {x: {prgram: /bin/x}}", "wanted an object with some of"),
        ("images: {x: {program: 5}}", "program: wanted a path"),
        ("images: {x: {path: /bin}}", "path: wanted a list"),
        ("images: {x: {env: {A: 1}}}", "quote numbers"),
        ("images: [", "cannot be read"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "images.yaml").write_text(text)
    with pytest.raises(Waiting, match=word):
        Images(tmp_path / "images.yaml").meaning("x")


def test_programs_are_found_as_their_user_could_run_them(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tool"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    assert find_program("tool", str(program.parent), cwd="/", uid=None) is None
    program.chmod(0o755)
    assert find_program("tool", f"/nowhere:{program.parent}", cwd="/", uid=None) == str(program)
    assert find_program("./tool", "", cwd=str(program.parent), uid=None) is not None
    program.parent.chmod(0o700)
    assert find_program("tool", str(program.parent), cwd="/", uid=70_000) is None
    assert find_program("sh", "/usr/bin:/bin", cwd="/", uid=70_000) is not None


# --- references ---


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_are_expanded(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1"}) == wanted


@given(st.text(alphabet="$()AB x", max_size=30))
def test_what_holds_no_dollar_twice_or_bracket_stays(text: str) -> None:
    if "$$" not in text and "$(" not in text:
        assert expand(text, {"A": "1"}) == text


def test_fields_and_resources_of_a_pod() -> None:
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "labels": {"b": '2"', "a": "1"}},
        "spec": {
            "containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1500m"}}}]
        },
    }
    assert field_value(pod, "metadata.labels", node={}) == 'a="1"\nb="2\\""'
    with pytest.raises(Waiting, match=r"fieldRef spec\.nope"):
        field_value(pod, "spec.nope", node={})
    ask = {"container": "c", "allocatable": {"cpu": "4"}}
    assert resource_value(pod, {"resource": "limits.memory", "divisor": "1Mi"}, **ask) == "1024"
    assert resource_value(pod, {"resource": "requests.cpu"}, **ask) == "2"
    assert resource_value(pod, {"resource": "limits.cpu"}, **ask) == "4"


# --- restarts ---


def test_the_pauses_double_up_to_their_longest_and_are_forgotten() -> None:
    back_off = BackOff(Timing())
    assert [back_off.next() for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.next(ran_for=601) == 0


def test_policies() -> None:
    assert starts_again("Always", exit_code=0)
    assert starts_again("OnFailure", exit_code=1)
    assert not starts_again("OnFailure", exit_code=0)
    assert not starts_again("Never", exit_code=1)


# --- users ---


def test_slots_are_kept_and_given_out_once(tmp_path: Path) -> None:
    users = Users(own=True)
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    found = [users.of(folder) for folder in folders]
    assert len({user.uid for user in found}) == len({user.address for user in found}) == 3
    assert Users(own=True).of(folders[2]) == found[2]
    assert Users(own=False).of(folders[0]).uid is None


def test_the_nodes_name_is_one_that_a_node_may_have() -> None:
    name = node_name()
    assert name == name.lower()
    assert 0 < len(name) <= 63


async def test_the_node_takes_no_name_that_is_somebody_elses() -> None:
    world = NodeWorld()
    assert await own_name(world.client) == node_name()
    world.api.seed(NODES, {"metadata": {"name": node_name(), "labels": {RUN: RUN_PROCESS}}})
    assert await own_name(world.client) == node_name()
    await world.change(NODES, node_name(), {"metadata": {"labels": {RUN: None}}})
    assert await own_name(world.client) == "local"
    world.api.seed(NODES, {"metadata": {"name": "local"}})
    with pytest.raises(ConfigError, match="rename them in the fleet file"):
        await own_name(world.client)


# --- logs ---


async def read(path: Path, **options: Any) -> str:
    return b"".join([chunk async for chunk in read_log(path, LogOptions(**options), running=lambda: False)]).decode()


async def test_parts_of_a_line_count_as_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    rows = ("1Z stdout F a", "2Z stdout P b", "3Z stdout F c", "4Z stderr F d")
    path.write_text("".join(f"{row}\n" for row in rows))
    assert await read(path) == "a\nbc\nd\n"
    assert await read(path, tail=2) == "bc\nd\n"
    assert await read(path, timestamps=True) == "1Z a\n2Z bc\n4Z d\n"
    assert await read(path, since="3Z") == "c\nd\n"
    assert await read(path, limit=3) == "a\nb"


async def test_rotated_files_are_read_in_order(tmp_path: Path) -> None:
    for name, text in (("log.2", "1Z stdout F a\n"), ("log.1", "2Z stdout F b\n"), ("log", "3Z stdout F c\n")):
        (tmp_path / name).write_text(text)
    assert await read(tmp_path / "log") == "a\nb\nc\n"
    assert await read(tmp_path / "nothing") == ""


# --- status ---


class Seen:
    def __init__(self, **state: Any) -> None:
        self.spec = {"image": "busybox"}
        self.name = "c"
        self.state: dict[str, Any] = state
        self.last_state: dict[str, Any] = {}
        self.ready = "running" in state
        self.started = self.ready
        self.restarts = 0
        self.container_id = ""


def facts(**changed: Any) -> Facts:
    return Facts(
        **{
            "address": "127.77.0.1",
            "host": "127.0.0.1",
            "started_at": NOW,
            "prepared": True,
            "initialized": True,
            **changed,
        }
    )


def conditions(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["type"]: entry for entry in status["conditions"]}


def test_transition_times_move_only_with_their_condition() -> None:
    pod: dict[str, Any] = {"spec": {}}
    first = pod_status(pod, {}, [], [Seen(running={})], facts(), NOW)
    later = pod_status(pod, first, [], [Seen(waiting={"reason": "CrashLoopBackOff"})], facts(), "2026-01-01T00:01:00Z")
    assert conditions(later)["Ready"]["lastTransitionTime"] == "2026-01-01T00:01:00Z"
    assert conditions(later)["Initialized"]["lastTransitionTime"] == NOW
    assert conditions(later)["Ready"]["message"] == "containers with unready status: [c]"


def test_gates_and_conditions_of_others_count() -> None:
    pod: dict[str, Any] = {"spec": {"readinessGates": [{"conditionType": "example.com/ok"}]}}
    status = pod_status(pod, {}, [], [Seen(running={})], facts(), NOW)
    assert conditions(status)["Ready"]["reason"] == "ReadinessGatesNotReady"
    assert conditions(status)["ContainersReady"]["status"] == "True"
    before = {"conditions": [{"type": "example.com/ok", "status": "True"}]}
    status = pod_status(pod, before, [], [Seen(running={})], facts(), NOW)
    assert conditions(status)["Ready"]["status"] == "True"
    assert conditions(status)["example.com/ok"] == {"type": "example.com/ok", "status": "True"}


def test_a_pod_waits_until_something_of_it_has_begun() -> None:
    pod: dict[str, Any] = {"spec": {}}
    waiting = Seen(waiting={"reason": "ImagePullBackOff"})
    assert pod_status(pod, {}, [], [waiting], facts(), NOW)["phase"] == "Pending"
    waiting.last_state = {"terminated": {"exitCode": 1}}
    assert pod_status(pod, {}, [], [waiting], facts(), NOW)["phase"] == "Running"
    assert pod_status(pod, {}, [], [waiting], facts(ended="Failed"), NOW)["phase"] == "Failed"


async def test_the_end_is_read_from_as_many_files_as_it_takes(tmp_path: Path) -> None:
    for name, rows in (("log.2", ("1Z stdout F a", "1Z stdout F b")), ("log.1", ("2Z stdout F c",)), ("log", ())):
        (tmp_path / name).write_text("".join(f"{row}\n" for row in rows))
    assert await read(tmp_path / "log", tail=1) == "c\n"
    assert await read(tmp_path / "log", tail=2) == "b\nc\n"
    assert await read(tmp_path / "log", tail=9) == "a\nb\nc\n"


# --- listening ---


def test_listeners_are_found_by_who_holds_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("0.0.0.0", 0)) as every:
        ports = [listener.getsockname()[1] for listener in (one, every)]
        assert addresses_of([os.getpid()], ports[0], own="127.77.0.9") == ["127.0.0.1"]
        assert addresses_of([os.getpid()], ports[1], own="127.77.0.9") == ["127.77.0.9"]
        assert addresses_of([1], ports[0], own="127.77.0.9") == []
    assert addresses_of([os.getpid()], ports[0], own="127.77.0.9") == []
    if socket.has_ipv6:
        with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
            assert addresses_of([os.getpid()], six.getsockname()[1], own="127.77.0.9") == ["::1"]
