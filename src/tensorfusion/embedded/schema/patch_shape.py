"""How strategic merge patches treat each field of a built-in kind: merge keys and strategies from the facts."""

from collections.abc import Mapping
from functools import cached_property

from tensorfusion.model.meta import Raw


class PatchShape:
    """One place of a schema as strategic merge sees it."""

    def __init__(self, definitions: Mapping[str, Raw], schema: Raw) -> None:
        self._definitions = definitions
        self._schema = schema
        self.merge_key: str = schema.get("x-kubernetes-patch-merge-key", "")
        strategy: str = schema.get("x-kubernetes-patch-strategy", "")
        self.strategies: frozenset[str] = frozenset(strategy.split(",")) if strategy else frozenset()

    def child(self, name: str) -> "PatchShape | None":
        """The field of a structure, or the values of a map."""
        schema = self._resolved
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        return PatchShape(self._definitions, inner) if isinstance(inner, dict) else None

    @cached_property
    def items(self) -> "PatchShape | None":
        """The elements of a list."""
        inner = self._resolved.get("items")
        return PatchShape(self._definitions, inner) if isinstance(inner, dict) else None

    @cached_property
    def _resolved(self) -> Raw:
        reference = self._schema.get("$ref")
        return self._definitions[reference] if reference is not None else self._schema
