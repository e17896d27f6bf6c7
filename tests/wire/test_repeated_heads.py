"""Heads that come again are compared, not read: what is made of a client's bytes is the same as if all had been read."""

import asyncio
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import HOST, Client, cut_up, serving
from test_server_bytes import REFUSED, Sink

from example_counts import part_of
from tensorfusion.wire.limits import LIMITS, Limits
from tensorfusion.wire.parsing import RequestParser
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.server_connection import ServerConnection

HEAD = b"POST /v1/chat HTTP/1.1\r\n" + HOST + b"X-A: b\r\nContent-Length: %b\r\nX-C: d\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"


class Forgetful(RequestParser):
    """Reads every head."""

    def _remember(self, data: bytes | bytearray) -> None: ...


class Counting(RequestParser):
    """Counts the heads that are read."""

    read = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.read += 1


def _facts(request: Request | None) -> tuple[object, ...] | None:
    if request is None:
        return None
    told = (request.method, request.target, tuple(request.fields), request.length)
    kinds = (request.old, request.keep_alive, request.expects, request.complete)
    body = bool(request._pieces), b"".join(map(bytes, request._pieces))
    return *told, *kinds, request.received, request.waiting, *body


def _state(parser: RequestParser) -> tuple[object, ...]:
    """All that a connection can see of it, and what it counts towards its limits."""
    refusal = parser.refusal and (parser.refusal.status, str(parser.refusal))
    known = (parser.begun, parser._raw, parser._url, parser._parser is None)
    return [_facts(one) for one in parser.requests], _facts(parser.receiving), _facts(parser._last), refusal, *known


async def _connected(kind: type[RequestParser], limits: Limits = LIMITS) -> tuple[ServerConnection, list[object]]:
    """A connection with such a parser, and the requests that will be handled."""
    found: list[object] = []

    async def handle(request: Request, reply: Reply) -> None:
        facts = request.method, request.target, tuple(request.fields), request.keep_alive
        found.append((*facts, await request.whole(1 << 20)))
        reply.send(200)

    connection = ServerConnection(Server(handle, limits=limits))
    connection._parser = kind(connection, limits)
    connection.connection_made(Sink())
    return connection, found


async def _fed(kind: type[RequestParser], arrivals: Sequence[bytes], limits: Limits, waits: int) -> list[object]:
    """What comes of these arrivals: the parser's state behind each, the requests, and what was answered."""
    connection, found = await _connected(kind, limits)
    sink = connection._transport
    assert isinstance(sink, Sink)
    states: list[object] = []
    for number, arrival in enumerate(arrivals):
        if not sink.closed:
            connection.data_received(arrival)
        states.append(_state(connection._parser))
        for _ in range(6 if waits >> number % 16 & 1 else 0):
            await asyncio.sleep(0)
    for _ in range(60):
        await asyncio.sleep(0)
    states.append(_state(connection._parser))
    connection.connection_lost(None)
    return [*states, *found, re.sub(rb"Date: [^\r]*", b"", sink.written), sink.closed]


def _assert_same(arrivals: Sequence[bytes], limits: Limits = LIMITS, waits: int = -1) -> None:
    known, read = (asyncio.run(_fed(kind, arrivals, limits, waits)) for kind in (RequestParser, Forgetful))
    assert known == read


async def _parsed(kind: type[RequestParser], arrivals: Sequence[bytes], limits: Limits) -> list[object]:
    """The parser's state behind each arrival, with no connection that stops to listen."""
    connection, _ = await _connected(kind, limits)
    parser = connection._parser
    states: list[object] = []
    for arrival in arrivals:
        if parser.refusal is None:
            parser.feed(arrival)
        states.append(_state(parser))
        parser.requests.clear()
    connection.connection_lost(None)
    return states


def _assert_parsed_alike(arrivals: Sequence[bytes], limits: Limits = LIMITS) -> None:
    known, read = (asyncio.run(_parsed(kind, arrivals, limits)) for kind in (RequestParser, Forgetful))
    assert known == read


HEADS = [
    HEAD,
    b"POST / HTTP/1.1\r\n" + HOST + b"content-length: %b\r\n\r\n",
    b"POST /b HTTP/1.1\r\n" + HOST + b"content-length: %b\r\n\r\n",
    b"\r\nPUT /b HTTP/1.1\r\nContent-Length: %b\t\r\n" + HOST + b"\r\n",
    b"POST http://a/c HTTP/1.1\r\n" + HOST + b"Content-Length:%b\r\nX-Content-Length: 7\r\n\r\n",
    b"POST /d HTTP/1.1\r\n" + HOST + b"X-B: Content-Length: 3\r\nContent-Length: %b\r\n\r\n",
    b"POST /e HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %b\r\n\r\n",
    b"POST /f HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %b\r\n\r\n",
    b"POST /g HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %b\r\n\r\n",
    b"POST /h HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %b\r\n\r\n",
    b"POST /i HTTP/1.1\r\n" + HOST + b"Content-Length: %b\r\nContent-Length: 5\r\n\r\n",
    b"POST /j HTTP/1.1\r\n" + HOST + b"Content-Length: %b\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /k HTTP/1.1\r\n" + HOST + b"Content-Length : %b\r\n\r\n",
]
BETWEEN = [
    HIDDEN,
    b"\r\n",
    b"\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: u\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n\r\n",
]
BODIES = st.sampled_from([b"a", b"{}", b"hello", b"0123456789", HIDDEN, HEAD % b"5", b"\r\n\r\n", b"", b"x" * 9000])
LENGTHS = [
    b"0",
    b"00",
    b"05",
    b"+5",
    b"-5",
    b" 5",
    b"5 ",
    b"5\t",
    b"0x5",
    b"5, 5",
    b"",
    b"\xb2",
    b"5_0",
    b"1" * 11,
    b"9" * 20,
]
LENGTHS += [b"18446744073709551621", b"4294967301", b"5\r\n", b"5\r\nX: y", b"\r\n 5"]


@st.composite
def _messages(draw: st.DrawFn) -> list[bytes]:
    """What one client sends: mostly a head or two again and again, with bodies of their own; some of it bent."""
    heads = draw(st.lists(st.sampled_from(HEADS), min_size=1, max_size=2))
    found = []
    for _ in range(draw(st.integers(2, 8))):
        kind = draw(st.integers(0, 11))
        if kind == 0:
            found.append(draw(st.sampled_from(BETWEEN + [raw for raw, _ in REFUSED.values()])))
            continue
        body = draw(BODIES)
        told = b"%d" % (len(body) + (draw(st.integers(-2, 2)) if kind == 1 else 0))
        raw = bytearray(draw(st.sampled_from(heads)) % (draw(st.sampled_from(LENGTHS)) if kind == 2 else told))
        if kind == 3:
            place = draw(st.integers(0, len(raw) - 1))
            raw[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
        found.append(bytes(raw) + body)
    return found


@st.composite
def _arrivals(draw: st.DrawFn) -> list[bytes]:
    found: list[bytes] = []
    for raw in draw(_messages()):
        how = draw(st.integers(0, 8))
        if how == 0 and found:
            found[-1] += raw
        elif how == 3 and found:
            found.append(draw(st.sampled_from(found)))
        elif how == 1:
            found += cut_up(raw, draw(st.lists(st.integers(1, len(raw) + 1), max_size=4)))
        elif how == 2:
            found += cut_up(raw, [raw.find(b"\r\n\r\n") + 4])
        else:
            found.append(raw)
    return found


@settings(max_examples=part_of(200))
@given(_arrivals(), st.integers(0, (1 << 16) - 1) | st.just(-1))
def test_what_is_made_of_bytes_is_the_same_as_if_all_were_read(arrivals: list[bytes], waits: int) -> None:
    _assert_same(arrivals, waits=waits)


@settings(max_examples=part_of(300))
@given(_arrivals(), st.just(LIMITS) | st.builds(Limits, most_head=st.integers(20, 260), most_fields=st.integers(1, 8)))
def test_requests_end_where_they_end_if_all_is_read_whatever_the_limits(arrivals: list[bytes], limits: Limits) -> None:
    _assert_parsed_alike(arrivals, limits)


USUAL = HEAD % b"5" + b"hello"
OTHER = USUAL.replace(b"/v1/chat", b"/v1/more")
LAST = USUAL.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n")
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
BEHIND = {
    "an empty line": [b"\r\n", USUAL, USUAL],
    "an empty line, apart": [USUAL[:-5], b"hello\r\n", USUAL],
    "half a head": [USUAL[:30], USUAL, USUAL[30:]],
    "half a head behind a body": [USUAL[:-5], b"hello" + USUAL[:30], USUAL[30:], USUAL],
    "half a head behind half a body": [USUAL[:-2], b"lo" + USUAL[:30], USUAL[30:], USUAL],
    "the end of a head": [USUAL[:30], USUAL[30:], USUAL[30:]],
    "the end of a head, twice": [USUAL[:30], USUAL[30:], USUAL[:30], USUAL[30:], USUAL[30:]],
    "another with the same fields": [OTHER, USUAL, OTHER, OTHER],
    "two at once with the same fields": [USUAL + OTHER, USUAL, OTHER + USUAL, OTHER, USUAL],
    "half of a known one in chunks": [CHUNKED, USUAL, b"5\r\nhello\r\n0\r\n", b"\r\n", USUAL],
    "a known one within a body": [HEAD % (b"%d" % len(USUAL)), USUAL, USUAL, USUAL],
    "chunks with the end of a body": [USUAL[:-5], b"hello" + CHUNKED + b"1\r\na\r\n0\r\n", b"X: y\r\n\r\n", USUAL],
    "the last one": [LAST, USUAL, USUAL],
    "the last one, twice": [LAST, LAST, USUAL],
    "a refusal": [b"POST /", b"/\r\n", USUAL],
    "a wish for another protocol": [BETWEEN[-1], USUAL, BETWEEN[-1] + USUAL, USUAL, USUAL[:-5], b"hello" + BETWEEN[-1]],
}


@pytest.mark.parametrize("arrivals", BEHIND.values(), ids=BEHIND)
def test_behind_a_known_head_everything_is_as_if_it_had_been_read(arrivals: list[bytes]) -> None:
    _assert_parsed_alike([USUAL, USUAL, *arrivals])
    _assert_same([USUAL, USUAL, *arrivals])
    _assert_same([USUAL, USUAL, *arrivals], waits=0)


@pytest.mark.parametrize("again", [b"5", b"10"])
def test_a_byte_more_or_less_or_another_is_the_same_as_if_it_were_read(again: bytes) -> None:
    """Each byte of a head that is known, left out, doubled, or become another."""
    body = b"x" * int(again)
    usual = HEAD % b"5" + b"hello"
    head = HEAD % again
    bent = [head[:place] + head[place + 1 :] for place in range(len(head))]
    bent += [head[:place] + head[place : place + 1] + head[place:] for place in range(len(head))]
    others = b"\0\t\n\r +,-0159:;A_a\x7f\xb2"
    bent += [head[:place] + bytes([one]) + head[place + 1 :] for place in range(len(head)) for one in others]

    async def states(kind: type[RequestParser], raw: bytes) -> object:
        connection, _ = await _connected(kind)
        parser = connection._parser
        for arrival in (usual, usual, raw + body):
            parser.requests.clear()
            parser.feed(arrival)
        found = _state(parser)
        connection.connection_lost(None)
        return found

    async def compare() -> None:
        for raw in bent:
            assert await states(RequestParser, raw) == await states(Forgetful, raw), raw

    asyncio.run(compare())


@pytest.mark.parametrize("size", [1, 5, 700, 8 << 10, 60 << 10, 300 << 10])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "head and body apart"])
async def test_a_head_is_read_twice_and_then_known(size: int, apart: bool) -> None:
    connection, found = await _connected(Counting)
    parser = connection._parser
    assert isinstance(parser, Counting)
    seen = []
    for number in range(5):
        body = b"%d" % number * (size + number)
        head = HEAD % (b"%d" % len(body))
        for arrival in (head, body) if apart else (head + body,):
            connection.data_received(arrival)
            seen.append(connection._request)
            for _ in range(6):
                await asyncio.sleep(0)
        assert found.pop()[-1] == body  # type: ignore[index]
    assert parser.read == 2
    assert len({id(request.fields) for request in seen if request is not None}) == 1
    connection.connection_lost(None)
    assert parser._head is None


async def test_what_a_client_sends_behind_the_end_of_a_body_is_the_next_request() -> None:
    arrivals = [
        HEAD % b"5" + b"hello",
        HEAD % b"5" + b"world",
        HEAD % b"5" + b"he",
        b"llo" + HIDDEN + HEAD % b"2",
        b"ok",
    ]
    connection, found = await _connected(RequestParser)
    for arrival in arrivals:
        connection.data_received(arrival)
        for _ in range(12):
            await asyncio.sleep(0)
    assert [one[-1] for one in found] == [b"hello", b"world", b"hello", b"", b"ok"]  # type: ignore[index]
    connection.connection_lost(None)


async def test_a_long_head_is_read_each_time() -> None:
    connection, _ = await _connected(Counting)
    parser = connection._parser
    assert isinstance(parser, Counting)
    for _ in range(4):
        connection.data_received(HEAD.replace(b"X-A: b", b"X-A: " + b"b" * 5000) % b"2" + b"{}")
        for _ in range(6):
            await asyncio.sleep(0)
    assert parser.read == 4
    connection.connection_lost(None)


async def test_a_body_that_does_not_come_is_given_up_under_a_known_head_too() -> None:
    async with serving(limits=Limits(body_seconds=0.05)) as seen, Client(seen.port) as client:
        for _ in range(3):
            client.post(b"{}")
            assert (await client.response()).status == 200
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 300\r\n\r\n{}")
        assert (await client.response()).status == 408
        client.send(HIDDEN)
        assert await client.rest() == b""
    assert len(seen.requests) == 3
    assert seen.failures == []
