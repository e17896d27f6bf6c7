"""Learn which fields each endpoint of a kind does not write: nobody comes to own them through it.

Asked by server-side apply: an object with all of them is applied in a dry run, and what the managed fields leave out
is what the endpoint resets.
"""

import time
from collections.abc import Iterator
from typing import Any

from facts.kinds import collection, resource_id
from facts.samples import Sample
from facts.server import Server

Json = dict[str, Any]
METADATA = {
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "finalizers": ["example.com/f"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}],
}
TIME = "2024-01-01T00:00:00Z"
PLAIN = {"integer": 1, "string": "x", "boolean": True}
APPLY = "application/apply-patch+yaml"


def observe_resets(server: Server, resources: list[Json], definitions: Json, objects: list[Sample]) -> None:
    """Write ``resets`` into every resource with a status: endpoint to dotted field names, ``""`` the object's own."""
    for entry in resources:
        if "status" not in entry["subresources"] or "create" not in entry["verbs"]:
            continue
        own = [item for item in objects if item.resource == resource_id(entry) and item.method == "POST"]
        sample = max(own, key=lambda item: "spec" in item.sent)
        entry["resets"] = asked(server, entry, sample.sent, definitions)


def statuses(definitions: Json, entry: Json) -> Iterator[Json]:
    """Statuses of one field each, one of which the server will take."""
    reference = definitions[entry["schema"]]["properties"]["status"]
    for name, schema in sorted(definitions[reference["$ref"]].get("properties", {}).items()):
        for value in values(definitions, schema, name):
            yield {name: value}


def values(definitions: Json, schema: Json, name: str, depth: int = 0) -> Iterator[Any]:
    """A few small values of a schema."""
    kind = schema.get("type")
    if name == "conditions":
        yield [{"type": "A", "status": "True", "reason": "R", "lastTransitionTime": TIME}]
        yield [{"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": TIME}]
    elif name == "finalizers":
        yield METADATA["finalizers"]
    elif kind in PLAIN:
        yield schema["enum"][0] if "enum" in schema else PLAIN[kind]
    elif kind == "array":
        yield from ([item] for item in values(definitions, schema["items"], "", depth))
        yield ["v1"]
    elif kind == "object":
        yield {"cpu": "1"}
    elif "$ref" in schema and depth < 3:
        for inner, part in sorted(definitions[schema["$ref"]].get("properties", {}).items()):
            yield from ({inner: value} for value in values(definitions, part, inner, depth + 1))


def asked(server: Server, entry: Json, sent: Json, definitions: Json) -> Json:
    name = "resets"
    if "." in str(sent["metadata"].get("name")):  # a name that follows from the content
        name = sent["metadata"]["name"]
    api_version = f"{entry['group']}/{entry['version']}" if entry["group"] else entry["version"]
    body = {"apiVersion": api_version, "kind": entry["kind"], **sent, "metadata": {**METADATA, "name": name}}
    body.pop("status", None)
    spec = definitions[entry["schema"]]["properties"].get("spec")
    if spec is not None and "spec" not in body:
        body["spec"] = next(values(definitions, spec, "spec"))
    path = f"{collection(entry, 'default')}/{name}"
    expect(*apply(server, path, body))
    found = {}
    for endpoint in ("", "status"):
        where = f"{path}/{endpoint}".rstrip("/")
        full, code, answer = body, 0, {}
        for status in (
            statuses(definitions, entry) if not endpoint else (None,)
        ):  # a status that is not written is not checked, but typed
            full = body if status is None else {**body, "status": status}
            code, answer = apply(server, where, full, manager=f"m-{endpoint}", query="&force=true&dryRun=All")
            if code == 200:
                break
        expect(code, answer)
        entries = [item for item in answer["metadata"]["managedFields"] if item["manager"] == f"m-{endpoint}"]
        owned = entries[0]["fieldsV1"] if entries else {}
        missing = [part for part in ("spec", "status") if full.get(part) and f"f:{part}" not in owned]
        inside = owned.get("f:metadata", {})
        missing += [f"metadata.{part}" for part in METADATA if f"f:{part}" not in inside]
        found[endpoint] = missing
    server.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")
    server.request("DELETE", path, {"gracePeriodSeconds": 0})
    while name != "resets" and server.request("GET", path)[0] == 200:  # its name is wanted again
        time.sleep(0.1)
    return found


def apply(server: Server, path: str, body: Json, *, manager: str = "m", query: str = "") -> tuple[int, Any]:
    return server.request("PATCH", f"{path}?fieldManager={manager}{query}", body, content_type=APPLY)


def expect(status: int, answer: Any) -> Any:
    if status not in (200, 201):
        raise SystemExit(f"applying a sample was refused ({status}): {answer.get('message')}")
    return answer
