"""An answer of one server on its way to a client: as its bytes come, no faster than the client reads, and never longer
than the client stays.

The bytes go from the one socket's callback into the other's buffer; no task runs for them. What has to look at them
(events, counters) is a function on the way: it gets each arrival and says what goes on.

Source: RFC 9110 7.6 (forwarding), RFC 9112 7.1.2 (trailers may be dropped), 8 (an unfinished body is no body).
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from tensorfusion.wire.exchange import Exchange
from tensorfusion.wire.fields import end_to_end
from tensorfusion.wire.reply import Reply

Look: TypeAlias = Callable[[bytes], bytes | None]
"""Sees each arrival; what it returns goes on: the same, other, or no bytes. None ends the stream there."""


class Source(Protocol):
    """Where bytes come from, and how they are held up."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


async def relay(answer: Exchange, reply: Reply, *, look: Look | None = None) -> None:
    """Answer with what the server answers: its status, its fields but those of the connection, its body as it comes.

    Raises:
        BrokenOff: the server's answer ended too soon, after ``reply.start``. The client is told by ``reply.cut``, which
            is left to the caller: there may be another way to go on.
        ClientLeft: nobody is there any more.
    """
    connection = answer.connection
    fields = end_to_end(connection.fields)
    if look is None and connection.done and not answer.bodyless:
        reply.send(connection.status, fields, await connection.read())
        return
    reply.start(connection.status, fields, length=None if look is not None else connection.length)
    await pour(answer, reply, look=look)
    reply.end()


async def pour(answer: Exchange, reply: Reply, *, look: Look | None = None) -> bool:
    """Write the rest of the answer's body to a started reply; False when ``look`` ended it.

    Raises:
        BrokenOff: the server's answer ended too soon; the reply is still open.
        ClientLeft: nobody is there any more.
    """
    push = reply.push
    if look is None:

        def sink(data: bytes) -> bool:
            push(data)
            return True
    else:

        def sink(data: bytes) -> bool:
            passed = look(data)
            if passed is None:
                return False
            if passed:
                push(passed)
            return True

    connection = reply.connection
    await connection.room()
    connection.source = answer
    try:
        whole = await answer.pour(sink)
        await connection.room()
    finally:
        connection.source = None
    return whole
