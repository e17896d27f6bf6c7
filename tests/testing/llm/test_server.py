"""The rest of the simulated server: pace, queue, what it has seen, its metrics, reranking, and being a program."""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tensorfusion.errors import ConfigError
from tensorfusion.testing.certificates import Authority
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.llm import LlmServer, Rule, Settings
from tensorfusion.testing.llm.pace import Pace

MODEL = "sim-small"
HI = [{"role": "user", "content": "hi"}]
PATIENCE = 20


@contextlib.asynccontextmanager
async def asking(server: LlmServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as client:
        yield client


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.001)


async def metrics(server: LlmServer) -> dict[str, float]:
    async with aiohttp.ClientSession() as web, web.get(f"{server.url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


async def test_tokens_come_at_their_times(clock) -> None:
    settings = Settings(ttft=0.5, tpot=0.25, answer_tokens=5)
    async with LlmServer(settings, clock=clock) as server, asking(server) as client:
        await client.chat.completions.create(model=MODEL, messages=HI)
        assert clock.slept == [0.5, 1.0]
        clock.slept.clear()
        async for _ in await client.chat.completions.create(model=MODEL, messages=HI, stream=True):
            pass
        assert clock.slept == [0.5, 0.25, 0.25, 0.25, 0.25]
        clock.slept.clear()
        async for _ in await client.chat.completions.create(model=MODEL, messages=HI, stream=True, n=2):
            pass
        assert clock.slept == [0.5, 0.25, 0.25, 0.25, 0.25]
        *_, seen = server.seen
        assert seen.ended_at - seen.first_at == 1.0


async def streamed(server: LlmServer, path: str, tokens: int) -> list[bytes]:
    """The lines of an answer: its head, sizes of chunks and events; without its name, and when it was."""
    asked = {"model": MODEL, "messages": HI, "stream": True, "max_tokens": tokens}
    asked |= {"prompt": "hi", "input": "hi", "max_output_tokens": tokens}
    body = json.dumps(asked).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    writer.write(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    async with asyncio.timeout(PATIENCE):
        found = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    (name,) = re.findall(rb"(?i)request-id: req_(\w+)", found)
    return [line for line in found.replace(name, b"NAME").split(b"\r\n") if not line.startswith(b"Date: ")]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
async def test_a_stream_without_pauses_has_the_bytes_of_one_with_pauses(clock, path: str) -> None:
    at_once = LlmServer(Settings(answer_tokens=1000), clock=clock)
    paced = LlmServer(Settings(answer_tokens=1000, tpot=0.0001), clock=type(clock)())
    async with at_once, paced:
        for tokens in (1, 256, 257):
            lines = await streamed(at_once, path, tokens)
            assert lines == await streamed(paced, path, tokens)
            assert sum(b"data: " in line for line in lines) > tokens
            for seen in (at_once.seen[-1], paced.seen[-1]):
                assert (seen.tokens, seen.status, seen.end) == (tokens, 200, "whole")
                assert seen.first_at == seen.at
        assert clock.slept == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("tpot", [0.0, 0.0001])
async def test_events_tell_when_they_were_sent_where_that_is_wanted(path: str, tpot: float) -> None:
    async with LlmServer(Settings(tpot=tpot, stamps=True)) as server:
        before = time.perf_counter_ns()
        lines = await streamed(server, path, 20)
        after = time.perf_counter_ns()
    told = [line.partition(b"data: ")[2] for line in lines if b"data: {" in line]
    stamps = [json.loads(data)["sent_ns"] for data in told]
    assert len(stamps) > 20
    assert [before, *stamps, after] == sorted({before, *stamps, after})


async def test_who_finds_no_place_waits_for_the_first_that_leaves(clock) -> None:
    settings = Settings(ttft=1.0, concurrency=2)
    clock.gate.clear()
    async with LlmServer(settings, clock=clock) as server, asking(server) as client, asyncio.TaskGroup() as group:
        first = group.create_task(client.completions.create(model=MODEL, prompt="one"))
        await until(lambda: server.engine.running == 1)
        second = group.create_task(client.completions.create(model=MODEL, prompt="two"))
        await until(lambda: server.engine.running == 2)
        third = group.create_task(client.completions.create(model=MODEL, prompt="three"))
        await until(lambda: server.engine.waiting == 1)
        told = await metrics(server)
        labels = f'{{engine="0",model_name="{MODEL}"}}'
        assert told[f"vllm:num_requests_running{labels}"] == 2
        assert told[f"vllm:num_requests_waiting{labels}"] == 1
        assert told[f"vllm:kv_cache_usage_perc{labels}"] == pytest.approx(34 / (1 << 20))
        clock.gate.set()
        assert all([await first, await second, await third])
        assert (server.engine.running, server.engine.waiting, server.engine.kv_used) == (0, 0, 0)


async def test_tokens_of_all_requests_are_bounded_too(clock) -> None:
    settings = Settings(ttft=1.0, kv_tokens=40, context_length=40)
    clock.gate.clear()
    async with LlmServer(settings, clock=clock) as server, asking(server) as client, asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(client.completions.create(model=MODEL, prompt=f"{number}"))  # 17 tokens each
        await until(lambda: (server.engine.running, server.engine.waiting) == (2, 1))
        clock.gate.set()


async def test_several_answers_that_need_more_tokens_than_there_are_run_alone() -> None:
    async with (
        LlmServer(Settings(kv_tokens=40, context_length=40, answer_tokens=20)) as server,
        asking(server) as client,
        asyncio.timeout(PATIENCE),
    ):
        answers = await asyncio.gather(
            *(client.chat.completions.create(model=MODEL, messages=HI, n=5) for _ in range(3))
        )
        assert [answer.usage.completion_tokens for answer in answers] == [100] * 3
        assert (server.engine.running, server.engine.kv_used) == (0, 0)


@pytest.mark.parametrize(("seconds", "tokens"), [(0.9, 0), (1.0, 1), (1.9, 1), (2.0, 2), (9.0, 9), (11.5, 10)])
async def test_who_leaves_before_its_whole_answer_is_worth_the_tokens_up_to_then(seconds: float, tokens: int) -> None:
    clock = VirtualClock()
    pace = Pace(clock, Settings(ttft=1.0, tpot=1.0))
    saying = asyncio.ensure_future(pace.all(10, 10))
    await clock.advance(seconds)
    if not saying.done():
        saying.cancel()
    await asyncio.wait([saying])
    assert pace.tokens == tokens


async def test_a_client_that_leaves_is_seen_to_leave(clock) -> None:
    settings = Settings(tpot=1.0, concurrency=1, answer_tokens=50)
    async with LlmServer(settings, clock=clock) as server, asking(server) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        await anext(stream)
        clock.gate.clear()
        await until(lambda: server.engine.running == 1)
        waiting = asyncio.ensure_future(client.chat.completions.create(model=MODEL, messages=HI))
        await until(lambda: server.engine.waiting == 1)
        waiting.cancel()
        await until(lambda: server.engine.waiting == 0)
        await stream.close()
        await until(lambda: server.engine.running == 0)
        streamed, waited = server.seen
        assert (streamed.left, waited.left) == (True, True)
        assert (waited.tokens, waited.status) == (0, 0)
        assert 0 < streamed.tokens < 50
        assert streamed.ended_at >= streamed.first_at
        told = await metrics(server)
        labels = f'engine="0",model_name="{MODEL}"'
        assert told[f"vllm:generation_tokens_total{{{labels}}}"] == streamed.tokens
        assert told[f"vllm:prompt_tokens_total{{{labels}}}"] == 2
        assert told[f'vllm:request_success_total{{finished_reason="abort",{labels}}}'] == 2


async def test_what_is_counted(clock) -> None:
    async with LlmServer(Settings(ttft=0.3, answer_tokens=10), clock=clock) as server, asking(server) as client:
        before = await metrics(server)
        assert all(value == 0 for value in before.values())
        await client.chat.completions.create(model=MODEL, messages=HI)
        await client.chat.completions.create(model=MODEL, messages=HI, max_tokens=4)
        await client.embeddings.create(model=MODEL, input="a b c")
        told = await metrics(server)
    labels = f'engine="0",model_name="{MODEL}"'
    assert told[f"vllm:prompt_tokens_total{{{labels}}}"] == 2 + 2 + 3
    assert told[f"vllm:generation_tokens_total{{{labels}}}"] == 14
    assert told[f'vllm:request_success_total{{finished_reason="length",{labels}}}'] == 1
    assert told[f'vllm:time_to_first_token_seconds_bucket{{le="0.25",{labels}}}'] == 0
    assert told[f'vllm:time_to_first_token_seconds_bucket{{le="0.5",{labels}}}'] == 2
    assert told[f'vllm:time_to_first_token_seconds_bucket{{le="+Inf",{labels}}}'] == 2
    assert told[f"vllm:time_to_first_token_seconds_sum{{{labels}}}"] == pytest.approx(0.6)
    assert told[f"vllm:e2e_request_latency_seconds_count{{{labels}}}"] == 2


async def test_adapters_are_models_of_their_own_that_run_on_the_first(clock) -> None:
    settings = Settings(models={"base": "base"}, adapters=("poet", "lawyer"), ttft=1.0, concurrency=1)
    clock.gate.clear()
    async with LlmServer(settings, clock=clock) as server, asking(server) as client, asyncio.TaskGroup() as group:
        listed = (await client.models.list()).data
        assert [(model.id, model.parent) for model in listed] == [("base", None), ("poet", "base"), ("lawyer", "base")]
        poet = group.create_task(client.chat.completions.create(model="poet", messages=HI))
        await until(lambda: server.engine.running == 1)
        lawyer = group.create_task(client.chat.completions.create(model="lawyer", messages=HI))
        await until(lambda: server.engine.waiting == 1)
        (line,) = [line for line in await metrics(server) if line.startswith("vllm:lora_requests_info")]
        assert 'running_lora_adapters="poet"' in line
        assert 'waiting_lora_adapters="lawyer"' in line
        assert 'max_lora="2"' in line
        clock.gate.set()
        assert (await poet).choices[0].message.content != (await lawyer).choices[0].message.content


async def test_those_that_met_a_fault_are_told_of_alone() -> None:
    async with LlmServer(rules=[Rule("error", nth=[2])]) as server, asking(server) as client:
        for _ in range(3):
            with contextlib.suppress(openai.InternalServerError):
                await client.completions.create(model=MODEL, prompt="x")
        web = client.with_options(base_url=server.url)
        for query, wanted in (
            ("faults=1", [2]),
            ("since=1&faults=1", [2]),
            ("since=2&faults=1", []),
            ("since=1", [2, 3]),
        ):
            told = await web.get(f"/testserver/seen?{query}", cast_to=object)
            assert [seen["number"] for seen in told["seen"]] == wanted


async def test_what_was_asked_is_told_without_the_key() -> None:
    async with LlmServer() as server, asking(server) as client:
        await client.chat.completions.create(model=MODEL, messages=HI, extra_headers={"X-Trace": "7"})
        await client.completions.create(model=MODEL, prompt="x")
        web = client.with_options(base_url=server.url)
        told = await web.get("/testserver/seen", cast_to=object)
        first, second = told["seen"]
        assert (first["path"], first["model"], first["status"], first["end"]) == (
            "/v1/chat/completions",
            MODEL,
            200,
            "whole",
        )
        assert first["headers"]["x-trace"] == "7"
        assert "authorization" not in first["headers"]
        assert "secret" not in json.dumps(told)
        assert re.fullmatch("[0-9a-f]{64}", first["body_sha256"])
        assert first["body_sha256"] != second["body_sha256"]
        later = await web.get("/testserver/seen?since=1", cast_to=object)
        assert [seen["number"] for seen in later["seen"]] == [2]
        await web.delete("/testserver/seen", cast_to=object)
        assert server.seen == []
        assert (await web.get("/testserver/state", cast_to=object))["running"] == 0
        with pytest.raises(openai.BadRequestError, match="since is 'x'"):
            await web.get("/testserver/seen?since=x", cast_to=object)
        with pytest.raises(openai.NotFoundError):
            await web.get("/testserver/other", cast_to=object)
        with pytest.raises(openai.NotFoundError):
            await web.get("/other", cast_to=object)
        with pytest.raises(openai.APIStatusError, match="POST only"):
            await web.get("/v1/completions", cast_to=object)


async def test_only_the_latest_are_remembered() -> None:
    for most, numbers in ((2, [2, 3]), (0, [])):
        async with LlmServer(Settings(seen=most)) as server, asking(server) as client:
            for _ in range(3):
                await client.completions.create(model=MODEL, prompt="x")
            assert [seen.number for seen in server.seen] == numbers


async def test_the_same_request_again_is_answered_the_same_and_has_a_name_of_its_own() -> None:
    async with LlmServer() as server, asking(server) as client:
        answers = [await client.completions.create(model=MODEL, prompt=f"{number % 300}") for number in range(602)]
        assert len({answer.id for answer in answers}) == 602
        assert [answer.choices[0].text for answer in answers[:302]] == [
            answer.choices[0].text for answer in answers[300:]
        ]
        assert len(server.known) == 256


async def test_it_comes_back_at_the_port_where_it_was() -> None:
    async with LlmServer() as server, asking(server) as client:
        first = await client.completions.create(model=MODEL, prompt="x")
    with pytest.raises(openai.APIConnectionError):
        async with asking(server) as client:
            await client.completions.create(model=MODEL, prompt="x")
    async with LlmServer(port=server.port) as again, asking(again) as client:
        assert again.url == server.url
        assert (await client.completions.create(model=MODEL, prompt="x")).choices == first.choices


async def test_it_serves_over_tls(tmp_path: Path) -> None:
    authority = Authority("models")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue_files(tmp_path, name="server", hosts=["127.0.0.1"]))
    trust = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    async with (
        LlmServer(tls=context) as server,
        aiohttp.ClientSession() as web,
        web.get(f"{server.url}/v1/models", ssl=trust) as answer,
    ):
        assert server.url.startswith("https://")
        assert (await answer.json())["data"][0]["id"] == MODEL


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_are_ranked_by_what_they_share_with_the_query(path: str) -> None:
    body = {
        "model": MODEL,
        "query": "a fast device",
        "documents": ["a b", {"text": "the fast device"}, "c"],
        "top_n": 2,
    }
    async with LlmServer() as server, aiohttp.ClientSession() as web:
        async with web.post(server.url + path, json=body) as answer:
            told = await answer.json()
        assert [(result["index"], result["document"]["text"]) for result in told["results"]] == [
            (1, "the fast device"),
            (0, "a b"),
        ]
        assert told["results"][0]["relevance_score"] > told["results"][1]["relevance_score"]
        assert told["usage"]["total_tokens"] == 3 * 3 + 2 + 3 + 1
        async with web.post(server.url + path, json={**body, "model": "other"}) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"ttft": -1.0}, "ttft is -1.0"),
        ({"context_length": 0}, "context length is 0"),
        ({"models": {}}, "no model"),
        ({"adapters": (MODEL,)}, "both a model and an adapter"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Settings(**settings)


# --- the program ---


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its address, and its process, which is ended."""
    command = [sys.executable, "-m", "tensorfusion", "testserver", "llm", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_the_program_prints_its_address_and_serves() -> None:
    with program("--model", "a", "--model", "b=a", "--answer-tokens", "5") as (address, _):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        with OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            texts = [client.completions.create(model=name, prompt="x").choices[0].text for name in "ab"]
            assert texts[0] == texts[1]
            assert len(texts[0].split()) == 5
        with urlopen(f"{address}/health") as answer:
            assert answer.headers["Server"] == "tensorfusion-testserver (simulated)"


def test_several_workers_serve_one_port_and_none_of_them_tells_what_it_has_seen() -> None:
    with program("--workers", "2") as (address, process):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        with OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=3) as client:
            assert client.completions.create(model=MODEL, prompt="x").choices
            with pytest.raises(openai.APIStatusError, match="one of several workers"):
                client.with_options(base_url=address, max_retries=0).get("/testserver/seen", cast_to=object)
        workers = [int(pid) for pid in children.read_text().split()]
        assert len(workers) == 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_address_that_is_taken_is_told() -> None:
    with program() as (address, _):
        port = address.rpartition(":")[2]
        command = [sys.executable, "-m", "tensorfusion", "testserver", "llm", "--port", port]
        for more in ([], ["--workers", "2"]):
            done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode == 1
            assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
