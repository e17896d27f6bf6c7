"""Custom kinds for behaviours: definitions in short form, and a place for their objects."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asking import Answer, Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}


def thing(**properties: Schema) -> Schema:
    """The schema of an object with these fields in its spec."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def version(schema: Schema, name: str = "v1", **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **more}


def definition(api: Api, *versions: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A definition in a group that nobody else has."""
    group = f"{api.namespace}.example.com"
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    body = {"group": group, "scope": "Namespaced", "names": names, "versions": list(versions), **spec}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": body,
    }


@dataclass(frozen=True)
class Custom:
    """A custom kind that is served."""

    api: Api
    group: str

    def path(self, name: str = "", subresource: str = "", *, version: str = "v1") -> str:
        return self.api.path(f"{self.group}/{version}", "things", name, subresource)

    @property
    def definition(self) -> str:
        return f"{DEFINITIONS}/things.{self.group}"

    def body(self, name: str = "a", *, version: str = "v1", **spec: Any) -> dict[str, Any]:
        head = {"apiVersion": f"{self.group}/{version}", "kind": "Thing", "metadata": {"name": name}}
        return {**head, "spec": spec} if spec else head

    def create(self, name: str = "a", **spec: Any) -> Any:
        return self.api.create(self.path(), self.body(name, **spec))

    def refused(self, **spec: Any) -> list[str]:
        """What is said against an object with this spec: the messages of its causes."""
        answer = self.api("POST", self.path(), self.body(**spec))
        answer.refused(422, "Invalid")
        return messages(answer)

    def change(self, patch: Any, name: str = "a") -> Answer:
        return self.api("PATCH", self.path(name), patch, content_type="application/merge-patch+json")


def messages(answer: Answer) -> list[str]:
    """Field and message of each cause of a refusal, as ``field: message``."""
    return [f"{cause.get('field', '')}: {cause['message']}" for cause in answer.body["details"].get("causes", ())]


@contextlib.contextmanager
def served(api: Api, *versions: Mapping[str, Any], **spec: Any) -> Iterator[Custom]:
    """A custom kind, gone afterwards. A schema alone is a version v1."""
    obj = definition(api, *versions, **spec)
    found = Custom(api, obj["spec"]["group"])
    with api.made(DEFINITIONS, obj):
        shown = [one["name"] for one in versions if one["served"]]
        for name in shown:
            api.eventually(lambda name=name: api("GET", found.path(version=name)).status == 200)
        yield found


def rules(*found: Mapping[str, Any] | str) -> Sequence[Mapping[str, Any]]:
    return [{"rule": one} if isinstance(one, str) else one for one in found]
