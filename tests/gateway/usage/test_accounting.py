"""Four who count the same requests say the same, whatever went wrong: records, ``/v1/usage``, metrics, limits.

Every story has a route and targets of its own, with prices that tell apart who was billed; all go on at once, each
several times over.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from fronts import (
    DONE,
    ROLE,
    STOP,
    Act,
    Client,
    Counted,
    Gateway,
    Response,
    Target,
    answer,
    chat,
    cut,
    event,
    failed,
    gateway,
    reset_at_once,
    route,
    said,
    stall,
    streamed,
    target,
    until,
    word,
)
from fronts import (
    USAGE as TOLD,
)
from prometheus_client import CollectorRegistry

from stores import Served, key, told
from tensorfusion.gateway.evidence import Record
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.errors import InvalidKey
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.seams import Key, Reservation
from tensorfusion.policy.routing.route import Route
from tensorfusion.wire.fields import Fields

ROUNDS = 3
PRICES = ((1, 2), (30, 50), (700, 1100))
"""Dollars a token of the first, second and third target: prompt, completion."""
PROMPT = -(-len(json.dumps(chat()["messages"])) // 4)
"""Tokens that are guessed where no target tells."""
WHOLE = said("a", usage=(3, 2))
STREAM = streamed(ROLE, word("one "), word("two"), STOP, TOLD, DONE)
USED = (7, 2)
"""That ``STREAM`` tells."""
SAYS_NO = answer({"error": {"message": "no"}, "usage": {"prompt_tokens": 900, "completion_tokens": 900}})
GAVE_UP = answer(
    {
        "choices": [{"index": 0, "message": {"content": "half"}, "finish_reason": "error"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 900},
    }
)
CUT_WITH_USAGE = cut(ROLE, event({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 900}}))


def typed(kind: str, **more: object) -> bytes:
    """An event of Anthropic's."""
    return b"event: %b\n" % kind.encode() + event({"type": kind, **more})


BEGUN = (
    typed("message_start", message={"id": "x", "usage": {"input_tokens": 25, "output_tokens": 1}}),
    *(typed("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in ("a ", "one ")),
)
"""Told at the beginning: one token. Two came since."""
SAID = streamed(
    *BEGUN,
    typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 40}),
    typed("message_stop"),
)
PATIENT = {"retry": {"maxRetries": 0, "initialDelay": "1ms"}}
Leave = Callable[[Client, Sequence[Target], int], Awaitable[None]]
"""What a client does that does not wait for the end, before it leaves."""


async def at_once(client: Client, targets: Sequence[Target], number: int) -> None:
    await until(lambda: len(targets[0].requests) > number)


async def behind_a_word(client: Client, targets: Sequence[Target], number: int) -> None:
    await client.reader.readuntil(b"one ")


async def while_the_next_is_asked(client: Client, targets: Sequence[Target], number: int) -> None:
    await client.reader.readuntil(b"one ")
    await until(lambda: len(targets[1].requests) > number)


@dataclass(frozen=True)
class Story:
    """``used`` are prompt and completion tokens, ``payer`` is the target at whose price they are billed, if they are;
    ``by`` the one whose they are."""

    answers: tuple[bytes | Act, ...]
    status: int
    used: tuple[int, int] = (0, 0)
    by: int = 0
    billed: bool = True
    body: dict[str, object] = field(default_factory=chat)
    path: str = "chat/completions"
    spec: dict[str, object] = field(default_factory=lambda: PATIENT)
    leave: Leave | None = None
    provider: str = "self-hosted"

    @property
    def cost(self) -> int:
        """Micro-dollars."""
        prompt, completion = PRICES[self.by]
        return (self.used[0] * prompt + self.used[1] * completion) * 10**6 if self.billed else 0


FLOW = chat(stream=True)
STORIES = {
    "whole": Story((WHOLE,), 200, (3, 2)),
    "whole, nothing told": Story((said("a", usage=None),), 200, (PROMPT, -(-len(said("a", usage=None).partition(b"\r\n\r\n")[2]) // 4))),
    "whole, at the second": Story((failed(500), WHOLE), 200, (3, 2), by=1),
    "whole, behind a reset": Story((reset_at_once, WHOLE), 200, (3, 2), by=1),
    "whole, behind an error that says success": Story((SAYS_NO, WHOLE), 200, (3, 2), by=1),
    "whole, behind an answer that was given up": Story((GAVE_UP, GAVE_UP, WHOLE), 200, (3, 2), by=2),
    "whole, nobody": Story((GAVE_UP, SAYS_NO), 502),
    "whole, refused by the target": Story((failed(400),), 400),
    "whole, left": Story((stall(),), 499, (PROMPT, 0), leave=at_once),
    "several": Story((answer({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}] * 3, "usage": {"prompt_tokens": 3, "completion_tokens": 6}}),), 200, (3, 6), body=chat(n=3)),
    "stream": Story((STREAM,), 200, USED, body=FLOW),
    "stream, nothing told": Story((streamed(ROLE, word("one "), word("two"), STOP, DONE),), 200, (PROMPT, 2), body=FLOW),
    "stream, without its end": Story((streamed(ROLE, word("one "), STOP),), 200, (PROMPT, 1), body=FLOW),
    "stream, at the second": Story((CUT_WITH_USAGE, STREAM), 200, USED, by=1, body=FLOW),
    "stream, joined": Story((cut(ROLE, word("one ")), STREAM), 200, USED, by=1, body=FLOW),
    "stream, joined twice": Story((cut(word("one ")), cut(word("one "), word("tw")), STREAM), 200, USED, by=2, body=FLOW),
    "stream, not joined": Story((cut(ROLE, word("one ")), streamed(ROLE, word("Two"), STOP, TOLD, DONE)), 502, (PROMPT, 1), billed=False, body=FLOW),
    "stream, cut": Story((cut(ROLE, word("one ")),), 502, (PROMPT, 1), billed=False, body=FLOW),
    "stream, an error behind what was told": Story((cut(ROLE, word("one "), TOLD), WHOLE), 502, USED, billed=False, body=FLOW, spec={**PATIENT, "midStream": "error"}),
    "stream, nobody": Story((CUT_WITH_USAGE, failed(503)), 502, body=FLOW),
    "stream, left before a word": Story((stall(ROLE),), 499, (PROMPT, 0), body=FLOW, leave=at_once),
    "stream, left behind a word": Story((stall(ROLE, word("one ")),), 499, (PROMPT, 1), body=FLOW, leave=behind_a_word),
    "stream, left while joined": Story((cut(ROLE, word("one ")), stall()), 499, (PROMPT, 1), body=FLOW, leave=while_the_next_is_asked),
    "message": Story((WHOLE,), 200, (3, 2), body=chat(max_tokens=9), path="messages"),
    "message, as a stream": Story((cut(), STREAM), 200, USED, by=1, body=chat(stream=True, max_tokens=9), path="messages"),
    "message, its target's own": Story((SAID,), 200, (25, 40), body=chat(stream=True, max_tokens=9), path="messages", provider="anthropic"),
    "message, left": Story((stall(*BEGUN),), 499, (25, 2), body=chat(stream=True, max_tokens=9), path="messages", provider="anthropic", leave=behind_a_word),
    "message, cut": Story((cut(*BEGUN),), 502, (25, 2), billed=False, body=chat(stream=True, max_tokens=9), path="messages", provider="anthropic"),
    "passed on": Story((answer(b"sound", kind=b"audio/mp3"),), 200, path="audio/speech"),
    "no room": Story((WHOLE,), 429),
    "no such model": Story((WHOLE,), 404),
    "no key": Story((WHOLE,), 401),
    "no body": Story((WHOLE,), 400, body={}),
}  # fmt: skip


class Some(Counted):
    """No room on one route."""

    async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
        if route.name == name_of("no room"):
            raise Fault(429, "rate_limit_error", "no room")
        return await super().reserve(key, route, tokens=tokens, guess=guess)


class Somebody:
    """Whoever says who it is."""

    edition = 0

    def again(self, key: object, edition: int) -> bool:
        return False

    def find(self, fields: Fields) -> KeyRecord:
        name = dict(fields).get(b"api-key")
        if name is None:
            raise InvalidKey("no key")
        return key(f"red/{name.decode()}")


def name_of(story: str) -> str:
    return story.replace(" ", "-").replace(",", "")


async def test_all_who_count_say_the_same_of_every_story(store: Served) -> None:
    registry, limits = CollectorRegistry(), Some()
    async with contextlib.AsyncExitStack() as stack:
        targets = {
            name: [await stack.enter_async_context(target(*([one] * ROUNDS))) for one in story.answers]
            for name, story in STORIES.items()
        }
        routes = [
            route(
                *(
                    {
                        "endpoint": one.url,
                        "provider": STORIES[name].provider,
                        "costPer1MInput": str(costs[0] * 10**6),
                        "costPer1MOutput": str(costs[1] * 10**6),
                    }
                    for one, costs in zip(targets[name], PRICES, strict=False)
                ),
                name=name_of(name),
                namespace="red",
                selector={"modelPattern": f"^{name_of(name)}$"},
                **story.spec,
            )
            for name, story in STORIES.items()
        ]
        await stack.enter_async_context(store.requests.tended())
        running = await stack.enter_async_context(
            gateway(*routes, keys=Somebody(), limits=limits, sinks=(store.requests,), registry=registry)
        )
        await asyncio.gather(*(played(running, name, story, targets[name]) for name, story in STORIES.items()))
        total = ROUNDS * len(STORIES)
        await until(lambda: len(running.records) == total)
    for name, story in STORIES.items():
        _check(name, story, [one for one in running.records if one.key_id == f"red/{name_of(name)}"])
    used = [one.prompt_tokens + one.completion_tokens for one in running.records]
    assert Counter(filter(None, limits.settled)) == Counter(filter(None, used))
    sums = Sums.of(running.records)
    assert Sums.told(await told(store.pages(4e9).usage, "start=0", key("ops/o", "admin"))) == Sums()  # another's
    operator = key("ops/o", "admin", operator=True)
    assert Sums.told(await told(store.pages(4e9).usage, "start=0", operator)) == sums
    assert Sums.counted(registry) == sums
    assert sum(limits.settled) == sums.prompt + sums.completion


async def played(running: Gateway, name: str, story: Story, targets: Sequence[Target]) -> None:
    """The story, several times; the client sees what it should."""
    body = {**story.body, "model": "nobodys" if name == "no such model" else name_of(name)} if story.body else {}
    fields = b"" if name == "no key" else b"api-key: %b\r\n" % name_of(name).encode()
    for number in range(ROUNDS):
        async with Client(running.port) as client:
            client.send(body, path=story.path, fields=fields)
            if story.leave is not None:
                await story.leave(client, targets, number)
            else:
                _look(name, story, await client.response())


def _look(name: str, story: Story, found: Response) -> None:
    assert (b"error" in found.body) == (story.status >= 400), name
    if not story.body.get("stream"):
        assert found.status == story.status, name
    elif story.status < 400:
        assert b"[DONE]" in found.body or b"message_stop" in found.body, name


def _check(name: str, story: Story, records: Sequence[Record]) -> None:
    if name == "no key":
        return
    assert len(records) == ROUNDS, name
    for one in records:
        assert one.status == story.status, (name, one)
        assert (one.prompt_tokens, one.completion_tokens) == story.used, (name, one)
        assert one.cost_microusd == story.cost, (name, one)
        if any(story.used):
            assert one.target == f"t{story.by}", (name, one)


@dataclass(frozen=True)
class Sums:
    """Of requests, whoever added them up."""

    requests: int = 0
    good: int = 0
    prompt: int = 0
    completion: int = 0
    microusd: int = 0

    @staticmethod
    def of(records: Sequence[Record]) -> "Sums":
        return Sums(
            sum(one.requests for one in records),
            sum(one.requests for one in records if one.status < 400),
            sum(one.prompt_tokens for one in records),
            sum(one.completion_tokens for one in records),
            sum(one.cost_microusd for one in records),
        )

    @staticmethod
    def told(usage: dict[str, object]) -> "Sums":
        """And its parts add up to it."""
        parts = usage["data"]
        assert isinstance(parts, list)
        for name in ("total_requests", "failed_requests", "prompt_tokens", "completion_tokens"):
            assert sum(part[name] for part in parts) == usage[name], name
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]  # type: ignore[operator] # numbers
        return Sums(
            usage["total_requests"],  # type: ignore[arg-type] # numbers
            usage["successful_requests"],  # type: ignore[arg-type] # numbers
            usage["prompt_tokens"],  # type: ignore[arg-type] # numbers
            usage["completion_tokens"],  # type: ignore[arg-type] # numbers
            round(float(str(usage["total_cost"])) * 10**6),
        )

    @staticmethod
    def counted(registry: CollectorRegistry) -> "Sums":
        found: Counter[str] = Counter()
        for metric in registry.collect():
            for sample in metric.samples:
                name = sample.name.removeprefix("tensorfusion_gateway_").removesuffix("_total")
                found[name] += int(sample.value)
                if name == "requests" and int(sample.labels["status"]) < 400:
                    found["good"] += int(sample.value)
                if name == "tokens":
                    found[sample.labels["kind"]] += int(sample.value)
        return Sums(found["requests"], found["good"], found["prompt"], found["completion"], found["cost_microdollars"])
