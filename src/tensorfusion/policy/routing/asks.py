"""Who asks for what, and how an attempt to answer ended: all that a choice of a route or a target may depend on."""

from enum import StrEnum

import msgspec

from tensorfusion.model.request import QoS

PRIORITY_RANKS = {QoS.LOW: 0, QoS.MEDIUM: 1, QoS.HIGH: 2, QoS.CRITICAL: 3}


# Structs although they are never on the wire: one of each is made for every request, some for every attempt.
class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who asks, as its key says. ``labels`` are those of its pod, sorted pairs.

    ``routes`` are the only routes that its key may use, as ``name`` (of its own namespace) or ``namespace/name``, with
    ``*`` and ``?``; none named means any.
    """

    namespace: str
    user: str = ""
    key_id: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    routes: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What is asked for. ``prompt_tokens`` is an estimate; ``max_tokens`` None where the caller stated none.

    ``session`` is what keeps a caller with one target (``x-tf-session``, else the body's ``user``); empty for none.
    """

    model: str
    prompt_tokens: int = 0
    max_tokens: int | None = None
    priority: QoS = QoS.MEDIUM
    session: str = ""
    stream: bool = False
    last_user_message: str = ""


_ANSWERED = "answered"


class Failure(StrEnum):
    """Why an attempt brought no whole answer."""

    CONNECT = "connect"
    """No connection: refused, no address, TLS, or too slow to connect."""
    RESET = "reset"
    """The connection ended before the answer did."""
    SILENT = "silent"
    """Not a byte came in time."""
    FIRST_TOKEN = "first-token"  # noqa: S105 - no password
    """An answer began, and its first word did not come in time."""
    STALL = "stall"
    """Words came, then none for too long."""
    STATUS = "status"
    """An HTTP status that is an error, none of the ones below."""
    CONTEXT_LENGTH = "context-length"
    """The prompt is longer than the model takes."""
    CONTENT_FILTER = "content-filter"
    """The provider refuses to answer this."""
    MALFORMED = "malformed"
    """An answer that is none: not JSON, or a stream that ends without a reason."""
    CANCELLED = "cancelled"
    """The client left; nobody's fault."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an attempt ended: ``failure`` is None for a whole answer. ``seconds`` from its start to its end.

    ``retry_after`` is the field of the answer as it came; ``detail`` a short text for people, never of the prompt.
    """

    failure: Failure | None = None
    status: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retry_after: str = ""
    detail: str = ""

    @property
    def kind(self) -> str:
        """In one word."""
        return _ANSWERED if self.failure is None else self.failure.value

    def __str__(self) -> str:
        what = self.kind
        if not (self.status or self.detail):
            return what
        status = f" {self.status}" if self.status else ""
        return f"{what}{status}: {self.detail}" if self.detail else f"{what}{status}"


SUCCESS = Outcome()

_TARGET_AT_FAULT = frozenset(
    {
        Failure.CONNECT,
        Failure.RESET,
        Failure.SILENT,
        Failure.FIRST_TOKEN,
        Failure.STALL,
        Failure.MALFORMED,
    }
)
_SICK_STATUSES = frozenset({401, 402, 408, 425, 429})
"""Below 500 and still the target's own: its credential, its account, its time, its load. A 403, 404, 409, 413 or 422
may be of the request, so that one caller could shut a target for all."""


def blames_target(outcome: Outcome) -> bool:
    """Whether a failed attempt says that the target is not well. What the caller did wrong says nothing about it."""
    if outcome.failure is Failure.STATUS:
        return outcome.status >= 500 or outcome.status in _SICK_STATUSES
    return outcome.failure in _TARGET_AT_FAULT
