"""Watches: how they begin, what they tell, how they end. Numbers 240 to 299."""

from typing import Any

from asking import Api, config_map, query
from behaviours import behaviour

WATCHES = "API concepts: Efficient detection of changes"
VERSIONS = "API concepts: Semantics for watch"
BOOKMARKS = "API concepts: Watch bookmarks"
STREAMING = "API concepts: Streaming lists; KEP-3157"
OBSERVED = "observed on 1.34.2"
FINALIZER = "example.com/hold"


def version(api: Api) -> str:
    """The present version of the ConfigMaps of the client's namespace."""
    return str(api.get(f"{api.core('configmaps')}?labelSelector=n")["metadata"]["resourceVersion"])


def make(api: Api, *names: str, **labels: str) -> list[Any]:
    """ConfigMaps; every one has its name as label ``n``."""
    path = api.core("configmaps")
    return [api.create(path, config_map(name, labels={"n": name, **labels})) for name in names]


def from_now(api: Api, **more: Any) -> str:
    """The query of a watch of labelled ConfigMaps from the present version on."""
    return query(**{"resourceVersion": version(api), "labelSelector": "n", **more})


@behaviour(
    240, "What leaves a selector is DELETED for its watch, as it was, at the version of the change", source=WATCHES
)
def test_leaving_a_selector(api: Api) -> None:
    make(api, "a", color="red")
    path = api.core("configmaps", "a")
    with api.watch(api.core("configmaps"), from_now(api, labelSelector="color=red")) as watch:
        changed = api.merge(path, {"metadata": {"labels": {"color": "blue"}}, "data": {"x": "y"}})
        event = watch.next()
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["labels"]["color"] == "red"
    assert "data" not in event["object"]
    assert event["object"]["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


@behaviour(241, "What comes to match a selector is ADDED for its watch", source=WATCHES)
def test_entering_a_selector(api: Api) -> None:
    make(api, "a", color="blue")
    with api.watch(api.core("configmaps"), from_now(api, labelSelector="color=red")) as watch:
        changed = api.merge(api.core("configmaps", "a"), {"metadata": {"labels": {"color": "red"}}})
        event = watch.next()
    assert (event["type"], event["object"]) == ("ADDED", changed)


@behaviour(242, "What changes and still matches is MODIFIED", source=WATCHES)
def test_staying_in_a_selector(api: Api) -> None:
    make(api, "a")
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        changed = api.merge(api.core("configmaps", "a"), {"data": {"x": "y"}})
        event = watch.next()
    assert (event["type"], event["object"]) == ("MODIFIED", changed)


@behaviour(243, "What does not match, before and after, is not told of", source=WATCHES)
def test_outside_of_a_selector(api: Api) -> None:
    make(api, "a", color="blue")
    with api.watch(api.core("configmaps"), from_now(api, labelSelector="color=red")) as watch:
        api.merge(api.core("configmaps", "a"), {"data": {"x": "y"}})
        api.delete(api.core("configmaps", "a"))
        make(api, "b", color="red")
        assert watch.take(1) == [("ADDED", "b")]


@behaviour(244, "A watch without a version begins with what there is, as ADDED", source=f"{VERSIONS}, unset")
def test_without_a_version(api: Api) -> None:
    made = make(api, "a", "b")
    with api.watch(api.core("configmaps"), "labelSelector=n") as watch:
        first, second = watch.next(), watch.next()
        make(api, "c")
        third = watch.take(1)
    assert [first, second] == [{"type": "ADDED", "object": obj} for obj in made]
    assert third == [("ADDED", "c")]


@behaviour(245, "A watch from any version begins with what there is, as ADDED", source=f"{VERSIONS}, resourceVersion 0")
def test_from_any_version(api: Api) -> None:
    make(api, "a")
    with api.watch(api.core("configmaps"), "labelSelector=n&resourceVersion=0") as watch:
        assert watch.take(1) == [("ADDED", "a")]


@behaviour(246, "A watch from a version tells what came after it, and nothing else", source=f"{VERSIONS}, other")
def test_from_a_version(api: Api) -> None:
    make(api, "a")
    start = version(api)
    make(api, "b")
    api.delete(api.core("configmaps", "a"))
    with api.watch(api.core("configmaps"), query(labelSelector="n", resourceVersion=start)) as watch:
        assert watch.take(2) == [("ADDED", "b"), ("DELETED", "a")]


@behaviour(247, "Events come in the order of their versions, every write one event", source=WATCHES)
def test_order(api: Api) -> None:
    start = version(api)
    make(api, "a")
    for number in range(5):
        api.merge(api.core("configmaps", "a"), {"data": {"x": str(number)}})
    with api.watch(api.core("configmaps"), query(labelSelector="n", resourceVersion=start)) as watch:
        events = [watch.next() for _ in range(6)]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert [event["object"].get("data", {}).get("x") for event in events] == [None, "0", "1", "2", "3", "4"]


@behaviour(248, "One object is watched by a field selector on its name", source=WATCHES)
def test_one_object(api: Api) -> None:
    make(api, "a", "b")
    with api.watch(api.core("configmaps"), from_now(api, fieldSelector="metadata.name=b", labelSelector="")) as watch:
        api.merge(api.core("configmaps", "a"), {"data": {"x": "y"}})
        api.merge(api.core("configmaps", "b"), {"data": {"x": "y"}})
        assert watch.take(1) == [("MODIFIED", "b")]


@behaviour(249, "A deleted object is told of as it was last, with the version of its deletion", source=WATCHES)
def test_deletion(api: Api) -> None:
    (made,) = make(api, "a")
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        api.delete(api.core("configmaps", "a"))
        event = watch.next()
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


@behaviour(250, "A streamed list ends with a bookmark that says so", source=STREAMING)
def test_streaming_list(api: Api) -> None:
    make(api, "a", "b")
    asked = query(
        labelSelector="n", sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    with api.watch(api.core("configmaps"), asked) as watch:
        assert watch.take(2) == [("ADDED", "a"), ("ADDED", "b")]
        bookmark = watch.next()
        make(api, "c")
        assert watch.take(1) == [("ADDED", "c")]
    assert bookmark["type"] == "BOOKMARK"
    metadata = bookmark["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(metadata["resourceVersion"]) > 0


@behaviour(251, "A streamed list of nothing is a bookmark at once", source=STREAMING)
def test_streaming_list_of_nothing(api: Api) -> None:
    asked = query(
        labelSelector="n", sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    with api.watch(api.core("configmaps"), asked) as watch:
        assert watch.next()["type"] == "BOOKMARK"


@behaviour(252, "A watch can go on at the version of a streamed list's bookmark", source=STREAMING)
def test_going_on_from_a_bookmark(api: Api) -> None:
    make(api, "a")
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with api.watch(api.core("configmaps"), query(labelSelector="n", **asked)) as watch:
        watch.next()
        start = watch.next()["object"]["metadata"]["resourceVersion"]
    make(api, "b")
    with api.watch(api.core("configmaps"), query(labelSelector="n", resourceVersion=start)) as watch:
        assert watch.take(1) == [("ADDED", "b")]


@behaviour(253, "Without initial events, only what comes later is told", source=STREAMING)
def test_no_initial_events(api: Api) -> None:
    make(api, "a")
    asked = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan", "resourceVersion": version(api)}
    with api.watch(api.core("configmaps"), query(labelSelector="n", **asked)) as watch:
        make(api, "b")
        assert watch.take(1) == [("ADDED", "b")]


@behaviour(254, "A streamed list is at least as new as the version that it states", source=STREAMING)
def test_streaming_list_of_a_version(api: Api) -> None:
    make(api, "a")
    start = version(api)
    make(api, "b")
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with api.watch(api.core("configmaps"), query(labelSelector="n", resourceVersion=start, **asked)) as watch:
        seen = []
        while (event := watch.next())["type"] != "BOOKMARK":
            seen.append(event["object"]["metadata"]["name"])
    assert seen[0] == "a"
    assert int(event["object"]["metadata"]["resourceVersion"]) >= int(start)


@behaviour(255, "Initial events need the match NotOlderThan, and a match needs initial events", source=STREAMING)
def test_bad_streaming(api: Api) -> None:
    path = api.core("configmaps")
    answer = api("GET", f"{path}?{query(watch='true', sendInitialEvents='true')}").refused(422, "Invalid")
    assert "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan" in answer.body["message"]
    exact = query(watch="true", sendInitialEvents="true", resourceVersionMatch="Exact", resourceVersion=1)
    assert api("GET", f"{path}?{exact}").refused(422, "Invalid").causes() == {
        ("resourceVersionMatch", "FieldValueForbidden"),
        ("resourceVersionMatch", "FieldValueNotSupported"),
    }
    answer = api("GET", f"{path}?{query(watch='true', resourceVersionMatch='NotOlderThan', resourceVersion=1)}")
    answer.refused(422, "Invalid")
    assert "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided" in answer.body["message"]


@behaviour(256, "A streamed list of a version that is not reached is an ERROR event, 504", source=STREAMING)
def test_streaming_list_of_the_future(api: Api) -> None:
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": 99999999}
    with api.watch(api.core("configmaps"), query(**asked)) as watch:
        assert watch.status == 200
        event = watch.next()
        assert watch.rest() == []
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (504, "Timeout")
    assert event["object"]["message"].startswith("Timeout: Too large resource version: 99999999, current: ")


@behaviour(257, "A bookmark has the kind, a version and nothing of any object", source=BOOKMARKS)
def test_form_of_a_bookmark(api: Api) -> None:
    make(api, "a")
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with api.watch(api.core("configmaps"), query(labelSelector="none", **asked)) as watch:
        obj = watch.next()["object"]
    assert (obj["kind"], obj["apiVersion"]) == ("ConfigMap", "v1")
    assert obj.keys() == {"kind", "apiVersion", "metadata"}
    assert obj["metadata"].keys() - {"creationTimestamp"} == {"resourceVersion", "annotations"}


@behaviour(258, "A watch that ends by its time-out tells a bookmark before, where it may", source=BOOKMARKS)
def test_bookmark_before_the_end(api: Api) -> None:
    make(api, "a")
    start = version(api)
    asked = query(labelSelector="n", resourceVersion=start, allowWatchBookmarks="true", timeoutSeconds=5)
    with api.watch(api.core("configmaps"), asked) as watch:
        api.create(api.core("configmaps"), config_map("unseen"))  # there is something new to have seen
        events = watch.rest()
    assert {event["type"] for event in events} == {"BOOKMARK"}
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) > int(start)


@behaviour(
    259,
    "A watch ends after timeoutSeconds, and without bookmarks that nobody asked for",
    source="API reference: ListOptions, timeoutSeconds",
)
def test_time_out(api: Api) -> None:
    make(api, "a")
    with api.watch(api.core("configmaps"), query(labelSelector="n", timeoutSeconds=1)) as watch:
        assert [event["type"] for event in watch.rest()] == ["ADDED"]


@behaviour(
    260, "An object that finalizers hold is MODIFIED when deleted, DELETED when let go", source="Concepts: Finalizers"
)
def test_finalizers(api: Api) -> None:
    obj = config_map("a", labels={"n": "a"})
    obj["metadata"]["finalizers"] = [FINALIZER]
    api.create(api.core("configmaps"), obj)
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        api.delete(api.core("configmaps", "a"))
        marked = watch.next()
        api.merge(api.core("configmaps", "a"), {"metadata": {"finalizers": None}})
        gone = watch.next()
    assert (marked["type"], gone["type"]) == ("MODIFIED", "DELETED")
    assert marked["object"]["metadata"]["deletionTimestamp"]


@behaviour(261, "A write that changes nothing is not told of", source=OBSERVED)
def test_write_of_nothing(api: Api) -> None:
    (made,) = make(api, "a")
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        api.put(api.core("configmaps", "a"), made)
        make(api, "b")
        assert watch.take(1) == [("ADDED", "b")]


@behaviour(262, "A dry run is not told of", source="API concepts: Dry-run")
def test_dry_run(api: Api) -> None:
    make(api, "a")
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        api.create(f"{api.core('configmaps')}?dryRun=All", config_map("x", labels={"n": "x"}))
        api.merge(f"{api.core('configmaps', 'a')}?dryRun=All", {"data": {"x": "y"}})
        api.delete(f"{api.core('configmaps', 'a')}?dryRun=All")
        make(api, "b")
        assert watch.take(1) == [("ADDED", "b")]


@behaviour(263, "All watches of a kind see the same events", source=WATCHES)
def test_many_watches(api: Api) -> None:
    start = query(labelSelector="n", resourceVersion=version(api))
    watches = [api.watch(api.core("configmaps"), start) for _ in range(5)]
    (made,) = make(api, "a")
    for watch in watches:
        with watch:
            assert watch.next() == {"type": "ADDED", "object": made}


@behaviour(
    264, "A collection can be watched by the old path /watch/", source="API reference: deprecated watch operations"
)
def test_old_path(api: Api) -> None:
    make(api, "a")
    path = api.core("configmaps").replace("/api/v1/", "/api/v1/watch/")
    with api.watch(path, "labelSelector=n") as watch:
        assert watch.take(1) == [("ADDED", "a")]


@behaviour(
    265, "One object can be watched by the old path /watch/", source="API reference: deprecated watch operations"
)
def test_old_path_of_one(api: Api) -> None:
    make(api, "a", "b")
    path = api.core("configmaps", "b").replace("/api/v1/", "/api/v1/watch/")
    with api.watch(path) as watch:
        assert watch.take(1) == [("ADDED", "b")]
        api.delete(api.core("configmaps", "a"))
        api.delete(api.core("configmaps", "b"))
        assert watch.take(1) == [("DELETED", "b")]


@behaviour(266, "A get of one object is no watch, whatever its query says", source=OBSERVED)
def test_get_with_watch(api: Api) -> None:
    make(api, "a")
    assert api.get(f"{api.core('configmaps', 'a')}?watch=true")["metadata"]["name"] == "a"


@behaviour(
    267, "A watch needs the right to watch, and is refused before it begins", source="Authorization: Request verbs"
)
def test_forbidden(api: Api) -> None:
    answer = api.as_user(Impersonate_User="jane")("GET", f"{api.core('configmaps')}?watch=true")
    answer.refused(403, "Forbidden")
    assert 'User "jane" cannot watch resource "configmaps"' in answer.body["message"]


@behaviour(268, "A watch of all namespaces tells of each", source="API concepts: Resource URIs")
def test_all_namespaces(api: Api) -> None:
    mark = api.other_name()
    start = version(api)
    with api.watch("/api/v1/configmaps", query(labelSelector=f"mark={mark}", resourceVersion=start)) as watch:
        other = Api(api.address, api.patience)
        make(other, "a", mark=mark)
        make(api, "b", mark=mark)
        assert watch.take(2) == [("ADDED", "a"), ("ADDED", "b")]
        other.close()


@behaviour(269, "A watch of a namespace tells nothing of others", source="API concepts: Resource URIs")
def test_one_namespace(api: Api) -> None:
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        other = Api(api.address, api.patience)
        make(other, "x")
        make(api, "b")
        other.close()
        assert watch.take(1) == [("ADDED", "b")]


@behaviour(270, "Every object of a deleted collection is told of", source="API concepts: deletecollection")
def test_deleted_collection(api: Api) -> None:
    make(api, "a", "b", "c")
    with api.watch(api.core("configmaps"), from_now(api)) as watch:
        api.delete(f"{api.core('configmaps')}?labelSelector=n")
        assert sorted(watch.take(3)) == [("DELETED", "a"), ("DELETED", "b"), ("DELETED", "c")]


@behaviour(
    271, "A pod that gets the node of a field selector is ADDED for its watch", source="Concepts: Field selectors"
)
def test_fields_of_a_pod(api: Api) -> None:
    pod = api.create_pod()
    asked = query(fieldSelector="spec.nodeName=n-9", resourceVersion=pod["metadata"]["resourceVersion"])
    with api.watch(api.core("pods"), asked) as watch:
        target = {"apiVersion": "v1", "kind": "Node", "name": "n-9"}
        api.create(api.core("pods", "p", "binding"), {"metadata": {"name": "p"}, "target": target})
        assert watch.take(1) == [("ADDED", "p")]
        api.delete(f"{api.core('pods', 'p')}?gracePeriodSeconds=0")
        event = watch.next()
        while event["type"] == "MODIFIED":  # it may be told of the mark first
            event = watch.next()
        assert event["type"] == "DELETED"


@behaviour(272, "A write of the status is told of", source=WATCHES)
def test_status(api: Api) -> None:
    pod = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    with api.watch(api.core("pods"), query(resourceVersion=pod["metadata"]["resourceVersion"])) as watch:
        api.merge(api.core("pods", "p", "status"), {"status": {"message": "here"}})
        event = watch.next()
        while event["object"]["status"].get("message") is None:  # a scheduler's own words may come first
            event = watch.next()
    assert event["type"] == "MODIFIED"


@behaviour(273, "A namespace that is not there can be watched", source=OBSERVED)
def test_no_such_namespace(api: Api) -> None:
    name = api.other_name("t")
    with api.watch(
        f"/api/v1/namespaces/{name}/configmaps", query(resourceVersion=version(api), labelSelector="n")
    ) as watch:
        other = Api(api.address, api.patience, _namespace=name)
        api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        make(other, "a")
        other.close()
        assert watch.take(1) == [("ADDED", "a")]
    api.delete(f"/api/v1/namespaces/{name}")


@behaviour(274, "An object that is replaced between two reads has two events", source=WATCHES)
def test_deleted_and_made_again(api: Api) -> None:
    make(api, "a")
    start = query(labelSelector="n", resourceVersion=version(api))
    api.delete(api.core("configmaps", "a"))
    make(api, "a")
    with api.watch(api.core("configmaps"), start) as watch:
        assert watch.take(2) == [("DELETED", "a"), ("ADDED", "a")]


@behaviour(275, "A version that is no number is refused", source=VERSIONS)
def test_malformed_version(api: Api) -> None:
    answer = api("GET", f"{api.core('configmaps')}?watch=true&resourceVersion=abc")
    assert answer.status >= 400
    assert 'strconv.ParseUint: parsing "abc": invalid syntax' in answer.body["message"]


@behaviour(276, "A selector that does not parse is 400, before the watch begins", source="API machinery: labels.Parse")
def test_malformed_selector(api: Api) -> None:
    api("GET", f"{api.core('configmaps')}?watch=true&labelSelector=n%20in%20a").refused(400, "BadRequest")
    api("GET", f"{api.core('configmaps')}?watch=true&fieldSelector=data%3Dx").refused(400, "BadRequest")


@behaviour(277, "A watch from a version that is not reached yet is opened, and waits", source=f"{VERSIONS}, other")
def test_from_the_future(api: Api) -> None:
    with api.watch(
        api.core("configmaps"), query(resourceVersion=99999999, timeoutSeconds=1, labelSelector="n")
    ) as watch:
        assert watch.status == 200
        assert watch.rest() == []


@behaviour(278, "A limit means nothing for a watch", source=OBSERVED)
def test_limit(api: Api) -> None:
    make(api, "a", "b")
    with api.watch(api.core("configmaps"), query(labelSelector="n", limit=1)) as watch:
        assert watch.take(2) == [("ADDED", "a"), ("ADDED", "b")]


@behaviour(279, "A continue token does not go with a watch from the start", source=OBSERVED)
def test_continue(api: Api) -> None:
    answer = api("GET", f"{api.core('configmaps')}?watch=true&continue=abc").refused(422, "Invalid")
    assert "resourceVersionMatch is forbidden when continue is provided" in answer.body["message"]


@behaviour(280, "A watch is JSON, line by line, in chunks", source=WATCHES)
def test_form(api: Api) -> None:
    make(api, "a")
    with api.watch(api.core("configmaps"), "labelSelector=n") as watch:
        assert watch.status == 200
        assert watch.headers["Content-Type"] == "application/json"
        assert watch.headers["Transfer-Encoding"] == "chunked"
        event = watch.next()
    assert event.keys() == {"type", "object"}
    assert (event["object"]["kind"], event["object"]["apiVersion"]) == ("ConfigMap", "v1")


@behaviour(
    281, "Metadata alone can be watched", source="API concepts: Receiving resources as Tables, PartialObjectMetadata"
)
def test_metadata(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", labels={"n": "a"}, x="y"))
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    with api.watch(api.core("configmaps"), "labelSelector=n", accept=accept) as watch:
        obj = watch.next()["object"]
    assert (obj["kind"], obj["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert obj["metadata"]["labels"] == {"n": "a"}
    assert "data" not in obj


@behaviour(
    282, "A watched Table has its columns in the first event only", source="API concepts: Receiving resources as Tables"
)
def test_tables(api: Api) -> None:
    make(api, "a", "b")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    with api.watch(api.core("configmaps"), "labelSelector=n", accept=accept) as watch:
        first, second = watch.next()["object"], watch.next()["object"]
    assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert first["rows"][0]["cells"][:2] == ["a", 0]
    assert first["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert not second.get("columnDefinitions")
    assert second["rows"][0]["cells"][0] == "b"


@behaviour(283, "A client that gives its watch up does not disturb others", source=WATCHES)
def test_gone_client(api: Api) -> None:
    start = query(labelSelector="n", resourceVersion=version(api))
    with api.watch(api.core("configmaps"), start) as kept:
        with api.watch(api.core("configmaps"), start) as given_up:
            make(api, "a")
            given_up.next()
        make(api, "b")
        assert kept.take(2) == [("ADDED", "a"), ("ADDED", "b")]


@behaviour(284, "Watching can be asked for with any value but false and 0", source=OBSERVED)
def test_watch_parameter(api: Api) -> None:
    make(api, "a")
    for stated in ("yes", ""):
        answer = api("GET", f"{api.core('configmaps')}?{query(watch=stated, labelSelector='n', timeoutSeconds=1)}")
        assert answer.body["type"] == "ADDED", stated
    for stated in ("0", "false"):
        answer = api("GET", f"{api.core('configmaps')}?{query(watch=stated, labelSelector='n')}")
        assert answer.body["kind"] == "ConfigMapList", stated
