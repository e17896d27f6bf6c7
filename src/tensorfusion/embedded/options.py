"""Query parameters and DeleteOptions bodies as typed options, refused in the words of a real API server.

Source: metav1 ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions and their validation.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tensorfusion.embedded.calls import DeleteOptions, Propagation
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.schema import FieldValidation
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
_NOT_BESIDE_CONTINUE = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
_GO_ESCAPES = {chr(code): f"\\x{code:02x}" for code in (*range(32), 127)} | {
    letter: "\\" + name for letter, name in zip('\a\b\f\n\r\t\v"\\', 'abfnrtv"\\', strict=True)
}
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105  # the format of a continue token, no secret


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list or watch asks for. ``revision`` is None where the query states none."""

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


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Raises:
    BadRequest, Invalid: a parameter is malformed, or does not go with another.
    """
    stated = query.get("resourceVersion", "")
    match = query.get("resourceVersionMatch", "")
    initial = query.get("sendInitialEvents")
    _check_match(stated, match, initial, watch=watch, continues=bool(query.get("continue")))
    if query.get("continue") and stated not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")
    timeout = _number(query, "timeoutSeconds")
    return ListOptions(
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        limit=max(0, _number(query, "limit") or 0),
        continue_=query.get("continue", ""),
        revision=parse_revision(stated),
        exact=match == "Exact",
        bookmarks=is_true(query.get("allowWatchBookmarks")),
        initial_events=None if initial is None else is_true(initial),
        timeout=float(timeout) if timeout is not None and timeout > 0 else None,
    )


def _check_match(stated: str, match: str, initial: str | None, *, watch: bool, continues: bool) -> None:
    def refuse(field: str, message: str, reason: str = "FieldValueForbidden") -> Exception:
        return invalid_options("ListOptions", field, message, reason=reason)

    if match not in ("", "Exact", "NotOlderThan"):
        raise refuse(
            "resourceVersionMatch",
            f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""',
            "FieldValueNotSupported",
        )
    if watch:
        if initial is not None and match != "NotOlderThan":
            raise invalid("ListOptions", "meta.k8s.io", "", causes=_not_streamable(match))
        if continues and (initial is not None or stated in ("", "0")):
            raise refuse("resourceVersionMatch", _NOT_BESIDE_CONTINUE)
        if initial is None and match:
            raise refuse(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        return
    if initial is not None:
        raise refuse("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list")
    if match and not stated:
        raise refuse(
            "resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match and continues:
        raise refuse("resourceVersionMatch", _NOT_BESIDE_CONTINUE)
    if match == "Exact" and stated == "0":
        raise refuse(
            "resourceVersionMatch", 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )


def _not_streamable(match: str) -> list[FieldCause]:
    """What is wrong with a match other than NotOlderThan beside initial events."""
    why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    causes = [FieldCause("resourceVersionMatch", why, "FieldValueForbidden")]
    if match:
        why = f'Unsupported value: "{match}": supported values: "NotOlderThan"'
        causes.append(FieldCause("resourceVersionMatch", why, "FieldValueNotSupported"))
    return causes


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
    dry_run = query.get("dryRun")
    if dry_run not in (None, "All"):
        raise invalid_options(kind, "dryRun", f'Unsupported value: ["{dry_run}"]: supported values: "All"')
    stated = query.get("fieldValidation", "")
    if stated not in ("", "Ignore", "Warn", "Strict"):
        raise invalid_options(
            kind,
            "fieldValidation",
            f'Unsupported value: "{stated}": supported values: "", "Ignore", "Strict", "Warn"',
        )
    manager = query.get("fieldManager", "")
    problem = manager_problem(manager)
    if problem is not None:
        raise invalid_options(kind, "fieldManager", problem[0], reason=problem[1])
    force = is_true(query["force"]) if "force" in query else None
    return WriteOptions(dry_run == "All", FieldValidation(stated or "Warn"), manager, force)


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
    options = write_options(query, "PatchOptions")
    if applies and not options.manager:
        raise invalid_options(
            "PatchOptions",
            "fieldManager",
            "Required value: is required for apply patch",
            reason="FieldValueRequired",
        )
    if not applies and options.force is not None:
        raise invalid_options(
            "PatchOptions",
            "force",
            "Forbidden: may not be specified for non-apply patch",
            reason="FieldValueForbidden",
        )
    return options


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
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        grace_seconds=body.get("gracePeriodSeconds"),
        propagation=propagation,
    )
    return found, _dry_run_of(body)


def _dry_run_of(body: JsonObject) -> bool:
    dry_runs = body.get("dryRun") or []
    if not isinstance(dry_runs, list):
        name = {str: "string", bool: "bool", dict: "object"}.get(type(dry_runs), "number")
        raise BadRequest(f"json: cannot unmarshal {name} into Go struct field DeleteOptions.dryRun of type []string")
    if dry_runs not in ([], ["All"]):
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
    if not stated:
        return None
    try:
        return Propagation(stated)
    except ValueError as error:
        supported = '"Foreground", "Background", "Orphan", "nil"'
        raise invalid_options(
            "DeleteOptions", "propagationPolicy", f'Unsupported value: "{stated}": supported values: {supported}'
        ) from error


def _number(query: Mapping[str, str], name: str) -> int | None:
    stated = query.get(name, "")
    if not stated:
        return None
    if not _NUMBER.fullmatch(stated):
        raise BadRequest(f'{name}: strconv.ParseInt: parsing "{stated}": invalid syntax')
    found = int(stated)
    if not -(1 << 63) <= found < 1 << 63:
        raise BadRequest(f'{name}: strconv.ParseInt: parsing "{stated}": value out of range')
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
