"""Watches: where they begin, what selectors make of events, bookmarks, and how they end."""

import json

import pytest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def seen(events) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def test_a_watch_goes_on_where_a_list_ended(api, make_config_map) -> None:
    version = api.get(api.core("configmaps"))["metadata"]["resourceVersion"]
    api.create(api.core("configmaps"), make_config_map("a"))
    api.merge(api.core("configmaps", "a"), {"data": {"x": "y"}})
    api("DELETE", api.core("configmaps", "a"))
    stream = api.watch(f"{api.core('configmaps')}?resourceVersion={version}&timeoutSeconds=1")
    events = stream.rest()
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)
    assert versions[0] > int(version)


@pytest.mark.parametrize("version", ["", "resourceVersion=0&"])
def test_without_a_version_the_present_comes_first(api, make_config_map, version: str) -> None:
    api.create(api.core("configmaps"), make_config_map("a"))
    stream = api.watch(f"{api.core('configmaps')}?{version}fieldSelector=metadata.name%3Da")
    assert seen([stream.next()]) == [("ADDED", "a")]
    api("DELETE", api.core("configmaps", "a"))
    assert seen([stream.next()]) == [("DELETED", "a")]
    stream.close()


def test_a_version_before_the_window_is_gone(start_server, make_config_map) -> None:
    from tensorfusion.embedded.store import HistoryLimits

    client = start_server(history=HistoryLimits(events=5)).client
    path = "/api/v1/namespaces/default/configmaps"
    for number in range(10):
        client.create(path, make_config_map(f"c{number}"))
    event = client.watch(f"{path}?resourceVersion=2").rest()[0]
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert event["object"]["reason"] == "Expired"
    token = client.get(f"{path}?limit=2")["metadata"]["continue"]
    for number in range(10):
        client.create(path, make_config_map(f"d{number}"))
    assert client("GET", f"{path}?continue={token}").status == 410


def test_entering_and_leaving_a_selector_is_adding_and_deleting(api, make_config_map) -> None:
    stream = api.watch(f"{api.core('configmaps')}?labelSelector=color%3Dred&resourceVersion=0")
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), make_config_map("a"))
    entered = api.merge(path, {"metadata": {"labels": {"color": "red"}}}).body
    api.merge(path, {"data": {"x": "y"}})
    left = api.merge(path, {"metadata": {"labels": {"color": "blue"}}}).body
    api.merge(path, {"data": {"x": "z"}})
    events = [stream.next() for _ in range(3)]
    stream.close()
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert events[0]["object"] == entered
    assert events[2]["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
    assert events[2]["object"]["metadata"]["labels"] == {"color": "red"}


def test_a_field_selector_follows_a_pod_to_its_node(api, make_pod) -> None:
    stream = api.watch(f"{api.core('pods')}?fieldSelector=spec.nodeName%3Dn7")
    api.create(api.core("pods"), make_pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n7"},
    }
    api.create(api.core("pods", "p", "binding"), binding)
    assert seen([stream.next()]) == [("ADDED", "p")]
    stream.close()


def test_one_object_can_be_watched_by_its_path(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("a"))
    api.create(api.core("configmaps"), make_config_map("b"))
    stream = api.watch(api.core("configmaps", "b").replace("/api/v1/", "/api/v1/watch/"))
    assert seen([stream.next()]) == [("ADDED", "b")]
    api.merge(api.core("configmaps", "a"), {"data": {"x": "y"}})
    api("DELETE", api.core("configmaps", "b"))
    assert seen([stream.next()]) == [("DELETED", "b")]
    stream.close()


def test_bookmarks_come_when_nothing_happens(api) -> None:
    stream = api.watch(f"{api.core('secrets')}?allowWatchBookmarks=true&resourceVersion=0")
    event = stream.next()
    stream.close()
    assert event["type"] == "BOOKMARK"
    assert event["object"]["kind"] == "Secret"
    assert int(event["object"]["metadata"]["resourceVersion"]) > 0


def test_the_initial_events_end_with_a_marked_bookmark(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da"
    stream = api.watch(f"{api.core('configmaps')}?{query}")
    assert seen([stream.next()]) == [("ADDED", "a")]
    bookmark = stream.next()
    stream.close()
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ("resourceVersionMatch=Exact&resourceVersion=5", "forbidden for watch"),
        ("resourceVersion=abc", "invalid resource version"),
        ("timeoutSeconds=x", "invalid syntax"),
        ("labelSelector=!!", "unable to parse requirement"),
    ],
)
def test_malformed_watch_options_are_refused(api, query: str, message: str) -> None:
    answer = api("GET", f"{api.core('configmaps')}?watch=true&{query}")
    assert answer.status in (400, 422)
    assert message in answer.message


def test_tables_are_watched_with_their_columns_once(api, make_config_map) -> None:
    stream = api.watch(f"{api.core('configmaps')}?resourceVersion=0&labelSelector=t", accept=TABLE)
    for name in ("a", "b"):
        obj = make_config_map(name)
        obj["metadata"]["labels"] = {"t": ""}
        api.create(api.core("configmaps"), obj)
    first, second = stream.next(), stream.next()
    stream.close()
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert first["object"]["rows"][0]["cells"][0] == "a"
    assert second["object"]["columnDefinitions"] is None


def test_metadata_alone_can_be_watched(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("a", x="y"))
    stream = api.watch(f"{api.core('configmaps')}?fieldSelector=metadata.name%3Da", accept=PARTIAL)
    event = stream.next()
    stream.close()
    assert event["object"]["kind"] == "PartialObjectMetadata"
    assert "data" not in event["object"]


def test_many_watchers_see_the_same_events(api, make_config_map) -> None:
    streams = [api.watch(f"{api.core('configmaps')}?labelSelector=m&resourceVersion=0") for _ in range(20)]
    obj = make_config_map("a")
    obj["metadata"]["labels"] = {"m": ""}
    created = api.create(api.core("configmaps"), obj)
    assert [json.dumps(stream.next()["object"]) for stream in streams] == [json.dumps(created)] * 20
    for stream in streams:
        stream.close()
