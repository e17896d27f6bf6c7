"""What the fields of a request say to the gateway, read once as long as a client says the same.

A client that keeps its connection sends the same fields with every request, but for the length of the body, which is
not among them. So what was made of them is kept with the connection, and made anew when they differ.
"""

import contextlib
import random
import re
from typing import Final, NamedTuple

from tensorfusion.gateway.faults import Fault, invalid
from tensorfusion.gateway.keys.book import KEY_FIELDS
from tensorfusion.gateway.passing import fields_out
from tensorfusion.gateway.portkey import HEADER, METADATA
from tensorfusion.gateway.seams import Key
from tensorfusion.model.request import QoS
from tensorfusion.policy.routing.asks import Caller
from tensorfusion.policy.routing.route import Route
from tensorfusion.wire.fields import Fields, field_lines
from tensorfusion.wire.request import Request

_PRIORITIES: Final = {priority.value.encode(): priority for priority in QoS}
_ONLY_CACHED: Final = b"only-if-cached"
_CACHE_WORDS: Final = frozenset((b"no-store", b"no-cache", _ONLY_CACHED))
_ID = re.compile(rb"[!-~]{1,128}")


class Entrance(NamedTuple):
    """Where requests with one heading for one model go, as long as key and routes are the same: ``state`` is the number
    of theirs."""

    key: Key
    state: int
    model: str
    caller: Caller
    route: Route


class Heading:
    """Of one request, and of those behind it with the same fields."""

    __slots__ = (
        "_cache",
        "_is_priority",
        "brought",
        "edition",
        "entrance",
        "fields",
        "given_id",
        "key",
        "keys",
        "lines",
        "out",
        "priority",
        "route",
        "session",
    )

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.keys: list[tuple[bytes, bytes]] = []
        """Fields that may hold a key."""
        self.key: Key | None = None
        """Whose they are, as of an ``edition`` of the keys."""
        self.edition = 0
        self.entrance: Entrance | None = None
        """Where the latest request went."""
        self.given_id = b""
        """The request's id, where the client gave a proper one."""
        self.session = ""
        self.route = ""
        self.brought: dict[bytes, bytes] = {}
        """What a client of Portkey's brings along."""
        self.priority: QoS = QoS.MEDIUM
        self._cache: list[bytes] = []
        self._is_priority = True
        for pair in fields:
            name = pair[0].lower()
            if name in KEY_FIELDS:
                self.keys.append(pair)
            elif name[:2] == b"x-":
                self._read(name, pair[1])
        self.out: Fields = fields_out(fields)
        """What goes on to targets."""
        self.lines: bytes | None = None
        """That, as it is sent; None where something in it cannot be."""
        with contextlib.suppress(ValueError):  # told where it would be sent
            self.lines = field_lines(self.out)

    def _read(self, name: bytes, value: bytes) -> None:
        match name:
            case b"x-request-id":
                self.given_id = self.given_id or (value if _ID.fullmatch(value) else b"")
            case b"x-tf-session":
                self.session = value.decode("latin-1")
            case b"x-tf-priority":
                found = _PRIORITIES.get(value.lower())
                self.priority, self._is_priority = found or QoS.MEDIUM, found is not None
            case b"x-tf-cache":
                self._cache.append(value)
            case b"x-tf-route":
                self.route = value.decode("latin-1")
            case _ if name in (HEADER, METADATA):
                self.brought[name] = value

    def check(self) -> None:
        """Raises Fault: there is no such priority, or nothing is kept that the request would be content with."""
        if not self._is_priority:
            raise invalid("x-tf-priority: wanted low, medium, high or critical", param="x-tf-priority")
        for value in self._cache:
            _check_cache(value)

    def id(self) -> bytes:
        """The request's own id, or a new one."""
        if self.given_id:
            return self.given_id
        return b"req-%024x" % random.getrandbits(96)  # a name, no secret: asking the system costs as much as parsing


def heading_of(request: Request) -> Heading:
    """What its fields say."""
    kept = request.kept
    if type(kept) is Heading and (kept.fields is request.fields or kept.fields == request.fields):
        return kept
    found = Heading(request.fields)
    request.kept = found
    return found


def _check_cache(value: bytes) -> None:
    """What a request wants of a cache. There is none yet: what it must not do it does not, and it has nothing.

    Source: RFC 9111 5.2.1.4, 5.2.1.5, 5.2.1.7.
    """
    wanted = {word.strip() for word in value.lower().split(b",")}
    if not wanted <= _CACHE_WORDS:
        raise invalid("x-tf-cache: wanted no-store, no-cache or only-if-cached", param="x-tf-cache")
    if _ONLY_CACHED in wanted:
        raise Fault(
            504,
            "not_cached",
            "x-tf-cache: only-if-cached, and this gateway keeps no answers: send it without",
            code="not_cached",
            param="x-tf-cache",
        )
