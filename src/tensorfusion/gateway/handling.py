"""What somebody with a key asks of the gateway itself, beyond reading a page: with a method, a path and a body.

Apart from ``front``, which finds out who asks and hands it on, and from those who answer: each has the paths below one
prefix of two segments, such as ``/admin/keys``.
"""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.gateway.faults import JSON, Fault, invalid
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.pages import Page
from tensorfusion.gateway.seams import Key
from tensorfusion.model.llm_key import KeyScope

MOST_BODY: Final = 256 << 10
"""Bytes."""
CHANGES_AT_ONCE: Final = 30
CHANGES_PER_SECOND: Final = 2
"""Of a namespace, in each worker."""
CHANGES: Final = "changes keys or configurations"
_MOST_NAMESPACES: Final = 4096
_ROUNDING: Final = 1e-6
"""Seconds that sums of fractions may be off."""
_LONGEST_PATH: Final = 1024
_LONGEST_QUERY: Final = 4096
_LONGEST: Final = 256
_PREFIX: Final = 3
"""Parts of a prefix, the empty one before the first slash included."""
_encoder: Final = msgspec.json.Encoder()


class Inquiry(msgspec.Struct, frozen=True):
    """``below`` are the segments of the path behind the prefix, decoded; ``query`` is as it came."""

    method: str
    prefix: str
    below: tuple[str, ...]
    query: bytes
    body: bytes
    key: Key

    def administrator(self) -> KeyRecord:
        """The key, where it may change things of its namespace.

        Raises:
            Fault: no key is asked for here, so anybody who reaches the gateway could be it.
            KeyRefused: it may not.
        """
        self.key.require_scope(KeyScope.ADMIN)
        if not isinstance(self.key, KeyRecord):
            raise Fault(
                403,
                "permission_error",
                f"{self.prefix} takes a key with scope admin, and this gateway has no keys: make the first one with "
                "`tensorfusion gateway keys create NAME --scope admin --scope infer --file keys.yaml`, and set keyFile",
                code="no_keys",
            )
        return self.key

    def json(self) -> dict[str, Any]:  # Any: JSON
        """The body as an object; an empty one where there is none.

        Raises:
            Fault: it is none.
        """
        try:
            found = msgspec.json.decode(self.body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"the body is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise invalid(f"the body: wanted a JSON object, found {type(found).__name__}")
        return found

    def refuse_method(self, *taken: str) -> Fault:
        """What this path takes."""
        fields = ((b"Allow", ", ".join(taken).encode()),)
        path = "/".join((self.prefix, *self.below))[:128]
        return Fault(405, "invalid_request_error", f"{path} takes {', '.join(taken)}", fields=fields)


class Pace:
    """How often a namespace may do something here, in this worker, unless it says otherwise change something: each
    change is read by all workers."""

    def __init__(
        self, clock: Clock, *, at_once: int = CHANGES_AT_ONCE, per_second: int = CHANGES_PER_SECOND, what: str = CHANGES
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._per_second = per_second
        self._what = what
        self._full_at: dict[str, float] = {}
        """By namespace; when all of its allowance is there again."""

    def take(self, namespace: str) -> None:
        """Count one change.

        Raises:
            Fault: 429, it is one too many.
        """
        now = self._clock.monotonic()
        if len(self._full_at) >= _MOST_NAMESPACES:
            self._full_at = {known: at for known, at in self._full_at.items() if at > now}
        full_at = max(self._full_at.get(namespace, 0.0), now) + 1 / self._per_second
        late = full_at - now - self._at_once / self._per_second
        if late > _ROUNDING:
            raise Fault(
                429,
                "rate_limit_error",
                f"namespace {namespace} {self._what} too often: wanted {self._per_second} a second at most",
                code="rate_limit_exceeded",
                fields=((b"Retry-After", b"%d" % ceil(late)),),
            )
        self._full_at[namespace] = full_at


Handler = Callable[[Inquiry], Awaitable[Page]]
"""Raises Fault, KeyRefused."""


def prefix_of(path: bytes) -> bytes:
    """By which its handler is looked up."""
    return b"/".join(path.split(b"/", _PREFIX)[:_PREFIX])


def inquiry_of(method: bytes, path: bytes, query: bytes, body: bytes, key: Key) -> Inquiry:
    """Raises Fault: the path is no text."""
    if len(path) > _LONGEST_PATH:
        raise invalid(f"wanted a path of at most {_LONGEST_PATH} bytes, found {len(path)}")
    parts = path.split(b"/")
    try:
        below = tuple(unquote_to_bytes(part).decode() for part in parts[_PREFIX:])
    except UnicodeDecodeError:
        raise invalid("the path: wanted UTF-8 in percent signs") from None
    return Inquiry(
        method=method.decode("latin-1"),
        prefix=b"/".join(parts[:_PREFIX]).decode("latin-1"),
        below=below if below != ("",) else (),
        query=query,
        body=body,
        key=key,
    )


def page_of(body: object, status: int = 200) -> Page:
    """A page of JSON that nobody keeps."""
    return status, (JSON, (b"Cache-Control", b"no-store")), _encoder.encode(body)


def missing(what: str, *, code: str) -> Fault:
    """There is none of that name here, whether there is one elsewhere or not."""
    return Fault(404, "invalid_request_error", f"{what}: there is none", code=code)


def parameters(query: bytes, known: tuple[str, ...]) -> dict[str, str]:
    """What a query says, read strictly: a misspelled parameter is an error and not a wider answer.

    Raises:
        Fault: it cannot be read, or says something that is not known.
    """
    if len(query) > _LONGEST_QUERY:
        raise invalid(f"wanted a query of at most {_LONGEST_QUERY} bytes, found {len(query)}")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=2 * len(known), errors="strict")
    except ValueError as error:
        raise invalid("the query cannot be read: wanted name=value with UTF-8 in percent signs") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise invalid(f"there is no parameter {name[:64]!r}: known are {', '.join(known)}", param=name[:64])
        if name in found:
            raise invalid(f"{name} is there twice", param=name)
        if len(value) > _LONGEST or not value.isprintable():
            raise invalid(f"{name}: wanted at most {_LONGEST} printable characters, found others", param=name)
        if value:
            found[name] = value
    return found
