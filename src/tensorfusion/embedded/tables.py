"""Objects as clients that print want them: Tables (``kubectl get``) and objects with their metadata only.

Rendering happens per request on decoded objects; nothing is kept. ``now`` is passed in: ages are part of a row.

Source: meta.k8s.io/v1 Table; apiextensions-apiserver pkg/registry/customresource/tableconvertor.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from tensorfusion.embedded.ages import age, parse_time
from tensorfusion.embedded.cells import BUILTIN_CELLS, Cells
from tensorfusion.embedded.json_path import compile_path
from tensorfusion.embedded.kind import Column, Kind
from tensorfusion.embedded.pod_cells import pod_conditions
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw

_META_GROUP = "meta.k8s.io"
_INVALID = "<invalid>"


class IncludeObject(StrEnum):
    """How much of each object a table's rows carry."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


def include_object(text: str) -> IncludeObject:
    """The value of the ``includeObject`` parameter; empty is ``Metadata``.

    Raises:
        BadRequest: not one of the three.
    """
    try:
        return IncludeObject(text or IncludeObject.METADATA)
    except ValueError:
        raise BadRequest(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{text}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        ) from None


def table(
    kind: Kind,
    objects: Iterable[Raw],
    *,
    now: datetime,
    list_meta: Raw,
    include: IncludeObject = IncludeObject.METADATA,
    columns: bool = True,
    version: str = "v1",
) -> Raw:
    """A Table of the objects, ``version`` is its own.

    ``list_meta`` is the list's (or the object's) metadata: ``resourceVersion``, ``continue``, ``remainingItemCount``.
    In a watch only the first event needs ``columns``.
    """
    cells = _cells_of(kind)
    is_pod = kind.resource.id == "pods"
    rows: list[Raw] = []
    for obj in objects:
        row: Raw = {"cells": cells(obj, now)}
        if is_pod and (conditions := pod_conditions(obj)):
            row["conditions"] = conditions
        row["object"] = _row_object(obj, include, version)
        rows.append(row)
    definitions = [_definition(column) for column in kind.columns] if columns else None
    return {
        "kind": "Table",
        "apiVersion": f"{_META_GROUP}/{version}",
        "metadata": list_meta,
        "columnDefinitions": definitions,
        "rows": rows,
    }


_SCALE_COLUMNS = (("Name", "string"), ("Desired", "integer"), ("Available", "integer"), ("Age", "string"))


def scale_table(scale: Raw, *, now: datetime, include: IncludeObject, version: str = "v1") -> Raw:
    """The Table of a Scale, which belongs to no kind that is stored."""
    metadata = scale["metadata"]
    replicas = ((scale.get(part) or {}).get("replicas", 0) for part in ("spec", "status"))
    cells = [metadata["name"], *replicas, age(metadata["creationTimestamp"], now)]
    columns = [
        {"name": name, "type": kind, "format": "", "description": "", "priority": 0} for name, kind in _SCALE_COLUMNS
    ]
    return {
        "kind": "Table",
        "apiVersion": f"{_META_GROUP}/{version}",
        "metadata": {"resourceVersion": metadata.get("resourceVersion", "")},
        "columnDefinitions": columns,
        "rows": [{"cells": cells, "object": _row_object(scale, include, version)}],
    }


def partial(obj: Raw, version: str = "v1") -> Raw:
    """The object's metadata alone, as ``PartialObjectMetadata``."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{_META_GROUP}/{version}", "metadata": obj["metadata"]}


def partial_list(objects: Iterable[Raw], list_meta: Raw, version: str = "v1") -> Raw:
    """``PartialObjectMetadataList``."""
    api_version = f"{_META_GROUP}/{version}"
    items = [partial(obj, version) for obj in objects]
    return {"kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": list_meta, "items": items}


def _row_object(obj: Raw, include: IncludeObject, version: str) -> Raw | None:
    match include:
        case IncludeObject.NONE:
            return None
        case IncludeObject.OBJECT:
            return obj
        case IncludeObject.METADATA:
            return partial(obj, version)


def _definition(column: Column) -> Raw:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _cells_of(kind: Kind) -> Cells:
    found = BUILTIN_CELLS.get(kind.resource.id) if not kind.is_custom else None
    if found is not None:
        return found
    return _custom_cells([_custom_cell(column) for column in kind.columns[1:]])


def _custom_cells(rest: list[Callable[[Raw, datetime], object]]) -> Cells:
    def cells(obj: Raw, now: datetime) -> list[object]:
        return [obj["metadata"].get("name", ""), *(cell(obj, now) for cell in rest)]

    return cells


def _custom_cell(column: Column) -> Callable[[Raw, datetime], object]:
    find = compile_path(column.json_path)

    def cell(obj: Raw, now: datetime) -> object:
        found = find(obj)
        return _shown(found[0], column.type, now) if found else None

    return cell


def _shown(value: Any, type_: str, now: datetime) -> object:
    """A value as its column's type shows it; None where it does not fit."""
    match type_:
        case "string":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        case "date":
            return age(value, now) if isinstance(value, str) and parse_time(value) is not None else _INVALID
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case _:
            return None
