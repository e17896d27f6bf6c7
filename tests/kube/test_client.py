"""The client against a server that answers, refuses, breaks off and dawdles."""

import asyncio
import json
import ssl
from pathlib import Path

import msgspec
import pytest
from kube_wire import Script, client_of, cut_off, reply, serving, status, stream

from tensorfusion.errors import (
    AlreadyExists,
    ConfigError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
)
from tensorfusion.kube.api import PatchKind
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import Connection
from tensorfusion.kube.transport import BROKEN, RETRIES, UNSENT
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPUS, NODES, PODS
from tensorfusion.testing.certificates import Authority
from tensorfusion.testing.control_plane import free_ports

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "resourceVersion": "5"}}


def retries(reason: str) -> float:
    return RETRIES.labels(reason)._value.get()


async def test_an_object_is_decoded_into_the_wanted_type() -> None:
    script = Script(reply(POD))
    async with client_of(script, token="secret") as client:
        pod = await client.get(PODS, Pod, "a", namespace="n")
        raw = await client.get(PODS, dict, "a", namespace="n")
    assert (pod.key, raw) == (Key("n", "a"), POD)
    method, path, headers, _ = script.seen[0]
    assert (method, path, headers["Authorization"]) == ("GET", "/api/v1/namespaces/n/pods/a", "Bearer secret")


async def test_names_cannot_leave_their_place_in_the_path() -> None:
    script = Script(status(404, "NotFound"))
    async with client_of(script) as client:
        with pytest.raises(NotFound):
            await client.get(PODS, dict, "../../secrets?x=", namespace="../kube-system")
    assert script.seen[0][1] == "/api/v1/namespaces/..%2Fkube-system/pods/..%2F..%2Fsecrets%3Fx%3D"


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", TooManyRequests),
        (500, "InternalError", ServerError),
    ],
)
async def test_a_status_becomes_the_error_of_its_kind(code: int, reason: str, error: type[Exception]) -> None:
    cause = {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.vram"}
    script = Script(status(code, reason, "two\nlines", name="g", group="tensor-fusion.ai", kind="gpus", causes=[cause]))
    async with client_of(script) as client:
        with pytest.raises(error) as caught:
            await client.create(GPUS, {})
    found = caught.value
    assert type(found) is error
    assert isinstance(found, ServerError | Invalid | Conflict | error)
    assert str(found) == "two lines"
    assert (found.name, found.kind, found.group) == ("g", "gpus", "tensor-fusion.ai")  # type: ignore[attr-defined]
    assert found.causes[0].field == "spec.vram"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("code", "error"), [(401, Unauthorized), (503, ServerError), (302, Exception)])
async def test_an_answer_that_is_no_status_is_an_error_of_its_code(code: int, error: type[Exception]) -> None:
    async with client_of(Script(reply("<html>\nno</html>", code))) as client:
        with pytest.raises(error, match="<html> no</html>"):
            await client.create(PODS, {}, namespace="n")


async def test_an_answer_that_is_not_the_wanted_type_is_a_server_error() -> None:
    async with client_of(Script(reply("[1]"))) as client:
        with pytest.raises(ServerError, match="is not a Pod"):
            await client.get(PODS, Pod, "a")


async def test_a_list_is_fetched_in_pages_at_one_version() -> None:
    first = {"metadata": {"resourceVersion": "9", "continue": "a/b="}, "items": [POD]}
    last = {"metadata": {"resourceVersion": "9"}, "items": [POD, POD]}
    script = Script(reply(first), reply(last))
    async with client_of(script) as client:
        listing = await client.list(PODS, Pod, labels="app in (a,b)", fields="spec.nodeName=x", page_size=1)
    assert (len(listing.items), listing.resource_version) == (3, "9")
    assert (
        script.seen[0][1] == "/api/v1/pods?labelSelector=app%20in%20%28a%2Cb%29&fieldSelector=spec.nodeName%3Dx&limit=1"
    )
    assert script.seen[1][1].endswith("&limit=1&continue=a%2Fb%3D")


async def test_a_list_whose_pages_expire_is_fetched_in_one_piece() -> None:
    first = {"metadata": {"resourceVersion": "9", "continue": "x"}, "items": [POD]}
    whole = {"metadata": {"resourceVersion": "20"}, "items": [POD, POD]}
    script = Script(reply(first), status(410, "Expired"), reply(whole))
    async with client_of(script) as client:
        listing = await client.list(PODS, Pod)
    assert (len(listing.items), listing.resource_version) == (2, "20")
    assert script.seen[2][1] == "/api/v1/pods"


async def test_an_empty_list_may_have_no_items_at_all() -> None:
    async with client_of(Script(reply({"metadata": {"resourceVersion": "1"}, "items": None}))) as client:
        assert (await client.list(PODS, Pod)).items == []


async def test_one_unreadable_object_does_not_hide_the_others_in_a_list() -> None:
    bad = {"metadata": {"name": "bad"}, "spec": "text"}
    async with client_of(Script(reply({"metadata": {"resourceVersion": "1"}, "items": [bad, POD]}))) as client:
        assert [pod.key.name for pod in (await client.list(PODS, Pod)).items] == ["a"]


async def test_patches_say_their_kind_and_subresource() -> None:
    script = Script(reply(POD))
    async with client_of(script) as client:
        await client.patch(PODS, "a", {"status": {}}, namespace="n", subresource="status")
        await client.patch(NODES, "a", [{"op": "remove", "path": "/spec"}], kind=PatchKind.JSON)
    (_, path, headers, body), (_, second, second_headers, _) = script.seen
    assert (path, headers["Content-Type"]) == ("/api/v1/namespaces/n/pods/a/status", "application/merge-patch+json")
    assert json.loads(body) == {"status": {}}
    assert (second, second_headers["Content-Type"]) == ("/api/v1/nodes/a", "application/json-patch+json")


async def test_a_struct_is_sent_by_its_wire_names() -> None:
    class Wire(msgspec.Struct):
        some_field: int = msgspec.field(name="someField")

    script = Script(reply(POD))
    async with client_of(script) as client:
        await client.replace(NODES, "a", Wire(1))
    assert (script.seen[0][0], script.seen[0][3]) == ("PUT", b'{"someField":1}')


async def test_a_large_body_arrives_whole() -> None:
    script = Script(reply({}))
    async with client_of(script) as client:
        await client.create(NODES, {"data": "x" * (2 << 20)})
    assert len(script.seen[0][3]) == (2 << 20) + len('{"data":""}')


async def test_deletion_carries_its_preconditions() -> None:
    script = Script(reply({}))
    async with client_of(script) as client:
        await client.delete(
            PODS, "a", namespace="n", uid="u", resource_version="7", grace_seconds=0, propagation="Orphan"
        )
        await client.delete(PODS, "a", namespace="n")
    assert json.loads(script.seen[0][3]) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }
    assert json.loads(script.seen[1][3]) == {"apiVersion": "v1", "kind": "DeleteOptions"}


async def test_a_binding_is_one_request_with_uid_and_annotations() -> None:
    script = Script(reply({"kind": "Status", "status": "Success"}, 201))
    async with client_of(script) as client:
        await client.bind("n", "a", uid="u", node="node-1", annotations={"k": "v"})
    ((method, path, _, body),) = script.seen
    assert (method, path) == ("POST", "/api/v1/namespaces/n/pods/a/binding")
    sent = json.loads(body)
    assert sent["metadata"] == {"name": "a", "namespace": "n", "uid": "u", "annotations": {"k": "v"}}
    assert sent["target"] == {"apiVersion": "v1", "kind": "Node", "name": "node-1"}


async def test_a_get_that_broke_off_is_sent_again() -> None:
    before = retries("broken")
    script = Script(cut_off(), reply(POD))
    async with client_of(script) as client:
        assert (await client.get(PODS, Pod, "a")).metadata.name == "a"
    assert retries("broken") >= before  # the HTTP library may have repeated it itself
    assert len(script.seen) == 2


async def test_a_get_that_keeps_breaking_off_fails_after_a_few_attempts() -> None:
    script = Script(cut_off())
    async with client_of(script) as client:
        with pytest.raises(ServerError) as caught:
            await client.get(PODS, Pod, "a", namespace="n")
    assert caught.value.status_reason == BROKEN
    assert "GET /api/v1/namespaces/n/pods/a" in str(caught.value)
    assert len(script.seen) <= 6


async def test_a_write_that_broke_off_is_not_sent_again() -> None:
    script = Script(cut_off())
    async with client_of(script) as client:
        with pytest.raises(ServerError) as caught:
            await client.create(PODS, POD, namespace="n")
    assert caught.value.status_reason == BROKEN
    assert len(script.seen) == 1


async def test_a_request_that_cannot_reach_the_server_is_tried_again_and_says_so() -> None:
    before = retries("unsent")
    (port,) = free_ports(1)
    async with Client(Connection(f"http://127.0.0.1:{port}")) as client:
        with pytest.raises(ServerError, match="cannot be reached") as caught:
            await client.create(PODS, POD, namespace="n")
    assert caught.value.status_reason == UNSENT
    assert retries("unsent") == before + 2


async def test_a_slow_answer_runs_into_the_timeout() -> None:
    async def slow(request: object) -> None:
        await asyncio.sleep(60)

    async with client_of(Script(slow), timeout=0.2) as client:  # type: ignore[arg-type]
        with pytest.raises(ServerError, match=r"no answer within 0.2 s") as caught:
            await client.create(PODS, POD, namespace="n")
    assert caught.value.status_reason == BROKEN


async def test_a_slow_body_runs_into_the_timeout() -> None:
    async def slow(request: object) -> object:
        answer = await stream(b'{"metadata":')(request)  # type: ignore[arg-type]
        await asyncio.sleep(60)
        return answer

    async with client_of(Script(slow), timeout=0.2) as client:  # type: ignore[arg-type]
        with pytest.raises(ServerError):
            await client.create(PODS, POD, namespace="n")


async def test_a_write_that_was_put_off_is_sent_again_after_the_pause() -> None:
    put_off = reply({"code": 429, "reason": "TooManyRequests"}, 429, {"Retry-After": "0"})
    script = Script(put_off, reply(POD, 201))
    async with client_of(script) as client:
        await client.create(PODS, POD, namespace="n")
    assert len(script.seen) == 2


async def test_a_long_pause_is_left_to_the_caller() -> None:
    script = Script(reply({"code": 429, "reason": "TooManyRequests"}, 429, {"Retry-After": "60"}))
    async with client_of(script) as client:
        with pytest.raises(TooManyRequests) as caught:
            await client.create(PODS, POD, namespace="n")
    assert (caught.value.retry_after, len(script.seen)) == (60, 1)


async def test_a_refused_token_is_read_again_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")

    async def refuse(request: object) -> object:
        fresh = tmp_path / "fresh"
        fresh.write_text("new")
        fresh.rename(file)
        return await status(401, "Unauthorized")(request)  # type: ignore[arg-type]

    script = Script(refuse, reply(POD))  # type: ignore[arg-type]
    async with client_of(script, token_file=file) as client:
        await client.get(PODS, Pod, "a")
    assert [headers["Authorization"] for _, _, headers, _ in script.seen] == ["Bearer old", "Bearer new"]
    script = Script(status(401, "Unauthorized"))
    async with client_of(script, token_file=file) as client:
        with pytest.raises(Unauthorized):
            await client.get(PODS, Pod, "a")
    assert len(script.seen) == 1


async def test_a_unix_socket_is_spoken_to_without_tls(tmp_path: Path) -> None:
    async with (
        serving(Script(reply(POD)), path=str(tmp_path / "api.sock")) as address,
        Client(Connection(address)) as client,
    ):
        assert (await client.get(PODS, Pod, "a")).metadata.name == "a"


async def test_tls_shows_a_client_certificate_and_checks_the_server(tmp_path: Path) -> None:
    authority, stranger = Authority("ours"), Authority("theirs")
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(*authority.issue_files(tmp_path, name="server", hosts=["127.0.0.1"]))
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue(name="joe", client=True)
    async with serving(Script(reply(POD)), tls=context) as address:
        trusted = Connection(address, ca_data=authority.certificate_pem, client_cert=certificate, client_key=key)
        async with Client(trusted) as client:
            assert (await client.get(PODS, Pod, "a")).metadata.name == "a"
        without = Connection(address, ca_data=authority.certificate_pem)
        async with Client(without) as client:
            with pytest.raises(ServerError):
                await client.create(PODS, POD, namespace="n")
        wrong = Connection(address, ca_data=stranger.certificate_pem, client_cert=certificate, client_key=key)
        async with Client(wrong) as client:
            with pytest.raises(ServerError, match="certificate"):
                await client.create(PODS, POD, namespace="n")


async def test_sixty_four_requests_at_most_are_under_way() -> None:
    active = most = 0
    full, go_on = asyncio.Event(), asyncio.Event()

    async def count(request: object) -> object:
        nonlocal active, most
        active += 1
        most = max(most, active)
        if active == 64:
            full.set()
        await go_on.wait()
        active -= 1
        return await reply(POD)(request)  # type: ignore[arg-type]

    async with client_of(Script(count)) as client, asyncio.TaskGroup() as group:  # type: ignore[arg-type]
        for _ in range(150):
            group.create_task(client.get(PODS, Pod, "a"))
        async with asyncio.timeout(20):
            await full.wait()
        for _ in range(100):
            await asyncio.sleep(0)  # the 65th would come now
        go_on.set()
    assert most == 64


async def test_a_client_outside_its_context_says_so() -> None:
    with pytest.raises(RuntimeError, match="context"):
        await Client(Connection("http://127.0.0.1:1")).get(PODS, Pod, "a")


async def test_a_missing_token_file_stops_the_first_request(tmp_path: Path) -> None:
    async with client_of(Script(reply(POD)), token_file=tmp_path / "none") as client:
        with pytest.raises(ConfigError):
            await client.get(PODS, Pod, "a")
