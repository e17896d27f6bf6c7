"""Events keep their bytes, whatever pieces those come in."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tensorfusion.gateway.sse import OTHER_HALF, Events, EventTooLong, data_of, event_of, name_of

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.one_of(
    st.sampled_from([b"", b": comment", b"data", b"data:", b"data: [DONE]", b"id: 1", b"unknown: x", b"event: ping"]),
    st.text('aé😀: \\"', max_size=6).map(lambda text: b"data: " + text.encode()),
)
STREAMS = st.lists(st.tuples(LINES, LINE_ENDS), max_size=24).map(lambda lines: b"".join(a + b for a, b in lines))


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = sorted({0, *(cut for cut in cuts if 0 < cut < len(data)), len(data)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def events_of(pieces: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    events = Events()
    found = [event for piece in pieces for event in events.feed(piece)]
    return found, bytes(events.rest)


def reference(stream: bytes) -> list[bytes]:
    """Data of each event, read as the standard says: line by line, of the whole stream."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found, data = [], []
    for line in text.split("\n")[:-1]:
        if not line:
            if data:
                found.append("\n".join(data).encode())
            data = []
            continue
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
    return found


@given(STREAMS, st.lists(st.integers(0, 200)))
@example(b"data: a\r\r\n\ndata: b\n\n", [9])
@example(b"\xef\xbb\xbfdata: a\n\n", [1])
def test_any_pieces_give_the_same_bytes_and_the_same_data(stream: bytes, cuts: list[int]) -> None:
    events, rest = events_of(pieces_of(stream, cuts))
    assert b"".join(events) + rest == stream
    assert [data for event in events if (data := data_of(event)) is not None] == reference(stream)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_an_event_goes_out_with_the_byte_that_ends_it(end: bytes) -> None:
    events = Events()
    stream = (b"data: a" + end) * 3
    at_once = [events.feed(bytes([byte])) + events.feed(b"") for byte in stream]
    behind = end.endswith(b"\r\n")  # a CR ends a line, whether or not an LF follows, which then goes by itself
    ends = [each * (7 + len(end)) for each in (1, 2, 3)]
    assert [at for at, found in enumerate(at_once, 1) if found and found != [OTHER_HALF]] == [
        at - behind for at in ends
    ]
    assert [at for at, found in enumerate(at_once, 1) if found == [OTHER_HALF]] == (ends if behind else [])
    assert not events.rest


def test_an_event_of_a_megabyte_in_small_pieces_takes_time_in_proportion_to_it() -> None:
    event = b"data: " + b"x" * (1 << 20) + b"\n\n"
    events, rest = events_of(event[at : at + 100] for at in range(0, len(event), 100))
    assert events == [event]
    assert rest == b""


@pytest.mark.parametrize("stream", [b"data: 12345678901\n\n", b"data: 123456789012345"])
def test_an_event_beyond_its_bound_is_an_error_whether_it_ends_or_not(stream: bytes) -> None:
    with pytest.raises(EventTooLong, match="16 bytes"):
        Events(most=16).feed(stream)


def test_a_name_and_the_data_of_several_lines() -> None:
    event = b"event: message_start\r\ndata: {\r\ndata:  1}\r\nid: 3\r\n\r\n"
    assert (name_of(event), data_of(event)) == (b"message_start", b"{\n 1}")
    assert event_of(b"{}", name=b"error") == b"event: error\ndata: {}\n\n"
    assert data_of(b": ping\n\n") is None
