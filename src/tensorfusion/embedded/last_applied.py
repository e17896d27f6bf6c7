"""The annotation in which ``kubectl apply`` keeps what it applied, next to ``kubectl apply --server-side``.

One manager, kubectl's, may take over without a conflict what the annotation says kubectl has set before, as long as
it is still so; and the annotation follows its configuration, so that a user can go back to client-side apply.

Source: managedfields lastAppliedManager and lastAppliedUpdater, by behaviour.
"""

import json
from collections.abc import Sequence

from tensorfusion.embedded.endpoints import Endpoint
from tensorfusion.embedded.fields.apply import Collision
from tensorfusion.embedded.fields.compare import compare, owned
from tensorfusion.embedded.fields.keys import BadElement
from tensorfusion.embedded.fields.sets import difference, of_paths
from tensorfusion.embedded.fields.typed import type_problems
from tensorfusion.embedded.objects import JsonObject

CLIENT_SIDE = "kubectl"
"""The manager of ``kubectl apply --server-side``."""

_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_MOST_ANNOTATIONS = 256 << 10
_ESCAPES = str.maketrans({"&": "\\u0026", "<": "\\u003c", ">": "\\u003e", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def still_client_side(endpoint: Endpoint, live: JsonObject, collisions: Sequence[Collision]) -> list[Collision]:
    """The collisions with fields that hold what client-side apply has set."""
    text = _annotations(live).get(_ANNOTATION)
    try:
        last = json.loads(text or "")
        if last["apiVersion"] != endpoint.api_version or type_problems(last, endpoint.type):
            return []
        change = compare(last, live, endpoint.type)
        mine = difference(difference(owned(last, endpoint.type), change.changed), change.removed)
    except (ValueError, TypeError, KeyError, BadElement):
        return []
    return [item for item in collisions if not difference(of_paths(item.path), mine)]


def with_last_applied(obj: JsonObject, config: JsonObject) -> JsonObject:
    """The object with its annotation, if it has one, speaking of a configuration; without it when that is too long."""
    annotations = _annotations(obj)
    if not annotations.get(_ANNOTATION):
        return obj
    applied = dict(config)
    stated = _annotations(config)
    if stated:
        kept = {key: value for key, value in stated.items() if key != _ANNOTATION}
        applied["metadata"] = {**config["metadata"], "annotations": kept}
    text = json.dumps(applied, sort_keys=True, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPES)
    changed = {**annotations, _ANNOTATION: text + "\n"}
    if sum(len(key) + len(str(value)) for key, value in changed.items()) > _MOST_ANNOTATIONS:
        del changed[_ANNOTATION]
    return {**obj, "metadata": {**obj["metadata"], "annotations": changed}}


def _annotations(obj: JsonObject) -> JsonObject:
    found: JsonObject = (obj.get("metadata") or {}).get("annotations") or {}
    return found
