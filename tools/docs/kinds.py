"""A page for each kind of ``tensor-fusion.ai/v1``, made from its CustomResourceDefinition as clusters get it.

Every object of the schema is a section with a table of its fields, so that each field has a place that can be linked.
Examples are hand-written (``docs/kinds/NAME.yaml``), and a test applies them.
"""

import json
from pathlib import Path
from typing import Any

from pages import Page, slug
from tensorfusion.model.crd import all_crds

Schema = dict[str, Any]
_QUANTITY = "x-kubernetes-int-or-string"
_LONGEST_DEFAULT = 60


def pages(texts: Path) -> list[Page]:
    """The pages of all kinds, and their overview."""
    made = [_page(crd, texts) for crd in all_crds()]
    rows = []
    for crd in all_crds():
        names, scope = crd["spec"]["names"], crd["spec"]["scope"]
        rows.append(f"| [{names['kind']}]({names['plural']}.md) | {_where(scope)} | {_description(crd)} |")
    overview = [
        "# Kinds of tensor-fusion.ai/v1",
        "",
        "Made from the CustomResourceDefinitions that every cluster gets. `kubectl explain KIND.spec` shows the same.",
        "",
        "| kind | belongs to | is |",
        "|---|---|---|",
        *rows,
    ]
    return [Page("reference/kinds/index.md", "\n".join(overview)), *made]


def _page(crd: Schema, texts: Path) -> Page:
    spec = crd["spec"]
    names = spec["names"]
    version = spec["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    lines = [
        f"# {names['kind']}",
        "",
        _description(crd),
        "",
        "| | |",
        "|---|---|",
        f"| apiVersion | `{spec['group']}/{version['name']}` |",
        f"| kubectl | `kubectl get {names['plural']}` |",
        f"| belongs to | {_where(spec['scope'])} |",
    ]
    subresources = ", ".join(f"`{name}`" for name in version.get("subresources", {}))
    if subresources:
        lines.append(f"| subresources | {subresources} |")
    lines.append("")
    example = texts / f"{names['plural']}.yaml"
    if example.exists():
        lines += ["## Example", "", "```yaml", example.read_text().strip(), "```", ""]
    for name in ("spec", "status"):
        if name in schema["properties"]:
            lines += _section(name, schema["properties"][name], required=name in schema.get("required", ()))
    columns = version.get("additionalPrinterColumns", ())
    if columns:
        lines += ["## Columns of kubectl get", "", "| column | shows |", "|---|---|"]
        lines += [f"| {column['name']} | `{column['jsonPath']}` |" for column in columns]
    return Page(f"reference/kinds/{names['plural']}.md", "\n".join(lines))


def _section(path: str, schema: Schema, *, required: bool = False) -> list[str]:
    """An object's table, then the sections of the objects in it."""
    level = "##" if path.count(".") == 0 else "###"
    lines = [f"{level} {path}", "", _text(schema.get("description", "")), ""]
    inner: list[tuple[str, Schema]] = []
    rows = []
    needed = set(schema.get("required", ()))
    for name, part in schema.get("properties", {}).items():
        below = _object_in(part)
        place = f"{path}.{name}"
        shown = f"[`{name}`](#{slug(place + below[0])})" if below else f"`{name}`"
        rows.append(f"| {shown} | {_type(part)} | {_default(part)} | {_meaning(part, required=name in needed)} |")
        if below:
            inner.append((place + below[0], below[1]))
    if rows:
        lines += ["| field | type | default | |", "|---|---|---|---|", *rows, ""]
    lines += [
        f"- {_text(rule['message'])}" for rule in schema.get("x-kubernetes-validations", ()) if rule.get("message")
    ]
    lines.append("")
    for place, part in inner:
        lines += _section(place, part)
    return lines


def _object_in(schema: Schema) -> tuple[str, Schema] | None:
    """The object with fields that a field is, or holds: with what is appended to its path."""
    if schema.get("properties"):
        return "", schema
    if isinstance(schema.get("items"), dict) and (found := _object_in(schema["items"])):
        return f"[]{found[0]}", found[1]
    if isinstance(schema.get("additionalProperties"), dict) and (found := _object_in(schema["additionalProperties"])):
        return f"{{}}{found[0]}", found[1]
    return None


def _type(schema: Schema) -> str:
    if schema.get(_QUANTITY):
        return "quantity" if "pattern" in schema else "integer or string"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if kind == "string" and schema.get("format"):
        return str(schema["format"])
    return str(kind)


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    text = json.dumps(schema["default"])
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT else "(an object)"


def _meaning(schema: Schema, *, required: bool) -> str:
    parts = ["**Required.**"] if required else []
    parts.append(_text(schema.get("description", "")))
    choices = schema.get("enum") or schema.get("items", {}).get("enum") if schema.get("type") != "object" else None
    if choices:
        parts.append("One of " + ", ".join(f"`{choice}`" if choice != "" else "empty" for choice in choices) + ".")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        parts.append(f"{low} to {high}.")
    elif low is not None and low != 0:
        parts.append(f"At least {low}.")
    if not schema.get("properties"):
        parts += [_text(message) for message in _rules(schema)]
    return " ".join(part for part in parts if part)


def _rules(schema: Schema) -> list[str]:
    """What an object or a value has to hold beside its type, in words."""
    return [rule["message"] for rule in schema.get("x-kubernetes-validations", ()) if rule.get("message")]


def _text(text: str) -> str:
    """Plain text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _where(scope: str) -> str:
    return "a namespace" if scope == "Namespaced" else "the cluster"


def _description(crd: Schema) -> str:
    return _text(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].get("description", ""))
