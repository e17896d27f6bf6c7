"""What the events and answers say that name their type: Anthropic's messages, and the responses of OpenAI.

Apart from ``reading`` because nothing of their form is the same, and read as narrowly.

Source: Anthropic's API reference, "Messages", "Streaming messages"; OpenAI's, "Responses", "Streaming events".
"""

from typing import Final

import msgspec

from tensorfusion.gateway.reading import NOTHING, UNREADABLE, Usage, decoded, holds


class TypedUsage(msgspec.Struct, gc=False):
    """Tokens, in the words of Anthropic and of the Responses API."""

    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cache_read_input_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0

    @property
    def plain(self) -> Usage:
        prompt = (
            (self.input_tokens or 0) + (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        )
        return Usage(prompt_tokens=prompt, completion_tokens=self.output_tokens or 0)


class TypedAnswer(msgspec.Struct, gc=False):
    """A message or a response, whole or as it stands in an event."""

    usage: TypedUsage | None = None
    stop_reason: str | None = ""
    """None: it says that it has not finished."""
    status: str | None = None
    error: msgspec.Raw = NOTHING
    content: msgspec.Raw = NOTHING
    """Of a message."""
    output: msgspec.Raw = NOTHING
    """Of a response."""

    @property
    def failed(self) -> bool:
        return holds(self.error)


class Typed(msgspec.Struct, gc=False):
    """One event that says its type."""

    type: str = ""
    usage_told: TypedUsage | None = msgspec.field(default=None, name="usage")
    delta: msgspec.Raw = NOTHING
    message: msgspec.Raw = NOTHING
    response: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING

    @property
    def answer(self) -> TypedAnswer | None:
        """What the event says of the answer as a whole."""
        raw = self.message if holds(self.message) else self.response
        if not holds(raw):
            raw = self.delta if self.type == "message_delta" else NOTHING
        try:
            return _typed_answer.decode(raw) if raw else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    @property
    def usage(self) -> Usage | None:
        if self.usage_told is not None:
            return self.usage_told.plain
        answer = self.answer if self.type in _WITH_ANSWER else None
        return answer.usage.plain if answer is not None and answer.usage is not None else None

    @property
    def finish_reason(self) -> str:
        answer = self.answer if self.type in _WITH_ANSWER else None
        return (answer.stop_reason or answer.status or "") if answer is not None else ""

    @property
    def failure(self) -> msgspec.Raw:
        """What went wrong, where the event tells of that."""
        if holds(self.error):
            return self.error
        answer = self.answer
        return answer.error if answer is not None else self.message


class _Part(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    text: str = ""


class _OfBlock(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Part = _Part()
    content_block: _Part = _Part()


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    output: msgspec.Raw = NOTHING
    background: msgspec.Raw = NOTHING
    conversation: msgspec.Raw = NOTHING
    previous_response_id: msgspec.Raw = NOTHING

    @property
    def leans(self) -> bool:
        """On what its target keeps besides itself, or goes on there unheard."""
        return holds(self.background) or holds(self.conversation) or holds(self.previous_response_id)


class _Item(msgspec.Struct, gc=False):
    id: str | None = None
    type: str = ""
    content: msgspec.Raw = NOTHING


class _TextPart(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    annotations: msgspec.Raw = NOTHING

    @property
    def says_more_than_it_begins(self) -> bool:
        """It is no text, or not an empty one."""
        return self.type != "output_text" or bool(self.text) or holds(self.annotations)


class OfResponse(msgspec.Struct, gc=False):
    """What an event says of its place in a response, and what it adds to a text there."""

    sequence_number: int | None = None
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0
    delta: str | None = None
    text: str | None = None
    """All of it, at its end."""
    response: _Response | None = None
    item: _Item | None = None
    part: _TextPart | None = None


_WITH_ANSWER: Final = ("message_start", "message_delta", "response.completed", "response.incomplete", "response.failed")
_SOMETHING: Final = msgspec.Raw(b"[]")
"""Of whatever form."""
_typed_answer: Final = msgspec.json.Decoder(TypedAnswer)
_typed: Final = msgspec.json.Decoder(Typed)
_of_block: Final = msgspec.json.Decoder(_OfBlock)
_of_response: Final = msgspec.json.Decoder(OfResponse)


def read_typed(data: bytes) -> Typed | None:
    """What an event's data says that names its type; None where it is no JSON object."""
    try:
        return _typed.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Typed() if isinstance(decoded(data), dict) else None


def first_text(data: bytes) -> str | None:
    """What an event about a block of a message adds to the text that the message begins with; None where it is about
    anything else, or ends that text."""
    try:
        found = _of_block.decode(data)
    except UNREADABLE:
        return None
    if found.index or "text" not in (found.content_block.type, found.delta.type.removesuffix("_delta")):
        return None
    return found.delta.text or found.content_block.text


def read_of_response(data: bytes) -> OfResponse | None:
    """Where in a response an event's data belongs; None where that is in no known form."""
    try:
        return _of_response.decode(data)
    except UNREADABLE:
        return None


def read_typed_whole(body: bytes) -> TypedAnswer | None:
    """What a message or a response in one piece says; None where it is no JSON object."""
    try:
        return _typed_answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = decoded(body)
        if not isinstance(found, dict):
            return None
        content, output = (_SOMETHING if name in found else NOTHING for name in ("content", "output"))
        return TypedAnswer(content=content, output=output)
