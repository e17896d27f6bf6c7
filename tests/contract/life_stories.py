"""Random stories of an object's life: preconditions, subresources, deletions that something holds up, selections."""

from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from asking import APPLY, JSON_PATCH, MERGE, STRATEGIC
from stories import selections
from story_objects import BASES, Json, documents, merged, operations, pod_of
from two_servers import Request

_CALM = sorted(BASES.keys() - {"deployments"})
"""Kinds that no controller writes to: their versions are what the story makes them."""
_SUBRESOURCES = {"things": ["status", "scale"], "deployments": ["status", "scale"], "services": ["status"]}
_versions = st.sampled_from(["{version}", "{version}", "{first}", "0", "", "1", "x", None])
_uids = st.sampled_from(["{uid}", "{uid}", "", "other", None])


@st.composite
def version_stories(draw: st.DrawFn) -> list[Request]:
    """Writes that say which version of which object they mean: the present one, an old one, or none."""
    kind = draw(st.sampled_from(_CALM))
    base, path = BASES[kind]
    story = [Request("POST", path, base)]
    for _ in range(draw(st.integers(2, 5))):
        stated: Json = {}
        if draw(st.booleans()):
            stated["resourceVersion"] = draw(_versions)
        if draw(st.integers(0, 2)) == 0:
            stated["uid"] = draw(_uids)
        document = draw(st.one_of(st.just({}), documents(kind)))
        metadata = document.get("metadata")
        document["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), **stated}
        named = {**base, **document, "metadata": {**document["metadata"], "name": "x"}}
        asked = draw(st.sampled_from(["", "", "?dryRun=All"]))
        story.append(
            draw(
                st.sampled_from(
                    [
                        Request("PATCH", f"{path}/x{asked}", document, MERGE),
                        Request("PUT", f"{path}/x{asked}", merged(base, named)),
                        Request("PATCH", f"{path}/x?fieldManager=m&force=true", named, APPLY),
                        Request("DELETE", f"{path}/x{asked}", {"preconditions": stated}),
                        Request("POST", path, named),
                    ]
                )
            )
        )
    return [*story, Request("GET", f"{path}/x")]


@st.composite
def subresource_stories(draw: st.DrawFn) -> list[Request]:
    """Status and scale, read and written in every way, between writes of the object."""
    kind = draw(st.sampled_from(["things", "things", "deployments", "services"]))
    base, path = BASES[kind]
    version = base["apiVersion"]
    story = [Request("POST", path, base)]
    for _ in range(draw(st.integers(2, 5))):
        sub = draw(st.sampled_from([*_SUBRESOURCES[kind], "status", ""]))
        place = f"{path}/x/{sub}".rstrip("/")
        head = {"apiVersion": version, "kind": base["kind"]}
        if sub == "scale":
            head = {"apiVersion": "autoscaling/v1", "kind": "Scale"}
            number = draw(st.sampled_from([0, 1, 2, 7, -1, 101, 1 << 31, None, "3", 1.5]))
            document: Json = {"spec": {"replicas": number}}
            document |= draw(st.sampled_from([{}, {"metadata": {"labels": {"a": "b"}}}, {"status": {"replicas": 9}}]))
        else:
            document = draw(documents(kind))
        inner = document.get("metadata")
        named = {**head, **document, "metadata": {**(inner if isinstance(inner, dict) else {}), "name": "x"}}
        manager = draw(st.sampled_from(["a", "b"]))
        asked = draw(st.sampled_from(["", "", "dryRun=All&", "fieldValidation=Strict&"]))
        story.append(
            draw(
                st.sampled_from(
                    [
                        Request("GET", place),
                        Request("PUT", f"{place}?{asked}", named if sub else merged(base, named)),
                        Request("PUT", f"{place}?{asked}", named if sub == "scale" else merged(base, named)),
                        Request("PATCH", f"{place}?{asked}fieldManager={manager}", document, MERGE),
                        Request("PATCH", f"{place}?{asked}", document, STRATEGIC),
                        Request("PATCH", f"{place}?{asked}fieldManager={manager}", named, APPLY),
                        Request("PATCH", f"{place}?{asked}fieldManager={manager}&force=true", named, APPLY),
                        Request("PATCH", place, draw(operations(kind)), JSON_PATCH),
                        Request("POST", place, named),
                        Request("DELETE", place),
                    ]
                )
            )
        )
    return [*story, Request("GET", f"{path}/x")]


@st.composite
def deletion_stories(draw: st.DrawFn) -> list[Request]:
    """Deletions with all their options of an object that a finalizer holds, and what may still be done to it then."""
    kind = draw(st.sampled_from([*_CALM, "pods"]))
    base, path = BASES[kind] if kind != "pods" else pod_of("x")
    held = draw(st.sampled_from([["example.com/a"], ["example.com/a", "example.com/b"], []]))
    story = [Request("POST", path, merged(base, {"metadata": {"finalizers": held}}))]
    for _ in range(draw(st.integers(1, 4))):
        options: Json = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "propagationPolicy": st.sampled_from(["Background", "Background", "Nope", "", None]),
                    "gracePeriodSeconds": st.sampled_from([0, 1, 30, -1, None]),
                    "dryRun": st.sampled_from([["All"], [], ["Nope"], ["All", "All"], None]),
                    "orphanDependents": st.sampled_from([False, None]),
                    "preconditions": st.fixed_dictionaries({}, optional={"uid": _uids, "resourceVersion": _versions}),
                    "apiVersion": st.sampled_from(["v1", base["apiVersion"]]),
                    "kind": st.just("DeleteOptions"),
                    "nope": st.just(1),
                },
            )
        )
        finalizers = draw(st.sampled_from([[], ["example.com/a"], ["example.com/b"], ["example.com/c"], ["x"], None]))
        query = {name: value for name, value in options.items() if isinstance(value, str | int)}
        story.append(
            draw(
                st.sampled_from(
                    [
                        Request("DELETE", f"{path}/x", options),
                        Request("DELETE", f"{path}/x", options),
                        Request("DELETE", f"{path}/x?{urlencode(query)}"),
                        Request("PATCH", f"{path}/x", {"metadata": {"finalizers": finalizers}}, MERGE),
                        Request("PATCH", f"{path}/x", {"metadata": {"labels": {"l": "m"}}}, MERGE),
                        Request("POST", path, base),
                        Request("GET", f"{path}/x"),
                        Request("DELETE", path, options),
                    ]
                )
            )
        )
    return [*story, Request("GET", f"{path}/x")]


@st.composite
def selection_stories(draw: st.DrawFn) -> list[Request]:
    """Lists and deletions of what selectors by labels and fields choose, in pieces or at once."""
    kind = draw(st.sampled_from(["configmaps", "secrets", "things", "services", "pods", "leases"]))
    base, path = BASES[kind] if kind != "pods" else pod_of("x")
    labels: list[Json] = [{"app": "a"}, {"app": "b", "a": ""}, {"example.com/a": "x"}, {"app": "a", "a": "1"}]
    changes: Any = {"secrets": {"type": "example.com/t"}, "pods": {"spec": {"restartPolicy": "Never"}}}.get(kind, {})
    story = [
        Request(
            "POST", path, merged(base, {**(changes if number % 2 else {}), "metadata": {"name": name, "labels": one}})
        )
        for number, (name, one) in enumerate(zip("xyzw", labels, strict=True))
    ]
    for _ in range(draw(st.integers(1, 4))):
        chosen = draw(selections())
        pieces = draw(st.sampled_from([{}, {}, {"limit": "1"}, {"limit": "2"}]))
        method = draw(st.sampled_from(["GET", "GET", "GET", "DELETE"]))
        body = draw(st.sampled_from([None, None, {"dryRun": ["All"]}, {"gracePeriodSeconds": 0}]))
        more = pieces if method == "GET" else {}
        story.append(Request(method, f"{path}?{urlencode({**chosen, **more})}", body if method == "DELETE" else None))
        if pieces and method == "GET":
            story += [Request("GET", f"{path}?{urlencode({**chosen, **pieces})}&continue={{continue}}")]
    return [*story, Request("GET", path)]
