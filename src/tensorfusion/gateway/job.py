"""One request on its way through the gateway: what is known of it, and what is noted for its record."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic
from urllib.parse import quote

from tensorfusion.gateway.apis import Call
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.reading import Usage
from tensorfusion.gateway.seams import Reservation
from tensorfusion.gateway.tracing.context import Trace
from tensorfusion.gateway.upstreams import Upstreams
from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.policy.routing.state import Attempts
from tensorfusion.wire.fields import Fields, field_lines
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

_PLAIN = re.compile(r"[!-$&-~]+( [!-$&-~]+)*")
MOST_TOLD = 1 << 31
"""Tokens that a target may say it used: more is nonsense, and no store has a column for it."""
_ANSWER_LINES = b"x-request-id: %b\r\n%bx-tf-target: %b\r\nx-tf-model: %b\r\nx-tf-attempts: %d\r\n"


@dataclass(slots=True)
class Try:
    """One attempt, as its record tells of it. Times in seconds."""

    target: str
    url: str
    outcome: str = ""
    kind: str = ""
    """The first word of the outcome."""
    status: int = 0
    seconds: float = 0.0
    first_token: float | None = None
    started: float = 0.0
    """Of ``time.monotonic``."""
    span_id: str = ""
    """Its name in the request's trace, where there is one."""


@dataclass(slots=True)
class Used:
    """Tokens of the answer that the client got. ``estimated``: the target told none."""

    prompt: int = 0
    completion: int = 0
    estimated: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """Made when its route is known."""

    id: bytes
    request: Request
    reply: Reply
    call: Call
    asked: Asked
    ask: Ask
    caller: Caller
    route: Route
    chooser: Chooser
    upstreams: Upstreams
    held: Reservation
    fields: Fields
    """The client's, for every target, without a credential and the request's id."""
    lines: bytes | None
    """They, as they are sent; None where they have changed."""
    meanwhile: Callable[[], None]
    """What is to be done while a target works."""
    started: float
    """Of ``time.monotonic``, like all times here: event loops count in milliseconds, a few of which is all there is."""
    attempts: Attempts
    asked_route: str = ""
    """``x-tf-route``, where the client chose its route."""
    tries: list[Try] = field(default_factory=list)
    waited: float = 0.0
    """Seconds that were spent waiting: for the request's body, for targets, in pauses between attempts."""
    queued: float = 0.0
    """Seconds of them until there was room for the request."""
    target: Target | None = None
    """Who answered, or was asked last."""
    spoke: Target | None = None
    """Whose words the client has, where an answer has begun: another target that goes on with it must end it first."""
    first_token: float | None = None
    """Seconds from the start to the first word that the client got."""
    used: Used = field(default_factory=Used)
    finish_reason: str = ""
    trace: Trace | None = None
    dropped: int = 0
    bytes_out: int = 0

    @property
    def deadline(self) -> float:
        return self.started + self.route.timers.total

    def random(self) -> float:
        return random.random()

    def count(self, usage: Usage | None, *, completion: int, whole: bool = True) -> None:
        """Note what was used; where the target did not tell, ``completion`` tokens are a guess.

        What it told of an answer that is not ``whole`` may be older than the words that came since."""
        if usage is not None and (usage.prompt_tokens or usage.completion_tokens):
            prompt, told = usage.prompt_tokens or 0, usage.completion_tokens or 0
            older = not whole and told < completion
            told = completion if older else told
            self.used = Used(_within(prompt), _within(told), estimated=older)
        else:
            self.used = Used(self.ask.prompt_tokens, completion, estimated=True)

    def lines_out(self) -> bytes:
        """What every target is told in fields, as they are sent. Raises ValueError: one cannot be."""
        if self.lines is None:
            self.lines = field_lines(self.fields)
        return b"%bx-request-id: %b\r\n" % (self.lines, self.id)

    def beginning(self, target: Target) -> bytes:
        """Of ``answer_lines``, what is known as soon as a target is asked."""
        return _ANSWER_LINES % (
            self.id,
            self.held.lines,
            _in_field(target.name),
            _in_field(target.model or self.asked.model),
            len(self.tries),
        )

    def answer_lines(self, beginning: bytes) -> bytes:
        """What the client is told in fields of how its answer came about, as they are sent."""
        overhead = int((monotonic() - self.started - self.waited) * 1e6)
        if overhead < 0:
            overhead = 0
        return b"%bx-tf-overhead-ms: %d.%03d\r\n" % (beginning, overhead // 1000, overhead % 1000)


def _within(tokens: int) -> int:
    """A number of tokens that can be."""
    return tokens if 0 <= tokens <= MOST_TOLD else min(max(tokens, 0), MOST_TOLD)


@lru_cache(maxsize=1024)
def _in_field(text: str) -> bytes:
    """As a field of an answer may have it: what is no plain character is written as in a URL."""
    return text.encode() if _PLAIN.fullmatch(text) else quote(text, safe=" !#$&'()*+,/:;=?@[]~").encode()
