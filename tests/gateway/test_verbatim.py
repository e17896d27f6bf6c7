"""What the gateway has no form for goes on as it is, to the target of its model."""

import asyncio

import pytest
from fronts import Client, Response, answer, ask, failed, gateway, route, target

WAV = bytes(range(256)) * 300
FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    + WAV
    + b'\r\n--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--xyz--\r\n'
)


async def send(port: int, body: bytes, *, path: str, fields: bytes, method: bytes = b"POST") -> Response:
    async with Client(port) as client:
        client.writer.write(
            b"%b /v1/%b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b"
            % (method, path.encode(), fields, len(body), body)
        )
        return await client.response()


async def test_a_form_goes_on_with_the_targets_name_of_the_model() -> None:
    async with target(answer({"text": "hello"})) as one, gateway(route({"endpoint": one.url})) as found:
        kind = b"Content-Type: multipart/form-data; boundary=xyz\r\n"
        response = await send(found.port, FORM, path="audio/transcriptions", fields=kind)
        assert response.json == {"text": "hello"}
        got = one.requests[0]
        assert got.target == "/v1/audio/transcriptions"
        assert got.body == FORM.replace(b"\r\nm\r\n", b"\r\nup0\r\n")
        assert got.fields["content-type"] == "multipart/form-data; boundary=xyz"
        assert found.records[0].model == "m"
        assert found.records[0].api == "audio/transcriptions"


async def test_bytes_come_back_as_they_are() -> None:
    async with target(answer(WAV, kind=b"audio/wav")) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, {"model": "m", "input": "hi"}, path="audio/speech")
        assert (response.body, response.fields["content-type"]) == (WAV, "audio/wav")
        assert one.requests[0].json == {"model": "up0", "input": "hi"}


async def test_without_a_model_the_route_is_named() -> None:
    async with target(answer({"data": []})) as one, gateway(route({"endpoint": one.url})) as found:
        response = await send(found.port, b"", path="files?limit=2", fields=b"", method=b"GET")
        assert (response.status, response.error["param"]) == (400, "model")
        response = await send(found.port, b"", path="files?limit=2", fields=b"x-tf-route: r\r\n", method=b"GET")
        assert response.status == 200
        assert one.requests[0].target == "/v1/files?limit=2"
        response = await send(found.port, b"", path="files/f-1", fields=b"x-tf-route: r\r\n", method=b"DELETE")
        assert response.status == 200


async def test_an_error_of_the_target_is_told_and_a_sick_one_passed_over() -> None:
    async with target(failed(503)) as one, target(failed(404, "no such file"), answer(WAV)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, {"model": "m"}, path="rerank")
            assert (response.status, response.error["message"]) == (404, "no such file")
            response = await ask(found.port, {"model": "m"}, path="rerank")
            assert response.body == WAV


async def test_an_answer_that_breaks_off_is_no_end() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(WAV)[:-1000])
        await writer.drain()
        writer.close()

    async with target(half) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, {"model": "m"}, path="audio/speech")
        assert not response.whole
        assert found.records[0].status == 502
        assert found.records[0].attempts[0].outcome.startswith("reset")
        assert found.front.state.choosers["default/r"].status(asyncio.get_running_loop().time())[0].failures == 1


@pytest.mark.parametrize("kind", [b"", b"Content-Type: multipart/form-data\r\n", b"Content-Type: text/plain\r\n"])
async def test_a_body_without_a_model_is_refused(kind: bytes) -> None:
    async with target(answer({})) as one, gateway(route({"endpoint": one.url})) as found:
        response = await send(found.port, FORM, path="audio/transcriptions", fields=kind)
        assert response.status == 400
        assert one.requests == []


async def test_bytes_that_a_target_codes_although_nobody_asked_it_to_say_so() -> None:
    coded = answer(WAV, kind=b"audio/wav", fields=b"Content-Encoding: gzip\r\n")
    async with target(coded) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, {"model": "m"}, path="audio/speech")
        assert (response.body, response.fields["content-encoding"]) == (WAV, "gzip")
