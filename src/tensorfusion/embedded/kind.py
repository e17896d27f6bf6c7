"""What a served kind is: everything that differs between kinds is data here.

Adding a built-in kind means adding it to the samples of ``tools/schema_facts.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.embedded.fields.sets import Fields
from tensorfusion.embedded.objects import in_order
from tensorfusion.embedded.schema.schema import Schema
from tensorfusion.embedded.selectors import UNKNOWN_FIELD
from tensorfusion.embedded.views import View
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import Resource

NAME = "metadata.name"
NAMESPACE = "metadata.namespace"
SELECTED_OTHERWISE: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    "jobs.batch": {"status.successful": (("status", "succeeded"), "0")},
}
"""Selectable fields that are called otherwise in the objects, with where they are and what they count as if missing."""


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where an object keeps what the scale subresource shows. ``selector`` may be missing."""

    spec: tuple[str, ...]
    status: tuple[str, ...]
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subresource:
    """One subresource: what it takes and gives. ``schema`` is None when that is the object itself."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``json_path`` is only set for columns of custom kinds."""

    name: str
    type: str
    format: str = ""
    priority: int = 0
    description: str = ""
    json_path: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One served version of a kind."""

    resource: Resource
    singular: str
    list_kind: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: Mapping[str, Subresource]
    schema: Schema
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]
    scale: ScalePaths | None = None
    is_custom: bool = False
    storage: bool = True
    generation: bool = False
    initial_status: Raw | None = None
    keeps_status: bool = False
    returns_deleted: bool = False  # a deletion answers with the object
    definition: str = ""  # the name of the schema in OpenAPI
    resets: Mapping[str, Fields] = field(default_factory=dict)  # by subresource: fields that writing it leaves alone
    deprecation: str = ""
    view: View | None = None
    selectors: tuple[tuple[str, tuple[str, ...], str], ...] = field(default=(), repr=False)

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def namespaced(self) -> bool:
        return self.resource.namespaced

    @property
    def stored(self) -> Resource:
        """As what its objects are stored: another kind's, if this one is a view of them."""
        return self.resource if self.view is None else self.view.stored

    def converted(self, obj: Raw) -> Raw:
        """An object of some version of this kind, as this version has it. Changes ``obj``, which is used up.

        Versions differ by their schemas only (conversion strategy ``None``): what this one does not know goes.
        """
        if self.is_custom and obj.get("apiVersion") != self.resource.api_version:
            self.schema.prune(obj)
        return in_order(obj, self.resource)

    @property
    def unknown_field(self) -> str:
        """How a field selector is refused that names a field (``{}``) that objects cannot be selected by."""
        if self.resource.id in SELECTED_OTHERWISE:
            return f'field label "{{}}" not supported for {self.resource.kind}'
        if self.is_custom or set(self.selectable) != {NAME, NAMESPACE}:
            return UNKNOWN_FIELD
        return '"{}" is not a known field selector: only "metadata.name", "metadata.namespace"'

    def fields(self, obj: Raw) -> dict[str, str]:
        """The values of the selectable fields, as a Record keeps them."""
        metadata = obj["metadata"]
        found = {NAME: metadata.get("name", ""), NAMESPACE: metadata.get("namespace", "")}
        for path, steps, missing in self.selectors:
            value: Any = obj
            for step in steps:
                value = value.get(step) if type(value) is dict else None  # an older schema may have had others
            found[path] = missing if value is None else value if type(value) is str else _shown(value)
        return found


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
