"""An answer that comes as events: nothing is sent before its first word, and nothing is sent that hides its end.

Until the first word the client has got nothing, not even a status: a failure moves to the next target unseen. From then
on each arrival goes from socket to socket, listened to on the way. A failure then is followed by another target, if the
route wants that and the words so far can be joined to (``splicing``); else by an explicit error event. A success ends
with the stream's own end, or with ``[DONE]`` of ours where the target said why it finished and then nothing more.

Source: the platform's contract, 3.6.
"""

import math
from collections.abc import Mapping
from time import monotonic
from typing import Final

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.attempts import MOST_ANSWER, Attempt
from tensorfusion.gateway.job import Job
from tensorfusion.gateway.listening import Join, Listener, Said
from tensorfusion.gateway.outcomes import Broken, of_refusal, of_wire
from tensorfusion.gateway.passing import fields_back
from tensorfusion.gateway.speech import InMiddle, Voice, message_voice
from tensorfusion.gateway.splicing import Continued, Repeated, further_parts
from tensorfusion.model.llm_route import MidStream
from tensorfusion.policy.routing.asks import Failure
from tensorfusion.wire.errors import BrokenOff, ClientLeft, Phase, TimedOut, WireError
from tensorfusion.wire.exchange import Exchange
from tensorfusion.wire.relay import Look, pour

_LAST_SECONDS: Final = 1.0
"""That a target may take to end a stream behind its last event ..."""
_REASON_SECONDS: Final = 2.0
"""... and to tell of it, or of what it used, behind the reason to finish."""
_NO_WORDS: Final = (b":", b"\n", b"\r")
"""What arrivals begin with that are comments."""
_NOT_UNDERSTOOD: Final = (400, 404, 409, 413, 415, 422, 501)


class StreamWay:
    """For one request. ``first`` is the failure that cut the answer off when the client had some of it already."""

    __slots__ = ("_buffered", "_ended_at", "_job", "_pushes", "_voice", "first", "said")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._buffered = job.route.mid_stream is MidStream.BUFFER
        self.said = Said()
        self.first: Broken | None = None
        self._voice: Voice | None = None
        self._pushes = 0
        self._ended_at = math.inf
        """When this attempt's answer told its end, or why it finished."""

    @property
    def told(self) -> bool:
        return self._job.reply.started

    @property
    def open(self) -> bool:
        return not self.told or (self._job.route.mid_stream is MidStream.SPLICE and self.said.comparable)

    async def attempt(self, attempt: Attempt) -> None:
        try:
            await self._attempt(attempt)
        except ClientLeft:
            raise
        except (Broken, WireError) as error:
            if self.told and self.first is None:
                self.first = error if isinstance(error, Broken) else of_wire(error, begun=True)
            raise

    async def _attempt(self, attempt: Attempt) -> None:
        if not self.told or attempt.job.call.api is Api.RESPONSES:  # who listens to those joins them by itself
            await self._ask(attempt)
            return
        self._speak_on(attempt)
        text = self.said.text
        further = None
        if attempt.target.prefill:
            further = further_parts(
                attempt.speech.asked,
                text,
                self.said.pieces,
                attempt.target.provider,
                given=(*attempt.upstream.parameters, *attempt.upstream.overriding),
            )
        if further is not None:
            try:
                await self._ask(attempt, Continued(text), further)
            except Broken as error:
                if error.status not in _NOT_UNDERSTOOD or self.said.text != text:
                    raise
            else:
                return
        await self._ask(attempt, Repeated(text))

    def _speak_on(self, attempt: Attempt) -> None:
        """What is joined are chunks, whoever says and whoever hears them: so a message goes on at any target."""
        if attempt.job.call.api is not Api.MESSAGES:
            return
        if self._voice is None:
            self._voice = message_voice()
        if attempt.speech.asked.api is Api.MESSAGES:
            attempt.speech = InMiddle(attempt.speech.asked, attempt.speech.call)

    async def _ask(
        self, attempt: Attempt, join: Join | None = None, further: Mapping[str, bytes] | None = None
    ) -> None:
        job = self._job
        listener = attempt.speech.listener(self.said, join)
        now, first_by = monotonic(), math.inf
        if job.chooser.others(job.ask, now, job.attempts, attempt.target):
            first_by = attempt.ticket.started_at + job.route.timers.first_token
        mark, pushes, self._ended_at = self.said.mark(), self._pushes, math.inf
        waiting = True
        try:
            async with attempt.exchange(further, seconds=max(first_by - now, 0.0)) as exchange:
                waiting = False
                job.waited += monotonic() - now
                head = await self._first_word(attempt, exchange, listener)
                await self._rest(attempt, exchange, listener, head)
        except TimedOut as error:
            if listener.spoken or error.phase is not Phase.TOTAL or first_by >= job.deadline:
                raise
            raise Broken(Failure.FIRST_TOKEN, f"no first word within {job.route.timers.first_token:g} s") from error
        finally:
            if waiting:
                job.waited += monotonic() - now
            job.dropped += listener.dropped
            if self._pushes == pushes:
                self.said.back_to(mark)
            if self.told:
                job.count(listener.usage, completion=self.said.pieces, whole=listener.finished)

    async def _first_word(self, attempt: Attempt, exchange: Exchange, listener: Listener) -> bytes:
        """What has come up to the first arrival with a word in it, or up to the end where the answer is buffered."""
        job, began = self._job, monotonic()
        try:
            if not 200 <= exchange.status < 300:
                raise of_refusal(attempt.speech.whole(await exchange.whole(MOST_ANSWER)))
            require_events(exchange)
            exchange.silent_for(job.route.timers.idle)
            parts, size, begun = [], 0, False
            wordless = _Wordless(job.route.timers.idle)
            while not listener.done and (self._buffered or not listener.spoken):
                data = await _next(exchange, listener)
                if begun:
                    wordless.see(data)
                part = listener.take(data) if data else listener.end()
                if listener.failure is not None:
                    raise listener.failure
                over = self._is_over(exchange, listener)
                parts.append(part)
                size += len(part)
                if size > MOST_ANSWER:
                    raise Broken(Failure.MALFORMED, f"its answer has more than {MOST_ANSWER} bytes")
                if listener.spoken and not begun:
                    begun = True
                    exchange.all_within(max(job.deadline - monotonic(), 0.0))
                    if not attempt.begun:
                        attempt.first_token()
                if over or not data:
                    break
        finally:
            job.waited += monotonic() - began
        if self._buffered or not listener.spoken:
            parts.append(listener.end())
        return b"".join(parts)

    def _is_over(self, exchange: Exchange, listener: Listener) -> bool:
        """Where the answer has told its end, or why it finished, the rest is not waited for as long as for words, and
        not for ever where it goes on in drops: True then."""
        if not (listener.done or listener.finished):
            return False
        now = monotonic()
        if listener.done:
            exchange.all_within(min(_LAST_SECONDS, max(self._job.deadline - now, 0.0)))
        else:
            exchange.silent_for(_REASON_SECONDS)
        self._ended_at = min(self._ended_at, now)
        return now - self._ended_at > _REASON_SECONDS

    async def _rest(self, attempt: Attempt, exchange: Exchange, listener: Listener, head: bytes) -> None:
        """Send the head of the answer, what has come, and what still comes."""
        job = self._job
        reply = job.reply
        whole = not reply.started and exchange.done
        if whole:
            head += listener.end()  # where it has none, the client has got nothing yet
        if not reply.started:
            self._voice = attempt.speech.voice()
        passed = self._said(head)
        if not reply.started:
            job.spoke = attempt.target
            ready = job.answer_lines(attempt.beginning)
            reply.start(200, fields_back(exchange.fields), ready=ready, first=passed, whole=whole)
        else:
            reply.push(passed)
        if not whole:
            await self._pour(exchange, listener)
            reply.end(self._said(listener.end()))
        job.finish_reason = listener.finish_reason
        job.spoke = attempt.target

    async def _pour(self, exchange: Exchange, listener: Listener) -> None:
        """Send what still comes, each arrival where it arrives."""
        job = self._job
        self._is_over(exchange, listener)
        if exchange.done and listener.done:
            return
        began = monotonic()
        try:
            await pour(exchange, job.reply, look=self._look(exchange, listener))
        except BrokenOff:
            if not listener.finished:
                raise
        finally:
            job.waited += monotonic() - began

    def _said(self, heard: bytes) -> bytes:
        """What the client gets of it, from now on. Raises Broken: it cannot be said in the client's words."""
        if self._voice is not None:
            try:
                heard = self._voice.say(heard)
            except Broken as broken:
                broken.final = self.told  # what was said of this arrival is lost: nobody could go on behind it
                raise
        self._pushes += 1
        self._job.bytes_out += len(heard)
        return heard

    def _look(self, exchange: Exchange, listener: Listener) -> Look:
        job, take, said = self._job, listener.take, self._said
        see = _Wordless(job.route.timers.idle).see

        def look(data: bytes) -> bytes | None:
            see(data)
            passed = said(take(data))
            if listener.failure is not None:
                job.reply.push(passed)
                raise listener.failure
            if listener.finished or listener.done:
                if listener.done and listener.finished and exchange.done:
                    job.reply.end(passed)
                    return b""
                if self._is_over(exchange, listener):
                    job.reply.push(passed)
                    return None
            return passed

        return look


class _Wordless:
    """Since when nothing came but comments: they keep a connection alive, and no answer."""

    __slots__ = ("_idle", "_since")

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._since = math.inf

    def see(self, data: bytes) -> None:
        """An arrival. Raises TimedOut."""
        if data[:1] not in _NO_WORDS:
            self._since = math.inf
            return
        now = monotonic()
        self._since = min(self._since, now)
        if now - self._since > self._idle:
            raise TimedOut(Phase.SILENCE, self._idle)


async def _next(exchange: Exchange, listener: Listener) -> bytes:
    """The next arrival; empty at the end, also where the connection broke off behind a whole answer."""
    try:
        return await exchange.read()
    except BrokenOff:
        if listener.finished:
            return b""
        raise


def require_events(exchange: Exchange) -> None:
    """Raises Broken: the answer is no stream of events."""
    kind = next((value for name, value in exchange.fields if name.lower() == b"content-type"), b"")
    if kind and not kind.lower().startswith(b"text/event-stream"):
        what = kind[:64].decode("latin-1")
        raise Broken(Failure.MALFORMED, f"it answered with {what!r} instead of a stream of events", status=200)
