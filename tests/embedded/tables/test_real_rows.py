"""The rows of tables against those recorded from a real API server (``record_rows.py``)."""

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.tables import IncludeObject, table

HERE = Path(__file__).parent
SUITE = yaml.load((HERE / "objects.yaml").read_text(), yaml.CSafeLoader)
ROWS_FILE = HERE / "rows.json"
ROWS: list[dict[str, Any]] = json.loads(ROWS_FILE.read_text()) if ROWS_FILE.exists() else []


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    registry = Kinds.builtin()
    definition = copy.deepcopy(SUITE["definition"])
    registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions").schema.prepare(definition)
    registry.install_crd(definition)
    return registry


def kind_of(kinds: Kinds, obj: dict[str, Any]) -> Kind:
    kind = kinds.of_kind(obj["apiVersion"], obj["kind"])
    assert kind is not None
    return kind


@pytest.mark.parametrize(
    "recorded", ROWS, ids=lambda row: f"{row['object']['kind']}-{row['object']['metadata']['name']}"
)
def test_a_row_is_that_of_a_real_server(kinds: Kinds, recorded: dict[str, Any]) -> None:
    obj = recorded["object"]
    now = datetime.fromisoformat(recorded["now"])
    made = table(kind_of(kinds, obj), [obj], now=now, list_meta={}, include=IncludeObject.NONE)
    assert made["rows"] == [recorded["row"]]


@pytest.mark.parametrize(
    "recorded", ROWS, ids=lambda row: f"{row['object']['kind']}-{row['object']['metadata']['name']}"
)
def test_the_columns_are_those_of_a_real_server(kinds: Kinds, recorded: dict[str, Any]) -> None:
    made = table(kind_of(kinds, recorded["object"]), [], now=datetime.fromisoformat(recorded["now"]), list_meta={})
    shown = [[column[key] for key in ("name", "type", "format", "priority")] for column in made["columnDefinitions"]]
    assert shown == recorded["columns"]


def test_every_kind_with_objects_has_rows_of_its_own(kinds: Kinds) -> None:
    recorded = {(row["object"]["apiVersion"], row["object"]["kind"]) for row in ROWS}
    alike = {"ClusterRole", "ValidatingWebhookConfiguration", "CustomResourceDefinition"}
    for kind in kinds.stored():
        assert (kind.resource.api_version, kind.resource.kind) in recorded or kind.resource.kind in alike
