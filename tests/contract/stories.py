"""Random stories: sequences of requests around one object - patches of all types, applies of several managers, selectors."""

from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from asking import APPLY, JSON_PATCH, MERGE, STRATEGIC
from story_objects import BASES, WORDS, documents, merged, operations
from two_servers import Request


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
    changed = merged(base, draw(documents(kind)))
    return [
        Request("POST", path + asked, changed),
        Request("PUT", f"{path}/x{asked}", merged(base, draw(documents(kind)))),
        Request("GET", f"{path}/x"),
        Request(
            "DELETE",
            f"{path}/x{draw(st.sampled_from(['', '?propagationPolicy=Nope', '?gracePeriodSeconds=-1', '?dryRun=All']))}",
        ),
    ]


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


_field_terms = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        [
            "metadata.name",
            "metadata.namespace",
            "type",
            "spec.type",
            "spec.restartPolicy",
            "spec.nodeName",
            "status.phase",
            "spec.schedulerName",
            "metadata.labels",
            "spec.n",
        ]
    ),
    st.sampled_from(["=", "==", "!="]),
    st.sampled_from(
        ["x", "y", "", "Never", "Pending", "Opaque", "ClusterIP", "nobody", "a\\,b", "a\\=b", "{namespace}"]
    ),
)


@st.composite
def selections(draw: st.DrawFn) -> dict[str, str]:
    """The parameters of a list that select, by labels or fields or both."""
    found: dict[str, str] = {}
    if draw(st.booleans()):
        found["labelSelector"] = ",".join(draw(st.lists(_terms, min_size=1, max_size=3)))
    if draw(st.booleans()):
        found["fieldSelector"] = ",".join(draw(st.lists(_field_terms, min_size=1, max_size=2)))
    return found


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
    "resourceVersion": ["", "0", "{version}", "x", "-1", "99999999999"],
    "resourceVersionMatch": ["Exact", "NotOlderThan", "Nope", ""],
    "timeoutSeconds": ["1", "x"],
    "pretty": ["true", "x"],
}


def _query(parameters: dict[str, str]) -> str:
    return urlencode(parameters)
