"""Plays the scenarios of ``scenarios.yaml`` against any API server and writes down what matters of its answers.

Left out is what differs from run to run: uids, versions, times. That a time is there, and that a write moved the
object's version, is kept.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SUITE = yaml.load((HERE / "scenarios.yaml").read_text(), yaml.CSafeLoader)
SCENARIOS: list[dict[str, Any]] = SUITE["scenarios"]
ANSWERS_FILE = HERE / "answers.json"

KINDS = {
    "configmaps": ("v1", "ConfigMap"),
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "deployments": ("apps/v1", "Deployment"),
    "roles": ("rbac.authorization.k8s.io/v1", "Role"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "foos": ("x.io/v1", "Foo"),
    "foos.v2": ("x.io/v2", "Foo"),
}
TYPES = {
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
UNSTABLE = ("uid", "resourceVersion", "creationTimestamp", "generation")
STATED = ("finalizers", "ownerReferences", "labels", "annotations", "managedFields", "name", "deletionTimestamp")

Ask = Callable[[str, str, "bytes | None", dict[str, str]], tuple[int, Any, list[str]]]
"""Method, path, body and headers to status, decoded body and warning texts."""


@dataclass
class Player:
    """One scenario on one server, in a namespace of its own."""

    ask: Ask
    namespace: str
    _last: dict[str, Any] = field(default_factory=dict)

    def play(self, scenario: dict[str, Any]) -> Iterator[dict[str, Any]]:
        body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}).encode()
        status, answer, _ = self.ask("POST", "/api/v1/namespaces", body, {"Content-Type": "application/json"})
        assert status == 201, answer
        for step in scenario["steps"]:
            yield self.take(step)

    def take(self, step: dict[str, Any]) -> dict[str, Any]:
        verb = next(verb for verb in ("create", "get", "replace", "delete", "post", "put", *TYPES) if verb in step)
        plural, _, rest = step[verb].partition("/")
        name = rest.partition("/")[0]
        body = step.get("body")
        if verb in ("create", "apply") and body is not None and not step.get("bare"):
            api_version, kind = step.get("kind", KINDS[plural])
            metadata = {"name": name, **body.get("metadata", {})} if name else body.get("metadata", {})
            body = {"apiVersion": api_version, "kind": kind, **body, "metadata": metadata}
        if verb == "replace":
            body = copy.deepcopy(self._last[step[verb]])
            for path, value in step["set"].items():
                put(body, path, value)
        sent = step["text"] if "text" in step else None if body is None else json.dumps(body)
        method = {
            "create": "POST",
            "get": "GET",
            "replace": "PUT",
            "delete": "DELETE",
            "post": "POST",
            "put": "PUT",
        }.get(verb, "PATCH")
        headers = {
            "Content-Type": step.get("type", TYPES.get(verb, "application/json")),
            "User-Agent": step.get("agent", "nobody/1"),
        }
        encoded = None if sent is None else sent.encode()
        status, answer, warnings = self.ask(method, self.path(plural, rest, step), encoded, headers)
        return self.noted(step[verb], status, answer, warnings)

    def path(self, plural: str, rest: str, step: dict[str, Any]) -> str:
        api_version = KINDS[plural][0]
        root = "/api" if "/" not in api_version else "/apis"
        path = f"{root}/{api_version}/namespaces/{self.namespace}/{plural.partition('.')[0]}"
        query = "&".join(
            part for part in (f"fieldManager={step['as']}" if "as" in step else "", step.get("query", "")) if part
        )
        return f"{path}/{rest}".rstrip("/") + (f"?{query}" if query else "")

    def noted(self, target: str, status: int, answer: Any, warnings: list[str]) -> dict[str, Any]:
        if status >= 400:
            details = answer.get("details") or {}
            causes = {
                (cause.get("field", ""), cause["reason"], stable(cause["message"]))
                for cause in details.get("causes") or ()
            }
            message = stable(answer["message"].replace(self.namespace, "NAMESPACE"))
            return {
                "status": status,
                "reason": answer.get("reason", ""),
                "message": message,
                "causes": [list(cause) for cause in sorted(causes)],
            }
        if answer["kind"] == "Status":
            return {"status": status, "warnings": warnings}
        metadata = answer["metadata"]
        if target.partition("/")[2] == "" or "/" not in target.partition("/")[2]:
            before = self._last.get(f"{target.partition('/')[0]}/{metadata['name']}", {}).get("metadata", {})
            moved = before.get("resourceVersion") != metadata.get("resourceVersion")
            grown = metadata.get("generation", 0) - before.get("generation", 0)
            self._last[f"{target.partition('/')[0]}/{metadata['name']}"] = answer
        else:
            moved, grown = None, None
        shown = copy.deepcopy(answer)
        shown["metadata"] = {key: value for key, value in shown["metadata"].items() if key in STATED}
        if "deletionTimestamp" in shown["metadata"]:
            shown["metadata"]["deletionTimestamp"] = "some time"
        for entry in shown["metadata"].get("managedFields", ()):
            entry["time"] = "time" in entry
        entries = shown["metadata"].get("managedFields", [])
        entries.sort(key=lambda entry: (entry["operation"], entry["manager"], entry.get("subresource", "")))
        text = json.dumps(shown).replace(self.namespace, "NAMESPACE")
        return {"status": status, "moved": moved, "grown": grown, "object": json.loads(text), "warnings": warnings}


def stable(message: str) -> str:
    """A message without the object that it quotes, and the problems that it lists in order."""
    message = re.sub(r'Invalid value: "\{.*\}"', "Invalid value: OBJECT", message)
    head, listed, lines = message.partition("errors:\n  ")
    return head + listed + "\n  ".join(sorted(lines.split("\n  "))) if listed else message


def put(obj: Any, path: str, value: Any) -> None:
    *steps, last = path.split(".")
    for step in steps:
        obj = obj[step]
    obj[last] = value


def definition() -> dict[str, Any]:
    """The definition of the custom kind of the scenarios."""
    properties: dict[str, Any] = {
        "replicas": {"type": "integer"},
        "a": {"type": "string"},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "am": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "l": {"type": "array", "items": {"type": "string"}},
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "k": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["n", "p"],
            "items": {
                "type": "object",
                "required": ["n"],
                "properties": {
                    "n": {"type": "string"},
                    "p": {"type": "string", "default": "TCP"},
                    "v": {"type": "integer"},
                },
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
        "ios": {"x-kubernetes-int-or-string": True},
        "emb": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
        "empty": {"type": "object"},
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}, "c": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": properties},
            "status": status,
            "top": {"type": "string"},
        },
    }
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "subresources": {"status": {}, "scale": scale},
            "schema": {"openAPIV3Schema": schema},
        }
        for name in ("v1", "v2")
    ]
    names = {"plural": "foos", "singular": "foo", "kind": "Foo"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.x.io"},
        "spec": {"group": "x.io", "scope": "Namespaced", "names": names, "versions": versions},
    }
