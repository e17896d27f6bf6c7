"""A client that keeps its connection and says the same with every request: what was found for it is found anew as soon
as anything it was found in has changed.
"""

import gc
import weakref
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from fronts import Client, Gateway, chat, gateway, route, said, target

from tensorfusion.clock import timestamp
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.gateway.keys.secret import digest_of
from tensorfusion.gateway.seams import NoKeys
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State, no_addresses
from tensorfusion.model.llm_key import LLMKeySpec
from tensorfusion.testing.clock import VirtualClock

KEY = "tf-" + "k" * 43
BEARER = f"Authorization: Bearer {KEY}\r\n".encode()


def key(name: str = "app", **spec: object) -> KeyRecord:
    written = LLMKeySpec(hash=digest_of(KEY.encode()).hex(), **spec)  # type: ignore[arg-type]
    return record_of(written, name=name, namespace="default", at="spec")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def book(clock: VirtualClock) -> KeyBook:
    return KeyBook(clock)


@pytest_asyncio.fixture
async def served(book: KeyBook) -> AsyncIterator[tuple[Gateway, Client]]:
    """A gateway of two routes, and one connection to it."""
    async with target(said("one")) as one, target(said("two")) as two:
        routes = (
            route({"endpoint": one.url}, name="first", selector={"modelPattern": "m"}),
            route({"endpoint": two.url}, name="second", selector={"modelPattern": "n"}),
        )
        async with gateway(*routes, keys=book) as found, Client(found.port) as client:
            yield found, client


async def answered(client: Client, model: str = "m") -> tuple[int, str]:
    """Status, and what was said or the code of the refusal."""
    client.send(chat(model=model), fields=BEARER)
    response = await client.response()
    if response.status != 200:
        return response.status, str(response.error["code"])
    choices = response.json["choices"]
    assert isinstance(choices, list)
    return 200, str(choices[0]["message"]["content"])


async def test_a_key_that_is_taken_away_is_good_no_more(served: tuple[Gateway, Client], book: KeyBook) -> None:
    _, client = served
    book.put("file", key())
    assert [await answered(client) for _ in range(2)] == [(200, "one")] * 2
    book.drop("file", "default/app")
    assert [await answered(client) for _ in range(3)] == [(401, "invalid_api_key")] * 3
    book.put("file", key())
    assert [await answered(client) for _ in range(2)] == [(200, "one")] * 2
    book.put("file", key(disabled=True))
    assert [await answered(client) for _ in range(3)] == [(401, "invalid_api_key")] * 3


async def test_a_key_that_ends_is_good_until_then(
    served: tuple[Gateway, Client], book: KeyBook, clock: VirtualClock
) -> None:
    _, client = served
    book.put("file", key(expires_at=timestamp(clock.now() + timedelta(seconds=10))))
    assert [await answered(client) for _ in range(2)] == [(200, "one")] * 2
    await clock.advance(10)
    assert [await answered(client) for _ in range(2)] == [(401, "invalid_api_key")] * 2


async def test_what_a_key_may_is_asked_again_when_it_changes(served: tuple[Gateway, Client], book: KeyBook) -> None:
    _, client = served
    book.put("file", key())
    assert await answered(client) == (200, "one")
    book.put("file", key(models=("n",)))
    assert [await answered(client) for _ in range(2)] == [(403, "model_not_allowed")] * 2
    assert await answered(client, "n") == (200, "two")
    book.put("file", key(routes=("first",)))
    assert await answered(client) == (200, "one")
    assert [(await answered(client, "n"))[0] for _ in range(2)] == [403] * 2
    assert await answered(client) == (200, "one")


async def test_each_model_goes_its_own_way(served: tuple[Gateway, Client], book: KeyBook) -> None:
    found, client = served
    book.put("file", key())
    for model, text in (("m", "one"), ("n", "two"), ("n", "two"), ("m", "one")):
        assert await answered(client, model) == (200, text)
    assert await answered(client, "o") == (404, "model_not_found")
    assert await answered(client) == (200, "one")
    assert [record.route for record in found.records[:4]] == [
        "default/first",
        "default/second",
        "default/second",
        "default/first",
    ]


async def test_routes_that_change_are_followed(served: tuple[Gateway, Client], book: KeyBook) -> None:
    found, client = served
    book.put("file", key())
    assert await answered(client) == (200, "one")
    async with target(said("three")) as three:
        before = found.front.state
        found.front.state = State.make(
            [route({"endpoint": three.url}, name="first", selector={"modelPattern": "m"})],
            Secrets({}),
            addresses=no_addresses,
        )
        assert [await answered(client) for _ in range(2)] == [(200, "three")] * 2
        assert (await answered(client, "n"))[0] == 404
        await before.upstreams.close()
        await found.front.state.upstreams.close()


async def test_another_key_on_the_same_connection_is_another_caller(
    served: tuple[Gateway, Client], book: KeyBook
) -> None:
    found, client = served
    other = "tf-" + "o" * 43
    book.put("file", key())
    book.put("file", record_of(LLMKeySpec(hash=digest_of(other.encode()).hex()), name="b", namespace="default", at="s"))
    for text in (KEY, other, KEY):
        client.send(chat(), fields=f"Authorization: Bearer {text}\r\n".encode())
        assert (await client.response()).status == 200
    client.send(chat())
    assert (await client.response()).status == 401
    assert [record.key_id for record in found.records] == ["default/app", "default/b", "default/app", ""]
    assert book.take_used() == {"default/app", "default/b"}


async def test_where_no_key_is_asked_for_any_more_a_caller_is_anyone(
    served: tuple[Gateway, Client], book: KeyBook
) -> None:
    found, client = served
    book.put("file", key(models=("n",)))
    assert await answered(client) == (403, "model_not_allowed")
    found.front.keys = NoKeys()
    assert [await answered(client) for _ in range(2)] == [(200, "one")] * 2
    found.front.keys = book
    assert await answered(client) == (403, "model_not_allowed")
    assert [record.key_id for record in found.records] == ["default/app", "anyone", "anyone", "default/app"]


async def test_routes_that_are_no_longer_in_force_are_not_kept_by_who_asked_them_once(
    served: tuple[Gateway, Client], book: KeyBook
) -> None:
    """Clients stay idle for a minute, and routes may change every second."""
    found, client = served
    book.put("file", key())
    front = found.front
    front.state = State.make([route({"endpoint": "http://127.0.0.1:1/v1"})], Secrets({}), before=front.state)
    routes = weakref.ref(front.state.routes)
    assert (await answered(client))[0] == 502
    front.state = State.make((), Secrets({}), before=front.state)
    gc.collect()
    assert routes() is None
    assert (await answered(client))[0] == 404
