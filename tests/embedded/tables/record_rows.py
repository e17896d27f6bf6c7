"""Create the objects of ``objects.yaml`` on a real API server and write down their table rows.

python tests/embedded/tables/record_rows.py --assets DIR [--check]
"""

import json
import re
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2] / "tools")]

from recording import arguments_of, settle
from test_real_rows import ROWS_FILE, SUITE

from facts.server import Server, running_server
from tensorfusion.embedded.kinds import Kinds

_UID = re.compile(r"(?<=controller-uid=)[0-9a-f-]+")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
KINDS = Kinds.builtin()
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def main() -> None:
    arguments = arguments_of(__doc__)
    with tempfile.TemporaryDirectory() as folder, running_server(arguments.assets, Path(folder)) as server:
        server.request("POST", CRDS, SUITE["definition"])
        while server.request("GET", "/apis/x.io/v1/foos")[0] != 200:
            time.sleep(0.1)
        rows = [recorded(server, obj) for obj in SUITE["objects"]]
    lines = ",\n".join(json.dumps(row, sort_keys=True) for row in rows)
    settle(arguments, ROWS_FILE, f"[\n{lines}\n]\n", named)


def recorded(server: Server, obj: dict[str, Any]) -> dict[str, Any]:
    """Create one object and ask for it as it is stored, and as a table."""
    delete = obj.pop("delete", False)
    kind = KINDS.of_kind(obj["apiVersion"], obj["kind"])
    collection = kind.resource.path("default") if kind else "/apis/x.io/v1/namespaces/default/foos"
    status, stored = server.request("POST", collection, obj)
    assert status == 201, stored
    path = f"{collection}/{stored['metadata']['name']}"
    if "status" in obj and kind is not None:
        status, stored = server.request("PUT", path + "/status", {**stored, "status": obj["status"]})
        assert status == 200, stored
    if delete:
        server.request("DELETE", path)
    while True:
        now = datetime.now(UTC)
        found = server.get(path + "?includeObject=None", accept=TABLE)
        if datetime.now(UTC).second == now.second:
            break
    stored = server.get(path)
    stored["metadata"].pop("managedFields", None)
    columns = [[column[key] for key in ("name", "type", "format", "priority")] for column in found["columnDefinitions"]]
    return {"now": now.isoformat(), "object": stored, "row": found["rows"][0], "columns": columns}


def named(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What lasts of each row, under its number and kind."""
    return {f"{number} {row['object']['kind']}": lasting(row) for number, row in enumerate(rows)}


def lasting(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs between two runs: ages, creation times, addresses that are given out."""
    changing = (
        "Age",
        "Created At",
        "Cluster-IP",
        "Last Seen",
        "First Seen",
        "When",
        "Restarts",
        "Duration",
        "Last Schedule",
    )
    names = [column[0] for column in row["columns"]]
    kept = [
        _UID.sub("UID", str(cell))
        for name, cell in zip(names, row["row"]["cells"], strict=True)
        if name not in changing
    ]
    return {"columns": row["columns"], "cells": kept, "conditions": row["row"].get("conditions")}


if __name__ == "__main__":
    main()
