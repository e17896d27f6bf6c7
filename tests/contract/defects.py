"""Deliberate defects of the embedded server, one switch each: the suite has to see every one of them.

A defect replaces one part of the server that runs in this process. What a module imported from another by name is
replaced where it is used.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tensorfusion.embedded import (
    admission,
    bodies,
    creation,
    deletion,
    documents,
    eviction,
    garbage,
    http,
    kinds,
    patch,
    patching,
    reading,
    responses,
    routes,
    selectors,
    statuses,
    strategic,
    strategies,
    subresources,
    tables,
    updates,
    watching,
    webhook_index,
    webhooks,
    write_checks,
)
from tensorfusion.embedded.access import rbac, requests, tokens
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.fields import apply, update
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.negotiation import PLAIN
from tensorfusion.embedded.objects import in_order
from tensorfusion.embedded.schema import constraints, schema
from tensorfusion.embedded.schema.rules import RuleNode
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.embedded.store import EventKind, Store
from tensorfusion.embedded.watch_events import Shape

Replacement = Callable[..., Any]
Spot = tuple[Any, str, Replacement]
"""A module or class, the name of its part, and what is to stand there instead."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, and the numbers of the behaviours of which at least one must fail for it."""

    name: str
    seen_by: tuple[int, ...]
    spots: tuple[Spot, ...]

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Inside of this context, every embedded server of this process has the defect."""
        with ExitStack() as stack:
            for owner, name, replacement in self.spots:
                stack.enter_context(mock.patch.object(owner, name, replacement))
            yield


def defect(name: str, *spots: Spot, seen_by: tuple[int, ...]) -> Defect:
    return Defect(name, seen_by, spots)


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _with(original: Replacement, change: Callable[[dict[str, Any]], None]) -> Replacement:
    """``original``, with its named arguments changed before."""

    def replaced(*arguments: Any, **named: Any) -> Any:
        change(named)
        return original(*arguments, **named)

    return replaced


def _then(original: Replacement, change: Callable[[Any], Any]) -> Replacement:
    """``original``, with its result changed after."""
    return lambda *arguments, **named: change(original(*arguments, **named))


def _without(*fields: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda found: {field: value for field, value in found.items() if field not in fields}


def _first_page_of_now(named: dict[str, Any]) -> None:
    if named.get("after_key") is None:
        named["at_revision"] = 0


def _later_pages_of_now(named: dict[str, Any]) -> None:
    if named.get("after_key") is not None:
        named["at_revision"] = 0


def _selected_now(watch: Any, batch: Any) -> Iterator[tuple[EventKind, Any]]:
    """A watch's selection that looks at the new version of an object only."""
    for event in batch:
        if watch._keep is None or watch._keep(event.record):
            yield event.kind, event.record


def _carried_whole(kind: Any, new: Any, old: Any, **named: Any) -> Any:
    status = new.get("status")
    carried = _CARRY(kind, new, old, **named)
    return carried if status is None else {**carried, "status": status}


def _only_with_the_label(requirement: Any, labels: Any) -> bool:
    return requirement.key in labels and _HOLDS(requirement, labels)


def _for_real(call: Any) -> Any:
    call.dry_run = False
    return call


def _never_strict(call: Any) -> Any:
    if call.validation is FieldValidation.STRICT:
        call.validation = FieldValidation.WARN
    return call


async def _idle(*_: Any) -> None:
    return None


def _watch_from_now(store: Store, resource: str, *, namespace: str = "", since: int) -> Any:
    return _WATCH(store, resource, namespace=namespace, since=store.revision)


_CARRY, _HOLDS, _WATCH = updates.carry, selectors.Requirement.holds, Store.watch


def _always(value: Any) -> Replacement:
    return lambda *_, **__: value


def _unbound_before(original: Replacement) -> Replacement:
    def bound(operations: Any, kind: Any, pod: Any, binding: Any) -> Any:
        pod["spec"].pop("nodeName", None)
        return original(operations, kind, pod, binding)

    return bound


def _knowing_nothing(original: Replacement) -> Replacement:
    return lambda body, known, **named: original(body, b"", **named)


def _without_names(self: rbac.Rbac, user: User, asked: Any) -> bool:
    rules = self.rules_of(user, asked.namespace)
    return any(rule.covers_resource(asked.verb, asked.group, asked.target) for rule in rules)


def _whoever_it_is_for(original: Replacement) -> Replacement:
    def verify(self: tokens.AccountTokens, token: str, audiences: tuple[str, ...] = tokens.AUDIENCES) -> Any:
        return original(self, token, (*audiences, "a"))

    return verify


DEFECTS = (
    defect(
        "a delete ignores its preconditions",
        (deletion, "check_preconditions", _nothing),
        seen_by=(140, 141),
    ),
    defect(
        "the generation is not raised by changes of the spec",
        (strategies, "_spec_of", lambda *_: {}),
        seen_by=(120, 130),
    ),
    defect(
        "an update with an old version overwrites what others wrote",
        (updates, "check_identity", _nothing),
        seen_by=(110,),
    ),
    defect(
        "finalizers do not hold an object",
        (deletion, "is_finished", lambda *_: True),
        seen_by=(150,),
    ),
    defect(
        "the propagation policy is forgotten",
        (deletion, "_set_finalizers", _nothing),
        seen_by=(155, 156),
    ),
    defect(
        "a collection is deleted whatever its selectors say",
        (routes, "keep_of", _nothing),
        seen_by=(170, 171),
    ),
    defect(
        "generated names are the prefix alone",
        (creation, "generate_name", lambda prefix: prefix),
        seen_by=(105,),
    ),
    defect(
        "a taken name is said to be missing",
        (creation, "already_exists", statuses.not_found),
        seen_by=(101,),
    ),
    defect(
        "new objects keep what only the server may say",
        (strategies, "_SYSTEM_FIELDS", ()),
        (creation, "wipe_managed", _nothing),
        (updates, "wipe_managed", _nothing),
        seen_by=(103,),
    ),
    defect(
        "finalizers can be added to an object that is being deleted",
        (write_checks, "_check_finalizers", _nothing),
        seen_by=(152,),
    ),
    defect(
        "a pod gets no grace period",
        (deletion, "_grace", lambda *_: 0),
        seen_by=(160,),
    ),
    defect(
        "a dry run of a delete deletes",
        (routes, "delete_options", _then(routes.delete_options, lambda found: (found[0], False))),
        seen_by=(147, 173),
    ),
    defect(
        "a write of the status changes the spec",
        (strategies, "_carry_status", lambda kind, new, old, now: new),
        seen_by=(125,),
    ),
    defect(
        "a write of the object changes its status",
        (updates, "carry", _carried_whole),
        seen_by=(124,),
    ),
    defect(
        "a body may name another object than the URL",
        (creation, "check_place", _nothing),
        (updates, "check_place", _nothing),
        seen_by=(115,),
    ),
    defect(
        "refusals have no details",
        (responses, "status_body", _then(responses.status_body, _without("details"))),
        seen_by=(180, 181),
    ),
    defect(
        "refusals do not say their reason",
        (responses, "status_body", _then(responses.status_body, lambda found: {**found, "reason": "Unknown"})),
        seen_by=(102,),
    ),
    defect(
        "later chunks of a list show the present",
        (Store, "page", _with(Store.page, _later_pages_of_now)),
        seen_by=(201, 215),
    ),
    defect(
        "an exact version is the present one",
        (Store, "page", _with(Store.page, _first_page_of_now)),
        seen_by=(214,),
    ),
    defect(
        "a chunk does not say how many items remain",
        (reading, "list_metadata", _then(reading.list_metadata, _without("remainingItemCount"))),
        seen_by=(203,),
    ),
    defect(
        "a chunked list has no continue token",
        (reading, "list_metadata", _then(reading.list_metadata, _without("continue"))),
        seen_by=(201, 209),
    ),
    defect(
        "a version from the future is as good as any",
        (reading, "check_reached", _nothing),
        (routes, "check_reached", _nothing),
        seen_by=(218, 238),
    ),
    defect(
        "inequality does not select what lacks the label",
        (selectors.Requirement, "holds", _only_with_the_label),
        seen_by=(222, 223),
    ),
    defect(
        "field selectors are not looked at",
        (reading, "predicate", lambda labels, fields, *rest: selectors.predicate(labels, "", *rest)),
        seen_by=(229, 232),
    ),
    defect(
        "items of a list are of all namespaces",
        (Store, "page", _with(Store.page, lambda named: named.update(namespace=""))),
        seen_by=(237,),
    ),
    defect(
        "dependents of what is deleted stay",
        (garbage.GarbageCollector, "collect", _idle),
        seen_by=(157, 159),
    ),
    defect(
        "bookmarks are never sent",
        (Shape, "bookmark", lambda *_: b""),
        seen_by=(250, 251),
    ),
    defect(
        "what leaves a selector is not told of",
        (watching.Watch, "_selected", _selected_now),
        seen_by=(240,),
    ),
    defect(
        "what leaves a selector is told of at its old version",
        (watching, "_at_revision", lambda record, revision: record),
        seen_by=(240,),
    ),
    defect(
        "a watch tells of other namespaces too",
        (Store, "watch", _with(Store.watch, lambda named: named.update(namespace=""))),
        seen_by=(269,),
    ),
    defect(
        "a watch does not end by its time-out",
        (watching.Watch, "_end", _nothing),
        seen_by=(259,),
    ),
    defect(
        "a watch from a version begins at the present",
        (Store, "watch", _watch_from_now),
        seen_by=(246, 247),
    ),
    defect(
        "apply takes what others own without asking",
        (apply, "_collisions", lambda *_: []),
        seen_by=(339, 355),
    ),
    defect(
        "what is no longer applied stays",
        (apply, "_dropped", lambda *_: False),
        seen_by=(342, 353),
    ),
    defect(
        "an update leaves its fields to those who applied them",
        (update, "without", lambda entries, *_: list(entries)),
        seen_by=(343,),
    ),
    defect(
        "a dry run is stored",
        (routes, "_call", _then(routes._call, _for_real)),
        seen_by=(368, 372, 380),
    ),
    defect(
        "strict field validation is a warning",
        (routes, "_call", _then(routes._call, _never_strict)),
        seen_by=(384, 389),
    ),
    defect(
        "nobody hears of warnings",
        (responses, "_warning_headers", lambda _: []),
        seen_by=(382, 395),
    ),
    defect(
        "a merge patch stores what is null as an empty value",
        (patching, "merge_patch", lambda target, patch: {**target, **patch}),
        seen_by=(317,),
    ),
    defect(
        "a JSON patch goes on after a test that does not hold",
        (patch, "same_json", lambda *_: True),
        seen_by=(303,),
    ),
    defect(
        "lists with a merge key are replaced by a strategic patch",
        (strategic, "_merge_list", lambda target, patch, *_, **__: patch),
        seen_by=(322, 329),
    ),
    defect(
        "rows of a Table carry whole objects",
        (tables, "_row_object", lambda obj, *_: obj),
        seen_by=(502, 503),
    ),
    defect(
        "whoever has a document is sent it again",
        (documents, "_tagged", _knowing_nothing(documents._tagged)),
        seen_by=(534, 543),
    ),
    defect(
        "what a client accepts is not looked at",
        (routes, "negotiate", _always(PLAIN)),
        seen_by=(500, 559, 560),
    ),
    defect(
        "refusals are JSON to everybody",
        (http, "_wanted", _always("application/json")),
        seen_by=(557,),
    ),
    defect(
        "large answers are compressed for everybody",
        (http, "takes_gzip", _always(True)),
        seen_by=(574,),
    ),
    defect(
        "bodies of any size are read",
        (bodies, "MOST_BYTES", 1 << 40),
        seen_by=(578,),
    ),
    defect(
        "webhooks are not asked again",
        (webhooks.Passes, "wants_second", False),
        seen_by=(619, 620),
    ),
    defect(
        "webhooks do not see writes of other versions than their rules name",
        (kinds.Kinds, "equivalents", lambda *_: ()),
        seen_by=(616,),
    ),
    defect(
        "a webhook that fails is passed over whatever its policy",
        (webhook_index, "FailurePolicy", _always(webhook_index.FailurePolicy.IGNORE)),
        seen_by=(632, 633),
    ),
    defect(
        "object selectors look at the new object alone",
        (
            webhooks,
            "_labels_match",
            lambda terms, asked: terms.matches(((asked.obj or {}).get("metadata") or {}).get("labels") or {}),
        ),
        seen_by=(610,),
    ),
    defect(
        "a pod can be bound twice",
        (subresources, "_bound", _unbound_before(subresources._bound)),
        seen_by=(646,),
    ),
    defect(
        "evictions are not charged to budgets",
        (eviction, "_budget_of", _nothing),
        seen_by=(661, 662),
    ),
    defect(
        "a namespace that ends takes new objects",
        (admission.Admission, "_check_namespace", _nothing),
        seen_by=(676,),
    ),
    defect(
        "a right with names counts for all names",
        (rbac.Rbac, "_decide", _without_names),
        seen_by=(708, 709),
    ),
    defect(
        "anybody grants anything",
        (admission, "check_grant", _nothing),
        seen_by=(714, 717),
    ),
    defect(
        "tokens live on after what they are bound to",
        (tokens.AccountTokens, "_check_objects", _nothing),
        seen_by=(763, 764),
    ),
    defect(
        "tokens for others open the API",
        (tokens.AccountTokens, "verify", _whoever_it_is_for(tokens.AccountTokens.verify)),
        seen_by=(757,),
    ),
    defect(
        "lifetimes of tokens have no bounds",
        (requests, "_SHORTEST", 0),
        (requests, "_LONGEST", 1 << 40),
        seen_by=(759,),
    ),
    defect(
        "reviews do not say why",
        (rbac.Rbac, "reason", lambda *_: ""),
        seen_by=(726,),
    ),
    defect(
        "rules of custom kinds are not asked",
        (RuleNode, "check", _nothing),
        seen_by=(435, 454),
    ),
    defect(
        "a set may hold a value twice",
        (constraints, "_unique_step", lambda _: _nothing),
        seen_by=(414,),
    ),
    defect(
        "fields that no schema knows are stored",
        (schema, "compile_structural", lambda *_, **__: _nothing),
        seen_by=(400,),
    ),
    defect(
        "another version shows fields that it does not have",
        (Kind, "converted", lambda kind, obj: in_order(obj, kind.resource)),
        seen_by=(469,),
    ),
)
