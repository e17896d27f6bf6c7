"""What it costs to say a request or an event in the other API's words: processor time, beside decoding and encoding it.

``text`` is one message of a megabyte of text with escapes, ``picture`` as much text and a megabyte of base64 beside it,
``small`` a chat of two messages. An event brings one word.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from _report import Row, report
from tensorfusion.policy.translate import Flavour, StreamToChat, StreamToMessages, request_to_chat, request_to_messages

ROUNDS = 5
_TEXT = b"word \\u00e9 \\n " * 75_000
_HEAD = b'{"model":"m","max_tokens":9,"messages":['
_LARGE = _HEAD + b'{"role":"user","content":"%b"}]}' % _TEXT
_SOURCE = b'{"type":"base64","media_type":"image/png","data":"%b"}' % (b"A" * (1 << 20))
_PICTURE = _HEAD + (
    b'{"role":"user","content":[{"type":"text","text":"%b"},{"type":"image","source":%b}]}]}' % (_TEXT, _SOURCE)
)
_SMALL = _HEAD + b'{"role":"system","content":"be kind"},{"role":"user","content":"hello there"}],"stream":true}'
_CHUNK = (
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}]}'
)
_EVENT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" hello"}}'


def microseconds(work: Callable[[], object], times: int) -> float:
    """Of processor time for one call; the best of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - began) / times * 1e6)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    to_chat, to_messages = StreamToChat(created=1, include_usage=True), StreamToMessages()
    to_chat.feed(b'{"type":"message_start","message":{"id":"m","model":"m"}}')
    works: list[tuple[str, bytes, Callable[[bytes], object], int]] = [
        ("text to messages", _LARGE, lambda body: request_to_messages(body, max_tokens=9), 10),
        ("text to chat", _LARGE, lambda body: request_to_chat(body, Flavour.VLLM), 10),
        ("picture to chat", _PICTURE, lambda body: request_to_chat(body, Flavour.VLLM), 10),
        ("small to messages", _SMALL, lambda body: request_to_messages(body, max_tokens=9), 2000),
        ("event to messages", _CHUNK, to_messages.feed, 5000),
        ("event to chat", _EVENT, to_chat.feed, 5000),
    ]
    rows = []
    for name, body, work, times in works:
        mine = microseconds(lambda work=work, body=body: work(body), times)  # type: ignore[misc]
        peer = microseconds(lambda body=body: msgspec.json.encode(msgspec.json.decode(body)), times)  # type: ignore[misc]
        rows.append(Row(name, mine, "us", "decode, encode", peer, {"bytes": len(body)}))
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
