"""What was probably meant by a field that a server does not know, from the schemas that the server publishes.

Asked for only after a refusal; a server that publishes nothing for the kind gets no hint.
"""

import json
import re
from typing import Any

from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.model.resources import Resource
from tensorfusion.suggestions import nearest

_UNKNOWN = re.compile(r'unknown field "([^"]+)"')
_PART = re.compile(r"([^.\[\]]+)((?:\[[^\]]*\])*)")

Json = Any  # Any: JSON of any shape


async def field_hints(client: Client, resource: Resource, message: str) -> str:
    """``: did you mean spec.replicas?`` for the unknown fields of an error message; ``""`` where nothing is near."""
    unknown = _UNKNOWN.findall(message)
    if not unknown:
        return ""
    group = f"apis/{resource.group}" if resource.group else "api"
    try:
        published = json.loads(await client.get_raw(f"/openapi/v3/{group}/{resource.version}"))
    except (ApiError, ValueError):
        return ""
    schemas = published.get("components", {}).get("schemas", {})
    root = next((schema for schema in schemas.values() if _describes(schema, resource)), None)
    likely = [meant for path in unknown if root is not None and (meant := nearest_field(schemas, root, path))]
    return f": did you mean {' and '.join(likely)}?" if likely else ""


def nearest_field(schemas: Json, root: Json, path: str) -> str | None:
    """The path with its last part as the schema spells it; None where nothing is near."""
    parts = _PART.findall(path)
    schema = root
    for name, indexes in parts[:-1]:
        schema = _resolved(schemas, _resolved(schemas, schema).get("properties", {}).get(name, {}))
        if indexes:
            schema = _resolved(schemas, schema.get("items") or schema.get("additionalProperties") or {})
        elif isinstance(schema.get("additionalProperties"), dict):
            return None
    known = _resolved(schemas, schema).get("properties", {})
    likely = nearest(parts[-1][0], known) if parts and known else []
    return f"{path[: path.rindex(parts[-1][0])]}{likely[0]}" if likely else None


def _describes(schema: Json, resource: Resource) -> bool:
    wanted = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return wanted in schema.get("x-kubernetes-group-version-kind", ())


def _resolved(schemas: Json, schema: Json) -> Json:
    """A schema behind its references."""
    for _ in range(4):
        if "$ref" in schema:
            schema = schemas.get(str(schema["$ref"]).rpartition("/")[2], {})
        elif schema.get("allOf"):
            schema = schema["allOf"][0]
        else:
            break
    return schema
