"""The load that the gateway's benchmarks put on: clients that ask one request after the other, and look at each answer.

Each is a protocol over httptools and nothing else, so that a client costs a small part of what it measures. An answer
counts as whole when its status is 200 and it ends as an answer ends: with ``[DONE]`` behind a reason to finish, or as
one JSON object with choices.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httptools

EVENT_END = b"\n\n"
_STAMP = re.compile(rb'"sent_ns":(\d+)')
_WORD = re.compile(rb'"content": ?"[^"]')
_CONTENTS = (b'"content":"', b'"content": "')
_REASONS = (b'"finish_reason":"', b'"finish_reason": "')


@dataclass(slots=True)
class Answer:
    """Times are in nanoseconds. ``delays`` are how long each event was on its way, where the backend stamps them."""

    asked: int
    first_word: int = 0
    ended: int = 0
    status: int = 0
    words: int = 0
    whole: bool = False
    delays: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asking:
    """What clients send, to which port. ``stamped``: how long each event was on its way is kept."""

    port: int
    request: bytes
    stream: bool
    stamped: bool = False


class Client(asyncio.Protocol):
    """Asks again until ``left`` answers have come, or until the time ``until`` (of ``perf_counter_ns``)."""

    def __init__(self, asking: Asking, *, left: int, until: int, answers: list[Answer]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking = asking
        self._left = left
        self._until = until
        self._answers = answers
        self._pieces: list[bytes] = []
        self._came: list[int] = []
        self._answer = Answer(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces = []
        self._came = []
        self._answer = Answer(time.perf_counter_ns())
        self._transport.write(self._asking.request)

    def data_received(self, data: bytes) -> None:
        self._arrived = time.perf_counter_ns()
        self._parser.feed_data(data)
        if self._asking.stream and self._pieces and not self._answer.first_word:
            self._look_for_word(b"".join(self._pieces))

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        if self._asking.stamped:
            self._came.append(self._arrived)

    def _look_for_word(self, body: bytes) -> None:
        if _WORD.search(body):
            self._answer.first_word = self._arrived

    def on_message_complete(self) -> None:
        answer = self._answer
        answer.ended = time.perf_counter_ns()
        answer.status = self._parser.get_status_code()
        body = b"".join(self._pieces)
        if self._asking.stream:
            if not answer.first_word:
                self._look_for_word(body)
            answer.words = _words_of(body)
            ends = body.rstrip().endswith(b"data: [DONE]")
        else:
            ends = body.startswith(b"{") and b'"choices"' in body
        if self._asking.stamped:
            answer.delays = _delays(self._pieces, self._came)
        answer.whole = answer.status == 200 and ends and any(body.rfind(reason) >= 0 for reason in _REASONS)
        self._answers.append(answer)
        self._left -= 1
        if self._left > 0 and answer.ended < self._until and self._parser.should_keep_alive():
            self._ask()
        else:
            self._transport.close()
            if not self.ended.done():
                self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._answers.append(self._answer)  # broken
            self.ended.set_result(None)


def _delays(pieces: Sequence[bytes], came: Sequence[int]) -> list[int]:
    """How long each stamped event of an answer was on its way: it has come when the piece has that it ends in."""
    found = []
    rest = b""
    for piece, at in zip(pieces, came, strict=True):
        *events, rest = (rest + piece).split(EVENT_END)
        found += [at - int(stamp[1]) for event in events if (stamp := _STAMP.search(event)) is not None]
    return found


def _words_of(body: bytes) -> int:
    """How many events bring words, in the one spelling or the other: half the time of a regular expression."""
    for content in _CONTENTS:
        if words := body.count(content) - body.count(content + b'"'):
            return words
    return 0


async def ask(
    asking: Asking, *, clients: int, each: int = 1 << 60, seconds: float = 1e6, spread: float = 0.0
) -> list[Answer]:
    """All answers, to so many clients that ask at once, or begin one after the other over ``spread`` seconds."""
    loop = asyncio.get_running_loop()
    answers: list[Answer] = []
    until = time.perf_counter_ns() + int(seconds * 1e9)

    async def client(number: int) -> None:
        await asyncio.sleep(spread * number / clients)
        _, made = await loop.create_connection(
            lambda: Client(asking, left=each, until=until, answers=answers), "127.0.0.1", asking.port
        )
        await made.ended

    await asyncio.gather(*(client(number) for number in range(clients)))
    return answers


def request_of(port: int, fields: Sequence[str], body: bytes) -> bytes:
    """As the client of OpenAI sends it, less some fields."""
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "Accept: application/json",
        "User-Agent: OpenAI/Python 1.2",
        "X-Stainless-Lang: python",
        *fields,
        f"Content-Length: {len(body)}",
        "\r\n",
    ]
    return "\r\n".join(lines).encode() + body


def processor_seconds(pid: int) -> float:
    """That the process and its children have used so far, in user and kernel mode; of threads that still live."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
        for child in (task / "children").read_text().split():
            nanoseconds += int(processor_seconds(int(child)) * 1e9)
    return nanoseconds / 1e9


def memory_of(pid: int) -> int:
    """Resident bytes of the process and its children."""
    found = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            found = int(line.split()[1]) << 10
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += sum(memory_of(int(child)) for child in (task / "children").read_text().split())
    return found


def at(share: float, values: Sequence[float]) -> float:
    """The value that so much of them are at most, 0.5 for the middle one."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
