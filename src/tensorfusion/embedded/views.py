"""Kinds that show the objects of another kind under other field names: one storage, two served group-versions.

``events.k8s.io/v1`` Events are those of ``v1``. What is stored is always the ``v1`` form; a view translates what a
client sends and what it gets. Its own, stricter rules are checked on its own form before that.

Source: kubernetes pkg/apis/events/v1 (conversion), by behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.embedded.objects import JsonObject, in_order
from tensorfusion.embedded.schema.path import Problem
from tensorfusion.embedded.schema.words import IMMUTABLE, complain, invalid
from tensorfusion.model.resources import EVENTS, NEW_EVENTS, Resource

_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROZEN = (
    "action",
    "count",
    "eventTime",
    "firstTimestamp",
    "involvedObject",
    "lastTimestamp",
    "message",
    "reason",
    "related",
    "reportingComponent",
    "reportingInstance",
    "source",
    "type",
)
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


@dataclass(frozen=True, slots=True)
class View:
    """How the objects of ``stored`` are shown as ``shown``. ``renamed`` maps shown field names to stored ones."""

    stored: Resource
    shown: Resource
    renamed: Mapping[str, str]
    selectors: Mapping[str, str]
    """Selectable fields by the name that the view's clients use."""
    frozen: tuple[str, ...]
    """Stored fields that the view's clients may not change; clients of the stored kind may."""

    def to_stored(self, obj: JsonObject) -> JsonObject:
        """What is stored of an object that a client sent."""
        return in_order({self.renamed.get(field, field): value for field, value in obj.items()}, self.stored)

    def to_shown(self, obj: JsonObject) -> JsonObject:
        """What a client sees of a stored object."""
        names = {stored: shown for shown, stored in self.renamed.items()}
        return in_order({names.get(field, field): value for field, value in obj.items()}, self.shown)

    def check_change(self, new: JsonObject, old: JsonObject) -> None:
        """Raises:
        Invalid: a stored object would change where the view's clients may not change it.
        """
        problems: list[Problem] = []
        for field in self.frozen:
            value = new.get(field)
            if (value or None) != (old.get(field) or None):
                complain(problems, (None, field), value, [IMMUTABLE])
        if problems:
            raise invalid(self.stored, old["metadata"]["name"], problems)


EVENT_VIEW = View(
    EVENTS,
    NEW_EVENTS,
    _RENAMED,
    {
        "reportingController": "reportingComponent",
        **{f"regarding.{field}": f"involvedObject.{field}" for field in _REFERENCE},
    },
    _FROZEN,
)
VIEWS: Mapping[str, View] = {NEW_EVENTS.id: EVENT_VIEW}
