"""One request on its way through the gateway: what is known of it, and what is noted for its record."""

import asyncio
import random
import re
from dataclasses import dataclass, field
from functools import lru_cache
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
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

_PLAIN = re.compile(r"[!-$&-~]+( [!-$&-~]+)*")
MOST_TOLD = 1 << 31
"""Tokens that a target may say it used: more is nonsense, and no store has a column for it."""
_ID = re.compile(rb"[!-~]{1,128}")


@dataclass(slots=True)
class Try:
    """One attempt, as its record tells of it. Times in seconds."""

    target: str
    url: str
    outcome: str = ""
    status: int = 0
    seconds: float = 0.0
    first_token: float | None = None
    started: float = 0.0
    """Of the loop's clock."""
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
    fields: list[tuple[bytes, bytes]]
    """For every target, without a credential."""
    reply_fields: list[tuple[bytes, bytes]]
    """For the client, whatever becomes of it."""
    started: float
    """Of the loop's clock, like all times here."""
    attempts: Attempts = field(default_factory=Attempts)
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
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    @property
    def deadline(self) -> float:
        return self.started + self.route.timers.total

    def random(self) -> float:
        return random.random()

    def count(self, usage: Usage | None, *, completion: int) -> None:
        """Note what was used; where the target did not tell, ``completion`` tokens are a guess."""
        if usage is not None and (usage.prompt_tokens or usage.completion_tokens):
            prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
            self.used = Used(min(max(prompt, 0), MOST_TOLD), min(max(completion, 0), MOST_TOLD))
        else:
            self.used = Used(self.ask.prompt_tokens, completion, estimated=True)

    def answer_fields(self, target: Target) -> list[tuple[bytes, bytes]]:
        """What the client is told of how its answer came about."""
        overhead = (self.loop.time() - self.started - self.waited) * 1000
        return [
            *self.reply_fields,
            (b"x-tf-target", _in_field(target.name)),
            (b"x-tf-model", _in_field(target.model or self.asked.model)),
            (b"x-tf-attempts", b"%d" % len(self.tries)),
            (b"x-tf-overhead-ms", b"%.3f" % max(overhead, 0.0)),
        ]


@lru_cache(maxsize=1024)
def _in_field(text: str) -> bytes:
    """As a field of an answer may have it: what is no plain character is written as in a URL."""
    return text.encode() if _PLAIN.fullmatch(text) else quote(text, safe=" !#$&'()*+,/:;=?@[]~").encode()


def id_of(request: Request) -> bytes:
    """The request's own id where it brought a proper one, else a new one."""
    given = request.field(b"x-request-id")
    if given is not None and _ID.fullmatch(given):
        return given
    return b"req-%024x" % random.getrandbits(96)  # a name, no secret: asking the system would cost as much as parsing
