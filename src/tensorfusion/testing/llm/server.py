"""The simulated model server: its state, its paths, and what it tells of itself.

It says what it is: in ``Server``, in ``system_fingerprint`` and in ``owned_by``. Nothing here computes a model; see
``words`` for what it says instead.
"""

import secrets
import ssl
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs

import msgspec

from tensorfusion.clock import Clock, SystemClock
from tensorfusion.testing.llm import listing
from tensorfusion.testing.llm.answering import PATHS, Answering
from tensorfusion.testing.llm.ask import Answer
from tensorfusion.testing.llm.broken import JSON, Ended, before_head, refusal_of
from tensorfusion.testing.llm.engine import Engine
from tensorfusion.testing.llm.faults import Rule, RuleList, Rules
from tensorfusion.testing.llm.meters import CONTENT_TYPE, Meters
from tensorfusion.testing.llm.pace import Pace
from tensorfusion.testing.llm.refusals import Refusal
from tensorfusion.testing.llm.seen import End, Log, Seen
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.testing.llm.wire import Talk, Ticket, read
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.limits import Limits
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server

_LIMITS: Final = Limits(most_requests=1 << 62)
_SMALL: Final = 8 << 10
_MOST_KNOWN: Final = 256
_CONTROL: Final = b"/testserver/"
_rules: Final = msgspec.json.Decoder(RuleList)


class LlmServer:
    """``async with LlmServer(Settings()) as server``: serves at ``server.url`` until the block ends.

    ``port`` 0 is one that the system chooses; the one that an earlier server had brings that one back. With ``tls`` it
    is served over https.
    ``alone`` is False for one of several workers on a port: it cannot be asked what it has seen, nor be told how to
    fail, since the next request may reach another one.
    """

    name: Final = (b"Server", b"tensorfusion-testserver (simulated)")

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        rules: Sequence[Rule] = (),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        alone: bool = True,
    ) -> None:
        self.settings = settings or Settings()
        self.clock = clock or SystemClock()
        self.rules = Rules(rules)
        self.log = Log(self.settings.seen)
        self.engine = Engine(self.settings.concurrency, self.settings.kv_tokens)
        self.meters = Meters(self.settings, self.engine)
        self.known: dict[tuple[bytes, bytes], tuple[Talk, Answer]] = {}
        """What was made of the latest small requests: the same one again is answered the same."""
        self.port = port
        self._tls = tls
        self._alone = alone
        self._began = self.clock.monotonic()
        self._epoch = self.clock.now().timestamp() - self._began
        self._run = secrets.token_hex(4)
        self._tickets = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def seen(self) -> list[Seen]:
        """The requests that came to models, oldest first."""
        return self.log.since()

    async def __aenter__(self) -> Self:
        self._server = self.serving()
        self.port = await self._server.listen(port=self.port, tls=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.drain(0)

    def serving(self) -> Server:
        """What serves it, for whoever brings the listener."""
        return Server(self.handle, limits=_LIMITS, spell=_spell)

    def handle(self, request: Request, reply: Reply) -> Awaitable[None]:
        """Answer one request."""
        path = request.target.partition(b"?")[0]
        if path in PATHS and request.method == b"POST":
            return Answering(self, path, request, reply).run()
        return self._other(request, reply, path)

    async def _other(self, request: Request, reply: Reply, path: bytes) -> None:
        try:
            if path.startswith(_CONTROL):
                await self._control(request, reply, path)
            else:
                await self._look(request, reply, path)
        except Refusal as refusal:
            reply.send(refusal.status, (*JSON, self.name, *refusal.fields), refusal.openai())
        except Ended:
            pass

    # --- for one request ---

    def ticket(self) -> Ticket:
        """The name of the next answer."""
        self._tickets += 1
        return Ticket(f"{self._run}{self._tickets:08x}", int(self._epoch + self.clock.monotonic()))

    def know(self, path: bytes, body: bytes, made: tuple[Talk, Answer]) -> None:
        """Keep what was made of a request, in the place of the oldest."""
        if len(body) <= _SMALL:
            if len(self.known) >= _MOST_KNOWN:
                del self.known[next(iter(self.known))]
            self.known[path, body] = made

    def remember(self, path: bytes, request: Request, body: bytes, *, at: float) -> Seen:
        method = request.method.decode("latin-1")
        return self.log.add(method, path.decode("latin-1"), request.fields, body, at=at - self._began)

    def note(self, seen: Seen, pace: Pace, status: int, end: End) -> None:
        """How it ended."""
        seen.tokens = pace.tokens
        seen.first_at = None if pace.first_at is None else pace.first_at - self._began
        seen.ended_at = pace.now() - self._began
        seen.status = status
        seen.end = end

    # --- what it tells of itself ---

    async def _look(self, request: Request, reply: Reply, path: bytes) -> None:
        fault = self.rules.choose(path, "", asks=False) if self.rules else None
        if fault is not None:
            refusal = refusal_of(fault, None, self.clock, context=self.settings.context_length)
            if refusal is not None:
                raise refusal
            await before_head(fault, reply, self.clock)
        if request.method not in (b"GET", b"HEAD"):
            raise Refusal(
                405 if path in PATHS else 404, f"{request.method.decode('latin-1')} {_shown(path)} is not served"
            )
        if path == b"/metrics":
            text = self.meters.text(self.clock.now().timestamp())
            reply.send(200, ((b"Content-Type", CONTENT_TYPE), self.name), text.encode())
        elif path in (b"/health", b"/ping"):
            reply.send(200, (self.name,))
        elif path == b"/v1/models" or path.startswith(b"/v1/models/"):
            anthropic = request.field(b"anthropic-version") is not None
            told = listing.models(self.settings, path.removeprefix(b"/v1/models").lstrip(b"/"), anthropic=anthropic)
            reply.send(200, (*JSON, self.name), told)
        elif path in PATHS:
            raise Refusal(405, f"{_shown(path)} is served for POST only")
        else:
            raise Refusal(404, f"{_shown(path)} is not served")

    async def _control(self, request: Request, reply: Reply, path: bytes) -> None:
        """Rules and the log: for tests."""
        body = await request.whole(1 << 20)
        if not self._alone:
            raise Refusal(501, "one of several workers: start with --workers 1 to ask for what was seen, or set faults")
        answer, fields = b"", (*JSON, self.name)
        match path.removeprefix(_CONTROL), request.method:
            case b"seen", b"GET":
                answer = self.log.spelled(_since(request.target), faults=bool(_asked(request.target, "faults")))
            case b"seen", b"DELETE":
                self.log.clear()
            case b"faults", b"GET":
                answer = self.rules.spelled()
            case b"faults", b"POST":
                self.rules.set(read(_rules, body).rules)
                answer = self.rules.spelled()
            case b"faults", b"DELETE":
                self.rules.set(())
            case b"state", b"GET":
                answer = msgspec.json.encode(
                    {"running": self.engine.running, "waiting": self.engine.waiting, "kv_used": self.engine.kv_used}
                )
            case _:
                raise Refusal(404, f"{request.method.decode('latin-1')} {_shown(path)} is not served")
        reply.send(200 if answer else 204, fields if answer else (self.name,), answer)


def _since(target: bytes) -> int:
    """``?since=NUMBER``: only those behind it. Raises Refusal: no number."""
    text = _asked(target, "since") or "0"
    if not text.isdecimal():
        raise Refusal(400, f"since is {text!r}: wanted the number of a request")
    return int(text)


def _asked(target: bytes, name: str) -> str:
    """What the query says; empty where it does not."""
    return parse_qs(target.partition(b"?")[2].decode("latin-1")).get(name, [""])[0]


def _shown(path: bytes) -> str:
    return path[:200].decode("latin-1")


def _spell(status: int, why: str) -> tuple[Fields, bytes]:
    return (*JSON, LlmServer.name), Refusal(status, why).openai()
