"""Targets and clients over TLS: what is cut in between is no end, and a handshake that hangs leaves nothing behind."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fronts import DONE, ROLE, STOP, Client, ask, chat, gateway, route, stall, streamed, target, until, word

from tensorfusion.testing.certificates import Authority

UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Trusted by everybody here."""
    found = Authority("gateway")
    (tmp_path / "ca.pem").write_bytes(found.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return found


def context_of(authority: Authority, folder: Path, *, host: str = "127.0.0.1") -> ssl.SSLContext:
    certificate, key = authority.issue(name="server", hosts=(host,))
    (folder / "pair.pem").write_bytes(certificate + b"\n" + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "pair.pem")
    return context


@contextlib.asynccontextmanager
async def cut_without_farewell(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Answers a word over TLS, and then whoever is in between ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(UNTIL_CLOSE + ROLE + word("one "))
        await writer.drain()
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as link:
            link.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def test_a_stream_that_is_cut_without_a_farewell_has_not_ended(authority: Authority, tmp_path: Path) -> None:
    whole = streamed(ROLE, word("one "), word("two"), STOP, DONE)
    async with cut_without_farewell(context_of(authority, tmp_path)) as one, target(whole) as two:
        async with gateway(route({"endpoint": one})) as found:
            response = await ask(found.port, chat(stream=True))
            assert b'"error"' in response.body
            assert b"[DONE]" not in response.body
        async with gateway(route({"endpoint": one}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.body.startswith(ROLE + word("one "))
            assert response.body.count(b"one ") == response.body.count(b"two") == 1
            assert response.body.endswith(STOP + DONE)


async def test_a_target_with_the_certificate_of_another_is_not_asked(authority: Authority, tmp_path: Path) -> None:
    async with (
        cut_without_farewell(context_of(authority, tmp_path, host="10.0.0.1")) as one,
        gateway(route({"endpoint": one})) as found,
    ):
        response = await ask(found.port, chat())
        assert response.status == 502
        assert "certificate is not valid for '127.0.0.1'" in str(response.error["message"])


async def test_clients_that_leave_while_a_handshake_hangs_leave_nothing(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with gateway(route({"endpoint": f"https://127.0.0.1:{mute.getsockname()[1]}/v1"})) as found:
            (replica,) = found.front.state.upstreams.replicas
            for number in range(3):
                async with Client(found.port) as client:
                    client.send(chat())
                    await until(lambda: replica.pool.connections == 1)
                await until(lambda wanted=number: len(found.records) > wanted)
                await until(lambda: replica.pool.connections == 0)


async def test_a_client_over_tls_is_told_that_the_gateway_ends(authority: Authority, tmp_path: Path) -> None:
    async with target(stall(ROLE, word("a"))) as one, gateway(route({"endpoint": one.url})) as found:
        port = await found.server.listen(tls=context_of(authority, tmp_path))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
        body = b'{"model": "m", "messages": [], "stream": true}'
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await reader.readuntil(ROLE)
        ending = asyncio.ensure_future(found.server.drain(0.05, idle_grace=0.0))
        rest = await reader.read()
        writer.transport.abort()
        await ending
        assert b"gateway_ending" in rest
        assert rest.endswith(b"0\r\n\r\n")
