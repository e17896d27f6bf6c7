"""Messages that are cut in the middle go on at another target, whoever speaks what, or end with an error: never with
half an answer that looks whole."""

import pytest
from anthropic import AsyncAnthropic
from fronts import answer, ask, chat, cut, event, gateway, route, streamed, target

from tensorfusion.testing.llm import LlmServer, Rule, Settings

MODEL = "sim-small"
HI = [{"role": "user", "content": "hi"}]
BEGINNING = (
    event({"type": "message_start", "message": {"id": "x", "model": "up", "usage": {"input_tokens": 5}}}),
    event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
)
ENDING = (
    event({"type": "content_block_stop", "index": 0}),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
    event({"type": "message_stop"}),
)


def said(text: str, *, index: int = 0) -> bytes:
    return event({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}})


def texts(body: bytes) -> list[bytes]:
    return [part.partition(b'"')[0] for part in body.replace(b'": "', b'":"').split(b'"text_delta","text":"')[1:]]


@pytest.mark.parametrize("prefill", [False, True])
@pytest.mark.parametrize("fault", ["cut;after=12", "error-event;after=12"])
@pytest.mark.parametrize(
    ("first", "second"), [("vllm", "anthropic"), ("anthropic", "vllm"), ("anthropic", "anthropic")]
)
async def test_a_message_goes_on_whoever_began_it(first: str, second: str, fault: str, *, prefill: bool) -> None:
    able = {"capabilities": ["prefill"]} if prefill else {}
    async with LlmServer(Settings(tpot=0.001), rules=[Rule(fault)]) as one, LlmServer(Settings(tpot=0.001)) as two:
        targets = [
            {"endpoint": f"{server.url}/v1", "model": MODEL, "provider": provider, **able}
            for server, provider in ((one, first), (two, second))
        ]
        async with gateway(route(*targets)) as found:
            base = f"http://127.0.0.1:{found.port}"
            async with AsyncAnthropic(base_url=base, api_key="x", max_retries=0) as client:
                async with client.messages.stream(model="m", max_tokens=100, messages=HI) as stream:
                    joined = await stream.get_final_message()
                whole = await client.messages.create(model="m", max_tokens=100, messages=HI)
            assert [block.text for block in joined.content] == [block.text for block in whole.content]
            assert joined.stop_reason == "end_turn"
            assert [one.target for one in found.records[0].attempts] == ["t0", "t1"]
            assert found.records[0].status == 200


@pytest.mark.parametrize(
    "events",
    [
        (event({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}}), said("hm")),
        (*BEGINNING[1:], said("a"), ENDING[0]),
        (*BEGINNING[1:], said("a"), said("b", index=1)),
        (*BEGINNING[1:], event({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}})),
    ],
)
async def test_what_is_more_than_one_text_is_not_joined(events: tuple[bytes, ...]) -> None:
    async with (
        target(cut(BEGINNING[0], *events)) as one,
        target(streamed(*BEGINNING, said("ab"), *ENDING)) as two,
        gateway(route(*({"endpoint": each.url, "provider": "anthropic"} for each in (one, two)))) as found,
    ):
        body = (await ask(found.port, chat(stream=True, max_tokens=9), path="messages")).body
        assert body.startswith(b"".join((BEGINNING[0], *events)))
        assert b"event: error" in body
        assert two.requests == []


@pytest.mark.parametrize(
    ("second", "whole"),
    [
        (streamed(*BEGINNING, said("a "), said("long "), said("way"), *ENDING), True),
        (streamed(*BEGINNING, said("a long way"), *ENDING[:2]), True),
        (streamed(*BEGINNING, said("a short way"), *ENDING), False),
        (streamed(*BEGINNING, said("a lo"), *ENDING), False),
        (streamed(*BEGINNING, said("a long way")), False),
        (answer({"error": {"message": "no"}}, status=500), False),
    ],
)
async def test_another_message_is_swallowed_as_far_as_it_says_the_same(second: bytes, *, whole: bool) -> None:
    async with (
        target(cut(*BEGINNING, said("a "), said("lon"))) as one,
        target(second) as two,
        gateway(route(*({"endpoint": each.url, "provider": "anthropic"} for each in (one, two)))) as found,
    ):
        response = await ask(found.port, chat(stream=True, max_tokens=9), path="messages")
        assert response.whole
        assert (b"event: message_stop" in response.body) is whole
        assert (b"event: error" in response.body) is not whole
        assert response.body.count(b"message_start") == 1
        assert found.records[0].status == (200 if whole else 502)
        if whole:
            assert response.body.count(b"content_block_stop") == 2  # its name, and its type
            assert b'output_tokens":4' in response.body
            assert (found.records[0].prompt_tokens, found.records[0].completion_tokens) == (5, 4)
