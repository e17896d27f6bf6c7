"""An answer that comes in one piece: read to its end, judged, and only then sent.

Source: the platform's contract, 3.6: a body that is cut, is no JSON, or says of itself that it is no answer, is a
failure, whatever its status.
"""

from time import monotonic
from typing import Final

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.asking import BYTES_OF_A_TOKEN, Asked
from tensorfusion.gateway.attempts import MOST_ANSWER, Attempt
from tensorfusion.gateway.outcomes import Broken, of_error_event, of_refusal
from tensorfusion.gateway.passing import fields_back
from tensorfusion.gateway.reading import (
    FAILED_REASONS,
    Usage,
    count_of,
    is_list,
    is_object,
    is_string,
    is_text,
    mend,
    read_whole,
)
from tensorfusion.gateway.typed import read_typed_whole
from tensorfusion.policy.routing.asks import Failure
from tensorfusion.policy.routing.money import usd_bytes
from tensorfusion.wire.messages import Answer

_ERROR: Final = 400
_CHUNKED: Final = (Api.CHAT, Api.COMPLETIONS)
_TYPED: Final = (Api.MESSAGES, Api.RESPONSES)
_UNFINISHED: Final = (None, *FAILED_REASONS)


class WholeWay:
    """For one request."""

    __slots__ = ()
    told = False
    open = True
    first = None

    async def attempt(self, attempt: Attempt) -> None:
        job, heard = attempt.job, False
        started = monotonic()

        def hear(found: Answer) -> None:
            """Send it on where it arrives, before its connection is seen to: the client waits."""
            nonlocal heard
            heard = True
            job.waited += monotonic() - started
            self._tell(attempt, found)

        try:
            async with attempt.exchange(hear=hear) as exchange:
                await exchange.whole(MOST_ANSWER)
        finally:
            if not heard:
                job.waited += monotonic() - started

    def _tell(self, attempt: Attempt, found: Answer) -> None:
        """Send it on. Raises Broken: it is no answer."""
        job = attempt.job
        if not 200 <= found.status < 300:
            raise of_refusal(attempt.speech.whole(found) if found.status >= _ERROR else found)
        found, usage, reason = judged(attempt.speech.call.api, found, attempt.speech.asked)
        found = attempt.speech.whole(found)
        job.count(usage, completion=-(-len(found.body) // BYTES_OF_A_TOKEN))
        job.finish_reason = reason
        target = attempt.target
        ready = job.answer_lines(attempt.beginning)
        if target.price is not None:
            cost = target.price.cost(job.used.prompt, job.used.completion)
            ready += b"x-tf-cost-usd: %b\r\n" % usd_bytes(cost)
        job.bytes_out = len(found.body)
        try:
            job.reply.send(found.status, fields_back(found.fields), found.body, ready=ready)
        finally:
            attempt.first_token()


def judged(api: Api, found: Answer, asked: Asked) -> tuple[Answer, Usage | None, str]:
    """The answer as it goes on, what it used and why it finished.

    Raises:
        Broken: it is none.
    """
    kind = found.field(b"content-type")
    if kind is not None and "json" not in kind.lower():
        raise Broken(Failure.MALFORMED, f"it answered with {kind[:64]!r} instead of JSON", status=found.status)
    if not is_text(found.body):
        raise _none(found, "is no text")
    verdict = _read(api, found, found.body, asked)
    if verdict is None:
        mended = mend(found.body)
        verdict = _read(api, found, mended.read, asked) if mended is not None else None
        if mended is None or verdict is None:
            raise _none(found, "is no JSON object")
        found = Answer(found.status, found.fields, mended.sent)
    return found, *verdict


def _read(api: Api, found: Answer, body: bytes, asked: Asked) -> tuple[Usage | None, str] | None:
    """What an answer with this body used and why it finished; None where that is no JSON object. Raises Broken."""
    if api in _TYPED:
        return _read_typed(api, found, body)
    read = read_whole(body)
    if read is None:
        return None
    if read.failed:
        raise of_error_event(read.error)
    if api in _CHUNKED:
        if not read.choices:
            raise _none(found, "has no choices")
        for choice in read.choices:
            if choice.finish_reason in _UNFINISHED:
                raise _unfinished(choice.finish_reason, found)
            if not (is_object(choice.message) if api is Api.CHAT else is_string(choice.text)):
                raise _none(found, f"has a choice without {'a message' if api is Api.CHAT else 'text'}")
        return read.usage, read.choices[0].finish_reason or ""
    if api is Api.EMBEDDINGS:
        wanted, there = asked.inputs, count_of(read.data)
        if there < wanted:
            raise _none(found, f"has {there} of {wanted} embeddings")
    return read.usage, ""


def _read_typed(api: Api, found: Answer, body: bytes) -> tuple[Usage | None, str] | None:
    """As ``_read``, of a message or a response."""
    typed = read_typed_whole(body)
    if typed is None:
        return None
    if typed.failed:
        raise of_error_event(typed.error)
    if not is_list(typed.content if api is Api.MESSAGES else typed.output):
        raise _none(found, "has no content")
    if typed.stop_reason is None if api is Api.MESSAGES else typed.status == "failed":
        raise _unfinished(typed.status, found)
    usage = typed.usage.plain if typed.usage is not None else None
    return usage, typed.stop_reason or typed.status or ""


def _unfinished(reason: str | None, found: Answer) -> Broken:
    return Broken(Failure.MALFORMED, f"it finished with {reason or 'no reason'}", status=found.status)


def _none(found: Answer, why: str) -> Broken:
    return Broken(Failure.MALFORMED, f"its answer {why}", status=found.status)
