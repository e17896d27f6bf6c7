"""The front of the gateway: from a request to its answer, and from whatever goes wrong to an error in its API's words.

Everything a request needs is at hand before the first await behind its body: the key, the route, the first target (and
the limits, but where a cluster counts them). What is held for it is given back in one place, once, however it ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Final

import msgspec

from tensorfusion.gateway.apis import Api, Call, call_of, routed
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.attempts import Failed, Way, answer
from tensorfusion.gateway.evidence import CLIENT_LEFT, Evidence
from tensorfusion.gateway.faults import JSON, Fault, Words, body_of, gateway_ending, invalid, not_found, refusal
from tensorfusion.gateway.handling import MOST_BODY as MOST_ASKED
from tensorfusion.gateway.handling import Handler, inquiry_of, prefix_of
from tensorfusion.gateway.heading import Entrance, Heading, heading_of
from tensorfusion.gateway.job import Job
from tensorfusion.gateway.keys.errors import KeyRefused
from tensorfusion.gateway.mirroring import Mirrors
from tensorfusion.gateway.outcomes import fault_of, told_as_it_is
from tensorfusion.gateway.pages import Page, Pages
from tensorfusion.gateway.passing import fields_back
from tensorfusion.gateway.portkey import HEADER, Portkeys
from tensorfusion.gateway.refusals import Arrival
from tensorfusion.gateway.scraping import METRICS, Scrape, require_reader
from tensorfusion.gateway.seams import Key, Keys, Limits
from tensorfusion.gateway.sse import event_of
from tensorfusion.gateway.state import State
from tensorfusion.gateway.streaming import StreamWay
from tensorfusion.gateway.verbatim import AskedVerbatim, VerbatimWay
from tensorfusion.gateway.whole import WholeWay
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.model.llm_route import RouteStrategy
from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.routes import NoRoute, NotAllowed
from tensorfusion.policy.routing.state import Attempts
from tensorfusion.wire.errors import ClientLeft, Refused
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

MOST_BODY: Final = 32 << 20
_INFER: Final = KeyScope.INFER
_LOADTEST: Final = RouteStrategy.LOADTEST
_VERBATIM: Final = Api.VERBATIM
"""Members that every request asks for: looking one up in its class takes as long as a call."""
_DRY_RUN: Final = b"/fallback/test"
_OURS: Final = 500
_UNKNOWN: Final = 401
_LEFT: Final = "client_closed"
_MOST_CALLERS: Final = 4096
Question = Callable[[bytes, Key], Awaitable[Page]]
"""Answers the query of a path for whoever has a key. Raises Fault, KeyRefused."""


class Front:
    """Of one process. ``state`` is replaced when the configuration changes."""

    def __init__(
        self,
        state: State,
        *,
        keys: Keys,
        limits: Limits,
        evidence: Evidence,
        pages: Pages,
        questions: Mapping[bytes, Question] | None = None,
        handlers: Mapping[bytes, Handler] | None = None,
        scrape: Scrape = Scrape.LOOPBACK,
        most_body: int = MOST_BODY,
    ) -> None:
        """``questions`` are pages, by path, that somebody else has to be asked for; ``handlers`` have what is below a
        prefix (``handling``)."""
        self.state = state
        self.keys = keys
        self.limits = limits
        self.evidence = evidence
        self._pages = pages
        self.portkeys = Portkeys()
        self._mirrors = Mirrors(evidence.meters)
        self._questions = questions or {}
        self._handlers = handlers or {}
        self._scrape = scrape
        self._most_body = most_body
        self._callers: dict[int, tuple[Key, Caller]] = {}

    async def close(self) -> None:
        """End what is under way beside requests, and all connections."""
        await self._mirrors.close()
        await self.portkeys.close()
        await self.state.upstreams.close()

    def handle(self, request: Request, reply: Reply) -> Awaitable[None]:
        """Answer one request, when that is awaited."""
        call = call_of(request.target)
        if call is None and (named := routed(request.target)) is not None:
            name, request.target = named
            others = (field for field in request.fields if field[0].lower() != b"x-tf-route")
            request.fields = (*others, (b"x-tf-route", name))
            call = call_of(request.target)
        if request.target == _DRY_RUN and request.method == b"POST":
            return self._try_out(request, reply)
        if call is None:
            return self._page(request, reply)
        return self._call(request, reply, call)

    async def _try_out(self, request: Request, reply: Reply) -> None:
        """Say what would become of a chat completion, without asking anybody."""
        try:
            key = self.keys.find(request.fields)
            key.require_scope(_INFER)
            asked = Asked(Api.CHAT, await request.whole(self._most_body))
            if asked.model:
                key.require_model(asked.model)
            heading = heading_of(request)
            heading.check()
            ask = _ask_of(asked, heading)
            ask = msgspec.structs.replace(ask, last_user_message=asked.last_user_message())
            page = self._pages.dry_run(self.state, self._caller(key), ask, heading.route)
        except Refused as refused:
            _tell(reply, refusal(refused.status, str(refused)), Words.OPENAI)
        except (Fault, KeyRefused) as fault:
            self._note_stranger(request, fault)
            _tell(reply, of_key(fault), Words.OPENAI)
        else:
            reply.send(*page)

    async def _page(self, request: Request, reply: Reply) -> None:
        """Answer what is no model's business."""
        self.evidence.catch_up()
        try:
            page = await self._found(request)
        except Refused as refused:
            _tell(reply, refusal(refused.status, str(refused)), Words.OPENAI)
        except (Fault, KeyRefused) as fault:
            self._note_stranger(request, fault)
            _tell(reply, of_key(fault), Words.OPENAI)
        else:
            reply.send(*page)

    async def _found(self, request: Request) -> Page:
        """Raises Fault, KeyRefused, Refused: there is no such page for the caller."""
        path, _, query = request.target.partition(b"?")
        question = self._questions.get(path)
        if question is not None:
            key = self.keys.find(request.fields)
            if request.method not in (b"GET", b"HEAD"):
                raise invalid(f"{_shown(path)} takes GET", status=405)
            return await question(query, key)
        handler = self._handlers.get(prefix_of(path))
        if handler is not None:
            key = self.keys.find(request.fields)
            body = b"" if request.method in (b"GET", b"HEAD") else await request.whole(MOST_ASKED)
            return await handler(inquiry_of(request.method, path, query, body, key))
        if path == METRICS:
            require_reader(request, self._scrape, self.keys)
        found = self._pages.open_page(path)
        if found is None:
            key = self.keys.find(request.fields)
            found = self._pages.page(path, self.state, key, self._caller(key))
        if found is None:
            raise Fault(404, "invalid_request_error", f"there is nothing at {_shown(path)}", code="unknown_path")
        if request.method not in (b"GET", b"HEAD"):
            raise invalid(f"{_shown(path)} takes GET", status=405)
        return found

    async def _call(self, request: Request, reply: Reply, call: Call) -> None:
        api = call.api or call.path.partition("?")[0]
        heading = heading_of(request)
        arrival = Arrival(heading.id(), request, api, monotonic())
        try:
            job = await self._admit(reply, call, heading, arrival)
        except Refused as refused:
            fault = refusal(refused.status, str(refused))
        except (Fault, KeyRefused) as refused:
            fault = of_key(refused)
        except asyncio.CancelledError as error:
            self._note_left(arrival, error)
            raise
        except Exception as error:
            self._note_refused(arrival, _OURS, "internal_error", type(error).__name__)
            raise
        else:
            await self._carry_out(job)
            return
        self._note_refused(arrival, fault.status, fault.type, str(fault))
        _tell(reply, fault, call.words, arrival.id)

    def _note_refused(self, arrival: Arrival, status: int, kind: str, message: str) -> None:
        self.evidence.refuse(arrival, status=status, error_type=kind, error_message=message)

    def _note_left(self, arrival: Arrival, error: asyncio.CancelledError) -> None:
        """Nobody waits for it any more; where its connection had to end it, that has said so with what it was told."""
        why = error.args[0] if error.args else None
        if isinstance(why, Refused):
            fault = refusal(why.status, str(why))
            self._note_refused(arrival, fault.status, fault.type, str(fault))
        else:
            self._note_refused(arrival, CLIENT_LEFT, _LEFT, "the client left before its request was let in")

    def _note_stranger(self, request: Request, refused: Fault | KeyRefused) -> None:
        """Pages leave no records; whoever shows no good key does, wherever it tries."""
        if refused.status == _UNKNOWN:
            path = _shown(request.target.partition(b"?")[0])
            arrival = Arrival(heading_of(request).id(), request, path, monotonic())
            self._note_refused(arrival, refused.status, refused.type, str(refused))

    async def _admit(self, reply: Reply, call: Call, heading: Heading, arrival: Arrival) -> Job:
        """Who asks for what, and which route takes it; what is known of it stands in ``arrival``, too.

        Raises:
            Fault, KeyRefused, Refused: it is not let in.
        """
        request, started = arrival.request, arrival.started
        arrival.key = key = self._key_of(heading)
        key.require_scope(_INFER)
        if request.method != b"POST" and call.api is not _VERBATIM:
            raise invalid(f"{call.path} takes POST", status=405)
        body = await request.whole(self._most_body)
        arrival.arrived = arrived = monotonic()
        heading.check()
        route_name = heading.route
        if call.api is _VERBATIM:
            asked: Asked = AskedVerbatim(request, call, body, routed=bool(route_name))
        else:
            asked = Asked(call.api, body)
        arrival.asked = asked
        ask = _ask_of(asked, heading)
        state = self.state
        known = heading.entrance
        if known is not None and known.key is key and known.state == state.number and known.model == asked.model:
            caller, route = known.caller, known.route
            chooser, upstreams, attempts = state.choosers[route.key], state.upstreams, Attempts()
        elif HEADER in (brought := heading.brought):
            caller = self._let_in(key, asked)
            portkey = self.portkeys.of(brought[HEADER], key, state)
            route, chooser, upstreams = portkey.config.route, portkey.chooser, portkey.upstreams
            attempts = portkey.attempts(brought, asked, call)
        else:
            caller = self._let_in(key, asked)
            match = state.routes.match(caller, ask, route_name)
            if not isinstance(match, Route):
                raise _no_route(match)
            route, chooser, upstreams, attempts = match, state.choosers[match.key], state.upstreams, Attempts()
            key.require_route(route.key)
            heading.entrance = Entrance(key, state.number, asked.model, caller, route)
        arrival.route = route.key
        if route.conditional:
            ask = msgspec.structs.replace(ask, last_user_message=asked.last_user_message())
        guess = chooser.usual_tokens if asked.max_tokens is None else 0
        arrival.asking = asking = monotonic()
        held = await self.limits.reserve(
            key, route, tokens=asked.prompt_tokens + (asked.max_tokens or 0) * max(asked.choices, 1), guess=guess
        )
        queued = monotonic() - asking
        return Job(
            id=arrival.id,
            request=request,
            reply=reply,
            call=call,
            asked=asked,
            ask=ask,
            caller=caller,
            route=route,
            chooser=chooser,
            upstreams=upstreams,
            attempts=attempts,
            asked_route=route_name,
            held=held,
            fields=heading.out,
            lines=heading.lines,
            meanwhile=self.evidence.catch_up,
            started=started,
            waited=arrived - started + queued,
            queued=queued,
        )

    def _key_of(self, heading: Heading) -> Key:
        """Who calls. Raises KeyRefused."""
        keys, known = self.keys, heading.key
        if known is None or not keys.again(known, heading.edition):
            known = keys.find(heading.keys)
            heading.key, heading.edition = known, keys.edition
        return known

    def _let_in(self, key: Key, asked: Asked) -> Caller:
        """Raises KeyRefused: the key may not ask the model."""
        if asked.model:
            key.require_model(asked.model)
        return self._caller(key)

    async def _carry_out(self, job: Job) -> None:
        """Answer, and settle what was held, whatever happens."""
        way = _way_of(job)
        status, kind, message = CLIENT_LEFT, _LEFT, "the client left before its answer had ended"
        try:
            try:
                self.evidence.begin(job)
                mirrors = self._mirrors.start if job.route.strategy is _LOADTEST else None
                await answer(job, way, begins=mirrors)
            except Failed as failed:
                status, kind, message = _tell_failure(job, way, failed)
            except Fault as fault:
                _tell(job.reply, fault, job.call.words, job.id)
                status, kind, message = fault.status, fault.type, str(fault)
            except asyncio.CancelledError:
                if job.reply.ended:  # where its end arrived, while this task was being ended
                    status, kind, message = job.reply.status, "", ""
                elif job.reply.connection.dismissed:
                    status, kind, message = _tell_ending(job, way)
                raise
            else:
                status, kind, message = job.reply.status, "", ""
        except ClientLeft:
            pass
        except Exception as error:
            status, kind, message = _OURS, "internal_error", type(error).__name__
            raise
        finally:
            job.held.settle(job.used.prompt + job.used.completion)
            self.evidence.note(job, status=status, error_type=kind, error_message=message)

    def _caller(self, key: Key) -> Caller:
        known = self._callers.get(id(key))
        if known is not None and known[0] is key:
            return known[1]
        caller = Caller(
            namespace=key.namespace,
            user=key.user,
            key_id=key.id,
            labels=tuple(sorted(key.labels.items())),
            routes=key.routes.patterns,
        )
        if len(self._callers) >= _MOST_CALLERS:
            self._callers.clear()
        self._callers[id(key)] = key, caller
        return caller


def _ask_of(asked: Asked, heading: Heading) -> Ask:
    return Ask(
        model=asked.model,
        prompt_tokens=asked.prompt_tokens,
        max_tokens=asked.max_tokens,
        priority=heading.priority,
        session=heading.session or asked.user,
        stream=asked.stream,
    )


def _way_of(job: Job) -> Way:
    if job.call.api is _VERBATIM:
        return VerbatimWay()
    return StreamWay(job) if job.ask.stream else WholeWay()


def of_key(fault: Fault | KeyRefused) -> Fault:
    """Why somebody is not let in, as a fault."""
    if isinstance(fault, Fault):
        return fault
    return Fault(fault.status, fault.type, str(fault), code=fault.code, param=fault.param)


def _shown(path: bytes) -> str:
    return path[:128].decode("ascii", "replace")


def _no_route(found: NoRoute | NotAllowed) -> Fault:
    if isinstance(found, NoRoute):
        return not_found(found.message)
    return Fault(403, "permission_error", found.message, code="model_not_allowed", param="model")


def _tell(reply: Reply, fault: Fault, words: Words, request_id: bytes = b"") -> None:
    """Raises ClientLeft."""
    fields = [JSON, *fault.fields]
    if request_id:
        fields.append((b"x-request-id", request_id))
    reply.send(fault.status, fields, body_of(fault, words))


def _tell_failure(job: Job, way: Way, failed: Failed) -> tuple[int, str, str]:
    """Tell the client that nobody could answer; status, type and message for the record.

    Raises:
        ClientLeft: it is not there any more.
    """
    broken, target, words = failed.broken, job.spoke or failed.target, job.call.words
    if way.told and job.reply.ended:
        return broken.status or 502, "upstream_error", broken.detail
    if way.told:
        fault = fault_of(way.first or broken, target.name)
        _end_with(job, fault)
        return fault.status, fault.type, (way.first or broken).detail
    ready = job.answer_lines(job.beginning(target))
    theirs = told_as_it_is(broken, words, verbatim=job.call.api is _VERBATIM)
    if theirs is not None:
        job.bytes_out = len(theirs.body)
        job.reply.send(theirs.status, fields_back(theirs.fields), theirs.body, ready=ready)
        return theirs.status, "upstream_error", broken.detail
    fault = fault_of(broken, target.name)
    fields = [JSON, *fault.fields]
    job.reply.send(fault.status, fields, body_of(fault, words), ready=ready)
    return fault.status, fault.type, broken.detail


def _end_with(job: Job, fault: Fault) -> None:
    """End a stream that has begun, without its end. Raises ClientLeft."""
    words = job.call.words
    job.reply.push(event_of(body_of(fault, words), name=b"error" if words is Words.ANTHROPIC else b""))
    job.reply.end()


def _tell_ending(job: Job, way: Way) -> tuple[int, str, str]:
    """Tell the client that the gateway ends before its answer; status, type and message for the record.

    Raises:
        ClientLeft: it is not there any more.
    """
    fault = gateway_ending()
    if not way.told:
        _tell(job.reply, fault, job.call.words, job.id)
    elif job.call.api is _VERBATIM:
        job.reply.cut()
    else:
        _end_with(job, fault)
    return fault.status, fault.type, str(fault)
