"""Random stories: sequences of requests around one object - patches of all types, applies of several managers, selectors."""

from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from asking import APPLY, JSON_PATCH, MERGE, STRATEGIC, config_map, deployment
from two_servers import GROUP, Request

# Any: JSON.
Json = dict[str, Any]

THING: Json = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "Thing",
    "metadata": {"name": "x"},
    "spec": {
        "n": 2,
        "s": "text",
        "set": ["a", "b"],
        "keyed": [{"name": "k", "value": 1}, {"name": "l"}],
        "map": {"m": 1},
    },
}
DEPLOYMENT = deployment("x")
DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "name": "http"}]
DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "x"},
    "spec": {"selector": {"a": "b"}, "ports": [{"name": "web", "port": 80}, {"name": "tls", "port": 443}]},
}
SECRET: Json = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "x"},
    "data": {"k": "aGk="},
    "type": "Opaque",
}
BASES: dict[str, tuple[Json, str]] = {
    "configmaps": (config_map("x", a="1", b="2"), "/api/v1/namespaces/{namespace}/configmaps"),
    "deployments": (DEPLOYMENT, "/apis/apps/v1/namespaces/{namespace}/deployments"),
    "services": (SERVICE, "/api/v1/namespaces/{namespace}/services"),
    "secrets": (SECRET, "/api/v1/namespaces/{namespace}/secrets"),
    "things": (THING, f"/apis/{GROUP}/v1/namespaces/{{namespace}}/things"),
}
PLACES: dict[str, list[tuple[str, ...]]] = {
    "configmaps": [("data",), ("data", "a"), ("data", "new"), ("binaryData",), ("binaryData", "b"), ("immutable",)],
    "secrets": [("data",), ("data", "k"), ("stringData", "k"), ("stringData",), ("immutable",), ("type",)],
    "services": [
        ("spec",),
        ("spec", "ports"),
        ("spec", "selector"),
        ("spec", "selector", "a"),
        ("spec", "type"),
        ("spec", "sessionAffinity"),
        ("spec", "externalName"),
    ],
    "deployments": [
        ("spec", "replicas"),
        ("spec", "paused"),
        ("spec", "selector"),
        ("spec", "strategy"),
        ("spec", "strategy", "type"),
        ("spec", "strategy", "rollingUpdate"),
        ("spec", "template"),
        ("spec", "template", "metadata", "labels"),
        ("spec", "template", "spec", "containers"),
        ("spec", "template", "spec", "nodeSelector"),
        ("spec", "minReadySeconds"),
        ("spec", "nope"),
    ],
    "things": [
        ("spec",),
        ("spec", "n"),
        ("spec", "s"),
        ("spec", "e"),
        ("spec", "when"),
        ("spec", "maybe"),
        ("spec", "either"),
        ("spec", "set"),
        ("spec", "list"),
        ("spec", "map"),
        ("spec", "map", "z"),
        ("spec", "keyed"),
        ("spec", "free"),
        ("spec", "free", "deep"),
        ("spec", "nope"),
        ("status",),
        ("status", "n"),
    ],
}
COMMON: list[tuple[str, ...]] = [
    ("metadata", "labels"),
    ("metadata", "labels", "l"),
    ("metadata", "annotations"),
    ("metadata", "annotations", "example.com/a"),
    ("metadata", "finalizers"),
    ("metadata", "generateName"),
    ("metadata", "name"),
    ("metadata", "uid"),
    ("metadata", "resourceVersion"),
    ("metadata", "ownerReferences"),
    ("metadata", "generation"),
    ("metadata",),
    ("kind",),
    ("apiVersion",),
]
WORDS = [
    "",
    "a",
    "b",
    "x",
    "text",
    "bad",
    "one",
    "UPPER",
    "a/b",
    "é",
    "aGk=",
    "1Gi",
    "2024-01-01T00:00:00Z",
    "a" * 64,
    "-",
]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.sampled_from([1 << 31, 1 << 62, 0.5, 1e3]),
    st.sampled_from(WORDS),
)
containers = st.fixed_dictionaries(
    {"name": st.sampled_from(["c", "d", ""])},
    optional={
        "image": st.sampled_from(["i:2", ""]),
        "$patch": st.sampled_from(["delete", "replace", "merge", "nope"]),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(0, 90)}), max_size=2),
        "env": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["A", "B"]), "value": leaves}), max_size=2),
    },
)
keyed = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["k", "l", "m", "web"]), "value": leaves, "port": leaves}
)
values = st.one_of(
    leaves,
    st.lists(leaves, max_size=3),
    st.lists(keyed, max_size=3),
    st.lists(containers, max_size=2),
    st.dictionaries(
        st.sampled_from(["a", "b", "l", "name", "matchLabels", "$patch", "$retainKeys", "type"]), leaves, max_size=3
    ),
)


@st.composite
def documents(draw: st.DrawFn, kind: str) -> Json:
    """A partial object: one to three places with any values."""
    found: Json = {}
    places = PLACES[kind] + COMMON
    for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
        *steps, last = place
        inner = found
        for step in steps:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                break
        if isinstance(inner, dict):
            inner[last] = draw(values)
    return found


@st.composite
def operations(draw: st.DrawFn, kind: str) -> list[Json]:
    """A JSON patch."""
    pointers = ["/" + "/".join(one.replace("/", "~1") for one in place) for place in PLACES[kind] + COMMON]
    pointers += ["", "/", "/spec/ports/0", "/spec/set/-", "/spec/set/9", "/spec/keyed/0/value", "/nope/deep", "nope"]
    found: list[Json] = []
    for _ in range(draw(st.integers(0, 3))):
        step: Json = {"op": draw(st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nope"]))}
        step["path"] = draw(st.sampled_from(pointers))
        if draw(st.booleans()) or step["op"] in ("add", "replace", "test"):
            step["value"] = draw(values)
        if step["op"] in ("move", "copy"):
            step["from"] = draw(st.sampled_from(pointers))
        found.append(step)
    return found


@st.composite
def patch_stories(draw: st.DrawFn) -> list[Request]:
    """An object and up to four patches of it."""
    kind = draw(st.sampled_from(sorted(BASES)))
    base, path = BASES[kind]
    story = [Request("POST", path, base)]
    for _ in range(draw(st.integers(1, 4))):
        place = f"{path}/x"
        if kind in ("things", "deployments") and draw(st.integers(0, 5)) == 0:
            place += draw(st.sampled_from(["/status", "/scale"]))
        asked = draw(
            st.sampled_from(["", "", "", "?fieldValidation=Strict", "?dryRun=All", "?fieldManager=me", "?dryRun=Nope"])
        )
        content_type = draw(st.sampled_from([MERGE, STRATEGIC, JSON_PATCH]))
        body: Any = draw(operations(kind) if content_type == JSON_PATCH else documents(kind))
        story.append(Request("PATCH", place + asked, body, content_type))
    return [*story, Request("GET", f"{path}/x")]


@st.composite
def apply_stories(draw: st.DrawFn) -> list[Request]:
    """Several managers apply, update and force what each thinks one object should be."""
    kind = draw(st.sampled_from(sorted(BASES)))
    base, path = BASES[kind]
    head = {"apiVersion": base["apiVersion"], "kind": base["kind"]}
    story: list[Request] = []
    if draw(st.booleans()):
        story.append(Request("POST", f"{path}?fieldManager=first", base))
    for _ in range(draw(st.integers(2, 5))):
        manager = draw(st.sampled_from(["a", "b", "first", ""]))
        force = draw(st.sampled_from(["", "", "&force=true", "&force=false"]))
        document = {**base, **draw(documents(kind))} if draw(st.booleans()) else draw(documents(kind))
        body = {**document, **head}
        metadata = body.get("metadata")
        body["metadata"] = {**metadata, "name": "x"} if isinstance(metadata, dict) else {"name": "x"}
        if draw(st.integers(0, 4)) == 0:
            story.append(Request("PATCH", f"{path}/x?fieldManager={manager}", draw(documents(kind)), MERGE))
        else:
            story.append(Request("PATCH", f"{path}/x?fieldManager={manager}{force}", body, APPLY))
    return [*story, Request("GET", f"{path}/x")]


@st.composite
def creation_stories(draw: st.DrawFn) -> list[Request]:
    """An object with some places changed to anything, created and replaced."""
    kind = draw(st.sampled_from(sorted(BASES)))
    base, path = BASES[kind]
    asked = draw(st.sampled_from(["", "", "?fieldValidation=Strict", "?fieldValidation=Ignore", "?dryRun=All"]))
    changed = _merged(base, draw(documents(kind)))
    return [
        Request("POST", path + asked, changed),
        Request("PUT", f"{path}/x{asked}", _merged(base, draw(documents(kind)))),
        Request("GET", f"{path}/x"),
        Request(
            "DELETE",
            f"{path}/x{draw(st.sampled_from(['', '?propagationPolicy=Nope', '?gracePeriodSeconds=-1', '?dryRun=All']))}",
        ),
    ]


def _merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{key: _merged(base.get(key), value) for key, value in changes.items()}}


_keys = st.sampled_from(
    ["a", "app", "example.com/a", "metadata.name", "metadata.namespace", "type", "", "a b", "é", "-", "spec.nope"]
)
_terms = st.one_of(
    st.builds(
        "{}{}{}".format,
        _keys,
        st.sampled_from(["=", "==", "!=", ">", "<", " = ", "=="]),
        st.sampled_from([*WORDS, "1", "x"]),
    ),
    st.builds(
        "{}{}({})".format,
        _keys,
        st.sampled_from([" in ", " notin ", "in", " IN "]),
        st.lists(st.sampled_from(WORDS[:5]), max_size=3).map(",".join),
    ),
    st.builds("{}{}".format, st.sampled_from(["", "!", "! ", "!!"]), _keys),
    st.text("ab=!(), inot><", max_size=8),
)


@st.composite
def list_stories(draw: st.DrawFn) -> list[Request]:
    """Lists with any selectors and options, and a deletion by selector."""
    path = draw(st.sampled_from([BASES["configmaps"][1], BASES["things"][1], BASES["secrets"][1]]))
    base = next(base for base, where in BASES.values() if where == path)
    named = [
        {**base, "metadata": {"name": name, "labels": labels}}
        for name, labels in (("x", {"app": "a"}), ("y", {"app": "b", "a": ""}), ("z", {"example.com/a": "x"}))
    ]
    story = [Request("POST", path, one) for one in named]
    for _ in range(draw(st.integers(1, 3))):
        parameters = {
            draw(st.sampled_from(["labelSelector", "labelSelector", "fieldSelector"])): ",".join(
                draw(st.lists(_terms, max_size=3))
            )
        }
        for name, options in _OPTIONS.items():
            if draw(st.integers(0, 6)) == 0:
                parameters[name] = draw(st.sampled_from(options))
        method = draw(st.sampled_from(["GET", "GET", "GET", "DELETE"]))
        if method == "DELETE":
            parameters = {name: value for name, value in parameters.items() if name.endswith("Selector")}
        story.append(Request(method, f"{path}?{_query(parameters)}"))
    return [*story, Request("GET", path)]


_OPTIONS: dict[str, list[str]] = {
    "limit": ["0", "1", "2", "-1", "x", "9999999999999999999"],
    "continue": ["", "x", "bm9wZQ=="],
    "resourceVersion": ["", "0", "1", "x", "-1", "99999999999"],
    "resourceVersionMatch": ["Exact", "NotOlderThan", "Nope", ""],
    "timeoutSeconds": ["1", "x"],
    "pretty": ["true", "x"],
}


def _query(parameters: dict[str, str]) -> str:
    return urlencode(parameters)
