"""Tables and PartialObjectMetadata: other forms of the same objects. Numbers 500 to 520, 553, 554, 589."""

import time
from typing import Any

import yaml

from asking import MERGE, Api, config_map, deployment, query
from behaviours import behaviour
from customs import NUMBER, TEXT, served, thing, version

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
RECEIVING = "API concepts: Receiving resources as Tables"
METADATA = "API concepts: Fetching metadata of resources (PartialObjectMetadata)"
COLUMNS = "Extend the API: Additional printer columns"
OBSERVED = "observed on 1.34.2 and 1.36.3"


def make(api: Api, *names: str, **data: str) -> None:
    for name in names:
        api.create(api.core("configmaps"), config_map(name, labels={"n": name}, **data))


def table(api: Api, path: str, **parameters: Any) -> Any:
    return api.get(f"{path}?{query(**parameters)}", accept=TABLE)


def columns(found: Any) -> list[tuple[str, str, str, int]]:
    return [(one["name"], one["type"], one["format"], one["priority"]) for one in found["columnDefinitions"]]


def cells(found: Any) -> list[list[Any]]:
    return [row["cells"] for row in found["rows"]]


@behaviour(500, "A list as a Table has columns, and a row for each object in the list's order", source=RECEIVING)
def test_table(api: Api) -> None:
    make(api, "b", "a", x="1", y="2")
    found = table(api, api.core("configmaps"), labelSelector="n")
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert columns(found) == [("Name", "string", "name", 0), ("Data", "string", "", 0), ("Age", "string", "", 0)]
    assert [row[:2] for row in cells(found)] == [["a", 2], ["b", 2]]
    assert int(found["metadata"]["resourceVersion"]) > 0


@behaviour(501, "One object as a Table is one row, with the object's own version", source=RECEIVING)
def test_table_of_one(api: Api) -> None:
    make(api, "a")
    found = table(api, api.core("configmaps", "a"))
    (row,) = found["rows"]
    assert row["cells"][0] == "a"
    assert found["metadata"]["resourceVersion"] == row["object"]["metadata"]["resourceVersion"]


@behaviour(502, "The rows of a Table carry the objects' metadata unless told otherwise", source=RECEIVING)
def test_rows_have_metadata(api: Api) -> None:
    make(api, "a", x="1")
    for parameters in ({}, {"includeObject": "Metadata"}, {"includeObject": ""}):
        found = table(api, api.core("configmaps", "a"), **parameters)["rows"][0]["object"]
        assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
        assert found["metadata"]["labels"] == {"n": "a"}
        assert "data" not in found


@behaviour(503, "includeObject=Object puts whole objects into the rows, None puts nothing", source=RECEIVING)
def test_include_object(api: Api) -> None:
    make(api, "a", x="1")
    whole = table(api, api.core("configmaps", "a"), includeObject="Object")["rows"][0]["object"]
    assert (whole["kind"], whole["apiVersion"], whole["data"]) == ("ConfigMap", "v1", {"x": "1"})
    assert table(api, api.core("configmaps", "a"), includeObject="None")["rows"][0]["object"] is None


@behaviour(504, "Another includeObject is 400 and names the three that there are", source=OBSERVED)
def test_bad_include_object(api: Api) -> None:
    make(api, "a")
    answer = api("GET", f"{api.core('configmaps', 'a')}?includeObject=All", accept=TABLE).refused(400, "BadRequest")
    assert "\"All\": must be 'Metadata', 'Object', 'None', or empty" in answer.body["message"]
    assert api("GET", f"{api.core('configmaps', 'a')}?includeObject=All").status == 200


@behaviour(505, "A Table of a list in chunks continues as the list does", source=RECEIVING)
def test_chunks(api: Api) -> None:
    make(api, "a", "b", "c")
    first = table(api, api.core("configmaps"), labelSelector="n", limit=2)
    rest = table(api, api.core("configmaps"), labelSelector="n", limit=2, continue_=first["metadata"]["continue"])
    assert [row[0] for row in cells(first) + cells(rest)] == ["a", "b", "c"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@behaviour(506, "An empty list as a Table still has its columns", source=OBSERVED)
def test_empty(api: Api) -> None:
    found = table(api, api.core("secrets"))
    assert [name for name, *_ in columns(found)] == ["Name", "Type", "Data", "Age"]
    assert not found["rows"]


@behaviour(507, "Columns of priority above 0 are in every Table: who prints decides", source=RECEIVING)
def test_wide_columns(api: Api) -> None:
    found = columns(table(api, api.core("pods")))
    assert [name for name, _, _, priority in found if not priority] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert [name for name, _, _, priority in found if priority] == [
        "IP",
        "Node",
        "Nominated Node",
        "Readiness Gates",
    ]


@behaviour(508, "Of accepted forms the first that is known is given", source=RECEIVING)
def test_fall_back(api: Api) -> None:
    make(api, "a")
    path = api.core("configmaps", "a")
    unknown = TABLE.replace("Table", "Chart")
    assert api.get(path, accept=f"{unknown}, application/json")["kind"] == "ConfigMap"
    assert api.get(path, accept=f"{TABLE}, application/json")["kind"] == "Table"
    assert api.get(path, accept=f"{unknown}, {PARTIAL}, application/json")["kind"] == "PartialObjectMetadata"


@behaviour(509, "A form that nobody knows, alone, is 406", source=RECEIVING)
def test_unknown_form(api: Api) -> None:
    make(api, "a")
    for form in (
        TABLE.replace("Table", "Chart"),
        TABLE.replace("v=v1", "v=v9"),
        TABLE.replace("meta.k8s.io", "example.com"),
        "application/json;as=Table",
    ):
        answer = api("GET", api.core("configmaps", "a"), accept=form).refused(406, "NotAcceptable")
        assert "only the following media types are accepted: application/json" in answer.body["message"]


@behaviour(510, "The older version of Tables and metadata, v1beta1, is still given", source=OBSERVED)
def test_older_version(api: Api) -> None:
    make(api, "a")
    found = api.get(api.core("configmaps", "a"), accept=TABLE.replace("v=v1", "v=v1beta1"))
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1beta1")
    assert found["rows"][0]["object"]["apiVersion"] == "meta.k8s.io/v1beta1"
    found = api.get(api.core("configmaps", "a"), accept=PARTIAL.replace("v=v1", "v=v1beta1"))
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1beta1")


@behaviour(511, "PartialObjectMetadata is the metadata of an object and nothing else", source=METADATA)
def test_partial(api: Api) -> None:
    make(api, "a", x="1")
    found = api.get(api.core("configmaps", "a"), accept=PARTIAL)
    assert found.keys() == {"kind", "apiVersion", "metadata"}
    assert found["metadata"] == api.get(api.core("configmaps", "a"))["metadata"]


@behaviour(512, "PartialObjectMetadataList has the list's metadata and that of its items", source=METADATA)
def test_partial_list(api: Api) -> None:
    make(api, "a", "b", x="1")
    found = api.get(f"{api.core('configmaps')}?labelSelector=n&limit=1", accept=PARTIAL_LIST)
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert found["metadata"]["continue"]
    (item,) = found["items"]
    assert item.keys() == {"kind", "apiVersion", "metadata"}
    assert item["metadata"]["name"] == "a"


@behaviour(513, "One object's metadata cannot be asked of a list, nor a list's of one object", source=OBSERVED)
def test_form_of_the_other(api: Api) -> None:
    make(api, "a")
    answer = api("GET", api.core("configmaps"), accept=PARTIAL).refused(406, "NotAcceptable")
    assert answer.body["message"].startswith("you requested PartialObjectMetadata, but the requested object is a list")
    answer = api("GET", api.core("configmaps", "a"), accept=PARTIAL_LIST).refused(406, "NotAcceptable")
    assert "PartialObjectMetadataList, but the requested object is not a list" in answer.body["message"]


@behaviour(514, "What was written is answered in the form that is asked for, refusals stay Statuses", source=OBSERVED)
def test_writes(api: Api) -> None:
    answer = api("POST", api.core("configmaps"), config_map("a"), accept=TABLE)
    assert (answer.status, answer.body["kind"], cells(answer.body)[0][0]) == (201, "Table", "a")
    answer = api("PATCH", api.core("configmaps", "a"), {"data": {"x": "1"}}, content_type=MERGE, accept=PARTIAL)
    assert (answer.status, answer.body["kind"]) == (200, "PartialObjectMetadata")
    api("GET", api.core("configmaps", "zz"), accept=TABLE).refused(404, "NotFound")
    answer = api("DELETE", api.core("configmaps", "a"), accept=PARTIAL)
    assert (answer.body["kind"], answer.body["status"]) == ("Status", "Success")


@behaviour(515, "In a watch of Tables each event is a Table of one row, only the first has columns", source=RECEIVING)
def test_watch_of_tables(api: Api) -> None:
    make(api, "a", "b")
    with api.watch(api.core("configmaps"), "labelSelector=n", accept=TABLE) as stream:
        first, second = stream.next(), stream.next()
        assert [first["type"], second["type"]] == ["ADDED", "ADDED"]
        assert columns(first["object"])[0] == ("Name", "string", "name", 0)
        assert second["object"]["columnDefinitions"] is None
        assert sorted(cells(one["object"])[0][0] for one in (first, second)) == ["a", "b"]
        api.delete(api.core("configmaps", "a"))
        gone = stream.next()
        assert (gone["type"], cells(gone["object"])[0][0]) == ("DELETED", "a")


@behaviour(516, "A watch of metadata tells of metadata", source=METADATA)
def test_watch_of_metadata(api: Api) -> None:
    make(api, "a", x="1")
    with api.watch(api.core("configmaps"), "labelSelector=n", accept=PARTIAL) as stream:
        event = stream.next()
        assert event["object"].keys() == {"kind", "apiVersion", "metadata"}
        api.merge(api.core("configmaps", "a"), {"metadata": {"labels": {"late": "1"}}})
        event = stream.next()
        assert (event["type"], event["object"]["metadata"]["labels"]["late"]) == ("MODIFIED", "1")


@behaviour(517, "Columns of a custom kind come from its definition, by path, with type and priority", source=COLUMNS)
def test_custom_columns(api: Api) -> None:
    shown = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "how large", "priority": 1},
        {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
        {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    schema = thing(size=NUMBER, color=TEXT)
    with served(api, version(schema, additionalPrinterColumns=shown)) as custom:
        custom.create("a", size=3, color="red")
        custom.create("b", size=4)
        found = table(api, custom.path())
        assert columns(found) == [
            ("Name", "string", "name", 0),
            ("Size", "integer", "", 1),
            ("Color", "string", "", 0),
            ("Born", "date", "", 0),
        ]
        assert found["columnDefinitions"][1]["description"] == "how large"
        assert [row[:3] for row in cells(found)] == [["a", 3, "red"], ["b", 4, None]]
        assert all(row[3].endswith("s") for row in cells(found))


@behaviour(518, "A custom kind without columns shows name and age", source=COLUMNS)
def test_default_columns(api: Api) -> None:
    with served(api, version(thing(size=NUMBER))) as custom:
        custom.create("a")
        found = table(api, custom.path())
        assert [(name, kind) for name, kind, *_ in columns(found)] == [("Name", "string"), ("Age", "date")]
        assert cells(found)[0][0] == "a"


@behaviour(519, "Tables and metadata can be had as YAML", source=OBSERVED)
def test_yaml(api: Api) -> None:
    make(api, "a")
    for form, kind in ((TABLE, "Table"), (PARTIAL, "PartialObjectMetadata")):
        answer = api("GET", api.core("configmaps", "a"), accept=form.replace("json", "yaml"))
        assert answer.headers["Content-Type"] == "application/yaml"
        assert yaml.safe_load(answer.raw)["kind"] == kind


@behaviour(520, "The age in a Table is how long ago the object was made", source=RECEIVING)
def test_age(api: Api) -> None:
    before = time.monotonic()
    api.create(api.path("apps/v1", "deployments"), deployment())
    found = table(api, api.path("apps/v1", "deployments", "d"))
    row = dict(zip([name for name, *_ in columns(found)], found["rows"][0]["cells"], strict=True))
    assert (row["Name"], row["Ready"]) == ("d", "0/0")
    assert row["Age"].removesuffix("s").isdigit()
    assert int(row["Age"].removesuffix("s")) <= time.monotonic() - before + 1


@behaviour(553, "A Scale as a Table has the wanted and the present number of replicas", source=OBSERVED)
def test_table_of_scale(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment())
    found = table(api, api.path("apps/v1", "deployments", "d", "scale"))
    assert columns(found) == [
        ("Name", "string", "", 0),
        ("Desired", "integer", "", 0),
        ("Available", "integer", "", 0),
        ("Age", "string", "", 0),
    ]
    assert cells(found)[0][:3] == ["d", 0, 0]
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


@behaviour(554, "The metadata of a Scale are those of the object that it scales", source=METADATA)
def test_metadata_of_scale(api: Api) -> None:
    made = api.create(api.path("apps/v1", "deployments"), deployment())
    found = api.get(api.path("apps/v1", "deployments", "d", "scale"), accept=PARTIAL)
    assert found.keys() == {"kind", "apiVersion", "metadata"}
    assert (found["metadata"]["name"], found["metadata"]["uid"]) == ("d", made["metadata"]["uid"])


@behaviour(589, "A bookmark of metadata is a version and nothing else, but for the mark of the end", source=METADATA)
def test_bookmark_of_metadata(api: Api) -> None:
    asked = query(allowWatchBookmarks="true", sendInitialEvents="true", resourceVersionMatch="NotOlderThan")
    with api.watch(api.core("secrets"), asked, accept=PARTIAL) as stream:
        event = stream.next()
        version_told = event["object"]["metadata"].pop("resourceVersion")
        assert int(version_told) > 0
        assert event == {
            "type": "BOOKMARK",
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {"annotations": {"k8s.io/initial-events-end": "true"}},
            },
        }
