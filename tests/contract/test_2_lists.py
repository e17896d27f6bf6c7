"""Lists: their form, chunks, versions and selectors. Numbers 200 to 239."""

import base64
import json
from typing import Any

from asking import Api, config_map, named, query
from behaviours import behaviour

CHUNKS = "API concepts: Retrieving large results sets in chunks"
VERSIONS = "API concepts: Semantics for get and list"
LABELS = "Concepts: Labels and selectors"
FIELDS = "Concepts: Field selectors"
OBSERVED = "observed on 1.34.2"
NOT_SEEDED = "metadata.name!=kube-root-ca.crt"
"""What a controller puts into every namespace is not of interest."""


def names(found: Any) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


def listing(api: Api, **parameters: Any) -> Any:
    """The ConfigMaps of the client's namespace."""
    return api.get(f"{api.core('configmaps')}?{query(**parameters)}")


def make(api: Api, *all_names: str, **labels: str) -> None:
    """ConfigMaps; every one has its name as label ``n``."""
    for name in all_names:
        api.create(api.core("configmaps"), config_map(name, labels={"n": name, **labels}))


def refused(api: Api, code: int, reason: str, **parameters: Any) -> str:
    """The message of a refused list."""
    answer = api("GET", f"{api.core('configmaps')}?{query(**parameters)}").refused(code, reason)
    return str(answer.body["message"])


@behaviour(200, "A list has its own kind, a version and the items", source="API concepts: Collections")
def test_list(api: Api) -> None:
    make(api, "a", "b")
    found = listing(api, labelSelector="n")
    assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(found) == ["a", "b"]
    assert int(found["metadata"]["resourceVersion"]) >= int(found["items"][1]["metadata"]["resourceVersion"])
    assert "continue" not in found["metadata"]


@behaviour(201, "Chunks show the state of the first one, whatever is written meanwhile", source=CHUNKS)
def test_chunks(api: Api) -> None:
    make(api, "a", "b", "c", "d", "e")
    first = listing(api, labelSelector="n", limit=2)
    assert names(first) == ["a", "b"]
    make(api, "b1", "f")
    api.delete(api.core("configmaps", "c"))
    api.merge(api.core("configmaps", "d"), {"data": {"x": "late"}})
    second = listing(api, labelSelector="n", limit=2, continue_=first["metadata"]["continue"])
    third = listing(api, labelSelector="n", limit=2, continue_=second["metadata"]["continue"])
    assert names(second) + names(third) == ["c", "d", "e"]
    assert "data" not in second["items"][1]
    assert "continue" not in third["metadata"]


@behaviour(202, "All chunks of a list have the version of the first", source=CHUNKS)
def test_version_of_chunks(api: Api) -> None:
    make(api, "a", "b", "c")
    first = listing(api, labelSelector="n", limit=1)
    make(api, "d")
    second = listing(api, labelSelector="n", limit=1, continue_=first["metadata"]["continue"])
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@behaviour(
    203,
    "A chunk says how many items remain, unless a selector is used",
    source="API reference: ListMeta, remainingItemCount",
)
def test_remaining(api: Api) -> None:
    make(api, "a", "b", "c")
    api.eventually(lambda: api("GET", api.core("configmaps", "kube-root-ca.crt")).status == 200)
    first = listing(api, limit=1)
    assert first["metadata"]["remainingItemCount"] == 3
    second = listing(api, limit=1, continue_=first["metadata"]["continue"])
    assert second["metadata"]["remainingItemCount"] == 2
    assert "remainingItemCount" not in listing(api, limit=1, labelSelector="n")["metadata"]
    assert "remainingItemCount" not in listing(api, limit=4)["metadata"]


@behaviour(204, "Items are in the order of their names", source=OBSERVED)
def test_order(api: Api) -> None:
    make(api, "b", "a-1", "a", "a.1", "c")
    assert names(listing(api, labelSelector="n")) == ["a", "a-1", "a.1", "b", "c"]


@behaviour(205, "Items of built-in kinds do not repeat their kind and version", source=OBSERVED)
def test_items_without_kind(api: Api) -> None:
    make(api, "a")
    assert not {"kind", "apiVersion"} & listing(api, labelSelector="n")["items"][0].keys()


@behaviour(206, "A continue token does not go with a version, nor with a match", source=CHUNKS)
def test_token_and_version(api: Api) -> None:
    make(api, "a", "b")
    first = listing(api, labelSelector="n", limit=1)
    token, version = first["metadata"]["continue"], first["metadata"]["resourceVersion"]
    why = refused(api, 400, "BadRequest", limit=1, continue_=token, resourceVersion=version)
    assert why == "specifying resource version is not allowed when using continue"
    match = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    assert "forbidden when continue is provided" in refused(api, 422, "Invalid", continue_=token, **match)


@behaviour(207, "A continue token that the server did not give is 400", source=CHUNKS)
def test_bad_token(api: Api) -> None:
    for token in ("abc", "!", base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v2","rv":5,"start":"a"}').decode()):
        assert "continue key is not valid" in refused(api, 400, "BadRequest", continue_=token, limit=1)


@behaviour(208, "A token may be used again, and with another limit", source=CHUNKS)
def test_token_again(api: Api) -> None:
    make(api, "a", "b", "c", "d")
    token = listing(api, labelSelector="n", limit=1)["metadata"]["continue"]
    assert names(listing(api, labelSelector="n", limit=2, continue_=token)) == ["b", "c"]
    assert names(listing(api, labelSelector="n", limit=1, continue_=token)) == ["b"]
    assert names(listing(api, labelSelector="n", continue_=token)) == ["b", "c", "d"]


@behaviour(209, "The limit counts what the selector lets through", source=CHUNKS)
def test_limit_and_selector(api: Api) -> None:
    make(api, "a", "c", "e", color="red")
    make(api, "b", "d")
    first = listing(api, labelSelector="color=red", limit=2)
    assert names(first) == ["a", "c"]
    rest = listing(api, labelSelector="color=red", limit=2, continue_=first["metadata"]["continue"])
    assert names(rest) == ["e"]
    assert "continue" not in rest["metadata"]


@behaviour(210, "A limit of zero, or below, is none", source=CHUNKS)
def test_no_limit(api: Api) -> None:
    make(api, "a", "b")
    for limit in (0, -1):
        assert names(listing(api, labelSelector="n", limit=limit)) == ["a", "b"]


@behaviour(211, "A parameter that should be a number and is none is 400", source=OBSERVED)
def test_bad_numbers(api: Api) -> None:
    for name in ("limit", "timeoutSeconds"):
        why = refused(api, 400, "BadRequest", **{name: "x"})
        assert why.endswith('strconv.ParseInt: parsing "x": invalid syntax')
    why = refused(api, 400, "BadRequest", limit="99999999999999999999")
    assert why.endswith('strconv.ParseInt: parsing "99999999999999999999": value out of range')


@behaviour(212, "A list that takes any version is given whole, without chunks", source=f"{VERSIONS}, resourceVersion 0")
def test_any_version(api: Api) -> None:
    make(api, "a", "b")
    first = listing(api, labelSelector="n")

    def at_least() -> bool:  # any version: it may be an old one
        found = listing(api, labelSelector="n", resourceVersion=0, limit=1)
        return "continue" not in found["metadata"] and names(found) == names(first)

    api.eventually(at_least)


# --- versions ---


@behaviour(213, "A list that is not older than a version shows the present", source=f"{VERSIONS}, NotOlderThan")
def test_not_older(api: Api) -> None:
    make(api, "a")
    version = listing(api, labelSelector="n")["metadata"]["resourceVersion"]
    make(api, "b")
    for match in ({}, {"resourceVersionMatch": "NotOlderThan"}):
        found = listing(api, labelSelector="n", resourceVersion=version, **match)
        assert int(found["metadata"]["resourceVersion"]) >= int(version)
        assert "a" in names(found)


@behaviour(214, "A list of an exact version shows the past", source=f"{VERSIONS}, Exact")
def test_exact(api: Api) -> None:
    make(api, "a", "b")
    version = listing(api, labelSelector="n")["metadata"]["resourceVersion"]
    api.delete(api.core("configmaps", "a"))
    api.merge(api.core("configmaps", "b"), {"data": {"x": "late"}})
    make(api, "c")
    past = listing(api, labelSelector="n", resourceVersion=version, resourceVersionMatch="Exact")
    assert names(past) == ["a", "b"]
    assert "data" not in past["items"][1]
    assert past["metadata"]["resourceVersion"] == version


@behaviour(215, "Chunks of an exact version stay at it", source=f"{VERSIONS}, Exact")
def test_exact_chunks(api: Api) -> None:
    make(api, "a", "b")
    version = listing(api, labelSelector="n")["metadata"]["resourceVersion"]
    api.delete(api.core("configmaps", "b"))
    first = listing(api, labelSelector="n", resourceVersion=version, resourceVersionMatch="Exact", limit=1)
    assert names(listing(api, labelSelector="n", limit=1, continue_=first["metadata"]["continue"])) == ["b"]


@behaviour(
    216,
    "A match needs a version, a known word, and no zero where it is exact",
    source=f"{VERSIONS}, resourceVersionMatch",
)
def test_bad_match(api: Api) -> None:
    why = refused(api, 422, "Invalid", resourceVersionMatch="Exact")
    assert "resourceVersionMatch is forbidden unless resourceVersion is provided" in why
    why = refused(api, 422, "Invalid", resourceVersionMatch="Sideways", resourceVersion=1)
    assert 'Unsupported value: "Sideways"' in why
    why = refused(api, 422, "Invalid", resourceVersionMatch="Exact", resourceVersion=0)
    assert 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"' in why


@behaviour(217, "A version that is no number is 400", source=VERSIONS)
def test_malformed_version(api: Api) -> None:
    for stated in ("abc", "-1", "1.5"):
        assert refused(api, 400, "BadRequest", resourceVersion=stated).startswith("invalid resource version: ")


@behaviour(
    218,
    "A version that the server has not reached is 504 Timeout, with a cause that says so",
    source=f"{VERSIONS}, Resource version is too large",
)
def test_too_large_version(api: Api) -> None:
    answer = api("GET", f"{api.core('configmaps')}?resourceVersion=99999999")
    answer.refused(504, "Timeout")
    assert answer.body["message"].startswith("Timeout: Too large resource version: 99999999, current: ")
    assert answer.causes() == {("", "ResourceVersionTooLarge")}
    assert answer.body["details"]["retryAfterSeconds"] == 1
    assert answer.headers["Retry-After"] == "1"


@behaviour(219, "Initial events are for watches only", source="KEP-3157: watch-list")
def test_initial_events_of_a_list(api: Api) -> None:
    for stated in ("true", "false"):
        assert "sendInitialEvents is forbidden for list" in refused(api, 422, "Invalid", sendInitialEvents=stated)


# --- selectors ---


def selected(api: Api, selector: str) -> list[str]:
    """Names of what a label selector selects, of what the test made."""
    return names(listing(api, labelSelector=selector, fieldSelector=NOT_SEEDED))


@behaviour(220, "Labels are selected by equality and inequality", source=f"{LABELS}, equality-based")
def test_equality(api: Api) -> None:
    make(api, "a", "b")
    assert selected(api, "n=a") == selected(api, "n==a") == selected(api, " n = a ") == ["a"]
    assert selected(api, "n!=a") == ["b"]


@behaviour(221, "Labels are selected by sets", source=f"{LABELS}, set-based")
def test_sets(api: Api) -> None:
    make(api, "a", "b", "c")
    assert selected(api, "n in (a, c)") == ["a", "c"]
    assert selected(api, "n notin (a,c)") == ["b"]


@behaviour(222, "Labels are selected by their presence", source=f"{LABELS}, set-based")
def test_presence(api: Api) -> None:
    make(api, "a")
    make(api, "b", color="red")
    assert selected(api, "color") == ["b"]
    assert selected(api, "!color") == ["a"]


@behaviour(223, "Inequality and notin select what has no such label", source=f"{LABELS}, set-based")
def test_negation_without_the_label(api: Api) -> None:
    make(api, "a", color="red")
    make(api, "b")
    assert selected(api, "color!=red") == selected(api, "color notin (red)") == ["b"]


@behaviour(224, "All requirements of a selector have to hold", source=f"{LABELS}, API")
def test_conjunction(api: Api) -> None:
    make(api, "a", "b", color="red")
    make(api, "c")
    assert selected(api, "color=red,n!=a") == ["b"]


@behaviour(225, "Labels are compared as numbers by > and <", source="API machinery: labels.Parse")
def test_numbers(api: Api) -> None:
    make(api, "a", size="9")
    make(api, "b", size="10")
    make(api, "c", size="many")
    assert selected(api, "size>9") == ["b"]
    assert selected(api, "size<10") == ["a"]


@behaviour(226, "An empty value selects labels whose value is empty", source="API machinery: labels.Parse")
def test_empty_values(api: Api) -> None:
    make(api, "a", color="")
    make(api, "b", color="red")
    make(api, "c")
    assert selected(api, "color=") == selected(api, "color in ()") == ["a"]


@behaviour(227, "A label selector that does not parse is 400, and says where", source="API machinery: labels.Parse")
def test_malformed_labels(api: Api) -> None:
    for selector, message in (
        ("n=a,", "found '', expected: identifier after ','"),
        (",n", "found ',', expected: !, identifier, or 'end of string'"),
        ("n=a=b", "found '=', expected: ',' or 'end of string'"),
        ("n in a", "unable to parse requirement: found 'a' expected: '('"),
        ("n in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("n ~ a", "unable to parse requirement: found '~', expected: in, notin, =, ==, !=, gt, lt"),
    ):
        assert refused(api, 400, "BadRequest", labelSelector=selector) == message


@behaviour(228, "Keys and values of a label selector have to be ones of labels", source=f"{LABELS}, syntax")
def test_bad_labels(api: Api) -> None:
    assert 'Invalid value: "-n"' in refused(api, 400, "BadRequest", labelSelector="-n")
    assert 'values[0][n]: Invalid value: "-a"' in refused(api, 400, "BadRequest", labelSelector="n=-a")
    assert "the value must be an integer" in refused(api, 400, "BadRequest", labelSelector="n>x")


@behaviour(229, "Every kind is selected by the fields name and namespace", source=f"{FIELDS}, supported fields")
def test_name_and_namespace(api: Api) -> None:
    make(api, "a", "b")
    assert names(listing(api, fieldSelector="metadata.name=a")) == ["a"]
    assert names(listing(api, fieldSelector="metadata.name!=a,metadata.name!=kube-root-ca.crt")) == ["b"]
    found = api.get(
        f"/api/v1/configmaps?{query(fieldSelector=f'metadata.namespace={api.namespace}', labelSelector='n')}"
    )
    assert names(found) == ["a", "b"]
    assert names(listing(api, fieldSelector="metadata.namespace=elsewhere")) == []


@behaviour(230, "A field that a kind cannot be selected by is 400", source=f"{FIELDS}, supported fields")
def test_unknown_fields(api: Api) -> None:
    why = refused(api, 400, "BadRequest", fieldSelector="metadata.uid=1")
    assert why == '"metadata.uid" is not a known field selector: only "metadata.name", "metadata.namespace"'
    answer = api("GET", f"{api.core('pods')}?{query(fieldSelector='spec.containers=x')}")
    answer.refused(400, "BadRequest", "field label not supported: spec.containers")


@behaviour(231, "A field selector that does not parse is 400", source=FIELDS)
def test_malformed_fields(api: Api) -> None:
    why = refused(api, 400, "BadRequest", fieldSelector="metadata.name")
    assert why == "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
    why = refused(api, 400, "BadRequest", fieldSelector="metadata.name=\\x")
    assert why == "invalid field selector: invalid escape sequence: \\x"


@behaviour(
    232, "Pods are selected by node, phase, restart policy and account", source=f"{FIELDS}, list of supported fields"
)
def test_fields_of_pods(api: Api) -> None:
    api.create_pod("a", nodeName="n-1")
    api.create_pod("b", schedulingGates=[{"name": "example.com/wait"}], restartPolicy="Never")

    def pods(selector: str) -> list[str]:
        return names(api.get(f"{api.core('pods')}?{query(fieldSelector=selector)}"))

    assert pods("spec.nodeName=n-1") == ["a"]
    assert pods("spec.nodeName=") == ["b"]
    assert pods("status.phase=Pending") == ["a", "b"]
    assert pods("status.phase!=Pending") == []
    assert pods("spec.restartPolicy=Never") == ["b"]
    assert pods("spec.serviceAccountName=default,metadata.name=a") == ["a"]


@behaviour(233, "Secrets are selected by their type", source=f"{FIELDS}, list of supported fields")
def test_fields_of_secrets(api: Api) -> None:
    for name, kind in (("a", "example.com/one"), ("b", "example.com/two")):
        api.create(api.core("secrets"), {"metadata": {"name": name}, "type": kind})
    found = api.get(f"{api.core('secrets')}?{query(fieldSelector='type=example.com/one')}")
    assert names(found) == ["a"]


@behaviour(
    234, "Events are selected by what they are about, reason and type", source=f"{FIELDS}, list of supported fields"
)
def test_fields_of_events(api: Api) -> None:
    for name, kind in (("a", "Pod"), ("b", "Node")):
        about = {"kind": kind, "name": "x", "namespace": api.namespace}
        event = {"metadata": {"name": name}, "type": "Normal", "reason": "R", "involvedObject": about}
        api.create(api.core("events"), event)
    for selector in ("involvedObject.kind=Pod,reason=R", "involvedObject.kind!=Node,type=Normal"):
        assert names(api.get(f"{api.core('events')}?{query(fieldSelector=selector)}")) == ["a"]


@behaviour(235, "Labels and fields together both have to match", source=FIELDS)
def test_labels_and_fields(api: Api) -> None:
    make(api, "a", "b", color="red")
    assert names(listing(api, labelSelector="color=red", fieldSelector="metadata.name!=a")) == ["b"]


@behaviour(236, "A list of all namespaces has the objects of each", source="API concepts: Resource URIs")
def test_all_namespaces(api: Api) -> None:
    other = Api(api.address, api.patience)
    mark = api.other_name()
    make(api, "a", mark=mark)
    make(other, "b", mark=mark)
    found = api.get(f"/api/v1/configmaps?{query(labelSelector=f'mark={mark}')}")
    other.close()
    assert {item["metadata"]["namespace"] for item in found["items"]} == {api.namespace, other.namespace}


@behaviour(237, "A list of a namespace that is not there is empty", source=OBSERVED)
def test_no_such_namespace(api: Api) -> None:
    assert api.get("/api/v1/namespaces/nowhere-at-all/configmaps")["items"] == []


@behaviour(238, "A get may ask for a version at least as new as one, not for one that is not reached", source=VERSIONS)
def test_get_of_a_version(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    found = api.get(f"{path}?resourceVersion={made['metadata']['resourceVersion']}")
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    answer = api("GET", f"{path}?resourceVersion=99999999")
    answer.refused(504, "Timeout")
    assert answer.causes() == {("", "ResourceVersionTooLarge")}


@behaviour(239, "A chunked list of all namespaces goes on in the next namespace", source=CHUNKS)
def test_chunks_over_namespaces(api: Api) -> None:
    other = Api(api.address, api.patience)
    mark = api.other_name()
    for client in (api, other):
        make(client, "a", "b", mark=mark)
    path = "/api/v1/configmaps"
    seen, token = [], ""
    while True:
        parameters = {"labelSelector": f"mark={mark}", "limit": 3, **({"continue": token} if token else {})}
        found = api.get(f"{path}?{query(**parameters)}")
        seen += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in found["items"]]
        token = found["metadata"].get("continue", "")
        if not token:
            break
        assert json.loads(base64.urlsafe_b64decode(token + "=="))["v"] == "meta.k8s.io/v1"
    other.close()
    assert seen == sorted((client.namespace, name) for client in (api, other) for name in ("a", "b"))


@behaviour(
    285, "A flag in a query is false as false, False or 0, and true as anything else, nothing included", source=OBSERVED
)
def test_flags(api: Api) -> None:
    path = api.core("configmaps")
    for text in ("false", "False", "FALSE", "0"):
        assert api.get(f"{path}?watch={text}")["kind"] == "ConfigMapList"
    api.create(path, config_map("a"))
    for text in ("", "no"):
        events = api("GET", f"{path}?watch={text}&timeoutSeconds=1").raw.splitlines()
        assert ("ADDED", "a") in [named(json.loads(event)) for event in events]
