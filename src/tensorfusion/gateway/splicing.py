"""Fitting another target's answer behind the part that the client already has.

Two ways. A target that takes up a beginning (``prefill``) is given what was said, and goes on. Any other one answers
from the start, and what it says is swallowed as long as it is what was said; an event that holds the end of the one and
the beginning of the other is written anew without the former. Where it says something else, the answer cannot be told
to its end: an explicit error is better than two halves of two answers.

Text can be joined, of one choice. Calls of tools, several choices and what is not known here cannot.

Responses are always answered from the start, since servers have no agreed form for an answer that has begun. Their
events have numbers, and name the response and the message that they belong to: the client, who knows the first target's
names, is told the other's words under those.

Source: the platform's contract, 3.6 (midStream); OpenAI's API reference, "Responses", "Streaming events".
"""

import contextlib
import json
from collections.abc import Collection
from typing import Any, Final

import msgspec

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.following import ITEM_DONE, KNOWN, Place, Step, follow
from tensorfusion.gateway.listening import UNNUMBERED, Said
from tensorfusion.gateway.outcomes import Broken
from tensorfusion.gateway.reading import NOTHING, UNREADABLE, Chunk, holds, is_list
from tensorfusion.gateway.sse import data_of, event_of, name_of
from tensorfusion.gateway.typed import OfResponse
from tensorfusion.policy.routing.asks import Failure

_encoder: Final = msgspec.json.Encoder()
_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])
_parts: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)
_CONTINUED_BY: Final = ("self-hosted", "vllm", "custom")
_LONG: Final = 32
"""Characters that nobody says twice in a row without beginning anew."""
_FORMS: Final = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "json_schema",
    "output_format",
    "regex",
    "ebnf",
    "echo",
)
"""Fields of OpenAI, Anthropic, vLLM, SGLang and llama.cpp."""

_KEPT: Final = ("previous_response_id", "conversation", "background")
_NONE: Final = msgspec.Raw(b"[]")


class _Format(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    role: str = ""


class _Named(msgspec.Struct):
    id: str | None = None


_format: Final = msgspec.json.Decoder(_Format)
_message: Final = msgspec.json.Decoder(_Message)
_named: Final = msgspec.json.Decoder(_Named)


class Continued:
    """The target was given what was said, and goes on: only the head of its stream is left out.

    Some begin anew all the same. So what is word by word what was said is kept back until it says something else, or
    has said all of that: then it was the beginning. What is short may well be said twice."""

    __slots__ = ("_kept", "_said", "joined", "text")

    def __init__(self, said: str) -> None:
        self._said = said if len(said) >= _LONG else ""
        self._kept = ""
        self.joined = False
        self.text = ""

    def fit(self, data: bytes, chunk: Chunk) -> bytes:
        choice = chunk.choices[0] if chunk.choices else None
        if choice is None:
            if chunk.opaque and self._kept:
                raise _another("it says what cannot be compared")
            self.joined = chunk.opaque
            return event_of(data) if chunk.opaque else b""
        text = choice.delta.content if choice.delta is not None else choice.text
        more = choice.delta is not None and choice.delta.more_than_text
        if not text and not more and not choice.finish_reason:
            return b""  # who speaks was told
        text = self._kept + (text or "")
        if not more and not choice.finish_reason and len(text) < len(self._said) and self._said.startswith(text):
            self._kept = text
            return b""
        self.joined = True
        self.text = text.removeprefix(self._said)
        return _written_anew(data, self.text)


class _Again:
    """What was said, said again: how much of it has come."""

    __slots__ = ("_at", "_said")

    def __init__(self, said: str) -> None:
        self._said = said
        self._at = 0

    @property
    def whole(self) -> bool:
        return self._at == len(self._said)

    def new(self, text: str) -> str:
        """What of a text comes behind all of it. Raises Broken: it is another answer."""
        left = len(self._said) - self._at
        if not text.startswith(self._said[self._at : self._at + len(text)]):
            raise _another(f"it differs within {len(text)} characters behind the first {self._at}")
        self._at += min(len(text), left)
        return text[left:]

    def end(self) -> None:
        """Nothing more comes. Raises Broken: it is another answer."""
        if not self.whole:
            raise _another(f"it ended after {self._at} of {len(self._said)} characters")


class Repeated:
    """The target answers from the start: what was said is swallowed as long as it says the same."""

    __slots__ = ("_again", "joined", "text")

    def __init__(self, said: str) -> None:
        self._again = _Again(said)
        self.joined = False
        self.text = ""

    def fit(self, data: bytes, chunk: Chunk) -> bytes:
        choice = chunk.choices[0] if chunk.choices else None
        if choice is None:
            if chunk.opaque:
                raise _another("it says what cannot be compared")
            return b""
        if choice.index or (choice.delta is not None and choice.delta.more_than_text):
            raise _another("it says what cannot be compared")
        text = choice.delta.content if choice.delta is not None else choice.text
        if text:
            text = self._again.new(text)
        if choice.finish_reason:
            self._again.end()
        if self._again.whole and (text or choice.finish_reason):
            self.joined = True
            self.text = text or ""
            return _written_anew(data, self.text)
        return b""


class RepeatedResponse:
    """As ``Repeated``, of a response: what goes on does so where the client has its text, in ``said``.

    Its response keeps the name that it began with, since OpenAI's client takes another one for an error
    ("Lifecycle response identity changed"). So nobody has stored a response of that name: who names it as the
    previous one is told so by the target."""

    __slots__ = ("_again", "_place", "_said", "joined")

    def __init__(self, said: Said) -> None:
        self._said = said
        self._again = _Again(said.text)
        self._place = Place()
        """Of the text at this target."""
        self.joined = False

    def fit(self, event: bytes, kind: str, heard: OfResponse | None) -> bytes:
        """What goes on of an event; ``heard`` is then changed to what it says there. Raises Broken: it is another
        answer."""
        if not self.joined:
            ended = self._said.place.ended
            step, self._place = follow(self._place, kind, heard)
            if heard is None or step is Step.OTHER:
                raise _another("it says what cannot be compared")
            if step is Step.TEXT and heard.delta:
                text = self._again.new(heard.delta)
                if text and ended:
                    raise _another("it goes on where that one had ended")
                self.joined = self._again.whole and bool(text)
                if self.joined and len(text) < len(heard.delta):
                    return self._placed(event, kind, heard, text=text)
            elif step is Step.END:
                self._again.end()
                self.joined = kind not in ended
            if not self.joined:
                return b""
        elif heard is None and kind in KNOWN:
            raise _another("it says what has no place in that one")
        return self._placed(event, kind, heard)

    def _placed(self, event: bytes, kind: str, heard: OfResponse | None, *, text: str | None = None) -> bytes:
        """The event as the client gets it; with a ``text``, with only that."""
        # Line ends between JSON's tokens, where data came in several lines: no event of our own may hold one.
        parts = _read_parts((data_of(event) or b"").replace(b"\n", b" "))
        said = self._said
        parts.pop("sequence_number", None)
        if said.number != UNNUMBERED:
            said.number += 1
            parts["sequence_number"] = _raw(said.number)
        if heard is not None:
            self._put_place(parts, kind, heard)
            if text is not None:
                heard.delta = text
                parts["delta"] = _raw(text)
                if "logprobs" in parts:
                    parts["logprobs"] = _NONE  # they are of all of its tokens
        return event_of(_encoder.encode(parts), name=name_of(event))

    def _put_place(self, parts: dict[str, msgspec.Raw], kind: str, heard: OfResponse) -> None:
        theirs, ours = self._place, self._said.place
        item = heard.item
        at_place = heard.output_index == theirs.output
        if at_place and heard.item_id is not None and heard.item_id == theirs.item:
            heard.item_id = ours.item
            parts["item_id"] = _raw(ours.item)
            if "content_index" in parts and heard.content_index == theirs.content and ours.content is not None:
                heard.content_index = ours.content
                parts["content_index"] = _raw(ours.content)
        elif at_place and kind == ITEM_DONE and item is not None and item.type == "message":
            parts["item"] = _renamed(parts["item"], ours.item)
        elif heard.response is not None:
            parts["response"] = _renamed(parts["response"], ours.response, item=(theirs.item, ours.item))
        if "output_index" in parts and theirs.item is not None:
            heard.output_index += ours.output - theirs.output
            parts["output_index"] = _raw(heard.output_index)


def stands_alone(asked: Asked) -> bool:
    """A request for a response neither leans on what one target keeps, nor has more kept there than its answer: it may
    be asked anew elsewhere when the client has half of the answer.

    What goes on in the background would go on at both, a conversation would get both answers, and who knows nothing of
    a previous response may answer without it."""
    return not any(holds(asked.parts.get(name, NOTHING)) for name in _KEPT)


def further_parts(
    asked: Asked, said: str, pieces: int, provider: str, *, given: Collection[str] = ()
) -> dict[str, bytes] | None:
    """What a request has to say in addition, for its target to go on from what was said. ``given`` are the names of
    what it gets besides from its route.

    None: it has no form that one could go on from: a prompt in tokens, an answer that the client itself has begun, or
    one whose form is prescribed - a grammar would begin it anew."""
    if any(name in given or _prescribes(name, asked.parts.get(name, NOTHING)) for name in _FORMS):
        return None
    parts: dict[str, bytes] = {}
    if asked.api is Api.COMPLETIONS:
        try:
            prompt = _text.decode(asked.parts["prompt"])
        except (KeyError, *UNREADABLE):
            return None
        parts["prompt"] = _encoder.encode(prompt + said)
    else:
        try:
            messages = _messages.decode(asked.parts["messages"])
        except (KeyError, *UNREADABLE):
            return None
        if messages and _role_of(messages[-1]) == "assistant":
            return None
        messages.append(msgspec.Raw(_encoder.encode({"role": "assistant", "content": said})))
        parts["messages"] = _encoder.encode(messages)
        if provider in _CONTINUED_BY:
            parts["add_generation_prompt"] = b"false"
            parts["continue_final_message"] = b"true"
    if asked.max_tokens is not None:
        name = "max_completion_tokens" if "max_completion_tokens" in asked.parts else "max_tokens"
        parts[name] = b"%d" % max(asked.max_tokens - pieces, 1)
    return parts


def _prescribes(name: str, value: msgspec.Raw) -> bool:
    """Whether a field of a request says what form its answer has, or that it repeats the prompt."""
    if not holds(value) or bytes(value) == b"false":
        return False
    if name != "response_format":
        return True
    try:
        return _format.decode(value).type != "text"
    except UNREADABLE:
        return True


def _role_of(message: msgspec.Raw) -> str:
    try:
        return _message.decode(message).role
    except UNREADABLE:
        return ""


def _written_anew(data: bytes, text: str) -> bytes:
    """The event with this text, and without who speaks."""
    try:
        chunk: dict[str, Any] = msgspec.json.decode(data)  # Any: whatever the target sends
    except UNREADABLE as error:
        raise _another(f"it cannot be read: {error}") from error
    choice = chunk["choices"][0]
    if isinstance(choice.get("delta"), dict):
        choice["delta"].pop("role", None)
        if text or "content" in choice["delta"]:
            choice["delta"]["content"] = text
    else:
        choice["text"] = text
    return event_of(_encoder.encode(chunk))


def _read_parts(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """An object, taken apart, also one with half of a pair of surrogates in it. Raises Broken: it is none."""
    try:
        return _parts.decode(data)
    except UNREADABLE as error:
        try:
            found = json.loads(bytes(data))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _another(f"it cannot be read: {error}") from error
        return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in found.items()}


def _renamed(named: msgspec.Raw, name: str | None, *, item: tuple[str | None, str | None] | None = None) -> msgspec.Raw:
    """An object with this ``id``, where it has a name; and, in its output, an ``item`` of one name with another."""
    parts = _read_parts(named)
    if name is not None:
        parts["id"] = _raw(name)
    if item is not None and is_list(parts.get("output", NOTHING)):
        with contextlib.suppress(*UNREADABLE):
            items = _messages.decode(parts["output"])
            parts["output"] = _raw([_renamed(one, item[1]) if _id_of(one) == item[0] else one for one in items])
    return _raw(parts)


def _id_of(named: msgspec.Raw) -> str | None:
    try:
        return _named.decode(named).id
    except UNREADABLE:
        return None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(value))


def _another(why: str) -> Broken:
    return Broken(Failure.MALFORMED, f"its answer cannot be joined to the one that broke off: {why}", final=True)
