"""Ages, JSONPath, the parts of a table, and metadata-only objects."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tensorfusion.embedded.ages import age, human_duration
from tensorfusion.embedded.json_path import compile_path
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.tables import IncludeObject, include_object, partial, partial_list, table
from tensorfusion.errors import BadRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = Kinds.builtin()
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "d"}, "spec": {"containers": [{}]}}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (2 * 86400, "2d"),
        (2 * 86400 + 3600, "2d1h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (2 * 365 * 86400, "2y"),
        (2 * 365 * 86400 + 86400, "2y1d"),
        (9 * 365 * 86400 + 86400, "9y"),
    ],
)
def test_durations_are_told_as_kubectl_tells_them(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def test_an_age_needs_a_time() -> None:
    assert age(None, NOW) == "<unknown>"
    assert age("soon", NOW) == "<unknown>"
    assert age((NOW - timedelta(minutes=5)).isoformat(), NOW) == "5m"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".missing.b", []),
        (".l[0].n", ["x"]),
        (".l[-1].n", ["y"]),
        (".l[9].n", []),
        (".l[*].n", ["x", "y"]),
        ("['a']['b']", [1]),
        (r".labels.a\.b/c", ["d"]),
        ('.l[?(@.n=="y")].v', [2]),
        (".l[?(@.n!='y')].v", [1]),
        (".l[?(@.v==2)].n", ["y"]),
        (".null", []),
        ("nonsense", []),
        (".l[?(broken", []),
    ],
)
def test_paths_find_what_printer_columns_need(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1}, "l": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "labels": {"a.b/c": "d"}, "null": None}
    assert compile_path(path)(obj) == found


def test_rows_carry_as_much_of_the_object_as_was_asked_for() -> None:
    pods = KINDS.by_id("pods")

    def carried(include: IncludeObject) -> Any:
        return table(pods, [POD], now=NOW, list_meta={"resourceVersion": "5"}, include=include)["rows"][0]["object"]

    assert carried(IncludeObject.NONE) is None
    assert carried(IncludeObject.OBJECT) is POD
    assert carried(IncludeObject.METADATA) == partial(POD)
    assert partial(POD)["kind"] == "PartialObjectMetadata"


def test_a_table_says_where_the_list_stood() -> None:
    made = table(KINDS.by_id("pods"), [], now=NOW, list_meta={"resourceVersion": "5", "continue": "t"}, columns=False)
    assert made["metadata"] == {"resourceVersion": "5", "continue": "t"}
    assert made["columnDefinitions"] is None
    assert made["rows"] == []


def test_the_include_parameter_has_three_values_and_a_default() -> None:
    assert include_object("") is IncludeObject.METADATA
    assert include_object("None") is IncludeObject.NONE
    with pytest.raises(BadRequest, match="must be 'Metadata', 'Object', 'None', or empty"):
        include_object("Everything")


def test_a_list_of_metadata_only() -> None:
    made = partial_list([POD], {"resourceVersion": "5"})
    assert made["kind"] == "PartialObjectMetadataList"
    assert made["items"] == [partial(POD)]


@pytest.mark.parametrize("kind", KINDS.stored(), ids=lambda kind: kind.resource.id)
def test_a_bare_object_has_a_row_as_wide_as_its_columns(kind: Any) -> None:
    row = table(kind, [{"metadata": {"name": "x"}}], now=NOW, list_meta={})["rows"][0]
    assert len(row["cells"]) == len(kind.columns)
