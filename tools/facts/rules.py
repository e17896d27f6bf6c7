"""Learn which single-field rules the server really checks, by breaking one field of an accepted object at a time.

OpenAPI overstates them (``required`` there often means "always written by Go") and leaves most out (ports, names).
A rule is kept when the server named exactly that field as the cause in every place where the field was tried.
Written as ``checks`` per definition: ``{field: {"required": detail, "enum": [...], "minimum": [n, text], ...}}``.
"""

import copy
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from facts.defaults import META
from facts.kinds import collection
from facts.samples import Sample
from facts.server import Server

Json = dict[str, Any]
Place = tuple[Any, ...]
PLACES = 6
BOGUS = "Bogus!"
# How a name rule announces itself, and what the program calls it.
NAME_RULES = {
    "a lowercase RFC 1123 label must": "label",
    "a lowercase RFC 1123 subdomain must": "subdomain",
    "a DNS-1035 label must": "label1035",
    "name part must": "qualifiedName",
    "a valid label must": "labelValue",
}
BEYOND = {"minimum": {"int32": -1, "int64": -1}, "maximum": {"int32": (1 << 31) - 1, "int64": 1 << 31}}


def observe_rules(server: Server, resources: list[Json], definitions: Json, objects: list[Sample]) -> None:
    """Write ``checks`` into the definitions; ``nameRule`` and ``selectable`` into the resources."""
    tried: dict[tuple[str, str], list[tuple[Sample, Place]]] = defaultdict(list)
    stood: dict[str, list[set[str]]] = defaultdict(list)
    for sample in objects:
        if sample.method == "POST":
            stood[sample.definition].append(set(sample.sent))
            for definition, place in places(definitions, sample, stood):
                tried[definition, place[-1]].append((sample, place))
    for (definition, field), occurrences in sorted(tried.items(), key=lambda item: item[0]):
        schema = definitions[definition]["properties"][field]
        outcomes = [field_rules(server, schema, sample, place) for sample, place in occurrences[:PLACES]]
        first, *others = outcomes
        agreed = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
        if not all(field in fields for fields in stood[definition]):
            agreed.pop("required", None)  # it was accepted without
        if agreed:
            definitions[definition].setdefault("checks", {})[field] = agreed
    for entry in resources:
        own = [item for item in objects if item.definition == entry["schema"] and item.method == "POST"]
        if "list" in entry["verbs"]:
            entry["nameRule"] = name_rule(server, own[0])
            entry["selectable"] = selectable_fields(server, entry, definitions)


def places(definitions: Json, sample: Sample, stood: dict[str, list[set[str]]]) -> Iterator[tuple[str, Place]]:
    """Every field of every structure in the sample, as (definition, path of keys and indexes).

    ``stood`` collects with which fields each structure was accepted.
    """
    for name, schema in definitions[sample.definition]["properties"].items():
        if name in sample.sent and name not in ("apiVersion", "kind", "metadata"):
            yield sample.definition, (name,)
            yield from inside(definitions, schema, sample.sent[name], (name,), stood)


def inside(
    definitions: Json, schema: Json, value: Any, place: Place, stood: dict[str, list[set[str]]]
) -> Iterator[tuple[str, Place]]:
    if "$ref" in schema:
        definition = schema["$ref"]
        if definition == META or not isinstance(value, dict):
            return
        stood[definition].append(set(value))
        for name, inner in definitions[definition].get("properties", {}).items():
            if name in value:
                yield definition, (*place, name)
                yield from inside(definitions, inner, value[name], (*place, name), stood)
    elif schema.get("type") == "array":
        for index, item in enumerate(value):
            yield from inside(definitions, schema["items"], item, (*place, index), stood)


def field_rules(server: Server, schema: Json, sample: Sample, place: Place) -> Json:
    """What the server said when this one field was left out or given a wrong value."""
    rules: Json = {}
    missing = cause_at(server, sample, place, None)
    if missing and missing["reason"] == "FieldValueRequired":
        rules["required"] = missing["message"].removeprefix("Required value").removeprefix(": ")
    if schema.get("type") == "string" and "format" not in schema:
        wrong = cause_at(server, sample, place, BOGUS)
        if wrong and wrong["reason"] == "FieldValueNotSupported":
            values = re.findall(r'"([^"]*)"', wrong["message"].split("supported values:", 1)[1])
            if value_at(sample.sent, place) in values:
                rules["enum"] = values
        elif wrong and wrong["reason"] == "FieldValueInvalid":
            text = wrong["message"].split(": ", 2)[-1]
            for start, rule in NAME_RULES.items():
                if text.startswith(start):
                    rules["name"] = rule
    elif schema.get("type") == "integer":
        for key, beyond in BEYOND.items():
            bound = number_bound(server, sample, place, beyond[schema["format"]])
            if bound:
                rules[key] = bound
    return rules


def number_bound(server: Server, sample: Sample, place: Place, beyond: int) -> list | None:
    """The outermost accepted number towards ``beyond`` and what the server says past it; None when all are accepted."""

    def refusal(number: int) -> str | None:
        cause = cause_at(server, sample, place, number)
        if cause is None or cause["reason"] == "FieldValueForbidden":
            return cause and cause["message"]
        return cause["message"].split(": ", 2)[-1]

    text = refusal(beyond)
    accepted, refused = value_at(sample.sent, place), beyond
    if text is None or accepted == beyond:
        return None
    while abs(accepted - refused) > 1:
        middle = (accepted + refused) // 2
        if refusal(middle) is None:
            accepted = middle
        else:
            refused = middle
    return [accepted, text]


def value_at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value


def cause_at(server: Server, sample: Sample, place: Place, value: Any) -> Json | None:
    """The cause that names exactly the changed field; ``None`` as value removes the field."""
    body = copy.deepcopy(sample.sent)
    target = value_at(body, place[:-1])
    if value is None:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    status, answer = server.request(sample.method, sample.path + "?dryRun=All", body)
    if status != 422:
        return None
    causes: list[Json] = (answer.get("details") or {}).get("causes") or []
    return next((cause for cause in causes if cause.get("field") == field_path(place)), None)


def field_path(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def name_rule(server: Server, sample: Sample) -> str:
    """Which names the kind takes: one of ``NAME_RULES`` or ``path`` (anything that fits into a URL segment)."""
    for name in ("Bad_Name", "a.b", "1a"):
        cause = cause_at(server, sample, ("metadata", "name"), name)
        if cause:
            text = cause["message"].split(": ", 2)[-1]
            if text == "must not contain dots":
                return "label"
            found = [rule for start, rule in NAME_RULES.items() if text.startswith(start)]
            if found and not (name == "Bad_Name" and found[0] == "label"):
                return found[0]
            if found:
                return "label"
    return "path"


def selectable_fields(server: Server, entry: Json, definitions: Json) -> list[str]:
    """The field paths that the server takes in a field selector, of all scalar fields at most three deep."""
    fields = ["metadata.name", "metadata.namespace", *scalar_paths(definitions, entry["schema"], "", 3)]
    accepted = []
    for field in fields:
        status, _ = server.request("GET", f"{collection(entry)}?limit=1&fieldSelector={field}%3Dtrue")
        if status == 200:
            accepted.append(field)
    return accepted


def scalar_paths(definitions: Json, definition: str, prefix: str, depth: int) -> Iterator[str]:
    for name, schema in sorted(definitions[definition].get("properties", {}).items()):
        path = f"{prefix}{name}"
        if schema.get("type") in ("string", "integer", "boolean"):
            yield path
        elif "$ref" in schema and schema["$ref"] != META and depth > 1:
            yield from scalar_paths(definitions, schema["$ref"], path + ".", depth - 1)
