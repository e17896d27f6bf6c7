"""Query parameters and DeleteOptions bodies as typed options, refused in the words of a real API server.

Source: metav1 ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions and their validation.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from tensorfusion.embedded.calls import DeleteOptions, Propagation
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.embedded.selectors import parse_fields, parse_labels
from tensorfusion.embedded.statuses import invalid, invalid_options
from tensorfusion.embedded.store import ObjectKey
from tensorfusion.embedded.targets import is_true
from tensorfusion.errors import BadRequest, FieldCause, ServerError

_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}")
_DELETE_OPTIONS = (
    "gracePeriodSeconds",
    "preconditions",
    "orphanDependents",
    "propagationPolicy",
    "dryRun",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
)
_REVISION = re.compile(r"[0-9]{1,18}")
_MOST_MANAGER = 128
_LONGEST_REMEMBERED = 256
"""Letters of an agent that is remembered: a header may have a megabyte."""
_GO_ESCAPES = {chr(code): f"\\x{code:02x}" for code in (*range(32), 127)} | {
    letter: "\\" + name for letter, name in zip('\a\b\f\n\r\t\v"\\', 'abfnrtv"\\', strict=True)
}
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105  # the format of a continue token, no secret


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list or watch asks for. ``revision`` is None where the query states none.

    ``exact``: that version and no later one, as a list in chunks means it, too.
    """

    labels: str = ""
    fields: str = ""
    limit: int = 0
    continue_: str = ""
    revision: int | None = None
    exact: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What a write asks for. ``force`` is None where it is not stated: only apply may state it."""

    dry_run: bool
    validation: FieldValidation
    manager: str = ""
    force: bool | None = None


_NOTHING_STATED = WriteOptions(dry_run=False, validation=FieldValidation.WARN)


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Raises:
    BadRequest, Invalid: a parameter is malformed, or does not go with another.
    """
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    parse_labels(labels)
    parse_fields(fields)
    stated = query.get("resourceVersion", "")
    match = query.get("resourceVersionMatch", "")
    initial = query.get("sendInitialEvents")
    timeout = _number(query, "timeoutSeconds")
    limit = _number(query, "limit") or 0
    check = _watch_causes if watch else _list_causes
    _refuse("ListOptions", check(stated, match, initial, continues=bool(query.get("continue"))))
    if query.get("continue") and stated not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")
    return ListOptions(
        labels=labels,
        fields=fields,
        limit=max(0, limit),
        continue_=query.get("continue", ""),
        revision=parse_revision(stated),
        exact=match == "Exact" or (not match and limit > 0),
        bookmarks=is_true(query.get("allowWatchBookmarks")),
        initial_events=None if initial is None else is_true(initial),
        timeout=float(timeout) if timeout else None,
    )


def _list_causes(stated: str, match: str, initial: str | None, *, continues: bool) -> Iterator[FieldCause]:
    """What does not go together in a list."""
    if match:
        if not stated:
            yield _forbidden_match("resourceVersionMatch is forbidden unless resourceVersion is provided")
        if continues:
            yield _forbidden_match("resourceVersionMatch is forbidden when continue is provided")
        if match not in ("Exact", "NotOlderThan"):
            yield _unsupported("resourceVersionMatch", f'"{match}"', '"Exact", "NotOlderThan", ""')
        if match == "Exact" and stated == "0":
            yield _forbidden_match('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if initial is not None:
        why = "Forbidden: sendInitialEvents is forbidden for list"
        yield FieldCause("sendInitialEvents", why, "FieldValueForbidden")


def _watch_causes(stated: str, match: str, initial: str | None, *, continues: bool) -> Iterator[FieldCause]:
    """What does not go together in a watch. One that states nothing begins with initial events, as if it had."""
    if initial is None and not match and stated in ("", "0"):
        initial, match = "true", "NotOlderThan"
    if initial is not None and match != "NotOlderThan":
        yield _forbidden_match("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if not match:
        return
    if initial is None:
        yield _forbidden_match("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if match != "NotOlderThan":
        yield _unsupported("resourceVersionMatch", f'"{match}"', '"NotOlderThan"')
    if continues:
        yield _forbidden_match("resourceVersionMatch is forbidden when continue is provided")


def _forbidden_match(why: str) -> FieldCause:
    return FieldCause("resourceVersionMatch", f"Forbidden: {why}", "FieldValueForbidden")


def _unsupported(field: str, value: str, supported: str) -> FieldCause:
    return FieldCause(field, f"Unsupported value: {value}: supported values: {supported}", "FieldValueNotSupported")


def _refuse(kind: str, causes: Iterable[FieldCause]) -> None:
    """Raises:
    Invalid: there is a cause.
    """
    found = list(causes)
    if found:
        raise invalid(kind, "meta.k8s.io", "", causes=found)


def parse_revision(stated: str) -> int | None:
    """Raises:
    BadRequest: a resource version that is no number.
    """
    if not stated:
        return None
    if not _REVISION.fullmatch(stated):
        raise BadRequest(
            f'invalid resource version: resourceVersion: Invalid value: "{stated}": '
            f'strconv.ParseUint: parsing "{stated}": invalid syntax'
        )
    return int(stated)


def check_reached(wanted: int | None, current: int) -> None:
    """Refuse a version that this server has not reached: the client has spoken to another one, or guesses."""
    if wanted is not None and wanted > current:
        cause = FieldCause("", "Too large resource version", "ResourceVersionTooLarge")
        raise ServerError(
            f"Timeout: Too large resource version: {wanted}, current: {current}",
            code=504,
            reason="Timeout",
            causes=(cause,),
            retry_after=1,
        )


def write_options(query: Mapping[str, str], kind: str) -> WriteOptions:
    """``kind`` is CreateOptions, UpdateOptions or PatchOptions, for messages.

    Raises:
        Invalid: dryRun, fieldValidation or fieldManager has a value that is not one.
    """
    if not query:
        return _NOTHING_STATED
    _refuse(kind, _write_causes(query))
    return _written(query)


def shown_options(query: Mapping[str, str]) -> JsonObject:
    """What an admission webhook is told of a write's options."""
    found: JsonObject = {"dryRun": [query["dryRun"]]} if query.get("dryRun") else {}
    return {**found, **{name: query[name] for name in ("fieldManager", "fieldValidation") if query.get(name)}}


def shown_delete_options(query: Mapping[str, str], body: JsonObject | None) -> JsonObject:
    """What an admission webhook is told of a deletion's options."""
    if body is not None:
        return {name: value for name, value in body.items() if name in _DELETE_OPTIONS and value is not None}
    found: JsonObject = {"dryRun": [query["dryRun"]]} if query.get("dryRun") else {}
    grace = _number(query, "gracePeriodSeconds")
    if grace is not None:
        found["gracePeriodSeconds"] = grace
    if query.get("propagationPolicy"):
        found["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        found["orphanDependents"] = is_true(query["orphanDependents"])
    return found


def patch_options(query: Mapping[str, str], *, applies: bool) -> WriteOptions:
    """The options of a patch, or of an apply, which must name its manager and alone may be forced.

    Raises:
        Invalid: an option has a value that is not one, or does not go with this kind of patch.
    """
    if not query and not applies:
        return _NOTHING_STATED
    causes = [*_write_causes(query)]
    if applies and not query.get("fieldManager"):
        why = "Required value: is required for apply patch"
        causes.insert(0, FieldCause("fieldManager", why, "FieldValueRequired"))
    elif not applies and "force" in query:
        why = "Forbidden: may not be specified for non-apply patch"
        causes.insert(0, FieldCause("force", why, "FieldValueForbidden"))
    _refuse("PatchOptions", causes)
    return _written(query)


def _write_causes(query: Mapping[str, str]) -> Iterator[FieldCause]:
    problem = manager_problem(query.get("fieldManager", ""))
    if problem is not None:
        yield FieldCause("fieldManager", *problem)
    dry_run = query.get("dryRun")
    if dry_run not in (None, "All"):
        yield _unsupported("dryRun", f'["{dry_run}"]', '"All"')
    stated = query.get("fieldValidation", "")
    if stated not in ("", "Ignore", "Warn", "Strict"):
        yield _unsupported("fieldValidation", f'"{stated}"', '"", "Ignore", "Strict", "Warn"')


def _written(query: Mapping[str, str]) -> WriteOptions:
    force = is_true(query["force"]) if "force" in query else None
    validation = FieldValidation(query.get("fieldValidation") or "Warn")
    return WriteOptions(query.get("dryRun") == "All", validation, query.get("fieldManager", ""), force)


def manager_problem(manager: str) -> tuple[str, str] | None:
    """Message and reason when a text cannot be the name of a field manager."""
    if len(manager.encode()) > _MOST_MANAGER:
        return f"Too long: may not be more than {_MOST_MANAGER} bytes", "FieldValueTooLong"
    for position, letter in enumerate(manager):
        if not letter.isprintable():
            shown = '"' + "".join(_GO_ESCAPES.get(item, item) for item in manager) + '"'
            why = f"invalid character U+{ord(letter):04X} (at position {position})"
            return f"Invalid value: {shown}: {why}", "FieldValueInvalid"
    return None


def manager_of_agent(agent: str) -> str:
    """The manager of a client that names none: the first part of its User-Agent."""
    return _first_part(agent) if len(agent) <= _LONGEST_REMEMBERED else _first_part.__wrapped__(agent)


@lru_cache(maxsize=256)
def _first_part(agent: str) -> str:
    found = ""
    for letter in agent.partition("/")[0]:
        if letter.isprintable():
            if len((found + letter).encode()) > _MOST_MANAGER:
                break
            found += letter
    return found or "unknown"


def delete_options(query: Mapping[str, str], body: JsonObject | None) -> tuple[DeleteOptions, bool]:
    """The options, and whether it is a dry run. Where there is a body, the query says nothing.

    Raises:
        BadRequest, Invalid: a value is malformed.
    """
    return _stated_options(query) if body is None else _body_options(body)


def wants_cascade(query: Mapping[str, str], body: JsonObject | None) -> bool:
    """Whether a deletion says in the old way that dependents go: only then it is 202 while it is not over."""
    if body is not None:
        return body.get("orphanDependents") is False
    return "orphanDependents" in query and not is_true(query["orphanDependents"])


def _stated_options(query: Mapping[str, str]) -> tuple[DeleteOptions, bool]:
    propagation = _propagation(query.get("propagationPolicy"))
    if "orphanDependents" in query:
        propagation = _from_orphans(propagation, orphans=is_true(query["orphanDependents"]))
    found = DeleteOptions(grace_seconds=_number(query, "gracePeriodSeconds"), propagation=propagation)
    return found, write_options(query, "DeleteOptions").dry_run


def _body_options(body: JsonObject) -> tuple[DeleteOptions, bool]:
    for field, wanted in (("gracePeriodSeconds", int), ("preconditions", dict), ("propagationPolicy", str)):
        value = body.get(field)
        if value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise BadRequest(f"DeleteOptions.{field}: wanted {_WORDS[wanted]}, found {value!r}")
    propagation = _propagation(body.get("propagationPolicy"))
    if isinstance(body.get("orphanDependents"), bool):
        propagation = _from_orphans(propagation, orphans=body["orphanDependents"])
    preconditions = body.get("preconditions") or {}
    for field in ("uid", "resourceVersion"):
        if not isinstance(preconditions.get(field) or "", str):
            raise BadRequest(f"DeleteOptions.preconditions.{field}: wanted a string")
    found = DeleteOptions(
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        grace_seconds=body.get("gracePeriodSeconds"),
        propagation=propagation,
    )
    return found, _dry_run_of(body)


def _dry_run_of(body: JsonObject) -> bool:
    dry_runs = body.get("dryRun") or []
    if not isinstance(dry_runs, list):
        name = {str: "string", bool: "bool", dict: "object"}.get(type(dry_runs), "number")
        raise BadRequest(f"json: cannot unmarshal {name} into Go struct field DeleteOptions.dryRun of type []string")
    if any(one != "All" for one in dry_runs):
        raise invalid_options(
            "DeleteOptions", "dryRun", f'Unsupported value: {_quoted(dry_runs)}: supported values: "All"'
        )
    return bool(dry_runs)


def _from_orphans(policy: Propagation | None, *, orphans: bool) -> Propagation:
    """The policy that ``orphanDependents`` means, which is the old way to say one."""
    if policy is not None:
        why = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise invalid_options("DeleteOptions", "propagationPolicy", why, reason="FieldValueInvalid")
    return Propagation.ORPHAN if orphans else Propagation.BACKGROUND


def _quoted(values: list[object]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ""))


_WORDS: dict[type, str] = {int: "a whole number", dict: "an object", str: "a string"}


def _propagation(stated: str | None) -> Propagation | None:
    if stated is None:
        return None
    try:
        return Propagation(stated)
    except ValueError as error:
        supported = '"Foreground", "Background", "Orphan", "nil"'
        raise invalid_options(
            "DeleteOptions", "propagationPolicy", f'Unsupported value: "{stated}": supported values: {supported}'
        ) from error


def _number(query: Mapping[str, str], name: str) -> int | None:
    stated = query.get(name)
    if stated is None:
        return None
    if not _NUMBER.fullmatch(stated):
        raise BadRequest(f'strconv.ParseInt: parsing "{stated}": invalid syntax')
    found = int(stated)
    if not -(1 << 63) <= found < 1 << 63:
        raise BadRequest(f'strconv.ParseInt: parsing "{stated}": value out of range')
    return found


class _Continue(msgspec.Struct, frozen=True):
    v: str
    rv: int
    start: str


_CONTINUE = msgspec.json.Decoder(_Continue)


def encode_continue(revision: int, last: ObjectKey) -> str:
    """The token that goes on behind ``last`` in the list of ``revision``."""
    token = _Continue(_TOKEN_VERSION, revision, f"{last.namespace}/{last.name}\0")
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def decode_continue(text: str, resource: str) -> tuple[int, ObjectKey]:
    """Raises:
    BadRequest: the token is none of ours.
    """
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        token = _CONTINUE.decode(raw)
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"invalid continue token: continue key is not valid: {error}") from error
    namespace, slash, name = token.start.removesuffix("\0").partition("/")
    if token.v != _TOKEN_VERSION or not slash or token.rv < 1:
        raise BadRequest("invalid continue token: continue key is not valid: it is of another version")
    return token.rv, ObjectKey(resource, namespace, name)
