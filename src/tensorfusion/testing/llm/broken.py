"""How faults look on the wire: refusals, answers that are late, cut, stalled or broken.

Apart from the server, so that what is healthy there stays easy to read.
"""

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.testing.llm.faults import Fault
from tensorfusion.testing.llm.refusals import Refusal, too_long
from tensorfusion.testing.llm.wire import Talk
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

JSON: Final[Fields] = ((b"Content-Type", b"application/json"),)
STREAM: Final[Fields] = (
    (b"Content-Type", b"text/event-stream; charset=utf-8"),
    (b"Cache-Control", b"no-cache"),
)
_HTML: Final[Fields] = ((b"Content-Type", b"text/html; charset=utf-8"),)
_PAGE: Final = b"<!DOCTYPE html><title>A simulated page of a proxy</title>\n"
_MALFORMED: Final = b'data: {"id":"cut in the mid\n\n'
_FLUSH_SECONDS: Final = 0.02
"""Before a reset: what was written before it has left by then."""
_BY_STATUS: Final = {
    "unauthorized": (401, "Incorrect API key provided.", "invalid_api_key"),
    "error": (500, "The server had an error while processing your request.", None),
    "unavailable": (503, "The server is overloaded or not ready yet.", None),
    "overloaded": (529, "Overloaded", None),
    "content-filter": (400, "The prompt was refused by the content filter.", "content_filter"),
    "quota": (429, "You exceeded your current quota.", "insufficient_quota"),
}


class Ended(Exception):
    """The fault has ended the answer: nothing more is to be sent."""


def refusal_of(fault: Fault, talk: Talk | None, clock: Clock, *, context: int) -> Refusal | None:
    """The error that a fault answers with; None where it does something else."""
    name = fault.name
    if name in _BY_STATUS:
        status, message, code = _BY_STATUS[name]
        kind = "insufficient_quota" if name == "quota" else ""
        return Refusal(status, message, code=code, kind=kind)
    match name:
        case "rate-limit" | "rate-limit-seconds" | "rate-limit-date":
            return Refusal(429, "Rate limit reached.", code="rate_limit_exceeded", fields=tuple(_retry(fault, clock)))
        case "status":
            return Refusal(fault.code, f"A simulated answer with status {fault.code}.")
        case "context-length":
            return too_long(context, context + 1, None)
        case "context-length-vllm":
            why = f"This model's maximum context length is {context} tokens. However, your request has {context + 1}"
            return Refusal(
                400,
                f"{why} input tokens. Please reduce the length of the input messages.",
                kind="BadRequestError",
                code="400",
            )
        case "prefill-rejected" if talk is not None and talk.ask.begun:
            return Refusal(
                400,
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            )
    return None


def _retry(fault: Fault, clock: Clock) -> Fields:
    if fault.name == "rate-limit":
        return ()
    if fault.name == "rate-limit-seconds":
        return ((b"Retry-After", b"%d" % round(fault.seconds)),)
    moment = clock.now() + timedelta(seconds=fault.seconds)
    return ((b"Retry-After", format_datetime(moment, usegmt=True).encode()),)


async def before_head(fault: Fault, reply: Reply, clock: Clock) -> None:
    """What happens instead of an answer, or before it.

    Raises:
        Ended: that was all.
    """
    match fault.name:
        case "reset":
            reply.cut()
            raise Ended
        case "hang":
            await asyncio.get_running_loop().create_future()
        case "slow-head":
            await clock.sleep(fault.seconds)
        case "wrong-content-type":
            reply.send(200, _HTML, _PAGE)
            raise Ended


async def send_whole(fault: Fault, request: Request, reply: Reply, body: bytes, clock: Clock) -> None:
    """An answer that is no stream. Raises Ended, unless all of it was sent."""
    half = body[: len(body) // 2]
    match fault.name:
        case "invalid-json" | "malformed-event":
            reply.send(200, JSON, half)
            return
        case "short-end":
            reply.start(200, JSON)
            reply.push(half)
            reply.end()
            raise Ended
        case "broken-chunk":
            reply.start(200, JSON)
            await _inside_chunk(request, reply, half)
        case "cut" | "cut-reset" | "stall" | "error-event":
            reply.start(200, JSON, length=len(body))
            reply.push(half)
            await _stop(fault.name, request, reply)
        case "slow-drip":
            reply.start(200, JSON, length=len(body))
            await _drip(fault, reply, body, clock)
            reply.end()
        case _:
            if fault.name == "slow-start":
                await clock.sleep(fault.seconds)
            reply.send(200, JSON, body)


async def at_event(
    fault: Fault, number: int, data: bytes, talk: Talk, request: Request, reply: Reply, clock: Clock
) -> bytes:
    """What is sent in place of an event of a stream; events are counted from 0. Raises Ended when it was the last."""
    name = fault.name
    if name == "no-done":
        return b"" if data.startswith(talk.last) else data
    if name == "slow-drip":
        await _drip(fault, reply, data, clock)
        return b""
    if number != fault.after:
        return data
    match name:
        case "cut" | "cut-reset" | "stall":
            await _stop(name, request, reply)
        case "short-end":
            reply.end()
            raise Ended
        case "broken-chunk":
            await _inside_chunk(request, reply, data)
        case "error-event":
            reply.push(talk.error_event(Refusal(500, "The server had an error in the middle of the answer.")))
            reply.end()
            raise Ended
        case "malformed-event" | "invalid-json":
            return _MALFORMED + data
        case "oversized-event":
            return b'data: {"object":"padding","choices":[],"padding":"%b"}\n\n' % (b"x" * fault.bytes) + data
    return data


async def _stop(name: str, request: Request, reply: Reply) -> None:
    if name == "stall":
        await asyncio.get_running_loop().create_future()
    if name == "cut-reset":
        await asyncio.sleep(_FLUSH_SECONDS)
        reply.cut()
    else:
        _close(request, reply)
    raise Ended


async def _inside_chunk(request: Request, reply: Reply, data: bytes) -> None:
    """The head of a chunk, half of it, and the end of the connection."""
    reply.connection.write(b"%x\r\n%b" % (len(data), data[: len(data) // 2]))
    _close(request, reply)
    raise Ended


def _close(request: Request, reply: Reply) -> None:
    """Close the connection as it is: the client reads all that was written, and finds that it is not all."""
    request.keep_alive = False
    reply.ended = True


async def _drip(fault: Fault, reply: Reply, data: bytes, clock: Clock) -> None:
    size = max(fault.bytes, 1)
    for at in range(0, len(data), size):
        await reply.write(data[at : at + size])
        await clock.sleep(fault.seconds)
