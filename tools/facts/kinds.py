"""What discovery, Tables and small probes say about each served resource."""

import re
from typing import Any

from facts.schemas import document_path
from facts.server import Server

Json = dict[str, Any]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
UNSERVED = frozenset({"proxy", "ephemeralcontainers", "resize"})
CONNECTED = frozenset({"attach", "exec", "portforward"})
"""Subresources that are streams: their options come in the query, and OpenAPI has no definition of them."""


def describe_kinds(server: Server, served: list[str]) -> list[Json]:
    """One entry per resource in ``served`` (``plural`` or ``plural.group``), in that order."""
    discovered = {resource_id(entry): entry for entry in discover(server)}
    entries = [discovered[name] for name in served]
    for entry in entries:
        entry["schema"] = schema_name(server, entry)
        for name, sub in entry["subresources"].items():
            if name in CONNECTED:
                sub["schema"] = ""
            else:
                sub["schema"] = schema_name(server, sub) if sub["kind"] != entry["kind"] else entry["schema"]
        if "list" in entry["verbs"]:
            table = server.get(collection(entry), accept=TABLE)
            keep = ("name", "type", "format", "priority")
            for warning in server.warnings:
                entry["deprecation"] = warning.split('"', 1)[1].rstrip('"')
            entry["columns"] = [{key: column[key] for key in keep} for column in table["columnDefinitions"]]
    return entries


def resource_id(entry: Json) -> str:
    return f"{entry['plural']}.{entry['group']}" if entry["group"] else str(entry["plural"])


def discover(server: Server) -> list[Json]:
    entries = []
    for root in ("/api", "/apis"):
        for group in server.get(root, accept=AGGREGATED)["items"]:
            version = group["versions"][0]
            name = group["metadata"].get("name", "")
            entries += [discovered_entry(name, version["version"], resource) for resource in version["resources"]]
    return entries


def discovered_entry(group: str, version: str, resource: Json) -> Json:
    subresources = {
        sub["subresource"]: {
            "group": sub["responseKind"]["group"] or group,
            "version": sub["responseKind"]["version"] or version,
            "kind": sub["responseKind"]["kind"],
            "verbs": sub["verbs"],
        }
        for sub in resource.get("subresources", ())
        if sub["subresource"] not in UNSERVED
    }
    return {
        "group": group,
        "version": version,
        "plural": resource["resource"],
        "kind": resource["responseKind"]["kind"],
        "singular": resource["singularResource"],
        "shortNames": resource.get("shortNames", []),
        "categories": resource.get("categories", []),
        "namespaced": resource["scope"] == "Namespaced",
        "verbs": resource["verbs"],
        "subresources": subresources,
    }


def schema_name(server: Server, entry: Json) -> str:
    """The definition of this entry's group, version and kind; bodies of core subresources are in the core document."""
    wanted = {"group": entry["group"], "version": entry["version"], "kind": entry["kind"]}
    schemas = dict(server.get("/openapi/v3/api/v1")["components"]["schemas"])
    schemas |= server.get(f"/openapi/v3/{document_path(entry['group'], entry['version'])}")["components"]["schemas"]
    names = [name for name, schema in schemas.items() if wanted in schema.get("x-kubernetes-group-version-kind", ())]
    best = [name for name in names if re.search(rf"\.{entry['kind']}$", name)]
    if not best:
        raise SystemExit(f"no OpenAPI definition for {wanted}")
    return min(best)


def collection(entry: Json, namespace: str = "") -> str:
    root = f"/apis/{entry['group']}" if entry["group"] else "/api"
    inside = f"/namespaces/{namespace}" if namespace and entry["namespaced"] else ""
    return f"{root}/{entry['version']}{inside}/{entry['plural']}"
