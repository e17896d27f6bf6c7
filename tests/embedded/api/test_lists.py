"""Lists: selectors, pages, versions, and the forms they come in."""

import base64
import gzip
import json
import select
import socket

import pytest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@pytest.fixture
def labelled(api, make_config_map):
    """Five ConfigMaps, l0 to l4, each with its number as label ``i``."""
    for number in range(5):
        obj = make_config_map(f"l{number}")
        obj["metadata"]["labels"] = {"i": str(number)}
        api.create(api.core("configmaps"), obj)
    return f"{api.core('configmaps')}?labelSelector=i"


def names(found) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


def test_pages_show_the_state_of_the_first_one(api, labelled, make_config_map) -> None:
    first = api.get(f"{labelled}&limit=2")
    assert names(first) == ["l0", "l1"]
    late = make_config_map("l1a")
    late["metadata"]["labels"] = {"i": "x"}
    api.create(api.core("configmaps"), late)
    api("DELETE", api.core("configmaps", "l2"))
    second = api.get(f"{labelled}&limit=2&continue={first['metadata']['continue']}")
    third = api.get(f"{labelled}&limit=2&continue={second['metadata']['continue']}")
    assert names(second) + names(third) == ["l2", "l3", "l4"]
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]
    assert "continue" not in third["metadata"]


def test_the_rest_is_counted_where_no_selector_hides_it(api, labelled) -> None:
    found = api.get(f"{api.core('configmaps')}?limit=2")
    assert found["metadata"]["remainingItemCount"] == 4  # five and kube-root-ca.crt
    assert "remainingItemCount" not in api.get(f"{labelled}&limit=2")["metadata"]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("limit=x", 400, 'parsing "x": invalid syntax'),
        ("continue=abc", 400, "continue key is not valid"),
        ("continue=e30", 400, "continue key is not valid"),
        ("resourceVersion=abc", 400, "invalid resource version"),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=1&resourceVersionMatch=Foo", 422, 'Unsupported value: "Foo"'),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, 'forbidden for resourceVersion "0"'),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("resourceVersion=999999999", 504, "Too large resource version: 999999999"),
        ("labelSelector=a+in+(b", 400, "unable to parse requirement"),
        ("fieldSelector=foo%3D1", 400, '"foo" is not a known field selector'),
        ("includeObject=Some", 400, "includeObject"),
    ],
)
def test_malformed_list_options_are_refused(api, query: str, status: int, message: str) -> None:
    answer = api("GET", f"{api.core('configmaps')}?{query}", accept=TABLE)
    assert answer.status == status
    assert message in answer.message


def test_a_token_cannot_be_combined_with_a_version(api, labelled) -> None:
    token = api.get(f"{labelled}&limit=1")["metadata"]["continue"]
    answer = api("GET", f"{labelled}&limit=1&resourceVersion=5&continue={token}")
    assert (answer.status, answer.message) == (400, "specifying resource version is not allowed when using continue")


def test_a_token_from_before_the_window_is_gone(api) -> None:
    token = base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":1,"start":"/l0\\u0000"}').decode().rstrip("=")
    answer = api("GET", f"{api.core('configmaps')}?continue={token}")
    assert answer.status in (200, 410)  # 410 once the window has moved on


def test_an_exact_version_shows_the_past(api, labelled) -> None:
    version = api.get(labelled)["metadata"]["resourceVersion"]
    api("DELETE", api.core("configmaps", "l0"))
    past = api.get(f"{labelled}&resourceVersion={version}&resourceVersionMatch=Exact")
    assert names(past) == ["l0", "l1", "l2", "l3", "l4"]
    assert names(api.get(f"{labelled}&resourceVersion={version}&resourceVersionMatch=NotOlderThan"))[0] == "l1"


def test_pods_are_selected_by_their_fields(api, make_pod) -> None:
    api.create(api.core("pods"), make_pod("here", nodeName="n1"))
    api.create(api.core("pods"), make_pod("there"))
    path = api.core("pods")
    assert names(api.get(f"{path}?fieldSelector=spec.nodeName%3Dn1")) == ["here"]
    assert names(api.get(f"{path}?fieldSelector=spec.nodeName%3D,status.phase%3DPending")) == ["there"]
    assert names(api.get(f"{path}?fieldSelector=metadata.name!%3Dhere")) == ["there"]
    assert api("GET", f"{path}?fieldSelector=spec.foo%3D1").message == "field label not supported: spec.foo"


def test_events_are_selected_by_what_they_are_about(api) -> None:
    for name, kind in (("a", "Pod"), ("b", "Node")):
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "type": "Normal",
            "reason": "R",
            "involvedObject": {"kind": kind, "name": "x", "namespace": api.namespace},
        }
        api.create(api.core("events"), event)
    found = api.get(f"{api.core('events')}?fieldSelector=involvedObject.kind%3DPod,type%3DNormal,reason%3DR")
    assert names(found) == ["a"]


def test_a_list_over_all_namespaces(api, labelled) -> None:
    found = api.get(f"/api/v1/configmaps?fieldSelector=metadata.namespace%3D{api.namespace}&labelSelector=i")
    assert names(found) == ["l0", "l1", "l2", "l3", "l4"]
    assert found["kind"] == "ConfigMapList"


def test_tables_have_columns_rows_and_the_metadata_of_objects(api, labelled) -> None:
    found = api("GET", f"{labelled}&limit=2", accept=TABLE).body
    assert found["kind"] == "Table"
    assert [column["name"] for column in found["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [row["cells"][:2] for row in found["rows"]] == [["l0", 0], ["l1", 0]]
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert found["metadata"]["continue"]
    bare = api("GET", f"{api.core('configmaps', 'l0')}?includeObject=None", accept=TABLE).body
    assert bare["rows"][0]["object"] is None


def test_metadata_alone_is_served(api, labelled) -> None:
    found = api("GET", labelled, accept=PARTIAL).body
    assert found["kind"] == "PartialObjectMetadataList"
    assert all(set(item) == {"kind", "apiVersion", "metadata"} for item in found["items"])


@pytest.mark.parametrize(
    "accept", ["text/plain", "application/vnd.kubernetes.protobuf", "application/json;as=Foo;v=v1;g=meta.k8s.io"]
)
def test_forms_that_are_not_served_are_not_acceptable(api, accept: str) -> None:
    answer = api("GET", api.core("configmaps"), accept=accept)
    assert answer.status == 406
    assert "application/json" in answer.message


def test_the_best_served_form_is_chosen(api) -> None:
    accept = "application/vnd.kubernetes.protobuf, application/json;q=0.5, application/yaml;q=0.9"
    assert api("GET", api.core("configmaps"), accept=accept).headers["Content-Type"] == "application/yaml"


def test_large_answers_are_compressed_on_demand(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("big", a="x" * 200_000))
    answer = api("GET", api.core("configmaps", "big"), Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.raw))["metadata"]["name"] == "big"
    assert api("GET", api.core("configmaps", "big")).headers["Content-Encoding"] is None


def test_a_list_larger_than_one_part_arrives_whole(api, make_config_map) -> None:
    for number in range(3):
        api.create(api.core("configmaps"), make_config_map(f"large-{number}", x=str(number) * 300_000))
    answer = api("GET", api.core("configmaps"))
    assert int(answer.headers["Content-Length"]) == len(answer.raw) > 900_000
    found = {item["metadata"]["name"]: item["data"] for item in answer.body["items"]}
    assert [found[f"large-{number}"]["x"][-1] for number in range(3)] == ["0", "1", "2"]


def test_a_large_list_is_not_kept_for_a_client_that_does_not_take_it(start_server, make_config_map) -> None:
    client = start_server(taken_within=0.1).client
    for number in range(4):
        client.create("/api/v1/namespaces/default/configmaps", make_config_map(f"c{number}", x="y" * 900_000))
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.connect(str(client.path))
        head = f"GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n\r\n"
        stopped.sendall(head.encode())
        poll = select.poll()
        poll.register(stopped, select.POLLHUP)
        assert poll.poll(20_000), "the server keeps the answer"
        received = b""
        while part := stopped.recv(1 << 20):
            received += part
    assert len(received) < 3_600_000
    assert len(client("GET", "/api/v1/configmaps").raw) > 3_600_000
