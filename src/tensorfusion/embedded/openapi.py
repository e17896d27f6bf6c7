"""OpenAPI documents of the served kinds: one per group and version (v3), and all in one (v2).

What clients do with them decides what is in them: ``kubectl explain`` finds a schema through a path's
``x-kubernetes-group-version-kind``, ``kubectl apply`` looks for the ``fieldValidation`` parameter and for merge keys.
Built-in kinds have no description texts (the facts have none), custom kinds have their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensorfusion.embedded.facts import Facts
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.schema.schema import OBJECT_META
from tensorfusion.model.meta import Raw

V2_REFERENCES = "#/definitions/"
V3_REFERENCES = "#/components/schemas/"
# What the facts add to schemas for our own use.
_OURS = frozenset({"checks", "computed", "defaultAlone", "defaultBy", "defaultIn", "inline", "shown", "zeros"})
_LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
_LIST_META_SCHEMA: Raw = {
    "type": "object",
    "properties": {
        "continue": {"type": "string"},
        "remainingItemCount": {"type": "integer", "format": "int64"},
        "resourceVersion": {"type": "string"},
    },
}
_STATUS_SCHEMA: Raw = {
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "code": {"type": "integer", "format": "int32"},
        "message": {"type": "string"},
        "reason": {"type": "string"},
        "status": {"type": "string"},
    },
}
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_LIST_PARAMETERS = ("continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch")
_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"


def document_v3(kinds: Sequence[Kind], facts: Facts, version: str) -> Raw:
    """The OpenAPI v3 document of one group and version."""
    schemas = _schemas(kinds, facts, V3_REFERENCES)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": {path: item for kind in kinds for path, item in _paths(kind, _operation_v3)},
        "components": {"schemas": schemas},
    }


def document_v2(kinds: Sequence[Kind], facts: Facts, version: str) -> Raw:
    """The OpenAPI v2 document of everything."""
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": {path: item for kind in kinds for path, item in _paths(kind, _operation_v2)},
        "definitions": _schemas(kinds, facts, V2_REFERENCES),
    }


def _schemas(kinds: Sequence[Kind], facts: Facts, prefix: str) -> Raw:
    """The schemas of the kinds, their lists and all that they refer to."""
    found: Raw = {_LIST_META: _LIST_META_SCHEMA, _STATUS: _STATUS_SCHEMA}
    wanted = [OBJECT_META]
    for kind in kinds:
        if kind.is_custom:
            found[kind.definition] = _custom_schema(kind, prefix)
        else:
            wanted.append(kind.definition)
        if "list" in kind.verbs:
            found[kind.definition + "List"] = _list_schema(kind, prefix)
        for sub in kind.subresources.values():
            wanted += [
                name for name in facts.definitions if sub.schema and facts.definitions[name] is sub.schema.document
            ]
    while wanted:
        name = wanted.pop()
        if name not in found:
            schema = facts.definitions[name]
            found[name] = _rendered(schema, prefix)
            wanted += list(_references(schema))
    for kind in kinds:
        found[kind.definition]["x-kubernetes-group-version-kind"] = [_group_version_kind(kind, kind.resource.kind)]
    return dict(sorted(found.items()))


def _rendered(schema: Any, prefix: str) -> Any:
    """A schema of the facts as OpenAPI writes it: references in ``allOf``, our own keywords left out."""
    if isinstance(schema, list):
        return [_rendered(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: Raw = {}
    for key, value in schema.items():
        if key in _OURS:
            continue
        if key == "$ref" and isinstance(value, str):
            result["allOf"] = [{"$ref": prefix + value}]
        elif key == "properties":
            result[key] = {name: _rendered(inner, prefix) for name, inner in value.items()}
        elif key == "default":
            result[key] = value
        else:
            result[key] = _rendered(value, prefix)
    only_reference = len(result) == 1 and "$ref" in schema
    return result["allOf"][0] if only_reference else result


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _custom_schema(kind: Kind, prefix: str) -> Raw:
    """The definition's own schema with the fields that every object has."""
    schema = {**kind.schema.document}
    properties = dict(schema.get("properties", {}))
    properties |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": prefix + OBJECT_META}]},
    }
    schema["properties"] = properties
    return schema


def _list_schema(kind: Kind, prefix: str) -> Raw:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": prefix + kind.definition}},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": prefix + _LIST_META}]},
        },
        "x-kubernetes-group-version-kind": [_group_version_kind(kind, kind.list_kind)],
    }


def _group_version_kind(kind: Kind, name: str) -> Raw:
    return {"group": kind.resource.group, "version": kind.resource.version, "kind": name}


_METHODS: Mapping[str, tuple[str, str]] = {
    # verb: (method on the collection, method on an object); "" where it is not
    "list": ("get", ""),
    "create": ("post", ""),
    "deletecollection": ("delete", ""),
    "get": ("", "get"),
    "update": ("", "put"),
    "patch": ("", "patch"),
    "delete": ("", "delete"),
}
_ACTIONS = {"list": "list", "create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}


def _paths(kind: Kind, operation: Any) -> Iterator[tuple[str, Raw]]:
    """The paths of a kind with their operations."""
    resource = kind.resource
    collection = resource.path("{namespace}" if resource.namespaced else "")
    scope = [_path_parameter("namespace")] if resource.namespaced else []
    on_collection = {
        _METHODS[verb][0]: operation(kind, verb) for verb in kind.verbs if verb in _METHODS and _METHODS[verb][0]
    }
    on_object = {
        _METHODS[verb][1]: operation(kind, verb) for verb in kind.verbs if verb in _METHODS and _METHODS[verb][1]
    }
    if resource.namespaced and "list" in kind.verbs:
        yield resource.path(), {"get": operation(kind, "list")}
    yield collection, {**on_collection, "parameters": scope}
    if on_object:
        yield f"{collection}/{{name}}", {**on_object, "parameters": [*scope, _path_parameter("name")]}
    for sub in kind.subresources.values():
        if sub.schema is None and sub.kind == resource.kind:
            methods = {_METHODS[verb][1]: operation(kind, verb) for verb in sub.verbs if _METHODS[verb][1]}
            item = {**methods, "parameters": [*scope, _path_parameter("name")]}
            yield f"{collection}/{{name}}/{sub.name}", item


def _path_parameter(name: str) -> Raw:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter_names(verb: str) -> tuple[str, ...]:
    if verb in ("create", "update"):
        return _WRITE_PARAMETERS
    if verb == "patch":
        return (*_WRITE_PARAMETERS, "force")
    return _LIST_PARAMETERS if verb in ("list", "deletecollection") else ()


def _operation(kind: Kind, verb: str) -> Raw:
    operation: Raw = {
        "operationId": f"{verb}{kind.resource.group.title().replace('.', '').replace('-', '')}"
        f"{kind.resource.version.title()}{kind.resource.kind}",
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": _group_version_kind(kind, kind.resource.kind),
    }
    return operation


def _patch_types(kind: Kind) -> tuple[str, ...]:
    """What a patch of the kind may be; kubectl sends the best of these, and custom kinds have no merge keys."""
    return _PATCH_TYPES if kind.is_custom else (*_PATCH_TYPES, _STRATEGIC)


def _operation_v3(kind: Kind, verb: str) -> Raw:
    operation = _operation(kind, verb)
    names = _parameter_names(verb)
    if names:
        operation["parameters"] = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
    whole = {"$ref": V3_REFERENCES + kind.definition}
    if verb in ("create", "update"):
        operation["requestBody"] = {"content": {"*/*": {"schema": whole}}, "required": True}
    elif verb == "patch":
        content = {media: {"schema": {"type": "object"}} for media in _patch_types(kind)}
        operation["requestBody"] = {"content": content, "required": True}
    answer = {"$ref": V3_REFERENCES + _answer(kind, verb)}
    operation["responses"] = {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}}
    return operation


def _operation_v2(kind: Kind, verb: str) -> Raw:
    operation = _operation(kind, verb)
    parameters: list[Raw] = [{"name": name, "in": "query", "type": "string"} for name in _parameter_names(verb)]
    if verb in ("create", "update", "patch"):
        body = {"type": "object"} if verb == "patch" else {"$ref": V2_REFERENCES + kind.definition}
        parameters.append({"name": "body", "in": "body", "required": True, "schema": body})
    operation["parameters"] = parameters
    operation["consumes"] = list(_patch_types(kind)) if verb == "patch" else ["*/*"]
    operation["produces"] = ["application/json"]
    operation["responses"] = {"200": {"description": "OK", "schema": {"$ref": V2_REFERENCES + _answer(kind, verb)}}}
    return operation


def _answer(kind: Kind, verb: str) -> str:
    if verb == "list":
        return kind.definition + "List"
    return _STATUS if verb in ("delete", "deletecollection") else kind.definition
