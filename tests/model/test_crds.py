"""The generated CustomResourceDefinitions are what the API reference says."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.model.crd import KINDS, all_crds, crd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
import crd_reference as reference  # noqa: E402  the contract, typed apart from the code

_LINE = re.compile(
    r"^(?P<path>\S+) (?P<type>string|integer|number|boolean|array|object|map|raw|quantity|signed)(?P<required> R)?"
    r"(?: =(?P<default>\S+))?(?: (?P<min>\d+)\.\.(?P<max>\d+)?)?(?: \{(?P<enum>[^}]*)\})?$"
)


def lines(kind: str) -> list[str]:
    return [line for line in reference.FIELDS[kind].splitlines() if line.strip()]


@cache  # each line of the reference asks for it, and what it is made of are all types of the kind
def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def find(kind: str, path: str) -> tuple[dict[str, Any], bool]:
    """The schema at a path, and whether its parent requires it."""
    schema, required = schema_of(kind), False
    for part in path.split("."):
        name, tail = re.fullmatch(r"([^\[{]*)((?:\[\]|\{\})*)", part).groups()  # type: ignore[union-attr]
        required = name in schema.get("required", [])
        assert name in schema["properties"], f"{kind}: no field {path} (at {part})"
        schema = schema["properties"][name]
        for step in re.findall(r"\[\]|\{\}", tail):
            schema = schema["items"] if step == "[]" else schema["additionalProperties"]
    return schema, required


@pytest.mark.parametrize("kind", sorted(reference.FIELDS))
def test_every_field_of_the_reference_is_there_with_its_rules(kind: str) -> None:
    for line in lines(kind):
        match = _LINE.match(line)
        assert match is not None, f"test table: {line!r}"
        schema, required = find(kind, match["path"])
        where = f"{kind}.{match['path']}"
        assert required == bool(match["required"]), where
        assert _type(schema) == match["type"], where
        wanted = match["default"]
        found = schema.get("default")
        assert (str(found).replace(" ", "_") if found is not None else None) == wanted, where
        low, high = match["min"], match["max"]
        if low is not None:
            assert schema.get("minimum") == int(low), where
            assert schema.get("maximum") == (int(high) if high else None), where
        if match["enum"] is not None:
            assert schema.get("enum") == match["enum"].split(","), where


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "signed" if "-" in schema["pattern"].split("(")[0] else "quantity"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "raw"
    if "additionalProperties" in schema and schema["additionalProperties"].get("type") == "string":
        return "map"
    return str(schema["type"])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_top_level_fields_are_those_of_the_reference(kind: str) -> None:
    for part in ("spec", "status"):
        wanted = {re.split(r"[.\[{ ]", line[len(part) + 1 :])[0] for line in lines(kind) if line.startswith(f"{part}.")}
        found = set(schema_of(kind)["properties"].get(part, {}).get("properties", {}))
        assert found == wanted


def test_requirement_keys_are_the_well_known_ones() -> None:
    for side in ("gpu", "cpu"):
        path = f"spec.nodeManagerConfig.nodeProvisioner.{side}Requirements[].key"
        schema, required = find("GPUPool", path)
        assert schema["enum"] == reference.REQUIREMENT_KEYS
        assert required


def test_available_percent_keys_contain_dots() -> None:
    assert set(find("GPUResourceQuota", "status.availablePercent")[0]["properties"]) == reference.PERCENT_KEYS


@pytest.mark.parametrize("kind", sorted(reference.COLUMNS))
def test_printer_columns_are_those_of_the_reference_and_point_at_real_fields(kind: str) -> None:
    columns = crd(kind)["spec"]["versions"][0].get("additionalPrinterColumns", [])
    assert " ".join(f"{column['name']}:{column['jsonPath']}" for column in columns) == reference.COLUMNS[kind]
    for column in columns:
        if column["jsonPath"] != ".metadata.creationTimestamp":
            find(kind, column["jsonPath"].removeprefix(".").replace("[0]", "[]"))


@pytest.mark.parametrize("kind", sorted(reference.SCOPES))
def test_names_scope_and_subresource(kind: str) -> None:
    definition = crd(kind)
    plural, scope = reference.SCOPES[kind]
    spec = definition["spec"]
    assert definition["metadata"]["name"] == f"{plural}.tensor-fusion.ai"
    assert (spec["names"]["plural"], spec["scope"], spec["names"]["kind"]) == (plural, scope, kind)
    assert "shortNames" not in spec["names"]
    assert [(version["name"], version["served"], version["storage"]) for version in spec["versions"]] == [
        ("v1", True, True)
    ]
    subresources = None if kind in reference.WITHOUT_STATUS else {"status": {}}
    if kind == "TensorFusionWorkload":
        paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.workerCount"}
        subresources = {"status": {}, "scale": paths}
    assert spec["versions"][0].get("subresources") == subresources


def test_every_field_says_what_it_is_for() -> None:
    missing: list[str] = []

    def walk(schema: dict[str, Any], path: str) -> None:
        for name, inner in schema.get("properties", {}).items():
            here = f"{path}.{name}"
            if not inner.get("description") and name != "metadata":
                missing.append(here)
            walk(inner, here)
        for key in ("items", "additionalProperties"):
            if key in schema:
                walk(schema[key], path)

    for kind in KINDS:
        walk(schema_of(kind), kind)
    assert missing == []


def test_the_generated_files_are_what_the_types_say() -> None:
    done = subprocess.run(
        [sys.executable, "tools/generate_crds.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_one_definition_a_kind() -> None:
    assert sorted(definition["spec"]["names"]["kind"] for definition in all_crds()) == sorted(reference.SCOPES)
