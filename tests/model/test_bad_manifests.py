"""Wrong manifests, one or more for every field of every kind: each is refused with its path, found and wanted."""

import re
from typing import Any

import pytest

from tensorfusion.model.crd import KINDS, crd
from tensorfusion.testing.bad_manifests import BadManifest, bad_manifests, good_manifest
from tensorfusion.testing.verdicts import verdict


def problem(bad: BadManifest) -> str | None:
    """What is wrong with the refusal; None where it is as it should be."""
    found = verdict(bad.document, part=bad.part)
    if bad.unknown:
        said = f'unknown field "{bad.path}"' in found.message
        return None if found.code == 400 and said else f"{found.code}: {found.message}"
    if found.code != 422:
        return f"{found.code}: {found.message}"
    message = next((message for field, message in found.causes if field == bad.path), None)
    if message is None:
        return f"refused at {found.fields}"
    return None if wanted_and_found(bad, message) else f"refused with {message!r}"


def wanted_and_found(bad: BadManifest, message: str) -> bool:
    """Whether the words say both; what is missing, twice or too long is not shown."""
    if bad.what == "missing":
        return message == "Required value"
    if bad.what == "twice":
        return message.startswith("Duplicate value: ")
    if bad.what == "maxLength":
        return bool(re.fullmatch(r"Too long: may not be more than \d+ bytes", message))
    return bool(re.match(r"(Invalid value|Unsupported value|Too many): .+: .+", message, re.DOTALL))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_smallest_manifest_that_is_right_is_accepted(kind: str) -> None:
    assert verdict(good_manifest(kind)).code == 201


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_wrong_manifest_is_refused_with_path_found_and_wanted(kind: str) -> None:
    problems = {f"{bad.path} {bad.what}": said for bad in bad_manifests(kind) if (said := problem(bad)) is not None}
    assert problems == {}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_there_is_a_wrong_manifest_for_every_field(kind: str) -> None:
    def fields(schema: Any, path: str) -> list[str]:
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return [path]
        below = [
            *(
                field
                for name, inner in schema.get("properties", {}).items()
                for field in fields(inner, f"{path}.{name}")
            ),
            *(fields(schema["items"], f"{path}[0]") if "items" in schema else ()),
        ]
        inner = schema.get("additionalProperties")
        return [path, *below, *(fields(inner, f"{path}.k") if isinstance(inner, dict) else ())]

    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [part for part in ("spec", "status") if part in schema["properties"]]
    wanted = {field for part in parts for field in fields(schema["properties"][part], part)}
    assert wanted <= {bad.path for bad in bad_manifests(kind)}


def test_a_status_that_lacks_a_required_field_is_refused_also_where_the_old_one_lacked_it_too() -> None:
    cluster = good_manifest("TensorFusionCluster")
    condition = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    found = verdict({**cluster, "status": {"conditions": [condition]}}, part="status")
    assert ("status.conditions[0].message", "Required value") in found.causes


def test_the_number_of_a_scale_subresource_is_looked_at_apart_from_its_schema() -> None:
    workload = good_manifest("TensorFusionWorkload")
    for value, said in (
        (-1, "Invalid value: -1: should be a non-negative integer"),
        ("x", "Invalid value: 0: .spec.replicas accessor error: x is of the type string, expected int64"),
    ):
        found = verdict({**workload, "spec": {"replicas": value}})
        assert (".spec.replicas", said) in found.causes
