"""The same requests to the embedded server and to a real one, and what their answers have to have in common."""

import contextlib
import copy
import difflib
import http.client
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asking import JSON_PATCH, MERGE, STRATEGIC, Answer, Api
from servers import EMBEDDED, REAL, server

GROUP = "fuzz.example.com"
_SERVER_OWNED = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "selfLink", "namespace")
_CONTROLLERS = ("kube-controller-manager", "tensorfusion")
_CONTROLLED = ("kube-root-ca.crt", "default", "kubernetes")
"""What controllers of a real control plane put into every namespace."""
_COLLECTION = re.compile(r".*/namespaces/\{namespace\}/[a-z]+")
_STRING = {"type": "string"}
THINGS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"things.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "n": {"type": "integer", "minimum": 0, "maximum": 100, "default": 1},
                                    "s": {**_STRING, "maxLength": 20, "pattern": "^[a-z]*$"},
                                    "e": {**_STRING, "enum": ["one", "two"]},
                                    "when": {**_STRING, "format": "date-time"},
                                    "maybe": {**_STRING, "nullable": True},
                                    "either": {"x-kubernetes-int-or-string": True},
                                    "set": {"type": "array", "items": _STRING, "x-kubernetes-list-type": "set"},
                                    "list": {"type": "array", "maxItems": 4, "items": {"type": "number"}},
                                    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                                    "keyed": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {"name": _STRING, "value": {"type": "integer"}},
                                        },
                                    },
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                                "x-kubernetes-validations": [
                                    {"rule": "!has(self.s) || self.s != 'bad'", "message": "s must not be bad"}
                                ],
                            },
                            "status": {"type": "object", "properties": {"n": {"type": "integer"}, "word": _STRING}},
                        },
                    }
                },
            }
        ],
    },
}


@dataclass(frozen=True)
class Request:
    """One request. ``{namespace}`` stands for the namespace of whoever sends it; ``{uid}``, ``{version}``, ``{first}`` and
    ``{continue}`` for what the server said of the story's object: its uid, its newest and first version, the last token.
    """

    method: str
    path: str
    body: Any = None
    content_type: str = "application/json"

    def send(self, api: Api, said: dict[str, str] | None = None) -> Answer:
        """Send it; what it is answered is noted in ``said``, for the requests that come behind it."""
        said = {} if said is None else said
        known = {"namespace": api.namespace, "version": "", "first": "", "uid": "", "continue": "", **said}
        path, body = self.path, None if self.body is None else json.dumps(self.body)
        for name, value in known.items():
            path = path.replace(f"{{{name}}}", quote(value)).replace(quote(f"{{{name}}}", safe=""), quote(value))
            body = body and body.replace(f"{{{name}}}", value)
        answer = api(self.method, path, body, content_type=self.content_type)
        _note(answer, said)
        return answer

    def __str__(self) -> str:
        shown = {MERGE: "merge ", STRATEGIC: "strategic ", JSON_PATCH: "json-patch "}.get(self.content_type, "")
        return f"{self.method} {self.path} {shown}{json.dumps(self.body, ensure_ascii=False)}"


def _note(answer: Answer, said: dict[str, str]) -> None:
    body = answer.body if answer.status < 300 and isinstance(answer.body, dict) else {}
    metadata = body.get("metadata") or {}
    if "items" in body:
        said["continue"] = metadata.get("continue", "")
    elif metadata.get("uid"):
        said["uid"], said["version"] = metadata["uid"], metadata.get("resourceVersion", "")
        said.setdefault("first", said["version"])


@dataclass
class Both:
    """A client of each server. Every story begins in an empty namespace on both."""

    ours: Api
    theirs: Api
    told: list[int] = field(default_factory=lambda: [0, 0])
    """How many stories, and how many requests in them."""
    statuses_own_labels: bool = True
    """Whether who writes a status of a custom object owns the labels in it, on the real one: from 1.36 on he does not."""

    def tell(self, story: Sequence[Request], *, bodies: bool = True) -> None:
        """Send a story to both, request by request.

        Raises:
            AssertionError: an internal error, or answers that differ in code, reason, or what was stored.
        """
        clients = (self.ours, self.theirs)
        for client in clients:
            client.furnished()
        told: list[str] = []
        said: tuple[dict[str, str], dict[str, str]] = ({}, {})
        unowned = False
        try:
            self.told[0] += 1
            for request in story:
                if "{continue}" in request.path and len({bool(known.get("continue")) for known in said}) > 1:
                    continue  # ours looks whether there is more that is selected, and gives no token where there is not
                if not self.statuses_own_labels and _replaces_by_none(request.body):
                    continue  # from 1.36 on that is refused; until then nothing changes
                self.told[1] += 1
                ours = request.send(self.ours, said[0])
                try:
                    theirs = request.send(self.theirs, said[1])
                except http.client.RemoteDisconnected:
                    return  # an internal error, without an answer
                told.append(f"{request}\n    ours   {_shown(ours)}\n    theirs {_shown(theirs)}")
                assert ours.status < 500 or ours.status == theirs.status, "\n".join(["an internal error", *told])
                if theirs.status >= 500:
                    return
                assert _verdict(ours) == _verdict(theirs), "\n".join(["they say otherwise", *told])
                unowned = unowned or "/scale" in request.path
                unowned = unowned or ("/things/x/status" in request.path and not self.statuses_own_labels)
                if bodies and ours.status < 300:
                    wanted, found = _stored(theirs.body, owners=not unowned), _stored(ours.body, owners=not unowned)
                    assert found == wanted, "\n".join(["they store something else", *told, *_differing(found, wanted)])
        finally:
            places = {match[0] for request in story if (match := _COLLECTION.match(request.path))}
            for client in clients:
                emptied = all(_emptied(client, place.replace("{namespace}", client.namespace)) for place in places)
                if not emptied or any(place.endswith("/deployments") for place in places):  # they leave replica sets
                    client("DELETE", f"/api/v1/namespaces/{client.namespace}")
                    client.forget_namespace()


def _replaces_by_none(body: Any) -> bool:
    """Whether it is a JSON patch that replaces the whole object by what is no object."""
    steps = body if isinstance(body, list) else []
    return any(
        isinstance(one, dict) and one.get("path") == "" and not isinstance(one.get("value"), dict) for one in steps
    )


def _emptied(client: Api, place: str) -> bool:
    """Take everything out of a collection that a story has put there. Whether that was at once: else it is left alone."""
    for one in _left(client, place):
        name = one["metadata"]["name"]
        client("PATCH", f"{place}/{name}", {"metadata": {"finalizers": None}}, content_type=MERGE)
        client("DELETE", f"{place}/{name}", {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    return not _left(client, place)


def _left(client: Api, place: str) -> list[Any]:
    return [one for one in client.get(place)["items"] if one["metadata"]["name"] not in _CONTROLLED]


def _verdict(answer: Answer) -> tuple[int, str]:
    body = answer.body if isinstance(answer.body, dict) else {}
    return answer.status, str(body.get("reason", "")) if answer.status >= 400 else ""


def _differing(ours: Any, theirs: Any) -> list[str]:
    """Where two objects differ, line by line."""
    texts = [json.dumps(one, indent=1, sort_keys=True).splitlines() for one in (ours, theirs)]
    return list(difflib.unified_diff(*texts, "ours", "theirs", lineterm="", n=2))


def _shown(answer: Answer) -> str:
    body = answer.body if isinstance(answer.body, dict) else {}
    return f"{answer.status} {body.get('reason', '')} {body.get('message', '')}"[:400]


def _stored(body: Any, *, owners: bool = True) -> Any:
    """An object without what a server decides on its own, or what controllers write.

    Not ``owners``: nor managed fields, of which a Scale that changes nothing makes something else on purpose, and a
    status from one version to another.
    """
    if not isinstance(body, dict) or "metadata" not in body:
        return None
    if "items" in body:
        names = [one["metadata"]["name"] for one in body["items"]]
        return [name for name in names if name not in _CONTROLLED]
    found = copy.deepcopy(body)
    if body.get("kind") == "Status":
        found.get("details", {}).pop("uid", None)
        return found
    metadata = found["metadata"]
    for name in _SERVER_OWNED:
        metadata.pop(name, None)
    entries = list(metadata.get("managedFields", ()))
    for entry in entries:
        entry.pop("time", None)
        if body.get("kind") == "Deployment":  # whose the map is depends on when a controller wrote its own into it
            entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {}).pop(".", None)
    metadata["managedFields"] = sorted(
        (entry for entry in entries if entry["manager"] not in _CONTROLLERS),
        key=lambda entry: json.dumps(entry, sort_keys=True),
    )
    if not owners:
        del metadata["managedFields"]
    annotations = metadata.get("annotations", {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    if not annotations:
        metadata.pop("annotations", None)
    found.pop("status", None)
    if found.get("kind") == "Deployment":
        metadata.pop("generation", None)  # it counts annotations, too, and controllers write one
    for name in ("clusterIP", "clusterIPs", "volumes"):
        found.get("spec", {}).pop(name, None)
    return found


@contextlib.contextmanager
def both(folder: Path) -> Iterator[Both]:
    """Both servers, with the custom kind of the stories."""
    with server(EMBEDDED, folder / "ours") as ours, server(REAL, folder / "theirs") as theirs:
        found = Both(Api(ours), Api(theirs))
        found.statuses_own_labels = int(found.theirs.get("/version")["minor"]) < 36
        for api in (found.ours, found.theirs):
            api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", THINGS)
            path = api.path(f"{GROUP}/v1", "things")
            api.eventually(lambda api=api, path=path: api("GET", path).status == 200)
        yield found
        found.ours.close()
        found.theirs.close()
