"""A base URL may name the route: a client that can be told an address and a key takes it without a header."""

import openai
import pytest
from fronts import gateway, route, said, target

from tensorfusion.gateway.apis import routed


def test_only_a_name_and_what_is_below_v1_is_a_route_in_a_path() -> None:
    assert routed(b"/routes/chat-ab/v1/models?limit=2") == (b"chat-ab", b"/v1/models?limit=2")
    for target_ in (b"/routes", b"/routes/", b"/routes/chat", b"/routes/chat/v2/x", b"/routes/a%2fb/v1/models"):
        assert routed(target_) is None
    for target_ in (b"/routes//v1/models", b"/routes/../v1/models", b"/routes/a/b/v1/models", b"/v1/models"):
        assert routed(target_) is None


def client_of(port: int, name: str, **fields: str) -> openai.AsyncOpenAI:
    url = f"http://127.0.0.1:{port}/routes/{name}/v1"
    return openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, default_headers=fields)


async def test_the_route_of_the_path_takes_the_request_whatever_its_model_and_headers_say() -> None:
    async with target(said("a")) as one, target(said("b")) as two:
        first = route({"endpoint": one.url}, name="first")
        second = route({"endpoint": two.url}, name="second", selector={"modelPattern": "^other$"})
        async with gateway(first, second) as found:
            async with client_of(found.port, "second", **{"X-TF-Route": "first"}) as client:
                answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
                assert answer.choices[0].message.content == "b"
                assert [model.id async for model in client.models.list()]
            assert len(one.requests) == 0
            assert (found.records[-1].route, found.records[-1].asked_route) == ("default/second", "second")
            async with client_of(found.port, "third") as client:
                with pytest.raises(openai.NotFoundError, match="third"):
                    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
