"""WebSocket and SPDY frames: whole conversations, broken ones, and whatever arrives."""

import asyncio
import struct
import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.embedded.processes.spdy import DICTIONARY, Spdy, Stream
from tensorfusion.embedded.processes.websocket import WebSocket, accept_key

KNOWN_DICTIONARY = 0xE3C6A7C2
"""Adler-32 of the dictionary, as every SPDY/3 header block begins with it."""


class Sink:
    """What a server writes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return


def frame(kind: int, payload: bytes, *, final: bool = True, mask: bytes = b"\1\2\3\4") -> bytes:
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    length = len(payload)
    first = (0x80 if final else 0) | kind
    if length < 126:
        return bytes((first, 0x80 | length)) + mask + masked
    return bytes((first, 0x80 | 126)) + struct.pack(">H", length) + mask + masked


async def conversation(data: bytes) -> tuple[list[bytes], bytes]:
    """The messages of what a client sent, and what the server answered."""
    reader, sink = asyncio.StreamReader(), Sink()
    reader.feed_data(data)
    reader.feed_eof()
    socket = WebSocket(reader, sink)  # type: ignore[arg-type]
    return [message async for message in socket.messages()], sink.data


def test_the_accept_key_is_that_of_the_standard() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


async def test_messages_are_joined_and_pings_answered() -> None:
    data = frame(2, b"one") + frame(2, b"tw", final=False) + frame(9, b"?") + frame(0, b"o") + frame(2, b"x" * 300)
    messages, answer = await conversation(data)
    assert messages == [b"one", b"two", b"x" * 300]
    assert answer == b"\x8a\x01?"


async def test_broken_rules_end_the_connection_with_a_code() -> None:
    for data, code in (
        (b"\x82\x01x", 1002),  # not masked
        (frame(0, b"x"), 1002),  # a continuation of nothing
        (frame(2, b"a", final=False) + frame(2, b"b"), 1002),
        (frame(9, b"x", final=False), 1002),
        (frame(3, b"x"), 1002),
        (b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0", 1009),
    ):
        messages, answer = await conversation(data)
        assert messages == []
        assert answer == b"\x88\x02" + struct.pack(">H", code)


@settings(max_examples=part_of(200), deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_end_a_websocket_in_peace(data: bytes) -> None:
    asyncio.run(asyncio.wait_for(conversation(data), 10))


@settings(max_examples=part_of(100), deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5), st.binary(min_size=4, max_size=4))
def test_what_is_masked_is_read_as_it_was(payloads: list[bytes], mask: bytes) -> None:
    data = b"".join(frame(2, payload, mask=mask) for payload in payloads)
    assert asyncio.run(conversation(data))[0] == payloads


# --- SPDY ---


class Pipe:
    """A link whose client says everything at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.written = b""

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    async def write(self, data: bytes) -> None:
        self.written += data


class Client:
    """Writes a client's frames."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, number: int, headers: dict[str, str], *, last: bool = False) -> bytes:
        text = struct.pack(">I", len(headers))
        for pair in headers.items():
            text += b"".join(struct.pack(">I", len(part)) + part.encode() for part in pair)
        block = self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self.control(1, struct.pack(">IIBB", number, 0, 0, 0) + block, flags=int(last))

    def control(self, kind: int, body: bytes, *, flags: int = 0) -> bytes:
        return struct.pack(">HHBBH", 0x8003, kind, flags, len(body) >> 16, len(body) & 0xFFFF) + body

    def data(self, number: int, body: bytes, *, last: bool = False) -> bytes:
        return struct.pack(">IBBH", number, int(last), len(body) >> 16, len(body) & 0xFFFF) + body


async def spoken(data: bytes) -> tuple[list[tuple[dict[str, str], bytes]], bytes]:
    """The streams that a client opened with what came on them, and what the server wrote."""
    link, streams = Pipe(data), []

    async def opened(stream: Stream) -> None:
        streams.append(stream)

    await Spdy(link, opened).run()
    found: list[tuple[dict[str, str], bytes]] = []
    for stream in streams:
        found.append((dict(stream.headers), b"".join([chunk async for chunk in stream.chunks()])))
    return found, link.written


def test_the_dictionary_is_that_of_the_protocol() -> None:
    assert zlib.adler32(DICTIONARY) == KNOWN_DICTIONARY


async def test_streams_carry_their_headers_and_data() -> None:
    client = Client()
    data = client.open(1, {"StreamType": "error", "port": "80"}, last=True)
    data += client.open(3, {"StreamType": "data", "port": "80"})
    data += client.data(3, b"hello ") + client.data(5, b"nobody") + client.data(3, b"world", last=True)
    data += client.control(6, struct.pack(">I", 1))
    found, written = await spoken(data)
    assert found == [
        ({"streamtype": "error", "port": "80"}, b""),
        ({"streamtype": "data", "port": "80"}, b"hello world"),
    ]
    assert written.count(struct.pack(">HH", 0x8003, 2)) == 2
    assert written.endswith(client.control(6, struct.pack(">I", 1)))


async def test_a_stream_that_is_given_up_ends() -> None:
    client = Client()
    data = client.open(1, {"streamtype": "data"}) + client.data(1, b"half")
    found, _ = await spoken(data + client.control(3, struct.pack(">II", 1, 5)))
    assert found[0][1] == b"half"


async def test_numbers_may_not_go_back() -> None:
    client = Client()
    found, _ = await spoken(client.open(3, {"a": "b"}) + client.open(1, {"a": "b"}) + client.open(5, {"a": "b"}))
    assert len(found) == 1


@settings(max_examples=part_of(200), deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=60), st.builds(Client().control, st.integers(0, 12), st.binary(max_size=40))))
)
def test_any_bytes_end_spdy_in_peace(parts: list[Any]) -> None:
    asyncio.run(asyncio.wait_for(spoken(b"".join(parts)), 10))
