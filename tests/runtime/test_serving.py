"""Listeners and the admission route, over real loopback connections."""

import asyncio
import base64
import io
import json
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.runtime.admission import AdmissionApp, AdmissionRequest, AdmissionResponse
from tensorfusion.runtime.serving import Listener
from tensorfusion.testing.certificates import Authority


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


HELLO = Starlette(routes=[Route("/", hello)])


async def test_a_port_chosen_by_the_system_is_reported_and_closed_on_stop() -> None:
    listener = Listener(HELLO)
    port = await listener.start()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/") as answer:
            assert await answer.text() == "hello"
            assert "server" not in {name.lower() for name in answer.headers}
        await listener.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/")


async def test_a_port_in_use_is_refused_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listener = Listener(HELLO, port=port)
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1: cannot be used: .*: choose another"):
            await listener.start()
        await listener.stop()


async def test_a_unix_socket_replaces_an_old_one_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.touch()
    listener = Listener(HELLO, uds=path)
    assert await listener.start() == 0
    assert path.stat().st_mode & 0o777 == 0o600
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://localhost/") as answer:
        assert await answer.text() == "hello"
    await listener.stop()


async def test_a_socket_path_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        await Listener(HELLO, uds=tmp_path / ("x" * 200)).start()


async def test_tls_and_a_renewed_certificate(tmp_path: Path) -> None:
    authority, later = Authority("first"), Authority("second")
    files = authority.issue_files(tmp_path, name="server", hosts=["127.0.0.1"])
    listener = Listener(HELLO, tls=files)
    port = await listener.start()

    async def ask(trust: Authority) -> str:
        context = ssl.create_default_context(cadata=trust.certificate_pem.decode())
        connector = aiohttp.TCPConnector(ssl=context)
        url = f"https://127.0.0.1:{port}/"
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
            return await answer.text()

    assert await ask(authority) == "hello"
    later.issue_files(tmp_path, name="server", hosts=["127.0.0.1"])
    listener.reload_certificate()
    assert await ask(later) == "hello"
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await ask(authority)
    await listener.stop()


async def test_a_certificate_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nonsense")
    with pytest.raises(ConfigError, match="cannot be used"):
        await Listener(HELLO, tls=(tmp_path / "a", tmp_path / "a")).start()


REVIEW: dict[str, Any] = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "r-1",
        "operation": "CREATE",
        "name": "a",
        "namespace": "n",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "subResource": "binding",
        "userInfo": {"username": "joe", "groups": ["dev"]},
        "object": {"metadata": {"name": "a"}},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions"},
    },
}


class Webhook:
    """One admission route on a real listener."""

    def __init__(self, answer: AdmissionResponse | Exception) -> None:
        self.answer = answer
        self.asked: list[AdmissionRequest] = []

    async def handle(self, request: AdmissionRequest) -> AdmissionResponse:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def post(self, body: bytes | str | dict[str, Any]) -> tuple[int, str]:
        listener = Listener(AdmissionApp({"/mutate": self.handle}))
        port = await listener.start()
        text = json.dumps(body) if isinstance(body, dict) else body
        data = io.BytesIO(text.encode() if isinstance(text, str) else text)
        try:
            url = f"http://127.0.0.1:{port}/mutate"
            async with aiohttp.ClientSession() as session, session.post(url, data=data) as answer:
                return answer.status, await answer.text()
        finally:
            await listener.stop()


async def test_a_review_is_decoded_and_its_patch_encoded() -> None:
    patch = [{"op": "add", "path": "/metadata/labels", "value": {}}]
    webhook = Webhook(AdmissionResponse(allowed=True, patch=patch, warnings=["careful"]))
    status, text = await webhook.post(REVIEW)
    (asked,) = webhook.asked
    assert (asked.uid, asked.user.username, asked.user.groups, asked.sub_resource) == (
        "r-1",
        "joe",
        ("dev",),
        "binding",
    )
    assert (asked.object, asked.old_object, asked.dry_run) == ({"metadata": {"name": "a"}}, None, False)
    response = json.loads(text)["response"]
    assert (status, response["uid"], response["allowed"], response["patchType"]) == (200, "r-1", True, "JSONPatch")
    assert json.loads(base64.b64decode(response["patch"])) == patch
    assert response["warnings"] == ["careful"]


async def test_a_denial_carries_its_code_and_line() -> None:
    _, text = await Webhook(AdmissionResponse(allowed=False, code=400, message="no such pool")).post(REVIEW)
    assert json.loads(text)["response"] == {
        "uid": "r-1",
        "allowed": False,
        "status": {"code": 400, "message": "no such pool"},
    }


async def test_a_mistake_of_the_users_denies_with_its_line() -> None:
    _, text = await Webhook(InvalidRequest("vram: wanted 1Gi, found x")).post(REVIEW)
    assert json.loads(text)["response"]["status"] == {"code": 400, "message": "vram: wanted 1Gi, found x"}


async def test_a_surprise_denies_with_500_and_keeps_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status, text = await Webhook(ZeroDivisionError("secret detail")).post(REVIEW)
    response = json.loads(text)["response"]
    assert (status, response["allowed"], response["status"]["code"]) == (200, False, 500)
    assert "secret detail" not in text and "Traceback" not in text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"request": 5}',
        '{"request": {"uid": 5, "operation": "CREATE"}}',
        b"\xff\xfe",
        "[" * 100_000,
        json.dumps({**REVIEW, "apiVersion": "admission.k8s.io/v1beta1"}),
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_what_is_no_review_is_refused_in_one_line(body: bytes | str) -> None:
    status, text = await Webhook(AdmissionResponse(allowed=True)).post(body)
    assert status == 400
    assert "\n" not in text
    assert "AdmissionReview" in text or "apiVersion" in text


async def test_a_body_beyond_the_limit_is_refused() -> None:
    status, _ = await Webhook(AdmissionResponse(allowed=True)).post(b"x" * (9 << 20))
    assert status == 413


async def test_a_sender_that_goes_away_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook(AdmissionResponse(allowed=True))
    listener = Listener(AdmissionApp({"/mutate": webhook.handle}))
    port = await listener.start()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await listener.stop()
    assert webhook.asked == []
    assert caplog.text == ""


async def test_other_paths_and_methods_are_told_that_there_is_nothing_for_them() -> None:
    listener = Listener(AdmissionApp({"/mutate": Webhook(AdmissionResponse(allowed=True)).handle}))
    port = await listener.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/mutate") as answer:
                assert (answer.status, answer.headers["allow"]) == (405, "POST")
            async with session.post("/other", json=REVIEW) as answer:
                assert answer.status == 404
    finally:
        await listener.stop()
