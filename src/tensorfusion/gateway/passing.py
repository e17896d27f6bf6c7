"""Which fields go through the gateway: a client's to a target, a target's to a client.

Out stays what is between the client and the gateway - its key, its cookies, what it tells the gateway - and what says
how bytes are coded on the way, because the gateway reads them. Back stays what is between the gateway and its provider:
cookies, the account's own limits and names.

Looked up by the bytes of a name as they came, in tables that grow to a bound: the same few names come with every
request.
"""

from collections.abc import Callable
from typing import Final

from tensorfusion.wire.fields import KIND_OF, Fields, Kind, end_to_end

_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 64

_OURS: Final = (b"x-tf-", b"x-portkey-")
_STAYS_OUT: Final = frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"cookie",
        b"host",
        b"expect",
        b"accept-encoding",
        b"content-encoding",
        b"content-type",  # said anew where the body is
        b"x-request-id",  # likewise
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"openai-organization",
        b"openai-project",
    )
)
_OF_NO_FIELD: Final = (b"close", b"keep-alive")
"""Values of ``Connection`` that name no field."""
_FORWARDED: Final = b"x-forwarded-"
_STAYS_BACK: Final = frozenset(
    (
        b"set-cookie",
        b"server",
        b"date",
        b"via",
        b"alt-svc",
        b"x-request-id",
        b"request-id",
        b"openai-organization",
        b"openai-project",
        b"strict-transport-security",
        b"content-encoding",
    )
)
_LIMITS: Final = (b"x-ratelimit-", b"anthropic-ratelimit-", b"access-control-", b"cf-", *_OURS)


class _Passes(dict[bytes, bool | None]):
    """Whether a name passes, in the spellings that came by. None: ``Connection``, which names others that do not."""

    def __init__(self, passes: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._passes = passes

    def __missing__(self, name: bytes) -> bool | None:
        kind = KIND_OF[name]
        passes = None if kind is Kind.CONNECTION else kind < Kind.EXPECT and self._passes(name.lower())
        if len(self) < _MOST_KNOWN and len(name) <= _LONGEST_KNOWN:
            self[name] = passes
        return passes

    def of(self, fields: Fields) -> list[tuple[bytes, bytes]]:
        """Those that pass."""
        kept = []
        for pair in fields:
            passes = self[pair[0]]
            if passes:
                kept.append(pair)
            elif passes is None and pair[1].lower() not in _OF_NO_FIELD:
                return [pair for pair in end_to_end(fields) if self[pair[0]]]
        return kept


_OUT: Final = _Passes(
    lambda name: name not in _STAYS_OUT and not name.startswith(_OURS) and not name.startswith(_FORWARDED)
)
_BACK: Final = _Passes(lambda name: name not in _STAYS_BACK and not name.startswith(_LIMITS))


def fields_out(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Of a client's fields, those that a target gets. Neither the content's type nor the request's id is among them."""
    return _OUT.of(fields)


def fields_back(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Of a target's fields, those that a client gets."""
    return _BACK.of(fields)
