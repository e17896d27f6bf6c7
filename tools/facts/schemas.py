"""OpenAPI v3 schemas without their texts, and only those that the served kinds reach."""

from typing import Any

from facts.server import Server

Json = dict[str, Any]
REF = "#/components/schemas/"
DROPPED = ("description", "x-kubernetes-group-version-kind", "x-kubernetes-unions")
ZERO: tuple[Any, ...] = ({}, [], "", 0, False, None)


def reachable_definitions(server: Server, resources: list[Json]) -> Json:
    """Every definition that a resource or one of its subresources refers to, by its full name."""
    definitions: Json = {}
    addressed = [*resources, *(sub for resource in resources for sub in resource["subresources"].values())]
    for document in sorted({document_path(entry["group"], entry["version"]) for entry in addressed}):
        schemas = server.get(f"/openapi/v3/{document}")["components"]["schemas"]
        wanted = [entry["schema"] for entry in addressed if entry["schema"] in schemas]
        while wanted:
            name = wanted.pop()
            if name in definitions:
                continue
            definitions[name] = bare = compact(schemas[name])
            wanted += list(references(bare))
    return definitions


def document_path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def compact(schema: Any) -> Any:
    """The schema without texts, with plain references, and without the zero values that Go would write anyway.

    A structure that Go always has (its zero value is the default) is marked ``inline``: what is required inside it is
    required without it, too.
    """
    if not isinstance(schema, dict):
        return schema
    if len(schema.get("allOf", ())) == 1 and "$ref" in schema["allOf"][0]:
        schema = {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}
    result: Json = {"inline": True} if "$ref" in schema and schema.get("default") == {} else {}
    for key, value in schema.items():
        if key in DROPPED or (key == "default" and value in ZERO):
            continue
        if key == "$ref":
            result[key] = value.removeprefix(REF)
        elif key == "properties":
            result[key] = {name: compact(item) for name, item in value.items()}
        elif key in ("items", "additionalProperties"):
            result[key] = compact(value)
        else:
            result[key] = value
    return result


def references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*(references(item) for item in schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    found = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
    for value in schema.values():
        found |= references(value)
    return found
