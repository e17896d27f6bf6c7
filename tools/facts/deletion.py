"""Learn what a deletion answers: the object as it was, or only a Status. It differs from kind to kind."""

from typing import Any

from facts.samples import Sample
from facts.server import Server

Json = dict[str, Any]


def observe_deletion(server: Server, resources: list[Json], objects: list[Sample]) -> None:
    """Write ``returnsDeleted`` into the resources: create one object of each kind and delete it."""
    for entry in resources:
        if "delete" not in entry["verbs"]:
            continue
        sample = next(item for item in objects if item.definition == entry["schema"] and item.method == "POST")
        status, made = server.request("POST", sample.path, sample.sent)
        if status != 201:
            raise SystemExit(f"sample of {sample.resource} was refused ({status}): {made.get('message')}")
        path = f"{sample.path}/{made['metadata']['name']}"
        _, answer = server.request("DELETE", path, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
        entry["returnsDeleted"] = answer["kind"] != "Status"
