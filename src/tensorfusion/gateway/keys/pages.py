"""``/admin/keys``: keys of the caller's own namespace, made, looked at, changed, replaced and ended by one that may.

The namespace is a hard border: a key of another one is not there, whoever asks. A key gives at most what it has
(``giving``), takes nothing from whoever runs the gateway, and is told before it ends itself.

Changes go to where keys are kept (``places``), as those of the commands do, and come into force as theirs: within a
second, in all workers.

Source: the platform's contract, 3.1 and 3.2.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ApiError, ConfigError, Forbidden, Invalid
from tensorfusion.gateway.faults import Fault, invalid
from tensorfusion.gateway.handling import Inquiry, Pace, missing, page_of, parameters
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.file import NAME
from tensorfusion.gateway.keys.giving import dollars, filled, require_takeable, require_within
from tensorfusion.gateway.keys.making import OVERLAP, end_of, made, rotated
from tensorfusion.gateway.keys.places import Json, KeyChanged, KeyMissing, KeyTaken, Place, PlaceFull
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.keys.secret import Secret, new_secret
from tensorfusion.gateway.keys.wishes import merged, read_wish
from tensorfusion.gateway.pages import Page
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.telemetry.logs import get_logger

PREFIX: Final = b"/admin/keys"
MOST_KEYS: Final = 1000
"""Of a namespace."""
_ROTATE: Final = "rotate"
_ANYWAY: Final = "lockout"
_HIDDEN: Final = ("hash", "keyFrom", "operator")
log = get_logger(__name__)


class KeyPages:
    """``place`` says where keys are kept now: None where nobody may write them here. ``book`` has those in force."""

    def __init__(self, place: Callable[[], Place | None], book: KeyBook, *, clock: Clock) -> None:
        self._place = place
        self._book = book
        self._clock = clock
        self._pace = Pace(clock)

    async def answer(self, asked: Inquiry) -> Page:
        """Raises Fault, KeyRefused."""
        giver = asked.administrator()
        try:
            return await self._answer(asked, giver)
        except KeyMissing:
            raise _missing() from None
        except KeyTaken:
            raise _taken() from None
        except PlaceFull as error:
            raise _too_many("the file of keys is as large as it can be: ask whoever runs this gateway") from error
        except KeyChanged:
            raise Fault(
                409, "invalid_request_error", "somebody else changed this key just now: try again", code="key_changed"
            ) from None
        except Invalid as error:
            raise invalid(str(error)) from error
        except (ConfigError, ApiError) as error:
            raise _unkept(error) from error

    async def _answer(self, asked: Inquiry, giver: KeyRecord) -> Page:
        below, method = asked.below, asked.method
        if not below:
            match method:
                case "POST":
                    return await self._make(asked, giver)
                case "GET" | "HEAD":
                    return page_of({"object": "list", "data": await self._all(giver)})
            raise asked.refuse_method("GET", "POST")
        if method == "POST" and len(below) > 1 and below[-1] == _ROTATE:
            return await self._rotate(_name(below[:-1], giver), asked, giver)
        match method:
            case "GET" | "HEAD":
                return page_of(await self._one(_name(below, giver), giver))
            case "PATCH":
                return await self._change(_name(below, giver), asked, giver)
            case "DELETE":
                return await self._delete(_name(below, giver), asked, giver)
        raise asked.refuse_method("GET", "PATCH", "DELETE")

    async def _make(self, asked: Inquiry, giver: KeyRecord) -> Page:
        place, document, now = self._writable(giver), asked.json(), self._clock.now()
        name, namespace = document.pop("name", None), document.pop("namespace", giver.namespace)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise invalid("name: wanted lower-case letters, digits, '-' and '.', 253 at most", param="name")
        if namespace != giver.namespace:
            raise Fault(
                403,
                "permission_error",
                f"namespace: key {giver.id} makes keys of namespace {giver.namespace} only",
                code="not_yours_to_give",
                param="namespace",
            )
        secret = new_secret()
        with _wished():
            fields = filled(read_wish(document, now), giver)
            key = {**made({**fields, "name": name}, secret, now), "namespace": namespace}
            if KeyScope.ADMIN in key["scopes"]:
                key["operator"] = False  # whoever runs the gateway says that in the file, or in its own namespace
            require_within(place.record(key), giver)
        if self._book.get(f"{namespace}/{name}") is not None:
            raise _taken()
        if len(await place.all(namespace)) >= MOST_KEYS:
            raise _too_many(f"namespace {namespace} has {MOST_KEYS} keys, the most there can be: delete some")
        kept = await place.add(key, namespace)
        return self._hand_over(kept, secret, giver, "key made", status=201)

    async def _rotate(self, name: str, asked: Inquiry, giver: KeyRecord) -> Page:
        place, document, now = self._writable(giver), asked.json(), self._clock.now()
        overlap = document.pop("overlap", OVERLAP)
        if document:
            raise invalid(f"there is no field {str(next(iter(document)))[:64]!r}: wanted overlap", param="overlap")
        if not isinstance(overlap, str):
            raise invalid('overlap: wanted a duration such as "24h", or "0"', param="overlap")
        with _wished():
            until = end_of(overlap, now, "overlap") if overlap != "0" else ""
        secret = new_secret()

        def change(key: Json) -> Json:
            with _wished():
                require_within(place.record(key), giver)
                return rotated(key, secret, now, until)

        kept = await place.change(name, giver.namespace, change)
        return self._hand_over(kept, secret, giver, "key given a new text")

    async def _change(self, name: str, asked: Inquiry, giver: KeyRecord) -> Page:
        place, patch, now = self._writable(giver), asked.json(), self._clock.now()
        ends = patch == {"disabled": True}
        previous = patch.pop("previous", ...)
        if previous not in (..., None, []):
            raise invalid("previous: wanted [], which ends the texts before the present one", param="previous")
        anyway = _anyway(asked)

        def change(key: Json) -> Json:
            with _wished():
                changed = merged(key, patch, now)
                if previous is not ...:
                    changed.pop("previous", None)
                record = place.record(changed)
                require_takeable(place.record(key), giver)
                if not ends:
                    require_within(record, giver)
            if record.id == giver.id and not anyway:
                _require_lasting(record, giver)
            return changed

        kept = await place.change(name, giver.namespace, change)
        log.info("key changed", key=f"{giver.namespace}/{name}", by=giver.id, fields=",".join(sorted(patch)))
        return page_of(shown(kept))

    async def _delete(self, name: str, asked: Inquiry, giver: KeyRecord) -> Page:
        place, key_id = self._writable(giver), f"{giver.namespace}/{name}"
        anyway = _anyway(asked)

        def check(key: Json) -> None:
            require_takeable(place.record(key), giver)
            if key_id == giver.id and not anyway:
                raise _locked_out("deleted")

        await place.remove(name, giver.namespace, check)
        log.info("key deleted", key=key_id, by=giver.id)
        return page_of({"id": key_id, "object": "key", "deleted": True})

    async def _all(self, giver: KeyRecord) -> list[Json]:
        """Those that are kept where they can be changed, and those that only the configuration says."""
        place = self._place()
        kept = [shown(key) for key in await place.all(giver.namespace)] if place is not None else []
        known = {key["id"] for key in kept}
        fixed = [
            {**shown(_written(record)), "readOnly": True}
            for record in self._book.all()
            if record.namespace == giver.namespace and record.id not in known
        ]
        return sorted([*kept, *fixed], key=lambda key: str(key["id"]))

    async def _one(self, name: str, giver: KeyRecord) -> Json:
        wanted = f"{giver.namespace}/{name}"
        for key in await self._all(giver):
            if key["id"] == wanted:
                return key
        raise _missing()

    def _writable(self, giver: KeyRecord) -> Place:
        """Where to write. Raises Fault: nowhere, or not so often."""
        place = self._place()
        if place is None:
            raise Fault(
                501,
                "invalid_request_error",
                "this gateway has no file of keys that it could write: set keyFile in its configuration",
                code="no_key_store",
            )
        self._pace.take(giver.namespace)
        return place

    def _hand_over(self, key: Json, secret: Secret, giver: KeyRecord, what: str, *, status: int = 200) -> Page:
        """With its text, this once."""
        found = shown(key)
        log.info(what, key=found["id"], by=giver.id)
        return page_of({**found, "key": secret.reveal()}, status)


def shown(key: Json) -> Json:
    """A key as it may be seen: nothing of it by which one could call."""
    found = {
        "id": f"{key['namespace']}/{key['name']}",
        "object": "key",
        "user": key["name"],
        "scopes": [KeyScope.INFER.value],
        "models": [],
        "routes": [],
        "rateLimit": {},
        "budget": {},
        "expiresAt": None,
        "disabled": False,
        "metadata": {},
        "labels": {},
        "createdAt": None,
        "lastUsedAt": None,
        **{field: value for field, value in key.items() if field not in _HIDDEN},
    }
    if key.get("previous"):
        found["previous"] = [{"prefix": one.get("prefix", ""), "until": str(one["until"])} for one in key["previous"]]
    return found


def _written(record: KeyRecord) -> Json:
    """A record as it would be written of it."""
    limit = msgspec.to_builtins(record.rate_limit) if record.rate_limit is not None else {}
    budget = (("daily", record.budget.daily), ("monthly", record.budget.monthly))
    key = {
        "name": record.name,
        "namespace": record.namespace,
        "prefix": record.prefix,
        "user": record.user,
        "scopes": sorted(record.scopes),
        "models": list(record.models.patterns),
        "routes": list(record.routes.patterns),
        "rateLimit": {field: value for field, value in limit.items() if value is not None},
        "budget": {field: dollars(value) for field, value in budget if value is not None},
        "metadata": dict(record.metadata),
        "labels": dict(record.labels),
        "disabled": record.disabled,
    }
    for field, moment in (("expiresAt", record.expires_at), ("createdAt", record.created_at)):
        if moment is not None:
            key[field] = timestamp(moment)
    return key


@contextlib.contextmanager
def _wished() -> Iterator[None]:
    """What is wrong with a key in here is the caller's to put right."""
    try:
        yield
    except ConfigError as error:
        raise invalid(str(error)) from error


def _name(below: Sequence[str], giver: KeyRecord) -> str:
    """Of a key that a path names, as ``name`` or ``namespace/name``. Raises Fault: it is of another one."""
    namespace, _, name = "/".join(below).rpartition("/")
    if namespace not in ("", giver.namespace) or not NAME.fullmatch(name):
        raise _missing()
    return name


def _anyway(asked: Inquiry) -> bool:
    query = parameters(asked.query, (_ANYWAY,))
    if query.get(_ANYWAY, "allow") != "allow":
        raise invalid(f"{_ANYWAY}: wanted allow, found {query[_ANYWAY][:32]!r}", param=_ANYWAY)
    return _ANYWAY in query


def _require_lasting(changed: KeyRecord, giver: KeyRecord) -> None:
    """Raises Fault: the key that somebody calls with would be good for this no more, or not as long."""
    if changed.disabled:
        raise _locked_out("disabled")
    if KeyScope.ADMIN not in changed.scopes:
        raise _locked_out("without scope admin")
    end = changed.expires_at
    if end is not None and (giver.expires_at is None or end < giver.expires_at):
        raise _locked_out(f"with its end at {timestamp(end)}")


def _locked_out(what: str) -> Fault:
    return Fault(
        409,
        "invalid_request_error",
        f"this is the key that you call with: {what}, it would let you in here no more. Say ?{_ANYWAY}=allow if that "
        "is what you want",
        code="would_lock_out",
    )


def _missing() -> Fault:
    return missing("the key", code="key_not_found")


def _too_many(message: str) -> Fault:
    return Fault(409, "invalid_request_error", message, code="too_many_keys")


def _taken() -> Fault:
    return Fault(
        409,
        "invalid_request_error",
        "there is a key of this name already: choose another one, or give it a new text with POST "
        "/admin/keys/NAME/rotate",
        code="key_exists",
        param="name",
    )


def _unkept(error: ConfigError | ApiError) -> Fault:
    """Why is for whoever runs the gateway."""
    log.warning("keys cannot be read or written", error=str(error))
    message = "keys cannot be read or written now: try again later, or ask whoever runs this gateway"
    if isinstance(error, Forbidden):
        message = "this gateway may not write keys of its cluster: ask whoever runs it, or use the command"
    return Fault(503, "internal_error", message, code="key_store_unavailable", fields=((b"Retry-After", b"5"),))
