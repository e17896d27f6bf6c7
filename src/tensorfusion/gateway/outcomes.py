"""How an attempt failed: in the words of routing, which decides what follows, and at the end in those of the client.

Source: the platform's contract, 3.3 and 3.6; OpenAI's and Azure's error codes ("context_length_exceeded",
"content_filter").
"""

import errno
import re
from typing import Final

import msgspec

from tensorfusion.gateway.faults import (
    JSON,
    Fault,
    Words,
    body_of,
    invalid,
    overloaded,
    refusal,
    upstream_failed,
    upstream_timeout,
)
from tensorfusion.gateway.reading import NOTHING, UNREADABLE, decoded, read_failure, read_whole
from tensorfusion.policy.routing.asks import Failure, Outcome
from tensorfusion.wire.errors import NotReached, Phase, TimedOut, WireError
from tensorfusion.wire.messages import Answer

MOST_DETAIL: Final = 300
"""Characters of a target's own message that the client is told."""
_TOO_LONG_CODES: Final = ("context_length_exceeded", "string_above_max_length")
_TOO_LONG_WORDS: Final = ("maximum context length", "context length", "context window", "prompt is too long")
_FILTER_CODES: Final = ("content_filter", "content_policy_violation", "responsibleaipolicyviolation")
_CODE: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_OUR_OWN: Final = (errno.EMFILE, errno.ENFILE)
"""Why no connection could be made to anybody."""
_IN_TIME: Final = (408, 504)
_OF_THE_REQUEST: Final = (400, 413, 422)
_STATUSES: Final = {
    **dict.fromkeys(_TOO_LONG_CODES + _FILTER_CODES, 400),
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "internalservererror": 500,
    "overloaded": 529,
    "overloaded_error": 529,
    "timeout_error": 504,
}
"""By codes and types of OpenAI, Anthropic and vLLM, in small letters."""
_HIDDEN: Final = b"[hidden]"
_OF_THE_BODY: Final = (b"content-type", b"content-encoding", b"content-length")


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
        cause = error.__cause__
        ours = isinstance(cause, OSError) and cause.errno in _OUR_OWN
        return Broken(Failure.CONNECT, str(error), final=ours)
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
    elif answer.status in _OF_THE_REQUEST:
        failure = _of_words(message, code)
    return Broken(failure, detail, said=message[:MOST_DETAIL], status=answer.status, answer=answer)


def of_error_event(error: msgspec.Raw, *, begun: bool = False) -> Broken:
    """An error that a target tells in a stream, or with a status that says success: as one with the status that its
    words have elsewhere. Behind words of an answer (``begun``) it is not about the request, whatever it says."""
    found = read_failure(error)
    code = f"{found.code or ''} {_inner_code(error)} {found.type or ''}".lower()
    status = found.code if isinstance(found.code, int) and 400 <= found.code <= 599 else _status_of(code)
    if begun and status in _OF_THE_REQUEST:
        status = 0
    failure = Failure.STATUS if status else Failure.MALFORMED
    if status in _OF_THE_REQUEST:
        failure = _of_words(found.message, code)
    return Broken(failure, "it told of an error", said=found.message[:MOST_DETAIL], status=status)


def _of_words(message: str, code: str) -> Failure:
    """What is wrong with a request, by the words in which it is refused; the code in small letters."""
    small = message.lower()
    if any(word in code for word in _FILTER_CODES) or "content management policy" in small:
        return Failure.CONTENT_FILTER
    if any(word in code for word in _TOO_LONG_CODES) or any(words in small for words in _TOO_LONG_WORDS):
        return Failure.CONTEXT_LENGTH
    return Failure.STATUS


def _status_of(code: str) -> int:
    """The status that goes with a code or a type; 0 where none does."""
    return next((_STATUSES[word] for word in code.split() if word in _STATUSES), 0)


def fault_of(broken: Broken, target: str) -> Fault:
    """What the client is told when this was the last attempt and the target's own words are not for it."""
    what = f"target {target} failed: {broken.detail}" + (f": {broken.said}" if broken.said else "")
    if broken.failure in (Failure.SILENT, Failure.FIRST_TOKEN, Failure.STALL) or broken.status in _IN_TIME:
        return upstream_timeout(what)
    if broken.final and broken.failure is Failure.CONNECT:
        return overloaded("the gateway has no descriptor left for a connection: ask again")
    if broken.status in _OF_THE_REQUEST:
        return invalid(broken.said or what, status=broken.status)
    if broken.status == 429:
        return Fault(429, "rate_limit_error", what)
    if broken.status in (401, 403):
        return upstream_failed(f"target {target} refused the gateway's credential (HTTP {broken.status})")
    if broken.status == 402:
        return upstream_failed(f"the account of target {target} has to be paid first (HTTP 402)")
    return upstream_failed(what)


def told_as_it_is(broken: Broken, words: Words, *, verbatim: bool) -> Answer | None:
    """The target's own answer, where it is about the request and so is the client's to read: as it came if it is
    ``verbatim`` or an error as the client's API has it; else - a page, a body that is coded or lacking, the error of
    another API - what it says, in the client's words."""
    answer = broken.answer
    if answer is None or not 400 <= answer.status < 500 or answer.status in (401, 402, 403, 407, 408):
        return None
    if verbatim or _is_error(answer, words):
        return answer
    told = refusal(answer.status, broken.said or _text_of(answer) or f"HTTP {answer.status}, and nothing else")
    return Answer(answer.status, json_fields(answer), body_of(told, words))


def json_fields(answer: Answer) -> list[tuple[bytes, bytes]]:
    """The fields of an answer whose body is another one now, which is JSON."""
    return [JSON, *(pair for pair in answer.fields if pair[0].lower() not in _OF_THE_BODY)]


def _is_error(answer: Answer, words: Words) -> bool:
    """It is an error in these words, for every client to read."""
    found = _of_api(answer.body)
    if found is None or not found.error.message or is_coded(answer):
        return False
    return words is Words.OPENAI or (found.type == "error" and bool(found.error.type))


def is_coded(answer: Answer) -> bool:
    """Its body is in a form that nobody asked for, and nobody here undoes."""
    return (answer.field(b"content-encoding") or "identity").lower() != "identity"


def _text_of(answer: Answer) -> str:
    """What a body says that is no error of a known form."""
    if is_coded(answer):
        return ""
    return answer.body[:MOST_DETAIL].decode("utf-8", "replace").strip()


def _said(answer: Answer) -> tuple[str, str]:
    """Message and code of an error body, in whatever form; empty where there is none. The code in lower case."""
    found = read_whole(answer.body)
    if found is None:
        return "", ""
    told = found.error if found.failed else msgspec.Raw(answer.body)  # some tell it at the top, as vLLM did
    failure = read_failure(told)
    code = " ".join(filter(None, (str(failure.code or ""), _inner_code(told), failure.type or ""))).lower().strip()
    return failure.message or _detail(answer.body), code


class _Detailed(msgspec.Struct, gc=False):
    detail: msgspec.Raw = NOTHING


def _detail(body: bytes) -> str:
    """What frameworks tell of a request that is not of the form that they want."""
    try:
        raw = msgspec.json.decode(body, type=_Detailed).detail
    except UNREADABLE:
        return ""
    found = decoded(bytes(raw))
    return found if isinstance(found, str) else bytes(raw).decode("utf-8", "replace")


class _Told(msgspec.Struct, gc=False):
    message: str = ""
    type: str | None = None


class _Body(msgspec.Struct, gc=False):
    error: _Told
    type: str | None = None


_body: Final = msgspec.json.Decoder(_Body)


def _of_api(body: bytes) -> _Body | None:
    """An error of a known form. All of it is text that can be read."""
    try:
        body.decode()
        return _body.decode(body)
    except UNREADABLE:
        return None


class _Inner(msgspec.Struct, gc=False):
    code: str = ""


class _Outer(msgspec.Struct, gc=False):
    innererror: _Inner | None = None


def _inner_code(error: msgspec.Raw) -> str:
    """Azure's: the reason behind the reason."""
    try:
        found = msgspec.json.decode(error, type=_Outer)
    except UNREADABLE:
        return ""
    return found.innererror.code if found.innererror is not None else ""
