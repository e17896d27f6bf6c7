"""The clients of OpenAI and Anthropic, unmodified, are told of keys and limits in the exceptions that they know."""

from pathlib import Path

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tensorfusion.gateway.keys.secret import new_secret
from tensorfusion.testing.llm import LlmServer, Settings
from test_program import program, write, written

HI = [{"role": "user", "content": "hi"}]


async def test_of_openai(tmp_path: Path) -> None:
    key, path = new_secret().reveal(), tmp_path / "routes.yaml"
    limit = {"requestsPerMinute": 2, "tokensPerMinute": 100_000}
    entry = {"name": "ci", "keyFrom": {"env": "KEY"}, "models": ["sim-small"], "rateLimit": limit}
    async with LlmServer(Settings()) as server:
        route = written(f"{server.url}/v1")
        write(path, {"keys": [entry], "limitsFile": str(tmp_path / "limits")}, named(route))
        async with program(path, KEY=key) as running:
            base = f"http://127.0.0.1:{running.port}/v1"
            async with AsyncOpenAI(base_url=base, api_key=key, max_retries=0) as client:
                for left in ("1", "0"):
                    raw = await client.chat.completions.with_raw_response.create(model="sim-small", messages=HI)
                    assert raw.headers["x-ratelimit-remaining-requests"] == left
                    assert raw.parse().choices[0].message.content
                with pytest.raises(openai.RateLimitError) as limited:
                    await client.chat.completions.create(model="sim-small", messages=HI)
                assert limited.value.code == "rate_limit_exceeded"
                assert limited.value.type == "rate_limit_error"
                assert 1 <= int(limited.value.response.headers["retry-after"]) <= 30
                with pytest.raises(openai.RateLimitError):
                    await client.chat.completions.create(model="sim-small", messages=HI, stream=True)
                with pytest.raises(openai.PermissionDeniedError) as refused:
                    await client.chat.completions.create(model="other", messages=HI)
                assert refused.value.code == "model_not_allowed"
            async with AsyncOpenAI(base_url=base, api_key=new_secret().reveal(), max_retries=0) as stranger:
                with pytest.raises(openai.AuthenticationError) as unknown:
                    await stranger.models.list()
                assert unknown.value.code == "invalid_api_key"


async def test_of_anthropic(tmp_path: Path) -> None:
    key, path = new_secret().reveal(), tmp_path / "routes.yaml"
    entry = {"name": "ci", "keyFrom": {"env": "KEY"}, "rateLimit": {"requestsPerMinute": 1}}
    async with LlmServer(Settings()) as server:
        write(path, {"keys": [entry], "limitsFile": str(tmp_path / "limits")}, named(written(f"{server.url}/v1")))
        async with program(path, KEY=key) as running:
            base = f"http://127.0.0.1:{running.port}"
            async with AsyncAnthropic(base_url=base, api_key=key, max_retries=0) as client:
                found = await client.messages.create(model="sim-small", max_tokens=20, messages=HI)
                assert found.content[0].text
                with pytest.raises(anthropic.RateLimitError) as limited:
                    await client.messages.create(model="sim-small", max_tokens=20, messages=HI)
                assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60
            async with AsyncAnthropic(base_url=base, api_key=new_secret().reveal(), max_retries=0) as stranger:
                with pytest.raises(anthropic.AuthenticationError):
                    await stranger.messages.create(model="sim-small", max_tokens=20, messages=HI)


def named(route: dict[str, object]) -> dict[str, object]:
    """The model that the simulated server has."""
    spec = route["spec"]
    assert isinstance(spec, dict)
    for target in spec["targets"]:
        target["model"] = "sim-small"
    return route
