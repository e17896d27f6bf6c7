"""How an attempt failed: in the words of routing, which decides what follows, and at the end in those of the client.

Source: the platform's contract, 3.3 and 3.6; OpenAI's and Azure's error codes ("context_length_exceeded",
"content_filter").
"""

import re
from typing import Final

import msgspec

from tensorfusion.gateway.faults import Fault, upstream_failed, upstream_timeout
from tensorfusion.gateway.reading import read_failure, read_whole
from tensorfusion.policy.routing.asks import Failure, Outcome
from tensorfusion.wire.errors import NotReached, Phase, TimedOut, WireError
from tensorfusion.wire.messages import Answer

MOST_DETAIL: Final = 300
"""Characters of a target's own message that the client is told."""
_TOO_LONG_CODES: Final = ("context_length_exceeded", "string_above_max_length")
_TOO_LONG_WORDS: Final = ("maximum context length", "context length", "context window", "prompt is too long")
_FILTER_CODES: Final = ("content_filter", "content_policy_violation", "responsibleaipolicyviolation")
_CODE: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_IN_TIME: Final = (408, 504)
_HIDDEN: Final = b"[hidden]"


class Broken(Exception):
    """An attempt that brought no whole answer. ``answer`` is the target's own error, where it gave one.

    ``detail`` is for logs and other callers, too, and holds no word of a request; ``said`` is what the target itself
    says, which often quotes it: for the one who asked, and nobody else.

    ``final``: no further target could help, and this one is not to blame.
    """

    def __init__(
        self,
        failure: Failure,
        detail: str,
        *,
        said: str = "",
        status: int = 0,
        answer: Answer | None = None,
        final: bool = False,
    ) -> None:
        self.failure = failure
        self.detail = detail
        self.said = said
        self.status = status
        self.answer = answer
        self.final = final
        super().__init__(detail)

    def hide(self, secret: bytes) -> None:
        """Take out a credential that the target said back: neither its client nor a record is to read it."""
        shown, hidden = secret.decode("latin-1"), _HIDDEN.decode()
        self.detail = self.detail.replace(shown, hidden)
        self.said = self.said.replace(shown, hidden)
        answer = self.answer
        if answer is not None:
            fields = [(name, value.replace(secret, _HIDDEN)) for name, value in answer.fields]
            self.answer = Answer(answer.status, fields, answer.body.replace(secret, _HIDDEN))

    @property
    def retry_after(self) -> str:
        return (self.answer.field(b"retry-after") or "") if self.answer is not None else ""

    def outcome(self, seconds: float) -> Outcome:
        """For the chooser, ``seconds`` behind the attempt's start."""
        return Outcome(
            failure=Failure.CANCELLED if self.final else self.failure,
            status=self.status,
            seconds=seconds,
            retry_after=self.retry_after,
            detail=self.detail,
        )


def of_wire(error: WireError, *, begun: bool) -> Broken:
    """What a connection did, as a failure; ``begun``: a word of the answer had come."""
    if isinstance(error, NotReached):
        return Broken(Failure.CONNECT, str(error))
    if isinstance(error, TimedOut):
        if error.phase is Phase.HEAD:
            return Broken(Failure.SILENT, str(error))
        return Broken(Failure.STALL if begun else Failure.FIRST_TOKEN, str(error))
    return Broken(Failure.RESET, str(error))


def of_refusal(answer: Answer) -> Broken:
    """An answer with an error status, as a failure."""
    message, code = _said(answer)
    detail = f"HTTP {answer.status}"
    word = code.partition(" ")[0]
    if _CODE.fullmatch(word):
        detail += f" ({word})"
    failure = Failure.STATUS
    if 300 <= answer.status < 400:
        failure, detail = Failure.MALFORMED, f"HTTP {answer.status}: redirects are not followed"
    elif answer.status in (400, 413, 422):
        small = message.lower()
        if any(word in code for word in _FILTER_CODES) or "content management policy" in small:
            failure = Failure.CONTENT_FILTER
        elif any(word in code for word in _TOO_LONG_CODES) or any(words in small for words in _TOO_LONG_WORDS):
            failure = Failure.CONTEXT_LENGTH
    return Broken(failure, detail, said=message[:MOST_DETAIL], status=answer.status, answer=answer)


def of_error_event(error: msgspec.Raw) -> Broken:
    """An error that a target tells in the middle of a stream, or with a status that says success."""
    found = read_failure(error)
    status = found.code if isinstance(found.code, int) and 400 <= found.code <= 599 else 0
    failure = Failure.STATUS if status else Failure.MALFORMED
    return Broken(failure, "it told of an error", said=found.message[:MOST_DETAIL], status=status)


def fault_of(broken: Broken, target: str) -> Fault:
    """What the client is told when this was the last attempt and the target's own words are not for it."""
    what = f"target {target} failed: {broken.detail}" + (f": {broken.said}" if broken.said else "")
    if broken.failure in (Failure.SILENT, Failure.FIRST_TOKEN, Failure.STALL) or broken.status in _IN_TIME:
        return upstream_timeout(what)
    if broken.status in (401, 403):
        return upstream_failed(f"target {target} refused the gateway's credential (HTTP {broken.status})")
    return upstream_failed(what)


def told_as_it_is(broken: Broken) -> Answer | None:
    """The target's own answer, where it is about the request and so is the client's to read."""
    answer = broken.answer
    if answer is None or not 400 <= answer.status < 500 or answer.status in (401, 403, 407, 408):
        return None
    return answer


def _said(answer: Answer) -> tuple[str, str]:
    """Message and code of an error body, in whatever form; empty where there is none. The code in lower case."""
    found = read_whole(answer.body)
    if found is None or not found.failed:
        return "", ""
    failure = read_failure(found.error)
    inner = _inner_code(found.error)
    return failure.message, " ".join(filter(None, (str(failure.code or ""), inner, failure.type or ""))).lower().strip()


class _Inner(msgspec.Struct, gc=False):
    code: str = ""


class _Outer(msgspec.Struct, gc=False):
    innererror: _Inner | None = None


def _inner_code(error: msgspec.Raw) -> str:
    """Azure's: the reason behind the reason."""
    try:
        found = msgspec.json.decode(error, type=_Outer)
    except msgspec.DecodeError:
        return ""
    return found.innererror.code if found.innererror is not None else ""
