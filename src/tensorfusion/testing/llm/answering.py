"""One request to a model from its arrival to its end: refused, queued, said at its pace, broken by a fault, or left by
its client - and accounted for however it ended.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from tensorfusion.errors import ConfigError
from tensorfusion.testing.llm import broken
from tensorfusion.testing.llm.ask import Answer, answer
from tensorfusion.testing.llm.chat import Chat
from tensorfusion.testing.llm.completions import Completion
from tensorfusion.testing.llm.faults import Fault, fault_of
from tensorfusion.testing.llm.messages import Messages
from tensorfusion.testing.llm.pace import Pace
from tensorfusion.testing.llm.refusals import Refusal, wrong
from tensorfusion.testing.llm.responses import Responses
from tensorfusion.testing.llm.seen import End, Seen
from tensorfusion.testing.llm.vectors import embed, rerank
from tensorfusion.testing.llm.wire import Talk, encode, stamped
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

if TYPE_CHECKING:
    from tensorfusion.testing.llm.server import LlmServer

FAULT_FIELD: Final = b"x-testserver-fault"
_COUNTING: Final = b"/v1/messages/count_tokens"
_TALKS: Final[dict[bytes, Callable[[bytes], Talk]]] = {
    b"/v1/chat/completions": Chat,
    b"/v1/completions": Completion,
    b"/v1/responses": Responses,
    b"/v1/messages": Messages,
}
PATHS: Final = frozenset((*_TALKS, _COUNTING, b"/v1/embeddings", b"/rerank", b"/v1/rerank", b"/v2/rerank"))
"""Where models are asked, with POST."""
_ID_FIELDS: Final = {path: b"request-id" if path.startswith(b"/v1/messages") else b"X-Request-Id" for path in PATHS}
_AT_ONCE: Final = 256
"""Tokens up to which a stream that nothing holds up is one write: some 70 kB, of 128 that wait for a client at most."""
Spelling: TypeAlias = Callable[[Refusal], bytes]


def _spelling_of(path: bytes) -> Spelling:
    """How errors are told there."""
    return Refusal.anthropic if path.startswith(b"/v1/messages") else Refusal.openai


class Answering:
    """One request to ``path``, one of ``PATHS``."""

    __slots__ = ("_fault", "_own", "_pace", "_path", "_reply", "_request", "_seen", "_server", "_ticket")

    def __init__(self, server: "LlmServer", path: bytes, request: Request, reply: Reply) -> None:
        self._server = server
        self._path = path
        self._request = request
        self._reply = reply
        self._pace = Pace(server.clock, server.settings)
        self._seen: Seen | None = None
        self._fault: Fault | None = None
        self._ticket = server.ticket()
        self._own: Fields = (server.name, (_ID_FIELDS[path], b"req_%b" % self._ticket.name.encode()))

    async def run(self) -> None:
        """Answer it."""
        settings = self._server.settings
        body = await self._request.whole(settings.most_body)
        if settings.seen:
            self._seen = self._server.remember(self._path, self._request, body, at=self._pace.arrived)
        end = End.LEFT  # cancelled, or its writing failed: the client is gone
        try:
            if settings.api_key:
                self._check_key(settings.api_key)
            await (self._talk(body) if self._path in _TALKS else self._numbers(body))
            end = End.WHOLE
        except Refusal as refusal:
            fields = (*broken.JSON, *self._own, *refusal.fields)
            self._reply.send(refusal.status, fields, _spelling_of(self._path)(refusal))
            end = End.WHOLE
        except broken.Ended:
            end = End.BROKEN
        finally:
            if self._seen is not None:
                self._server.note(self._seen, self._pace, self._reply.status, end)

    def _check_key(self, wanted: str) -> None:
        shown = self._request.field(b"x-api-key") or self._request.field(b"authorization") or b""
        if shown.removeprefix(b"Bearer ") != wanted.encode():
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    async def _choose_fault(self, model: str, talk: Talk | None) -> None:
        """Find whether this request fails; what happens before an answer happens here."""
        server = self._server
        if self._seen is not None:
            self._seen.model = model
            self._seen.stream = talk is not None and talk.stream
        fault = server.rules.choose(self._path, model) if server.rules else None
        if server.settings.faults:
            named = self._request.field(FAULT_FIELD)
            if named is not None:
                try:
                    fault = fault_of(named.decode("latin-1"))
                except ConfigError as error:
                    raise wrong(f"x-testserver-fault: {error}") from error
        if fault is None:
            return
        self._fault = fault
        if self._seen is not None:
            self._seen.fault = fault.text
        refusal = broken.refusal_of(fault, talk, server.clock, context=server.settings.context_length)
        if refusal is not None:
            raise refusal
        await broken.before_head(fault, self._reply, server.clock)

    # --- words ---

    async def _talk(self, body: bytes) -> None:
        server = self._server
        known = server.known.get((self._path, body))
        talk = _TALKS[self._path](body) if known is None else known[0]
        ask = talk.ask
        if server.rules or server.settings.faults or self._seen is not None:
            await self._choose_fault(ask.model, talk)
        if known is None:
            found = answer(ask, server.settings)
            server.know(self._path, body, (talk, found))
        else:
            found = known[1]
        if self._fault is not None and self._fault.name == "filter-stream":
            found = found.filtered(self._fault.after)
        if self._seen is not None:
            self._seen.prompt_tokens = found.prompt_tokens
        place = server.engine.enter(found.prompt_tokens + found.tokens)
        try:
            if place.admitted is not None:
                await self._wait(ask.model, place.admitted)
            meter = server.meters.runs(ask.model, 1)
            meter.prompt_tokens += found.prompt_tokens
            try:
                await (self._stream(talk, found) if talk.stream else self._whole(talk, found))
            finally:
                server.meters.runs(ask.model, -1)
        finally:
            server.engine.leave(place)
            self._count(found)

    async def _wait(self, model: str, admitted: asyncio.Future[None]) -> None:
        meters = self._server.meters
        meters.waits(model, 1)
        try:
            await admitted
        finally:
            meters.waits(model, -1)
        self._pace.begin()

    async def _whole(self, talk: Talk, found: Answer) -> None:
        pace = self._pace
        if pace.slow:
            await pace.all(found.steps, found.tokens)
        else:
            pace.tokens = found.tokens
            pace.first_at = pace.arrived
        whole = talk.whole(found, self._ticket)
        if self._fault is None:
            self._reply.send(200, (*broken.JSON, *self._own), whole)
        else:
            await broken.send_whole(self._fault, self._request, self._reply, whole, self._server.clock)

    async def _stream(self, talk: Talk, found: Answer) -> None:
        fault, reply, pace = self._fault, self._reply, self._pace
        stamps = self._server.settings.stamps
        if fault is None and not pace.slow and not stamps and found.tokens <= _AT_ONCE:
            self._stream_at_once(talk, found)
            return
        connection = reply.connection
        reply.start(200, (*broken.STREAM, *self._own))
        late = fault.seconds if fault is not None and fault.name == "slow-start" else 0.0
        step = -1
        for number, (data, of) in enumerate(talk.events(found, self._ticket)):
            if of > step:
                step = of
                if late and not step:
                    await self._server.clock.sleep(late)
                    pace.begin()
                if pace.slow or not step:
                    await pace.token(step)
            event = stamped(data) if stamps else data
            if fault is None:
                reply.push(event)
            else:
                reply.push(await broken.at_event(fault, number, event, talk, self._request, reply, self._server.clock))
            if not connection.writable:
                await connection.room()
            if of >= 0:
                pace.tokens += 1
        reply.end()

    def _stream_at_once(self, talk: Talk, found: Answer) -> None:
        pieces = [data for data, _ in talk.events(found, self._ticket)]
        self._reply.send_pieces(200, (*broken.STREAM, *self._own), pieces)
        self._pace.tokens = found.tokens
        if found.tokens:
            self._pace.first_at = self._pace.now()

    def _count(self, found: Answer) -> None:
        pace = self._pace
        meter = self._server.meters.of(found.model)
        meter.generation_tokens += pace.tokens
        if pace.first_at is not None:
            meter.first_token.observe(pace.first_at - pace.arrived)
        whole = pace.tokens == found.tokens and self._reply.ended
        reason = found.choices[0].stop.reason if whole else "abort"
        meter.finished["stop" if reason == "tool_calls" else reason] += 1
        meter.whole.observe(pace.now() - pace.arrived)

    # --- numbers ---

    async def _numbers(self, body: bytes) -> None:
        settings = self._server.settings
        if self._path == _COUNTING:
            talk = Messages(body, counting=True)
            await self._choose_fault(talk.ask.model, talk)
            tokens = answer(talk.ask, settings).prompt_tokens
            whole = encode({"input_tokens": tokens})
        else:
            embedding = self._path == b"/v1/embeddings"
            whole, model, tokens = embed(body, settings) if embedding else rerank(body, settings, self._ticket)
            await self._choose_fault(model, None)
            self._server.meters.of(model).prompt_tokens += tokens
        if self._seen is not None:
            self._seen.prompt_tokens = tokens
        if self._fault is None:
            self._reply.send(200, (*broken.JSON, *self._own), whole)
        else:
            await broken.send_whole(self._fault, self._request, self._reply, whole, self._server.clock)
