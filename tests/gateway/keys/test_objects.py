"""Keys that are objects: in force with the next request, gone as soon, and told when they were used."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.errors import InvalidKey
from tensorfusion.gateway.keys.objects import UsedTimes, follow
from tensorfusion.gateway.keys.secret import digest_of
from tensorfusion.model.llm_key import LLMKey
from tensorfusion.model.resources import LLM_KEYS
from tensorfusion.runtime.informer import Informer
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock

KEY = "tf-" + "k" * 43
FIELDS = [(b"Authorization", f"Bearer {KEY}".encode())]
HASH = digest_of(KEY.encode()).hex()


def body(name: str = "app", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "red"}, "spec": {"hash": HASH, **spec}}


@pytest.fixture
def api(clock: VirtualClock) -> FakeApi:
    return FakeApi(clock)


@pytest.fixture
async def informer(api: FakeApi, book: KeyBook, clock: VirtualClock) -> AsyncIterator[Informer[LLMKey]]:
    informer = Informer(api, LLM_KEYS, LLMKey, clock=clock)
    follow(informer, book)
    running = asyncio.create_task(informer.run())
    yield informer
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_object_lets_in_with_the_next_request_and_no_longer_than_it_is_there(
    api: FakeApi, informer: Informer[LLMKey], book: KeyBook, clock: VirtualClock
) -> None:
    await clock.settle()
    with pytest.raises(InvalidKey):
        book.find(FIELDS)
    api.seed(LLM_KEYS, body(models=["qwen3-*"]))
    await clock.settle()
    record = book.find(FIELDS)
    assert (record.id, record.user) == ("red/app", "app")
    assert record.models.patterns == ("qwen3-*",)
    api.change(LLM_KEYS, "app", {"spec": {"disabled": True}}, namespace="red")
    await clock.settle()
    with pytest.raises(InvalidKey, match="disabled"):
        book.find(FIELDS)
    api.change(LLM_KEYS, "app", {"spec": {"disabled": False}}, namespace="red")
    await clock.settle()
    book.find(FIELDS)
    await api.delete(LLM_KEYS, "app", namespace="red")
    await clock.settle()
    with pytest.raises(InvalidKey):
        book.find(FIELDS)


async def test_an_object_that_cannot_be_used_lets_nobody_in(
    api: FakeApi, informer: Informer[LLMKey], book: KeyBook, clock: VirtualClock
) -> None:
    api.seed(LLM_KEYS, body())
    await clock.settle()
    book.find(FIELDS)
    api.change(LLM_KEYS, "app", {"spec": {"expiresAt": "whenever"}}, namespace="red")
    await clock.settle()
    with pytest.raises(InvalidKey):
        book.find(FIELDS)


async def test_when_a_key_was_used_is_written_once_for_all_gateways(
    api: FakeApi, informer: Informer[LLMKey], book: KeyBook, clock: VirtualClock
) -> None:
    api.seed(LLM_KEYS, body())
    await clock.settle()
    book.find(FIELDS)
    used = UsedTimes(api, informer, book, clock=clock)
    await used.write()
    assert api.object(LLM_KEYS, "app", namespace="red")["status"] == {"lastUsedAt": "2026-01-01T00:00:00Z"}
    await clock.settle()
    book.find(FIELDS)
    await used.write()
    await used.write()
    assert len([call for call in api.calls if call.verb == "patch"]) == 1
    await clock.advance(120)
    book.find(FIELDS)
    await used.write()
    assert api.object(LLM_KEYS, "app", namespace="red")["status"] == {"lastUsedAt": "2026-01-01T00:02:00Z"}


@pytest.mark.parametrize(
    ("namespace", "scopes", "is_operators"),
    [("tensor-fusion-sys", ["admin"], True), ("tensor-fusion-sys", ["infer"], False), ("red", ["admin"], False)],
)
async def test_keys_of_whoever_runs_the_gateway_are_those_of_its_own_namespace(
    api: FakeApi,
    informer: Informer[LLMKey],
    book: KeyBook,
    clock: VirtualClock,
    namespace: str,
    scopes: list[str],
    is_operators: bool,
) -> None:
    made = body(scopes=scopes)
    api.seed(LLM_KEYS, {**made, "metadata": {"name": "app", "namespace": namespace}}, namespace=namespace)
    await clock.settle()
    assert book.find(FIELDS).operator is is_operators


async def test_an_object_that_names_its_hash_twice_is_followed_as_any_other(
    api: FakeApi, informer: Informer[LLMKey], book: KeyBook, clock: VirtualClock
) -> None:
    """Changes come in batches: one that cannot be followed would keep others' keys good that were taken away."""
    api.seed(LLM_KEYS, body(previous=[{"hash": HASH, "until": "2030-01-01T00:00:00Z"}]))
    await clock.settle()
    book.find(FIELDS)
    api.change(LLM_KEYS, "app", {"spec": {"disabled": True}}, namespace="red")
    await clock.settle()
    with pytest.raises(InvalidKey, match="disabled"):
        book.find(FIELDS)
    await api.delete(LLM_KEYS, "app", namespace="red")
    await clock.settle()
    with pytest.raises(InvalidKey, match="not known"):
        book.find(FIELDS)
    assert len(book) == 0
