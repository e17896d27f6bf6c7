"""The sample objects of ``samples.yaml`` as requests that the server accepts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facts.kinds import collection, resource_id
from facts.server import Server

Json = dict[str, Any]
_FILE = yaml.safe_load((Path(__file__).parent / "samples.yaml").read_text())
SERVED: list[str] = _FILE["served"]


@dataclass(frozen=True)
class Sample:
    """One accepted object, how to send it again without storing it, and what came back."""

    resource: str
    definition: str
    method: str
    path: str
    sent: Json
    returned: Json


def samples(server: Server, resources: list[Json]) -> list[Sample]:
    """Every sample, tried once. A sample that the server refuses ends the run: it teaches nothing."""
    by_name = {resource_id(entry): entry for entry in resources}
    server.request("POST", collection(by_name["serviceaccounts"], "default"), {"metadata": {"name": "default"}})
    return [tried(server, by_name[item["resource"]], item) for item in _FILE["samples"]]


def tried(server: Server, entry: Json, item: Json) -> Sample:
    api_version = f"{entry['group']}/{entry['version']}" if entry["group"] else entry["version"]
    body = {"apiVersion": api_version, "kind": entry["kind"], **item.get("kind", {}), **item["object"]}
    path = item.get("path", collection(entry, "default"))
    method = "POST"
    if item.get("status"):
        status, stored = server.request("POST", path, {key: value for key, value in body.items() if key != "status"})
        expect(status, 201, item, stored)
        path += f"/{stored['metadata']['name']}"
        method, path, body = "PUT", path + "/status", {**stored, "status": body["status"]}
    status, returned = server.request(method, path + "?dryRun=All&fieldValidation=Strict", body)
    expect(status, 201 if method == "POST" else 200, item, returned)
    if item.get("status"):
        server.request(
            "DELETE", path.removesuffix("/status"), {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        )
    return Sample(item["resource"], item.get("definition", entry["schema"]), method, path, body, returned)


def expect(status: int, wanted: int, item: Json, answer: Json) -> None:
    if status != wanted:
        raise SystemExit(f"sample of {item['resource']} was refused ({status}): {answer.get('message')}")
