"""What an answer says, as far as the gateway wants to know: has a word come, has it ended, what has it used.

Read by narrow projections: nothing else is decoded, and what goes on are the bytes that came. An event that is JSON but
not of the known form (an array where a text is known) is passed on like a word that cannot be compared: ``opaque``.

Source: OpenAI's API reference, "Chat completion chunk object", "Completion object", "Usage".
"""

import codecs
import json
import math
from typing import Final, NamedTuple

import msgspec

from tensorfusion.gateway.sse import Objects

DONE: Final = b"[DONE]"
NOTHING: Final = msgspec.Raw(b"")
_NULL: Final = b"null"
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON may raise."""
FAILED_REASONS: Final = ("error", "abort")
"""To finish, that are none: of what vLLM or SGLang gave up, or broke behind another gateway."""


class Details(msgspec.Struct, gc=False):
    """Of which."""

    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class Usage(msgspec.Struct, gc=False):
    """Tokens, as the target counts them."""

    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: Details | None = None

    def joined(self, later: "Usage") -> "Usage":
        """With what a later event says of it: a number that is not told there stays."""
        return Usage(
            prompt_tokens=later.prompt_tokens or self.prompt_tokens,
            completion_tokens=later.completion_tokens or self.completion_tokens,
        )


class Delta(msgspec.Struct, gc=False):
    """What an event adds to one choice."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = NOTHING
    function_call: msgspec.Raw = NOTHING
    audio: msgspec.Raw = NOTHING

    @property
    def more_than_text(self) -> bool:
        """Something is said that is no text, or no part of the answer's text."""
        return bool(
            self.reasoning_content
            or self.reasoning
            or self.refusal
            or (self.tool_calls is not NOTHING and holds(self.tool_calls))
            or (self.function_call is not NOTHING and holds(self.function_call))
            or (self.audio is not NOTHING and holds(self.audio))
        )


class Choice(msgspec.Struct, gc=False):
    """Of a stream, chat (``delta``) or not (``text``)."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Failure(msgspec.Struct, gc=False):
    """What a target says went wrong, instead of an answer or in the middle of one."""

    message: str = ""
    type: str | None = None
    code: str | int | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = NOTHING
    opaque: bool = False

    @property
    def failed(self) -> bool:
        return self.error is not NOTHING and holds(self.error)


class WholeChoice(msgspec.Struct, gc=False):
    """Of an answer in one piece."""

    finish_reason: str | None = ""
    """None: it says that it has not finished. Those that say nothing are taken at their framing's word."""
    message: msgspec.Raw = NOTHING
    """Of chat."""
    text: msgspec.Raw = NOTHING
    """Of a text completion."""


class Whole(msgspec.Struct, gc=False):
    """An answer in one piece."""

    choices: list[WholeChoice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = NOTHING
    data: msgspec.Raw = NOTHING

    @property
    def failed(self) -> bool:
        return holds(self.error)


class _Bare(msgspec.Struct, gc=False):
    """A chunk whose usage is in no known form."""

    choices: list[Choice]
    error: msgspec.Raw = NOTHING


class _BareWhole(msgspec.Struct, gc=False):
    """An answer whose usage is in no known form."""

    choices: list[WholeChoice] | None = None
    error: msgspec.Raw = NOTHING
    data: msgspec.Raw = NOTHING


_bare: Final = msgspec.json.Decoder(_Bare)
_bare_whole: Final = msgspec.json.Decoder(_BareWhole)
_chunk: Final = msgspec.json.Decoder(Chunk)
_whole: Final = msgspec.json.Decoder(Whole)
_failure: Final = msgspec.json.Decoder(Failure)
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_anything: Final = msgspec.json.Decoder()


def read_chunk(data: bytes) -> Chunk | None:
    """What an event's data says; None where it is no JSON object."""
    try:
        return _chunk.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        bare = _bare.decode(data)
        return Chunk(choices=bare.choices, error=bare.error)
    except UNREADABLE:
        return Chunk(opaque=True) if isinstance(decoded(data), dict) else None


def read_chunks(objects: Objects) -> list[Chunk] | None:
    """What several events say: for a part of what they cost one by one. None where one is in no known form.

    None of them can begin in one line and end in another, since no JSON has a brace that closes right before one that
    opens: they are one to a line when they are as many as the lines.
    """
    try:
        found = _chunk.decode_lines(objects.lines)
    except UNREADABLE:
        return None
    return found if len(found) == objects.count else None


class Mended(NamedTuple):
    """An object that is nearly JSON."""

    sent: bytes
    """What others read of it as it came, with null for a number that is none."""
    read: bytes
    """The same for reading here: half of a pair of surrogates is another character in it."""


def mend(data: bytes) -> Mended | None:
    """What others read that is not read here: numbers without a value (NaN), which some write, half of a pair of
    surrogates, from those who cut texts by their UTF-16, and a byte order mark. None where it is no object either way.
    """
    odd = data.startswith(codecs.BOM_UTF8)

    def number(text: str) -> float | None:
        nonlocal odd
        found = float(text)
        if math.isfinite(found):
            return found
        odd = True
        return None

    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=number, parse_float=number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    read = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    return Mended(json.dumps(found).encode() if odd else data, read)


def is_text(data: bytes) -> bool:
    """It is UTF-8: what is not, clients stumble over."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_whole(body: bytes) -> Whole | None:
    """What an answer in one piece says; None where it is no JSON object."""
    try:
        return _whole.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        bare = _bare_whole.decode(body)
        return Whole(choices=bare.choices, error=bare.error, data=bare.data)
    except UNREADABLE:
        return Whole() if isinstance(decoded(body), dict) else None


def read_failure(error: bytes | msgspec.Raw) -> Failure:
    """What is behind ``error``, in whatever form."""
    try:
        return _failure.decode(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = decoded(bytes(error))
        return Failure(message=found if isinstance(found, str) else "")


def decoded(data: bytes) -> object:
    """None where it is no JSON."""
    try:
        return _anything.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_list(raw: msgspec.Raw) -> bool:
    """There is a list, of whatever."""
    return bytes(memoryview(raw)[:1]) == b"["


def is_object(raw: msgspec.Raw) -> bool:
    """There is an object, of whatever."""
    return bytes(memoryview(raw)[:1]) == b"{"


def is_string(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b'"'


def count_of(raw: msgspec.Raw) -> int:
    """Of how many things it is a list; nulls are none."""
    try:
        found = _list.decode(raw)
    except UNREADABLE:
        return 0
    return sum(bytes(memoryview(one)[:5]) != _NULL for one in found)


def holds(raw: msgspec.Raw) -> bool:
    """There is a value, and not null or false, nor an empty one."""
    return bool(raw) and bytes(raw) not in (_NULL, b"false", b"[]", b"{}", b'""')
