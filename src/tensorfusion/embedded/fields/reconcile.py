"""Field sets that were written under another schema of the same version.

A definition may make a list or map atomic that was merged before. Who owned a part of it then owns it as a whole now.
The other way nothing is to be done: who owned the whole owns it still.

Source: structured-merge-diff typed (ReconcileFieldSetWithSchema), by behaviour.
"""

from tensorfusion.embedded.fields.sets import LEAF, SELF, Fields
from tensorfusion.embedded.fields.types import FieldType


def fitted(fields: Fields, kind: FieldType) -> Fields:
    """The set as the schema has it now; the same object where nothing differs."""
    changed: Fields = {}
    for key, node in fields.items():
        if not node or key == SELF:
            continue
        inner = _below(key, kind)
        if inner is None:
            continue
        new = LEAF if _is_whole(node, inner) else fitted(node, inner)
        if new is not node:
            changed[key] = new
    return {**fields, **changed} if changed else fields


def _below(key: str, kind: FieldType) -> FieldType | None:
    if key.startswith("f:") and kind.map is not None:
        return kind.map.fields.get(key[2:], kind.map.element)
    if not key.startswith("f:") and kind.list is not None:
        return kind.list.element
    return None


def _is_whole(node: Fields, kind: FieldType) -> bool:
    """Whether a place with something under it is one value now."""
    of_map = any(key.startswith("f:") for key in node)
    if of_map:
        return kind.map is not None and kind.map.atomic
    return any(key != SELF for key in node) and kind.list is not None and kind.list.atomic
