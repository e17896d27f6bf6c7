"""Watches on the wire: what arrives together, what is wrong with it, and how it ends."""

import json
from typing import Any

import pytest
from kube_wire import Script, client_of, reply, status, stream

from tensorfusion.errors import ApiError, Forbidden, Gone, ServerError
from tensorfusion.kube.api import WatchEvent
from tensorfusion.kube.client import Client
from tensorfusion.kube.codec import UNDECODABLE
from tensorfusion.kube.transport import BROKEN
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS


def line(kind: str, name: str = "a", version: int = 1, **parts: Any) -> bytes:
    metadata = {"name": name, "namespace": "n", "resourceVersion": str(version)}
    found = {"type": kind, "object": {"kind": "Pod", "metadata": metadata, **parts}}
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"


async def collect(client: Client, type_: type[Any] = Pod) -> tuple[list[WatchEvent[Any]], ApiError | None]:
    """All events until the watch ends, and the error that ended it."""
    events: list[WatchEvent[Any]] = []
    try:
        async for event in client.watch(PODS, type_, resource_version="1"):
            events.append(event)
    except ApiError as error:
        return events, error
    return events, None


async def test_events_arrive_typed_and_in_order_however_they_are_cut() -> None:
    whole = line("ADDED", version=1) + line("MODIFIED", version=2) + line("DELETED", version=3)
    script = Script(stream(*(whole[i : i + 7] for i in range(0, len(whole), 7))))
    async with client_of(script) as client:
        events, error = await collect(client)
    assert error is None
    assert [(event.type, event.resource_version) for event in events] == [
        ("ADDED", "1"),
        ("MODIFIED", "2"),
        ("DELETED", "3"),
    ]
    assert isinstance(events[0].object, Pod)
    path = script.seen[0][1]
    assert "watch=1" in path and "resourceVersion=1" in path and "allowWatchBookmarks=true" in path


async def test_what_arrives_together_is_one_batch() -> None:
    async with client_of(Script(stream(b"".join(line("ADDED", f"p{i}", i) for i in range(50))))) as client:
        batches = [batch async for batch in client.watch_batches(PODS, Pod, resource_version="0")]
    assert sum(map(len, batches)) == 50
    assert len(batches) < 5


async def test_a_dict_may_be_asked_for() -> None:
    async with client_of(Script(stream(line("ADDED", version=4)))) as client:
        events, _ = await collect(client, dict)
    assert events[0].object["metadata"]["name"] == "a"
    assert events[0].resource_version == "4"


async def test_a_bookmark_is_nothing_but_a_version() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}, "spec": {"containers": None}}}
    async with client_of(Script(stream(json.dumps(bookmark).encode() + b"\n"))) as client:
        events, error = await collect(client)
    assert error is None
    assert [(event.type, event.object, event.resource_version) for event in events] == [("BOOKMARK", None, "77")]


async def test_an_expired_version_is_gone_after_the_events_before_it() -> None:
    expired = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
    async with client_of(Script(stream(line("ADDED") + json.dumps(expired).encode() + b"\n"))) as client:
        events, error = await collect(client)
    assert len(events) == 1
    assert isinstance(error, Gone)
    assert str(error) == "too old"


async def test_a_refused_watch_is_the_error_of_its_status() -> None:
    async with client_of(Script(status(403, "Forbidden"))) as client:
        assert isinstance((await collect(client))[1], Forbidden)
    async with client_of(Script(status(410, "Expired"))) as client:
        assert isinstance((await collect(client))[1], Gone)


async def test_a_connection_that_breaks_in_the_middle_of_a_line_loses_only_that_line() -> None:
    async with client_of(Script(stream(line("ADDED"), line("ADDED", "b")[:20], abort=True))) as client:
        events, error = await collect(client)
    assert [event.object.metadata.name for event in events] == ["a"]
    assert isinstance(error, ServerError)
    assert error.status_reason == BROKEN


async def test_an_object_without_the_expected_form_only_moves_the_version_on() -> None:
    before = UNDECODABLE.labels("pods")._value.get()
    lines = line("ADDED", "bad", 5, spec="text") + line("ADDED", "good", 6)
    async with client_of(Script(stream(lines))) as client:
        events, error = await collect(client)
    assert error is None
    assert [(event.type, event.resource_version) for event in events] == [("BOOKMARK", "5"), ("ADDED", "6")]
    assert UNDECODABLE.labels("pods")._value.get() == before + 1


async def test_the_deletion_of_an_object_without_the_expected_form_is_not_lost() -> None:
    async with client_of(Script(stream(line("DELETED", "bad", 5, spec="text")))) as client:
        events, _ = await collect(client)
    assert [(event.type, event.object, event.key) for event in events] == [("DELETED", None, Key("n", "bad"))]


@pytest.mark.parametrize("text", [b"not json\n", b"[]\n", b'{"type":"ADDED"}\n', b'{"type":5,"object":{}}\n'])
async def test_something_that_is_no_event_ends_the_watch(text: bytes) -> None:
    async with client_of(Script(stream(line("ADDED"), text, line("ADDED", "b")))) as client:
        events, error = await collect(client)
    assert len(events) == 1
    assert isinstance(error, ServerError)


async def test_an_answer_that_is_not_a_watch_at_all_ends_without_events() -> None:
    async with client_of(Script(reply("{}"))) as client:
        assert await collect(client) == ([], None)
